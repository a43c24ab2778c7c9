"""Klaxon's own metrics about delivery; their names stand in the catalogue's PROCESS_ROWS."""

from __future__ import annotations

from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge

from exporter.metrics.catalogue import PROCESS_ROWS, by_name

_ROWS = by_name(PROCESS_ROWS)


class DeliveryMetrics:
    """One set for all peers, on the daemon's registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def gauge(name: str) -> Gauge:
            return Gauge(name, _ROWS[name].help, _ROWS[name].labels, registry=registry)

        def counter(name: str) -> Counter:
            return Counter(name, _ROWS[name].help, _ROWS[name].labels, registry=registry)

        self._up = gauge("klaxon_notify_up")
        self._queued = gauge("klaxon_notify_queued")
        self._last_success = gauge("klaxon_notify_last_success_timestamp_seconds")
        self._seconds = gauge("klaxon_notify_last_request_seconds")
        self._skew = gauge("klaxon_notify_clock_skew_seconds")
        self._sent = counter("klaxon_notifications_total")
        self._failed = counter("klaxon_notifications_failed_total")
        self._dropped = counter("klaxon_notifications_dropped_total")

    def of(self, peer: str) -> PeerMetrics:
        """The series of one peer; its counters begin at zero."""
        return PeerMetrics(
            self._up.labels(peer),
            self._queued.labels(peer),
            self._last_success.labels(peer),
            self._seconds.labels(peer),
            self._sent.labels(peer),
            self._dropped.labels(peer),
            self._failed,
            self._skew,
            peer,
        )

    def forget(self, peer: str) -> None:
        """A peer that is configured no longer has no series."""
        for metric in (self._up, self._queued, self._last_success, self._seconds, self._sent, self._dropped):
            metric.remove(peer)
        self._failed.remove_by_labels({"peer": peer})
        self._skew.remove_by_labels({"peer": peer})


@dataclass(frozen=True, slots=True)
class PeerMetrics:
    """What is kept of one peer; a series of ``failed`` and ``skew`` begins when there is something to say."""

    up: Gauge
    queued: Gauge
    last_success: Gauge
    seconds: Gauge
    sent: Counter
    dropped: Counter
    _failed: Counter
    _skew: Gauge
    _peer: str

    def failed(self, reason: str) -> None:
        self._failed.labels(self._peer, reason).inc()

    def skewed(self, seconds: float) -> None:
        self._skew.labels(self._peer).set(seconds)
