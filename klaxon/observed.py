"""What Klaxon notices about itself while rules run: metrics of its own registry, and logs that never flood."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Gauge
from prometheus_client import Counter as CounterMetric

from alerts.engine.rules import Rule, RuleGroup
from alerts.model import Alert, AlertState, Incident, Severity
from exporter.metrics.catalogue import PROCESS_ROWS, MetricRow, by_name
from exporter.quiet_log import QuietLog
from klaxon import version

_ROWS = by_name(PROCESS_ROWS)


def _gauge(name: str, registry: CollectorRegistry) -> Gauge:
    row: MetricRow = _ROWS[name]
    return Gauge(row.name, row.help, row.labels, registry=registry)


class Observed:
    """Takes the engine's reports (an ``Observer``) and counts what is open."""

    def __init__(self, registry: CollectorRegistry, quiet: QuietLog, clock: Callable[[], float]) -> None:
        self._quiet = quiet
        failures = _ROWS["klaxon_rule_evaluation_failures_total"]
        self._failures = CounterMetric(failures.name, failures.help, failures.labels, registry=registry)
        self._evaluated_at = _gauge("klaxon_rule_group_last_evaluation_timestamp_seconds", registry)
        self._seconds = _gauge("klaxon_rule_group_last_duration_seconds", registry)
        self._alerts = _gauge("klaxon_alerts", registry)
        self._incidents = _gauge("klaxon_incidents", registry)
        self._book = _gauge("klaxon_book_healthy", registry)
        self._series = _gauge("klaxon_history_series", registry)
        self._reloaded = _gauge("klaxon_config_last_reload_successful", registry)
        self._reloaded_at = _gauge("klaxon_config_last_reload_success_timestamp_seconds", registry)
        self.reloaded(clock())
        _gauge("klaxon_build_info", registry).labels(version()).set(1)
        _gauge("klaxon_start_time_seconds", registry).set(clock())

    def reloaded(self, at: float | None) -> None:
        """A configuration was put in force at this time, or refused (None)."""
        self._reloaded.set(at is not None)
        if at is not None:
            self._reloaded_at.set(at)

    def rule_failed(self, group: RuleGroup, rule: Rule, reason: str) -> None:
        self._failures.labels(rule.name).inc()
        self._quiet.failed(
            f"rule {rule.key}", reason, "rule cannot be evaluated", group=group.name, rule=rule.name, reason=reason
        )

    def group_evaluated(self, group: RuleGroup, at: float, seconds: float) -> None:
        self._evaluated_at.labels(group.name).set(at)
        self._seconds.labels(group.name).set(seconds)

    def book_failed(self, error: Exception) -> None:
        self._quiet.failed(
            "book", type(error).__name__, "the book cannot be written; going on from memory", error=str(error)
        )

    def counted(self, alerts: Iterable[Alert], incidents: Iterable[Incident], book_healthy: bool, series: int) -> None:
        """What stands after a pass of the rules."""
        states = Counter(alert.state for alert in alerts)
        for state in AlertState:
            self._alerts.labels(state).set(states[state])
        severities = Counter(i.severity for i in incidents if i.closed_at is None)
        for severity in Severity:
            self._incidents.labels(severity).set(severities[severity])
        self._book.set(book_healthy)
        self._series.set(series)
        if book_healthy:
            self._quiet.ended("book", "the book can be written again")
