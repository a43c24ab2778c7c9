"""Files that the configuration names and that change under a running Klaxon: secrets, tokens, certificates."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Final

from pydantic import AfterValidator, ValidationInfo

FOLDER: Final = "folder"
"""Key of the validation context under which the configuration file's folder stands."""


def _beside_the_configuration(value: str, info: ValidationInfo) -> str:
    """Made absolute, and tried; only where a configuration file is read, else the name stays as it is."""
    folder = info.context.get(FOLDER) if isinstance(info.context, dict) else None
    if folder is None:
        return value
    path = Path(os.path.normpath(Path.cwd() / folder / value))
    try:
        path.open("rb").close()
    except OSError as error:
        raise ValueError(
            f"{value} cannot be read: {error.strerror}; name a file that Klaxon's user may read, absolute or from the configuration file's folder"
        ) from error
    return str(path)


GivenFile = Annotated[str, AfterValidator(_beside_the_configuration)]
"""Name of a file, absolute or from the configuration file's folder; reading the configuration fails where it cannot be read."""


def read_secret(path: str) -> str:
    """A file's text without the end of its last line. Raises OSError, and ValueError where it is empty, no UTF-8, or has several lines."""
    try:
        text = Path(path).read_text(encoding="utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        # The error carries the content: leave it behind.
        raise ValueError(f"it is not UTF-8 text (byte {error.start})") from None
    if not text:
        raise ValueError("it is empty")
    if "\n" in text or "\r" in text:
        raise ValueError("it has several lines, a secret is one")
    return text


def read_token(path: str) -> str:
    """A bearer token, fit for a header (RFC 6750). Raises OSError, ValueError."""
    token = read_secret(path).strip()
    if not token or not all("!" <= char <= "~" for char in token):
        raise ValueError("a token is printable ASCII without spaces")
    return token


def fingerprint(paths: Iterable[str | Path | None]) -> str:
    """Changes when any file's content does: a renewed file may keep its size, and a link may keep its name. What cannot be read counts by its fault."""
    digest = hashlib.sha256()
    for path in paths:
        try:
            content = b"" if path is None else Path(path).read_bytes()
        except OSError as error:
            content = f"errno {error.errno}".encode()
        digest.update(len(content).to_bytes(8) + content)
    return digest.hexdigest()
