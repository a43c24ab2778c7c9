"""Functions over a range: from the samples in each series' window to one value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from alerts.promql import numbers
from alerts.promql.batch import EMPTY, WITHOUT_NAME, Vec
from alerts.promql.values import Floats, Index, Mask, Times
from alerts.promql.windows import Windows


def apply(function: str, windows: Windows, number: float = 0.0, *, at_ms: int) -> Vec:
    """The function's value at a moment for each series that has enough samples.

    ``number`` is quantile_over_time's quantile or the seconds that predict_linear looks ahead.
    """
    windows = windows.at_least(_LEAST.get(function, 1))
    if not len(windows):
        return EMPTY
    keeps_name = function in ("last_over_time", "first_over_time")
    return Vec(
        windows.batch if keeps_name else windows.batch.group(WITHOUT_NAME).batch(),
        _values(function, windows, number, at_ms),
    )


def _values(function: str, windows: Windows, number: float, at_ms: int) -> Floats:
    if function == "quantile_over_time":
        return numbers.quantiles(number, windows.values, windows.starts)
    if function == "predict_linear":
        slope, now = _line(windows, np.full(len(windows), at_ms))
        return slope * number + now
    return _FUNCTIONS[function](windows)


# --- neighbours inside a series ---------------------------------------------------------------------------------------------------------------


def _firsts(windows: Windows) -> Mask:
    """Which samples are the first of their series and so have no neighbour before them."""
    first = np.zeros(len(windows.values), dtype=np.bool_)
    first[windows.starts] = True
    return first


def _before(windows: Windows) -> Floats:
    """Each sample's predecessor (of another series at a series' first sample)."""
    return np.concatenate((windows.values[:1], windows.values[:-1]))


def _falls(windows: Windows) -> Mask:
    """Where a sample is smaller than the one before: a counter's reset. NaN compares false."""
    fell: Mask = (windows.values < _before(windows)) & ~_firsts(windows)
    return fell


def _count(mask: Mask, starts: Index) -> Floats:
    result: Floats = np.add.reduceat(mask.astype(np.float64), starts)
    return result


def _changes(windows: Windows) -> Floats:
    before = _before(windows)
    changed = (windows.values != before) & ~(np.isnan(windows.values) & np.isnan(before)) & ~_firsts(windows)
    return _count(changed, windows.starts)


def _last(windows: Windows) -> Floats:
    return windows.values[numbers.last_in(windows.starts, len(windows.values))]


# --- slopes -----------------------------------------------------------------------------------------------------------------------------------


def _extrapolated(windows: Windows, counter: bool) -> Floats:
    """Increase over the whole window from the samples in it, as Prometheus extrapolates since 2.51.

    With first and last sample (t1, v1) and (tn, vn), S = tn − t1: the increase between them, times (S + start + end) / S. ``start`` and ``end`` are the gaps
    to the window's edges, or half of an average interval where a gap is 1.1 average intervals or more. A counter is never extrapolated below zero.
    """
    starts, last = windows.starts, numbers.last_in(windows.starts, len(windows.values))
    first_value = windows.values[starts]
    increase = windows.values[last] - first_value
    if counter:
        increase = increase + np.add.reduceat(np.where(_falls(windows), _before(windows), 0.0), starts)
    first_time, last_time = windows.timestamps[starts], windows.timestamps[last]
    sampled = (last_time - first_time) / 1000
    average = sampled / (last - starts)
    to_start = _bounded((first_time - windows.start_ms) / 1000, average)
    to_end = _bounded((windows.end_ms - last_time) / 1000, average)
    if counter:
        to_zero = sampled * (first_value / increase)
        to_start = np.where((increase > 0) & (first_value >= 0) & (to_zero < to_start), to_zero, to_start)
    result: Floats = increase * ((sampled + to_start + to_end) / sampled)
    return result


def _bounded(gap: Floats, average: Floats) -> Floats:
    return np.where(gap >= average * 1.1, average / 2, gap)


def _increase(windows: Windows) -> Floats:
    return _extrapolated(windows, counter=True)


def _rate(windows: Windows) -> Floats:
    result: Floats = _extrapolated(windows, counter=True) / ((windows.end_ms - windows.start_ms) / 1000)
    return result


def _delta(windows: Windows) -> Floats:
    return _extrapolated(windows, counter=False)


def _irate(windows: Windows) -> Floats:
    last = numbers.last_in(windows.starts, len(windows.values))
    now, before = windows.values[last], windows.values[last - 1]
    seconds = (windows.timestamps[last] - windows.timestamps[last - 1]) / 1000
    result: Floats = np.where(now < before, now, now - before) / seconds
    return result


def _idelta(windows: Windows) -> Floats:
    last = numbers.last_in(windows.starts, len(windows.values))
    return windows.values[last] - windows.values[last - 1]


def _line(windows: Windows, zero: Times) -> tuple[Floats, Floats]:
    """Least squares: the slope per second of each series, and the line's value at the series' own moment ``zero`` (milliseconds).

    Equal values have the slope 0 exactly, unless they are infinite.
    """
    starts, total = windows.starts, len(windows.values)
    size = numbers.counts(starts, total)
    x, y = (windows.timestamps - np.repeat(zero, size)) / 1000, windows.values
    sum_x, sum_y = numbers.sums(x, starts), numbers.sums(y, starts)
    covariance = numbers.sums(x * y, starts) - sum_x * sum_y / size
    slope = covariance / (numbers.sums(x * x, starts) - sum_x * sum_x / size)
    value = sum_y / size - slope * sum_x / size
    first = windows.values[starts]
    level = np.logical_and.reduceat((y == np.repeat(first, size)) | _firsts(windows), starts)
    endless = np.isinf(first)
    return (
        np.where(level, np.where(endless, np.nan, 0.0), slope),
        np.where(level, np.where(endless, np.nan, first), value),
    )


def _deriv(windows: Windows) -> Floats:
    return _line(windows, windows.timestamps[windows.starts])[0]


_LEAST: Final = dict.fromkeys(("rate", "increase", "delta", "irate", "idelta", "deriv", "predict_linear"), 2)
"""Samples that a function needs, where it is more than one."""

_FUNCTIONS: Final[dict[str, Callable[[Windows], Floats]]] = {
    "rate": _rate,
    "increase": _increase,
    "delta": _delta,
    "irate": _irate,
    "idelta": _idelta,
    "deriv": _deriv,
    "changes": _changes,
    "resets": lambda w: _count(_falls(w), w.starts),
    "avg_over_time": lambda w: numbers.means(w.values, w.starts),
    "min_over_time": lambda w: numbers.minima(w.values, w.starts),
    "max_over_time": lambda w: numbers.maxima(w.values, w.starts),
    "sum_over_time": lambda w: numbers.sums(w.values, w.starts),
    "count_over_time": lambda w: numbers.counts(w.starts, len(w.values)).astype(np.float64),
    "first_over_time": lambda w: w.values[w.starts],
    "last_over_time": _last,
    "stddev_over_time": lambda w: np.sqrt(numbers.variances(w.values, w.starts)),
    "stdvar_over_time": lambda w: numbers.variances(w.values, w.starts),
    "present_over_time": lambda w: np.ones(len(w)),
}
