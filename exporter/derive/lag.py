"""Consumer lag in records: end offsets minus committed offsets, in one array operation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from exporter.facts.groups import CommitTable
from exporter.facts.partitions import I32, I64, OffsetRows, PartitionTable

UNKNOWN = -1


@dataclass(frozen=True, slots=True, eq=False)
class GroupLag:
    """One entry per row of ``commits``: ``lag`` and ``beyond`` in records, UNKNOWN (-1) where there is no commit or no end offset.

    lag = max(0, end - committed); beyond = max(0, committed - end). The end is read after the commits, so a lag is never too small by a commit that overtook it.
    """

    commits: CommitTable
    row: I64
    """Row in the table of partitions, -1 where the partition does not exist (any more)."""
    end: I64
    lag: I64
    beyond: I64


def end_by_row(table: PartitionTable, parts: Sequence[OffsetRows]) -> I64:
    """Offsets of every row of ``table``, UNKNOWN where no part has it; parts about another table (older Metadata) are matched by topic id and partition.

    Parts come oldest first: the newest wins.
    """
    offsets = np.full(len(table), UNKNOWN, dtype=np.int64)
    for part in parts:
        rows = part.rows if part.partitions is table else translated(part, table)
        good = (part.error == 0) & (rows >= 0)
        offsets[rows[good]] = part.offset[good]
    return offsets


def translated(part: OffsetRows, table: PartitionTable) -> I64:
    """Row numbers of ``part`` in ``table``; -1 for partitions that are gone, or whose topic was deleted and made again."""
    old = part.partitions
    base = np.full(len(old.topics), UNKNOWN, dtype=np.int64)
    size = np.zeros(len(old.topics), dtype=np.int64)
    for i, (name, topic_id) in enumerate(zip(old.topics, old.topic_ids, strict=True)):
        at = table.topic_index.get(name)
        if at is not None and table.topic_ids[at] == topic_id:
            base[i] = table.topic_starts[at]
            size[i] = table.topic_starts[at + 1] - table.topic_starts[at]
    topic, partition = old.topic[part.rows], old.partition[part.rows].astype(np.int64)
    known = (base[topic] >= 0) & (partition < size[topic])
    return np.where(known, base[topic] + partition, UNKNOWN)


def group_lag(commits: CommitTable, table: PartitionTable, end: I64) -> GroupLag:
    """Lag of every committed partition; ``end`` has one entry per row of ``table``."""
    row = rows_of(commits, table)
    known = (row >= 0) & (commits.offset >= 0) & (commits.error == 0)
    at = np.where(known, row, 0)
    ends = np.where(known, end[at] if len(end) else UNKNOWN, UNKNOWN)
    known &= ends >= 0
    gap = ends - commits.offset
    return GroupLag(
        commits,
        row=row,
        end=np.where(known, ends, UNKNOWN),
        lag=np.where(known, np.maximum(gap, 0), UNKNOWN),
        beyond=np.where(known, np.maximum(-gap, 0), UNKNOWN),
    )


def rows_of(commits: CommitTable, table: PartitionTable) -> I64:
    """For each commit its row in ``table``, -1 where the partition does not exist (any more).

    Partitions of a topic are numbered from 0 without gaps, so the row is the topic's first row plus the partition.
    """
    base = np.array(
        [table.topic_starts[table.topic_index[t]] if t in table.topic_index else UNKNOWN for t in commits.topics],
        dtype=np.int64,
    )
    size = (
        np.array(
            [
                table.topic_starts[table.topic_index[t] + 1] if t in table.topic_index else UNKNOWN
                for t in commits.topics
            ],
            dtype=np.int64,
        )
        - base
    )
    if not len(commits):
        return np.zeros(0, dtype=np.int64)
    topic: I32 = commits.topic
    partition = commits.partition.astype(np.int64)
    known = (base[topic] >= 0) & (partition < size[topic])
    return np.where(known, base[topic] + partition, UNKNOWN)
