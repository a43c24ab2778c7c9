"""What can go wrong with a PromQL expression: at load (PromqlError) and while it is evaluated (PromqlEvaluationError)."""

from __future__ import annotations


class QueryError(Exception):
    """An expression that cannot be used or has no result; ``reason`` is a sentence for people."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class PromqlError(QueryError):
    """An expression that does not parse, has the wrong types, or uses what is not supported.

    ``position`` is the index in ``text`` (0-based, in characters) of what is wrong, or None where it is not known.
    """

    def __init__(self, text: str, position: int | None, reason: str) -> None:
        super().__init__(f"{reason}{_where(text, position)}: {text.strip()!r}", reason)
        self.text = text
        self.position = position

    def __reduce__(self) -> tuple[type[PromqlError], tuple[str, int | None, str]]:
        return PromqlError, (self.text, self.position, self.reason)


class PromqlEvaluationError(QueryError):
    """A good expression that has no result on these series, such as a match that is not unique."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, reason)

    def __reduce__(self) -> tuple[type[PromqlEvaluationError], tuple[str]]:
        return PromqlEvaluationError, (self.reason,)


def _where(text: str, position: int | None) -> str:
    if position is None:
        return ""
    line = text.count("\n", 0, position) + 1
    column = position - (text.rfind("\n", 0, position) + 1) + 1
    return f" (line {line}, column {column})"
