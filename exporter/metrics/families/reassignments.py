"""Families of the collector ``reassignments``."""

from __future__ import annotations

from exporter.blocks import Block
from exporter.derive.moves import bytes_left
from exporter.facts.reassignments import Move
from exporter.metrics.families.lasting import Blocks, Lasting, Row
from exporter.reading import WHOLE_CLUSTER
from exporter.snapshot import Snapshot

COPY = ("topic", "partition", "broker")


def blocks(keep: Lasting, snapshot: Snapshot) -> Blocks:
    moves = snapshot.reassignments.value(snapshot.at)
    if moves is None:
        return []
    return [
        keep.scalar("kafka_reassigning_partitions", len(moves)),
        keep.ones("kafka_partition_reassignment_adding_replica", COPY, [r for m in moves for r in _rows(m, m.adding)]),
        keep.ones(
            "kafka_partition_reassignment_removing_replica", COPY, [r for m in moves for r in _rows(m, m.removing)]
        ),
        *_remaining(keep, snapshot, moves),
    ]


def _rows(move: Move, brokers: tuple[int, ...]) -> list[Row]:
    return [(move.topic, str(move.partition), str(b)) for b in sorted(brokers)]


def _remaining(keep: Lasting, snapshot: Snapshot, moves: tuple[Move, ...]) -> Blocks:
    health = snapshot.derived.health
    if health is None:
        return []
    log_dirs = {b: p.value for b, p in snapshot.log_dirs.fresh(snapshot.at).items()}
    table = health.table
    left = keep.once("bytes left", (moves, table, *log_dirs.values()), lambda: bytes_left(moves, table, log_dirs))
    known = {copy: size for copy, size in left.items() if size is not None}
    samples = (((topic, str(p), str(broker)), size) for (topic, p, broker), size in sorted(known.items()))
    made = [keep.block("kafka_partition_reassignment_remaining_bytes", COPY, samples)]
    if len(known) == len(left):
        made.append(keep.scalar("kafka_reassignments_remaining_bytes", sum(known.values())))
    return made


def throttle_blocks(keep: Lasting, snapshot: Snapshot) -> Blocks:
    parts = sorted(snapshot.throttles.fresh(snapshot.at).items())
    rates = (((str(b), t), rate) for b, p in parts for t, rate in sorted(p.value.rates.items()))
    return [
        keep.block("kafka_broker_replication_throttle_bytes", ("broker", "throttle"), rates),
        _leftovers(keep, snapshot, "broker", "kafka_broker_replication_throttle_leftover"),
    ]


def topic_blocks(keep: Lasting, snapshot: Snapshot) -> Blocks:
    part = snapshot.throttled_topics.fresh(snapshot.at).get(WHOLE_CLUSTER)
    rows = [(topic, t) for topic, told in sorted(part.value.replicas.items()) for t in sorted(told)] if part else []
    return [
        keep.ones("kafka_topic_replication_throttled", ("topic", "throttle"), rows),
        _leftovers(keep, snapshot, "topic", "kafka_topic_replication_throttle_leftover"),
    ]


def _leftovers(keep: Lasting, snapshot: Snapshot, of: str, metric: str) -> Block:
    """None while it is not known whether anything moves."""
    known = snapshot.reassignments.value(snapshot.at) is not None
    rows = sorted((who, t) for kind, who, t in snapshot.derived.leftovers if kind == of and known)
    return keep.ones(metric, (of, "throttle"), rows)
