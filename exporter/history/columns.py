"""Which column of a table belongs to which label set, and which columns a list of matchers selects."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from exporter.blocks import LabelSets
from exporter.label_table import Column, LabelRows, LabelTable, Vocabulary
from exporter.series import METRIC_NAME, Labels, Matcher

Index = npt.NDArray[np.intp]
Bool = npt.NDArray[np.bool_]

Origin = tuple[tuple[str, ...] | None, Hashable]
"""How a writer names a series: a LabelSets' names and one of its rows, or None and a whole Labels."""

_REMEMBERED = 256
"""Selections, and matchers per label, that are remembered."""


@dataclass(slots=True, eq=False)
class Selection:
    """The columns that some matchers select and their label sets, in the same order; both stay what they are when columns are freed and given away."""

    columns: Index
    rows: LabelRows
    seen: tuple[Bool, LabelRows] | None = field(default=None)

    def where(self, mask: Bool) -> LabelRows:
        """The label sets where the mask is true: the same object as long as the mask is the same."""
        if mask.all():
            return self.rows
        if self.seen is None or not np.array_equal(self.seen[0], mask):
            self.seen = (mask, LabelRows(self.rows.table, np.flatnonzero(mask)))
        return self.seen[1]


class Columns:
    """Columns of one family and writer. A freed column is given to the next new series."""

    def __init__(self, constant: Iterable[tuple[str, str]]) -> None:
        """``constant`` are the labels that every series named by a LabelSets row has besides: the metric's name and the cluster."""
        self._constant = dict(constant)
        self._constant_words: dict[str, Vocabulary] = {name: Vocabulary() for name in self._constant}
        self._places: dict[tuple[str, ...] | None, dict[Hashable, int]] = {}
        self._shapes: list[tuple[str, ...] | None] = []
        self._keys: list[Hashable | None] = []
        """By column what its origin is made of; a key of None is a free column."""
        self._free: list[int] = []
        self._of_sets: WeakKeyDictionary[LabelSets, Index] = WeakKeyDictionary()
        self._coded: dict[str, _Coded] = {}
        self._selections: dict[tuple[Matcher, ...], Selection] = {}

    def __len__(self) -> int:
        """Columns that were ever needed at once; freed ones are among them."""
        return len(self._keys)

    @property
    def used(self) -> int:
        return len(self._keys) - len(self._free)

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
            column = len(self._keys)
            self._shapes.append(names)
            self._keys.append(key)
        places[key] = column
        for name, coded in self._coded.items():
            coded.set(column, *self._values(name, (column,)))
        self._selections.clear()
        return column

    def free(self, columns: Index) -> None:
        """Forgets these series; nothing of theirs may be left in the table."""
        if not len(columns):
            return
        freed = np.zeros(len(self), dtype=np.bool_)
        freed[columns] = True
        for column in columns.tolist():
            del self._places[self._shapes[column]][self._keys[column]]
            self._shapes[column] = self._keys[column] = None
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
        table = LabelTable({name: self._column(name, columns) for name in self._names()}, len(columns))
        return Selection(columns, LabelRows(table))

    def _names(self) -> set[str]:
        """The labels that series here have."""
        names = {name for shape in self._places if shape is not None for name in shape}
        whole = {key.shape for key in self._places.get(None, {}) if isinstance(key, Labels)}
        return names.union(self._constant, *(shape.names for shape in whole))

    def _column(self, name: str, columns: Index) -> Column:
        """A label of these columns as it is now."""
        if self._is_constant(name):
            words = self._constant_words[name]
            return Column.constant(words.add(self._constant[name]), words, len(columns))
        return self._code(name).column(columns, len(self))

    def _is_constant(self, name: str) -> bool:
        """Whether every series has the same value of this label."""
        return name in self._constant and not any(shape is None or name in shape for shape in self._places)

    def _code(self, name: str) -> _Coded:
        coded = self._coded.get(name)
        if coded is None:
            coded = self._coded[name] = _Coded(self._values(name, range(len(self))))
        return coded

    def _values(self, name: str, columns: Iterable[int]) -> Iterator[str]:
        """A label's value in each of these columns, "" where the series has no such label or the column is free."""
        constant = self._constant.get(name, "")
        last, place = None, -1
        for column in columns:
            names, key = self._shapes[column], self._keys[column]
            if names is not last:
                last, place = names, names.index(name) if names is not None and name in names else -1
            if isinstance(key, Labels):
                yield key.get(name, "")
            elif isinstance(key, tuple):
                yield key[place] if place >= 0 else constant
            else:
                yield ""


class _Coded:
    """One label's value of every column as a number, so that a matcher looks at each distinct value once and label sets need no objects."""

    def __init__(self, values: Iterable[str]) -> None:
        """``values`` by column."""
        self._words = Vocabulary()
        self._codes = np.array([self._words.add(value) for value in values], dtype=np.int32)
        self._shown = 0
        """So many codes, from the first on, somebody else may be looking at: these are copied before one changes."""
        self._matched: dict[Matcher, list[bool]] = {}

    def __len__(self) -> int:
        """Values that were ever seen, "" among them."""
        return len(self._words)

    def set(self, column: int, value: str) -> None:
        code = self._words.add(value)
        if column >= len(self._codes):
            self._codes = np.concatenate((self._codes, np.zeros(max(64, len(self._codes)), np.int32)))
            self._shown = 0
        elif column < self._shown:
            self._codes = self._codes.copy()
            self._shown = 0
        self._codes[column] = code

    def column(self, columns: Index, size: int) -> Column:
        """The codes of these columns (ascending, distinct) of the first ``size``; they stay what they are."""
        if len(columns) < size:
            return Column(self._codes[columns], self._words)
        self._shown = max(self._shown, size)
        return Column(self._codes[:size], self._words)

    def matching(self, matcher: Matcher, columns: int) -> Bool:
        codes = self._codes[:columns]
        if matcher.op == "=":
            equal: Bool = codes == self._words.code(matcher.value)
            return equal
        known = self._matched.get(matcher)
        if known is None:
            if len(self._matched) >= _REMEMBERED:
                self._matched.clear()
            known = self._matched[matcher] = []
        known += [matcher.matches(value) for value in self._words.values[len(known) :]]
        return np.array(known, dtype=np.bool_)[codes]


def constant_labels(name: str, cluster: str) -> tuple[tuple[str, str], ...]:
    """The labels that all series of a family and cluster share."""
    return ((METRIC_NAME, name), ("cluster", cluster))
