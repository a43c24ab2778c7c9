"""Families of the collector ``offsets``."""

from __future__ import annotations

from exporter.metrics.rows.row import MetricRow, Owner, gauge

ROWS: tuple[MetricRow, ...] = (
    gauge(
        "kafka_topic_partition_current_offset",
        "End offset of the partition: the offset that the next record gets.",
        "topic partition",
        Owner.OFFSETS,
        Owner.TOPICS,
    ),
    gauge(
        "kafka_topic_partition_oldest_offset",
        "Log start offset of the partition.",
        "topic partition",
        Owner.OFFSETS,
        Owner.TOPICS,
    ),
    gauge(
        "kafka_topic_partition_unstable_records",
        "Records between the partition's last stable offset and its end: read_committed consumers cannot read them since a transaction is open.",
        "topic partition",
        Owner.OFFSETS,
        Owner.TOPICS,
        sparse=True,
    ),
    gauge(
        "kafka_topic_partition_newest_record_timestamp_seconds",
        "Largest timestamp of a record in the partition (Unix time, as its producer or the broker set it); absent where it has no records.",
        "topic partition",
        Owner.OFFSETS,
        Owner.TOPICS,
        unit="seconds",
    ),
)
