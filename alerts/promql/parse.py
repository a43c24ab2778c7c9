"""Reading PromQL: the one place that knows promql-parser, and the one that says what this evaluator does not support."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import Any, Final

import promql_parser as pp

from alerts.promql.errors import PromqlError
from alerts.promql.syntax import (
    AGGREGATIONS,
    FUNCTIONS,
    PRECEDENCE,
    Aggregation,
    Binary,
    Call,
    Expr,
    Matching,
    Negation,
    Number,
    Selector,
    String,
)
from exporter.series import METRIC_NAME, Matcher, MatcherError, compile_regex

MAX_NESTING: Final = 200
"""Operators and parentheses that one expression may have: far more than a person writes, far less than overflows promql-parser's stack."""

_MATCH_OPS: Final = {
    str(pp.MatchOp.Equal): "=",
    str(pp.MatchOp.NotEqual): "!=",
    str(pp.MatchOp.Re): "=~",
    str(pp.MatchOp.NotRe): "!~",
}


@lru_cache(maxsize=2048)
def parse(text: str) -> Expr:
    """The tree of an expression; parentheses are in its form, a minus before a number is in the number.

    Raises PromqlError for what Prometheus would refuse (syntax, types, regular expressions) and, by name and position, for what is not supported here.
    """
    return _Reader(text).read()


# --- tokens: only to say where something stands, since promql-parser gives no positions ------------------------------------------------------

_TOKEN = re.compile(
    r"""(?P<string>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|`[^`]*`)|(?P<comment>\#[^\n]*)|(?P<word>[a-zA-Z_:][a-zA-Z0-9_:]*)|(?P<number>[0-9.][0-9a-zA-Z_.]*)
    |(?P<sign>==|!=|<=|>=|=~|!~|[^\s])""",
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    position: int
    inside: str
    """The innermost open brace or bracket, ``{`` or ``[``, else ""."""


def _tokens(text: str) -> Iterator[_Token]:
    inside = ""
    for match in _TOKEN.finditer(text):
        kind, token = match.lastgroup or "", match.group()
        if kind == "comment":
            continue
        yield _Token(kind, token, match.start(), inside)
        if kind == "sign" and token in "{[":
            inside = token
        elif kind == "sign" and token in "}]":
            inside = ""


class _Reader:
    """Turns one text into a tree."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = list(_tokens(text))

    def read(self) -> Expr:
        self._bound_nesting()
        try:
            tree = pp.parse(self.text)
        except ValueError as error:
            raise self._syntax_error(str(error)) from error
        return self._expr(tree)

    # --- errors -------------------------------------------------------------------------------------------------------------------------

    def _error(self, position: int | None, reason: str) -> PromqlError:
        return PromqlError(self.text, position, reason)

    def _bound_nesting(self) -> None:
        nesting = 0
        for token in self.tokens:
            nesting += not token.inside and (token.text == "(" or token.text in PRECEDENCE)
            if nesting > MAX_NESTING:
                raise self._error(
                    token.position,
                    f"more than {MAX_NESTING} operators and parentheses in one expression are not supported",
                )

    def _syntax_error(self, message: str) -> PromqlError:
        if unknown := re.search(r"unknown function with name '([^']*)'", message):
            return self._unsupported_function(unknown.group(1))
        if character := re.search(r"unexpected character(?: inside \w+)?: '(.)'", message, re.DOTALL):
            return self._error(self._sign(character.group(1)), message)
        if illegal := re.match(r"illegal regex for (.*)", message, re.DOTALL):
            return self._error(self._string(illegal.group(1)), message)
        return self._error(None, message)

    def _unsupported_function(self, name: str) -> PromqlError:
        return self._error(
            self._called(name), f"function {name!r} is not supported (supported: {', '.join(sorted(FUNCTIONS))})"
        )

    def _sign(self, sign: str, inside: str | None = None) -> int | None:
        return next(
            (t.position for t in self.tokens if t.kind != "string" and sign in t.text and inside in (None, t.inside)),
            None,
        )

    def _word(self, word: str, inside: str = "") -> int | None:
        return next(
            (t.position for t in self.tokens if t.kind == "word" and t.text == word and t.inside == inside), None
        )

    def _called(self, name: str) -> int | None:
        followed = zip(self.tokens, self.tokens[1:], strict=False)
        return next(
            (t.position for t, after in followed if t.text == name and after.text in ("(", "by", "without")), None
        )

    def _string(self, value: str) -> int | None:
        return next(
            (t.position for t in self.tokens if t.kind == "string" and value in (t.text[1:-1], _unescaped(t.text))),
            None,
        )

    # --- nodes --------------------------------------------------------------------------------------------------------------------------

    def _expr(self, node: Any) -> Expr:
        if isinstance(node, pp.ParenExpr):
            return self._expr(node.expr)
        if isinstance(node, pp.NumberLiteral):
            return _number(node.val)
        if isinstance(node, pp.StringLiteral):
            return String(node.val)
        if isinstance(node, pp.VectorSelector):
            return self._selector(node, 0)
        if isinstance(node, pp.MatrixSelector):
            return self._selector(node.vector_selector, self._range(node.range))
        if isinstance(node, pp.UnaryExpr):
            operand = self._expr(node.expr)
            return _number(-operand.value) if isinstance(operand, Number) else Negation(operand)
        if isinstance(node, pp.AggregateExpr):
            return self._aggregation(node)
        if isinstance(node, pp.Call):
            return self._call(node)
        if isinstance(node, pp.BinaryExpr):
            return self._binary(node)
        if isinstance(node, pp.SubqueryExpr):
            raise self._error(
                self._sign(":", "["), "subqueries are not supported (supported: a range on a selector, like x[5m])"
            )
        raise self._error(None, f"{type(node).__name__} is not supported")

    def _range(self, length: timedelta) -> int:
        if length < timedelta(milliseconds=1):
            raise self._error(self._sign("["), "a range must be at least 1ms")
        return _milliseconds(length)

    def _selector(self, node: Any, range_ms: int) -> Selector:
        if node.at is not None:
            raise self._error(self._sign("@"), "the modifier '@' is not supported (supported: offset)")
        if node.matchers.or_matchers:
            raise self._error(
                self._word("or", "{"),
                "'or' between matchers is not supported (supported: matchers separated by commas)",
            )
        matchers = [self._matcher(m) for m in node.matchers.matchers]
        if node.name is not None:
            matchers.insert(0, Matcher(METRIC_NAME, "=", node.name))
        matchers.sort(key=lambda m: not (m.name == METRIC_NAME and m.op == "="))
        return Selector(tuple(matchers), range_ms, _milliseconds(node.offset) if node.offset is not None else 0)

    def _matcher(self, node: Any) -> Matcher:
        try:
            return Matcher(node.name, _MATCH_OPS[str(node.op)], node.value)
        except MatcherError as error:
            raise self._error(self._string(error.pattern), str(error)) from error

    def _aggregation(self, node: Any) -> Aggregation:
        op = str(node.op)
        if op not in AGGREGATIONS:
            raise self._error(
                self._called(op), f"aggregation {op!r} is not supported (supported: {', '.join(sorted(AGGREGATIONS))})"
            )
        param = None if node.param is None else self._expr(node.param)
        if node.modifier is None:
            return Aggregation(op, self._expr(node.expr), param)
        without = node.modifier.type == pp.AggModifierType.Without
        return Aggregation(op, self._expr(node.expr), param, tuple(node.modifier.labels), without)

    def _call(self, node: Any) -> Call:
        name = node.func.name
        if name not in FUNCTIONS:
            raise self._unsupported_function(name)
        call = Call(name, tuple(self._expr(arg) for arg in node.args))
        if name == "label_replace" and isinstance(pattern := call.args[4], String):
            try:
                compile_regex(pattern.value)
            except MatcherError as error:
                raise self._error(self._string(error.pattern), f"label_replace: {error}") from error
        return call

    def _binary(self, node: Any) -> Binary:
        op = str(node.op)
        if op not in PRECEDENCE:
            raise self._error(self._word(op), f"operator {op!r} is not supported (supported: {' '.join(PRECEDENCE)})")
        matching, returns_bool = Matching(), False
        if (modifier := node.modifier) is not None:
            if modifier.fill_values.lhs is not None or modifier.fill_values.rhs is not None:
                places = (self._word(word) for word in ("fill", "fill_left", "fill_right"))
                raise self._error(
                    next((p for p in places if p is not None), None), "the modifier 'fill' is not supported"
                )
            matching, returns_bool = _matching(modifier), modifier.return_bool
        return Binary(op, self._expr(node.lhs), self._expr(node.rhs), matching, returns_bool)


def _number(value: float) -> Number:
    """NaN as the one object that compares equal to itself inside a tree."""
    return Number(math.nan if math.isnan(value) else value)


def _milliseconds(length: timedelta) -> int:
    return length // timedelta(milliseconds=1)


def _matching(modifier: Any) -> Matching:
    many = {str(pp.VectorMatchCardinality.ManyToOne): "left", str(pp.VectorMatchCardinality.OneToMany): "right"}.get(
        str(modifier.card)
    )
    include = tuple(modifier.group_labels or ()) if many else ()
    if modifier.matching is None:
        return Matching(many=many, include=include)
    return Matching(
        modifier.matching.type == pp.LabelModifierType.Include, tuple(modifier.matching.labels), many, include
    )


def _unescaped(literal: str) -> str:
    try:
        tree: Any = pp.parse(literal)
        return str(tree.val)
    except ValueError:
        return literal
