"""Maintenance windows that were added while Klaxon runs: kept in the book, so that the command and the daemon meet there and a restart loses none."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from pydantic import ValidationError

from alerts.book.book import Book
from alerts.engine.maintenance import Window

_KEY = "maintenance"


def windows_of(book: Book, now: float) -> Sequence[Window]:
    """The windows in the book that are not over yet; an entry that cannot be read is left out."""
    found = []
    for entry in json.loads(book.get(_KEY) or "[]"):
        try:
            window = Window.model_validate(entry)
        except ValidationError:
            continue
        if not window.over(now):
            found.append(window)
    return found


def add(book: Book, window: Window, now: float) -> None:
    """Puts a window into the book, instead of one of the same name."""
    _save(book, [*(w for w in windows_of(book, now) if w.name != window.name), window])


def end(book: Book, name: str, now: float) -> bool:
    """Takes a window out of the book; False if it has none of this name."""
    known = windows_of(book, now)
    _save(book, [w for w in known if w.name != name])
    return any(w.name == name for w in known)


def _save(book: Book, windows: Iterable[Window]) -> None:
    book.set(_KEY, json.dumps([w.model_dump(mode="json", by_alias=True, exclude_none=True) for w in windows]))
