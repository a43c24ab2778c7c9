"""Families of the blast radius."""

from __future__ import annotations

import numpy as np

from exporter.derive.blast import BlastRadius, Stops
from exporter.derive.health import PartitionHealth
from exporter.facts.cluster import Node
from exporter.metrics.families.lasting import Blocks, Lasting, trusted
from exporter.snapshot import Snapshot


def partition_blocks(keep: Lasting, snapshot: Snapshot) -> Blocks:
    """Of the owner ``topics``."""
    blast, health = snapshot.derived.blast, snapshot.derived.health
    if blast is None or health is None or trusted(snapshot, "cluster", snapshot.cluster_facts) is None:
        return []
    return keep.once("blast", (blast, health), lambda: _partition_blocks(keep, blast, health))


def _partition_blocks(keep: Lasting, blast: BlastRadius, health: PartitionHealth) -> Blocks:
    made = _stops(keep, "broker", blast.brokers)
    if blast.racks is not None:
        made += _stops(keep, "rack", blast.racks)
    if blast.in_one_rack is not None:
        table = health.table
        topics = np.bincount(table.topic[blast.in_one_rack], minlength=len(table.topics)).tolist()
        made += [
            keep.scalar("kafka_partitions_in_one_rack", int(blast.in_one_rack.sum())),
            keep.block(
                "kafka_topic_partitions_in_one_rack",
                ("topic",),
                (((topic,), n) for topic, n in zip(table.topics, topics, strict=True) if n),
            ),
        ]
    return made


def _stops(keep: Lasting, of: str, stops: Stops) -> Blocks:
    columns = (
        ("partitions_offline", stops.offline),
        ("partitions_under_min_isr", stops.under_min_isr),
        ("leaders_moved", stops.leaders),
    )
    return [
        keep.block(
            f"kafka_{of}_stop_{name}",
            (of,),
            (((who,), n) for who, n in zip(stops.who, values.tolist(), strict=True) if n >= 0),
        )
        for name, values in columns
    ]


def group_blocks(keep: Lasting, snapshot: Snapshot) -> Blocks:
    """Of the owner ``groups``: a broker whose groups are not known has none of these, and neither has its rack."""
    facts = trusted(snapshot, "cluster", snapshot.cluster_facts)
    if facts is None or "groups" in snapshot.derived.withdrawn:
        return []
    living = sorted((n for n in facts.brokers if n.registered and not n.fenced), key=lambda n: n.id)
    groups = {b: len(p.value.listings) for b, p in snapshot.groups.fresh(snapshot.at).items()}
    made = [
        keep.block(
            "kafka_broker_stop_groups_moved",
            ("broker",),
            (((str(n.id),), groups[n.id]) for n in living if n.id in groups),
        )
    ]
    if snapshot.derived.blast is not None and snapshot.derived.blast.racks is not None:
        by_rack = {rack: [n for n in living if n.rack == rack] for rack in snapshot.derived.blast.racks.who}
        made.append(
            keep.block(
                "kafka_rack_stop_groups_moved",
                ("rack",),
                (((r,), _sum(groups, ns)) for r, ns in by_rack.items() if all(n.id in groups for n in ns)),
            )
        )
    return made


def _sum(groups: dict[int, int], nodes: list[Node]) -> int:
    return sum(groups[n.id] for n in nodes)
