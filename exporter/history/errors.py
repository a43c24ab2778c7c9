"""What the history cannot answer or read."""

from __future__ import annotations


class HistoryError(Exception):
    """Root of the history's errors."""


class NotKept(HistoryError):
    """A question for a metric that the history was not told to keep; ``metric`` is its name."""

    def __init__(self, metric: str) -> None:
        super().__init__(
            f"{metric} is not kept: no rule, tree or page asks for it. Name it in history.keep to keep it."
        )
        self.metric = metric


class CheckpointError(HistoryError):
    """A checkpoint that cannot be read; ``reason`` says why."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
