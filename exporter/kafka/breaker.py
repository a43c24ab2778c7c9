"""When a node that did not answer is tried again: after growing pauses, so that a hung broker's backlog is not filled with us."""

from __future__ import annotations

PAUSES = (5.0, 10.0, 20.0, 30.0)
"""Seconds after the first, second, … time-out in a row; the last one repeats."""


class Breaker:
    """One node's circuit breaker, fed by *pulse* alone. A refused port costs nothing and closes it."""

    def __init__(self) -> None:
        self._timeouts = 0
        self._not_before = 0.0

    def allows(self, now: float) -> bool:
        """Whether the node may be tried now (monotonic seconds)."""
        return self._timeouts == 0 or now >= self._not_before

    @property
    def closed(self) -> bool:
        """Whether the node did not time out when it was last tried: only then other requests go to it."""
        return self._timeouts == 0

    def timed_out(self, now: float) -> None:
        self._not_before = now + PAUSES[min(self._timeouts, len(PAUSES) - 1)]
        self._timeouts += 1

    def answered(self) -> None:
        self._timeouts = 0
