"""Rows of samples that no longer change, in a half to an eighth of their room: whole numbers as distances from the least of their column.

Nearly all that is kept by the thousand are offsets, lags, sizes and counts: whole numbers that go a short way within a chunk.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from exporter.series import STALE_BITS

Bits = npt.NDArray[np.uint64]

ABSENT: Final = np.uint64(0x7FF0000000000004)
"""The bits of "no sample", a NaN that nobody computes."""
STALE: Final = np.uint64(STALE_BITS)

_EXACT_BELOW: Final = 2.0**53
_KINDS: Final = (np.uint8, np.uint16, np.uint32)


class Narrow:
    """A matrix of samples (rows, columns) that gives back the very bits it was made of. The two largest distances stand for ABSENT and STALE."""

    __slots__ = ("_distance", "_least")

    def __init__(self, least: npt.NDArray[np.float64], distance: npt.NDArray[Any]) -> None:
        self._least = least
        self._distance = distance

    @classmethod
    def of(cls, bits: Bits) -> Narrow | None:
        """None where a value is no whole number, or goes too far. Works row by row, so that it needs no room to speak of."""
        least = np.full(bits.shape[1], np.inf)
        most = np.full(bits.shape[1], -np.inf)
        for row in bits:
            numbers = row.view(np.float64)
            marked = _marked(row)
            if not (marked | _whole(row)).all():
                return None
            np.minimum(least, numbers, out=least, where=~marked)
            np.maximum(most, numbers, out=most, where=~marked)
        known = np.isfinite(least)
        least = np.where(known, least, 0.0)
        furthest = float((most - least)[known].max(initial=0.0))
        kind = next((kind for kind in _KINDS if furthest <= np.iinfo(kind).max - 2), None)
        return None if kind is None else cls(least, _distances(bits, least, kind))

    @property
    def shape(self) -> tuple[int, ...]:
        return self._distance.shape

    @property
    def nbytes(self) -> int:
        return self._distance.nbytes + self._least.nbytes

    def take(self, rows: npt.NDArray[Any], columns: npt.NDArray[np.intp] | None = None) -> Bits:
        """The bits of these rows, of all columns or of some."""
        distance = self._distance[rows] if columns is None else self._distance[rows[:, None], columns]
        values = distance.astype(np.float64)
        values += self._least if columns is None else self._least[columns]
        bits: Bits = values.view(np.uint64)
        top = np.iinfo(self._distance.dtype).max
        marked = distance >= top - 1
        if marked.any():
            bits[marked] = np.where(distance[marked] == top, ABSENT, STALE)
        return bits

    def some(self, columns: npt.NDArray[np.intp]) -> Narrow:
        """Only these columns."""
        return Narrow(self._least[columns], self._distance[:, columns])


def _marked(row: Bits) -> npt.NDArray[np.bool_]:
    marked: npt.NDArray[np.bool_] = (row == ABSENT) | (row == STALE)
    return marked


def _whole(row: Bits) -> npt.NDArray[np.bool_]:
    """Which are whole numbers that float64 counts exactly; -0 is none, since its bits would be lost."""
    numbers = row.view(np.float64)
    exact = np.abs(numbers) < _EXACT_BELOW
    same: npt.NDArray[np.bool_] = (
        np.where(exact, numbers, 0.5).astype(np.int64).astype(np.float64).view(np.uint64) == row
    )
    return same


def _distances(bits: Bits, least: npt.NDArray[np.float64], kind: Any) -> npt.NDArray[Any]:
    distance = np.empty(bits.shape, kind)
    top = np.iinfo(kind).max
    for row, into in zip(bits, distance, strict=True):
        into[:] = np.where(_marked(row), least, row.view(np.float64)) - least
        into[row == ABSENT] = top
        into[row == STALE] = top - 1
    return distance
