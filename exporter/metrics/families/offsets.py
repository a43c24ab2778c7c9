"""Families of the collector ``offsets``."""

from __future__ import annotations

from exporter.blocks import Block, LabelSets
from exporter.facts.partitions import I64
from exporter.metrics.families.lasting import Blocks, Lasting
from exporter.metrics.families.topics import partition_labels
from exporter.snapshot import Snapshot


def blocks(keep: Lasting, snapshot: Snapshot) -> Blocks:
    derived = snapshot.derived
    if derived.health is None:
        return []
    labels = partition_labels(keep, derived.health.table)
    return [
        *keep.once(
            "offsets",
            (labels, derived.end_offsets, derived.start_offsets),
            lambda: _offsets(keep, labels, derived.end_offsets, derived.start_offsets),
        ),
        *keep.once("unstable", (labels, derived.unstable), lambda: _unstable(keep, labels, derived.unstable)),
        *keep.once("newest", (labels, derived.newest), lambda: _newest(keep, labels, derived.newest)),
    ]


def _offsets(keep: Lasting, labels: LabelSets, end: I64 | None, start: I64 | None) -> Blocks:
    families = (("kafka_topic_partition_current_offset", end), ("kafka_topic_partition_oldest_offset", start))
    return [keep.masked(name, labels, values, values >= 0) for name, values in families if values is not None]


def _unstable(keep: Lasting, labels: LabelSets, records: I64 | None) -> Blocks:
    if records is None:
        return []
    return [keep.masked("kafka_topic_partition_unstable_records", labels, records, records > 0)]


def _newest(keep: Lasting, labels: LabelSets, stamps: I64 | None) -> Blocks:
    if stamps is None:
        return []
    name = "kafka_topic_partition_newest_record_timestamp_seconds"
    known = stamps >= 0
    return [Block(name, keep.some(name, labels, known), stamps[known] / 1000)]
