"""One collector's polls: each in a thread that can be left behind, timed, and told apart from those before and after it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from exporter.collectors import Registration
from exporter.collectors.base import Clock, Collector, Known, Polls, failure
from exporter.kafka.errors import KafkaError
from exporter.reading import Failure

SHORTEST_LIMIT_S = 30.0
MOST_LEFT_BEHIND = 3
"""So many hung polls of one collector, and no new one is started before one of them ends."""


class Attempt:
    """One poll in a daemon thread of its own: whoever waits may leave, and the process can end."""

    def __init__(self, collector: Collector, known: Known, clock: Clock, name: str) -> None:
        self.started_at = clock()
        self.ended_at = self.started_at
        self.seconds = 0.0
        self.polls: Polls | None = None
        self.error: Exception | None = None
        self.left = threading.Event()
        """Set when the poll ended, or when nobody waits for it any more."""
        self._clock = clock
        self._thread = threading.Thread(target=self._run, args=(collector, known), name=name, daemon=True)

    def wait(self, limit: float) -> bool:
        """Run it; whether it ended within ``limit`` seconds."""
        self._thread.start()
        self.left.wait(limit)
        return self.polls is not None or self.error is not None

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def failure(self) -> Failure | None:
        """Why it gave nothing, None when it gave something."""
        if self.error is None:
            return None
        if isinstance(self.error, KafkaError):
            return failure(self.error, self.ended_at)
        return Failure("internal", f"{type(self.error).__name__}: {self.error}", self.ended_at)

    def _run(self, collector: Collector, known: Known) -> None:
        start = time.monotonic()
        polls: Polls | None = None
        error: Exception | None = None
        try:
            polls = collector.poll(known)
            if not isinstance(polls, Polls):
                error, polls = TypeError(f"the collector gave {type(polls).__name__} instead of polls"), None
        except Exception as raised:  # noqa: BLE001 - one collector's bug must not stop the others
            error = raised
        self.seconds = time.monotonic() - start
        self.ended_at = self._clock()
        self.polls, self.error = polls, error
        self.left.set()


class Job:
    """A collector with what the runner has to remember about its polls. All of it is guarded by the runner's lock, but for ``attempt``."""

    def __init__(self, registration: Registration, interval: float, make: Callable[[], Collector]) -> None:
        self.registration = registration
        self.interval = interval
        self.limit = max(SHORTEST_LIMIT_S, 2 * interval)
        """Seconds after which a poll is given up; the clients' own deadlines are far shorter."""
        self.current: Attempt | None = None
        self.running = False
        self.requested = False
        self.waiting = False
        """It was due and could not ask, since what it needs was not known."""
        self.last_started = float("-inf")
        self.merged_start = float("-inf")
        """When the newest poll started whose facts are in the readings (Unix seconds)."""
        self.published_start = float("-inf")
        """The same for the published Snapshot."""
        self._make = make
        self._collector = make()
        self._left_behind: list[Attempt] = []

    @property
    def name(self) -> str:
        return self.registration.name

    def attempt(self, known: Known, clock: Clock, thread_name: str) -> Attempt | None:
        """The next poll, None while too many hang."""
        self._left_behind = [a for a in self._left_behind if a.alive]
        if len(self._left_behind) >= MOST_LEFT_BEHIND:
            return None
        self.current = Attempt(self._collector, known, clock, thread_name)
        return self.current

    def give_up(self) -> None:
        """Another job takes this one's place: nobody waits for its poll any more, and the other one polls as soon as its turn is over."""
        self.requested = True
        if self.current is not None:
            self.current.left.set()

    def leave_behind(self, attempt: Attempt) -> None:
        """Give a poll up; the next one gets a collector of its own, since the old one may still be at work."""
        self._left_behind.append(attempt)
        self._collector = self._make()
