"""What a panel of the house is: its queries, its words, and what it says of itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from dashboards.looks import PLAIN, Steps, Words
from dashboards.promql import or_nan


class Kind(StrEnum):
    STAT = "stat"
    GRAPH = "timeseries"
    TABLE = "table"
    TIMELINE = "state-timeline"


@dataclass(frozen=True, slots=True)
class Query:
    """``quiet`` is the reason why it may find nothing on a healthy cluster."""

    expr: str
    legend: str = ""
    quiet: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: a label, or Value (Value #A, Value #B … where there are several queries)."""

    source: str
    title: str
    unit: str = ""
    steps: Steps = ()
    words: Words = field(default_factory=dict)
    link: str = ""


@dataclass(frozen=True, slots=True)
class Large:
    """Sizes for a screen that is read from 5 m, pixels; the name stands inside of the tile."""

    value: int = 90
    title: int = 40
    text: str = "value_and_name"
    across: bool = False


@dataclass(frozen=True, slots=True)
class Panel:
    """``says`` is the description. Sizes are in units of Grafana's grid of 24 columns."""

    kind: Kind
    name: str
    says: str
    queries: tuple[Query, ...]
    unit: str
    steps: Steps
    width: int
    height: int
    words: Words = field(default_factory=dict)
    columns: tuple[Column, ...] = ()
    sort: str = ""
    link: str = ""
    least: float | None = None
    most: float | None = None
    large: Large | None = None
    at: tuple[int, int] | None = None

    @property
    def instant(self) -> bool:
        """A single value must be asked for now: the last point of a range is an old one when its series has ended."""
        return self.kind in (Kind.STAT, Kind.TABLE)


@dataclass(frozen=True, slots=True)
class Section:
    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """A variable of several values, read from the label of a metric."""

    name: str
    metric: str
    label: str


@dataclass(frozen=True, slots=True)
class Board:
    uid: str
    title: str
    says: str
    sections: tuple[Section, ...]
    choices: tuple[Choice, ...] = ()
    wall: bool = False

    @property
    def panels(self) -> tuple[Panel, ...]:
        return tuple(panel for section in self.sections for panel in section.panels)


def stat(
    name: str,
    says: str,
    expr: str,
    steps: Steps,
    *,
    words: Words | None = None,
    unit: str = "none",
    link: str = "",
    quiet: str = "",
    width: int = 4,
) -> Panel:
    query = (Query(expr, name, quiet),)
    return Panel(Kind.STAT, name, says, query, unit, steps, width, 4, words=words or {}, link=link)


def tile(
    name: str,
    says: str,
    expr: str,
    steps: Steps,
    at: tuple[int, int],
    *,
    words: Words | None = None,
    unit: str = "none",
    link: str = "",
    width: int = 6,
    height: int = 6,
    large: Large | None = None,
) -> Panel:
    """A tile of the wall."""
    query = (Query(or_nan(expr), name),)
    sizes = large or Large()
    return Panel(
        Kind.STAT, name, says, query, unit, steps, width, height, words=words or {}, link=link, large=sizes, at=at
    )


def graph(
    name: str,
    says: str,
    unit: str,
    *queries: Query,
    steps: Steps = PLAIN,
    least: float | None = 0,
    most: float | None = None,
    width: int = 12,
) -> Panel:
    return Panel(Kind.GRAPH, name, says, queries, unit, steps, width, 8, least=least, most=most)


def timeline(name: str, says: str, words: Words, *queries: Query, height: int = 8, width: int = 24) -> Panel:
    """A band for each series, whose colour and word are its state."""
    return Panel(Kind.TIMELINE, name, says, queries, "none", PLAIN, width, height, words=words)


def table(
    name: str,
    says: str,
    columns: tuple[Column, ...],
    *queries: Query,
    sort: str = "",
    width: int = 12,
    height: int = 8,
) -> Panel:
    return Panel(Kind.TABLE, name, says, queries, "none", PLAIN, width, height, columns=columns, sort=sort)
