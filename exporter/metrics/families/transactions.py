"""Families of the collector ``transactions``."""

from __future__ import annotations

from exporter.blocks import Block
from exporter.derive.transactions import Hanging, Holder, age, hanging, holders, overdue
from exporter.facts.transactions import OPEN_STATES
from exporter.metrics.families.lasting import Blocks, Lasting
from exporter.snapshot import Snapshot


def blocks(keep: Lasting, snapshot: Snapshot) -> Blocks:
    if "transactions" in snapshot.derived.withdrawn:
        return []
    parts = sorted(snapshot.transactions.fresh(snapshot.at).items())
    counts = (((str(b), s), sum(t.state == s for t in p.value)) for b, p in parts for s in OPEN_STATES)
    late = [(b, t, over) for b, p in parts for t in p.value if (over := overdue(t, p.taken_at)) is not None]
    ages = {b: [a for t in p.value if (a := age(t, p.taken_at)) is not None] for b, p in parts}
    return [
        keep.block("kafka_transactions_open", ("broker", "state"), counts),
        keep.block(
            "kafka_transactions_late", ("broker",), (((str(b),), sum(n == b for n, _, _ in late)) for b, _ in parts)
        ),
        keep.block(
            "kafka_transaction_late_seconds",
            ("broker", "transactional_id", "producer_id"),
            (((str(b), t.transactional_id, str(t.producer_id)), over) for b, t, over in late),
        ),
        keep.block(
            "kafka_transactions_oldest_age_seconds",
            ("broker",),
            (((str(b),), max(found)) for b, found in ages.items() if found),
        ),
    ]


def stuck_blocks(keep: Lasting, snapshot: Snapshot) -> Blocks:
    if "stuck_offsets" in snapshot.derived.withdrawn:
        return []
    parts = snapshot.stuck_offsets.fresh(snapshot.at).values()
    stuck = sorted((s.topic, s.partition, p.taken_at - s.since) for p in parts for s in p.value)
    return [
        keep.block(
            "kafka_topic_partition_last_stable_offset_stuck_seconds",
            ("topic", "partition"),
            (((topic, str(partition)), seconds) for topic, partition, seconds in stuck),
        )
    ]


def producer_blocks(keep: Lasting, snapshot: Snapshot) -> Blocks:
    if "producers" in snapshot.derived.withdrawn:
        return []
    coordinators, leaders = snapshot.transactions.fresh(snapshot.at), snapshot.producers.fresh(snapshot.at)
    found = [_holders(keep, holders(coordinators, leaders))]
    if snapshot.coverage.covers("transactions"):
        # A transaction that is nobody's may be that of a coordinator which has not answered.
        lost = hanging(coordinators, leaders)
        found.append(_hanging(keep, lost))
        if snapshot.coverage.covers("producers"):
            found.append(keep.scalar("kafka_transactions_hanging", len(lost)))
    return found


def _holders(keep: Lasting, found: tuple[Holder, ...]) -> Block:
    return keep.block(
        "kafka_topic_partition_open_transaction_age_seconds",
        ("topic", "partition", "transactional_id", "producer_id", "broker"),
        (
            (
                (
                    h.topic,
                    str(h.partition),
                    h.transaction.transactional_id,
                    str(h.transaction.producer_id),
                    str(h.coordinator),
                ),
                h.age,
            )
            for h in found
        ),
    )


def _hanging(keep: Lasting, found: tuple[Hanging, ...]) -> Block:
    return keep.block(
        "kafka_topic_partition_hanging_transaction_age_seconds",
        ("topic", "partition", "producer_id", "start_offset"),
        (
            (
                (
                    h.producer.topic,
                    str(h.producer.partition),
                    str(h.producer.producer_id),
                    str(h.producer.start_offset),
                ),
                h.age,
            )
            for h in found
        ),
    )
