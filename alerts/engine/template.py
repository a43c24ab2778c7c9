"""Prometheus's templates for labels and annotations: Go's text/template with Prometheus's functions, read at load and expanded for each alert.

All of text/template's actions and all functions that Prometheus gives to rules; the printed text is Prometheus's. What Go would only find when the template is
expanded (a field that does not exist, too few arguments) is refused at load, by position.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from alerts.engine.go_format import FormatError
from alerts.engine.template_functions import FUNCTIONS, METHODS, SCOPED, Args, method, shown, true
from alerts.engine.template_nodes import (
    Assign,
    Block,
    Call,
    Chain,
    Field,
    Include,
    Literal,
    Node,
    Operand,
    Output,
    QueryFunction,
    QueryRow,
    Scope,
    TemplateError,
)
from alerts.engine.template_reader import Reader
from alerts.promql.errors import PromqlError, QueryError
from alerts.promql.parse import parse
from alerts.promql.syntax import Expr

__all__ = ["QueryFunction", "QueryRow", "Scope", "Template", "TemplateError", "read_template"]

_DEEPEST = 50


@dataclass(frozen=True, slots=True)
class Template:
    """A read template: expand it as often as needed."""

    text: str
    nodes: tuple[Node, ...]
    defined: Mapping[str, tuple[Node, ...]]
    """Templates that it defines for itself."""
    queries: tuple[Expr, ...]
    """The queries that it may make; one that is put together by printf stands here with ``x`` for what is put in."""
    unknown_queries: int
    """How many queries are put together in ways that cannot be known before."""
    labels: tuple[str, ...]
    """Label names that it reads of ``$labels``."""
    varies: bool
    """Whether it can give another text for the same labels: by the value, a query or the time."""

    @property
    def constant(self) -> bool:
        return all(isinstance(node, str) for node in self.nodes)

    def expand(self, scope: Scope) -> str:
        """The text for one alert; a failure gives Prometheus's ``<error expanding template: …>`` and never raises."""
        try:
            return "".join(_Run(scope, self.defined).render(self.nodes, scope))
        except (FormatError, QueryError, PromqlError) as error:
            return f"<error expanding template: {error}>"


def read_template(text: str) -> Template:
    """Reads a template; raises TemplateError for what cannot be expanded."""
    reader = Reader(text)
    nodes = reader.read()
    return Template(
        text,
        nodes,
        reader.defined,
        tuple(reader.queries),
        reader.unknown_queries,
        tuple(reader.labels),
        reader.varies,
    )


class _Break(Exception):
    pass


class _Continue(Exception):
    pass


@dataclass(slots=True)
class _Run:
    """One expansion: the scope and the variables, innermost last."""

    scope: Scope
    defined: Mapping[str, tuple[Node, ...]]
    variables: list[tuple[str, Any]] = field(default_factory=list)
    depth: int = 0

    def __post_init__(self) -> None:
        if not self.variables:
            self.variables = [
                ("$", self.scope),
                ("$labels", self.scope.labels),
                ("$externalLabels", self.scope.external_labels),
                ("$externalURL", self.scope.external_url),
                ("$value", self.scope.value),
            ]

    # --- nodes

    def render(self, nodes: Sequence[Node], dot: object) -> Iterator[str]:
        outer = len(self.variables)
        try:
            for node in nodes:
                if isinstance(node, str):
                    yield node
                elif isinstance(node, Output):
                    yield shown(self.value(node.operand, dot))
                elif isinstance(node, Assign):
                    self.set(node.name, self.value(node.operand, dot), new=node.new)
                elif isinstance(node, Block):
                    yield from self.block(node, dot)
                elif isinstance(node, Include):
                    yield from self.include(node, dot)
                else:
                    raise _Break if node.kind == "break" else _Continue
        finally:
            del self.variables[outer:]

    def set(self, name: str, value: object, *, new: bool) -> None:
        if not new:
            for place in range(len(self.variables) - 1, -1, -1):
                if self.variables[place][0] == name:
                    self.variables[place] = (name, value)
                    return
        self.variables.append((name, value))

    def block(self, block: Block, dot: object) -> Iterator[str]:
        outer = len(self.variables)
        value = self.value(block.operand, dot)
        if block.kind == "range":
            yield from self.range(block, value, dot)
        else:
            if block.names:
                self.set(block.names[0], value, new=block.new)
            inner = value if block.kind == "with" and true(value) else dot
            yield from self.render(block.then if true(value) else block.otherwise, inner)
        del self.variables[outer:]

    def range(self, block: Block, value: object, dot: object) -> Iterator[str]:
        pairs = _pairs(value)
        for key, item in pairs:
            outer = len(self.variables)
            for name, one in zip(block.names, (item,) if len(block.names) == 1 else (key, item), strict=False):
                self.set(name, one, new=block.new)
            try:
                yield from self.render(block.then, item)
            except _Break:
                break
            except _Continue:
                continue
            finally:
                del self.variables[outer:]
        if not pairs:
            yield from self.render(block.otherwise, dot)

    def include(self, node: Include, dot: object) -> Iterator[str]:
        if self.depth >= _DEEPEST:
            raise FormatError(f"exceeded maximum template depth ({_DEEPEST})")
        value = None if node.operand is None else self.value(node.operand, dot)
        run = _Run(self.scope, self.defined, [("$", value)], self.depth + 1)
        yield from run.render(self.defined[node.name], value)

    # --- values

    def value(self, operand: Operand, dot: object) -> object:
        if isinstance(operand, Literal):
            return operand.value
        if isinstance(operand, Field):
            root = dot if operand.root == "." else next(v for n, v in reversed(self.variables) if n == operand.root)
            return self.path(root, operand.path, operand.args, dot)
        if isinstance(operand, Chain):
            return self.path(self.value(operand.operand, dot), operand.path, operand.args, dot)
        if operand.function in ("and", "or"):
            return self.logic(operand, dot)
        if operand.function in SCOPED:
            return SCOPED[operand.function](self.scope)
        args = [self.value(arg, dot) for arg in operand.args]
        if operand.function == "query":
            return list(self.scope.query(_query_expr(args[0])))
        return FUNCTIONS[operand.function].run(*args)

    def logic(self, call: Call, dot: object) -> object:
        """``and`` gives its first false argument, ``or`` its first true one, else the last."""
        value: object = None
        for arg in call.args:
            value = self.value(arg, dot)
            if true(value) == (call.function == "or"):
                return value
        return value

    def path(self, value: object, names: Sequence[str], args: Sequence[Operand], dot: object) -> object:
        for name in names:
            value = _member(value, name, [self.value(arg, dot) for arg in args] if name == names[-1] else [])
        return value


def _pairs(value: object) -> list[tuple[object, object]]:
    """What a range goes over: keys or indexes, and values."""
    if isinstance(value, bool) or not isinstance(value, list | Mapping | int):
        raise FormatError(f"range can't iterate over {shown(value)}")
    if isinstance(value, int):
        return [(i, i) for i in range(value)]
    return list(sorted(value.items()) if isinstance(value, Mapping) else enumerate(value))


def _query_expr(text: object) -> Expr:
    if not isinstance(text, str):
        raise FormatError("query needs a string")
    return parse(text)


def _member(value: object, name: str, args: Sequence[object]) -> object:
    if isinstance(value, Mapping):
        return value.get(name, None if isinstance(value, Args) else "")
    if isinstance(value, Scope | QueryRow) and name in ("Labels", "Value"):
        return value.labels if name == "Labels" else value.value
    if isinstance(value, Scope) and name in ("ExternalURL", "ExternalLabels"):
        return value.external_url if name == "ExternalURL" else value.external_labels
    if name in METHODS.get(type(value), {}):
        return method(value, name, args)
    raise FormatError(f"can't evaluate field {name} in {shown(value)}")
