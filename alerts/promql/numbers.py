"""Arithmetic over many groups of floats at once, with the rounding, NaN and overflow behaviour of Prometheus 3.x.

A group is a run of values: ``starts[i]`` to the next start; no group is empty.
"""

from __future__ import annotations

import math

import numpy as np

from alerts.promql.values import Floats, Index, Mask

_EXACT = float(2**53)


def counts(starts: Index, total: int) -> Index:
    """How many values each group has."""
    return np.diff(starts, append=total)


def last_in(starts: Index, total: int) -> Index:
    """The index of each group's last value."""
    return np.append(starts[1:], total) - 1


def spread(per_group: Floats, starts: Index, total: int) -> Floats:
    """A group's value at each of its members."""
    return np.repeat(per_group, counts(starts, total))


def sums(values: Floats, starts: Index) -> Floats:
    """Sum of each group, correctly rounded (Prometheus compensates its sums by Neumaier's method)."""
    plain: Floats = np.add.reduceat(values, starts)
    if _sums_exactly(values):
        return plain
    finite = np.isfinite(values)
    return _precise(values, starts, plain, np.logical_and.reduceat(finite, starts))


def _sums_exactly(values: Floats) -> bool:
    """Whether any order of adding gives the exact sum: whole numbers that stay below 2^53."""
    return bool(np.abs(values).sum() < _EXACT and (values == np.floor(values)).all())


def _precise(values: Floats, starts: Index, plain: Floats, finite: Mask) -> Floats:
    """Exact sums of the groups without Inf and NaN; the others, and what overflows, as plain addition has it."""
    numbers = values.tolist()
    result = plain.copy()
    ends = np.append(starts[1:], len(values)).tolist()
    for i, (start, end, is_finite) in enumerate(zip(starts.tolist(), ends, finite.tolist(), strict=True)):
        if is_finite:
            try:
                result[i] = math.fsum(numbers[start:end])
            except OverflowError:
                continue
    return result


def means(values: Floats, starts: Index) -> Floats:
    """Mean of each group: sum / n, by a running mean where the sum overflows."""
    size = counts(starts, len(values))
    totals = sums(values, starts)
    result: Floats = totals / size
    for i in np.flatnonzero(np.isinf(totals)).tolist():
        group = values[starts[i] : starts[i] + size[i]]
        if np.isfinite(group).all():
            result[i] = _running_mean(group)
    return result


def _running_mean(values: Floats) -> float:
    mean = 0.0
    for n, value in enumerate(values.tolist(), start=1):
        mean += value / n - mean / n
    return mean


def variances(values: Floats, starts: Index) -> Floats:
    """Population variance (÷ n) of each group, exactly 0 where all values are equal; NaN where one is Inf or NaN."""
    moved = values - spread(values[starts], starts, len(values))
    away = moved - spread(means(moved, starts), starts, len(values))
    result: Floats = sums(away * away, starts) / counts(starts, len(values))
    return result


def quantiles(q: float, values: Floats, starts: Index) -> Floats:
    """Quantile of each group: NaN sorts smallest, rank q(n−1), linear between neighbours; q NaN → NaN, < 0 → −Inf, > 1 → +Inf."""
    if math.isnan(q) or not 0 <= q <= 1:
        return np.full(len(starts), math.nan if math.isnan(q) else math.copysign(math.inf, q))
    size = counts(starts, len(values))
    number = ~np.isnan(values)
    order = np.lexsort((np.where(number, values, 0.0), number, np.repeat(np.arange(len(starts)), size)))
    ordered = values[order]
    rank = q * (size - 1.0)
    below = np.floor(rank)
    weight = rank - below
    lower = np.maximum(below, 0).astype(np.intp)
    upper = np.minimum(lower + 1, size - 1)
    result: Floats = ordered[starts + lower] * (1 - weight) + ordered[starts + upper] * weight
    return result


def minima(values: Floats, starts: Index) -> Floats:
    """Smallest of each group; NaN only where all are."""
    result: Floats = np.fmin.reduceat(values, starts)
    return result


def maxima(values: Floats, starts: Index) -> Floats:
    """Largest of each group; NaN only where all are."""
    result: Floats = np.fmax.reduceat(values, starts)
    return result


def decimal(value: float) -> str:
    """A float as Go's ``%f`` with the fewest digits that tell it apart: 1e21 is 1 and 21 zeros, ``+Inf``, ``NaN``, ``-0``."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return np.format_float_positional(value, trim="-")
