"""A queue and a thread for each peer, Alertmanager or webhook, so that one that is away holds up no other.

The queue keeps the latest word on each thing, by its key. One that a newer word replaces is not missed; what must not be missed (an end, an event) stays until
the peer has taken it, however long the peer was away. What a peer refuses (4xx) is never sent again: the batch is split until the bad one is alone, that is
dropped, counted and logged once. What failed otherwise (5xx, 429, no connection, time-out) is tried again with growing pauses.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Generic, Protocol, TypeVar

import structlog

from alerts.notify.metrics import PeerMetrics

log = structlog.get_logger(__name__)

CAPACITY: Final = 10_000
"""Things that a queue holds; beyond that the oldest that will be said again go first, then the oldest of all."""

FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 30.0


class DeliveryError(Exception):
    """A request that did not succeed; ``refused`` if the peer will never take it (4xx). ``kind`` is the reason as metrics tell it.
    ``after`` are the seconds that the peer asks us to wait."""

    def __init__(self, peer: str, kind: str, reason: str, *, refused: bool = False, after: float = 0.0) -> None:
        super().__init__(f"{peer}: {reason}")
        self.peer = peer
        self.kind = kind
        self.reason = reason
        self.refused = refused
        self.after = after


class Item(Protocol):
    """What a queue holds: the latest word on ``key``."""

    @property
    def key(self) -> Hashable: ...

    @property
    def lasting(self) -> bool:
        """Whether it is said only once, and must not be lost for want of room."""
        ...

    @property
    def about(self) -> Mapping[str, str]:
        """What names it in the log."""
        ...


I = TypeVar("I", bound=Item)  # noqa: E741
I_contra = TypeVar("I_contra", bound=Item, contravariant=True)


class Destination(Protocol[I_contra]):
    """The other end: one request for each batch."""

    @property
    def name(self) -> str: ...

    @property
    def batch(self) -> int:
        """Things in one request."""
        ...

    def send(self, items: Sequence[I_contra]) -> None:
        """Raises DeliveryError."""
        ...

    def close(self) -> None: ...


@dataclass(slots=True)
class Queue(Generic[I]):
    """The latest word on each thing, oldest first; not thread-safe by itself."""

    capacity: int = CAPACITY
    _waiting: dict[Hashable, I] = field(default_factory=dict)

    def put(self, item: I) -> int:
        """Adds or replaces; returns how many had to go for want of room."""
        self._waiting.pop(item.key, None)
        self._waiting[item.key] = item
        return self._shrink()

    def _shrink(self) -> int:
        gone = 0
        while len(self._waiting) > self.capacity:
            passing = next((k for k, i in self._waiting.items() if not i.lasting), None)
            self._waiting.pop(next(iter(self._waiting)) if passing is None else passing)
            gone += 1
        return gone

    def head(self, n: int) -> list[I]:
        """The next ones to send; they stay until ``done``."""
        return [i for _, i in zip(range(n), self._waiting.values(), strict=False)]

    def done(self, sent: Iterable[I]) -> None:
        """Forget what was taken, unless a newer word came meanwhile."""
        for item in sent:
            if self._waiting.get(item.key) is item:
                del self._waiting[item.key]

    def __len__(self) -> int:
        return len(self._waiting)


class Sender(Generic[I]):
    """One peer with its queue and its thread. ``taken`` is told, in that thread, what the peer took."""

    def __init__(
        self,
        destination: Destination[I],
        metrics: PeerMetrics,
        clock: Callable[[], float],
        taken: Callable[[str, Sequence[I]], None] = lambda peer, items: None,
    ) -> None:
        self.name = destination.name
        self._destination = destination
        self._metrics = metrics
        self._clock = clock
        self._told_taken = taken
        self._queue: Queue[I] = Queue()
        self._changed = threading.Condition()
        self._stopping = False
        self._refused: set[Hashable] = set()
        self._was_up = True
        self._thread = threading.Thread(target=self._run, name=f"notify {self.name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def pending(self) -> int:
        with self._changed:
            return len(self._queue)

    def post(self, items: Sequence[I]) -> None:
        """Hand them to the queue; returns at once."""
        with self._changed:
            for item in items:
                if gone := self._queue.put(item):
                    self._metrics.dropped.inc(gone)
            self._metrics.queued.set(len(self._queue))
            self._changed.notify_all()

    def ask_to_stop(self) -> None:
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    def wait(self, until: float) -> None:
        """Until the thread has ended, or the monotonic clock says ``until``."""
        if self._thread.is_alive():
            self._thread.join(max(0.0, until - time.monotonic()))

    # --- the thread

    def _run(self) -> None:
        pause = 0.0
        while True:
            with self._changed:
                if pause:
                    self._changed.wait_for(lambda: self._stopping, timeout=pause)
                self._changed.wait_for(lambda: self._stopping or len(self._queue))
                batch = self._queue.head(self._destination.batch)
                last_try = self._stopping
            if not batch:
                break
            asked = self._attempt(batch)
            if last_try and asked is not None:
                break
            pause = 0.0 if asked is None else min(LONGEST_PAUSE, max(FIRST_PAUSE, pause * 2, asked))
        self._destination.close()

    def _attempt(self, batch: Sequence[I]) -> float | None:
        """Send one batch; None if that is done, else the seconds that the peer asks us to wait before it is tried again."""
        try:
            self._deliver(batch)
        except DeliveryError as error:
            self._turned(up=False, reason=error.reason)
            return error.after
        except Exception:
            if self._was_up:
                log.exception("sending failed", peer=self.name)
            self._metrics.failed("internal")
            self._turned(up=False, reason="internal error")
            return 0.0
        self._turned(up=True)
        return None

    def _turned(self, *, up: bool, reason: str = "") -> None:
        """Keep the metrics, and log only when it changed."""
        self._metrics.up.set(up)
        if self._was_up and not up:
            log.warning("notifications are not taken", peer=self.name, reason=reason)
        elif up and not self._was_up:
            log.info("notifications are taken again", peer=self.name)
        self._was_up = up

    def _deliver(self, batch: Sequence[I]) -> None:
        """Send, splitting what is refused; raises DeliveryError when the peer is away."""
        try:
            self._destination.send(batch)
        except DeliveryError as error:
            self._metrics.failed(error.kind)
            if not error.refused:
                raise
            if len(batch) == 1:
                self._drop(batch[0], error)
                return
            middle = len(batch) // 2
            self._deliver(batch[:middle])
            self._deliver(batch[middle:])
            return
        self._metrics.sent.inc(len(batch))
        self._metrics.last_success.set(self._clock())
        self._done(batch)
        self._told_taken(self.name, batch)

    def _done(self, batch: Sequence[I]) -> None:
        with self._changed:
            self._queue.done(batch)
            self._metrics.queued.set(len(self._queue))

    def _drop(self, item: I, error: DeliveryError) -> None:
        self._metrics.dropped.inc()
        if item.key not in self._refused:
            if len(self._refused) >= CAPACITY:
                self._refused.clear()
            self._refused.add(item.key)
            log.error("a notification is refused", peer=self.name, about=dict(item.about), reason=error.reason)
        self._done([item])
