"""Delivery to all peers: Alertmanagers, those that DNS names, and webhooks, each with a queue of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

from prometheus_client import CollectorRegistry

from alerts.diagnosis.events import Event, events
from alerts.diagnosis.postings import Links, Posting
from alerts.model import Incident
from alerts.notify.alertmanager import Alertmanager
from alerts.notify.config import AlertmanagerPeer
from alerts.notify.config import Webhook as WebhookConfig
from alerts.notify.discovery import Discovery, Lookup, look_up
from alerts.notify.metrics import DeliveryMetrics
from alerts.notify.sender import Sender
from alerts.notify.webhook import Webhook

MOST_REMEMBERED: Final = 10_000
"""Postings whose last state is remembered, so that it is written down once."""


class Ledger(Protocol):
    """Where it is kept who took what, over restarts. Does not raise; any thread may call."""

    def record_sent(self, incident: str, peer: str, what: str, at: float) -> None: ...

    def sent_to(self, peer: str) -> Iterable[tuple[str, str]]:
        """Incident and what, of all that this peer took."""
        ...


class NoLedger:
    """Keeps nothing."""

    def record_sent(self, incident: str, peer: str, what: str, at: float) -> None: ...

    def sent_to(self, peer: str) -> Iterable[tuple[str, str]]:
        return ()


class Delivery:
    """All peers together; an ``Outbox``. ``changed`` is called with the Alertmanagers whenever they are others than before."""

    def __init__(
        self,
        registry: CollectorRegistry,
        clock: Callable[[], float],
        *,
        ledger: Ledger | None = None,
        links: Links | None = None,
        changed: Callable[[Sequence[AlertmanagerPeer]], None] = lambda peers: None,
        lookup: Lookup = look_up,
    ) -> None:
        self._metrics = DeliveryMetrics(registry)
        self._clock = clock
        self._ledger: Ledger = ledger if ledger is not None else NoLedger()
        self._links = links if links is not None else Links()
        self._changed = changed
        self._lock = threading.RLock()
        self._configured: tuple[AlertmanagerPeer, ...] = ()
        self._alertmanagers: Mapping[AlertmanagerPeer, Sender[Posting]] = {}
        self._webhooks: Mapping[WebhookConfig, Sender[Event]] = {}
        self._told: dict[str, set[tuple[str, str]]] = {}
        self._last: dict[tuple[str, object], str] = {}
        self._started = False
        self._discovery = Discovery(self._rediscovered, lookup)

    def start(self) -> None:
        """Begin to send; before that everything waits."""
        with self._lock:
            self._started = True
            for sender in self._senders:
                sender.start()
        self._discovery.start()

    def use(self, peers: Iterable[AlertmanagerPeer], webhooks: Iterable[WebhookConfig] = ()) -> None:
        """Send to these from now on; those that were there before keep their queue. A new Alertmanager gets firing alerts with their next re-sending."""
        self._configured = tuple(dict.fromkeys(peers))
        self._discovery.use(p for p in self._configured if p.srv)
        with self._lock:
            wanted = dict.fromkeys(webhooks)
            self._part(s for w, s in self._webhooks.items() if w not in wanted)
            self._webhooks = {w: self._webhooks.get(w) or self._webhook(w) for w in wanted}
        self._rediscovered()

    def _rediscovered(self) -> None:
        with self._lock:
            found = (q for p in self._configured for q in ([p] if p.url else self._discovery.peers(p)))
            # One address has one queue, though a record and the configuration may both name it.
            wanted = {p.url: p for p in reversed(list(found))}
            peers = list(reversed(wanted.values()))
            if peers == list(self._alertmanagers):
                return
            self._part(s for p, s in self._alertmanagers.items() if p not in peers)
            self._alertmanagers = {p: self._alertmanagers.get(p) or self._alertmanager(p) for p in peers}
        self._changed(peers)

    def _part(self, gone: Iterable[Sender[Any]]) -> None:
        """Let go of those that are configured no longer, and of their series."""
        for sender in gone:
            sender.ask_to_stop()
            self._metrics.forget(sender.name)
            self._told.pop(sender.name, None)

    @property
    def _senders(self) -> list[Sender[Any]]:
        return [*self._alertmanagers.values(), *self._webhooks.values()]

    def _alertmanager(self, config: AlertmanagerPeer) -> Sender[Posting]:
        metrics = self._metrics.of(config.name)
        sender = Sender(Alertmanager(config, metrics, self._clock), metrics, self._clock, self._took)
        if self._started:
            sender.start()
        return sender

    def _webhook(self, config: WebhookConfig) -> Sender[Event]:
        metrics = self._metrics.of(config.shown_name)
        sender = Sender(Webhook(config, metrics.seconds.set), metrics, self._clock, self._heard)
        if self._started:
            sender.start()
        return sender

    # --- what is to be told

    def post(self, batch: Sequence[Posting]) -> None:
        """Hand the batch to every Alertmanager's queue; returns at once."""
        with self._lock:
            for sender in self._alertmanagers.values():
                sender.post(batch)

    def tell(self, incidents: Sequence[Incident]) -> None:
        """Hand every webhook the events that it has not been told; returns at once."""
        with self._lock:
            if not self._webhooks:
                return
            happened = {(e.incident.id, e.row): e for i in incidents for e in events(i, self._links)}
            for sender in self._webhooks.values():
                told = self._told.get(sender.name)
                if told is None:
                    told = set(self._ledger.sent_to(sender.name))
                if new := [event for key, event in happened.items() if key not in told]:
                    sender.post(new)
                self._told[sender.name] = set(happened)

    # --- what was taken, in the senders' threads

    def _took(self, peer: str, batch: Sequence[Posting]) -> None:
        for posting in batch:
            said = "firing" if posting.resolved_at is None else "resolved"
            what = f"{said} {posting.labels.get('severity', '')} {posting.starts_at}"
            if posting.incident and self._last.get((peer, posting.key)) != what:
                self._last[peer, posting.key] = what
                self._ledger.record_sent(posting.incident, peer, what, self._clock())
            if posting.resolved_at is not None and len(self._last) > MOST_REMEMBERED:
                self._last.pop((peer, posting.key), None)

    def _heard(self, peer: str, batch: Sequence[Event]) -> None:
        for event in batch:
            self._ledger.record_sent(event.incident.id, peer, event.row, self._clock())

    def pending(self) -> Mapping[str, int]:
        """Peer -> what it has not taken yet."""
        with self._lock:
            return {s.name: s.pending for s in self._senders}

    def stop(self, grace: float = 5.0) -> None:
        """Let every peer send what it has for up to ``grace`` seconds together, then end."""
        self._discovery.stop()
        with self._lock:
            senders = self._senders
        for sender in senders:
            sender.ask_to_stop()
        until = time.monotonic() + grace
        for sender in senders:
            sender.wait(until)
