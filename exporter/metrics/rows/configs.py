"""Families of the collector ``configs``."""

from __future__ import annotations

from exporter.metrics.rows.row import MetricRow, Owner, gauge

ROWS: tuple[MetricRow, ...] = (
    gauge(
        "kafka_broker_config_value",
        "A numeric setting in force on the broker, in the setting's own unit; true is 1, false is 0.",
        "broker name",
        Owner.CONFIGS,
    ),
    gauge(
        "kafka_broker_config_settings",
        "Settings of the broker by where their value comes from: dynamic_broker, dynamic_default, static (its file), default.",
        "broker source",
        Owner.CONFIGS,
    ),
    gauge(
        "kafka_config_drift",
        "How many different values a setting has among the brokers, where there is more than one; settings that differ by nature (node.id, listeners, log.dirs, …) and sensitive ones are left out.",
        "name",
        Owner.CONFIGS,
        sparse=True,
    ),
    gauge(
        "kafka_config_drift_info",
        "The broker's value of a setting that differs among the brokers, cut after 80 characters; always 1.",
        "broker name value",
        Owner.CONFIGS,
        sparse=True,
    ),
    gauge(
        "kafka_topic_config_value",
        "A numeric setting in force for the topic, in the setting's own unit; true is 1, false is 0.",
        "topic name",
        Owner.TOPIC_CONFIGS,
    ),
    gauge(
        "kafka_topic_cleanup_policy_info",
        "cleanup.policy in force for the topic (delete, compact, or both); always 1.",
        "topic policy",
        Owner.TOPIC_CONFIGS,
    ),
    gauge(
        "kafka_quota",
        "A client quota in the unit of its key: bytes per second for producer_byte_rate and consumer_byte_rate, percent of one thread for request_percentage. "
        "<default> stands for all users, clients or addresses without one of their own; an empty label is no part of the entity.",
        "user client_id ip key",
        Owner.QUOTAS,
        sparse=True,
    ),
)
