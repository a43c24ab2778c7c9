"""How the groups move: how far behind in seconds, since when a commit stands, and how much retention leaves them; as fresh as the oldest of commits, ends and log starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from exporter.derive.commit_watch import CommitWatch
from exporter.derive.lag import UNKNOWN, GroupLag
from exporter.derive.offset_times import OffsetTimes
from exporter.facts.partitions import F64, I64, OffsetRows, PartitionTable, TimeQuestions
from exporter.reading import Part


@dataclass(frozen=True, slots=True, eq=False)
class GroupProgress:
    """An entry per row of the commits of one coordinator; NaN is unknown everywhere.

    The position is where the group will read next: its commit, or the log's start where retention has overtaken the commit. The lag in seconds is the time since the record at the
    position was appended, up to when the end was read; 0 where there is nothing to read. Records that retention or compaction has taken away count in no seconds.
    """

    lag: GroupLag
    lag_seconds: F64
    lag_seconds_at_least: F64
    """A lower bound, only where no better is known."""
    standing: F64
    """Seconds for which the commit has stood while there was something to read, up to when it was read; 0 where there is nothing."""
    headroom: F64
    """Records between the log's start and the commit; negative: so many were lost to the group."""
    headroom_seconds: F64
    """Time between the append of the log's first record and that of the record at the position."""
    retention_used: F64
    """Share of the log's records that lie beyond the commit; above 1 records were lost."""


@dataclass(frozen=True, slots=True, eq=False)
class Progress:
    """What follows for all groups of a cluster."""

    groups: Mapping[int, GroupProgress] = field(default_factory=dict)
    rewinds: Mapping[tuple[str, str], int] = field(default_factory=dict)
    questions: TimeQuestions | None = None


NO_PROGRESS = Progress()


class ProgressWatch:
    """Remembers ends over time and commits of one cluster; belongs to one thread but for ``state``, which its owner guards."""

    def __init__(self, times: OffsetTimes | None = None, commits: CommitWatch | None = None) -> None:
        self._times = times or OffsetTimes()
        self._commits = commits or CommitWatch()
        self._observed: tuple[Any, ...] = ()
        self._learnt: tuple[Any, ...] = ()
        self._starts_at: tuple[I64, int, F64] | None = None
        self._inputs: tuple[Any, ...] = ()
        self._last = NO_PROGRESS

    def observe(self, table: PartitionTable, ends: Sequence[Part[OffsetRows]], end: I64) -> None:
        """Take the end offsets: the fresh parts, oldest first, and what they say about the table's rows."""
        inputs = (end, *ends)
        if ends and not _same(inputs, self._observed):
            self._times.observe(table, ends, end)
            self._observed = inputs

    def learn(self, answers: Sequence[Part[OffsetRows]]) -> None:
        """Take answers to our questions, each once."""
        for part in answers:
            if not any(part is known for known in self._learnt):
                self._times.learn(part.value)
        self._learnt = tuple(answers)

    def follow(
        self, table: PartitionTable, lags: Mapping[int, GroupLag], at: Mapping[int, float], start: I64 | None
    ) -> Progress:
        """What follows from the newest lags, the commits behind which were read ``at``, and log start offsets; the same object while nothing is newer."""
        inputs = (table, start, self._times.version, *lags.values())
        if _same(inputs, self._inputs):
            return self._last
        positions = {c: _position(lag, start) for c, lag in lags.items()}
        idle = {c: (lag.lag >= 0) & (positions[c] >= lag.end) for c, lag in lags.items()}
        since = self._commits.follow(lags, idle, at, table)
        starts_at = self._started_at(start) if start is not None else None
        groups: dict[int, GroupProgress] = {}
        asked: list[tuple[I64, I64]] = []
        for coordinator, lag in lags.items():
            standing = np.where(idle[coordinator], 0.0, np.maximum(at[coordinator] - since[coordinator], 0.0))
            groups[coordinator], questions = self._progress(
                lag, np.where(lag.lag >= 0, standing, np.nan), positions[coordinator], start, starts_at
            )
            asked.append(questions)
        self._inputs = inputs
        self._last = Progress(groups, dict(self._commits.rewinds), _questions(table, asked))
        return self._last

    def _started_at(self, start: I64) -> F64:
        """When each log's first record was appended, NaN where it is not known well; anew when starts or the known points change."""
        known = self._starts_at
        if known is None or known[0] is not start:
            rows = np.flatnonzero(start >= 0)
            found = self._times.brackets(rows, start[rows])
            times = np.full(len(start), np.nan)
            times[rows] = np.where(found.usable(self._times.newest(rows)), found.likely, np.nan)
            known = self._starts_at = (start, self._times.version, times)
        return known[2]

    def _progress(
        self, lag: GroupLag, standing: F64, position: I64, start: I64 | None, starts_at: F64 | None
    ) -> tuple[GroupProgress, tuple[I64, I64]]:
        count = len(lag.commits)
        first = _first(lag, start)
        first_at = (
            np.where(lag.row >= 0, starts_at[lag.row], np.nan) if starts_at is not None else np.full(count, np.nan)
        )
        known = lag.lag >= 0
        places = np.flatnonzero(known & (position < lag.end))
        rows = lag.row[places]
        found, now = self._times.brackets(rows, position[places]), self._times.newest(rows)
        usable = found.usable(now)
        seconds = np.where(known, 0.0, np.nan)
        seconds[places] = np.where(usable, np.maximum(now - found.likely, 0.0), np.nan)
        at_least = np.full(count, np.nan)
        at_least[places] = np.where(usable, np.nan, np.maximum(now - found.latest, 0.0))
        read_at = np.full(count, np.nan)
        if starts_at is not None:
            read_at = np.where(known, self._times.newest(np.where(known, lag.row, 0)), np.nan)
            read_at[places] = np.where(usable, found.likely, np.nan)
        with_start = known & (first >= 0)
        headroom = np.where(with_start, lag.commits.offset - first, np.nan)
        with np.errstate(invalid="ignore", divide="ignore"):
            held = np.where(with_start & (lag.end > first), (lag.end - lag.commits.offset) / (lag.end - first), np.nan)
        used = np.where(with_start & (lag.lag == 0), 0.0, held)
        latest = float(now.max()) if len(now) else 0.0
        return (
            GroupProgress(
                lag, seconds, at_least, standing, headroom, np.maximum(read_at - first_at, 0.0), np.maximum(used, 0.0)
            ),
            self._times.questions(rows, found, latest),
        )

    # --- what survives a restart

    def state(self) -> Mapping[str, Mapping[str, Any]]:
        """Everything, copied."""
        return {"times": self._times.state(), "commits": self._commits.state()}

    @classmethod
    def of_state(cls, state: Mapping[str, Mapping[str, Any]]) -> ProgressWatch:
        """Raises ValueError, KeyError or TypeError for what makes no sense."""
        return cls(OffsetTimes.of_state(state["times"]), CommitWatch.of_state(state["commits"]))


def _first(lag: GroupLag, start: I64 | None) -> I64:
    """The log's start per row of the commits, UNKNOWN (-1) where it is not known."""
    if start is None or not len(start):
        return np.full(len(lag.commits), UNKNOWN, dtype=np.int64)
    return np.where(lag.row >= 0, start[lag.row], UNKNOWN)


def _position(lag: GroupLag, start: I64 | None) -> I64:
    """Where the group will read next: retention may have overtaken its commit."""
    return np.maximum(lag.commits.offset, _first(lag, start))


def _questions(table: PartitionTable, asked: Sequence[tuple[I64, I64]]) -> TimeQuestions | None:
    """One question per row of the table."""
    rows = np.concatenate([r for r, _ in asked]) if asked else np.zeros(0, dtype=np.int64)
    if not len(rows):
        return None
    times = np.concatenate([t for _, t in asked])
    rows, first = np.unique(rows, return_index=True)
    return TimeQuestions(table, rows, times[first])


def _same(new: tuple[Any, ...], old: tuple[Any, ...]) -> bool:
    return len(new) == len(old) and all(
        a is b or (isinstance(a, int) and a == b) for a, b in zip(new, old, strict=True)
    )
