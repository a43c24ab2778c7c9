"""`klaxon maintenance`: puts a window in force on a running Klaxon, shows what is in force, ends one."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from alerts.book.book import Book
from alerts.engine.durations import parse_duration
from alerts.engine.maintenance import Window
from klaxon import maintenance
from klaxon.config import Config, ConfigError, load
from klaxon.console import FINDINGS, OK, JsonOption, say, usage

app = typer.Typer(
    no_args_is_help=True, help="Times in which brokers, topics or groups may be in trouble without a page."
)

ConfigFile = Annotated[Path, typer.Option("--config", "-c", help="Configuration file of the Klaxon.")]
Pattern = Annotated[str | None, typer.Option(help="Shell pattern of names.")]


@app.command("add")
def add(
    name: Annotated[str, typer.Argument(help="What to call it.")],
    config: ConfigFile,
    lasts: Annotated[str | None, typer.Option("--for", help="How long from its begin: 30m, 2h.")] = None,
    start: Annotated[str | None, typer.Option("--from", help="2026-01-02T22:00:00+01:00 [now].")] = None,
    until: Annotated[str | None, typer.Option("--until", help="A time instead of --for.")] = None,
    cluster: Annotated[str, typer.Option(help="Shell pattern of clusters.")] = "*",
    broker: Pattern = None,
    topic: Pattern = None,
    group: Pattern = None,
    reason: Annotated[str, typer.Option(help="For those who read the page.")] = "",
) -> None:
    """What these patterns name is not paged until the window ends; without a broker, topic or group all of the cluster."""
    with _book(config) as (loaded, book):
        now = time.time()
        if name in {window.name for window in loaded.maintenance}:
            usage(f"a window {name!r} stands in {config}; change it there, or choose another name")
        window = _window(
            now, name=name, cluster=cluster, broker=broker, topic=topic, group=group, reason=reason,
            start=start, until=until, lasts=lasts,
        )  # fmt: skip
        if window.over(now):
            usage(f"the window ended at {window.until}; give a later --until")
        maintenance.add(book, window, now)
    typer.echo(f"{name}: {_when(window)}, {_what(window)}")


def _window(now: float, *, start: str | None, until: str | None, lasts: str | None, **told: str | None) -> Window:
    if (until is None) == (lasts is None):
        usage("give --for or --until, one of them")
    begins: str = start if start is not None else datetime.fromtimestamp(now, UTC).isoformat()
    try:
        ends = until
        if lasts is not None:
            end = datetime.fromisoformat(begins).timestamp() + parse_duration(lasts)
            ends = datetime.fromtimestamp(end, UTC).isoformat()
        return Window.model_validate({**told, "from": begins, "until": ends})
    except ValidationError as error:
        usage("; ".join(str(e.get("ctx", {}).get("error", e["msg"])) for e in error.errors()))
    except ValueError as error:
        usage(str(error))
    raise AssertionError


@app.command("list")
def show(config: ConfigFile, as_json: JsonOption = False) -> None:
    """Windows of the configuration and those that were added and are not over."""
    with _book(config) as (loaded, book):
        now = time.time()
        windows = [*loaded.maintenance, *maintenance.windows_of(book, now)]
    if as_json:
        entries = [
            w.model_dump(mode="json", by_alias=True, exclude_none=True) | {"active": w.active(now)} for w in windows
        ]
        typer.echo(json.dumps(entries, indent=1))
        return
    for window in windows:
        said = (
            f"{window.name}: {'in force' if window.active(now) else 'not in force'}, {_when(window)}, {_what(window)}"
        )
        typer.echo(said + (f" ({window.reason})" if window.reason else ""))
    if not windows:
        typer.echo("There is no maintenance window.")


@app.command("end")
def end(name: Annotated[str, typer.Argument(help="A window that was added.")], config: ConfigFile) -> None:
    """End a window now: what is still in trouble is paged within seconds."""
    with _book(config) as (loaded, book):
        if name in {window.name for window in loaded.maintenance}:
            usage(f"the window {name!r} stands in {config}; remove it there and reload")
        known = maintenance.end(book, name, time.time())
    typer.echo(f"{name} has ended." if known else f"There is no window {name!r}.")
    raise typer.Exit(OK if known else FINDINGS)


@contextmanager
def _book(config: Path) -> Iterator[tuple[Config, Book]]:
    try:
        loaded = load(config, os.environ)
    except ConfigError as error:
        usage(str(error))
    book = Book(Path(loaded.config.data_dir), warn=say)
    try:
        yield loaded.config, book
    finally:
        book.close()


def _when(window: Window) -> str:
    if window.weekly is not None:
        weekly = window.weekly
        return f"{', '.join(weekly.days)} from {weekly.start} to {weekly.until} {weekly.zone}"
    assert window.start is not None
    assert window.until is not None
    return f"from {window.start:%Y-%m-%d %H:%M:%S%z} to {window.until:%Y-%m-%d %H:%M:%S%z}"


def _what(window: Window) -> str:
    kinds = {"broker": window.broker, "topic": window.topic, "group": window.group}
    named = [f"{kind} {pattern}" for kind, pattern in kinds.items() if pattern is not None]
    return f"{' and '.join(named) or 'everything'} of cluster {window.cluster}"
