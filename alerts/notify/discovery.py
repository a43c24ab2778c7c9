"""Peers that a DNS SRV record names, looked up again and again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import dns.exception
import dns.resolver
import structlog

from alerts.notify.config import AlertmanagerPeer

log = structlog.get_logger(__name__)

LIMIT_S: Final = 5.0
"""How long one look-up may take."""

Lookup = Callable[[str], Sequence[tuple[str, int]]]


def look_up(name: str) -> Sequence[tuple[str, int]]:
    """Host and port of every target of an SRV record, sorted: priorities and weights do not count, since every peer gets all. Raises OSError."""
    try:
        answer = dns.resolver.resolve(name, "SRV", lifetime=LIMIT_S, search=False)
    except (dns.exception.DNSException, ValueError) as error:
        raise OSError(str(error)) from error
    targets = {(record.target.to_text(omit_final_dot=True), int(record.port)) for record in answer}
    return sorted(t for t in targets if t[0] not in (".", ""))


class Discovery:
    """Finds the peers of each record in a thread of its own; ``found`` is called whenever they have changed. What was found stays while DNS fails."""

    def __init__(self, found: Callable[[], None], lookup: Lookup = look_up) -> None:
        self._found = found
        self._lookup = lookup
        self._known: dict[AlertmanagerPeer, tuple[AlertmanagerPeer, ...]] = {}
        self._due: dict[AlertmanagerPeer, float] = {}
        self._failing: set[str] = set()
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="notify discovery", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    def use(self, records: Iterable[AlertmanagerPeer]) -> None:
        """Look up these from now on."""
        with self._changed:
            wanted = list(records)
            self._known = {r: peers for r, peers in self._known.items() if r in wanted}
            self._due = {r: self._due.get(r, 0.0) for r in wanted}
            self._changed.notify_all()

    def peers(self, record: AlertmanagerPeer) -> tuple[AlertmanagerPeer, ...]:
        """What the record named last."""
        with self._changed:
            return self._known.get(record, ())

    def _run(self) -> None:
        while True:
            with self._changed:
                due = self._next()
                if self._stopping:
                    return
            if due is not None and self._looked_up(due):
                self._found()

    def _next(self) -> AlertmanagerPeer | None:
        """The record whose turn it is, or None after a wait."""
        first = min(self._due, key=lambda r: self._due[r], default=None)
        wait = self._due[first] - time.monotonic() if first is not None else None
        if wait is None or wait > 0:
            self._changed.wait(wait)
            return None
        return first

    def _looked_up(self, record: AlertmanagerPeer) -> bool:
        """Whether there is something new."""
        try:
            targets = self._lookup(record.srv)
        except OSError as error:
            if record.srv not in self._failing:
                log.warning("the SRV record of Alertmanagers cannot be looked up", srv=record.srv, error=str(error))
            self._failing.add(record.srv)
            targets = None
        else:
            if record.srv in self._failing:
                log.info("the SRV record of Alertmanagers can be looked up again", srv=record.srv)
            self._failing.discard(record.srv)
        with self._changed:
            if record not in self._due:
                return False
            self._due[record] = time.monotonic() + record.refresh
            if targets is None:
                return False
            peers = tuple(record.at(host, port) for host, port in targets)
            if peers == self._known.get(record):
                return False
            self._known[record] = peers
        log.info("the SRV record names Alertmanagers", srv=record.srv, peers=[p.name for p in peers])
        return True
