"""Binary operators: arithmetic, comparisons and sets between scalars and vectors, with Prometheus's matching."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from alerts.promql.batch import EMPTY, METADATA, Batch, Grouping, LabelRule, Vec, grouped, repeated, union
from alerts.promql.errors import PromqlEvaluationError
from alerts.promql.syntax import COMPARISONS, Binary, Matching
from alerts.promql.values import Index
from exporter.label_table import LabelRows, LabelTable, joined

_OPERATORS: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
    "%": np.fmod,
    "^": np.power,
    "atan2": np.arctan2,
    "==": np.equal,
    "!=": np.not_equal,
    ">": np.greater,
    "<": np.less,
    ">=": np.greater_equal,
    "<=": np.less_equal,
}


def scalars(op: str, left: float, right: float) -> float:
    """Two scalars; a comparison gives 0 or 1."""
    return float(_OPERATORS[op](np.float64(left), np.float64(right)))


def vector_scalar(expr: Binary, vec: Vec, scalar: float, scalar_is_left: bool) -> Vec:
    """A vector and a scalar: a filter gives the vector's elements whichever side it stands on."""
    operator = _OPERATORS[expr.op]
    result = operator(scalar, vec.values) if scalar_is_left else operator(vec.values, scalar)
    if expr.op in COMPARISONS and not expr.returns_bool:
        return vec.where(result)
    return vec.nameless(result.astype(np.float64))


# --- sets ---------------------------------------------------------------------------------------------------------------------------------------


def sets(expr: Binary, left: Vec, right: Vec) -> Vec:
    """``and``, ``or``, ``unless``: elements of the left side, and for ``or`` those of the right side that match none of them."""
    if expr.op == "or":
        return _union(left, right, expr.matching)
    if not len(left):
        return EMPTY
    if not len(right):
        return EMPTY if expr.op == "and" else left
    found = _found(left, right, expr.matching)
    return left.where(found if expr.op == "and" else ~found)


def _found(vec: Vec, other: Vec, matching: Matching) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which elements have a match among the others."""
    mine, others = _signatures(vec.batch, matching), _signatures(other.batch, matching)
    present = np.zeros(len(others.keys) + 1, dtype=np.bool_)  # the last one is for "no such key", −1
    present[others.ids] = True
    return present[mine.match(others)[mine.ids]]


def _union(left: Vec, right: Vec, matching: Matching) -> Vec:
    if not len(left):
        return right
    if len(right):
        right = right.where(~_found(right, left, matching))
    if not len(right):
        return left
    batch = union(left.batch, right.batch, ("union", matching))
    return Vec(batch, np.concatenate((left.values, right.values)))


def _signatures(batch: Batch, matching: Matching) -> Grouping:
    return batch.group(LabelRule.by(matching.labels) if matching.on else LabelRule.without(matching.labels))


# --- pairs ---------------------------------------------------------------------------------------------------------------------------------------


def vectors(expr: Binary, left: Vec, right: Vec) -> Vec:
    """Arithmetic or a comparison of two vectors: every element of the "many" side (one to one: the left) with its only partner."""
    if not len(left) or not len(right):
        return EMPTY
    matching, mirrored = expr.matching, expr.matching.many == "right"
    many, one = (right, left) if mirrored else (left, right)
    rows, partners = _pairs(many, one, matching)
    if not len(rows):
        return EMPTY
    many_values, one_values = many.values[rows], one.values[partners]
    left_values, right_values = (one_values, many_values) if mirrored else (many_values, one_values)
    result = _OPERATORS[expr.op](left_values, right_values)
    filters = expr.op in COMPARISONS and not expr.returns_bool
    grouping = _result_labels(many.batch.take(rows), one.batch.take(partners), matching, keep_name=filters)
    if filters:
        batch = grouping.batch() if grouping.distinct else _ambiguous(grouping, matching)
        return Vec(batch, left_values).where(result)
    if not grouping.distinct and matching.many:
        _ambiguous(grouping, matching)
    return Vec(grouping.batch(), result.astype(np.float64))


def _pairs(many: Vec, one: Vec, matching: Matching) -> tuple[Index, Index]:
    """Rows of the many side that have a partner, and the partners' rows; raises where a partner is not the only one."""
    mine, others = _signatures(many.batch, matching), _signatures(one.batch, matching)
    if not others.distinct:
        side = "left" if matching.many == "right" else "right"
        raise PromqlEvaluationError(
            f"found duplicate series for the match group {others.twice} on the {side} hand-side of "
            "the operation: many-to-many matching not allowed: matching labels must be unique on one side"
        )
    row_of_key = np.full(len(others.keys) + 1, -1, dtype=np.intp)  # the last one is for "no such key", −1
    row_of_key[others.ids] = np.arange(len(one))
    partner = row_of_key[mine.match(others)[mine.ids]]
    rows = np.flatnonzero(partner >= 0)
    if not matching.many and (twice := repeated(mine.ids[rows], len(mine.keys))) is not None:
        raise PromqlEvaluationError(
            f"multiple matches for labels {mine.keys.at(twice)}: many-to-one matching must be explicit (group_left/group_right)"
        )
    return rows, partner[rows]


def _result_labels(many: Batch, one: Batch, matching: Matching, keep_name: bool) -> Grouping:
    name = frozenset() if keep_name else METADATA
    if matching.many:
        return (
            _copied(many, one, matching.include, keep_name) if matching.include else many.group(LabelRule(False, name))
        )
    if matching.on:
        return many.group(LabelRule(True, frozenset(matching.labels) - name))
    return many.group(LabelRule(False, frozenset(matching.labels) | name))


def _copied(many: Batch, one: Batch, include: tuple[str, ...], keep_name: bool) -> Grouping:
    """The many side's labels with those in ``include`` from the one side; what that side lacks is deleted."""
    gone = frozenset(include) if keep_name else METADATA.union(include)

    def made(mine: LabelRows, others: LabelRows) -> Grouping:
        own, copied = joined((mine,)).columns, joined((others,)).columns
        columns = {name: column for name, column in own.items() if name not in gone}
        return grouped(LabelTable(columns | {name: copied[name] for name in include if name in copied}, len(mine)))

    return many.with_other(("copied", include, keep_name), one, made)


def _ambiguous(grouping: Grouping, matching: Matching) -> Batch:
    if not matching.many:
        return grouping.batch()
    raise PromqlEvaluationError(
        f"multiple matches for labels {grouping.twice}: grouping labels must ensure unique matches"
    )
