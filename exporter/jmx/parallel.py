"""Reads targets side by side, a thread each, so that none is waited for longer than the deadline and none that hangs is asked twice."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence

from exporter.jmx.errors import JmxError, JmxHung, JmxTimeout
from exporter.jmx.transport import JmxAnswer, Target, split_address

GRACE_S = 0.2
"""Whoever reads is told to end this much before the deadline (at most a tenth of it), so that its own words arrive in time."""

One = Callable[[Target, float], JmxAnswer]
"""Reads one target until a monotonic deadline; JmxError says why it could not."""


class Parallel:
    """Remembers which addresses have not come back yet. Safe for several threads."""

    def __init__(self, clock: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._monotonic = monotonic
        self._changed = threading.Condition()
        self._busy: dict[str, float] = {}

    def read(self, targets: Sequence[Target], deadline_s: float, one: One) -> Mapping[int, JmxAnswer]:
        """An answer for every target, those that are late with JmxTimeout. ValueError for an address that is none."""
        for target in targets:
            split_address(target.address)
        started = self._monotonic()
        deadline = started + deadline_s
        inner = deadline - min(GRACE_S, deadline_s / 10)
        answers: dict[int, JmxAnswer] = {}
        with self._changed:
            for target in targets:
                self._begin(target, answers, inner, one)
            self._changed.wait_for(lambda: len(answers) == len(targets), max(0.0, deadline - self._monotonic()))
            # What comes from now on goes to a table that nobody reads.
            found = dict(answers)
        for target in targets:
            if target.node not in found:
                found[target.node] = self._failed(target, started, JmxTimeout(f"no answer within {deadline_s:g} s"))
        return found

    def _begin(self, target: Target, answers: dict[int, JmxAnswer], deadline: float, one: One) -> None:
        now = self._monotonic()
        since = self._busy.get(target.address)
        if since is not None:
            hung = JmxHung(f"an earlier read has hung for {now - since:.0f} s", seconds=now - since)
            answers[target.node] = self._failed(target, now, hung)
            return
        self._busy[target.address] = now
        threading.Thread(target=self._run, args=(target, answers, deadline, one), name="jmx-read", daemon=True).start()

    def _run(self, target: Target, answers: dict[int, JmxAnswer], deadline: float, one: One) -> None:
        started = self._monotonic()
        try:
            answer = one(target, deadline)
        except JmxError as error:
            answer = self._failed(target, started, error)
        finally:
            with self._changed:
                del self._busy[target.address]
                self._changed.notify_all()
        with self._changed:
            answers[target.node] = answer
            self._changed.notify_all()

    def _failed(self, target: Target, started: float, error: JmxError) -> JmxAnswer:
        error.node, error.address = target.node, target.address
        return JmxAnswer(target.node, target.address, self._clock(), self._monotonic() - started, error=error)
