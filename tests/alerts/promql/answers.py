"""Answers of this evaluator and of a real Prometheus as plain values, and whether they are the same."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from alerts.promql.errors import PromqlEvaluationError
from alerts.promql.evaluate import Evaluator
from alerts.promql.syntax import Expr, children
from alerts.promql.values import Scalar, Vector
from alerts.promql.values import String as Text
from exporter.series import Series


def _key(labels: dict[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(labels.items()))


def their_answer(answer: dict[str, Any]) -> Any:
    """A server's answer as plain values: an error, a number, a text, or value lists by labels."""
    if answer["status"] != "success":
        return "error"
    data = answer["data"]
    if data["resultType"] == "scalar":
        return [((), [(data["result"][0], float(data["result"][1]))])]
    if data["resultType"] == "string":
        return data["result"][1]
    return [
        (_key(one["metric"]), [(at, float(value)) for at, value in one.get("values") or [one["value"]]])
        for one in data["result"]
    ]


def our_answer(evaluator: Evaluator, expr: Expr, at: float) -> Any:
    try:
        value = evaluator.evaluate(expr, at)
    except PromqlEvaluationError:
        return "error"
    if isinstance(value, Scalar):
        return [((), [(at, value.value)])]
    if isinstance(value, Text):
        return value.value
    if isinstance(value, Vector):
        return [(_key(dict(sample.labels)), [(at, sample.value)]) for sample in value]
    return _series(value.series)


def our_range(evaluator: Evaluator, expr: Expr, start: float, end: float, step: float) -> Any:
    try:
        return _series(evaluator.evaluate_range(expr, start, end, step))
    except PromqlEvaluationError:
        return "error"


def _series(series: list[Series]) -> Any:
    return [
        (
            _key(dict(one.labels)),
            [(at / 1000, v) for at, v in zip(one.timestamps.tolist(), one.values.tolist(), strict=True)],
        )
        for one in series
    ]


def close(mine: float, theirs: float) -> bool:
    if math.isnan(mine) or math.isnan(theirs):
        return math.isnan(mine) and math.isnan(theirs)
    return mine == theirs or math.isclose(mine, theirs, rel_tol=1e-9, abs_tol=1e-12)


def equal(mine: Any, theirs: Any) -> bool:
    if isinstance(mine, str) or isinstance(theirs, str):
        return bool(mine == theirs)
    mine, theirs = dict(mine), dict(theirs)
    if mine.keys() != theirs.keys():
        return False
    for labels, samples in mine.items():
        if len(samples) != len(theirs[labels]):
            return False
        for (at, value), (their_at, their_value) in zip(samples, theirs[labels], strict=True):
            if abs(at - their_at) > 1e-3 or not close(value, their_value):
                return False
    return True


def nodes_of(expr: Expr) -> Iterator[Expr]:
    yield expr
    for child in children(expr):
        yield from nodes_of(child)


def report(differences: list[str]) -> str:
    return f"{len(differences)} differ:\n" + "\n".join(differences[:20])
