"""Label sets in bulk: many series share one Batch, and what was once worked out for it (groups, names dropped, matches) is kept with it.

A pass of rules evaluates the same expressions on the same label sets again and again while only values change. So a vector is a Batch and an array
of values; every operation on labels is a mapping of a Batch, made once, and a part of a Batch (what a filter let through) uses its parent's mappings
by index. The mappings are made of the codes of a LabelTable; Labels are made only of rows that somebody looks at. Nothing here looks at values.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from alerts.promql.errors import PromqlEvaluationError
from alerts.promql.values import Floats, Index, Mask
from exporter.label_table import Codes, Column, LabelRows, LabelTable, Vocabulary, combined, joined
from exporter.series import METRIC_NAME, NO_LABELS, Labels


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
    """An immutable row of label sets; a root has a table of its own in which none comes twice, a part holds rows of its root."""

    __slots__ = ("__weakref__", "_labels", "_root", "index", "memo", "table")

    def __init__(self, table: LabelTable, root: Batch | None = None, index: Index | None = None) -> None:
        self.table = table
        self._root = root
        self._labels: list[Labels] | None = None
        self.index = index
        self.memo: dict[Hashable, Any] = {}

    @classmethod
    def of(cls, labels: Sequence[Labels]) -> Batch:
        """A root with these label sets, which are distinct."""
        return cls(LabelTable.of(labels))

    @property
    def root(self) -> Batch:
        return self if self._root is None else self._root

    def __len__(self) -> int:
        return len(self.table) if self.index is None else len(self.index)

    @property
    def labels(self) -> list[Labels]:
        """The label sets themselves; made here."""
        if self._labels is None:
            self._labels = self.table.labels(self.index)
        return self._labels

    @property
    def rows(self) -> LabelRows:
        return LabelRows(self.table, self.index)

    def at(self, place: int) -> Labels:
        """The label set of one row."""
        return self.rows[place]

    def column(self, name: str) -> Column | None:
        """One label of every row, None where no row has it."""
        column = self.table.columns.get(name)
        return column if column is None or self.index is None else column.take(self.index)

    def take(self, rows: Index) -> Batch:
        """These rows, in this order."""
        return Batch(self.table, self.root, rows if self.index is None else self.index[rows])

    def where(self, mask: Mask) -> Batch:
        """The rows where the mask is true."""
        return self if mask.all() else self.take(np.flatnonzero(mask))

    def group(self, rule: LabelRule) -> Grouping:
        """Every row's label set reduced by the rule."""
        names = self.table.names
        kept = tuple(name for name in names if (name in rule.names) == rule.keep)
        return self.map(kept, lambda table: _reduced(table, kept)) if kept != names else self._itself()

    def _itself(self) -> Grouping:
        return Grouping(self.root, counted(len(self)) if self.index is None else self.index, True)

    def map(self, key: Hashable, function: Callable[[LabelTable], Grouping]) -> Grouping:
        """Every row's label set changed by the function, which is given the root's table and must give the same for the same key always."""
        of_root: Grouping | None = self.root.memo.get(key)
        if of_root is None:
            of_root = self.root.memo[key] = function(self.table)
        return (
            of_root if self.index is None else Grouping(of_root.keys, of_root.ids[self.index], of_root.distinct or None)
        )

    def with_other(self, key: Hashable, other: Batch, function: Callable[[LabelRows, LabelRows], Grouping]) -> Grouping:
        """What the function makes of these rows and other ones; that of the last time if both are the same rows of the same roots."""
        kept: WeakKeyDictionary[Batch, _Made] = self.root.memo.setdefault(key, WeakKeyDictionary())
        last = kept.get(other.root)
        if last is None or not (_equal(last.mine, self.index) and _equal(last.others, other.index)):
            made = function(self.rows, other.rows)
            last = kept[other.root] = _Made(self.index, other.index, made)
        return last.grouping


@dataclass(frozen=True, slots=True, eq=False)
class _Made:
    """A grouping of rows of two roots."""

    mine: Index | None
    others: Index | None
    grouping: Grouping


def _equal(one: Index | None, other: Index | None) -> bool:
    return one is other or (one is not None and other is not None and np.array_equal(one, other))


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

    @property
    def twice(self) -> Labels:
        """A key that several rows go to; there is one."""
        return self.keys.at(repeated(self.ids, len(self.keys)) or 0)

    def batch(self) -> Batch:
        """The results row by row; two equal ones are an error, as in Prometheus."""
        if not self.distinct:
            raise PromqlEvaluationError(
                f"vector cannot contain metrics with the same labelset: {self.twice} comes twice"
            )
        return self.rows()

    def rows(self) -> Batch:
        """The results row by row, equal ones as often as they come."""
        return self.keys if len(self.ids) == len(self.keys) and self._in_order() else self.keys.take(self.ids)

    def _in_order(self) -> bool:
        return bool((self.ids == counted(len(self.ids))).all())

    def compact(self) -> tuple[Batch, Index]:
        """The keys that rows go to, and the rows' ids among these."""
        used = np.zeros(len(self.keys), dtype=np.bool_)
        used[self.ids] = True
        if used.all():
            return self.keys, self.ids
        return self.keys.where(used), (np.cumsum(used) - 1)[self.ids]

    def match(self, other: Grouping) -> Index:
        """For each key of this grouping the id of the same key in the other one, or −1."""
        if other.keys is self.keys:
            return counted(len(self.keys))
        kept: WeakKeyDictionary[Batch, Index] = self.keys.memo.setdefault("matches", WeakKeyDictionary())
        found = kept.get(other.keys)
        if found is None:
            found = kept[other.keys] = _matched(self.keys.table, other.keys.table)
        return found


def grouped(table: LabelTable) -> Grouping:
    """Rows of which some may be equal, each as it is."""
    return _reduced(table, table.names)


def _as_it_is(table: LabelTable) -> Grouping:
    """Rows that are distinct."""
    return Grouping(Batch(table), counted(len(table)), True)


def _reduced(table: LabelTable, names: tuple[str, ...]) -> Grouping:
    """Every row with only these labels."""
    others = [column for name, column in table.columns.items() if name not in names]
    if others and all(column.is_constant for column in others):  # what is left tells the rows apart as before
        return _as_it_is(table.only(names))
    ids, first = table.numbered(names)
    return Grouping(Batch(table.take(first, names)), ids, len(first) == len(ids))


def _matched(mine: LabelTable, other: LabelTable) -> Index:
    """For each row the one of the other table with the same label set, or −1."""
    rows = counted(len(other))
    columns = []
    for name in sorted({*mine.names, *other.names}):
        own, theirs = mine.columns.get(name), other.columns.get(name)
        translated = _translated(theirs, own.vocabulary if own is not None else None, len(other))
        rows = rows[translated[rows] >= 0]
        columns.append((np.zeros(len(mine), np.int32) if own is None else own.codes, translated))
    keys = combined([np.concatenate((own, theirs[rows])) for own, theirs in columns], len(mine) + len(rows))
    own_keys, their_keys = keys[: len(mine)], keys[len(mine) :]
    found = np.full(len(mine), -1, dtype=np.intp)
    if len(rows):
        order = np.argsort(their_keys)
        places = order[np.minimum(np.searchsorted(their_keys, own_keys, sorter=order), len(rows) - 1)]
        equal = their_keys[places] == own_keys
        found[equal] = rows[places[equal]]
    return found


_NONE = Vocabulary()
"""That of a label which no row has."""


def _translated(column: Column | None, vocabulary: Vocabulary | None, size: int) -> Codes:
    """A column's codes as those of another vocabulary, −1 where that does not know the value."""
    if column is None:
        return np.zeros(size, dtype=np.int32)
    if column.vocabulary is vocabulary:
        return column.codes
    return column.each((vocabulary or _NONE).code, np.int32)


_counted = [np.arange(1024)]
"""The longest row of numbers that was needed; all others are its beginning, since many batches keep one."""


def counted(size: int) -> Index:
    """0, 1, 2 … up to a size; not to be written."""
    longest = _counted[0]
    if len(longest) < size:
        longest = _counted[0] = np.arange(size)
    return longest[:size]


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


EMPTY = Vec(Batch.of([]), np.empty(0))
WITHOUT_LABELS = Batch.of([NO_LABELS])


def single(value: float) -> Vec:
    """One element without labels."""
    return Vec(WITHOUT_LABELS, np.array([value], dtype=np.float64))


def union(left: Batch, right: Batch, key: Hashable) -> Batch:
    """The rows of both, which are distinct; ``key`` tells apart what is made of the same ones."""
    return left.with_other(key, right, lambda mine, others: _as_it_is(joined((mine, others)))).keys
