"""Label sets as columns: a code per row and label, and per label the values that the codes stand for; Labels are made of the rows that somebody looks at.

A vocabulary only ever grows and a table never changes, so a table may be read in any thread while who made it goes on adding values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from exporter.series import Labels, Matcher, SeriesStore, Shape

Codes = npt.NDArray[np.int32]
Keys = npt.NDArray[np.int64]
Index = npt.NDArray[np.intp]

_LARGEST_KEY: Final = 2**62

ABSENT_CODE: Final = 0
"""The code of "" in every vocabulary: there is no such label."""


class Vocabulary:
    """The values of one label by their codes; a code keeps its meaning for ever."""

    __slots__ = ("_code_of", "values")

    def __init__(self) -> None:
        self.values = [""]
        self._code_of = {"": ABSENT_CODE}

    def __len__(self) -> int:
        return len(self.values)

    def code(self, value: str) -> int:
        """The value's code, or −1."""
        return self._code_of.get(value, -1)

    def add(self, value: str) -> int:
        """The value's code, a new one if it has none."""
        code = self._code_of.get(value)
        if code is None:
            code = len(self.values)
            self.values.append(value)
            self._code_of[value] = code
        return code


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """One label of every row."""

    codes: Codes
    vocabulary: Vocabulary

    @classmethod
    def of(cls, values: Iterable[str]) -> Column:
        """A column with a vocabulary of its own."""
        vocabulary = Vocabulary()
        return cls(np.array([vocabulary.add(value) for value in values], dtype=np.int32), vocabulary)

    @classmethod
    def constant(cls, code: int, vocabulary: Vocabulary, size: int) -> Column:
        """The same code in every row, which takes no room."""
        return cls(np.ndarray(size, np.int32, np.array([code], np.int32), strides=(0,)), vocabulary)

    @property
    def is_constant(self) -> bool:
        codes = self.codes
        return len(codes) < 2 or codes.strides == (0,) or bool((codes == codes[0]).all())

    @property
    def values(self) -> list[str]:
        values = self.vocabulary.values
        return [values[code] for code in self.codes.tolist()]

    def take(self, rows: Index) -> Column:
        if len(rows) and self.codes.strides == (0,):
            return Column.constant(int(self.codes[0]), self.vocabulary, len(rows))
        return Column(self.codes[rows], self.vocabulary)

    def each(self, function: Callable[[str], float], kind: type[np.generic]) -> npt.NDArray[Any]:
        """The function's number for the value in every row; each distinct value is looked at once."""
        used = np.zeros(int(self.codes.max(initial=0)) + 1, dtype=np.bool_)
        used[self.codes] = True
        distinct, values = np.flatnonzero(used), self.vocabulary.values
        numbers = np.zeros(len(used), dtype=kind)
        numbers[distinct] = [function(values[code]) for code in distinct.tolist()]
        found: npt.NDArray[Any] = numbers[self.codes]
        return found

    def same(self, other: Column) -> bool:
        """Whether both have the same codes of one vocabulary."""
        return self.vocabulary is other.vocabulary and np.array_equal(self.codes, other.codes)


class LabelTable:
    """Label sets, a row each, immutable. A label that a row lacks has the code ``ABSENT_CODE`` there."""

    __slots__ = ("_all", "_some", "columns", "names", "size")

    def __init__(self, columns: Mapping[str, Column], size: int) -> None:
        """``columns`` by label name, in any order."""
        self.names = tuple(sorted(columns))
        self.columns = {name: columns[name] for name in self.names}
        self.size = size
        self._all: list[Labels] | None = None
        self._some: dict[int, Labels] = {}

    @classmethod
    def of(cls, labels: Sequence[Labels]) -> LabelTable:
        """These label sets as columns."""
        shapes = {one.shape for one in labels}
        columns = {}
        for name in {name for shape in shapes for name in shape.names}:
            places = {shape: shape.index.get(name) for shape in shapes}
            columns[name] = Column.of(
                "" if (place := places[one.shape]) is None else one.values_[place] for one in labels
            )
        table = cls(columns, len(labels))
        table._all = list(labels)
        return table

    def __len__(self) -> int:
        return self.size

    def labels(self, rows: Index | None = None) -> list[Labels]:
        """The label sets of some rows, or of all; what was made once is kept. The list must not be changed."""
        if rows is None:
            if self._all is None:
                self._all, self._some = list(self._make(range(self.size))), {}
            return self._all
        places: list[int] = rows.tolist()
        if self._all is not None:
            return [self._all[row] for row in places]
        some = self._some
        missing = [row for row in places if row not in some]
        some.update(zip(missing, self._make(missing), strict=True))
        return [some[row] for row in places]

    def _make(self, rows: Sequence[int]) -> Iterable[Labels]:
        if not self.columns:
            return (Labels.of() for _ in rows)
        places = np.array(rows, dtype=np.intp)
        shape = Shape.of(self.names)
        return (
            self._with_gaps(values) if "" in values else shape.labels(values)
            for values in zip(*(column.take(places).values for column in self.columns.values()), strict=True)
        )

    def _with_gaps(self, values: tuple[str, ...]) -> Labels:
        names = tuple(name for name, value in zip(self.names, values, strict=True) if value)
        return Shape.of(names).labels(tuple(value for value in values if value))

    def having(self, name: str, column: Column) -> LabelTable:
        """All rows with this for the label; the other columns are shared."""
        return LabelTable({**self.columns, name: column}, self.size)

    def take(self, rows: Index, names: Iterable[str]) -> LabelTable:
        """These rows with only these of the labels."""
        return LabelTable({name: self.columns[name].take(rows) for name in names}, len(rows))

    def only(self, names: Iterable[str]) -> LabelTable:
        """All rows with only these of the labels; the columns are shared."""
        return LabelTable({name: self.columns[name] for name in names}, self.size)

    def numbered(self, names: Iterable[str]) -> tuple[Index, Index]:
        """Per row the number of what it has in these labels, in order of first appearance, and the first row of each number."""
        _, first, number = np.unique(
            combined([self.columns[name].codes for name in names], self.size), return_index=True, return_inverse=True
        )
        order = np.argsort(first)
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        return place[number], first[order]

    def same(self, other: LabelTable) -> bool:
        """Whether both have the same codes of the same vocabularies: then their label sets are equal, row by row."""
        return self is other or (
            self.size == other.size
            and self.names == other.names
            and all(column.same(other.columns[name]) for name, column in self.columns.items())
        )


class LabelRows:
    """Some rows of a table, in an order of their own; iterate for their Labels."""

    __slots__ = ("index", "table")

    def __init__(self, table: LabelTable, index: Index | None = None) -> None:
        """``index`` are the rows, None for all."""
        self.table = table
        self.index = index

    @classmethod
    def of(cls, labels: Sequence[Labels]) -> LabelRows:
        """All rows of a new table with these label sets."""
        return cls(LabelTable.of(labels))

    def __len__(self) -> int:
        return self.table.size if self.index is None else len(self.index)

    def __getitem__(self, place: int) -> Labels:
        return self.table.labels(np.array([place if self.index is None else self.index[place]]))[0]

    def __iter__(self) -> Iterator[Labels]:
        return iter(self.table.labels(self.index))


def joined(parts: Sequence[LabelRows]) -> LabelTable:
    """A table with the rows of one after the other. Vocabularies that differ are put into a new one."""
    names = {name for part in parts for name in part.table.names}
    return LabelTable({name: _joined(name, parts) for name in names}, sum(map(len, parts)))


def _joined(name: str, parts: Sequence[LabelRows]) -> Column:
    pieces = [_piece(name, part) for part in parts]
    vocabularies = {id(piece.vocabulary): piece.vocabulary for piece in pieces if piece is not None}
    if len(vocabularies) == 1:
        (vocabulary,) = vocabularies.values()
        codes = [np.zeros(len(p), np.int32) if c is None else c.codes for p, c in zip(parts, pieces, strict=True)]
    else:
        vocabulary = Vocabulary()
        codes = [
            np.zeros(len(p), np.int32) if c is None else c.each(vocabulary.add, np.int32)
            for p, c in zip(parts, pieces, strict=True)
        ]
    return Column(np.concatenate(codes), vocabulary)


def _piece(name: str, part: LabelRows) -> Column | None:
    column = part.table.columns.get(name)
    return column if column is None or part.index is None else column.take(part.index)


def combined(columns: Iterable[Codes], size: int) -> Keys:
    """A number per row, the same exactly where all columns are: the codes as digits, each with a radix of its own."""
    keys, bound = np.zeros(size, dtype=np.int64), 1
    for codes in columns:
        radix = int(codes.max(initial=0)) + 1
        if radix == 1:
            continue
        if bound * radix > _LARGEST_KEY:
            distinct, keys = np.unique(keys, return_inverse=True)
            bound = len(distinct)
        keys = keys * radix + codes
        bound *= radix
    return keys


@runtime_checkable
class LatestStore(SeriesStore, Protocol):
    """A store that can also answer instant selectors at once, without a Series per label set."""

    def select_latest(
        self, matchers: Sequence[Matcher], at_ms: int, lookback_ms: int
    ) -> tuple[LabelRows, npt.NDArray[np.float64], npt.NDArray[np.int64]]:
        """Label sets, values and timestamps of the newest samples in (at − lookback, at]; one that is a stale marker is left out with its series.

        The rows and the arrays must not be changed afterwards, and stay what they are whatever the store does later. No label set comes twice in the
        table of the rows. The same table from call to call, with other rows where series come and go, lets the evaluator keep what it knows of them.
        """
        ...
