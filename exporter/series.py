"""Series as History keeps them and as rules read them: label sets, matchers, samples, stale markers, and the port of a store.

Timestamps are integer milliseconds since 1970, values are float64. A stale marker is Prometheus's NaN with the bits 0x7ff0000000000002; every
other NaN is a value like any other, so markers are found by their bits (``is_stale``), never by ``isnan``.
"""

from __future__ import annotations

import re
import struct
import threading
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

METRIC_NAME: Final = "__name__"
"""The label that holds the metric's name."""

LABEL_NAME: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*", re.ASCII)
"""A label's name that needs no quotes; ours have no others."""

STALE_BITS: Final = 0x7FF0000000000002
STALE_NAN: Final[float] = struct.unpack("<d", struct.pack("<Q", STALE_BITS))[0]
"""The marker that ends a series: "at this time it was no longer there"."""


def is_stale(values: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Which of the values are stale markers, compared by bits."""
    stale: npt.NDArray[np.bool_] = values.view(np.uint64) == np.uint64(STALE_BITS)
    return stale


# --- label sets ---------------------------------------------------------------------------------------------------------------------------


class Shape:
    """The sorted label names that many label sets share; interned, so two shapes are the same exactly when they are the same object."""

    __slots__ = ("__weakref__", "index", "names", "table")

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names
        self.index: dict[str, int] = {name: i for i, name in enumerate(names)}
        self.table: weakref.WeakValueDictionary[tuple[str, ...], Labels] = weakref.WeakValueDictionary()

    @staticmethod
    def of(names: tuple[str, ...]) -> Shape:
        """The one shape with these names, which must be sorted and distinct."""
        shape = _SHAPES.get(names)
        if shape is None:
            with _LOCK:
                shape = _SHAPES.get(names)
                if shape is None:
                    shape = _SHAPES[names] = Shape(names)
        return shape

    def labels(self, values: tuple[str, ...]) -> Labels:
        """The one label set with these values, in the order of ``names``; no value may be empty (``Labels.of`` takes care of that)."""
        labels = self.table.get(values)
        if labels is None:
            with _LOCK:
                labels = self.table.get(values)
                if labels is None:
                    labels = self.table[values] = Labels(self, values)
        return labels


class Labels(Mapping[str, str]):
    """A frozen label set, ``__name__`` included; read it like a mapping, make it by ``Labels.of``.

    Label sets are interned: equal ones are the same object, so hashing, comparing and grouping cost what an identity costs. A label with an empty
    value is no label (Prometheus's rule) and is never held. Compares equal to any mapping with the same pairs.
    """

    __slots__ = ("__weakref__", "shape", "values_")

    shape: Shape
    values_: tuple[str, ...]

    def __init__(self, shape: Shape, values: tuple[str, ...]) -> None:
        self.shape = shape
        self.values_ = values

    @staticmethod
    def of(pairs: Mapping[str, str] | Iterable[tuple[str, str]] = ()) -> Labels:
        """The label set with these pairs, in any order; empty values are dropped."""
        if isinstance(pairs, Labels):
            return pairs
        items = sorted((name, value) for name, value in dict(pairs).items() if value)
        return Shape.of(tuple(name for name, _ in items)).labels(tuple(value for _, value in items))

    @property
    def name(self) -> str:
        """The metric's name, or "" without one."""
        return self.get(METRIC_NAME, "")

    def __getitem__(self, name: str) -> str:
        return self.values_[self.shape.index[name]]

    def __iter__(self) -> Iterator[str]:
        return iter(self.shape.names)

    def __len__(self) -> int:
        return len(self.values_)

    def __contains__(self, name: object) -> bool:
        return name in self.shape.index

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if isinstance(other, Labels) or not isinstance(other, Mapping):
            return False
        return dict(self) == dict(other)

    def __lt__(self, other: Labels) -> bool:
        return tuple(self.items()) < tuple(other.items())

    def __reduce__(self) -> tuple[Any, ...]:
        return Labels.of, (dict(self),)

    def __copy__(self) -> Labels:
        return self

    def __deepcopy__(self, memo: object) -> Labels:
        return self

    def __str__(self) -> str:
        """In Prometheus's notation: ``name{a="b"}``."""
        pairs = ", ".join(f"{name}={_quoted(value)}" for name, value in self.items() if name != METRIC_NAME)
        return f"{self.name}{{{pairs}}}"

    def __repr__(self) -> str:
        return f"Labels({self})"


_LOCK = threading.Lock()
_SHAPES: weakref.WeakValueDictionary[tuple[str, ...], Shape] = weakref.WeakValueDictionary()

NO_LABELS: Final = Labels.of()
"""The empty label set."""


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


# --- matchers -----------------------------------------------------------------------------------------------------------------------------


class MatcherError(ValueError):
    """A matcher that cannot be used; ``pattern`` is its value, ``reason`` says why."""

    def __init__(self, pattern: str, reason: str) -> None:
        super().__init__(f"{pattern!r}: {reason}")
        self.pattern = pattern
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Matcher:
    """One condition on one label: ``op`` is ``=``, ``!=``, ``=~`` or ``!~``.

    Regular expressions are anchored at both ends and read as Prometheus reads them (RE2; ``.`` matches a newline too, classes like ``\\d`` are ASCII).
    What Python's ``re`` cannot do in RE2's way raises ``MatcherError`` when the matcher is made.
    """

    name: str
    op: str
    value: str

    def __post_init__(self) -> None:
        if self.op not in ("=", "!=", "=~", "!~"):
            raise MatcherError(self.value, f"unknown operator {self.op!r}, use one of = != =~ !~")
        if self.op in ("=~", "!~"):
            compile_regex(self.value)

    def matches(self, value: str) -> bool:
        """Whether a label with this value satisfies the matcher; a missing label has the value ""."""
        if self.op == "=":
            return value == self.value
        if self.op == "!=":
            return value != self.value
        return (compile_regex(self.value).fullmatch(value) is not None) == (self.op == "=~")

    def __str__(self) -> str:
        return f"{self.name}{self.op}{_quoted(self.value)}"


# What Python's ``re`` understands and RE2 does not, and the other way round; escapes are eaten first so that "\\(?=" is not taken for a look-ahead.
_TOKENS = re.compile(
    r"(?P<class>\[\^?\]?(?:\\.|\[:\^?\w+:\]|[^\]\\])*\])"
    r"|(?P<backreference>\\[1-9])"
    r"|(?P<escape>\\[zZpPQECG])"
    r"|\\."
    r"|(?P<group>\(\?(?:=|!|<=|<!|>|\(|P=|P>|#))"
    r"|(?P<flags>\(\?[a-zA-Z]*[aLux][a-zA-Z]*(?:-[a-zA-Z]*)?[:)])"
    r"|(?P<possessive>(?:[*+?]|\{\d+(?:,\d*)?\})\+)",
    re.DOTALL,
)


@lru_cache(maxsize=4096)
def compile_regex(pattern: str) -> re.Pattern[str]:
    """A RE2 pattern as a Python one, for ``fullmatch``; raises MatcherError where the two would not agree."""
    for token in _TOKENS.finditer(pattern):
        kind, text = token.lastgroup, token.group()
        if kind == "class" and "[:" not in text:
            continue
        if kind is not None:
            raise MatcherError(pattern, f"{text!r} is not supported in regular expressions here")
    try:
        return re.compile(_scoped(pattern), re.DOTALL | re.ASCII)
    except (re.error, RecursionError, OverflowError) as error:
        raise MatcherError(pattern, f"not a regular expression: {error}") from error


_PARTS = re.compile(
    r"(?P<flags>\(\?[ims]*(?:-[ims]+)?\))|(?P<open>\()|(?P<close>\))|(?P<bar>\|)|\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|.",
    re.DOTALL,
)


def _scoped(pattern: str) -> str:
    """Flags in the middle of a group, which Python refuses, as groups of their own: RE2's ``(a(?i)b|c)`` is ``(a(?i:b)|(?i:c))``."""
    if "(?" not in pattern:
        return pattern
    made: list[str] = []
    inside: list[list[str]] = [[]]  # for each open group the flags that are set in it
    for part in _PARTS.finditer(pattern):
        kind, text = part.lastgroup, part.group()
        ends = ")" * len(inside[-1])
        if kind == "flags":
            text = text[:-1] + ":"
            inside[-1].append(text)
        elif kind == "open":
            inside.append([])
        elif kind == "close":
            text = ends + text
            if len(inside) > 1:
                inside.pop()
        elif kind == "bar":
            text = ends + text + "".join(inside[-1])
        made.append(text)
    return "".join(made) + ")" * len(inside[-1])


# --- samples and stores -------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """The samples of one label set, timestamps strictly ascending; stale markers are among the values."""

    labels: Labels
    timestamps: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.timestamps)


class SeriesStore(Protocol):
    """What holds series and can be asked for them."""

    def select(self, matchers: Sequence[Matcher], start_ms: int, end_ms: int) -> Sequence[Series]:
        """Every series that all matchers match, with its samples from start to end, both inclusive, stale markers included.

        No label set comes twice. A series without a sample in that time may be left out. An implementation raises its own error for a metric that it does
        not keep; a metric that it keeps and that has no series is an empty answer.
        """
        ...
