"""Evaluating an expression on a store of series, at one moment or at every step of a range, as Prometheus 3.x does it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np

from alerts.promql import aggregate, binary, dates, functions, histograms, range_functions
from alerts.promql.batch import LabelRule, Vec, single
from alerts.promql.errors import PromqlEvaluationError
from alerts.promql.source import Reader, Source
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
    Subquery,
    ValueType,
    value_type,
)
from alerts.promql.syntax import String as StringLiteral
from alerts.promql.values import Matrix, Scalar, String, Value, Vector
from alerts.promql.windows import Windows
from exporter.series import NO_LABELS, Labels, Series, SeriesStore

LOOKBACK_MS: Final = 300_000
"""How old the newest sample of an instant selector may be; Prometheus's default."""


def evaluate(expr: Expr, at: float, store: SeriesStore) -> Value:
    """The expression's value at a moment (Unix seconds). Raises PromqlEvaluationError where Prometheus's query would fail."""
    return Evaluator(store).evaluate(expr, at)


def evaluate_range(expr: Expr, start: float, end: float, step: float, store: SeriesStore) -> list[Series]:
    """The expression at start, start + step, … up to end (Unix seconds), as series sorted by their labels."""
    return Evaluator(store).evaluate_range(expr, start, end, step)


class Evaluator:
    """Evaluates expressions on one store; kept from pass to pass it remembers how label sets group and match, and only values cost anything."""

    def __init__(self, store: SeriesStore, lookback_ms: int = LOOKBACK_MS) -> None:
        self._reader = Reader(store, lookback_ms)

    def evaluate(self, expr: Expr, at: float) -> Value:
        """The value at a moment in Unix seconds, which counts to the millisecond."""
        at_ms = _milliseconds(at)
        with np.errstate(all="ignore"):
            return _Moment(Source(self._reader, at_ms, at_ms), at_ms).value(expr)

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
        source = Source(self._reader, start_ms, end_ms)
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


class _Moment:
    """One evaluation at one time."""

    def __init__(self, source: Source, at_ms: int) -> None:
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
            if expr.function == "pi":
                return math.pi
            return self._at_ms / 1000 if expr.function == "time" else functions.scalar(self._vector(expr.args[0]))
        raise TypeError(f"{expr} is not a scalar")

    def _window(self, expr: Expr) -> Windows:
        if isinstance(expr, Selector):
            return self._source.window(expr, self._at_ms)
        if isinstance(expr, Subquery):
            inner = self._source.inner(expr)
            end_ms = self._source.moment(expr, self._at_ms)
            return inner.window(end_ms, lambda at_ms: _Moment(inner.source, at_ms)._vector(expr.operand))
        raise TypeError(f"{expr} is not a range vector")

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
        """One argument is the range vector, another one may be a scalar."""
        argument = next(arg for arg in call.args if value_type(arg) is ValueType.MATRIX)
        windows = self._window(argument)
        if call.function == "absent_over_time":
            return functions.absent(argument, present=len(windows) > 0)
        scalars = [self._scalar(arg) for arg in call.args if arg is not argument]
        return range_functions.apply(call.function, windows, *scalars, at_ms=self._at_ms)

    def _call(self, call: Call) -> Vec:
        if call.function == "vector":
            return single(self._scalar(call.args[0]))
        if call.function == "timestamp":
            return self._timestamp(call.args[0])
        if (part := dates.PARTS.get(call.function)) is not None:
            vec = self._vector(call.args[0]) if call.args else single(self._at_ms // 1000)
            return vec.nameless(part(vec.values))
        argument = next(arg for arg in call.args if value_type(arg) is ValueType.VECTOR)
        vec = self._vector(argument)
        if (maths := functions.MATHS.get(call.function)) is not None:
            return vec.nameless(maths(vec.values))
        if call.function == "absent":
            return functions.absent(argument, present=len(vec) > 0)
        if call.function in ("sort", "sort_desc"):
            return functions.ordered(vec, descending=call.function == "sort_desc")
        if call.function in ("label_replace", "label_join"):
            return _relabelled(call.function, vec, [_text(arg) for arg in call.args[1:]])
        return _WITH_NUMBERS[call.function](vec, *(self._scalar(arg) for arg in call.args if arg is not argument))

    def _timestamp(self, argument: Expr) -> Vec:
        """A selector's samples have times of their own; everything else has the evaluation's."""
        if isinstance(argument, Selector):
            vec, timestamps = self._source.latest(argument, self._at_ms)
            return vec.nameless(timestamps / 1000)
        vec = self._vector(argument)
        return vec.nameless(np.full(len(vec), self._at_ms / 1000))


_WITH_NUMBERS: Final[Mapping[str, Callable[..., Vec]]] = {
    "round": functions.round_to,
    "clamp": functions.clamp,
    "clamp_min": functions.clamp_min,
    "clamp_max": functions.clamp_max,
    "histogram_quantile": histograms.quantile,
    "histogram_fraction": histograms.fraction,
}
"""Functions of a vector and of scalars, which come after it here."""


def _relabelled(function: str, vec: Vec, texts: list[str]) -> Vec:
    if function == "label_replace":
        return functions.label_replace(vec, *texts)
    return functions.label_join(vec, texts[0], texts[1], texts[2:])


def _text(expr: Expr) -> str:
    if not isinstance(expr, StringLiteral):
        raise TypeError(f"{expr} is not a string")
    return expr.value


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
