"""A clock that moves by hand."""

from __future__ import annotations


class FakeClock:
    """Call it for Unix seconds; ``monotonic`` runs along with it."""

    def __init__(self, now: float = 1_760_000_000.0) -> None:
        self.now = now
        self._started = now

    def __call__(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now - self._started

    def advance(self, seconds: float) -> None:
        self.now += seconds
