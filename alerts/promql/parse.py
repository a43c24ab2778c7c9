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
    At,
    Binary,
    Call,
    Edge,
    Expr,
    Matching,
    Negation,
    Number,
    Selector,
    String,
    Subquery,
)
from exporter.series import METRIC_NAME, Matcher, MatcherError, compile_regex

MAX_NESTING: Final = 200
"""Operators and parentheses that one expression may have: far more than a person writes, far less than overflows promql-parser's stack."""

MAX_SUBQUERY_STEPS: Final = 11_000
"""Moments at which one subquery may evaluate its operand: as many as Prometheus allows a range query."""

_NATIVE_ONLY: Final = frozenset(
    "histogram_avg histogram_count histogram_sum histogram_stddev histogram_stdvar".split()  # noqa: SIM905
)
"""Functions that work on native histograms alone."""

_FLAGGED: Final = frozenset(
    "double_exponential_smoothing end histogram_quantiles info mad_over_time max_of min_of range sort_by_label sort_by_label_desc start "  # noqa: SIM905
    "start_timestamp step ts_of_first_over_time ts_of_last_over_time ts_of_max_over_time ts_of_min_over_time limitk limit_ratio".split()
)
"""What Prometheus 3.14 has behind a feature flag."""

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


_GROUPED_DIGITS = re.compile(
    r"(?:0[xX]_?[0-9a-fA-F]+(?:_[0-9a-fA-F]+)*|\d+(?:_\d+)*(?:\.\d+(?:_\d+)*)?(?:[eE]\d+)?)", re.ASCII
)
_BYTE_ESCAPE = re.compile(r"\\x[0-9a-fA-F]{2}|\\[0-7]{3}")
# A run of escaped bytes beyond ASCII; every other escape is passed over, so that "\\\\xff" is not taken for one.
_BYTE_ESCAPES = re.compile(r"(?P<bytes>(?:\\x[89a-fA-F][0-9a-fA-F]|\\[23][0-7]{2})+)|\\.", re.DOTALL)


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
        self._refuse_early_moments()
        try:
            tree = pp.parse(self._respelled())
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

    def _refuse_early_moments(self) -> None:
        for token, after in zip(self.tokens, self.tokens[1:], strict=False):
            if token.kind == "sign" and token.text == "@" and not token.inside and after.text == "-":
                raise self._error(token.position, "a moment before 1970 after '@' is not supported")

    def _respelled(self) -> str:
        """The text with what promql-parser does not take or takes otherwise than Prometheus spelled in its way: ``1_000``, bytes as ``\\xc3\\xa9``."""
        parts, end = [], 0
        for token in self.tokens:
            if (other := self._respelled_token(token)) != token.text:
                parts += [self.text[end : token.position], other]
                end = token.position + len(token.text)
        return "".join((*parts, self.text[end:]))

    def _respelled_token(self, token: _Token) -> str:
        if token.kind == "number" and _GROUPED_DIGITS.fullmatch(token.text):
            return token.text.replace("_", "")
        if token.kind == "string" and token.text[0] != "`" and _BYTE_ESCAPES.search(token.text):
            return _BYTE_ESCAPES.sub(lambda run: self._decoded(run, token.position), token.text)
        return token.text

    def _decoded(self, run: re.Match[str], position: int) -> str:
        """A run of escaped bytes as the characters that they encode in UTF-8."""
        if run.group("bytes") is None:
            return run.group()
        try:
            return bytes(
                int(one[2:], 16) if one[1] == "x" else int(one[1:], 8) for one in _BYTE_ESCAPE.findall(run.group())
            ).decode()
        except ValueError as error:
            raise self._error(
                position + run.start(), f"{run.group()} is not UTF-8, no label has such a value"
            ) from error

    def _syntax_error(self, message: str) -> PromqlError:
        if unknown := re.search(r"unknown function with name '([^']*)'", message):
            return self._unsupported("function", unknown.group(1), FUNCTIONS)
        if character := re.search(r"unexpected character(?: inside \w+)?: '(.)'", message, re.DOTALL):
            return self._error(self._sign(character.group(1)), message)
        if illegal := re.match(r"illegal regex for (.*)", message, re.DOTALL):
            return self._error(self._string(illegal.group(1)), message)
        return self._error(None, message)

    def _unsupported(self, kind: str, name: str, supported: frozenset[str]) -> PromqlError:
        why = "supported"
        if name in _FLAGGED:
            why = "supported, it is experimental in Prometheus"
        elif name in _NATIVE_ONLY:
            why = "supported, it needs native histograms"
        return self._error(
            self._called(name), f"{kind} {name!r} is not {why} (supported: {', '.join(sorted(supported))})"
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
            return self._subquery(node)
        raise self._error(None, f"{type(node).__name__} is not supported")

    def _range(self, length: timedelta) -> int:
        if length < timedelta(milliseconds=1):
            raise self._error(self._sign("["), "a range must be at least 1ms")
        return _milliseconds(length)

    def _subquery(self, node: Any) -> Subquery:
        operand = self._expr(node.expr)
        step_ms = 0 if node.step is None else _milliseconds(node.step)
        if node.step is not None and step_ms < 1:
            raise self._error(self._sign(":", "["), "the step of a subquery must be at least 1ms")
        found = Subquery(operand, self._range(node.range), step_ms, _offset(node), _moment(node))
        if found.range_ms // found.resolution_ms > MAX_SUBQUERY_STEPS:
            raise self._error(
                self._sign(":", "["), f"more than {MAX_SUBQUERY_STEPS} steps in a subquery are not supported"
            )
        return found

    def _selector(self, node: Any, range_ms: int) -> Selector:
        if node.matchers.or_matchers:
            raise self._error(
                self._word("or", "{"),
                "'or' between matchers is not supported (supported: matchers separated by commas)",
            )
        matchers = [self._matcher(m) for m in node.matchers.matchers]
        if node.name is not None:
            matchers.insert(0, Matcher(METRIC_NAME, "=", node.name))
        matchers.sort(key=lambda m: not (m.name == METRIC_NAME and m.op == "="))
        return Selector(tuple(matchers), range_ms, _offset(node), _moment(node))

    def _matcher(self, node: Any) -> Matcher:
        try:
            return Matcher(node.name, _MATCH_OPS[str(node.op)], node.value)
        except MatcherError as error:
            raise self._error(self._string(error.pattern), str(error)) from error

    def _aggregation(self, node: Any) -> Aggregation:
        op = str(node.op)
        if op not in AGGREGATIONS:
            raise self._unsupported("aggregation", op, AGGREGATIONS)
        param = None if node.param is None else self._expr(node.param)
        if op == "count_values" and param == String(""):
            raise self._error(self._string(""), "count_values: a label must have a name")
        if node.modifier is None:
            return Aggregation(op, self._expr(node.expr), param)
        without = node.modifier.type == pp.AggModifierType.Without
        return Aggregation(op, self._expr(node.expr), param, tuple(node.modifier.labels), without)

    def _call(self, node: Any) -> Call:
        name = node.func.name
        if name not in FUNCTIONS:
            raise self._unsupported("function", name, FUNCTIONS)
        call = Call(name, tuple(self._expr(arg) for arg in node.args))
        if name in ("label_replace", "label_join"):
            self._check_labels(call)
        return call

    def _check_labels(self, call: Call) -> None:
        """What Prometheus finds wrong with the texts of label_replace and label_join only when it evaluates them."""
        texts = [arg.value for arg in call.args[1:] if isinstance(arg, String)]
        if "" in (texts[:1] if call.function == "label_replace" else (texts[0], *texts[2:])):
            raise self._error(self._called(call.function), f"{call.function}: a label must have a name")
        if call.function == "label_replace":
            try:
                compile_regex(texts[3])
            except MatcherError as error:
                raise self._error(self._string(error.pattern), f"label_replace: {error}") from error

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


def _offset(node: Any) -> int:
    return 0 if node.offset is None else _milliseconds(node.offset)


def _moment(node: Any) -> At:
    """What ``@`` says; the text has the milliseconds of a moment exact."""
    if node.at is None:
        return None
    text = str(node.at).removeprefix("@ ")
    return Edge(text.removesuffix("()")) if text.endswith("()") else int(text.replace(".", ""))


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
