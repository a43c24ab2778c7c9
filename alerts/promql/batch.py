"""Label sets in bulk: many series share one Batch, and what was once worked out for it (groups, names dropped, matches) is kept with it.

A pass of rules evaluates the same expressions on the same label sets again and again while only values change. So a vector is a Batch and an array
of values; every operation on labels is a mapping of a Batch, made once, and a part of a Batch (what a filter let through) uses its parent's mappings
by index. Nothing here looks at values.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, TypeAlias

import numpy as np

from alerts.promql.errors import PromqlEvaluationError
from alerts.promql.values import Floats, Index, Mask
from exporter.series import METRIC_NAME, NO_LABELS, Labels, Shape

_MATCHES_KEPT = 16
"""How many other batches a batch remembers its matches with."""


@dataclass(frozen=True, slots=True)
class LabelRule:
    """Which labels stay: only ``names`` (keep) or all but ``names``."""

    keep: bool
    names: frozenset[str]

    @classmethod
    def by(cls, names: Iterable[str]) -> LabelRule:
        return cls(True, frozenset(names))

    @classmethod
    def without(cls, names: Iterable[str]) -> LabelRule:
        """All labels but these and the metric's name."""
        return cls(False, frozenset(names) | {METRIC_NAME})


METADATA = frozenset({METRIC_NAME, "__type__", "__unit__"})
"""Labels that say what a metric is; they go when a value becomes another one."""

WITHOUT_NAME = LabelRule(False, METADATA)


class Batch:
    """An immutable row of label sets; a root holds them, a part holds rows of its root."""

    __slots__ = ("_labels", "index", "memo", "root")

    def __init__(self, labels: list[Labels] | None, root: Batch | None = None, index: Index | None = None) -> None:
        self._labels = labels
        self.root: Batch = root if root is not None else self
        self.index = index
        self.memo: dict[Hashable, Any] = {}

    def __len__(self) -> int:
        return len(self._labels) if self._labels is not None else len(self._rows)

    @property
    def _rows(self) -> Index:
        assert self.index is not None
        return self.index

    @property
    def labels(self) -> list[Labels]:
        if self._labels is None:
            of_root = self.root.labels
            self._labels = [of_root[i] for i in self._rows.tolist()]
        return self._labels

    def take(self, rows: Index) -> Batch:
        """These rows, in this order."""
        return Batch(None, self.root, rows if self.index is None else self.index[rows])

    def where(self, mask: Mask) -> Batch:
        """The rows where the mask is true."""
        return self if mask.all() else self.take(np.flatnonzero(mask))

    def part(self, labels: list[Labels]) -> Batch | None:
        """These label sets as a part of this root; None if one is not here, or if so few are that the root is not worth keeping."""
        if 2 * len(labels) < len(self):
            return None
        rows: dict[Labels, int] | None = self.memo.get("rows")
        if rows is None:
            rows = self.memo["rows"] = {one: row for row, one in enumerate(self.labels)}
        places = [rows.get(one, -1) for one in labels]
        return None if -1 in places else Batch(labels, self, np.array(places, dtype=np.intp))

    def group(self, rule: LabelRule) -> Grouping:
        """Every row's label set reduced by the rule."""
        return self.map(rule, lambda labels: _reduced(labels, rule))

    def map(self, key: Hashable, function: Callable[[list[Labels]], Iterable[Labels]]) -> Grouping:
        """Every row's label set changed by the function, which must give the same for the same key always."""
        of_root: Grouping | None = self.root.memo.get(key)
        if of_root is None:
            of_root = self.root.memo[key] = _numbered(function(self.root.labels))
        return (
            of_root if self.index is None else Grouping(of_root.keys, of_root.ids[self.index], of_root.distinct or None)
        )

    def remember(self, key: Hashable, labels: list[Labels]) -> Batch:
        """A batch of these label sets; the one of the last time if they are the same, with all that it knows."""
        last: Batch | None = self.root.memo.get(key)
        if last is None or last.labels != labels:
            last = self.root.memo[key] = Batch(labels)
        return last


class Grouping:
    """Where each row of a batch goes: ``keys`` are the distinct results (a root), ``ids[i]`` is the one of row i."""

    __slots__ = ("_distinct", "ids", "keys")

    def __init__(self, keys: Batch, ids: Index, distinct: bool | None) -> None:
        self.keys = keys
        self.ids = ids
        self._distinct = distinct

    @property
    def distinct(self) -> bool:
        """Whether no two rows go to the same key."""
        if self._distinct is None:
            self._distinct = repeated(self.ids, len(self.keys)) is None
        return self._distinct

    def batch(self) -> Batch:
        """The results row by row; two equal ones are an error, as in Prometheus."""
        if not self.distinct:
            twice = self.keys.labels[repeated(self.ids, len(self.keys)) or 0]
            raise PromqlEvaluationError(f"vector cannot contain metrics with the same labelset: {twice} comes twice")
        return self.keys if len(self.ids) == len(self.keys) and self._in_order() else self.keys.take(self.ids)

    def _in_order(self) -> bool:
        return bool((self.ids == np.arange(len(self.ids))).all())

    def compact(self) -> tuple[Batch, Index]:
        """The keys that rows go to, and the rows' ids among these."""
        used = np.zeros(len(self.keys), dtype=np.bool_)
        used[self.ids] = True
        if used.all():
            return self.keys, self.ids
        return self.keys.where(used), (np.cumsum(used) - 1)[self.ids]

    def match(self, other: Grouping) -> Index:
        """For each key of this grouping the id of the same key in the other one, or −1."""
        kept = self.keys.memo.setdefault("matches", {})
        found: tuple[Batch, Index] | None = kept.get(id(other.keys))
        if found is None:
            if len(kept) >= _MATCHES_KEPT:
                kept.clear()
            ids = {key: i for i, key in enumerate(other.keys.labels)}
            found = other.keys, np.array([ids.get(key, -1) for key in self.keys.labels], dtype=np.intp)
            kept[id(other.keys)] = found  # holds the other keys, so their id stays theirs
        return found[1]


def repeated(ids: Index, size: int) -> int | None:
    """An id that comes more than once, or None."""
    counts = np.bincount(ids, minlength=size)
    return int(counts.argmax()) if len(ids) and counts.max() > 1 else None


@dataclass(frozen=True, slots=True, eq=False)
class Vec:
    """An instant vector inside the evaluator."""

    batch: Batch
    values: Floats

    def __len__(self) -> int:
        return len(self.values)

    def where(self, mask: Mask) -> Vec:
        return self if mask.all() else Vec(self.batch.where(mask), self.values[mask])

    def renamed(self, grouping: Grouping, values: Floats | None = None) -> Vec:
        """The same rows with other label sets (and values); raises where two become equal."""
        return Vec(grouping.batch(), self.values if values is None else values)

    def nameless(self, values: Floats) -> Vec:
        """The rows without their metric names, with other values."""
        return self.renamed(self.batch.group(WITHOUT_NAME), values)


EMPTY = Vec(Batch([]), np.empty(0))
WITHOUT_LABELS = Batch([NO_LABELS])


def single(value: float) -> Vec:
    """One element without labels."""
    return Vec(WITHOUT_LABELS, np.array([value], dtype=np.float64))


def _numbered(results: Iterable[Labels]) -> Grouping:
    numbers: dict[Labels, int] = {}
    ids = np.array([numbers.setdefault(labels, len(numbers)) for labels in results], dtype=np.intp)
    return Grouping(Batch(list(numbers)), ids, len(numbers) == len(ids))


_Plan: TypeAlias = tuple[Shape, Callable[[tuple[str, ...]], tuple[str, ...]]]


def _reduced(label_sets: Sequence[Labels], rule: LabelRule) -> Iterable[Labels]:
    """Each label set reduced by the rule; the work per shape is done once."""
    plans: dict[Shape, _Plan] = {}
    for labels in label_sets:
        plan = plans.get(labels.shape)
        if plan is None:
            plan = plans[labels.shape] = _plan(labels.shape, rule)
        shape, pick = plan
        yield labels if shape is labels.shape else shape.labels(pick(labels.values_))


def _plan(shape: Shape, rule: LabelRule) -> _Plan:
    places = [i for i, name in enumerate(shape.names) if (name in rule.names) == rule.keep]
    target = Shape.of(tuple(shape.names[i] for i in places))
    if len(places) > 1:
        return target, itemgetter(*places)
    if places:
        place = places[0]
        return target, lambda values: (values[place],)
    return target, lambda values: ()
