"""The label sets of what groups have committed, which several families share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from exporter.blocks import LabelSets
from exporter.facts.groups import CommitTable, ShareOffsetTable
from exporter.metrics.families.lasting import Lasting, Row


def commit_labels(keep: Lasting, tables: Sequence[CommitTable]) -> LabelSets:
    """Group, topic and partition of every commit, the tables behind each other."""
    identity = tuple(part for t in tables for part in (t.groups, t.topics, t.group, t.topic, t.partition))
    names = ("consumergroup", "topic", "partition")
    return keep.once("commits", identity, lambda: LabelSets(names, [row for t in tables for row in offset_rows(t)]))


def sums_of(keep: Lasting, labels: LabelSets) -> Sums:
    """Which group and topic each commit belongs to."""
    return keep.once("commit sums", (labels,), lambda: Sums(labels))


class Sums:
    """Which (group, topic) each (group, topic, partition) adds to; with ``width`` 1 which group."""

    def __init__(self, labels: LabelSets, width: int = 2) -> None:
        index: dict[Row, int] = {}
        self.owner: npt.NDArray[np.int64] = np.array(
            [index.setdefault(row[:width], len(index)) for row in labels.rows], dtype=np.int64
        )
        self.labels = LabelSets(labels.names[:width], list(index))


def offset_rows(table: CommitTable | ShareOffsetTable) -> Iterable[Row]:
    """Names in place of numbers."""
    groups, topics = table.groups, table.topics
    return (
        (groups[g], topics[t], str(p))
        for g, t, p in zip(table.group.tolist(), table.topic.tolist(), table.partition.tolist(), strict=True)
    )
