"""Families of the collector ``reassignments``: what moves, and throttles."""

from __future__ import annotations

from exporter.metrics.rows.row import MetricRow, Owner, gauge

ROWS: tuple[MetricRow, ...] = (
    gauge("kafka_reassigning_partitions", "Partitions that are being reassigned.", "", Owner.REASSIGNMENTS),
    gauge(
        "kafka_partition_reassignment_adding_replica",
        "1 for each replica that a running reassignment adds to the partition, by the broker that gets it.",
        "topic partition broker",
        Owner.REASSIGNMENTS,
        sparse=True,
    ),
    gauge(
        "kafka_partition_reassignment_removing_replica",
        "1 for each replica that a running reassignment takes from the partition, by the broker that loses it.",
        "topic partition broker",
        Owner.REASSIGNMENTS,
        sparse=True,
    ),
    gauge(
        "kafka_partition_reassignment_remaining_bytes",
        "Bytes that the broker still has to copy: the leader's size less its own; absent where one of them is not known.",
        "topic partition broker",
        Owner.REASSIGNMENTS,
        Owner.LOG_DIRS,
        Owner.TOPICS,
        unit="bytes",
        sparse=True,
    ),
    gauge(
        "kafka_reassignments_remaining_bytes",
        "Bytes that all running reassignments still have to copy; absent while that of one is not known.",
        "",
        Owner.REASSIGNMENTS,
        Owner.LOG_DIRS,
        Owner.TOPICS,
        unit="bytes",
    ),
    gauge(
        "kafka_broker_replication_throttle_bytes",
        "Bytes a second to which the broker's leader or follower replication, or the copying between its log dirs (alter_log_dirs), is throttled.",
        "broker throttle",
        Owner.THROTTLES,
        unit="bytes",
        sparse=True,
    ),
    gauge(
        "kafka_broker_replication_throttle_leftover",
        "1 for each throttle of the broker that stands for more than two polls though nothing moves that it could be for.",
        "broker throttle",
        Owner.THROTTLES,
        Owner.REASSIGNMENTS,
        sparse=True,
    ),
    gauge(
        "kafka_topic_replication_throttled",
        "1 for each throttle (leader, follower) that is set for replicas of the topic; it acts on brokers that have a rate for it.",
        "topic throttle",
        Owner.THROTTLED_TOPICS,
        sparse=True,
    ),
    gauge(
        "kafka_topic_replication_throttle_leftover",
        "1 for each throttle of the topic's replicas that stands for more than two polls though no reassignment runs.",
        "topic throttle",
        Owner.THROTTLED_TOPICS,
        Owner.REASSIGNMENTS,
        sparse=True,
    ),
)
