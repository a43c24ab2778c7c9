"""Samples as columns: the newest of each series at a moment, and windows for the functions over a range."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

import numpy as np

from alerts.promql.batch import Batch, Vec, counted, grouped
from alerts.promql.values import Floats, Index, Mask, Times
from exporter.label_table import LabelRows, LabelTable, joined
from exporter.series import Labels, Series, is_stale

_NO_VALUES: Final[Floats] = np.empty(0)
_NO_TIMES: Final[Times] = np.empty(0, np.int64)
_NO_STARTS: Final[Index] = np.empty(0, np.intp)


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """The samples of each series inside (start, end], one run after the other; every series here has at least one."""

    batch: Batch
    timestamps: Times
    values: Floats
    starts: Index
    start_ms: int
    end_ms: int

    def __len__(self) -> int:
        return len(self.starts)

    def at_least(self, samples: int) -> Windows:
        """Only the series with so many samples."""
        counts = np.diff(self.starts, append=len(self.values))
        enough = counts >= samples
        if enough.all():
            return self
        members = np.repeat(enough, counts)
        return Windows(
            self.batch.where(enough),
            self.timestamps[members],
            self.values[members],
            _starts(counts[enough]),
            self.start_ms,
            self.end_ms,
        )


class Columns:
    """The samples of all series of one selector, in two flat arrays."""

    def __init__(self, series: Sequence[Series], batch_of: Callable[[list[Labels]], Batch], keep_stale: bool) -> None:
        """``batch_of`` gives the batch of the label sets; without ``keep_stale`` stale markers are taken out."""
        self.batch = batch_of([one.labels for one in series])
        if not series:
            return
        self.timestamps: Times = np.concatenate([one.timestamps for one in series])
        self.values: Floats = np.concatenate([one.values for one in series])
        lengths = np.fromiter((len(one.timestamps) for one in series), np.intp, len(series))
        owner = np.repeat(np.arange(len(series)), lengths)
        stale = is_stale(self.values)
        if not keep_stale and stale.any():
            self.timestamps, self.values, owner = self.timestamps[~stale], self.values[~stale], owner[~stale]
            stale = stale[~stale]
        self.stale = stale
        self._base = int(self.timestamps.min()) if len(self.timestamps) else 0
        self._last = int(self.timestamps.max()) if len(self.timestamps) else 0
        # One ascending key over all series: time since the first sample, plus room for one whole span per series before.
        self._room = np.arange(len(series), dtype=np.int64) * (self._last - self._base + 2)
        self._key = self.timestamps - self._base + self._room[owner]

    def _after(self, at_ms: int) -> Index:
        """For each series the place of its first sample after a moment."""
        at = min(max(at_ms, self._base - 1), self._last) - self._base
        return np.searchsorted(self._key, self._room + at, side="right")

    def latest(self, at_ms: int, lookback_ms: int) -> tuple[Batch, Floats, Times]:
        """The newest sample of each series in (at − lookback, at]; none where that is a stale marker."""
        if not len(self.batch):
            return self.batch, _NO_VALUES, _NO_TIMES
        low, high = self._after(at_ms - lookback_ms), self._after(at_ms)
        present: Mask = high > low
        newest = high[present] - 1
        alive = ~self.stale[newest]
        present[present] = alive
        newest = newest[alive]
        return self.batch.where(present), self.values[newest], self.timestamps[newest]

    def window(self, start_ms: int, end_ms: int) -> Windows:
        """The samples of each series in (start, end]; series without any are left out."""
        if not len(self.batch):
            return Windows(self.batch, _NO_TIMES, _NO_VALUES, _NO_STARTS, start_ms, end_ms)
        low, high = self._after(start_ms), self._after(end_ms)
        present = high > low
        low, counts = low[present], (high - low)[present]
        starts = _starts(counts)
        members = np.arange(int(counts.sum())) + np.repeat(low - starts, counts)
        return Windows(
            self.batch.where(present), self.timestamps[members], self.values[members], starts, start_ms, end_ms
        )


def stacked(
    steps: Sequence[tuple[int, Vec]], batch_of: Callable[[LabelRows], Batch], start_ms: int, end_ms: int
) -> Windows:
    """Vectors at ascending moments (milliseconds) as one run of samples per label set; ``batch_of`` gives the batch of these."""
    steps = [(at, vec) for at, vec in steps if len(vec)]
    roots = list({id(vec.batch.root): vec.batch.root for _, vec in steps}.values())
    table, numbers = _together([root.table for root in roots])
    of_root = {id(root): ids for root, ids in zip(roots, numbers, strict=True)}
    owners: list[Index] = [np.empty(0, np.intp)]
    for _, vec in steps:
        ids, index = of_root[id(vec.batch.root)], vec.batch.index
        owners.append(ids if index is None else ids[index])
    owner = np.concatenate(owners)
    order = np.argsort(owner, kind="stable")
    times = np.repeat(np.array([at for at, _ in steps], dtype=np.int64), [len(vec) for _, vec in steps])
    values = np.concatenate([np.empty(0), *(vec.values for _, vec in steps)])
    counts = np.bincount(owner, minlength=len(table))
    present = counts > 0
    rows = LabelRows(table, None if present.all() else np.flatnonzero(present))
    return Windows(batch_of(rows), times[order], values[order], _starts(counts[present]), start_ms, end_ms)


def _together(tables: Sequence[LabelTable]) -> tuple[LabelTable, list[Index]]:
    """A table with every label set of these once, and for each of them where its rows are there."""
    if len(tables) == 1:
        return tables[0], [counted(len(tables[0]))]
    grouping = grouped(joined([LabelRows(table) for table in tables]))
    ends = accumulate(len(table) for table in tables)
    return grouping.keys.table, [grouping.ids[end - len(table) : end] for table, end in zip(tables, ends, strict=True)]


def _starts(counts: Index) -> Index:
    return np.cumsum(counts) - counts
