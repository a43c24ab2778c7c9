"""What an expression needs: which collectors and brokers its selectors read, over which windows, and which of them one alert's labels select."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from alerts.promql.evaluate import LOOKBACK_MS
from alerts.promql.questions import Window, longest_windows
from alerts.promql.syntax import (
    SET_OPERATORS,
    Aggregation,
    Binary,
    Call,
    Expr,
    Negation,
    Selector,
    String,
    Subquery,
    ValueType,
    value_type,
)
from exporter.metrics.catalogue import MetricRow, Owner
from exporter.series import Matcher

NARROWING: Final = frozenset({"cluster", "broker"})
"""Labels by which inputs come: an alert that carries one needs only the inputs of its value."""

COVERED_METRIC: Final = "klaxon_collector_covered"
"""The series by which the past coverage of a collector is known."""


@dataclass(frozen=True, slots=True)
class Need:
    """One selector's inputs. ``narrowed`` are the labels by which the alert's own value selects among them, since the selector's label becomes the alert's."""

    metric: str
    inputs: tuple[str, ...]
    """Collectors; empty for what Klaxon knows by itself (its own metrics, ALERTS, recorded series: their own inputs stand in needs of their own)."""
    cluster_matchers: tuple[Matcher, ...]
    broker_matchers: tuple[Matcher, ...]
    narrowed: frozenset[str]
    range_ms: int
    """How much of the past is read, the subqueries around the selector included."""
    offset_ms: int
    step_ms: int = 0
    """How far apart the samples of a recorded series are; 0 for all others."""


@dataclass(frozen=True, slots=True)
class Recording:
    """What a recorded series is made of."""

    exprs: tuple[Expr, ...]
    interval: float


def needs(expr: Expr, catalogue: Mapping[str, MetricRow], recorded: Mapping[str, Recording]) -> tuple[Need, ...]:
    """All needs of an expression; those of a recorded series are followed into its rules."""
    found: dict[Need, None] = {}
    for need in _Finder(catalogue, recorded).find(expr, NARROWING, frozenset()):
        found[need] = None
    return tuple(found)


@dataclass(frozen=True, slots=True)
class _Finder:
    catalogue: Mapping[str, MetricRow]
    recorded: Mapping[str, Recording]

    def find(
        self,
        expr: Expr,
        narrowed: frozenset[str],
        inside: frozenset[str],
        window: Window = Window(),  # noqa: B008 - it is frozen
    ) -> Iterable[Need]:
        """``narrowed``: labels whose value on the result is their value on the series below here. ``inside``: recorded names on the way (no circles).
        ``window``: what the subqueries around here read.
        """
        if isinstance(expr, Selector):
            yield from self._selector(expr, narrowed, inside, window.through(expr))
        elif isinstance(expr, Subquery):
            yield from self.find(expr.operand, narrowed, inside, window.through(expr))
        elif isinstance(expr, Negation):
            yield from self.find(expr.operand, narrowed, inside, window)
        elif isinstance(expr, Aggregation):
            kept = narrowed - set(expr.labels) if expr.without else narrowed & set(expr.labels)
            yield from self.find(expr.operand, kept, inside, window)
            if expr.param is not None:
                yield from self.find(expr.param, frozenset(), inside, window)
        elif isinstance(expr, Call):
            below = _below_call(expr, narrowed)
            for arg in expr.args:
                yield from self.find(arg, below, inside, window)
        elif isinstance(expr, Binary):
            left, right = _below_binary(expr, narrowed)
            yield from self.find(expr.left, left, inside, window)
            yield from self.find(expr.right, right, inside, window)

    def _selector(
        self, selector: Selector, narrowed: frozenset[str], inside: frozenset[str], window: Window
    ) -> Iterable[Need]:
        metric = selector.name or ""
        row = self.catalogue.get(metric)
        labels = frozenset() if row is None else frozenset((*row.labels, "cluster"))
        recording = self.recorded.get(metric) if row is None else None
        need = Need(
            metric,
            () if row is None else tuple(owner.value for owner in row.inputs if owner is not Owner.SELF),
            tuple(m for m in selector.matchers if m.name == "cluster"),
            tuple(m for m in selector.matchers if m.name == "broker") if "broker" in labels else (),
            narrowed if recording is not None else narrowed & labels,
            window.range_ms,
            window.offset_ms,
            0 if recording is None else round(recording.interval * 1000),
        )
        yield need
        if recording is not None and metric not in inside:
            for expr in recording.exprs:
                for below in self.find(expr, narrowed, inside | {metric}):
                    yield replace(below, cluster_matchers=below.cluster_matchers + need.cluster_matchers)


def _below_call(call: Call, narrowed: frozenset[str]) -> frozenset[str]:
    if call.function in ("absent", "absent_over_time", "scalar", "vector"):
        return frozenset()
    if call.function in ("label_replace", "label_join") and isinstance(call.args[1], String):
        return narrowed - {call.args[1].value}
    return narrowed


def _below_binary(expr: Binary, narrowed: frozenset[str]) -> tuple[frozenset[str], frozenset[str]]:
    if value_type(expr.left) is ValueType.SCALAR:
        return frozenset(), narrowed
    if value_type(expr.right) is ValueType.SCALAR:
        return narrowed, frozenset()
    if expr.op == "or":
        return narrowed, narrowed
    matching = expr.matching
    matched = frozenset(matching.labels)
    joined = narrowed & matched if matching.on else narrowed - matched
    if expr.op in SET_OPERATORS:
        return narrowed, joined
    if matching.many is None:
        return joined, joined
    copied = narrowed & set(matching.include)
    many, one = narrowed - copied, joined | copied
    return (many, one) if matching.many == "left" else (one, many)


def retention(exprs: Sequence[Expr]) -> dict[str, float]:
    """Seconds that the history must keep of each metric: its longest window or the look-back, with the offset; what the engine asks by itself included."""
    kept: dict[str, float] = {}
    longest = longest_windows(exprs)
    for metric, window in longest.items():
        if metric is not None:
            kept[metric] = window + LOOKBACK_MS / 1000
    if kept:
        kept[COVERED_METRIC] = max(kept.values())
    return kept
