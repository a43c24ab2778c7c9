"""Functions of instant vectors: element by element, on labels, and between scalars and vectors."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from alerts.promql.batch import EMPTY, Batch, Grouping, Vec, grouped, single
from alerts.promql.errors import PromqlEvaluationError
from alerts.promql.syntax import Expr, Selector
from alerts.promql.values import Floats
from exporter.label_table import Column, LabelTable, Vocabulary
from exporter.series import METRIC_NAME, Labels, MatcherError, compile_regex


def sign(values: Floats) -> Floats:
    """−1, 1, or the value itself where it is zero or NaN."""
    return np.where(values > 0, 1.0, np.where(values < 0, -1.0, values))


MATHS: Final[dict[str, Callable[[Floats], Floats]]] = {
    "abs": np.abs,
    "ceil": np.ceil,
    "floor": np.floor,
    "exp": np.exp,
    "ln": np.log,
    "log2": np.log2,
    "log10": np.log10,
    "sqrt": np.sqrt,
    "sgn": sign,
    "deg": lambda values: values * 180 / math.pi,
    "rad": lambda values: values * math.pi / 180,
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "asin": np.arcsin,
    "acos": np.arccos,
    "atan": np.arctan,
    "sinh": np.sinh,
    "cosh": np.cosh,
    "tanh": np.tanh,
    "asinh": np.arcsinh,
    "acosh": np.arccosh,
    "atanh": np.arctanh,
}
"""Functions of one value; Inf and NaN come out as in IEEE 754, never as an error."""


def round_to(vec: Vec, nearest: float = 1.0) -> Vec:
    """To the nearest multiple, halves up: floor(x/n + 0.5)·n by way of 1/n, so −2.5 is −2 and n = 0 gives NaN."""
    inverse = np.float64(1.0) / np.float64(nearest)
    return vec.nameless(np.floor(vec.values * inverse + 0.5) / inverse)


def clamp(vec: Vec, low: float, high: float) -> Vec:
    """Values brought into [low, high]; nothing where low > high, NaN where a bound is NaN."""
    if low > high:
        return EMPTY
    return clamp_min(clamp_max(vec, high), low)


def clamp_min(vec: Vec, low: float) -> Vec:
    """Values raised to a bound as Go's math.Max does it: +Inf wins over NaN, NaN over the rest."""
    raised = np.maximum(low, vec.values)
    return vec.nameless(np.where((vec.values == math.inf) | (low == math.inf), math.inf, raised))


def clamp_max(vec: Vec, high: float) -> Vec:
    """Values lowered to a bound as Go's math.Min does it: −Inf wins over NaN, NaN over the rest."""
    lowered = np.minimum(high, vec.values)
    return vec.nameless(np.where((vec.values == -math.inf) | (high == -math.inf), -math.inf, lowered))


def scalar(vec: Vec) -> float:
    """The only element's value, NaN unless there is exactly one."""
    return float(vec.values[0]) if len(vec) == 1 else math.nan


def ordered(vec: Vec, descending: bool) -> Vec:
    """By value, NaN last in both directions."""
    order = np.lexsort((-vec.values if descending else vec.values, np.isnan(vec.values)))
    return Vec(vec.batch.take(order), vec.values[order])


def absent(argument: Expr, present: bool) -> Vec:
    """Nothing if the argument has elements, else a 1 with the labels that the argument's selector fixes."""
    if present:
        return EMPTY
    labels = _fixed_labels(argument) if isinstance(argument, Selector) else {}
    return Vec(Batch.of([Labels.of(labels)]), single(1.0).values)


def _fixed_labels(selector: Selector) -> dict[str, str]:
    """The labels that one ``=`` matcher gives; a label with another matcher after it is left out.

    Since 3.x the storage moves ``!=`` and ``!~`` that accept a missing label to the end before this is asked.
    """
    labels: dict[str, str] = {}
    given: set[str] = set()
    for matcher in sorted(selector.matchers, key=lambda m: m.op in ("!=", "!~") and m.matches("")):
        if matcher.name == METRIC_NAME:
            continue
        if matcher.op == "=" and matcher.name not in given:
            labels[matcher.name] = matcher.value
            given.add(matcher.name)
        else:
            labels.pop(matcher.name, None)
    return labels


# --- labels -----------------------------------------------------------------------------------------------------------------------------------

# Go's regexp.Expand: $1, $name (the longest run of word characters), ${1}, $$; a lone $ stands for itself.
_REFERENCE = re.compile(r"\$(?:(\$)|(\w+)|\{(\w+)\})")


def label_replace(vec: Vec, target: str, replacement: str, source: str, pattern: str) -> Vec:
    """Sets ``target`` to the expanded replacement where the whole value of ``source`` matches; an empty result removes it."""
    try:
        regex = compile_regex(pattern)
    except MatcherError as error:
        raise PromqlEvaluationError(f"label_replace: {error}") from error

    def replaced(value: str) -> str | None:
        match = regex.fullmatch(value)
        return None if match is None else _expanded(replacement, match)

    key = ("label_replace", target, replacement, source, pattern)
    return vec.renamed(vec.batch.map(key, lambda table: _with_target(table, target, (source,), replaced)))


def _expanded(template: str, match: re.Match[str]) -> str:
    groups = {str(i): text for i, text in enumerate((match.group(), *match.groups()))} | match.groupdict()

    def value(reference: re.Match[str]) -> str:
        if reference.group(1):
            return "$"
        return groups.get(reference.group(2) or reference.group(3)) or ""

    return _REFERENCE.sub(value, template)


def label_join(vec: Vec, target: str, separator: str, sources: Sequence[str]) -> Vec:
    """Sets ``target`` to the values of the sources joined; an empty result removes it."""

    def joined(*values: str) -> str:
        return separator.join(values)

    key = ("label_join", target, separator, tuple(sources))
    return vec.renamed(vec.batch.map(key, lambda table: _with_target(table, target, sources, joined)))


def _with_target(table: LabelTable, target: str, sources: Sequence[str], value: Callable[..., str | None]) -> Grouping:
    """The target label of every row made of the sources' values, or left as it is where that gives None."""
    there = [name for name in sources if name in table.columns]
    ids, first = table.numbered(there)
    distinct = {name: column.values for name, column in table.take(first, there).columns.items()}
    rows = [[distinct[name][i] if name in distinct else "" for name in sources] for i in range(len(first))]
    words, known = Vocabulary(), table.columns.get(target)
    before = np.zeros(len(table), np.int32) if known is None else known.each(words.add, np.int32)
    made = np.array([-1 if (text := value(*row)) is None else words.add(text) for row in rows], dtype=np.int32)[ids]
    return grouped(table.having(target, Column(np.where(made < 0, before, made), words)))
