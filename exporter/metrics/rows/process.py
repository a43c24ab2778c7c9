"""Families about the process, kept by prometheus-client's registry."""

from __future__ import annotations

from exporter.metrics.rows.row import MetricRow, MetricType, Owner

ROWS: tuple[MetricRow, ...] = tuple(
    MetricRow(name, help, type, tuple(labels.split()), (Owner.SELF,), unit, cluster=False)
    for name, help, type, labels, unit in (
        ("klaxon_build_info", "Version of Klaxon; always 1.", MetricType.GAUGE, "version", ""),
        (
            "klaxon_config_last_reload_successful",
            "1 if the configuration that was read last is in force, 0 if it was refused.",
            MetricType.GAUGE,
            "",
            "",
        ),
        (
            "klaxon_config_last_reload_success_timestamp_seconds",
            "When a configuration was last put in force, Unix time.",
            MetricType.GAUGE,
            "",
            "seconds",
        ),
        ("klaxon_start_time_seconds", "When Klaxon started, Unix time.", MetricType.GAUGE, "", "seconds"),
        (
            "klaxon_notify_up",
            "1 if the last request to this Alertmanager or webhook succeeded, 0 if it failed.",
            MetricType.GAUGE,
            "peer",
            "",
        ),
        (
            "klaxon_notify_queued",
            "Alerts and events that this Alertmanager or webhook has not taken yet.",
            MetricType.GAUGE,
            "peer",
            "",
        ),
        (
            "klaxon_notify_last_success_timestamp_seconds",
            "When this Alertmanager or webhook last took what was sent, Unix time.",
            MetricType.GAUGE,
            "peer",
            "seconds",
        ),
        (
            "klaxon_notify_last_request_seconds",
            "How long the last request to this Alertmanager or webhook took.",
            MetricType.GAUGE,
            "peer",
            "seconds",
        ),
        (
            "klaxon_notify_clock_skew_seconds",
            "How far Klaxon's clock is ahead of this Alertmanager's, to the second; negative if it is behind.",
            MetricType.GAUGE,
            "peer",
            "seconds",
        ),
        (
            "klaxon_notifications_total",
            "Alerts and events that this Alertmanager or webhook took.",
            MetricType.COUNTER,
            "peer",
            "",
        ),
        (
            "klaxon_notifications_failed_total",
            "Requests to this Alertmanager or webhook that failed, by reason: connection, timeout, tls, secret, internal, or http_ with the status.",
            MetricType.COUNTER,
            "peer reason",
            "",
        ),
        (
            "klaxon_notifications_dropped_total",
            "Alerts and events that this Alertmanager or webhook refused for good, or that its full queue lost.",
            MetricType.COUNTER,
            "peer",
            "",
        ),
        (
            "klaxon_rule_evaluation_failures_total",
            "Evaluations of this rule that ended in an error.",
            MetricType.COUNTER,
            "rule",
            "",
        ),
        (
            "klaxon_rule_group_last_evaluation_timestamp_seconds",
            "When this rule group was last evaluated, Unix time.",
            MetricType.GAUGE,
            "group",
            "seconds",
        ),
        (
            "klaxon_rule_group_last_duration_seconds",
            "How long the last evaluation of this rule group took.",
            MetricType.GAUGE,
            "group",
            "seconds",
        ),
        ("klaxon_alerts", "Alerts by state.", MetricType.GAUGE, "state", ""),
        ("klaxon_incidents", "Open incidents by severity.", MetricType.GAUGE, "severity", ""),
        ("klaxon_book_healthy", "1 if the last write to the book succeeded.", MetricType.GAUGE, "", ""),
        ("klaxon_history_series", "Series that the history keeps.", MetricType.GAUGE, "", ""),
    )
)
