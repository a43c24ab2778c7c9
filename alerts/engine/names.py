"""What an expression may ask of Klaxon: metrics and labels that exist, at moments that move on; and which labels its result can have."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping

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
from exporter.metrics.catalogue import MetricRow
from exporter.series import METRIC_NAME

LabelNames = frozenset[str]


def row_labels(row: MetricRow) -> LabelNames:
    """All labels that a family's series can have."""
    return frozenset((*row.labels, "cluster")) if row.cluster else frozenset(row.labels)


class Names:
    """The catalogue's metrics and the series that recording rules write; collects what an expression gets wrong.

    A metric whose labels are None may have any label (ALERTS and ALERTS_FOR_STATE carry those of every alert).
    """

    def __init__(
        self,
        catalogue: Mapping[str, MetricRow],
        recorded: Mapping[str, Iterable[tuple[Expr, Iterable[str]]]] | None = None,
    ) -> None:
        self._labels: dict[str, LabelNames | None] = {name: row_labels(row) for name, row in catalogue.items()}
        self._labels["ALERTS"] = self._labels["ALERTS_FOR_STATE"] = None
        self._recorded = dict(recorded or {})

    def __contains__(self, metric: str) -> bool:
        return metric in self._labels or metric in self._recorded

    def labels_of(self, metric: str) -> LabelNames | None:
        """The labels of a metric, those of recorded ones taken from their rules."""
        if metric not in self._labels:
            self._labels[metric] = None  # while it is worked out, and for a rule that records from itself
            found: LabelNames = frozenset()
            for expr, added in self._recorded.get(metric, ()):
                labels = self.check(expr, [])
                if labels is None:
                    return None
                found |= (labels - {METRIC_NAME}) | frozenset(added)
            self._labels[metric] = found
        return self._labels[metric]

    def check(self, expr: Expr, faults: list[str]) -> LabelNames | None:
        """The labels that the result can have, None if any; adds a sentence to ``faults`` for each name that does not exist and each fixed moment."""
        if isinstance(expr, Selector | Subquery) and isinstance(expr.at, int):
            faults.append(
                f"'@ {expr.at / 1000:.15g}' is a fixed moment, and the history goes on; say how long ago with offset, or use '@ end()'"
            )
        if isinstance(expr, Selector):
            return self._selector(expr, faults)
        if isinstance(expr, Negation | Subquery):
            return self.check(expr.operand, faults)
        if isinstance(expr, Aggregation):
            return self._aggregation(expr, faults)
        if isinstance(expr, Binary):
            return self._binary(expr, faults)
        if isinstance(expr, Call):
            return self._call(expr, faults)
        return frozenset()

    def _selector(self, selector: Selector, faults: list[str]) -> LabelNames | None:
        if selector.name is None:
            faults.append("a selector must name its metric, like kafka_brokers{…}")
            return None
        if selector.name not in self:
            faults.append(
                f"no metric {selector.name!r} in the catalogue{_nearest(selector.name, [*self._labels, *self._recorded])}"
            )
            return None
        labels = self.labels_of(selector.name)
        for matcher in selector.matchers:
            if matcher.name != METRIC_NAME and matcher.value:
                self._known(matcher.name, labels, f"{selector.name} has", faults)
        return labels

    def _known(self, label: str, labels: LabelNames | None, owner: str, faults: list[str]) -> None:
        if labels is not None and label not in labels and label != METRIC_NAME:
            has = ", ".join(sorted(labels)) or "none"
            faults.append(f"{owner} no label {label!r} (its labels: {has})")

    def _aggregation(self, expr: Aggregation, faults: list[str]) -> LabelNames | None:
        labels = self.check(expr.operand, faults)
        for label in expr.labels:
            self._known(label, labels, f"{expr.op}: what it aggregates has", faults)
        if expr.op in ("topk", "bottomk"):
            return labels
        if expr.without:
            return None if labels is None else labels - set(expr.labels)
        kept = frozenset(expr.labels) if labels is None else labels & set(expr.labels)
        if expr.op == "count_values" and isinstance(expr.param, String):
            kept |= {expr.param.value}
        return kept

    def _binary(self, expr: Binary, faults: list[str]) -> LabelNames | None:
        left, right = self.check(expr.left, faults), self.check(expr.right, faults)
        if value_type(expr.left) is ValueType.SCALAR:
            return right
        if value_type(expr.right) is ValueType.SCALAR:
            return left
        matching = expr.matching
        for label in matching.labels:
            known = None if left is None or right is None else left | right
            self._known(label, known, f"{expr.op}: neither side has a label {label!r}; they have", faults)
        if expr.op in SET_OPERATORS:
            return (
                None
                if expr.op == "or" and (left is None or right is None)
                else (left or frozenset()) | (right or frozenset())
                if expr.op == "or"
                else left
            )
        if matching.many is not None:
            many = left if matching.many == "left" else right
            return None if many is None else many | set(matching.include)
        if matching.on:
            return frozenset(matching.labels)
        return None if left is None else left - set(matching.labels)

    def _call(self, expr: Call, faults: list[str]) -> LabelNames | None:
        results = [self.check(arg, faults) for arg in expr.args]
        if expr.function in ("absent", "absent_over_time"):
            operand = expr.args[0]
            return (
                frozenset(m.name for m in operand.matchers if m.op == "=" and m.name != METRIC_NAME)
                if isinstance(operand, Selector)
                else frozenset()
            )
        if expr.function in ("vector", "time", "scalar", "pi"):
            return frozenset()
        labels = next((r for r, arg in zip(results, expr.args, strict=True) if value_type(arg) in _SERIES), frozenset())
        if expr.function in ("histogram_quantile", "histogram_fraction"):
            self._known("le", labels, f"{expr.function}: what it reads has", faults)
            return None if labels is None else labels - {"le"}
        if expr.function in ("label_replace", "label_join") and isinstance(expr.args[1], String):
            return None if labels is None else labels | {expr.args[1].value}
        return labels


_SERIES = (ValueType.VECTOR, ValueType.MATRIX)


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
