"""Prometheus's own test files on this evaluator: PROMQLTEST= is the folder promql/promqltest/testdata of Prometheus 3.14.

The files assume feature flags that a default server has off; what depends on one, or on native histograms, is skipped, and the counts of what is skipped
are part of the test.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from alerts.promql.errors import PromqlError, PromqlEvaluationError
from alerts.promql.evaluate import Evaluator
from alerts.promql.parse import parse
from alerts.promql.questions import selectors
from alerts.promql.store import MemoryStore
from alerts.promql.syntax import Expr, ValueType, value_type
from alerts.promql.values import Matrix, Scalar, String, Vector
from exporter.series import METRIC_NAME, Labels, Series
from tests.alerts.promql.promqltest import Clear, Eval, Histogram, Load, Point, read, same

NATIVE = "native histograms"
EXPERIMENTAL = "flag: experimental functions and aggregations"
FILL = "flag: fill modifiers"
EXTENDED = "flag: anchored and smoothed selectors"
DURATIONS = "flag: arithmetic in durations"
START = "flag: start timestamps"

SKIPPED: dict[str, dict[str, int]] = {
    "aggregators.test": {NATIVE: 34, EXPERIMENTAL: 2},
    "at_modifier.test": {EXPERIMENTAL: 1},
    "duration_expression.test": {DURATIONS: 51},
    "extended_vectors.test": {EXTENDED: 135, NATIVE: 4},
    "fill-modifier.test": {FILL: 45},
    "functions.test": {NATIVE: 100, EXPERIMENTAL: 80},
    "histograms.test": {NATIVE: 84, EXPERIMENTAL: 18},
    "info.test": {EXPERIMENTAL: 53},
    "limit.test": {EXPERIMENTAL: 37},
    "native_histograms.test": {NATIVE: 512, EXPERIMENTAL: 7},
    "operators.test": {NATIVE: 72},
    "range_queries.test": {NATIVE: 2, EXPERIMENTAL: 2},
    "start_timestamps.test": {START: 16, NATIVE: 8, EXPERIMENTAL: 2},
    "subquery.test": {NATIVE: 2},
}
"""How many evaluations of each file are skipped, and why."""

_AT_ONCE = "names are dropped at once, as on a default server; the files assume promql-delayed-name-removal"
_EXACT = "sums are exact, Prometheus's compensated sum loses the small values here"

KNOWN: dict[tuple[str, str], str] = {
    ("functions.test", "avg_over_time(metric11[1m])"): _EXACT,
    **{
        ("name_label_dropping.test", text): _AT_ONCE
        for text in (
            'label_replace(rate({env="1"}[10m]), "my_name", "rate_$1", "__name__", "(.+)")',
            'label_replace(rate({env="1"}[10m]), "__name__", "rate_$1", "__name__", "(.+)")',
            'label_join(rate({env="1"}[10m]), "my_name", "_", "__name__")',
            'label_join(rate({env="1"}[10m]), "__name__", "_", "__name__", "env")',
            'sum(rate({env="1"}[10m])) by (env)',
            'label_replace(sum by (__name__) (rate(metric_total{env="2"}[5m])), "__name__", "$1", "__name__", "(.+)")',
            'sum by (__name__) (metric_total{env="1"} or rate(metric_total{env="2"}[5m]))',
            'sum by (__name__) (rate(metric_total{env="2"}[5m]) or metric_total{env="1"})',
        )
    },
    **{
        ("type_and_unit.test", f'(http_requests_total{{group="canary"}} + 1) {rest}'): _AT_ONCE
        for rest in ('and http_requests_total{instance="0"}', 'or http_requests_total{instance="1"}')
    },
}
"""Evaluations that give something else, and why that is right."""

Rows = dict[Labels, list[tuple[int, float]]]


@dataclass
class Stage:
    """What the commands of a file have loaded so far."""

    samples: dict[Labels, dict[int, float]] = field(default_factory=dict)
    native: set[Labels] = field(default_factory=set)
    start_timestamps: bool = False

    def load(self, command: Load) -> None:
        self.start_timestamps |= command.start_timestamps
        for labels, points in command.series:
            for i, point in enumerate(points):
                if isinstance(point, Histogram):
                    self.native.add(labels)
                elif point is not None:
                    self.samples.setdefault(labels, {})[i * command.gap_ms] = point
            if command.with_native and (base := re.fullmatch(r"(.+)_(bucket|count|sum)", labels.name)):
                self.native.add(
                    Labels.of({**{n: v for n, v in labels.items() if n != "le"}, METRIC_NAME: base.group(1)})
                )

    def reads_native(self, expr: Expr) -> bool:
        return any(
            all(m.matches(labels.get(m.name, "")) for m in selector.matchers)
            for selector in selectors(expr)
            for labels in self.native
        )

    def evaluator(self) -> Evaluator:
        return Evaluator(
            MemoryStore(
                Series(
                    labels, np.array(sorted(points), dtype=np.int64), np.array([points[at] for at in sorted(points)])
                )
                for labels, points in self.samples.items()
            )
        )


def outcome(stage: Stage, one: Eval) -> tuple[str, str]:
    """ "passed", "skipped" or "failed", and why."""
    try:
        expr = parse(one.text)
    except PromqlError as error:
        if reason := _flagged(one.text, error.reason):
            return "skipped", reason
        return ("passed", "") if one.fails else ("failed", str(error))
    if stage.reads_native(expr) or any(isinstance(p, Histogram) for _, points in one.rows for p in points):
        return "skipped", NATIVE
    if stage.start_timestamps:
        return "skipped", START
    try:
        difference = _difference(stage.evaluator(), expr, one)
    except PromqlEvaluationError as error:
        return ("passed", "") if one.fails else ("failed", str(error))
    if one.fails:
        return "failed", "gives a result where an error is wanted"
    return ("failed", difference) if difference else ("passed", "")


def _flagged(text: str, reason: str) -> str | None:
    if "experimental in Prometheus" in reason or text.startswith("info("):
        return EXPERIMENTAL
    if "needs native histograms" in reason or re.search(r"\s(</|>/)\s", text):
        return NATIVE
    if "'fill'" in reason:
        return FILL
    if re.search(r"\b(anchored|smoothed)\b", text):
        return EXTENDED
    return DURATIONS if re.search(r"(\[|offset\s)[^\]]*([-+*/^%(]|step\(|range\()", text) else None


def _difference(evaluator: Evaluator, expr: Expr, one: Eval) -> str | None:
    if one.step_ms:
        series = evaluator.evaluate_range(expr, one.start_ms / 1000, one.end_ms / 1000, one.step_ms / 1000)
        return _compared(_rows(series), _wanted(one, one.start_ms, one.step_ms))
    value = evaluator.evaluate(expr, one.start_ms / 1000)
    if one.string is not None:
        return None if value == String(one.string) else f"{value} is not {one.string!r}"
    if isinstance(value, Scalar):
        wanted = one.scalar
        return None if isinstance(wanted, float) and same(value.value, wanted) else f"{value.value} is not {wanted}"
    if isinstance(value, Matrix):
        assert one.range_vector is not None
        return _compared(_rows(value.series), _wanted(one, *one.range_vector))
    assert isinstance(value, Vector)
    rows = {labels: [(one.start_ms, v)] for labels, v in value.by_labels().items()}
    if one.ordered and [s.labels for s in value] != [labels for labels, _ in one.rows]:
        return f"the order is {[str(s.labels) for s in value]}"
    return _compared(rows, _wanted(one, one.start_ms, 0)) or _as_range(evaluator, expr, one, rows)


def _as_range(evaluator: Evaluator, expr: Expr, one: Eval, rows: Rows) -> str | None:
    """The same at one step of a range query, where the expression does not ask for the query's own ends."""
    if value_type(expr) is not ValueType.VECTOR or "start()" in one.text or "end()" in one.text:
        return None
    series = evaluator.evaluate_range(expr, one.start_ms / 1000 - 60, one.start_ms / 1000 + 60, 60)
    there = {
        labels: [sample for sample in samples if sample[0] == one.start_ms] for labels, samples in _rows(series).items()
    }
    found = _compared({labels: samples for labels, samples in there.items() if samples}, rows)
    return f"in a range query: {found}" if found else None


def _rows(series: Sequence[Series]) -> Rows:
    return {one.labels: list(zip(one.timestamps.tolist(), one.values.tolist(), strict=True)) for one in series}


def _wanted(one: Eval, start_ms: int, step_ms: int) -> Rows:
    if one.scalar is not None:
        assert isinstance(one.scalar, float)
        return {Labels.of(): [(at, one.scalar) for at in range(one.start_ms, one.end_ms + 1, max(step_ms, 1))]}

    def samples(points: Sequence[Point]) -> list[tuple[int, float]]:
        return [(start_ms + i * step_ms, p) for i, p in enumerate(points) if isinstance(p, float)]

    return {labels: samples(points) for labels, points in one.rows}


def _compared(mine: Rows, wanted: Rows) -> str | None:
    if mine.keys() != wanted.keys():
        return f"series {sorted(map(str, mine))}, wanted {sorted(map(str, wanted))}"
    for labels, samples in mine.items():
        expected = wanted[labels]
        if [at for at, _ in samples] != [at for at, _ in expected]:
            return f"{labels} has samples at {[at for at, _ in samples]}, wanted {[at for at, _ in expected]}"
        if not all(same(a, b) for (_, a), (_, b) in zip(samples, expected, strict=True)):
            return f"{labels} is {[v for _, v in samples]}, wanted {[v for _, v in expected]}"
    return None


def test_prometheus_own_tests() -> None:
    folder = os.environ.get("PROMQLTEST")
    if not folder:
        pytest.skip("PROMQLTEST= is not set to the folder with Prometheus's test files (promql/promqltest/testdata)")
    files = sorted(Path(folder).glob("*.test"))
    assert files, f"no *.test in {folder}"
    passed, differing, skipped, annotations = 0, 0, {file.name: Counter[str]() for file in files}, 0
    failed, known = [], set[tuple[str, str]]()
    for file in files:
        stage = Stage()
        for command in read(file.read_text(encoding="utf-8")):
            if isinstance(command, Load):
                stage.load(command)
            elif isinstance(command, Clear):
                stage = Stage()
            else:
                verdict, reason = outcome(stage, command)
                passed += verdict == "passed"
                annotations += command.annotations if verdict == "passed" else 0
                if verdict == "skipped":
                    skipped[file.name][reason] += 1
                elif verdict == "failed" and (file.name, command.text) in KNOWN:
                    differing += 1
                    known.add((file.name, command.text))
                elif verdict == "failed":
                    failed.append(f"{file.name}:{command.line}: {command.text}\n    {reason}")
    total = sum(skipped.values(), Counter[str]())
    print(
        f"{passed} passed, {differing} differ as known, skipped: {dict(total)}; {annotations} annotations not compared"
    )
    assert not failed, f"{len(failed)} failed:\n" + "\n".join(failed)
    assert known == KNOWN.keys(), "some pass that are known to differ"
    assert {name: dict(counts) for name, counts in skipped.items() if counts} == SKIPPED
