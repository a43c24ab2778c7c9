"""Reads test files in the language of Prometheus's own tests (promql/promqltest): load, clear, eval, and what an eval expects.

Times in the files are durations since 1970; here they are milliseconds.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from alerts.engine.durations import parse_duration
from alerts.promql.parse import parse
from alerts.promql.syntax import String
from exporter.series import METRIC_NAME, STALE_NAN, Labels


@dataclass(frozen=True, slots=True)
class Histogram:
    """A native histogram's place in a row of points; what it holds is not read."""


Point: TypeAlias = float | Histogram | None
"""A value, a native histogram, or None where there is no sample."""

HISTOGRAM: Final = Histogram()


@dataclass(frozen=True, slots=True)
class Load:
    """Series with a point every ``gap_ms`` from 0 on."""

    gap_ms: int
    series: tuple[tuple[Labels, tuple[Point, ...]], ...]
    with_native: bool
    """Whether classic histograms are loaded as native ones too."""
    start_timestamps: bool


@dataclass(frozen=True, slots=True)
class Clear:
    """Forget all that was loaded."""


@dataclass(slots=True)
class Eval:
    """One expression at ``start_ms``, or with a ``step_ms`` at every step to ``end_ms``, and its result: one of the last four, or an error.

    The rows of a range query and of ``range_vector`` (start, step) have one point per step.
    """

    line: int
    text: str
    start_ms: int
    end_ms: int
    step_ms: int = 0
    fails: bool = False
    ordered: bool = False
    annotations: int = 0
    scalar: Point = None
    string: str | None = None
    range_vector: tuple[int, int] | None = None
    rows: list[tuple[Labels, tuple[Point, ...]]] = field(default_factory=list)


Command: TypeAlias = Load | Clear | Eval

_INSTANT = re.compile(r"eval(?:_(fail|warn|ordered|info))?\s+instant\s+(?:at\s+(.+?))?\s+(.+)")
_RANGE = re.compile(r"eval(?:_(fail|warn|info))?\s+range\s+from\s+(.+)\s+to\s+(.+)\s+step\s+(.+?)\s+(.+)")
_LOAD = re.compile(r"load(_with_nhcb)?\s+(.+)")
_RANGE_VECTOR = re.compile(r"expect range vector\s+from\s+(.+)\s+to\s+(.+)\s+step\s+(.+)")
_STRING = r"\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'|`[^`]*`"
_SERIES = re.compile(rf"([^\s{{]*)\s*(\{{(?!\{{)(?:{_STRING}|[^\"'`}}])*\}})?\s*(.*)")
_LABEL = re.compile(rf"\s*(?:(?P<name>[^\s=,\"'`]+|{_STRING})\s*=\s*)?(?P<value>{_STRING})\s*,?")
_NUMBER = r"[+-]?(?:inf|nan|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)"
_POINT = re.compile(
    rf"(?:(?P<hole>_|stale)|(?P<native>\{{\{{.*?\}}\}}(?:[+-]\{{\{{.*?\}}\}})?)|(?P<first>{_NUMBER})(?P<step>{_NUMBER})?)(?:x(?P<times>\d+))?(?:\s+|$)",
    re.IGNORECASE,
)


def read(text: str) -> Iterator[Command]:
    """The commands of a file in their order; raises ValueError for a line that is not understood."""
    lines = [line.strip() for line in text.split("\n")]
    lines = ["" if line.startswith("#") else line for line in lines]
    at = 0
    while at < len(lines):
        end = lines.index("", at) if "" in lines[at:] else len(lines)
        if end > at:
            yield from _block(lines[at:end], at + 1)
        at = end + 1


def _block(lines: list[str], first: int) -> Iterator[Command]:
    """A run of lines without an empty one: one command and what belongs to it, or several commands."""
    starts = [i for i, line in enumerate(lines) if re.match(r"(load|eval)(_\w+)?\s|clear$", line)]
    if starts[:1] != [0]:
        raise ValueError(f"line {first}: {lines[0]!r} is no command")
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        head, body = lines[start], lines[start + 1 : end]
        if head == "clear":
            yield Clear()
        elif loads := _LOAD.fullmatch(head):
            yield _load(_ms(loads[2]), loads[1] is not None, body)
        else:
            yield _eval(first + start, head, body)


def _ms(duration: str) -> int:
    return round(parse_duration(duration) * 1000)


# --- series ---------------------------------------------------------------------------------------------------------------------------------


def _load(gap_ms: int, with_native: bool, body: Sequence[str]) -> Load:
    series = [line for line in body if "@st" not in line.split()[0]]
    return Load(gap_ms, tuple(map(_row, series)), with_native, len(series) < len(body))


def _row(line: str) -> tuple[Labels, tuple[Point, ...]]:
    found = _SERIES.fullmatch(line)
    if found is None:
        raise ValueError(f"{line!r} is no series")
    name, labels, points = found.groups()
    pairs = dict(_labels((labels or "{}")[1:-1]))
    return Labels.of(pairs if not name else {**pairs, METRIC_NAME: name}), tuple(_points(points))


def _labels(text: str) -> Iterator[tuple[str, str]]:
    at = 0
    while text[at:].strip():
        found = _LABEL.match(text, at)
        if found is None:
            raise ValueError(f"{text!r} are no labels")
        name = found["name"] or METRIC_NAME
        yield _unquoted(name) if name[0] in "\"'`" else name, _unquoted(found["value"])
        at = found.end()


def _unquoted(literal: str) -> str:
    value = parse(literal)
    assert isinstance(value, String)
    return value.value


def _points(text: str) -> Iterator[Point]:
    at = 0
    while at < len(text):
        found = _POINT.match(text, at)
        if found is None:
            raise ValueError(f"{text[at:]!r} are no points")
        at = found.end()
        times = int(found["times"] or 0)
        if found["hole"]:
            # Unlike a value with xN, which comes N + 1 times, a hole comes N times.
            yield from [None if found["hole"] == "_" else STALE_NAN] * max(times, 1)
        elif found["native"]:
            yield from [HISTOGRAM] * (times + 1)
        else:
            value, step = float(found["first"]), float(found["step"] or "0")
            for _ in range(times + 1):
                yield value
                value += step


# --- evaluations ----------------------------------------------------------------------------------------------------------------------------


def _eval(line: int, head: str, body: Sequence[str]) -> Eval:
    if found := _INSTANT.fullmatch(head):
        mode, at, text = found.groups()
        made = Eval(line, text, _ms(at), _ms(at))
    elif found := _RANGE.fullmatch(head):
        mode, start, end, step, text = found.groups()
        made = Eval(line, text, _ms(start), _ms(end), _ms(step))
    else:
        raise ValueError(f"line {line}: {head!r} is no evaluation")
    made.fails, made.ordered, made.annotations = mode == "fail", mode == "ordered", int(mode in ("warn", "info"))
    for expected in body:
        if expected.startswith("expected_fail_"):
            break
        _expect(made, expected)
    return made


def _expect(made: Eval, line: str) -> None:
    words = line.split()
    if found := _RANGE_VECTOR.fullmatch(line):
        made.range_vector = _ms(found[1]), _ms(found[3])
    elif words[:2] == ["expect", "string"]:
        made.string = _unquoted(line.split(None, 2)[2])
    elif words[0] == "expect":
        made.fails |= words[1] == "fail"
        made.ordered |= words[1] == "ordered"
        made.annotations += words[1] in ("warn", "info", "no_warn", "no_info")
    elif re.fullmatch(_NUMBER, line, re.IGNORECASE):
        made.scalar = float(line)
    else:
        made.rows.append(_row(line))


def same(value: float, wanted: float) -> bool:
    """Whether two values are equal as far as Prometheus's tests ask."""
    if math.isnan(value) or math.isnan(wanted):
        return math.isnan(value) and math.isnan(wanted)
    return value == wanted or math.isclose(value, wanted, rel_tol=1e-6)
