"""Functions that read a value as Unix seconds and give a part of that moment in UTC."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from alerts.promql.values import Floats

_MOST_SECONDS: Final = 2**59
"""Beyond this (18 thousand million years) there are no dates: NaN."""

_Moments = npt.NDArray[np.datetime64]
_Ints = npt.NDArray[np.int64]


def _part(of: Callable[[_Moments], _Ints]) -> Callable[[Floats], Floats]:
    """The part of each value's moment, cut to the second before it (towards 1970); NaN where a value is no moment."""

    def of_values(values: Floats) -> Floats:
        known = np.abs(values) < _MOST_SECONDS
        seconds = np.where(known, values, 0.0).astype(np.int64)
        return np.where(known, of(seconds.astype("datetime64[s]")).astype(np.float64), np.nan)

    return of_values


def _as(unit: str, moments: _Moments) -> Any:
    """Cut to a unit of the calendar."""
    return moments.astype(f"datetime64[{unit}]")


def _count(unit: str, moments: _Moments) -> _Ints:
    """Units since 1970."""
    result: _Ints = _as(unit, moments).astype(np.int64)
    return result


def _days_since(unit: str, moments: _Moments) -> _Ints:
    """Days since the beginning of the month or year."""
    return _count("D", moments) - _count("D", _as(unit, moments))


PARTS: Final[Mapping[str, Callable[[Floats], Floats]]] = {
    "minute": _part(lambda at: _count("m", at) % 60),
    "hour": _part(lambda at: _count("h", at) % 24),
    "day_of_week": _part(lambda at: (_count("D", at) + 4) % 7),
    "day_of_month": _part(lambda at: _days_since("M", at) + 1),
    "day_of_year": _part(lambda at: _days_since("Y", at) + 1),
    "days_in_month": _part(lambda at: _count("D", _as("M", at) + 1) - _count("D", _as("M", at))),
    "month": _part(lambda at: _count("M", at) % 12 + 1),
    "year": _part(lambda at: _count("Y", at) + 1970),
}
"""Sunday is 0, January and the first of the month are 1."""
