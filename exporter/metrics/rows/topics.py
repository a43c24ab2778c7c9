"""Families of the collector ``topics``."""

from __future__ import annotations

from exporter.metrics.rows.row import MetricRow, Owner, gauge

ROWS: tuple[MetricRow, ...] = (
    gauge("kafka_topic_partitions", "Partitions of the topic.", "topic", Owner.TOPICS),
    gauge(
        "kafka_topic_partition_leader",
        "Node id of the partition's leader, -1 if there is none.",
        "topic partition",
        Owner.TOPICS,
    ),
    gauge("kafka_topic_partition_replicas", "Replicas assigned to the partition.", "topic partition", Owner.TOPICS),
    gauge(
        "kafka_topic_partition_in_sync_replica", "In-sync replicas of the partition.", "topic partition", Owner.TOPICS
    ),
    gauge(
        "kafka_topic_partition_leader_is_preferred",
        "1 if the leader is the first replica.",
        "topic partition",
        Owner.TOPICS,
    ),
    gauge(
        "kafka_topic_partition_under_replicated_partition",
        "1 if the partition has fewer in-sync replicas than replicas.",
        "topic partition",
        Owner.TOPICS,
    ),
    gauge(
        "kafka_topic_replication_factor", "Largest number of replicas of the topic's partitions.", "topic", Owner.TOPICS
    ),
    gauge("kafka_topic_min_insync_replicas", "min.insync.replicas in force for the topic.", "topic", Owner.TOPICS),
    gauge(
        "kafka_topic_partitions_under_replicated",
        "Partitions of the topic with fewer in-sync replicas than replicas.",
        "topic",
        Owner.TOPICS,
    ),
    gauge(
        "kafka_topic_partitions_under_min_isr",
        "Partitions of the topic below min.insync.replicas: acks=all writes fail.",
        "topic",
        Owner.TOPICS,
    ),
    gauge(
        "kafka_topic_partitions_at_min_isr",
        "Partitions of the topic at min.insync.replicas though fewer than their replicas are in sync: one more loss stops acks=all writes.",
        "topic",
        Owner.TOPICS,
    ),
    gauge(
        "kafka_topic_partitions_leaderless",
        "Partitions of the topic without a leader: nothing can be written or read.",
        "topic",
        Owner.TOPICS,
    ),
    gauge("kafka_partitions", "Partitions of the cluster.", "", Owner.TOPICS),
    gauge(
        "kafka_partitions_under_replicated", "Partitions with fewer in-sync replicas than replicas.", "", Owner.TOPICS
    ),
    gauge(
        "kafka_partitions_under_min_isr",
        "Partitions below min.insync.replicas: acks=all writes fail.",
        "",
        Owner.TOPICS,
    ),
    gauge(
        "kafka_partitions_at_min_isr",
        "Partitions at min.insync.replicas though not all replicas are in sync: one more loss stops acks=all writes.",
        "",
        Owner.TOPICS,
    ),
    gauge(
        "kafka_partitions_leaderless", "Partitions without a leader: nothing can be written or read.", "", Owner.TOPICS
    ),
    gauge(
        "kafka_partition_replica_missing",
        "1 for each replica that is not in sync, by the broker that should hold it.",
        "topic partition broker",
        Owner.TOPICS,
        sparse=True,
    ),
    gauge(
        "kafka_partition_under_min_isr",
        "1 for each partition below min.insync.replicas.",
        "topic partition",
        Owner.TOPICS,
        sparse=True,
    ),
    gauge(
        "kafka_partition_leaderless",
        "1 for each partition without a leader.",
        "topic partition",
        Owner.TOPICS,
        sparse=True,
    ),
    gauge(
        "kafka_partition_leaderless_replica",
        "1 for each replica of a partition without a leader, by the broker that holds it.",
        "topic partition broker",
        Owner.TOPICS,
        sparse=True,
    ),
    gauge(
        "kafka_partition_eligible_leader_replica",
        "1 for each eligible leader replica (KIP-966) of a partition below min.insync.replicas.",
        "topic partition broker",
        Owner.TOPICS,
        sparse=True,
    ),
    gauge(
        "kafka_topics_hidden",
        "Topics that the active controller counts and Metadata leaves out, since Klaxon has no right to describe them; absent where JMX does not tell the count.",
        "",
        Owner.TOPICS,
        Owner.JMX,
    ),
    gauge("kafka_broker_replicas", "Replicas assigned to the broker.", "broker", Owner.TOPICS),
    gauge("kafka_broker_leaders", "Partitions that the broker leads.", "broker", Owner.TOPICS),
    gauge(
        "kafka_broker_replicas_missing", "Replicas assigned to the broker that are not in sync.", "broker", Owner.TOPICS
    ),
    gauge(
        "kafka_topics_without_min_insync_replicas",
        "Topics whose min.insync.replicas is not known yet or may not be read; their partitions are in no count of min ISR.",
        "",
        Owner.TOPICS,
    ),
)
