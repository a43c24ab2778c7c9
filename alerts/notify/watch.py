"""Asks the Alertmanagers what they show, for one of several Klaxons; each peer by a thread of its own, so that one that is away holds up no other."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import structlog

from alerts.diagnosis.shown import Shown, ShownAlert
from alerts.notify.alertmanager import Alertmanager
from alerts.notify.config import AlertmanagerPeer
from alerts.notify.sender import DeliveryError

log = structlog.get_logger(__name__)

EVERY: Final = 2.0
"""Seconds between two questions while the answer is of interest."""

WANTED_FOR: Final = 15.0
"""Seconds after which nobody is interested any more."""


class Watch:
    """``shown`` is cheap and never waits; it says that the answer is of interest, and the next one is there soon."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._peers: tuple[_Asker, ...] = ()
        self._clusters: tuple[str, ...] = ()
        self._lock = threading.Lock()

    def use(self, peers: Iterable[AlertmanagerPeer]) -> None:
        """Ask these from now on."""
        with self._lock:
            before = {p.config: p for p in self._peers}
            wanted = {config: before.get(config) or _Asker(config, self._clock, self._clusters) for config in peers}
            for config in before.keys() - wanted.keys():
                before[config].stop()
            self._peers = tuple(wanted.values())

    def use_clusters(self, clusters: Iterable[str]) -> None:
        """Ask about alerts of these."""
        with self._lock:
            self._clusters = tuple(sorted(clusters))
            for peer in self._peers:
                peer.clusters = self._clusters

    def shown(self, wanted: bool) -> Shown | None:
        """All that the peers said last, as old as the newest word; None before any answered. A peer that is away says nothing."""
        now = self._clock()
        with self._lock:
            peers = self._peers
        if wanted:
            for peer in peers:
                peer.want()
        answers = [a for p in peers if (a := p.answer) is not None and 0 <= now - a.at < WANTED_FOR]
        if not answers:
            return None
        return Shown(max(a.at for a in answers), [alert for a in answers for alert in a.alerts])

    def stop(self) -> None:
        self.use(())


class _Asker:
    """One peer."""

    def __init__(self, config: AlertmanagerPeer, clock: Callable[[], float], clusters: Sequence[str]) -> None:
        self.config = config
        self.clusters = clusters
        self.answer: Shown | None = None
        self._clock = clock
        self._wanted_at = float("-inf")
        self._changed = threading.Condition()
        self._stopping = False
        threading.Thread(target=self._run, name=f"watch {config.name}", daemon=True).start()

    def want(self) -> None:
        with self._changed:
            idle = not self._wanted()
            self._wanted_at = self._clock()
            if idle:
                self._changed.notify_all()

    def stop(self) -> None:
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    def _wanted(self) -> bool:
        return 0 <= self._clock() - self._wanted_at < WANTED_FOR

    def _run(self) -> None:
        peer = Alertmanager(self.config, None, self._clock)
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopping or self._wanted())
                if self._stopping:
                    break
            at = self._clock()
            if (alerts := self._ask(peer)) is not None:
                self.answer = Shown(at, alerts)
            with self._changed:
                self._changed.wait_for(lambda: self._stopping, timeout=EVERY)
        peer.close()

    def _ask(self, peer: Alertmanager) -> Sequence[ShownAlert] | None:
        try:
            return peer.shown(self.clusters)
        except DeliveryError as error:
            log.debug("an Alertmanager does not say what it shows", peer=peer.name, reason=error.reason)
        except Exception:
            log.exception("asking an Alertmanager failed", peer=peer.name)
        return None
