"""What the commands share: exit codes, how they speak, and how they ask a running Klaxon."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Annotated, Any

import requests
import typer

OK, FINDINGS, USAGE, UNKNOWN = 0, 1, 2, 3
DEFAULT_URL = "http://127.0.0.1:9308"

UrlOption = Annotated[str, typer.Option(help="Where the running Klaxon answers.", envvar="KLAXON_URL")]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON for programs instead of text.")]


def say(text: str) -> None:
    """To stderr, at once."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def usage(text: str) -> Any:
    """Says what is wrong with the command and ends it."""
    say(text)
    raise typer.Exit(USAGE)


def get(url: str, path: str, params: Mapping[str, str | list[str]] | None = None) -> requests.Response:
    """GET; what goes wrong is told in one line and ends the command."""
    try:
        answer = requests.get(f"{url.rstrip('/')}{path}", params=params, timeout=30)
    except requests.RequestException as error:
        say(f"No Klaxon answers at {url} ({type(error).__name__}); start one, or name its address by --url")
        raise typer.Exit(UNKNOWN) from None
    if not answer.ok:
        try:
            said = answer.json()["error"]
        except (ValueError, KeyError):
            said = answer.text.strip()
        say(said)
        raise typer.Exit(USAGE)
    return answer
