"""A store of series in memory, for rule tests and replays: what History is for the daemon, without its bounds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from exporter.series import Labels, Matcher, Series


class MemoryStore:
    """Holds the series it is given and answers by looking at each of them."""

    def __init__(self, series: Iterable[Series] = ()) -> None:
        self._series = {one.labels: one for one in series}

    def add(self, labels: Mapping[str, str], samples: Iterable[tuple[float, float]]) -> None:
        """Adds samples, (Unix seconds, value) ascending and after the series' last one."""
        key = Labels.of(labels)
        pairs = list(samples)
        timestamps = np.array([round(at * 1000) for at, _ in pairs], dtype=np.int64)
        values = np.array([value for _, value in pairs], dtype=np.float64)
        if (known := self._series.get(key)) is not None:
            timestamps, values = np.append(known.timestamps, timestamps), np.append(known.values, values)
        self._series[key] = Series(key, timestamps, values)

    @property
    def series(self) -> list[Series]:
        return list(self._series.values())

    def select(self, matchers: Sequence[Matcher], start_ms: int, end_ms: int) -> list[Series]:
        """See SeriesStore; a series without a sample in the time is left out."""
        found = []
        for labels, series in self._series.items():
            if all(m.matches(labels.get(m.name, "")) for m in matchers):
                first, last = np.searchsorted(series.timestamps, (start_ms, end_ms + 1))
                if last > first:
                    found.append(Series(labels, series.timestamps[first:last], series.values[first:last]))
        return found
