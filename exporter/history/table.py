"""The samples of one family and writer: a column per series, a row per append, in chunks that are never changed once they are full.

Every append speaks for all series of the table: who has a sample is alive, who had one and has none now gets a stale marker, and the dead have nothing.
So the newest row alone answers an instant selector. A row that equals the one before takes no room.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from exporter.history.columns import Columns
from exporter.history.narrow import ABSENT, STALE, Bits, Narrow
from exporter.label_table import Index
from exporter.series import is_stale

Floats = npt.NDArray[np.float64]
Times = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]

NO_COLUMNS: Final[Index] = np.zeros(0, dtype=np.intp)

_ROWS = 240
_OPEN_BYTES = 8 << 20
"""Above this the rows of a chunk that is still open are not doubled: the next chunk begins, and this one is narrowed."""
_LEAST_SPAN_MS = 30_000
_CLOCK_STEP_MS = 300_000
"""A clock that steps back by more than this was wrong before: what it stamped later than now is dropped, else nothing would be taken for as long."""


@dataclass(slots=True, eq=False)
class Chunk:
    """Rows of samples as bits of float64. ``place[i]`` is the row of ``bits`` that was true at ``times[i]``; ``rows`` times and ``stored`` bits are in use.

    A chunk that is full is closed: its bits are narrow where they can be, and it takes no more rows. ``samples`` counts what is there, a row that is shared by several times once for each.
    """

    times: Times
    place: npt.NDArray[np.int32]
    bits: Bits | Narrow
    rows: int = 0
    stored: int = 0
    samples: int = 0

    @property
    def width(self) -> int:
        return self.bits.shape[1]

    @property
    def first_ms(self) -> int:
        return int(self.times[0])

    @property
    def last_ms(self) -> int:
        return int(self.times[self.rows - 1])

    @property
    def nbytes(self) -> int:
        return self.times.nbytes + self.place.nbytes + self.bits.nbytes

    @classmethod
    def empty(cls, width: int) -> Chunk:
        return cls(np.empty(_ROWS, np.int64), np.empty(_ROWS, np.int32), np.empty((1, width), np.uint64))

    def last(self) -> Bits:
        return self.row(int(self.place[self.rows - 1]))

    def row(self, place: int) -> Bits:
        row: Bits = self.some_rows(np.array([place]))[0]
        return row

    def some_rows(self, places: npt.NDArray[Any], columns: Index | None = None) -> Bits:
        """The bits at these places, of all columns or of some."""
        if isinstance(self.bits, Narrow):
            return self.bits.take(places, columns)
        inside: Bits = self.bits[places] if columns is None else self.bits[places[:, None], columns]
        return inside

    def push(self, at_ms: int, row: Bits) -> None:
        if not (self.rows and np.array_equal(self.last(), row)):
            self._store(row)
        self.times[self.rows], self.place[self.rows] = at_ms, self.stored - 1
        self.rows += 1
        self.samples += _count(row)

    def _store(self, row: Bits) -> None:
        assert not isinstance(self.bits, Narrow)
        if self.stored == len(self.bits):
            larger = np.empty((min(2 * self.stored, _ROWS), self.width), np.uint64)
            larger[: self.stored] = self.bits
            self.bits = larger
        self.bits[self.stored] = row
        self.stored += 1

    def replace_last(self, row: Bits) -> None:
        """Another row for the newest time; the rows before stay as they are even if they were the same."""
        self.samples += _count(row) - _count(self.last())
        shared = self.rows > 1 and self.place[self.rows - 2] == self.place[self.rows - 1]
        if shared:
            self._store(row)
            self.place[self.rows - 1] = self.stored - 1
        else:
            assert not isinstance(self.bits, Narrow)
            self.bits[self.place[self.rows - 1]] = row

    def full(self, at_ms: int, span_ms: int) -> bool:
        wide = self.stored == self.bits.shape[0] and 2 * self.bits.nbytes > _OPEN_BYTES
        return wide or self.rows == _ROWS or at_ms - self.first_ms >= span_ms

    def closed(self) -> Chunk:
        """Without spare room and narrow, if it can be."""
        if isinstance(self.bits, Narrow):
            return self
        trimmed = self.trimmed()
        narrow = Narrow.of(self.bits[: self.stored])
        return trimmed if narrow is None else replace(trimmed, bits=narrow)

    def trimmed(self) -> Chunk:
        """Without spare room."""
        return Chunk(
            self.times[: self.rows].copy(),
            self.place[: self.rows].copy(),
            self.some_rows(np.arange(self.stored)),
            self.rows,
            self.stored,
            self.samples,
        )

    def before(self, at_ms: int) -> Chunk:
        """Only the rows before this time; the chunk itself if that is all of them."""
        if self.last_ms < at_ms:
            return self
        rows = int(np.searchsorted(self.times[: self.rows], at_ms))
        stored = int(self.place[:rows].max()) + 1 if rows else 0
        return replace(self, rows=rows, stored=stored).trimmed().counted()

    def some(self, columns: Index) -> Chunk:
        """Only these columns (ascending)."""
        inside = columns[columns < self.width]
        return Chunk(
            self.times[: self.rows].copy(),
            self.place[: self.rows].copy(),
            self.bits.some(inside) if isinstance(self.bits, Narrow) else self.bits[: self.stored][:, inside],
            self.rows,
            self.stored,
            self.samples,
        )

    def present(self) -> Bool:
        """Which columns have a sample or a marker in it."""
        present = np.zeros(self.width, np.bool_)
        for place in range(self.stored):
            present |= self.row(place) != ABSENT
        return present

    def counted(self) -> Chunk:
        """The same chunk with its samples counted anew."""
        per_row = np.array([_count(self.row(place)) for place in range(self.stored)], dtype=np.int64)
        self.samples = int(per_row[self.place[: self.rows]].sum())
        return self

    def cells(self, rows: slice, columns: Index) -> Bits:
        """(rows, columns); columns that the chunk does not have are absent."""
        places = self.place[: self.rows][rows]
        if len(columns) == self.width and columns[-1] < self.width:
            return self.some_rows(places)  # ascending, so these are all
        if not len(columns) or columns[-1] < self.width:
            return self.some_rows(places, columns)
        found = np.full((len(places), len(columns)), ABSENT, np.uint64)
        known = int(np.searchsorted(columns, self.width))
        found[:, :known] = self.some_rows(places, columns[:known])
        return found


class Table:
    """See the module. Not thread-safe: the history's lock guards it."""

    def __init__(self, columns: Columns, retention_ms: int) -> None:
        self.columns = columns
        self.retention_ms = retention_ms
        self.chunks: list[Chunk] = []
        self._open = False
        self._live: Bool = np.zeros(0, np.bool_)
        self._last_ms: Times = np.zeros(0, np.int64)
        self._same: Index | None = None

    # --- writing

    def append(self, columns: Index, values: Floats, at_ms: int) -> bool:
        """Takes the samples of all series that exist at this time; False if that is before the newest row. The first sample of a series wins."""
        self._widen()
        last = self.last_ms
        if last is not None and at_ms < last - _CLOCK_STEP_MS:
            self.forget_from(at_ms, spared=columns)
            last = self.last_ms
        if last is not None and at_ms < last:
            return False
        bits = values.view(np.uint64)
        if at_ms == last:
            self._fill(columns, bits)
        else:
            self.expire(at_ms, spared=columns)
            self._add(columns, bits, at_ms)
        return True

    def _widen(self) -> None:
        missing = len(self.columns) - len(self._live)
        if missing > 0:
            missing = max(missing, len(self._live))
            self._live = np.concatenate((self._live, np.zeros(missing, np.bool_)))
            self._last_ms = np.concatenate((self._last_ms, np.zeros(missing, np.int64)))

    def _add(self, columns: Index, bits: Bits, at_ms: int) -> None:
        chunk = self._chunk(at_ms) if len(columns) or self._live.any() else None
        if chunk is None:
            return
        row = np.full(chunk.width, ABSENT, np.uint64)
        row[columns[::-1]] = bits[::-1]  # the first of two wins
        if columns is not self._same:
            present = np.zeros(len(self._live), np.bool_)
            present[columns] = True
            gone = np.flatnonzero(self._live & ~present)
            row[gone] = STALE
            self._live = present
            self._last_ms[gone] = at_ms
        self._last_ms[columns] = at_ms
        self._end_stale(row)
        self._same = columns if self._live[columns].all() else None
        chunk.push(at_ms, row)

    def _fill(self, columns: Index, bits: Bits) -> None:
        """More samples for the newest row: only series that have nothing there yet."""
        chunk = self._wide_enough()
        row = chunk.last().copy()
        vacant = row[columns] == ABSENT
        columns, bits = columns[vacant], bits[vacant]
        row[columns[::-1]] = bits[::-1]
        self._live[columns] = True
        self._last_ms[columns] = chunk.last_ms
        self._end_stale(row)
        self._same = None
        chunk.replace_last(row)

    def _end_stale(self, row: Bits) -> None:
        """A writer may say itself that a series ended."""
        ended = np.flatnonzero(row == STALE)
        self._live[ended] = False

    def _chunk(self, at_ms: int) -> Chunk:
        """The chunk that takes the next row."""
        if self._open and self.chunks:
            chunk = self.chunks[-1]
            span = max(_LEAST_SPAN_MS, self.retention_ms // 8)
            if chunk.width >= len(self.columns) and not chunk.full(at_ms, span):
                return chunk
            self.chunks[-1] = chunk.closed()
        self.chunks.append(Chunk.empty(self._room()))
        self._open = True
        return self.chunks[-1]

    def _room(self) -> int:
        """Columns of a new chunk: some more than needed, so that not every new series needs another chunk."""
        return len(self.columns) + (max(4, len(self.columns) // 16) if self.chunks else 0)

    def _wide_enough(self) -> Chunk:
        chunk = self.chunks[-1]
        if self._open and chunk.width >= len(self.columns):
            return chunk
        wide = Chunk.empty(len(self.columns))
        row = np.full(wide.width, ABSENT, np.uint64)
        row[: chunk.width] = chunk.last()
        wide.push(chunk.last_ms, row)
        shorter = chunk.before(chunk.last_ms)
        self.chunks[-1:] = [shorter, wide] if shorter.rows else [wide]
        self._open = True
        return wide

    # --- forgetting

    def expire(self, now_ms: int, spared: Index = NO_COLUMNS) -> None:
        """Drops chunks whose newest row is older than the retention, and the series but the ``spared`` that are left without a sample."""
        kept = [chunk for chunk in self.chunks if chunk.last_ms >= now_ms - self.retention_ms]
        if len(kept) == len(self.chunks):
            return
        self.chunks = kept
        if not kept:
            self._live[:] = False
            self._open = False
        self._free_columns(spared)

    def forget_from(self, at_ms: int, spared: Index = NO_COLUMNS) -> None:
        """Drops every row at this time or later; who is alive follows from the newest row that is left."""
        cut = [chunk.before(at_ms) for chunk in self.chunks]
        self.chunks = [chunk for chunk in cut if chunk.rows]
        self._open = False
        self._same = None
        self._live[:] = False
        if self.chunks:
            chunk = self.chunks[-1]
            self._live[: chunk.width] = _alive(chunk.last())[: len(self._live)]
            np.minimum(self._last_ms, chunk.last_ms, out=self._last_ms)
        self._free_columns(spared)

    def _free_columns(self, spared: Index = NO_COLUMNS) -> None:
        first = self.chunks[0].first_ms if self.chunks else None
        count = len(self.columns)
        dead = ~self._live[:count]
        if first is not None:
            dead &= self._last_ms[:count] < first
        dead[spared] = False
        freed = np.flatnonzero(dead & self.columns.taken)
        if len(freed):
            self._same = None
            self.columns.free(freed)

    # --- reading

    @property
    def last_ms(self) -> int | None:
        return self.chunks[-1].last_ms if self.chunks else None

    @property
    def live(self) -> int:
        """Series that the newest row has a sample of."""
        return int(self._live.sum())

    @property
    def samples(self) -> int:
        """Samples and stale markers."""
        return sum(chunk.samples for chunk in self.chunks)

    @property
    def nbytes(self) -> int:
        return sum(chunk.nbytes for chunk in self.chunks) + self._live.nbytes + self._last_ms.nbytes

    def latest(self, columns: Index, at_ms: int, lookback_ms: int) -> tuple[int, Floats, Bool] | None:
        """Time, values and which of them are samples, of the newest row in (at − lookback, at]; None without such a row."""
        for chunk in reversed(self.chunks):
            row = int(np.searchsorted(chunk.times[: chunk.rows], at_ms, side="right")) - 1
            if row >= 0:
                time = int(chunk.times[row])
                if time <= at_ms - lookback_ms or time < self._oldest():
                    return None
                bits = chunk.cells(slice(row, row + 1), columns)[0]
                return time, bits.view(np.float64), _alive(bits)
        return None

    def range(self, columns: Index, start_ms: int, end_ms: int) -> tuple[Times, Bits]:
        """Times from start to end, and the cells (columns, times); absent ones have the bits ABSENT."""
        start_ms = max(start_ms, self._oldest())
        times: list[Times] = []
        cells: list[Bits] = []
        for chunk in self.chunks:
            if chunk.last_ms >= start_ms and chunk.first_ms <= end_ms:
                known = chunk.times[: chunk.rows]
                first, last = np.searchsorted(known, (start_ms, end_ms + 1))
                times.append(known[first:last])
                cells.append(chunk.cells(slice(int(first), int(last)), columns))
        if not times:
            return np.zeros(0, np.int64), np.zeros((len(columns), 0), np.uint64)
        return np.concatenate(times), np.ascontiguousarray(np.concatenate(cells).T)

    def _oldest(self) -> int:
        return (self.last_ms or 0) - self.retention_ms

    # --- moving

    def frozen(self) -> list[Chunk]:
        """The chunks as they are now, safe to read while the table goes on."""
        return [*self.chunks[:-1], *(chunk.trimmed() for chunk in self.chunks[-1:])]

    def compacted(self, columns: Columns) -> Table:
        """The same table with only the columns in use, at new places in ``columns``, which must be empty and of the same register."""
        used = np.flatnonzero(self.columns.taken)
        columns.of_others(self.columns)
        return Table.restored(columns, self.retention_ms, [chunk.some(used) for chunk in self.chunks])

    @classmethod
    def restored(cls, columns: Columns, retention_ms: int, chunks: list[Chunk]) -> Table:
        """A table with these chunks, full as they are, whose columns are those of ``columns``."""
        table = cls(columns, retention_ms)
        table.chunks = [chunk.closed() for chunk in chunks]
        table._widen()
        for chunk in table.chunks:
            newest = np.where(chunk.present(), chunk.last_ms, 0)
            width = min(chunk.width, len(table._last_ms))
            np.maximum(table._last_ms[:width], newest[:width], out=table._last_ms[:width])
        if chunks:
            last = chunks[-1]
            width = min(last.width, len(table._live))
            table._live[:width] = _alive(last.last())[:width]
        return table


def _count(row: Bits) -> int:
    return int(np.count_nonzero(row != ABSENT))


def _alive(bits: Bits) -> Bool:
    alive: Bool = (bits != ABSENT) & ~is_stale(bits.view(np.float64))
    return alive
