"""The Protocol behind which every way to read a node's beans stands, and the values that cross it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from exporter.jmx.access import OPEN, Access
from exporter.jmx.errors import JmxError

Value = float | str | None
"""A number, a word where the catalogue asks for one, or None where the bean does not have the attribute (or it is not a number)."""


class Kind(StrEnum):
    """How an attribute's value is read."""

    NUMBER = "number"
    TEXT = "text"
    COMPOSITE = "composite"


@dataclass(frozen=True, slots=True)
class Attribute:
    """A wanted attribute; ``items`` are the numbers wanted out of a composite (HeapMemoryUsage: used, max)."""

    name: str
    kind: Kind = Kind.NUMBER
    items: tuple[str, ...] = ()

    @property
    def width(self) -> int:
        """How many values it gives."""
        return len(self.items) if self.kind is Kind.COMPOSITE else 1


@dataclass(frozen=True, slots=True)
class BeanRequest:
    """One named bean or narrow pattern with the attributes wanted from it, text last (at most one).

    ``refresh_s``: for how long the names that a pattern gave may be used again; None marks a named bean. ``every_s``: for how long its values may be
    used again, where each read of it costs (a call over RMI); 0 for those that every poll needs anew.
    """

    bean: str
    attributes: tuple[Attribute, ...]
    refresh_s: float | None = None
    every_s: float = 0.0

    @property
    def is_pattern(self) -> bool:
        return self.refresh_s is not None


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Plan:
    """What to read from a node. Compared by identity: hand the same object in as long as nothing changes."""

    beans: tuple[BeanRequest, ...]


@dataclass(frozen=True, slots=True)
class Target:
    """A node's JMX port, or that of its jmx_exporter (``host:port``, IPv6 in brackets), what to read there and how to get in."""

    node: int
    address: str
    plan: Plan
    access: Access = OPEN


@dataclass(frozen=True, slots=True)
class BeanValues:
    """One bean that answered: ``request`` is the plan's bean or pattern, ``values`` are in the order of its attributes and their items.

    ``bean`` is the request where that is a named bean; one that a pattern found stands under its canonical name, whose keys are sorted
    (``kafka.server:id=1,type=app-info``).
    """

    request: str
    bean: str
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class JmxAnswer:
    """What one node gave. ``taken_at`` is when the read ended (Unix seconds), ``seconds`` how long it took.

    ``missing`` are named beans of the plan that the node does not have, ``failed`` those that it has and could not give (bean -> why): both are facts about the
    node, as an answer with missing beans is an answer. ``untold`` are beans of the plan of which this way of reading has never told (a page whose rules leave them
    out): they say nothing about the node. With ``error`` there are no values. ``warnings`` are for the operator (the stub names another host).
    """

    node: int
    address: str
    taken_at: float
    seconds: float
    beans: tuple[BeanValues, ...] = ()
    missing: tuple[str, ...] = ()
    failed: Mapping[str, str] = field(default_factory=dict)
    untold: frozenset[str] = frozenset()
    warnings: tuple[str, ...] = ()
    error: JmxError | None = None


class JmxTransport(Protocol):
    """A way to read beans: ``jpype``, ``jmxquery`` and ``prometheus``; exporter.jmx.transports hands them out."""

    def read(self, targets: Sequence[Target], deadline_s: float) -> Mapping[int, JmxAnswer]:
        """Read all targets at once, each on its own: an answer per node, with its error where it failed, never later than the deadline.

        One read of a node at a time: while one runs, or hangs, another gets JmxHung at once. ValueError for an address that is none.
        """

    def close(self) -> None:
        """Let go of every connection, thread and process; reads that run end with an error."""


def split_address(address: str) -> tuple[str, int]:
    """``host:port`` or ``[v6]:port`` as a pair; ValueError says what would be right."""
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"JMX address {address!r} must be host:port")
    return host.removeprefix("[").removesuffix("]"), int(port)
