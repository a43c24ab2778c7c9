"""Evaluating an expression on a store of series, at one moment or at every step of a range, as Prometheus 3.x does it."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import Final

import numpy as np

from alerts.promql import aggregate, binary, functions, range_functions
from alerts.promql.batch import Batch, LabelRule, Vec, single
from alerts.promql.errors import PromqlEvaluationError
from alerts.promql.syntax import (
    RANGE_FUNCTIONS,
    SET_OPERATORS,
    Aggregation,
    Binary,
    Call,
    Expr,
    Negation,
    Number,
    Selector,
    ValueType,
    value_type,
)
from alerts.promql.syntax import String as StringLiteral
from alerts.promql.values import Matrix, Scalar, String, Times, Value, Vector
from alerts.promql.windows import Columns, Windows
from exporter.series import NO_LABELS, Labels, LatestStore, Matcher, Series, SeriesStore

LOOKBACK_MS: Final = 300_000
"""How old the newest sample of an instant selector may be; Prometheus's default."""

_BATCHES_KEPT: Final = 1024


def evaluate(expr: Expr, at: float, store: SeriesStore) -> Value:
    """The expression's value at a moment (Unix seconds). Raises PromqlEvaluationError where Prometheus's query would fail."""
    return Evaluator(store).evaluate(expr, at)


def evaluate_range(expr: Expr, start: float, end: float, step: float, store: SeriesStore) -> list[Series]:
    """The expression at start, start + step, … up to end (Unix seconds), as series sorted by their labels."""
    return Evaluator(store).evaluate_range(expr, start, end, step)


class Evaluator:
    """Evaluates expressions on one store; kept from pass to pass it remembers how label sets group and match, and only values cost anything."""

    def __init__(self, store: SeriesStore, lookback_ms: int = LOOKBACK_MS) -> None:
        self._store = store
        self._lookback_ms = lookback_ms
        self._batches: dict[Hashable, Batch] = {}

    def evaluate(self, expr: Expr, at: float) -> Value:
        """The value at a moment in Unix seconds, which counts to the millisecond."""
        at_ms = _milliseconds(at)
        with np.errstate(all="ignore"):
            return _Moment(_Source(self, at_ms, at_ms), at_ms).value(expr)

    def evaluate_range(self, expr: Expr, start: float, end: float, step: float) -> list[Series]:
        """The value at every step from start to end, both Unix seconds; each selector is read once for all steps. Series without a sample are left out."""
        if value_type(expr) not in (ValueType.SCALAR, ValueType.VECTOR):
            raise PromqlEvaluationError(
                f"a {value_type(expr).value} cannot be evaluated over a range, it must be a scalar or an instant vector"
            )
        start_ms, end_ms, step_ms = _milliseconds(start), _milliseconds(end), _milliseconds(step)
        if step_ms <= 0 or end_ms < start_ms:
            raise PromqlEvaluationError(
                "a range needs a step of at least a millisecond and an end that is not before its start"
            )
        source = _Source(self, start_ms, end_ms)
        rows: dict[Labels, tuple[list[int], list[float]]] = {}
        with np.errstate(all="ignore"):
            for at_ms in range(start_ms, end_ms + 1, step_ms):
                labels, values = _Moment(source, at_ms).row(expr)
                for one, value in zip(labels, values, strict=True):
                    timestamps, samples = rows.setdefault(one, ([], []))
                    timestamps.append(at_ms)
                    samples.append(value)
        return [
            Series(one, np.array(rows[one][0], dtype=np.int64), np.array(rows[one][1], dtype=np.float64))
            for one in sorted(rows)
        ]

    @property
    def store(self) -> SeriesStore:
        return self._store

    @property
    def lookback_ms(self) -> int:
        return self._lookback_ms

    def batch(self, matchers: tuple[Matcher, ...], labels: list[Labels]) -> Batch:
        """The batch of what these matchers select: the one of the last time if the label sets are the same, a part of it if some have gone."""
        known = self._batches.get(matchers)
        if known is not None and known.labels == labels:
            return known
        if len(self._batches) >= _BATCHES_KEPT:
            self._batches.clear()
        part = known.root.part(labels) if known is not None else None
        batch = self._batches[matchers] = Batch(labels) if part is None else part
        return batch


class _Source:
    """Reads each selector once for all moments from first to last."""

    def __init__(self, evaluator: Evaluator, first_ms: int, last_ms: int) -> None:
        self._evaluator = evaluator
        self._first_ms = first_ms
        self._last_ms = last_ms
        self._columns: dict[Selector, Columns] = {}

    def columns(self, selector: Selector) -> Columns:
        columns = self._columns.get(selector)
        if columns is None:
            back = selector.range_ms or self._evaluator.lookback_ms
            start, end = self._first_ms - selector.offset_ms - back + 1, self._last_ms - selector.offset_ms
            series = self._evaluator.store.select(selector.matchers, start, end)
            columns = Columns(
                series,
                lambda labels: self._evaluator.batch(selector.matchers, labels),
                keep_stale=not selector.range_ms,
            )
            self._columns[selector] = columns
        return columns

    def latest(self, selector: Selector, at_ms: int) -> tuple[Vec, Times]:
        """The newest samples at a moment and their own times."""
        store, lookback_ms = self._evaluator.store, self._evaluator.lookback_ms
        at_ms -= selector.offset_ms
        if self._first_ms == self._last_ms and isinstance(store, LatestStore):
            labels, values, timestamps = store.select_latest(selector.matchers, at_ms, lookback_ms)
            return Vec(self._evaluator.batch(selector.matchers, labels), values), timestamps
        batch, values, timestamps = self.columns(selector).latest(at_ms, lookback_ms)
        return Vec(batch, values), timestamps

    def window(self, selector: Selector, at_ms: int) -> Windows:
        end = at_ms - selector.offset_ms
        return self.columns(selector).window(end - selector.range_ms, end)


class _Moment:
    """One evaluation at one time."""

    def __init__(self, source: _Source, at_ms: int) -> None:
        self._source = source
        self._at_ms = at_ms

    def value(self, expr: Expr) -> Value:
        kind = value_type(expr)
        if kind is ValueType.SCALAR:
            return Scalar(self._scalar(expr))
        if kind is ValueType.STRING:
            return String(_text(expr))
        if kind is ValueType.MATRIX:
            return self._matrix(self._window(expr))
        vec = self._vector(expr)
        return Vector(vec.batch.labels, vec.values)

    def row(self, expr: Expr) -> tuple[Sequence[Labels], list[float]]:
        """The label sets and values at this moment; a scalar has no labels."""
        if value_type(expr) is ValueType.SCALAR:
            return (NO_LABELS,), [self._scalar(expr)]
        vec = self._vector(expr)
        return vec.batch.labels, vec.values.tolist()

    def _matrix(self, windows: Windows) -> Matrix:
        parts = zip(
            np.split(windows.timestamps, windows.starts[1:]), np.split(windows.values, windows.starts[1:]), strict=True
        )
        return Matrix([Series(labels, *part) for labels, part in zip(windows.batch.labels, parts, strict=False)])

    # --- by type ------------------------------------------------------------------------------------------------------------------------

    def _scalar(self, expr: Expr) -> float:
        if isinstance(expr, Number):
            return expr.value
        if isinstance(expr, Negation):
            return -self._scalar(expr.operand)
        if isinstance(expr, Binary):
            return binary.scalars(expr.op, self._scalar(expr.left), self._scalar(expr.right))
        if isinstance(expr, Call):
            return self._at_ms / 1000 if expr.function == "time" else functions.scalar(self._vector(expr.args[0]))
        raise TypeError(f"{expr} is not a scalar")

    def _window(self, expr: Expr) -> Windows:
        if not isinstance(expr, Selector):
            raise TypeError(f"{expr} is not a range vector")
        return self._source.window(expr, self._at_ms)

    def _vector(self, expr: Expr) -> Vec:
        if isinstance(expr, Selector):
            return self._source.latest(expr, self._at_ms)[0]
        if isinstance(expr, Aggregation):
            return self._aggregation(expr)
        if isinstance(expr, Call):
            return self._range_call(expr) if expr.function in RANGE_FUNCTIONS else self._call(expr)
        if isinstance(expr, Binary):
            return self._binary(expr)
        if isinstance(expr, Negation):
            vec = self._vector(expr.operand)
            return vec.nameless(-vec.values)
        raise TypeError(f"{expr} is not an instant vector")

    # --- by node ------------------------------------------------------------------------------------------------------------------------

    def _aggregation(self, expr: Aggregation) -> Vec:
        vec = self._vector(expr.operand)
        rule = LabelRule.without(expr.labels) if expr.without else LabelRule.by(expr.labels)
        if expr.param is None:
            return aggregate.aggregate(expr.op, vec, rule)
        if expr.op == "count_values":
            return aggregate.count_values(_text(expr.param), vec, rule)
        param = self._scalar(expr.param)
        if expr.op == "quantile":
            return aggregate.quantile(param, vec, rule)
        return aggregate.best(param, vec, rule, largest=expr.op == "topk")

    def _binary(self, expr: Binary) -> Vec:
        if expr.op in SET_OPERATORS:
            return binary.sets(expr, self._vector(expr.left), self._vector(expr.right))
        if value_type(expr.left) is ValueType.SCALAR:
            return binary.vector_scalar(expr, self._vector(expr.right), self._scalar(expr.left), scalar_is_left=True)
        if value_type(expr.right) is ValueType.SCALAR:
            return binary.vector_scalar(expr, self._vector(expr.left), self._scalar(expr.right), scalar_is_left=False)
        return binary.vectors(expr, self._vector(expr.left), self._vector(expr.right))

    def _range_call(self, call: Call) -> Vec:
        windows = self._window(call.args[-1])
        if call.function == "absent_over_time":
            return functions.absent(call.args[-1], present=len(windows) > 0)
        q = self._scalar(call.args[0]) if call.function == "quantile_over_time" else math.nan
        return range_functions.apply(call.function, windows, q)

    def _call(self, call: Call) -> Vec:
        if call.function == "vector":
            return single(self._scalar(call.args[0]))
        if call.function == "timestamp":
            return self._timestamp(call.args[0])
        vec = self._vector(call.args[0])
        if (maths := functions.MATHS.get(call.function)) is not None:
            return vec.nameless(maths(vec.values))
        if call.function == "absent":
            return functions.absent(call.args[0], present=len(vec) > 0)
        if call.function in ("sort", "sort_desc"):
            return functions.ordered(vec, descending=call.function == "sort_desc")
        if call.function in ("label_replace", "label_join"):
            return self._relabelled(call.function, vec, [_text(arg) for arg in call.args[1:]])
        return self._bounded(call.function, vec, [self._scalar(arg) for arg in call.args[1:]])

    def _timestamp(self, argument: Expr) -> Vec:
        """A selector's samples have times of their own; everything else has the evaluation's."""
        if isinstance(argument, Selector):
            vec, timestamps = self._source.latest(argument, self._at_ms)
            return vec.nameless(timestamps / 1000)
        vec = self._vector(argument)
        return vec.nameless(np.full(len(vec), self._at_ms / 1000))

    def _relabelled(self, function: str, vec: Vec, texts: list[str]) -> Vec:
        if function == "label_replace":
            return functions.label_replace(vec, *texts)
        return functions.label_join(vec, texts[0], texts[1], texts[2:])

    def _bounded(self, function: str, vec: Vec, numbers: list[float]) -> Vec:
        if function == "round":
            return functions.round_to(vec, numbers[0] if numbers else 1.0)
        if function == "clamp":
            return functions.clamp(vec, numbers[0], numbers[1])
        if function == "clamp_min":
            return functions.at_least(numbers[0], vec)
        if function == "clamp_max":
            return functions.at_most(numbers[0], vec)
        raise TypeError(f"{function} has no evaluation")


def _text(expr: Expr) -> str:
    if not isinstance(expr, StringLiteral):
        raise TypeError(f"{expr} is not a string")
    return expr.value


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
