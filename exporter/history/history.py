"""The bounded store of what rules, trees and pages ask for: which families are kept, who writes them, and the answers."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from threading import RLock
from typing import Final

import numpy as np
import numpy.typing as npt

from exporter.blocks import Block
from exporter.history import checkpoint
from exporter.history.checkpoint import SavedTable
from exporter.history.columns import Columns, Selection, constant_labels
from exporter.history.errors import CheckpointError, NotKept
from exporter.history.narrow import ABSENT
from exporter.history.register import Register
from exporter.history.table import NO_COLUMNS, Table
from exporter.label_table import Index, LabelRows, LabelTable, joined
from exporter.series import METRIC_NAME, Labels, Matcher, Series

LOOKBACK_S: Final = 300.0
"""No family is kept for less: an instant selector looks back so far."""
SLACK_S: Final = 30.0
"""Every family is kept for a little more: a rule may be evaluated for a moment somewhat before the newest sample."""
_SWEEP_MS: Final = 60_000
_COMPACT_FROM: Final = 64
_JOINS_KEPT: Final = 256
"""Lists of matchers that several tables answer, with the table made of these."""


@dataclass(frozen=True, slots=True)
class HistoryStats:
    """``bytes`` are those of the samples, not of the label sets. ``refused`` are samples that came before the newest of their family."""

    families: int
    series: int
    live: int
    samples: int
    bytes: int
    refused: int


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a checkpoint gave; ``warning`` says why it gave nothing though there was one."""

    series: int = 0
    warning: str | None = None


@dataclass(frozen=True, slots=True)
class _Writer:
    """Who speaks for all series of a table: a cluster's collectors, or a rule."""

    cluster: str | None
    source: str | None


class History:
    """Series by family, each for as long as it is asked for. All methods may be called from any thread; an answer never holds half of an append.

    It is a ``LatestStore`` (exporter/label_table.py).
    """

    def __init__(self) -> None:
        self._lock = RLock()
        self._retention_ms: dict[str, int] = {}
        self._tables: dict[str, dict[_Writer, Table]] = {}
        self._registers: dict[str | None, Register] = {}
        """By cluster the label sets of its families; None has those of all rules."""
        self._joins: dict[tuple[Matcher, ...], _Join] = {}
        self._refused = 0
        self._swept_ms = 0

    def keep(self, requirements: Mapping[str, float]) -> None:
        """From now on keep these families (metric name -> seconds, at least the look-back). What is no longer named is dropped, new ones begin empty."""
        with self._lock:
            self._retention_ms = {
                name: round((max(seconds, LOOKBACK_S) + SLACK_S) * 1000) for name, seconds in requirements.items()
            }
            self._tables = {name: tables for name, tables in self._tables.items() if name in self._retention_ms}
            self._joins.clear()
            for name, tables in self._tables.items():
                for table in tables.values():
                    table.retention_ms = self._retention_ms[name]

    @property
    def kept(self) -> Mapping[str, float]:
        """Metric name -> seconds that can be asked for."""
        return {name: ms / 1000 - SLACK_S for name, ms in self._retention_ms.items()}

    # --- writing

    def append(self, cluster: str, blocks: Iterable[Block], at_ms: int, speaks_for: Collection[str] = ()) -> None:
        """Takes one moment of a cluster ("" for the process itself).

        The call speaks for every family in ``speaks_for`` and in ``blocks``, whole: their series that had a sample in the call before and have none
        now get a stale marker. Families that nobody asked for are passed over. A family whose newest sample is later than ``at_ms`` refuses (see
        ``stats().refused``), unless the clock stepped back by more than five minutes: then what it stamped later is dropped. Of two samples of a series
        at one time the first wins.
        """
        by_name: dict[str, list[Block]] = {name: [] for name in speaks_for}
        for block in blocks:
            by_name.setdefault(block.metric, []).append(block)
        writer = _Writer(cluster, None)
        with self._lock:
            for name, of_family in by_name.items():
                if (table := self._table(name, writer, create=any(len(b.labels) for b in of_family))) is not None:
                    self._append_blocks(table, of_family, at_ms)
                    self._tidy(name, writer, table)
            self._sweep(at_ms)

    def append_series(self, name: str, rows: Iterable[tuple[Labels, float]], at_ms: int, source: str = "") -> None:
        """Takes what one rule made: all of its series of this metric at one time. ``source`` tells rules apart that write the same metric; a call
        without rows ends the source's series. The metric's name is added to the labels where it is missing.
        """
        pairs = list(rows)
        labels = [one if one.name == name else Labels.of({**one, METRIC_NAME: name}) for one, _ in pairs]
        values = np.array([value for _, value in pairs], dtype=np.float64)
        writer = _Writer(None, source)
        with self._lock:
            if (table := self._table(name, writer, create=bool(pairs))) is not None:
                self._count(table.append(table.columns.of_labels(labels), values, at_ms), len(values))
                self._tidy(name, writer, table)

    def _append_blocks(self, table: Table, blocks: Sequence[Block], at_ms: int) -> None:
        columns = [table.columns.of_sets(block.labels) for block in blocks]
        values = [block.values.astype(np.float64) for block in blocks]
        if len(blocks) == 1:
            taken = table.append(columns[0], values[0], at_ms)
        else:
            taken = table.append(np.concatenate([NO_COLUMNS, *columns]), np.concatenate([np.zeros(0), *values]), at_ms)
        self._count(taken, sum(map(len, values)))

    def _count(self, taken: bool, samples: int) -> None:
        if not taken:
            self._refused += samples

    def _table(self, name: str, writer: _Writer, create: bool) -> Table | None:
        if name not in self._retention_ms:
            return None
        table = self._tables.get(name, {}).get(writer)
        if table is None and create:
            table = Table(self._columns(name, writer), self._retention_ms[name])
            self._tables.setdefault(name, {})[writer] = table
        return table

    def _tidy(self, name: str, writer: _Writer, table: Table) -> None:
        """Gives back the room of series that are gone."""
        size, used = len(table.columns), table.columns.used
        if not table.chunks:
            del self._tables[name][writer]
        elif size >= _COMPACT_FROM and 2 * used < size:
            self._tables[name][writer] = table.compacted(self._columns(name, writer))

    def _columns(self, name: str, writer: _Writer) -> Columns:
        register = self._registers.setdefault(writer.cluster, Register())
        return Columns(constant_labels(name, writer.cluster or ""), register)

    def _sweep(self, now_ms: int) -> None:
        """Families that nobody writes any more grow old as well; label sets that no family has are forgotten."""
        if abs(now_ms - self._swept_ms) < _SWEEP_MS:
            return
        self._swept_ms = now_ms
        for name, tables in self._tables.items():
            for writer, table in list(tables.items()):
                table.expire(now_ms)
                self._tidy(name, writer, table)
        columns: dict[str | None, list[Columns]] = {cluster: [] for cluster in self._registers}
        for tables in self._tables.values():
            for writer, table in tables.items():
                columns[writer.cluster].append(table.columns)
        for cluster, of_cluster in columns.items():
            if of_cluster:
                self._registers[cluster].retain(one.numbers[one.taken] for one in of_cluster)
            else:
                del self._registers[cluster]

    # --- reading

    def select(self, matchers: Sequence[Matcher], start_ms: int, end_ms: int) -> list[Series]:
        """Every series that all matchers match with its samples from start to end, both inclusive, stale markers among them; none twice.

        Raises NotKept for a metric named with ``=`` that is not kept.
        """
        found: list[Series] = []
        with self._lock:
            for _, tables in groupby(self._matching(matchers), key=lambda one: one[0]):
                of_family: list[Series] = []
                several = False
                for _, writer, table, rest in tables:
                    several = several or writer.source is not None
                    of_family += _in_range(table, rest, start_ms, end_ms)
                found += _merged(of_family) if several else of_family
        return found

    def select_latest(
        self, matchers: Sequence[Matcher], at_ms: int, lookback_ms: int
    ) -> tuple[LabelRows, npt.NDArray[np.float64], npt.NDArray[np.int64]]:
        """Label sets, values and timestamps of the newest samples in (at − lookback, at]; series that ended by then are left out.

        Raises NotKept as ``select`` does. The rows are of the same table as long as the same series can answer, and the same object as long as the same
        ones of one writer do.
        """
        answers: list[_Latest] = []
        sources = 0
        with self._lock:
            for _, writer, table, rest in self._matching(matchers):
                selection = table.columns.select(rest)
                newest = table.latest(selection.columns, at_ms, lookback_ms)
                if newest is not None:
                    answers.append(_Latest(selection, *newest))
                    sources += writer.source is not None
            if len(answers) == 1:
                return answers[0].alone()
            join = self._join(tuple(matchers), [answer.selection for answer in answers])
        return join.newest(answers) if sources else join.all(answers)

    def _join(self, matchers: tuple[Matcher, ...], selections: list[Selection]) -> _Join:
        """What is known of these selections together, from the last time if they are the same."""
        join = self._joins.get(matchers)
        if join is None or join.selections != selections:
            if len(self._joins) >= _JOINS_KEPT:
                self._joins.clear()
            join = self._joins[matchers] = _Join(selections)
        return join

    def _matching(self, matchers: Sequence[Matcher]) -> Iterator[tuple[str, _Writer, Table, tuple[Matcher, ...]]]:
        """The tables that can have such series, with the matchers that are left to ask of them."""
        of_name = [m for m in matchers if m.name == METRIC_NAME]
        for matcher in of_name:
            if matcher.op == "=" and matcher.value not in self._retention_ms:
                raise NotKept(matcher.value)
        exact = [m.value for m in of_name if m.op == "="]
        rest = tuple(m for m in matchers if m.name != METRIC_NAME)
        without_cluster = tuple(m for m in rest if m.name != "cluster")
        for name in exact[:1] or list(self._tables):
            if all(m.matches(name) for m in of_name):
                for writer, table in self._tables.get(name, {}).items():
                    if writer.cluster is None:
                        yield name, writer, table, rest
                    elif all(m.matches(writer.cluster) for m in rest if m.name == "cluster"):
                        yield name, writer, table, without_cluster

    def stats(self) -> HistoryStats:
        """What is held now."""
        with self._lock:
            tables = [table for of_family in self._tables.values() for table in of_family.values()]
            return HistoryStats(
                families=len(self._tables),
                series=sum(table.columns.used for table in tables),
                live=sum(table.live for table in tables),
                samples=sum(table.samples for table in tables),
                bytes=sum(table.nbytes for table in tables),
                refused=self._refused,
            )

    # --- checkpoints

    def save(self, path: Path) -> None:
        """Writes all to a file that replaces the one before atomically; raises OSError. Appends wait only while what still changes is copied."""
        with self._lock:
            saved = [
                SavedTable(name, writer.cluster, writer.source, *table.columns.frozen(), table.frozen())
                for name, tables in self._tables.items()
                for writer, table in tables.items()
            ]
        checkpoint.write(path, saved)

    def load(self, path: Path, now: float) -> Loaded:
        """Takes over the families of a checkpoint that are kept and have nothing yet, at Unix time ``now``; no file is no fault.

        What is older than the retention or later than ``now`` is left out. Every series that was alive gets a stale marker right after its last sample:
        nobody knows what was in between. A file that cannot be used is set aside beside its place, and the history stays as it was.
        """
        try:
            saved = [one for one in checkpoint.read(path) if one.chunks]
            with self._lock:
                return self._take_over(saved, round(now * 1000))
        except FileNotFoundError:
            return Loaded()
        except CheckpointError as error:
            aside = checkpoint.set_aside(path)
            return Loaded(0, f"history checkpoint {path}: {error.reason}; it is now {aside.name}, history starts empty")
        except OSError as error:
            return Loaded(0, f"history checkpoint {path}: {error.strerror or error}; history starts empty")

    def _take_over(self, saved: Sequence[SavedTable], now_ms: int) -> Loaded:
        """All of these or, where one makes no sense (CheckpointError), none."""
        restored = [
            (one.family, writer := _Writer(one.cluster, one.source), self._restored(one, writer)) for one in saved
        ]
        series = 0
        for name, writer, table in restored:
            if name in self._retention_ms and writer not in self._tables.get(name, {}):
                table.retention_ms = self._retention_ms[name]
                if _interrupt(table, now_ms):
                    self._tables.setdefault(name, {})[writer] = table
                    series += table.columns.used
        return Loaded(series)

    def _restored(self, saved: SavedTable, writer: _Writer) -> Table:
        columns = self._columns(saved.family, writer)
        if not np.array_equal(columns.of_origins(saved.shapes, saved.keys), np.arange(len(saved.keys))):
            raise CheckpointError("a series stands twice in it")
        if any(chunk.width > len(columns) for chunk in saved.chunks) or _unordered(saved):
            raise CheckpointError("its chunks do not fit together")
        return Table.restored(columns, 0, saved.chunks)


_Answer = tuple[LabelRows, npt.NDArray[np.float64], npt.NDArray[np.int64]]


@dataclass(frozen=True, slots=True, eq=False)
class _Latest:
    """The newest row of one table: of each selected column its value, and whether that is a sample."""

    selection: Selection
    time: int
    values: npt.NDArray[np.float64]
    alive: npt.NDArray[np.bool_]

    def alone(self) -> _Answer:
        rows = self.selection.where(self.alive)
        values = self.values if rows is self.selection.rows else self.values[self.alive]
        return rows, values, np.full(len(rows), self.time, np.int64)


class _Join:
    """The series of several tables, one after the other."""

    def __init__(self, selections: list[Selection]) -> None:
        self.selections = selections
        self._whole = joined([selection.rows for selection in selections])
        self._distinct: tuple[LabelTable, Index] | None = None

    def all(self, answers: Sequence[_Latest]) -> _Answer:
        """What is alive; no label set is in two of the tables."""
        rows, values, times = _alive(answers)
        return LabelRows(self._whole, None if len(rows) == len(self._whole) else rows), values, times

    def newest(self, answers: Sequence[_Latest]) -> _Answer:
        """Each label set that is alive somewhere once, in the order of their first writers, with its newest sample; of equally new ones the first writer's."""
        rows, values, times = _alive(answers)
        if self._distinct is None:
            numbers, first = self._whole.numbered(self._whole.names)
            self._distinct = self._whole.take(first, self._whole.names), numbers
        table, numbers = self._distinct
        mine = numbers[rows]
        newest_first = np.lexsort((-times, mine))
        best = newest_first[np.unique(mine[newest_first], return_index=True)[1]]
        best = best[np.argsort(np.unique(mine, return_index=True)[1])]
        return LabelRows(table, mine[best]), values[best], times[best]


def _alive(answers: Sequence[_Latest]) -> tuple[Index, npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Places, values and times of the samples in all answers one after the other."""
    alive = np.concatenate([np.zeros(0, np.bool_), *(answer.alive for answer in answers)])
    values = np.concatenate([np.zeros(0), *(answer.values for answer in answers)])
    times = np.repeat(np.array([a.time for a in answers], dtype=np.int64), [len(a.alive) for a in answers])
    return np.flatnonzero(alive), values[alive], times[alive]


def _unordered(saved: SavedTable) -> bool:
    ends = [moment for chunk in saved.chunks for moment in (chunk.first_ms, chunk.last_ms + 1)]
    return ends != sorted(ends)


def _interrupt(table: Table, now_ms: int) -> bool:
    """Ends all series of a loaded table; False if nothing of it is left."""
    table.forget_from(now_ms + 1)
    table.expire(now_ms)
    if table.last_ms is None:
        return False
    table.append(NO_COLUMNS, np.zeros(0), table.last_ms + 1)
    return True


def _in_range(table: Table, matchers: Sequence[Matcher], start_ms: int, end_ms: int) -> list[Series]:
    selection = table.columns.select(matchers)
    if not len(selection.columns):
        return []
    labels = selection.rows.table.labels()
    times, bits = table.range(selection.columns, start_ms, end_ms)
    present = bits != ABSENT
    values = bits.view(np.float64)
    if present.all():
        return [Series(one, times, values[i]) for i, one in enumerate(labels)] if len(times) else []
    whole = present.all(axis=1)
    some = present.any(axis=1)
    return [
        Series(one, times, values[i]) if whole[i] else Series(one, times[present[i]], values[i][present[i]])
        for i, one in enumerate(labels)
        if some[i]
    ]


def _merged(series: list[Series]) -> list[Series]:
    """One Series per label set: rules may write the same series one after the other; at one time the first writer wins."""
    by_labels: dict[Labels, Series] = {}
    for one in series:
        known = by_labels.get(one.labels)
        if known is not None:
            times, places = np.unique(np.concatenate((known.timestamps, one.timestamps)), return_index=True)
            one = Series(one.labels, times, np.concatenate((known.values, one.values))[places])
        by_labels[one.labels] = one
    return list(by_labels.values())
