"""When the end of every partition was where: a bounded table of points (offset, time) per partition, from which the age of a record follows.

A point says: at this time the log ended at this offset. A record was appended between the last point whose offset is not above its own and the next one; inside that bracket time is
interpolated by offset. The table's rows are polls of the end offsets, thinned out as they age, so that a bracket is about a third of its age at most. Where no poll can tell, since the record
is older than the table or from while Klaxon did not run, points come from ListOffsets by timestamp (KIP-79), which needs DESCRIBE only: the first record at or after T has the offset at
which the log ended at T.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from exporter.derive.lag import UNKNOWN, translated
from exporter.facts.partitions import F64, I64, Bool, OffsetRows, PartitionTable
from exporter.reading import Part

POLLS: Final = 40
"""Rows of polls."""
ASKED: Final = 12
"""Rows of points that were asked for, before the oldest poll, and as many in the gap that an interruption of Klaxon left."""
OLDEST_S: Final = 14 * 86400.0
CLOSEST_S: Final = 10.0
"""A poll that comes sooner after the one before replaces it."""
GAP_S: Final = 120.0
"""Without polls for so long there is a gap in the table which is asked about like the time before it."""
FINE_S: Final = 30.0
FINE: Final = 0.25
"""A bracket is fine enough, and nothing is asked, if it is no longer than FINE_S or this part of its age."""
COARSE: Final = 0.5
"""A bracket longer than this part of its age (and than GAP_S) tells no age, only a lower bound."""
MOST_QUESTIONS: Final = 500
MOST_TRIES: Final = 24
TRIES_S: Final = 3600.0
"""A partition is asked about so often in so many seconds: records without proper timestamps must not be asked about for ever."""
_NEVER: Final = np.iinfo(np.int32).min
_TENTHS: Final = 10.0

I32Table = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class Brackets:
    """For each record asked about: it was appended after ``earliest`` (-inf where nothing is known) and not after ``latest``, likely at ``likely`` (Unix seconds)."""

    earliest: F64
    latest: F64
    likely: F64

    def width(self) -> F64:
        return self.latest - self.earliest

    def usable(self, now: F64) -> Bool:
        """Where the bracket is narrow enough for an age."""
        return np.isfinite(self.earliest) & (self.width() <= np.maximum(COARSE * (now - self.earliest), GAP_S))

    def unsure(self, now: F64) -> Bool:
        """Where a question would be worth it."""
        return self.width() > np.maximum(FINE * (now - self.latest), FINE_S)


class OffsetTimes:
    """The table of one cluster. It changes in place and belongs to one thread; a topic whose id changed begins anew."""

    def __init__(self) -> None:
        self._topics: tuple[str, ...] = ()
        self._topic_ids: tuple[str, ...] = ()
        self._starts: I64 = np.zeros(1, dtype=np.int64)
        self._base = 0.0
        self._ends: I64 = np.full((POLLS + 2 * ASKED, 0), UNKNOWN, dtype=np.int64)
        self._times: I32Table = np.full((POLLS + 2 * ASKED, 0), _NEVER, dtype=np.int32)
        self._first: F64 = np.zeros(0, dtype=np.float64)
        """When a poll first told each partition's end, infinite before."""
        self._newest: F64 = np.zeros(0, dtype=np.float64)
        """When each partition's end was last told."""
        self._tries = np.zeros(0, dtype=np.int16)
        self._tries_since = 0.0
        self._asked = list(range(ASKED))
        """Slots of the rows before the polls; all of these lists are in order of time."""
        self._before_gap: list[int] = []
        self._gap: list[int] = []
        self._polls: list[int] = []
        self._polled_at: list[float] = []
        """Of the rows ``_before_gap`` and ``_polls``."""
        self.version = 0
        """Counts changes."""

    # --- what polls say

    def observe(self, table: PartitionTable, parts: Sequence[Part[OffsetRows]], ends: I64) -> None:
        """Take a poll of the end offsets: its parts, the oldest first, and ``ends`` as they stand in the table's rows."""
        self._follow(table)
        at = max(p.taken_at for p in parts)
        if not self._base:
            self._base = at
        if self._polls and at - self._polled_at[-1] > GAP_S:
            self._open_gap()
        times = self._stamps(_taken_at(table, parts))
        slot, before = self._next_slot(at)
        known = ends >= 0
        if before is not None:
            self._forget_truncated(known & (ends < self._ends[before]), ends)
        self._ends[slot] = np.where(known, ends, self._ends[before] if before is not None else UNKNOWN)
        self._times[slot] = np.where(known, times, self._times[before] if before is not None else _NEVER)
        self._first = np.where(known, np.minimum(self._first, at), self._first)
        self._newest = self._unix(self._times[slot])
        self.version += 1

    def _next_slot(self, at: float) -> tuple[int, int | None]:
        """The slot of the newest row from now on, and that of the one before it."""
        order = self._order()
        again = bool(self._polls) and at <= self._polled_at[-1]
        if again or (len(self._polls) > 1 and at - self._polled_at[-2] < CLOSEST_S):
            self._polled_at[-1] = at
            return order[-1], order[-2] if len(self._polled_at) > 1 else None
        before = order[-1] if self._polled_at else None
        slot = self._free()[0] if len(self._polled_at) < POLLS else self._thin_out(at)
        self._polls.append(slot)
        self._polled_at.append(at)
        return slot, before

    def _free(self) -> list[int]:
        return sorted(set(range(len(self._ends))) - set(self._order()))

    def _thin_out(self, at: float) -> int:
        """Take out the row whose absence costs least for its age; its slot."""
        stamps = np.array(self._polled_at)
        if at - stamps[1] > OLDEST_S:
            return self._drop(0)
        cost = (stamps[2:] - stamps[:-2]) / (at - stamps[1:-1] + FINE_S)
        # The two rows at a gap's edges bound it.
        edge = len(self._before_gap)
        for row in (edge - 1, edge):
            if 0 < row < len(stamps) - 1 and self._gap:
                cost[row - 1] = np.inf
        return self._drop(int(np.argmin(cost)) + 1)

    def _drop(self, row: int) -> int:
        del self._polled_at[row]
        rows = self._before_gap if row < len(self._before_gap) else self._polls
        slot = rows.pop(row if rows is self._before_gap else row - len(self._before_gap))
        if self._gap and not self._before_gap:
            self._gap = []
        return slot

    def _forget_truncated(self, shorter: Bool, ends: I64) -> None:
        """The log was truncated (unclean election): what was beyond its new end will be written anew."""
        if shorter.any():
            columns = np.flatnonzero(shorter)
            self._ends[:, columns] = np.minimum(self._ends[:, columns], ends[columns])

    def _open_gap(self) -> None:
        """From now on there is a hole before the next row, which replaces an earlier one."""
        self._before_gap += self._polls
        self._polls = []
        self._gap = []
        self._gap = self._free()[-ASKED:]
        last = self._before_gap[-1]
        self._ends[self._gap] = self._ends[last]
        self._times[self._gap] = self._times[last]

    def _order(self) -> list[int]:
        return [*self._asked, *self._before_gap, *self._gap, *self._polls]

    # --- whose columns they are

    def _follow(self, table: PartitionTable) -> None:
        """Columns become those of the table's rows."""
        if (table.topics, table.topic_ids) == (self._topics, self._topic_ids) and np.array_equal(
            table.topic_starts, self._starts
        ):
            return
        source = self._columns_of(table)
        kept = source >= 0
        for name, nothing in (
            ("_ends", UNKNOWN),
            ("_times", _NEVER),
            ("_first", np.inf),
            ("_newest", 0.0),
            ("_tries", 0),
        ):
            old = getattr(self, name)
            new = np.full((*old.shape[:-1], len(table)), nothing, dtype=old.dtype)
            new[..., kept] = old[..., source[kept]]
            setattr(self, name, new)
        self._topics, self._topic_ids, self._starts = table.topics, table.topic_ids, table.topic_starts

    def _columns_of(self, table: PartitionTable) -> I64:
        """For each row of the table its column now, -1 for what is new or was made again."""
        at = {name: i for i, name in enumerate(self._topics)}
        same = [at.get(t, -1) for t in table.topics]
        same = [i if i >= 0 and self._topic_ids[i] == k else -1 for i, k in zip(same, table.topic_ids, strict=True)]
        old = np.array(same, dtype=np.int64)[table.topic] if len(table) else np.zeros(0, dtype=np.int64)
        partition = table.partition.astype(np.int64)
        found = (old >= 0) & (partition < np.diff(self._starts)[old] if len(self._topics) else False)
        return np.where(found, self._starts[np.where(found, old, 0)] + partition, -1)

    def _stamps(self, times: F64) -> I32Table:
        """Unix seconds as tenths since the table began: a third of the memory saved."""
        tenths = np.round((times - self._base) * _TENTHS)
        return np.clip(tenths, _NEVER + 1, -(_NEVER + 1)).astype(np.int32)

    def _unix(self, stamps: I32Table) -> F64:
        """What is not known yet is long ago."""
        return self._base + stamps / _TENTHS

    # --- what it tells

    def brackets(self, rows: I64, offsets: I64) -> Brackets:
        """When the records at these offsets of these rows of the table were appended; NaN for what is not below the newest end."""
        order = np.array(self._order())
        low, high = np.zeros(len(rows), dtype=np.int64), np.full(len(rows), len(order), dtype=np.int64)
        for _ in range(len(order).bit_length()):
            middle = np.minimum((low + high) // 2, len(order) - 1)
            below = (self._ends[order[middle], rows] <= offsets) & (low < high)
            low = np.where(below, middle + 1, low)
            high = np.where(below, high, np.minimum(middle, high))
        inside = low < len(order)
        upper, lower = order[np.where(inside, low, 0)], order[np.maximum(low - 1, 0)]
        end_before, end_after = self._ends[lower, rows], self._ends[upper, rows]
        known = (low > 0) & (end_before >= 0)
        earliest = np.where(known, self._unix(self._times[lower, rows]), -np.inf)
        latest = np.where(inside, self._unix(self._times[upper, rows]), np.nan)
        with np.errstate(invalid="ignore", divide="ignore"):
            share = (offsets - end_before + 0.5) / (end_after - end_before)
            likely = np.where(known, earliest + np.clip(share, 0.0, 1.0) * (latest - earliest), np.nan)
        return Brackets(earliest, latest, likely)

    def newest(self, rows: I64) -> F64:
        """When the newest end of these rows was read."""
        return self._newest[rows]

    # --- what is asked

    def questions(self, rows: I64, brackets: Brackets, now: float) -> tuple[I64, I64]:
        """Rows and timestamps (Unix milliseconds) to ask about so that unsure brackets become narrower: one per row, the widest brackets first."""
        if len(self._polls) < 2:
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
        if now - self._tries_since > TRIES_S:
            self._tries[:] = 0
            self._tries_since = now
        times = _wanted(brackets, now, self._tries[rows])
        worth = (brackets.unsure(np.full(len(rows), now)) & self._answerable(rows, times)) & (
            self._tries[rows] < MOST_TRIES
        )
        places = np.flatnonzero(worth)
        places = places[np.argsort(-brackets.width()[places], kind="stable")]
        _, first = np.unique(rows[places], return_index=True)
        chosen = places[np.sort(first)[:MOST_QUESTIONS]]
        return rows[chosen], (times[chosen] * 1000).astype(np.int64)

    def _answerable(self, rows: I64, times: F64) -> Bool:
        """Whether there is room for a point of that time: before the first poll that told the partition's end, or in the gap."""
        room: Bool = (times < self._first[rows]) | self._in_gap(times)
        return room

    def _in_gap(self, times: F64) -> Bool:
        if not self._gap:
            return np.zeros(len(times), dtype=np.bool_)
        edge = len(self._before_gap)
        within: Bool = (times > self._polled_at[edge - 1]) & (times < self._polled_at[edge])
        return within

    def learn(self, answer: OffsetRows) -> None:
        """Take the first records at or after the times that were asked for."""
        if answer.asked is None or answer.timestamp is None or answer.partitions.topic_ids != self._topic_ids:
            return
        rows, good = answer.rows, answer.error == 0
        self._tries[rows] += 1
        asked, stamp = answer.asked / 1000, answer.timestamp / 1000
        there = good & (answer.offset >= 0)
        # Nothing at or after that time: then the log ended where it ends now.
        offset = np.where(answer.offset >= 0, answer.offset, self._ends[self._polls[-1], rows])
        since_then = good & (answer.asked > 0)
        self._insert(rows[since_then], offset[since_then], asked[since_then])
        own = there & (stamp > 0) & (stamp - asked > FINE * 0.4 * (self._polled_at[-1] - stamp))
        self._insert(rows[own], offset[own], stamp[own])
        self.version += 1

    def _insert(self, rows: I64, offset: I64, times: F64) -> None:
        """Points of some columns, before the polls or into the gap."""
        early = times < self._first[rows]
        self._insert_into(self._asked, rows[early], offset[early], times[early])
        within = ~early & self._in_gap(times)
        self._insert_into(self._gap, rows[within], offset[within], times[within])

    def _insert_into(self, slots: list[int], rows: I64, offset: I64, times: F64) -> None:
        if not len(rows):
            return
        block = np.ix_(np.array(slots), rows)
        stamps = np.vstack([self._times[block], self._stamps(times)[None, :]])
        ends = np.vstack([self._ends[block], offset[None, :]])
        order = np.argsort(stamps, axis=0, kind="stable")
        stamps, ends = np.take_along_axis(stamps, order, 0), np.take_along_axis(ends, order, 0)
        gone = _dispensable(stamps, self._stamps(times))
        keep = np.arange(len(stamps))[:, None] != gone[None, :]
        shape = (len(slots), len(rows))
        stamps, ends = stamps.T[keep.T].reshape(shape[::-1]).T, ends.T[keep.T].reshape(shape[::-1]).T
        self._times[block] = stamps
        self._ends[block] = np.maximum.accumulate(ends, axis=0)
        self._level(rows)

    def _level(self, rows: I64) -> None:
        """After points were put in: none above a later one, and polls that did not know the partition yet repeat the point before them."""
        order = self._order()
        place = np.ix_(np.array(order), rows)
        ends, times = self._ends[place], self._times[place]
        polled = self._unix(times[ASKED:]) >= self._first[rows] - 1 / _TENTHS
        ends[ASKED:] = np.where(polled, ends[ASKED:], UNKNOWN)
        for row in range(len(order) - 2, -1, -1):
            later = ends[row + 1]
            ends[row] = np.where(later >= 0, np.minimum(ends[row], later), ends[row])
        for row in range(1, len(order)):
            missing = ends[row] < 0
            ends[row] = np.where(missing, ends[row - 1], ends[row])
            times[row] = np.where(missing, times[row - 1], times[row])
        self._ends[place], self._times[place] = ends, times

    # --- what survives a restart

    def state(self) -> Mapping[str, Any]:
        """Everything, as arrays and JSON values of its own."""
        order = self._order()
        return {
            "topics": list(self._topics),
            "topic_ids": list(self._topic_ids),
            "rows": [len(self._asked), len(self._before_gap), len(self._gap), len(self._polls)],
            "polled_at": list(self._polled_at),
            "base": self._base,
            "starts": self._starts.copy(),
            "first": self._first.copy(),
            "ends": self._ends[order],
            "times": self._times[order],
        }

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> OffsetTimes:
        """Raises ValueError, KeyError or TypeError for what makes no sense."""
        self = cls()
        self._topics, self._topic_ids = tuple(map(str, state["topics"])), tuple(map(str, state["topic_ids"]))
        self._starts = np.asarray(state["starts"], dtype=np.int64)
        self._polled_at, self._base = [float(t) for t in state["polled_at"]], float(state["base"])
        asked, before, gap, polls = (int(n) for n in state["rows"])
        rows, width = asked + before + gap + polls, int(self._starts[-1])
        fits = asked == ASKED and gap in (0, ASKED) and before + polls == len(self._polled_at) <= POLLS
        if not fits or len(self._topics) != len(self._topic_ids) or len(self._starts) != len(self._topics) + 1:
            raise ValueError("the table of offsets and times is not of this Klaxon's shape")
        self._ends = np.full((POLLS + 2 * ASKED, width), UNKNOWN, dtype=np.int64)
        self._times = np.full((POLLS + 2 * ASKED, width), _NEVER, dtype=np.int32)
        self._ends[:rows] = np.asarray(state["ends"], dtype=np.int64).reshape(rows, width)
        self._times[:rows] = np.asarray(state["times"], dtype=np.int32).reshape(rows, width)
        self._first = np.asarray(state["first"], dtype=np.float64).reshape(width)
        self._newest = np.zeros(width, dtype=np.float64)
        self._tries = np.zeros(width, dtype=np.int16)
        slots = list(range(rows))
        self._before_gap, self._gap = slots[asked : asked + before], slots[asked + before : asked + before + gap]
        self._polls = slots[asked + before + gap :]
        return self


def _dispensable(stamps: I32Table, new: I32Table) -> npt.NDArray[np.intp]:
    """Of each column's points, in order of time, the place of the one to go: an empty or repeated one, else the one farthest from the new one; never the oldest real one."""
    repeated = (stamps[:-1] == stamps[1:]) | (stamps[:-1] == _NEVER)
    far = np.abs(stamps[1:].astype(np.int64) - new[None, :])
    gone: npt.NDArray[np.intp] = np.where(repeated.any(axis=0), np.argmax(repeated, axis=0), np.argmax(far, axis=0) + 1)
    return gone


def _wanted(brackets: Brackets, now: float, tries: npt.NDArray[np.int16]) -> F64:
    """The times to ask for: where nothing is known the beginning of the log. Else a little before, then a little after the likely time, which is all that a log of a steady rate needs,
    and every third time the geometric middle of the ages, which narrows any bracket.
    """
    bounded = np.isfinite(brackets.earliest) & np.isfinite(brackets.latest)
    earliest, latest = np.where(bounded, brackets.earliest, 0.0), np.where(bounded, brackets.latest, now)
    likely = np.where(bounded, brackets.likely, now)
    middle = now - np.sqrt(np.maximum(now - earliest, FINE_S) * np.maximum(now - latest, FINE_S))
    margin = FINE * 0.4 * (now - likely)
    near = np.where(tries % 3 == 0, likely - margin, np.where(tries % 3 == 1, likely + margin, middle))
    chosen = np.where((near > earliest) & (near < latest), near, middle)
    return np.where(bounded, chosen, 0.0)


def _taken_at(table: PartitionTable, parts: Sequence[Part[OffsetRows]]) -> F64:
    """When each row's end was read; parts come oldest first."""
    times = np.zeros(len(table), dtype=np.float64)
    for part in parts:
        rows = part.value.rows if part.value.partitions is table else translated(part.value, table)
        times[rows[(rows >= 0) & (part.value.error == 0)]] = part.taken_at
    return times
