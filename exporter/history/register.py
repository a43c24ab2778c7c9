"""The label sets of one cluster by number: its families have most of them in common, so each keeps numbers alone."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from exporter.blocks import LabelSets
from exporter.label_table import Codes, Index, Vocabulary
from exporter.series import Labels, Matcher

Bool = npt.NDArray[np.bool_]

Numbers = Index | Codes

Names = tuple[str, ...] | None
"""The label names of a LabelSets; None where the key is a whole Labels."""

Origin = tuple[Names, Hashable]
"""How a writer names a series: a LabelSets' names and one of its rows, or None and a whole Labels."""

_REMEMBERED = 256
"""Matchers per label whose answers are remembered."""
_WORDS_SPARE = 16
"""Values that a label may have beyond twice as many as are in use."""


class Register:
    """A number for every label set. Who uses one says so when ``retain`` is called; all others are forgotten, and their numbers given to new ones.

    Not thread-safe: the history's lock guards it.
    """

    def __init__(self) -> None:
        self._numbers: dict[Names, dict[Hashable, int]] = {}
        self._names: list[Names] = []
        """The distinct label names; a label set's are at ``_shape[number]``."""
        self._shape: Codes = np.zeros(0, np.int32)
        self._keys: list[Hashable | None] = []
        """By number; None is a free one."""
        self._free: list[int] = []
        self._of_sets: WeakKeyDictionary[LabelSets, Index] = WeakKeyDictionary()
        self._coded: dict[str, Coded] = {}

    def __len__(self) -> int:
        """Numbers that were ever needed at once; free ones are among them."""
        return len(self._keys)

    @property
    def used(self) -> int:
        return len(self._keys) - len(self._free)

    # --- numbers

    def of_sets(self, sets: LabelSets) -> Index:
        """The number of each row."""
        known = self._of_sets.get(sets)
        if known is None:
            if sets.chosen_from is None:
                known = self.of(sets.names, sets.rows)
            else:
                whole, mask = sets.chosen_from
                known = self.of_sets(whole)[mask]
            self._of_sets[sets] = known
        return known

    def of(self, names: Names, keys: Sequence[Hashable]) -> Index:
        """The number of each label set, new ones where they have none."""
        numbers = self._numbers.get(names)
        if numbers is None:
            numbers = self._numbers[names] = {}
            self._names.append(names)
        found = list(map(numbers.get, keys))
        if None in found:
            shape = self._names.index(names)
            found = [self._add(numbers, shape, key) if n is None else n for key, n in zip(keys, found, strict=True)]
        return np.array(found, dtype=np.intp)

    def _add(self, numbers: dict[Hashable, int], shape: int, key: Hashable) -> int:
        if (again := numbers.get(key)) is not None:  # twice in one call
            return again
        if self._free:
            number = self._free.pop()
            self._keys[number] = key
        else:
            number = len(self._keys)
            self._keys.append(key)
            self._shape = _reaching(self._shape, len(self._keys))
        self._shape[number] = shape
        numbers[key] = number
        for name, coded in self._coded.items():
            coded.put(number, *self._values(name, (number,)))
        return number

    def origins(self, numbers: Numbers) -> tuple[list[Names], list[Hashable | None]]:
        """The two halves of the origin of each; a number of −1 gives None twice."""
        shapes = self._shape[numbers].tolist()  # −1 takes whichever is last, and does not look at it
        told = [
            (None, None) if number < 0 else (self._names[shape], self._keys[number])
            for number, shape in zip(numbers.tolist(), shapes, strict=True)
        ]
        return [names for names, _ in told], [key for _, key in told]

    def retain(self, uses: Iterable[Numbers]) -> None:
        """Forgets all label sets but these and those of a LabelSets that somebody still holds."""
        kept = np.zeros(len(self), dtype=np.bool_)
        for numbers in (*uses, *self._of_sets.values()):
            kept[numbers] = True
        gone = ~kept
        gone[self._free] = False
        forgotten = np.flatnonzero(gone).tolist()
        for number in forgotten:
            del self._numbers[self._names[self._shape[number]]][self._keys[number]]
            self._keys[number] = None
        self._free += forgotten
        if forgotten:
            self._coded = {name: coded for name, coded in self._coded.items() if not coded.mostly_gone(kept)}

    # --- labels

    def label_names(self, numbers: Numbers) -> set[str]:
        """The labels that any of these has."""
        shapes = [self._names[shape] for shape in np.unique(self._shape[numbers]).tolist()]
        names = {name for shape in shapes if shape is not None for name in shape}
        if None in shapes:
            keys = (self._keys[number] for number in numbers.tolist())
            names.update(*({key.shape: key.shape.names for key in keys if isinstance(key, Labels)}.values()))
        return names

    def lacking(self, name: str, numbers: Numbers) -> Bool:
        """Which of these are rows of a LabelSets without this label; a Labels speaks for itself."""
        lacks = np.array([names is not None and name not in names for names in self._names], dtype=np.bool_)
        return lacks[self._shape[numbers]]

    def coded(self, name: str) -> Coded:
        """The label's value of every number."""
        coded = self._coded.get(name)
        if coded is None:
            coded = self._coded[name] = Coded(self._values(name, range(len(self))))
        return coded

    def _values(self, name: str, numbers: Iterable[int]) -> Iterator[str]:
        """A label's value in each of these, "" where there is none."""
        place_in = [-1 if names is None or name not in names else names.index(name) for names in self._names]
        for number in numbers:
            key = self._keys[number]
            if isinstance(key, Labels):
                yield key.get(name, "")
            elif isinstance(key, tuple) and (place := place_in[self._shape[number]]) >= 0:
                yield key[place]
            else:
                yield ""


class Coded:
    """One label's values as numbers, so that a matcher looks at each distinct value once and label sets need no objects."""

    def __init__(self, values: Iterable[str]) -> None:
        self.words = Vocabulary()
        self.codes: Codes = np.array([self.words.add(value) for value in values], dtype=np.int32)
        """Who keeps some takes a copy: a code changes when its place is given to another label set."""
        self._matched: dict[Matcher, list[bool]] = {}

    def put(self, place: int, value: str) -> None:
        self.codes = _reaching(self.codes, place + 1)
        self.codes[place] = self.words.add(value)

    def mostly_gone(self, kept: Bool) -> bool:
        """Whether less than half of the values belong to the places that are kept, so that it is time to begin anew."""
        used = np.zeros(len(self.words), dtype=np.bool_)
        used[self.codes[: len(kept)][kept]] = True
        return len(used) > 2 * int(np.count_nonzero(used)) + _WORDS_SPARE

    def matching(self, matcher: Matcher, codes: Codes) -> Bool:
        """Where the matcher matches what these codes stand for."""
        if matcher.op == "=":
            equal: Bool = codes == self.words.code(matcher.value)
            return equal
        known = self._matched.get(matcher)
        if known is None:
            if len(self._matched) >= _REMEMBERED:
                self._matched.clear()
            known = self._matched[matcher] = []
        known += [matcher.matches(value) for value in self.words.values[len(known) :]]
        return np.array(known, dtype=np.bool_)[codes]


def _reaching(numbers: Codes, size: int) -> Codes:
    """With room for so many; new ones are 0."""
    if size <= len(numbers):
        return numbers
    return np.concatenate((numbers, np.zeros(max(64, size - len(numbers), len(numbers) // 4), np.int32)))
