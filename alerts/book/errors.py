"""What can go wrong with the book."""

from __future__ import annotations

from pathlib import Path


class BookError(Exception):
    """The book's file cannot be written (or read); what was to be written is in memory. Raised once, until the file works again."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(
            f"{path}: {reason}; going on from memory, nothing of it survives a restart until the file can be written"
        )
        self.path = path
        self.reason = reason
