"""What Metadata means for each partition: leaderless, under-replicated, under or at min.insync.replicas, who misses a replica."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from exporter.facts.partitions import I32, I64, Bool, PartitionTable, TopicFacts

NO_LEADER = -1


@dataclass(frozen=True, slots=True, eq=False)
class PartitionHealth:
    """One entry per partition row of ``table``; ``missing_row``/``missing_broker`` have one per replica that is not in sync.

    Formulas: under-replicated = in-sync < replicas; under min ISR = in-sync < ``min_isr``, which is min(min.insync.replicas, replicas) as in Kafka's
    ``Partition.effectiveMinIsr`` (a topic with fewer replicas than its setting asks for can be written; compare Kafka's ``ReplicaManager.UnderMinIsrPartitionCount``, leaderless
    partitions included); at min ISR = in-sync == ``min_isr`` while in-sync < replicas, so that a topic of RF == min.insync.replicas is not at its limit when whole.
    """

    table: PartitionTable
    min_isr: I32
    replicas: I64
    in_sync: I64
    preferred: Bool
    leaderless: Bool
    under_replicated: Bool
    under_min_isr: Bool
    at_min_isr: Bool
    missing_row: I64
    missing_broker: I32


def partition_health(facts: TopicFacts) -> PartitionHealth:
    """Judge every partition of one Metadata answer."""
    table = facts.partitions
    replicas, in_sync = table.replicas.counts(), table.isr.counts()
    configured = facts.min_insync_replicas[table.topic] if len(table) else np.zeros(0, dtype=np.int32)
    min_isr = np.minimum(configured, replicas).astype(np.int32)
    leaderless = table.leader == NO_LEADER
    under_replicated = in_sync < replicas
    missing_row, missing_broker = _missing_replicas(table)
    return PartitionHealth(
        table=table,
        min_isr=min_isr,
        replicas=replicas,
        in_sync=in_sync,
        preferred=_first_replica(table) == table.leader,
        leaderless=leaderless,
        under_replicated=under_replicated,
        under_min_isr=in_sync < min_isr,
        at_min_isr=(in_sync == min_isr) & under_replicated & (min_isr > 0),
        missing_row=missing_row,
        missing_broker=missing_broker,
    )


def _first_replica(table: PartitionTable) -> I32:
    first = np.full(len(table), NO_LEADER - 1, dtype=np.int32)
    some = table.replicas.counts() > 0
    first[some] = table.replicas.values[table.replicas.starts[:-1][some]]
    return first


def _missing_replicas(table: PartitionTable) -> tuple[I64, I32]:
    """Rows and brokers of replicas outside the ISR: a set difference on the pair (row, broker)."""
    replica_row, isr_row = table.replicas.owners(), table.isr.owners()
    width = 1 << 32
    assigned = replica_row * width + table.replicas.values.astype(np.int64)
    in_sync = isr_row * width + table.isr.values.astype(np.int64)
    missing = ~np.isin(assigned, in_sync)
    return replica_row[missing], table.replicas.values[missing]
