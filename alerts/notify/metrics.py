"""Klaxon's own metrics about delivery; their names stand in the catalogue's PROCESS_ROWS."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge


class DeliveryMetrics:
    """One set for all peers, on the daemon's registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.up = Gauge(
            "klaxon_alertmanager_up",
            "1 if the last request to this Alertmanager succeeded.",
            ["peer"],
            registry=registry,
        )
        self.last_success = Gauge(
            "klaxon_alertmanager_last_success_timestamp_seconds",
            "When this Alertmanager last took our alerts, Unix time.",
            ["peer"],
            registry=registry,
        )
        self.sent = Counter(
            "klaxon_notifications_total", "Alerts sent to this Alertmanager.", ["peer"], registry=registry
        )
        self.failed = Counter(
            "klaxon_notifications_failed_total",
            "Requests to this Alertmanager that failed.",
            ["peer"],
            registry=registry,
        )
        self.dropped = Counter(
            "klaxon_notifications_dropped_total",
            "Alerts that this Alertmanager refused for good.",
            ["peer"],
            registry=registry,
        )

    def forget(self, peer: str) -> None:
        """A peer that is configured no longer has no series."""
        for metric in (self.up, self.last_success, self.sent, self.failed, self.dropped):
            metric.remove(peer)
