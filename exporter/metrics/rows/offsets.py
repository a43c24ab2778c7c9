"""Families of the collector ``offsets``."""

from __future__ import annotations

from exporter.metrics.rows.row import MetricRow, Owner, gauge

ROWS: tuple[MetricRow, ...] = (
    gauge(
        "kafka_topic_partition_current_offset",
        "End offset of the partition: the offset that the next record gets.",
        "topic partition",
        Owner.OFFSETS,
    ),
    gauge(
        "kafka_topic_partition_oldest_offset", "Log start offset of the partition.", "topic partition", Owner.OFFSETS
    ),
)
