"""Which column of a table belongs to which label set, and which columns a list of matchers selects."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

import numpy as np

from exporter.blocks import LabelSets
from exporter.history.register import Bool, Names, Numbers, Register
from exporter.label_table import Codes, Column, Index, LabelRows, LabelTable, Vocabulary
from exporter.series import METRIC_NAME, Labels, Matcher

_NONE = -1
_REMEMBERED = 256
"""Selections that are remembered."""


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

    def __init__(self, constant: Iterable[tuple[str, str]], register: Register) -> None:
        """``constant`` are the labels that every series named by a LabelSets row has besides: the metric's name and the cluster."""
        self._constant = dict(constant)
        self._constant_words: dict[str, Vocabulary] = {name: Vocabulary() for name in self._constant}
        self._register = register
        self._number: Codes = np.zeros(0, np.int32)
        """By column the label set's number in the register; −1 is a free column. There may be spare room behind the columns."""
        self._order: Index | None = None
        """The columns in the order of their numbers; None where that has to be looked at anew."""
        self._size = 0
        self._free: list[int] = []
        self._of_sets: WeakKeyDictionary[LabelSets, Index] = WeakKeyDictionary()
        self._selections: dict[tuple[Matcher, ...], Selection] = {}

    def __len__(self) -> int:
        """Columns that were ever needed at once; freed ones are among them."""
        return self._size

    @property
    def used(self) -> int:
        return self._size - len(self._free)

    @property
    def numbers(self) -> Codes:
        """By column the label set's number in the register, −1 where it is free."""
        return self._number[: self._size]

    @property
    def taken(self) -> Bool:
        """Which columns belong to a series."""
        taken: Bool = self.numbers >= 0
        return taken

    def frozen(self) -> tuple[list[Names], list[Hashable | None]]:
        """The two halves of the origin of every column as they are now; the second is None where it is free."""
        return self._register.origins(self.numbers)

    def of_sets(self, sets: LabelSets) -> Index:
        """The column of each row; the same object as long as the label sets are the same."""
        known = self._of_sets.get(sets)
        if known is None:
            known = self._of_sets[sets] = self._of(self._register.of_sets(sets))
        return known

    def of_labels(self, labels: Sequence[Labels]) -> Index:
        """The column of each label set."""
        return self._of(self._register.of(None, labels))

    def of_origins(self, names: Sequence[Names], keys: Sequence[Hashable]) -> Index:
        """The column of each series, by the two halves of their origins."""
        numbers = np.empty(len(keys), dtype=np.intp)
        for shape in dict.fromkeys(names):
            places = [place for place, one in enumerate(names) if one == shape]
            numbers[places] = self._register.of(shape, [keys[place] for place in places])
        return self._of(numbers)

    def of_others(self, others: Columns) -> None:
        """Takes the series of other columns of the same register, in their order."""
        self._of(others.numbers[others.taken])

    def _of(self, numbers: Numbers) -> Index:
        found = self._find(numbers)
        if (new := found == _NONE).any():
            self._add(list(dict.fromkeys(numbers[new].tolist())))
            found = self._find(numbers)
        return found

    def _find(self, numbers: Numbers) -> Index:
        """The column of each label set, or −1."""
        if not self._size:
            return np.full(len(numbers), _NONE, np.intp)
        if self._order is None:
            self._order = np.argsort(self.numbers)
        ascending = self.numbers[self._order]
        places = np.searchsorted(ascending, numbers)
        places[places == len(ascending)] = 0
        return np.where(ascending[places] == numbers, self._order[places], _NONE)

    def _add(self, numbers: Sequence[int]) -> None:
        """Columns for these label sets, which have none: first those that were freed last."""
        again = min(len(self._free), len(numbers))
        columns = [self._free.pop() for _ in range(again)]
        fresh = len(numbers) - again
        columns += range(self._size, self._size + fresh)
        self._size += fresh
        if (missing := self._size - len(self._number)) > 0:
            self._number = np.concatenate((self._number, np.full(missing + len(self._number) // 4, _NONE, np.int32)))
        self._number[columns] = numbers
        self._order = None
        self._selections.clear()

    def free(self, columns: Index) -> None:
        """Forgets these series; nothing of theirs may be left in the table."""
        if not len(columns):
            return
        freed = np.zeros(len(self), dtype=np.bool_)
        freed[columns] = True
        self._number[columns] = _NONE
        self._order = None
        self._free += columns.tolist()
        for sets in [sets for sets, of_set in self._of_sets.items() if freed[of_set].any()]:
            del self._of_sets[sets]
        self._selections.clear()

    # --- selecting

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
        columns = np.flatnonzero(self.taken)
        names = self._register.label_names(self._number[columns])
        for matcher in matchers:
            columns = columns[self._matching(matcher, columns, names)]
        of_columns = {name: self._label(name, columns, names) for name in names.union(self._constant)}
        return Selection(columns, LabelRows(LabelTable(of_columns, len(columns))))

    def _matching(self, matcher: Matcher, columns: Index, names: set[str]) -> Bool:
        if matcher.name not in names:
            return np.full(len(columns), matcher.matches(self._constant.get(matcher.name, "")))
        codes = self._codes(matcher.name, self._number[columns])
        return self._register.coded(matcher.name).matching(matcher, codes)

    def _label(self, name: str, columns: Index, names: set[str]) -> Column:
        """A label of these columns as it is now."""
        if name in names:
            return Column(self._codes(name, self._number[columns]), self._register.coded(name).words)
        words = self._constant_words[name]
        return Column.constant(words.add(self._constant[name]), words, len(columns))

    def _codes(self, name: str, numbers: Numbers) -> Codes:
        """The codes of the label's value, in the register's words."""
        coded = self._register.coded(name)
        codes: Codes = coded.codes[numbers]
        if name in self._constant:
            codes[self._register.lacking(name, numbers)] = coded.words.add(self._constant[name])
        return codes


def constant_labels(name: str, cluster: str) -> tuple[tuple[str, str], ...]:
    """The labels that all series of a family and cluster share."""
    return ((METRIC_NAME, name), ("cluster", cluster))
