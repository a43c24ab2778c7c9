"""Families of the collector ``log_dirs``."""

from __future__ import annotations

from exporter.metrics.rows.row import MetricRow, Owner, gauge

ROWS: tuple[MetricRow, ...] = (
    gauge(
        "kafka_log_dir_online",
        "1 if the log dir works, 0 if the broker has taken it out of service (KAFKA_STORAGE_ERROR).",
        "broker dir",
        Owner.LOG_DIRS,
    ),
    gauge(
        "kafka_log_dir_total_bytes",
        "Size of the volume that holds the log dir (KIP-827); absent when the dir has failed.",
        "broker dir",
        Owner.LOG_DIRS,
        unit="bytes",
    ),
    gauge(
        "kafka_log_dir_usable_bytes",
        "Usable space of the volume that holds the log dir (KIP-827); absent when the dir has failed.",
        "broker dir",
        Owner.LOG_DIRS,
        unit="bytes",
    ),
    gauge(
        "kafka_log_dir_size_bytes", "Bytes of all replicas in the log dir.", "broker dir", Owner.LOG_DIRS, unit="bytes"
    ),
    gauge("kafka_log_dir_replicas", "Replicas in the log dir.", "broker dir", Owner.LOG_DIRS),
    gauge(
        "kafka_broker_topic_size_bytes",
        "Bytes of the topic's replicas on the broker.",
        "broker topic",
        Owner.LOG_DIRS,
        unit="bytes",
    ),
)
