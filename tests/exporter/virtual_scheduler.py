"""A scheduler whose time moves by hand, for a runner in a test: what is due runs in threads of its own, as in APScheduler's pool."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from typing import Any

from tests.fakes.clock import FakeClock

LONGEST_TURN_S = 10.0


class VirtualScheduler:
    """Stands in for APScheduler's BackgroundScheduler as far as the runner uses it. A turn that is brought forward comes with the next second."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.running = False
        self._jobs: dict[str, tuple[Callable[..., None], tuple[Any, ...], float]] = {}
        self._due: dict[str, float] = {}
        self._turns: dict[str, threading.Thread] = {}

    # --- what the runner calls

    def add_job(
        self, run: Callable[..., None], _trigger: str, *, seconds: float, id: str, args: tuple[Any, ...], **_: Any
    ) -> None:
        self._jobs[id] = run, args, seconds
        self._due[id] = self.clock()

    def modify_job(self, id: str, **_: Any) -> None:
        self._due[id] = min(self._due[id], self.clock() + 1.0)

    def start(self) -> None:
        self.running = True

    def shutdown(self, wait: bool) -> None:
        self.running = False

    # --- what the test calls

    def run_due(self, hanging: Collection[str] = ()) -> None:
        """Start every turn that is due and wait for their ends, but for those that hang; a job whose turn still runs is left out."""
        for name, (run, args, seconds) in self._jobs.items():
            turn = self._turns.get(name)
            if self.clock() >= self._due[name]:
                self._due[name] = self.clock() + seconds
                if turn is None or not turn.is_alive():
                    self._turns[name] = threading.Thread(target=run, args=args, daemon=True)
                    self._turns[name].start()
        for name, turn in self._turns.items():
            if name not in hanging:
                turn.join(LONGEST_TURN_S)
                assert not turn.is_alive(), f"{name} hangs"
