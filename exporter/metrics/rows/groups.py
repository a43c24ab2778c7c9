"""Families of the collector ``groups``."""

from __future__ import annotations

from exporter.metrics.rows.row import MetricRow, Owner, gauge

ROWS: tuple[MetricRow, ...] = (
    gauge("kafka_consumergroup_members", "Members of the group.", "consumergroup", Owner.GROUPS),
    gauge(
        "kafka_consumergroup_state",
        "State and type of the group in Kafka's words; always 1.",
        "consumergroup state type",
        Owner.GROUPS,
    ),
    gauge(
        "kafka_consumergroup_current_offset",
        "Offset that the group has committed for the partition.",
        "consumergroup topic partition",
        Owner.GROUPS,
    ),
    gauge(
        "kafka_consumergroup_current_offset_sum",
        "Sum of the offsets that the group has committed for the topic's partitions.",
        "consumergroup topic",
        Owner.GROUPS,
        inherited=True,
    ),
    gauge(
        "kafka_consumergroup_lag",
        "Records between the group's committed offset and the partition's end, at least 0.",
        "consumergroup topic partition",
        Owner.GROUPS,
        Owner.OFFSETS,
    ),
    gauge(
        "kafka_consumergroup_lag_sum",
        "Records that the group is behind over the topic's partitions with a committed offset.",
        "consumergroup topic",
        Owner.GROUPS,
        Owner.OFFSETS,
        inherited=True,
    ),
    gauge(
        "kafka_consumergroup_commit_beyond_end",
        "Records by which the committed offset lies beyond the partition's end: the topic was truncated, recreated, or the commit is wrong.",
        "consumergroup topic partition",
        Owner.GROUPS,
        Owner.OFFSETS,
        sparse=True,
    ),
)
