"""Families of the collector ``topics``: partitions and what is wrong with them, by partition, topic, broker and cluster."""

from __future__ import annotations

import numpy as np

from exporter.blocks import Block, LabelSets
from exporter.derive.health import PartitionHealth
from exporter.facts.partitions import I32, I64, Bool, PartitionTable, TopicFacts
from exporter.metrics.families.lasting import Blocks, Lasting, trusted
from exporter.snapshot import Snapshot


def blocks(keep: Lasting, snapshot: Snapshot) -> Blocks:
    facts = trusted(snapshot, "topics", snapshot.topics)
    health = snapshot.derived.health
    if facts is None or health is None:
        return []
    cluster = snapshot.cluster_facts.value(snapshot.at)
    brokers = keep.labels(
        "brokers", ("broker",), [(str(n),) for n in sorted(b.id for b in cluster.brokers)] if cluster else []
    )
    made = keep.once("topics", (facts, health, brokers), lambda: _topic_blocks(keep, facts, health, brokers))
    hidden = snapshot.derived.hidden_topics
    return made if hidden is None else [*made, keep.scalar("kafka_topics_hidden", hidden)]


def _topic_blocks(keep: Lasting, facts: TopicFacts, health: PartitionHealth, brokers: LabelSets) -> Blocks:
    return [
        *_per_partition(keep, health),
        *_per_topic(keep, facts, health),
        *_per_broker(keep, health, brokers),
        *_totals(keep, health),
        *_sparse(keep, facts, health),
    ]


def partition_labels(keep: Lasting, table: PartitionTable) -> LabelSets:
    """(topic, partition) of every row; the same object as long as the same partitions exist, whoever leads them."""
    known = keep.partitions
    if known is not None:
        old, labels = known
        if old is table or (old.topics == table.topics and np.array_equal(old.topic_starts, table.topic_starts)):
            keep.partitions = (table, labels)
            return labels
    names = table.topics
    rows = [(names[t], str(p)) for t, p in zip(table.topic.tolist(), table.partition.tolist(), strict=True)]
    labels = LabelSets(("topic", "partition"), rows)
    keep.partitions = (table, labels)
    return labels


def _per_partition(keep: Lasting, health: PartitionHealth) -> Blocks:
    labels = partition_labels(keep, health.table)
    return [
        Block("kafka_topic_partition_leader", labels, health.table.leader.astype(np.int64)),
        Block("kafka_topic_partition_replicas", labels, health.replicas),
        Block("kafka_topic_partition_in_sync_replica", labels, health.in_sync),
        Block("kafka_topic_partition_leader_is_preferred", labels, health.preferred.astype(np.int64)),
        Block("kafka_topic_partition_under_replicated_partition", labels, health.under_replicated.astype(np.int64)),
    ]


def _per_topic(keep: Lasting, facts: TopicFacts, health: PartitionHealth) -> Blocks:
    table = health.table
    labels = keep.labels("topics", ("topic",), [(t,) for t in table.topics])

    def count(mask: Bool) -> I64:
        return np.bincount(table.topic[mask], minlength=len(table.topics)).astype(np.int64)

    known = facts.min_insync_replicas > 0
    factor = np.zeros(len(table.topics), dtype=np.int64)
    np.maximum.at(factor, table.topic, health.replicas)
    return [
        Block("kafka_topic_partitions", labels, np.diff(table.topic_starts)),
        Block("kafka_topic_replication_factor", labels, factor),
        keep.masked(
            "kafka_topic_min_insync_replicas",
            labels,
            facts.min_insync_replicas.astype(np.int64),
            known,
        ),
        Block("kafka_topic_partitions_under_replicated", labels, count(health.under_replicated)),
        keep.masked("kafka_topic_partitions_under_min_isr", labels, count(health.under_min_isr), known),
        keep.masked("kafka_topic_partitions_at_min_isr", labels, count(health.at_min_isr), known),
        keep.scalar("kafka_topics_without_min_insync_replicas", int((~known).sum())),
        Block("kafka_topic_partitions_leaderless", labels, count(health.leaderless)),
    ]


def _per_broker(keep: Lasting, health: PartitionHealth, brokers: LabelSets) -> Blocks:
    def count(ids: I32) -> I64:
        return np.array([int((ids == int(b)).sum()) for (b,) in brokers.rows], dtype=np.int64)

    return [
        Block("kafka_broker_replicas", brokers, count(health.table.replicas.values)),
        Block("kafka_broker_leaders", brokers, count(health.table.leader)),
        Block("kafka_broker_replicas_missing", brokers, count(health.missing_broker)),
    ]


def _totals(keep: Lasting, health: PartitionHealth) -> Blocks:
    return [
        keep.scalar("kafka_partitions", len(health.table)),
        keep.scalar("kafka_partitions_under_replicated", int(health.under_replicated.sum())),
        keep.scalar("kafka_partitions_under_min_isr", int(health.under_min_isr.sum())),
        keep.scalar("kafka_partitions_at_min_isr", int(health.at_min_isr.sum())),
        keep.scalar("kafka_partitions_leaderless", int(health.leaderless.sum())),
    ]


def _sparse(keep: Lasting, facts: TopicFacts, health: PartitionHealth) -> Blocks:
    rows = partition_labels(keep, health.table).rows
    leaderless = np.flatnonzero(health.leaderless).tolist()
    replicas = health.table.replicas
    with_broker = ("topic", "partition", "broker")
    missing = zip(health.missing_row.tolist(), health.missing_broker.tolist(), strict=True)
    return [
        keep.ones("kafka_partition_replica_missing", with_broker, [(*rows[r], str(b)) for r, b in missing]),
        keep.ones(
            "kafka_partition_under_min_isr",
            ("topic", "partition"),
            [rows[r] for r in np.flatnonzero(health.under_min_isr).tolist()],
        ),
        keep.ones("kafka_partition_leaderless", ("topic", "partition"), [rows[r] for r in leaderless]),
        keep.ones(
            "kafka_partition_leaderless_replica",
            with_broker,
            [(*rows[r], str(b)) for r in leaderless for b in replicas.row(r).tolist()],
        ),
        keep.ones(
            "kafka_partition_eligible_leader_replica",
            with_broker,
            [(e.topic, str(e.partition), str(b)) for e in facts.elr for b in e.eligible_leader_replicas],
        ),
    ]
