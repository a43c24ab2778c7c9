"""Prometheus's templates for labels and annotations: the part that rules use, read at load; everything else is refused by name and position.

Supported: ``$labels.x``, ``$value``, ``.Labels.x``, ``.Value``, ``index $labels "x"``, ``$externalURL``, literals, pipes, parentheses, ``if``/``else if``/``else``,
``range`` and ``with`` over queries, comments, trimming dashes, and the functions in ``FUNCTIONS``. Output is that of Prometheus.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from alerts.engine import go_format
from alerts.engine.go_format import FormatError
from alerts.promql.errors import PromqlError, QueryError
from alerts.promql.parse import parse
from alerts.promql.syntax import Expr


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
    """What a template sees."""

    labels: Mapping[str, str]
    value: float
    query: QueryFunction
    external_url: str = ""


@dataclass(frozen=True, slots=True)
class Template:
    """A read template: expand it as often as needed."""

    text: str
    nodes: tuple[_Node, ...]
    queries: tuple[Expr, ...]
    """The queries that it may make; one that is put together by printf stands here with ``x`` for what is put in."""
    labels: tuple[str, ...]
    """Label names that it reads of ``$labels``."""
    uses_value: bool

    @property
    def constant(self) -> bool:
        return all(isinstance(node, str) for node in self.nodes)

    def expand(self, scope: Scope) -> str:
        """The text for one alert; a failure gives Prometheus's ``<error expanding template: …>`` and never raises."""
        try:
            return "".join(_render(self.nodes, scope, scope))
        except (FormatError, QueryError) as error:
            return f"<error expanding template: {error}>"


# --- the tree -----------------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Literal:
    value: object


@dataclass(frozen=True, slots=True)
class _Field:
    """A path of names below ``$`` (labels, value, externalURL) or below the dot."""

    root: str
    path: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Call:
    function: str
    args: tuple[_Operand, ...]


_Operand: TypeAlias = "_Literal | _Field | _Call"


@dataclass(frozen=True, slots=True)
class _Output:
    operand: _Operand


@dataclass(frozen=True, slots=True)
class _Block:
    """``if``, ``with`` or ``range``."""

    kind: str
    operand: _Operand
    then: tuple[_Node, ...]
    otherwise: tuple[_Node, ...]


_Node: TypeAlias = "str | _Output | _Block"


# --- evaluation ---------------------------------------------------------------------------------------------------------------------------


def _render(nodes: Sequence[_Node], scope: Scope, dot: object) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, str):
            yield node
        elif isinstance(node, _Output):
            yield _shown(_value(node.operand, scope, dot))
        else:
            yield from _render_block(node, scope, dot)


def _render_block(block: _Block, scope: Scope, dot: object) -> Iterator[str]:
    value = _value(block.operand, scope, dot)
    if not _true(value):
        yield from _render(block.otherwise, scope, dot)
    elif block.kind == "if":
        yield from _render(block.then, scope, dot)
    elif block.kind == "with":
        yield from _render(block.then, scope, value)
    else:
        if not isinstance(value, list):
            raise FormatError(f"range can't iterate over {go_format.show(value)}")
        for item in value:
            yield from _render(block.then, scope, item)


def _shown(value: object) -> str:
    if isinstance(value, QueryRow):
        return f"{dict(value.labels)} {go_format.show(value.value)}"
    if isinstance(value, Mapping):
        return "map[" + " ".join(f"{k}:{v}" for k, v in sorted(value.items())) + "]"
    return go_format.show(value)


def _true(value: object) -> bool:
    """Go's truth: not false, not 0, not empty."""
    return bool(value) if not isinstance(value, QueryRow) else True


def _value(operand: _Operand, scope: Scope, dot: object) -> object:
    if isinstance(operand, _Literal):
        return operand.value
    if isinstance(operand, _Field):
        return _field(operand, scope, dot)
    if operand.function in ("and", "or"):
        return _logic(operand, scope, dot)
    args = [_value(arg, scope, dot) for arg in operand.args]
    if operand.function == "query":
        return list(scope.query(_query_expr(args[0])))
    return FUNCTIONS[operand.function].call(args)


def _logic(call: _Call, scope: Scope, dot: object) -> object:
    """``and`` gives its first false argument, ``or`` its first true one, else the last."""
    value: object = None
    for arg in call.args:
        value = _value(arg, scope, dot)
        if _true(value) == (call.function == "or"):
            return value
    return value


def _query_expr(text: object) -> Expr:
    if not isinstance(text, str):
        raise FormatError("query needs a string")
    return parse(text)


def _field(operand: _Field, scope: Scope, dot: object) -> object:
    current: object = {
        "$labels": scope.labels,
        "$value": scope.value,
        "$externalURL": scope.external_url,
        "$": scope,
    }.get(operand.root, dot)
    for name in operand.path:
        current = _member(current, name)
    return current


def _member(value: object, name: str) -> object:
    if isinstance(value, Mapping):
        return value.get(name, "")
    if isinstance(value, Scope | QueryRow) and name in ("Labels", "Value"):
        return value.labels if name == "Labels" else value.value
    if isinstance(value, Scope) and name == "ExternalURL":
        return value.external_url
    raise FormatError(f"can't evaluate field {name} in {_shown(value)}")


def _first(rows: object) -> QueryRow:
    if not isinstance(rows, list) or not rows:
        raise FormatError("first() called on vector with no elements")
    row: QueryRow = rows[0]
    return row


def _row(row: object) -> QueryRow:
    if not isinstance(row, QueryRow):
        raise FormatError("value, label and strvalue need an element of a query, as `first` gives it")
    return row


def _index(container: object, key: object) -> object:
    if isinstance(container, Mapping):
        return container.get(str(key), "")
    raise FormatError(f"can't index item of {go_format.show(container)}")


def _length(value: object) -> int:
    if isinstance(value, list | str | Mapping):
        return len(value.encode()) if isinstance(value, str) else len(value)
    raise FormatError(f"len of {go_format.show(value)}")


def _title(text: object) -> str:
    return re.sub(r"(^|[^\w'])([^\W\d_])", lambda m: m[1] + m[2].upper(), go_format.show(text))


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[..., bool]:
    def check(left: object, right: object) -> bool:
        if isinstance(left, str) != isinstance(right, str) or isinstance(left, int) != isinstance(right, int):
            raise FormatError("incompatible types for comparison")
        return compare(left, right)

    return check


def _equal(first: object, *others: object) -> bool:
    return any(_ordered(lambda a, b: bool(a == b))(first, other) for other in others)


@dataclass(frozen=True, slots=True)
class _Function:
    """What it does, and how many arguments it takes (``most`` None: any number)."""

    run: Callable[..., object]
    least: int
    most: int | None

    def call(self, args: Sequence[object]) -> object:
        return self.run(*args)


def _of(run: Callable[..., object], least: int = 1, most: int | None = -1) -> _Function:
    return _Function(run, least, least if most == -1 else most)


FUNCTIONS: Final[Mapping[str, _Function]] = {
    "and": _of(lambda *a: a, 1, None),
    "eq": _of(_equal, 2, None),
    "first": _of(_first),
    "ge": _of(_ordered(lambda a, b: not a < b), 2),  # as Go says it: true for NaN
    "gt": _of(_ordered(lambda a, b: not a <= b), 2),
    "humanize": _of(go_format.humanize),
    "humanize1024": _of(go_format.humanize1024),
    "humanizeDuration": _of(go_format.humanize_duration),
    "humanizePercentage": _of(go_format.humanize_percentage),
    "humanizeTimestamp": _of(go_format.humanize_timestamp),
    "index": _of(_index, 2),
    "label": _of(lambda name, row: _row(row).labels.get(str(name), ""), 2),
    "le": _of(_ordered(lambda a, b: bool(a <= b)), 2),
    "len": _of(_length),
    "lt": _of(_ordered(lambda a, b: bool(a < b)), 2),
    "ne": _of(_ordered(lambda a, b: bool(a != b)), 2),
    "not": _of(lambda value: not _true(value)),
    "or": _of(lambda *a: a, 1, None),
    "printf": _of(lambda template, *args: go_format.printf(go_format.show(template), args), 1, None),
    "query": _of(lambda text: text),
    "title": _of(_title),
    "toLower": _of(lambda text: go_format.show(text).lower()),
    "toUpper": _of(lambda text: go_format.show(text).upper()),
    "value": _of(lambda row: _row(row).value),
}


# --- reading ------------------------------------------------------------------------------------------------------------------------------

_TOKEN = re.compile(
    r"""(?P<space>\s+)|(?P<string>"(?:\\.|[^"\\\n])*"|`[^`]*`)|(?P<number>[-+]?(?:\d+\.?\d*(?:[eE][-+]?\d+)?|\.\d+))
    |(?P<variable>\$\w*)|(?P<field>\.\w*)|(?P<word>[A-Za-z_]\w*)|(?P<sign>:=|.)""",
    re.VERBOSE | re.DOTALL,
)
_VARIABLES: Final = ("$labels", "$value", "$externalURL", "$")
_VERBS: Final = "sdvfFeEgGqt%"


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    position: int
    spaced: bool
    """Whether space stands before it: ``$labels .x`` is not ``$labels.x``."""


@dataclass(slots=True)
class _Reader:
    """Reads one template, top down."""

    text: str
    position: int = 0
    queries: list[Expr] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    uses_value: bool = False
    tokens: list[_Token] = field(default_factory=list)
    trim: bool = False
    dots: list[str] = field(default_factory=lambda: ["scope"])
    """What the dot is, from the outside in: scope, row or value."""

    def read(self) -> Template:
        nodes, ended = self._nodes()
        if ended:
            raise self._error(ended[0].position, f"unexpected {ended[0].text!r} outside of if, with and range")
        return Template(self.text, tuple(nodes), tuple(self.queries), tuple(self.labels), self.uses_value)

    def _error(self, position: int, reason: str) -> TemplateError:
        return TemplateError(self.text, position, reason)

    # nodes

    def _nodes(self) -> tuple[list[_Node], list[_Token]]:
        """Nodes up to the end of the text, or up to an ``else`` or ``end``, whose action's tokens are returned."""
        nodes: list[_Node] = []
        while True:
            start = self.text.find("{{", self.position)
            literal = self.text[self.position : start if start >= 0 else len(self.text)]
            if self.trim:
                literal = literal.lstrip()
            if start < 0:
                self.position = len(self.text)
                return [*nodes, *([literal] if literal else [])], []
            literal = literal.rstrip() if re.match(r"-\s", self.text[start + 2 :]) else literal
            nodes.extend([literal] if literal else [])
            action = self._action(start)
            if not action:
                continue
            if action[0].text in ("else", "end"):
                return nodes, action
            nodes.append(self._node(action))

    def _action(self, start: int) -> list[_Token]:
        """The tokens of one action; leaves ``position`` behind its closing braces. A comment has none."""
        if comment := re.compile(r"\{\{(?:-\s+)?/\*.*?\*/(?P<trim>\s+-)?\}\}", re.DOTALL).match(self.text, start):
            self.position, self.trim = comment.end(), comment["trim"] is not None
            return []
        position = start + (3 if re.match(r"-\s", self.text[start + 2 :]) else 2)
        tokens: list[_Token] = []
        spaced = True
        while True:
            if end := re.compile(r"(\s-)?\}\}").match(self.text, position):
                self.position, self.trim = end.end(), end[1] is not None
                break
            match = _TOKEN.match(self.text, position)
            if match is None:
                raise self._error(start, "'{{' without '}}'")
            if match.lastgroup != "space":
                tokens.append(_Token(match.lastgroup or "", match.group(), position, spaced))
            spaced, position = match.lastgroup == "space", match.end()
        if not tokens:
            raise self._error(start, "missing value for command")
        return tokens

    def _node(self, action: list[_Token]) -> _Node:
        head = action[0]
        if head.kind == "word" and head.text in ("if", "with", "range"):
            return self._block(head.text, head.position, action[1:])
        if head.kind == "word" and head.text in ("define", "template", "block", "break", "continue"):
            raise self._error(head.position, f"{head.text!r} is not supported (supported: if, else, end, with, range)")
        return _Output(self._pipeline(action, head.position))

    def _block(self, kind: str, position: int, condition: list[_Token]) -> _Block:
        if not condition:
            raise self._error(position, f"missing value for {kind}")
        operand = self._pipeline(condition, position)
        outer = self.dots[-1]
        self.dots.append(outer if kind == "if" else "row" if kind == "range" or _is_row(operand) else "value")
        then, ended = self._nodes()
        self.dots.pop()
        if not ended:
            raise self._error(position, f"{kind!r} without 'end'")
        if ended[0].text == "end":
            self._only(ended, 1)
            return _Block(kind, operand, tuple(then), ())
        return _Block(kind, operand, tuple(then), tuple(self._otherwise(kind, position, ended)))

    def _otherwise(self, kind: str, position: int, action: list[_Token]) -> list[_Node]:
        if len(action) > 1 and action[1].text in ("if", "with") and action[1].text == kind:
            return [self._block(kind, action[1].position, action[2:])]
        self._only(action, 1)
        nodes, ended = self._nodes()
        if not ended or ended[0].text != "end":
            raise self._error(position, f"{kind!r} without 'end'")
        self._only(ended, 1)
        return nodes

    def _only(self, action: list[_Token], count: int) -> None:
        if len(action) > count:
            raise self._error(action[count].position, f"unexpected {action[count].text!r} after {action[0].text!r}")

    # pipelines

    def _pipeline(self, tokens: list[_Token], position: int) -> _Operand:
        self.tokens = list(reversed(tokens))
        operand = self._piped(position)
        if self.tokens:
            raise self._error(self.tokens[-1].position, f"unexpected {self.tokens[-1].text!r}")
        return operand

    def _piped(self, position: int) -> _Operand:
        operand = self._command(position, None)
        while self.tokens and self.tokens[-1].text == "|":
            pipe = self.tokens.pop()
            operand = self._command(pipe.position, operand)
        return operand

    def _command(self, position: int, piped: _Operand | None) -> _Operand:
        if not self.tokens:
            raise self._error(position, "missing value for command")
        head = self.tokens[-1]
        if head.kind == "word" and head.text not in ("true", "false", "nil"):
            self.tokens.pop()
            args = list(self._operands())
            return self._call(head, [*args, piped] if piped is not None else args)
        operand = self._operand()
        if piped is not None:
            raise self._error(head.position, f"non executable command in pipeline: {head.text}")
        if self.tokens and self.tokens[-1].text not in ("|", ")"):
            raise self._error(
                self.tokens[-1].position, f"unexpected {self.tokens[-1].text!r}: {head.text} is no function"
            )
        return operand

    def _operands(self) -> Iterator[_Operand]:
        while self.tokens and self.tokens[-1].text not in ("|", ")"):
            yield self._operand()

    def _operand(self) -> _Operand:
        token = self.tokens.pop()
        if token.kind == "string":
            return _Literal(self._string(token))
        if token.kind == "number":
            return _Literal(float(token.text) if re.search(r"[.eE]", token.text) else int(token.text))
        if token.kind == "word":
            if token.text in ("true", "false"):
                return _Literal(token.text == "true")
            return self._call(token, [])
        if token.kind in ("variable", "field"):
            return self._path(token)
        if token.text == "(":
            operand = self._piped(token.position)
            if not self.tokens or self.tokens.pop().text != ")":
                raise self._error(token.position, "'(' without ')'")
            if self.tokens and self.tokens[-1].kind == "field" and not self.tokens[-1].spaced:
                raise self._error(
                    self.tokens[-1].position,
                    "a field of a parenthesis is not supported (supported: first | value, label)",
                )
            return operand
        if token.text == ":=":
            raise self._error(token.position, "own variables (':=') are not supported")
        raise self._error(token.position, f"unexpected {token.text!r}")

    def _string(self, token: _Token) -> str:
        if token.text[0] == "`":
            return token.text[1:-1]
        escapes = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "\\": "\\", "'": "'"}

        def one(match: re.Match[str]) -> str:
            if match[1] not in escapes:
                raise self._error(token.position, f"the escape \\{match[1]} is not supported in strings")
            return escapes[match[1]]

        return re.sub(r"\\(.)", one, token.text[1:-1])

    def _path(self, token: _Token) -> _Operand:
        names = [token.text[1:]] if token.kind == "field" and token.text != "." else []
        root = token.text if token.kind == "variable" else "."
        if token.kind == "variable" and root not in _VARIABLES:
            raise self._error(
                token.position, f"the variable {root} is not supported (supported: {', '.join(_VARIABLES[:3])})"
            )
        while self.tokens and self.tokens[-1].kind == "field" and not self.tokens[-1].spaced:
            names.append(self.tokens.pop().text[1:])
        self._check_path(token, root, names)
        return _Field(root, tuple(names))

    def _check_path(self, token: _Token, root: str, names: list[str]) -> None:
        outer = root == "$" or (root == "." and self.dots[-1] == "scope")
        if (outer or (root == "." and self.dots[-1] == "row")) and names:
            allowed = ("Labels", "Value", "ExternalURL") if outer else ("Labels", "Value")
            if names[0] not in allowed:
                raise self._error(
                    token.position,
                    f"the field .{names[0]} is not supported (supported: {', '.join('.' + a for a in allowed)})",
                )
        of_labels = root == "$labels" or (outer and names[:1] == ["Labels"])
        label = names[1:] if root in (".", "$") else names
        if of_labels and label:
            self.labels.append(label[0])
        self.uses_value |= root == "$value" or (outer and names[:1] == ["Value"])
        depth = {"$labels": 1, "$value": 0, "$externalURL": 0}.get(root, 2 if names[:1] == ["Labels"] else 1)
        if len(names) > depth:
            raise self._error(token.position, f"{token.text} has no field .{names[depth]}")
        if root in ("$", ".") and outer and not names:
            raise self._error(
                token.position, f"{root!r} alone is not supported here (supported: $labels, $value, .Labels, .Value)"
            )

    def _call(self, name: _Token, args: list[_Operand]) -> _Operand:
        function = FUNCTIONS.get(name.text)
        if function is None:
            raise self._error(
                name.position, f"the function {name.text!r} is not supported (supported: {', '.join(FUNCTIONS)})"
            )
        if len(args) < function.least or (function.most is not None and len(args) > function.most):
            wanted = str(function.least) if function.most == function.least else f"at least {function.least}"
            raise self._error(
                name.position, f"wrong number of arguments for {name.text}: want {wanted}, got {len(args)}"
            )
        call = _Call(name.text, tuple(args))
        if name.text == "printf":
            self._check_verbs(name, args)
        elif name.text == "query":
            self.queries.append(self._check_query(name, args[0]))
        elif (
            name.text == "index"
            and args[0] in (_Field("$labels", ()), _Field(".", ("Labels",)))
            and isinstance(args[1], _Literal)
        ):
            self.labels.append(str(args[1].value))
        return call

    def _check_verbs(self, name: _Token, args: list[_Operand]) -> None:
        template = args[0]
        if not isinstance(template, _Literal) or not isinstance(template.value, str):
            raise self._error(name.position, "printf needs its format as a string")
        verbs = [m["verb"] for m in go_format.VERB.finditer(template.value)]
        for verb in verbs:
            if verb is None or verb not in _VERBS:
                raise self._error(
                    name.position,
                    f"printf's verb %{verb or ''} is not supported (supported: {' '.join('%' + v for v in _VERBS)})",
                )
        count = sum(verb != "%" for verb in verbs)
        if count != len(args) - 1:
            raise self._error(
                name.position, f"printf's format {template.value!r} needs {count} arguments, got {len(args) - 1}"
            )

    def _check_query(self, name: _Token, operand: _Operand) -> Expr:
        text = _sketch(operand)
        if text is None:
            raise self._error(name.position, "query needs a string or printf with a string")
        try:
            return parse(text)
        except PromqlError as error:
            raise self._error(name.position, f"its query {text!r}: {error.reason}") from error


def _sketch(operand: _Operand) -> str | None:
    """A query's text with ``x`` (or 1) for what printf puts in."""
    if isinstance(operand, _Literal):
        return operand.value if isinstance(operand.value, str) else None
    if isinstance(operand, _Call) and operand.function == "printf":
        template = operand.args[0]
        fill: dict[str, object] = {"s": "x", "q": '"x"', "v": "1", "%": "%"}
        if isinstance(template, _Literal) and isinstance(template.value, str):
            return go_format.VERB.sub(lambda m: str(fill.get(m["verb"] or "", 1)), template.value)
    return None


def _is_row(operand: _Operand) -> bool:
    return isinstance(operand, _Call) and operand.function == "first"


def read_template(text: str) -> Template:
    """Reads a template; raises TemplateError for what Prometheus would refuse and for what is not supported here."""
    return _Reader(text).read()
