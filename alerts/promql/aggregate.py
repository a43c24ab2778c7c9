"""Aggregations: from the elements of each group to one, or to the best k."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import numpy as np

from alerts.promql import numbers
from alerts.promql.batch import EMPTY, LabelRule, Vec, grouped
from alerts.promql.errors import PromqlEvaluationError
from alerts.promql.values import Floats, Index
from exporter.label_table import Column, joined


def aggregate(op: str, vec: Vec, rule: LabelRule) -> Vec:
    """``op by|without (…) (vec)`` for the aggregations without a parameter."""
    if not len(vec):
        return EMPTY
    keys, ids = vec.batch.group(rule).compact()
    if op == "count":
        return Vec(keys, np.bincount(ids, minlength=len(keys)).astype(np.float64))
    if op == "group":
        return Vec(keys, np.ones(len(keys)))
    values, starts = _in_groups(vec.values, ids)
    return Vec(keys, _AGGREGATIONS[op](values, starts))


def quantile(q: float, vec: Vec, rule: LabelRule) -> Vec:
    """``quantile by|without (…) (q, vec)``."""
    if not len(vec):
        return EMPTY
    keys, ids = vec.batch.group(rule).compact()
    return Vec(keys, numbers.quantiles(q, *_in_groups(vec.values, ids)))


def best(k: float, vec: Vec, rule: LabelRule, largest: bool) -> Vec:
    """``topk`` or ``bottomk``: the k best of each group, best first, NaN last, with their labels."""
    if math.isnan(k):
        raise PromqlEvaluationError("the parameter of topk and bottomk must not be NaN")
    if k >= _MOST:
        raise PromqlEvaluationError(f"the parameter of topk and bottomk is {k}, more than a 64-bit integer holds")
    if k < 1 or not len(vec):
        return EMPTY
    ids = vec.batch.group(rule).compact()[1]
    order = np.lexsort((-vec.values if largest else vec.values, np.isnan(vec.values), ids))
    place = np.arange(len(order)) - _starts(ids[order])[ids[order]]
    chosen = order[place < min(math.floor(k), len(order))]
    return Vec(vec.batch.take(chosen), vec.values[chosen])


def count_values(label: str, vec: Vec, rule: LabelRule) -> Vec:
    """How often each value comes in each group; the value is the label."""
    if not len(vec):
        return EMPTY
    column = Column.of(map(numbers.decimal, vec.values.tolist()))
    marked = grouped(joined((vec.batch.rows,)).having(label, column))
    with_value = LabelRule(rule.keep, rule.names | {label}) if rule.keep else rule
    return aggregate("count", Vec(marked.rows(), vec.values), with_value)


def _in_groups(values: Floats, ids: Index) -> tuple[Floats, Index]:
    """The values ordered by group, and where each group starts; every id has a value."""
    if (ids[1:] >= ids[:-1]).all():
        return values, _starts(ids)
    order = np.argsort(ids, kind="stable")
    return values[order], _starts(ids[order])


def _starts(ordered_ids: Index) -> Index:
    return np.concatenate(([0], np.flatnonzero(np.diff(ordered_ids)) + 1))


_MOST: Final = float(2**63)

_AGGREGATIONS: Final[dict[str, Callable[[Floats, Index], Floats]]] = {
    "sum": numbers.sums,
    "avg": numbers.means,
    "min": numbers.minima,
    "max": numbers.maxima,
    "stddev": lambda values, starts: np.sqrt(numbers.variances(values, starts)),
    "stdvar": numbers.variances,
}
