"""Topics and partitions as columns: one row per partition, sorted by topic name and partition."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

I16 = npt.NDArray[np.int16]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Ragged:
    """A list of int32 lists: row i is ``values[starts[i]:starts[i + 1]]``; ``starts`` has one more entry than rows."""

    values: I32
    starts: I64

    def __len__(self) -> int:
        return len(self.starts) - 1

    def row(self, index: int) -> I32:
        return self.values[self.starts[index] : self.starts[index + 1]]

    def counts(self) -> I64:
        """How many values each row has."""
        return np.diff(self.starts)

    def owners(self) -> I64:
        """For each value the row that it belongs to."""
        return np.repeat(np.arange(len(self), dtype=np.int64), self.counts())

    @classmethod
    def of(cls, rows: list[list[int]]) -> Ragged:
        starts = np.zeros(len(rows) + 1, dtype=np.int64)
        np.cumsum([len(r) for r in rows], out=starts[1:])
        return cls(np.array([v for r in rows for v in r], dtype=np.int32), starts)


class Partition(NamedTuple):
    """The row view of a partition, for the rare reader."""

    topic: str
    partition: int
    leader: int
    leader_epoch: int
    error: int
    replicas: tuple[int, ...]
    isr: tuple[int, ...]
    offline: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class PartitionTable:
    """Every partition that Metadata showed (KIP-516 topic ids from v10 on).

    Shapes: ``topics``, ``topic_ids`` and ``internal`` have one entry per topic, sorted by name; the other columns one per partition, sorted
    by topic and partition; ``topic_starts`` has len(topics) + 1 entries, topic t owns rows ``topic_starts[t]:topic_starts[t + 1]``.
    ``leader`` is -1 where there is none. The same object is handed out as long as the cluster's answer does not change, so
    readers may cache by identity (``table is previous``).
    """

    topics: tuple[str, ...]
    topic_ids: tuple[str, ...]
    """Topic ids as hexadecimal strings; empty strings where the broker gave none."""
    internal: Bool
    topic: I32
    partition: I32
    leader: I32
    leader_epoch: I32
    error: I16
    replicas: Ragged
    isr: Ragged
    offline: Ragged
    topic_starts: I64
    topic_index: Mapping[str, int] = field(repr=False)

    def __len__(self) -> int:
        return len(self.partition)

    def row(self, index: int) -> Partition:
        return Partition(
            self.topics[int(self.topic[index])],
            int(self.partition[index]),
            int(self.leader[index]),
            int(self.leader_epoch[index]),
            int(self.error[index]),
            tuple(self.replicas.row(index).tolist()),
            tuple(self.isr.row(index).tolist()),
            tuple(self.offline.row(index).tolist()),
        )

    def __iter__(self) -> Iterator[Partition]:
        return (self.row(i) for i in range(len(self)))

    def rows_of(self, topic: str) -> slice:
        """The rows of one topic; an empty slice for a topic that is not there."""
        at = self.topic_index.get(topic)
        return slice(0, 0) if at is None else slice(int(self.topic_starts[at]), int(self.topic_starts[at + 1]))

    @classmethod
    def of(
        cls, partitions: list[Partition], internal: frozenset[str] = frozenset(), ids: Mapping[str, str] | None = None
    ) -> PartitionTable:
        """Build a table from rows (fakes and tests; the daemon's tables come from ``exporter.kafka.wire``)."""
        rows = sorted(partitions, key=lambda p: (p.topic, p.partition))
        topics = tuple(sorted({p.topic for p in rows}))
        index = {name: i for i, name in enumerate(topics)}
        topic = np.array([index[p.topic] for p in rows], dtype=np.int32)
        return cls(
            topics,
            tuple((ids or {}).get(t, "") for t in topics),
            np.array([t in internal for t in topics], dtype=np.bool_),
            topic,
            np.array([p.partition for p in rows], dtype=np.int32),
            np.array([p.leader for p in rows], dtype=np.int32),
            np.array([p.leader_epoch for p in rows], dtype=np.int32),
            np.array([p.error for p in rows], dtype=np.int16),
            Ragged.of([list(p.replicas) for p in rows]),
            Ragged.of([list(p.isr) for p in rows]),
            Ragged.of([list(p.offline) for p in rows]),
            np.searchsorted(topic, np.arange(len(topics) + 1)).astype(np.int64),
            index,
        )


@dataclass(frozen=True, slots=True, eq=False)
class ElrRow:
    """Eligible and last known leaders of a partition below min.insync.replicas (KIP-966, DescribeTopicPartitions)."""

    topic: str
    partition: int
    eligible_leader_replicas: tuple[int, ...]
    last_known_elr: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class TopicFacts:
    """What the collector ``topics`` knows. ``min_insync_replicas`` has one entry per topic, 0 where it is not known yet."""

    partitions: PartitionTable
    min_insync_replicas: I32
    elr: tuple[ElrRow, ...] = ()


class OffsetKind(NamedTuple):
    """Which offset ListOffsets is asked for: the timestamp that Kafka gives this meaning (KIP-79), and the isolation level (1 = read_committed, KIP-98)."""

    name: str
    timestamp: int
    isolation: int = 0


END = OffsetKind("end", -1)
"""The high watermark."""
START = OffsetKind("start", -2)
LAST_STABLE = OffsetKind("last_stable", -1, isolation=1)
"""Where the first open transaction begins, else the high watermark."""
NEWEST = OffsetKind("newest", -3)
"""The record with the largest timestamp (KIP-734)."""


@dataclass(frozen=True, slots=True, eq=False)
class OffsetRows:
    """Offsets of some rows of a PartitionTable, from one leader: ``rows`` are row numbers, ``offset`` is -1 where ``error`` is not 0.

    ``timestamp`` has the records' timestamps (Unix milliseconds, -1 where there is no such record) for NEWEST and for look-ups by time, ``asked`` those that were asked for.
    """

    partitions: PartitionTable
    rows: I64
    offset: I64
    error: I16
    timestamp: I64 | None = None
    asked: I64 | None = None


@dataclass(frozen=True, slots=True, eq=False)
class TimeQuestions:
    """For some rows of a PartitionTable: which is the first record at or after ``timestamp`` (Unix milliseconds)?"""

    partitions: PartitionTable
    rows: I64
    timestamp: I64
