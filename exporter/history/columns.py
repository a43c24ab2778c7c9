"""Which column of a table belongs to which label set, and which columns a list of matchers selects."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from exporter.blocks import LabelSets
from exporter.series import METRIC_NAME, Labels, Matcher

Index = npt.NDArray[np.intp]
Bool = npt.NDArray[np.bool_]

Origin = tuple[tuple[str, ...] | None, Hashable]
"""How a writer names a series: a LabelSets' names and one of its rows, or None and a whole Labels."""

_REMEMBERED = 256
"""Selections, and matchers per label, that are remembered."""


@dataclass(slots=True, eq=False)
class Selection:
    """The columns that some matchers select and their label sets, in the same order."""

    columns: Index
    labels: list[Labels]
    seen: tuple[Bool, list[Labels]] | None = field(default=None)

    def where(self, mask: Bool) -> list[Labels]:
        """The label sets where the mask is true: the same list as long as the mask is the same."""
        if mask.all():
            return self.labels
        if self.seen is None or not np.array_equal(self.seen[0], mask):
            labels = self.labels
            self.seen = (mask, [labels[i] for i in np.flatnonzero(mask).tolist()])
        return self.seen[1]


class Columns:
    """Columns of one family and writer. A freed column is given to the next new series."""

    def __init__(self, constant: Iterable[tuple[str, str]]) -> None:
        """``constant`` are the labels (two or more) that every series named by a LabelSets row has besides: the metric's name and the cluster."""
        pairs = tuple(constant)
        self._names = tuple(name for name, _ in pairs)
        self._values = tuple(value for _, value in pairs)
        self._layouts: dict[tuple[str, ...], tuple[tuple[str, ...], Callable[[tuple[str, ...]], tuple[str, ...]]]] = {}
        self._constant = dict(pairs)
        self._places: dict[tuple[str, ...] | None, dict[Hashable, int]] = {}
        self._shapes: list[tuple[str, ...] | None] = []
        self._keys: list[Hashable | None] = []
        """By column what its origin is made of; a key of None is a free column."""
        self._labels: list[Labels | None] = []
        """By column; made when something first selects the series, since many are only kept to be looked at."""
        self._free: list[int] = []
        self._of_sets: WeakKeyDictionary[LabelSets, Index] = WeakKeyDictionary()
        self._coded: dict[str, _Coded] = {}
        self._selections: dict[tuple[Matcher, ...], Selection] = {}

    def __len__(self) -> int:
        """Columns that were ever needed at once; freed ones are among them."""
        return len(self._labels)

    @property
    def used(self) -> int:
        return len(self._labels) - len(self._free)

    def origins(self) -> Iterator[Origin]:
        """Of every series, by column; free ones are passed over."""
        return ((names, key) for names, key in zip(self._shapes, self._keys, strict=True) if key is not None)

    def frozen(self) -> tuple[list[tuple[str, ...] | None], list[Hashable | None]]:
        """The two halves of the origin of every column as they are now; the second is None where it is free."""
        return self._shapes.copy(), self._keys.copy()

    @property
    def taken(self) -> Bool:
        """Which columns belong to a series."""
        taken = np.ones(len(self), dtype=np.bool_)
        taken[self._free] = False
        return taken

    def of_sets(self, sets: LabelSets) -> Index:
        """The column of each row; the same object as long as the label sets are the same."""
        known = self._of_sets.get(sets)
        if known is None:
            known = self._of_sets[sets] = self._of(sets.names, sets.rows)
        return known

    def of_labels(self, labels: Sequence[Labels]) -> Index:
        """The column of each label set."""
        return self._of(None, labels)

    def of_origin(self, origin: Origin) -> int:
        """The column of one series."""
        return int(self._of(origin[0], (origin[1],))[0])

    def _of(self, names: tuple[str, ...] | None, keys: Sequence[Hashable]) -> Index:
        places = self._places.setdefault(names, {})
        found = list(map(places.get, keys))
        if None in found:
            found = [self._add(names, key) if place is None else place for key, place in zip(keys, found, strict=True)]
        return np.array(found, dtype=np.intp)

    def _add(self, names: tuple[str, ...] | None, key: Hashable) -> int:
        places = self._places[names]
        if (again := places.get(key)) is not None:  # twice in one call
            return again
        if self._free:
            column = self._free.pop()
            self._shapes[column], self._keys[column] = names, key
        else:
            column = len(self._labels)
            self._labels.append(None)
            self._shapes.append(names)
            self._keys.append(key)
        places[key] = column
        for name, coded in self._coded.items():
            coded.set(column, self._value(column, name))
        self._selections.clear()
        return column

    def _labels_of(self, column: int) -> Labels:
        labels = self._labels[column]
        if labels is None:
            labels = self._labels[column] = self._whole(self._shapes[column], self._keys[column])
        return labels

    def _whole(self, names: tuple[str, ...] | None, key: Any) -> Labels:
        if names is None:
            assert isinstance(key, Labels)
            return key
        layout = self._layouts.get(names)
        if layout is None:
            layout = self._layouts[names] = self._layout(names)
        return Labels.row(layout[0], layout[1]((*key, *self._values)))

    def _layout(self, names: tuple[str, ...]) -> tuple[tuple[str, ...], Callable[[tuple[str, ...]], tuple[str, ...]]]:
        """The sorted label names, and what puts a row's values followed by the constant ones in their order."""
        every = (*names, *self._names)
        order = sorted(range(len(every)), key=every.__getitem__)
        return tuple(every[i] for i in order), itemgetter(*order)

    def free(self, columns: Index) -> None:
        """Forgets these series; nothing of theirs may be left in the table."""
        if not len(columns):
            return
        freed = np.zeros(len(self), dtype=np.bool_)
        freed[columns] = True
        for column in columns.tolist():
            del self._places[self._shapes[column]][self._keys[column]]
            self._labels[column] = self._shapes[column] = self._keys[column] = None
        self._free += columns.tolist()
        for sets in [sets for sets, of_set in self._of_sets.items() if freed[of_set].any()]:
            del self._of_sets[sets]
        self._selections.clear()
        self._coded = {name: coded for name, coded in self._coded.items() if len(coded) <= 2 * self.used + 64}

    def select(self, matchers: Sequence[Matcher]) -> Selection:
        """What all matchers match; the same object as long as the series are the same."""
        key = tuple(matchers)
        known = self._selections.get(key)
        if known is None:
            if len(self._selections) >= _REMEMBERED:
                self._selections.clear()
            known = self._selections[key] = self._selected(key)
        return known

    def _selected(self, matchers: Iterable[Matcher]) -> Selection:
        mask = self.taken
        for matcher in matchers:
            mask &= self._code(matcher.name).matching(matcher, len(self))
        columns = np.flatnonzero(mask)
        return Selection(columns, [self._labels_of(c) for c in columns.tolist()])

    def _code(self, name: str) -> _Coded:
        coded = self._coded.get(name)
        if coded is None:
            coded = self._coded[name] = _Coded()
            for column in range(len(self)):
                coded.set(column, self._value(column, name))
        return coded

    def _value(self, column: int, name: str) -> str:
        """A label's value of one series, "" where it has no such label or the column is free."""
        names, key = self._shapes[column], self._keys[column]
        if isinstance(key, Labels):
            return key.get(name, "")
        if names is not None and name in names:
            assert isinstance(key, tuple)
            return str(key[names.index(name)])
        return self._constant.get(name, "") if key is not None else ""


class _Coded:
    """One label's value of every column as a number, so that a matcher looks at each distinct value once."""

    def __init__(self) -> None:
        self._codes: npt.NDArray[np.int32] = np.zeros(64, dtype=np.int32)
        self._values: list[str] = []
        self._code_of: dict[str, int] = {}
        self._matched: dict[Matcher, list[bool]] = {}

    def __len__(self) -> int:
        """Values that were ever seen."""
        return len(self._values)

    def set(self, column: int, value: str) -> None:
        code = self._code_of.get(value)
        if code is None:
            code = self._code_of[value] = len(self._values)
            self._values.append(value)
        if column >= len(self._codes):
            self._codes = np.concatenate((self._codes, np.zeros_like(self._codes)))
        self._codes[column] = code

    def matching(self, matcher: Matcher, columns: int) -> Bool:
        codes = self._codes[:columns]
        if matcher.op == "=":
            equal: Bool = codes == self._code_of.get(matcher.value, -1)
            return equal
        known = self._matched.get(matcher)
        if known is None:
            if len(self._matched) >= _REMEMBERED:
                self._matched.clear()
            known = self._matched[matcher] = []
        known += [matcher.matches(value) for value in self._values[len(known) :]]
        return np.array(known, dtype=np.bool_)[codes]


def constant_labels(name: str, cluster: str) -> tuple[tuple[str, str], ...]:
    """The labels that all series of a family and cluster share."""
    return ((METRIC_NAME, name), ("cluster", cluster))
