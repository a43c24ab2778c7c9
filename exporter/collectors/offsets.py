"""Collector ``offsets``: the ends of every partition after the groups' commits were read, and by turns what moves slowly or is seldom asked."""

from __future__ import annotations

import numpy as np

from exporter.collectors.base import Clock, Known, Polls, poll_of
from exporter.collectors.groups import poll_groups
from exporter.facts.partitions import (
    END,
    LAST_STABLE,
    NEWEST,
    START,
    OffsetKind,
    OffsetRows,
    PartitionTable,
    TimeQuestions,
)
from exporter.kafka.client import KafkaReader
from exporter.reading import WHOLE_CLUSTER, Failure, Part, Poll

SLOW_INTERVAL_S = 60.0
"""How often log start offsets are asked for, and half a turn later the newest records."""
SLACK_S = 0.5
"""The job's own grid must not make it every fifth instead of every fourth poll."""


class GroupsAndOffsets:
    """One job, so that the order holds: commits first, end offsets after them. A lag is never too small by a commit that overtook the end.

    The last stable offset comes after the end: where no transaction is open it is not below it, however much was written in between. What is asked besides takes turns,
    so that no cycle has more than three requests of ListOffsets to a broker (unless the interval is so long that all is due each time).
    """

    def __init__(self, reader: KafkaReader, clock: Clock, interval: float) -> None:
        self._reader = reader
        self._clock = clock
        self._slow = max(SLOW_INTERVAL_S, interval)
        self._takes_turns = 2 * interval <= SLOW_INTERVAL_S
        self._due: dict[OffsetKind, float] = {}

    def poll(self, known: Known) -> Polls:
        """See Collector; without a known cluster or topics there is nobody to ask."""
        groups = poll_groups(self._reader, known, self._clock) if known.cluster is not None else None
        if known.topics is None:
            return Polls(groups=groups)
        table = known.topics.partitions
        end = poll_offsets(self._reader, table, END, self._clock)
        stable = poll_offsets(self._reader, table, LAST_STABLE, self._clock)
        start, newest = self._slowly(START, table, 0.0), self._slowly(NEWEST, table, self._slow / 2)
        free = not self._takes_turns or (start is None and newest is None)
        asked = self._first_after(known.questions, table) if free else None
        return Polls(
            groups=groups,
            end_offsets=end,
            stable_offsets=stable,
            start_offsets=start,
            newest_records=newest,
            first_after=asked,
        )

    def _slowly(self, kind: OffsetKind, table: PartitionTable, first: float) -> Poll[OffsetRows] | None:
        """``first``: seconds from the first poll to when this kind is first asked for."""
        now = self._clock()
        due = self._due.setdefault(kind, now + first if self._takes_turns else now)
        if now < due - SLACK_S:
            return None
        self._due[kind] = now + self._slow
        return poll_offsets(self._reader, table, kind, self._clock)

    def _first_after(self, questions: TimeQuestions | None, table: PartitionTable) -> Poll[OffsetRows] | None:
        """Questions about another table are left: they come again about this one."""
        if questions is None or questions.partitions is not table:
            return None
        leaders = table.leader[questions.rows]
        return poll_of(self._reader.first_after(questions), np.unique(leaders[leaders >= 0]).tolist())


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
