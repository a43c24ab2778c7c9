"""Quantiles and fractions of classic histograms: series that count what is at most ``le``, one per bucket."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeAlias

import numpy as np

from alerts.promql.batch import EMPTY, Batch, LabelRule, Vec
from alerts.promql.values import Floats

BUCKET: Final = "le"
"""The label with a bucket's upper bound."""

_TOLERANCE: Final = 1e-12
"""Counts that differ by less, relative to their sum, are the same but for rounding."""
_SMALLEST_NORMAL: Final = 2.2250738585072014e-308

_OF_BUCKET = LabelRule(False, frozenset({BUCKET}))
_BOUND = re.compile(r"[+-]?(?:inf(?:inity)?|\d+\.?\d*(?:e[+-]?\d+)?|\.\d+(?:e[+-]?\d+)?)", re.ASCII | re.IGNORECASE)

_Bounds: TypeAlias = Sequence[float]
_Counts: TypeAlias = list[float]


def quantile(vec: Vec, q: float) -> Vec:
    """``histogram_quantile(q, vec)``."""
    return _each(vec, lambda bounds, counts: bucket_quantile(q, bounds, counts))


def fraction(vec: Vec, lower: float, upper: float) -> Vec:
    """``histogram_fraction(lower, upper, vec)``."""
    return _each(vec, lambda bounds, counts: bucket_fraction(lower, upper, bounds, counts))


def _each(vec: Vec, of: Callable[[_Bounds, _Counts], float]) -> Vec:
    """One element per histogram, which is a label set without ``le``; series whose ``le`` is no number are left out."""
    bounds = _bounds(vec.batch)
    known = ~np.isnan(bounds)
    if not known.any():
        return EMPTY
    vec, bounds = vec.where(known), bounds[known]
    keys, ids = vec.batch.group(_OF_BUCKET).compact()
    order = np.lexsort((bounds, ids))
    ends = np.cumsum(np.bincount(ids, minlength=len(keys))).tolist()
    bound_list, count_list = bounds[order].tolist(), vec.values[order].tolist()
    values = [
        of(*_coalesced(bound_list[start:end], count_list[start:end]))
        for start, end in zip([0, *ends[:-1]], ends, strict=True)
    ]
    return Vec(keys, np.empty(0)).nameless(np.array(values))


def _bounds(batch: Batch) -> Floats:
    """The upper bound of each row, NaN where it has none."""
    of_root: Floats | None = batch.root.memo.get(BUCKET)
    if of_root is None:
        column = batch.root.column(BUCKET)
        of_root = np.full(len(batch.root), math.nan) if column is None else column.each(_bound, np.float64)
        batch.root.memo[BUCKET] = of_root
    return of_root if batch.index is None else of_root[batch.index]


def _bound(text: str) -> float:
    if _BOUND.fullmatch(text) is None:
        return math.nan
    bound = float(text)
    return math.nan if math.isinf(bound) and "inf" not in text.lower() else bound


def _coalesced(bounds: _Bounds, counts: _Counts) -> tuple[_Bounds, _Counts]:
    """Buckets of one bound ("1" and "1.0") as one."""
    if len(set(bounds)) == len(bounds):
        return bounds, counts
    merged: dict[float, float] = {}
    for bound, count in zip(bounds, counts, strict=True):
        merged[bound] = merged[bound] + count if bound in merged else count
    return list(merged), list(merged.values())


def bucket_quantile(q: float, bounds: _Bounds, counts: _Counts) -> float:
    """The value below which the share q of all observations lies, spread evenly inside a bucket.

    ``bounds`` ascend, ``counts`` are cumulative. NaN without a bucket +Inf, with fewer than two buckets or without observations. The highest bucket gives
    the bound below it; the lowest one begins at 0, or gives its bound where that is not above 0.
    """
    if math.isnan(q):
        return math.nan
    if not 0 <= q <= 1:
        return math.copysign(math.inf, q)
    if bounds[-1] != math.inf or len(bounds) < 2:
        return math.nan
    counts = _never_falling(counts)
    if counts[-1] == 0:
        return math.nan
    rank = q * counts[-1]
    place = _first(len(counts) - 1, lambda i: counts[i] >= rank)
    if place == len(counts) - 1:
        return bounds[-2]
    if place == 0:
        return bounds[0] if bounds[0] <= 0 else float(np.float64(bounds[0]) * (np.float64(rank) / counts[0]))
    low, below = bounds[place - 1], counts[place - 1]
    return float(low + (bounds[place] - low) * (np.float64(rank - below) / (counts[place] - below)))


def _first(size: int, holds: Callable[[int], bool]) -> int:
    """The first place where a condition holds that then holds for all later ones, by bisection; ``size`` if nowhere."""
    low, high = 0, size
    while low < high:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle + 1
    return low


def _never_falling(counts: _Counts) -> _Counts:
    """The counts with falls and rounding errors replaced by the count before."""
    result, before = counts[:1], counts[0]
    for count in counts[1:]:
        if count == before or _almost_equal(before, count) or count < before:
            count = before
        before = count
        result.append(count)
    return result


def _almost_equal(a: float, b: float) -> bool:
    if math.isnan(a) or math.isnan(b):
        return math.isnan(a) and math.isnan(b)
    size = abs(a) + abs(b)
    if a == 0 or b == 0 or size < _SMALLEST_NORMAL:
        return abs(a - b) < _TOLERANCE * _SMALLEST_NORMAL
    return abs(a - b) / size < _TOLERANCE


def bucket_fraction(lower: float, upper: float, bounds: _Bounds, counts: _Counts) -> float:
    """The share of all observations between two values, spread evenly inside a bucket; see ``bucket_quantile`` for the arguments.

    NaN without a bucket +Inf or without observations; nothing inside the highest bucket is counted.
    """
    total = counts[-1]
    if bounds[-1] != math.inf or total == 0 or math.isnan(lower) or math.isnan(upper):
        return math.nan
    if lower >= upper:
        return 0.0
    ranks = [min(_rank(value, bounds, counts), total) for value in (lower, upper)]
    return float(np.float64(ranks[1] - ranks[0]) / total)


def _rank(value: float, bounds: _Bounds, counts: _Counts) -> float:
    """How many observations are below a value."""
    for low, high, below, count in _edges(bounds, counts):
        if low >= value:
            return below
        if high > value:
            return count if low == -math.inf else below + (count - below) * (value - low) / (high - low)
    return counts[-1]


def _edges(bounds: _Bounds, counts: _Counts) -> Iterator[tuple[float, float, float, float]]:
    """Each bucket's lower and upper bound, and the counts below these."""
    low, below = (0.0 if bounds[0] > 0 else -math.inf), 0.0
    for high, count in zip(bounds, counts, strict=True):
        yield low, high, below, count
        low, below = high, count
