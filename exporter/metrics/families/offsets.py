"""Families of the collector ``offsets``."""

from __future__ import annotations

from exporter.metrics.families.lasting import Blocks, Lasting
from exporter.metrics.families.topics import partition_labels
from exporter.snapshot import Snapshot


def blocks(keep: Lasting, snapshot: Snapshot) -> Blocks:
    derived = snapshot.derived
    if derived.health is None:
        return []
    labels = partition_labels(keep, derived.health.table)
    families = (
        ("kafka_topic_partition_current_offset", derived.end_offsets),
        ("kafka_topic_partition_oldest_offset", derived.start_offsets),
    )
    return keep.once(
        "offsets",
        (labels, derived.end_offsets, derived.start_offsets),
        lambda: [keep.masked(name, labels, values, values >= 0) for name, values in families if values is not None],
    )
