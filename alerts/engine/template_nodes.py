"""The parts of a read template, and the values that it works with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from alerts.promql.syntax import Expr
from exporter.series import NO_LABELS


class TemplateError(ValueError):
    """A template that cannot be used; ``position`` is the index in the text (from 0), ``reason`` a sentence."""

    def __init__(self, text: str, position: int, reason: str) -> None:
        line = text.count("\n", 0, position) + 1
        column = position - (text.rfind("\n", 0, position) + 1) + 1
        super().__init__(f"template, line {line}, column {column}: {reason}")
        self.position = position
        self.reason = reason


@dataclass(frozen=True, slots=True)
class QueryRow:
    """One element of a query's result inside a template."""

    labels: Mapping[str, str]
    value: float


QueryFunction: TypeAlias = Callable[[Expr], Sequence[QueryRow]]
"""Evaluates a template's query at the time of the evaluation."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What a template sees; ``at`` is the evaluation's time, Unix seconds."""

    labels: Mapping[str, str]
    value: float
    query: QueryFunction
    external_url: str = ""
    external_labels: Mapping[str, str] = NO_LABELS
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class Literal:
    value: object


@dataclass(frozen=True, slots=True)
class Field:
    """A path of names below a variable (``$labels``, ``$x``, ``$`` for all) or below the dot (``.``). ``args`` are those of a method at its end."""

    root: str
    path: tuple[str, ...]
    args: tuple[Operand, ...] = ()


@dataclass(frozen=True, slots=True)
class Chain:
    """A path of names below what a parenthesis gives."""

    operand: Operand
    path: tuple[str, ...]
    args: tuple[Operand, ...] = ()


@dataclass(frozen=True, slots=True)
class Call:
    function: str
    args: tuple[Operand, ...]


Operand: TypeAlias = Literal | Field | Chain | Call


@dataclass(frozen=True, slots=True)
class Output:
    operand: Operand


@dataclass(frozen=True, slots=True)
class Assign:
    """``$name := …`` or, if it is not ``new``, ``$name = …``."""

    name: str
    operand: Operand
    new: bool


@dataclass(frozen=True, slots=True)
class Block:
    """``if``, ``with`` or ``range``; ``names`` are the variables that it sets: one, or for ``range`` up to two. ``new``: whether it declares them."""

    kind: str
    operand: Operand
    then: tuple[Node, ...]
    otherwise: tuple[Node, ...]
    names: tuple[str, ...] = ()
    new: bool = True


@dataclass(frozen=True, slots=True)
class Include:
    """``template "name" …``: another template's text, with this as its dot (None without)."""

    name: str
    operand: Operand | None


@dataclass(frozen=True, slots=True)
class Jump:
    """``break`` or ``continue``."""

    kind: str


Node: TypeAlias = str | Output | Assign | Block | Include | Jump
