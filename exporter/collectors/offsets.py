"""Collector ``offsets``: the end of every partition after the groups' commits were read, and each minute its log start."""

from __future__ import annotations

import numpy as np

from exporter.collectors.base import Clock, Known, Polls, poll_of
from exporter.collectors.groups import poll_groups
from exporter.facts.partitions import END, START, OffsetKind, OffsetRows, PartitionTable
from exporter.kafka.client import KafkaReader
from exporter.reading import WHOLE_CLUSTER, Failure, Part, Poll

START_OFFSETS_INTERVAL_S = 60.0


class GroupsAndOffsets:
    """One job, so that the order holds: commits first, end offsets after them. A lag is never too small by a commit that overtook the end."""

    def __init__(self, reader: KafkaReader, clock: Clock, interval: float) -> None:
        self._reader = reader
        self._clock = clock
        self._start_every = max(START_OFFSETS_INTERVAL_S, interval)
        self._start_polled_at = -self._start_every

    def poll(self, known: Known) -> Polls:
        """See Collector; without a known cluster or topics there is nobody to ask."""
        groups = poll_groups(self._reader, known, self._clock) if known.cluster is not None else None
        if known.topics is None:
            return Polls(groups=groups)
        table = known.topics.partitions
        end = poll_offsets(self._reader, table, END, self._clock)
        return Polls(groups=groups, end_offsets=end, start_offsets=self._start(table))

    def _start(self, table: PartitionTable) -> Poll[OffsetRows] | None:
        now = self._clock()
        # Half a second of slack: the job's own grid must not make it every fifth instead of every fourth poll.
        if now - self._start_polled_at < self._start_every - 0.5:
            return None
        self._start_polled_at = now
        return poll_offsets(self._reader, table, START, self._clock)


def poll_offsets(reader: KafkaReader, table: PartitionTable, kind: OffsetKind, clock: Clock) -> Poll[OffsetRows]:
    """Ask each leader; a leader that leads nothing has nothing to say. A cluster without partitions is covered by what Metadata said."""
    leaders = np.unique(table.leader[table.leader >= 0]).tolist()
    if leaders:
        return poll_of(reader.offsets(table, kind), leaders)
    if len(table):
        return Poll({}, {WHOLE_CLUSTER: Failure("no_leader", "no partition has a leader", clock())})
    empty = np.zeros(0, dtype=np.int64)
    none = OffsetRows(table, empty, empty, np.zeros(0, dtype=np.int16))
    return Poll({WHOLE_CLUSTER: Part(none, clock())})
