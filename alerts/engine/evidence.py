"""What is known about the inputs of one rule's alerts at one evaluation: coverage now, and how much of each window was covered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import numpy as np

from alerts.engine.durations import format_duration
from alerts.engine.lifecycle import Evidence
from alerts.engine.needs import COVERED_METRIC, Need
from alerts.engine.querier import Querier
from alerts.promql.evaluate import LOOKBACK_MS
from alerts.promql.syntax import Selector
from alerts.promql.values import Matrix
from exporter.metrics.catalogue import Owner
from exporter.reading import WHOLE_CLUSTER, Coverage
from exporter.series import METRIC_NAME, Matcher, Series

COVERAGE_MAX_AGE: Final = 60.0
"""Seconds after which a coverage that nobody renewed is worth nothing: the fastest collector renews it every five."""

SAMPLE_REACH_MS: Final = 30_000
"""How much of a window one sample speaks for: two steps of the history's grid of 15 s."""

HALF: Final = 0.5

ALERTS: Final = "ALERTS"
ALERTS_FOR_STATE: Final = "ALERTS_FOR_STATE"
"""These two have series only while something is wrong: a window without any is covered all the same."""

CoverageOf: TypeAlias = Mapping[str, Coverage]
"""By cluster; every configured cluster, before its first poll too."""


@dataclass(slots=True)
class Inputs:
    """Answers for the alerts of one rule at one moment; asked again for the same cluster and broker it remembers."""

    needs: Sequence[Need]
    coverage: CoverageOf
    querier: Querier
    at: float
    _known: dict[tuple[str | None, str | None], Evidence] = field(default_factory=dict)
    _shares: dict[tuple[str, str, str, int, int, int], float] = field(default_factory=dict)

    def evidence(self, labels: Mapping[str, str]) -> Evidence:
        """The evidence for an alert with these labels. Raises QueryError if the history of an input cannot be read."""
        key = (labels.get("cluster"), labels.get("broker"))
        if key not in self._known:
            self._known[key] = self._evidence(*key)
        return self._known[key]

    def _evidence(self, cluster: str | None, broker: str | None) -> Evidence:
        missing: dict[str, None] = {}
        oldest, impossible = float("inf"), False
        for need in self.needs:
            found = self._need(need, cluster, broker)
            missing.update(dict.fromkeys(found.missing))
            oldest, impossible = min(oldest, found.oldest), impossible or found.impossible
        return Evidence(tuple(missing), oldest, impossible)

    def _need(self, need: Need, cluster: str | None, broker: str | None) -> Evidence:
        missing: list[str] = []
        oldest, impossible = float("inf"), False
        for name in self._clusters(need, cluster):
            cover = self.coverage.get(name)
            stale = cover is None or self.at - cover.at > COVERAGE_MAX_AGE
            inputs = [i for i in need.inputs if cover is None or i not in cover.unsupported]
            impossible |= bool(need.inputs) and not inputs
            for collector in inputs:
                if stale or cover is None:
                    missing.append(_words(collector, None, name))
                    continue
                for source in sorted(_sources(need, cover, collector, broker)):
                    taken = cover.taken_at.get(collector, {}).get(source)
                    if taken is None:
                        missing.append(_words(collector, source, name))
                    else:
                        oldest = min(oldest, taken)
            if (
                not missing
                and (need.range_ms or need.offset_ms)
                and (inputs or not need.inputs)
                and need.metric not in (ALERTS, ALERTS_FOR_STATE)
            ):
                missing += self._windows(need, inputs, name, broker, cover)
        return Evidence(tuple(missing), oldest, impossible)

    def _clusters(self, need: Need, cluster: str | None) -> list[str]:
        """The clusters whose inputs count: the alert's own, else all that the matchers select."""
        if cluster is not None and "cluster" in need.narrowed:
            return [cluster]
        literal = [m.value for m in need.cluster_matchers if m.op == "="]
        candidates = literal[:1] or sorted(self.coverage)
        return [name for name in candidates if all(m.matches(name) for m in need.cluster_matchers)]

    # --- windows

    def _windows(
        self, need: Need, inputs: Sequence[str], cluster: str, broker: str | None, cover: Coverage | None
    ) -> Iterator[str]:
        """Words for what has not been covered for half of the need's window."""
        window = need.range_ms or LOOKBACK_MS
        shares = {
            collector: _mean(
                [
                    self._share(need, collector, cluster, _label(s), window)
                    for s in _sources(need, cover, collector, broker)
                ]
            )
            for collector in inputs
            if collector != Owner.LEGS
        }
        if not shares:
            shares = {need.metric: self._share(need, "", cluster, "", window)}
        for what, share in shares.items():
            if share < HALF:
                yield f"half of {format_duration(window / 1000)} of {what} (cluster {cluster})"

    def _share(self, need: Need, collector: str, cluster: str, source: str, window: int) -> float:
        """How much of the window a source was covered, 0 to 1; without a collector by the samples of the metric itself."""
        metric = COVERED_METRIC if collector else need.metric
        key = (metric, collector or cluster, f"{cluster}\xff{source}", window, need.offset_ms, need.step_ms)
        if key not in self._shares:
            matchers = [Matcher(METRIC_NAME, "=", metric)]
            if collector:
                matchers += [
                    Matcher("cluster", "=", cluster),
                    Matcher("collector", "=", collector),
                    Matcher("source", "=", source),
                ]
            value = self.querier.evaluate(Selector(tuple(matchers), window, need.offset_ms), self.at)
            series = value.series if isinstance(value, Matrix) else []
            end = round(self.at * 1000) - need.offset_ms
            self._shares[key] = (
                covered_ms(series, end - window, max(SAMPLE_REACH_MS, 2 * need.step_ms), ones=bool(collector)) / window
            )
        return self._shares[key]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def covered_ms(series: Sequence[Series], start: int, reach: int, *, ones: bool) -> float:
    """How many of the milliseconds from ``start`` to the last sample have one: each speaks for the time since the one before it
    (or since the start), if that is not more than ``reach``.

    With ``ones`` only samples that are 1 count.
    """
    if not series:
        return 0.0
    times = np.unique(np.concatenate([s.timestamps[s.values == 1.0] if ones else s.timestamps for s in series]))
    if not len(times):
        return 0.0
    gaps = np.diff(times, prepend=start)
    return float(gaps[gaps <= reach].sum())


def _sources(need: Need, cover: Coverage | None, collector: str, broker: str | None) -> frozenset[int]:
    """The sources of a collector that the need's matchers, or the alert's own broker, select."""
    expected = (
        frozenset({WHOLE_CLUSTER}) if cover is None else cover.expected.get(collector, frozenset({WHOLE_CLUSTER}))
    )
    if WHOLE_CLUSTER in expected:
        return expected
    if broker is not None and broker.isdecimal() and "broker" in need.narrowed:
        return frozenset({int(broker)})
    literal = [m.value for m in need.broker_matchers if m.op == "=" and m.value.isdecimal()]
    if literal:
        return frozenset({int(literal[0])})
    selected = frozenset(s for s in expected if all(m.matches(str(s)) for m in need.broker_matchers))
    return selected or frozenset({WHOLE_CLUSTER})


def _words(collector: str, source: int | None, cluster: str) -> str:
    where = "" if source is None or source == WHOLE_CLUSTER else f" of broker {source}"
    return f"{collector}{where} (cluster {cluster})"


def _label(source: int) -> str:
    """The source as the series of the coverage name it."""
    return "cluster" if source == WHOLE_CLUSTER else str(source)
