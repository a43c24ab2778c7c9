"""Reads the text of a template into nodes, top down, and names what is wrong by position."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from alerts.engine import go_format
from alerts.engine.go_strings import unquoted
from alerts.engine.template_functions import FUNCTIONS
from alerts.engine.template_nodes import (
    Assign,
    Block,
    Call,
    Chain,
    Field,
    Include,
    Jump,
    Literal,
    Node,
    Operand,
    Output,
    TemplateError,
)
from alerts.promql.errors import PromqlError
from alerts.promql.parse import parse
from alerts.promql.syntax import Expr

_TOKEN = re.compile(
    r"""(?P<space>\s+)|(?P<string>"(?:\\.|[^"\\\n])*"|`[^`]*`|'(?:\\.|[^'\\\n])+')
    |(?P<number>[-+]?(?:0[xX][0-9a-fA-F_]+|0[bB][01_]+|0[oO][0-7_]+|\d[\d_]*\.?\d*(?:[eE][-+]?\d+)?|\.\d+(?:[eE][-+]?\d+)?))
    |(?P<variable>\$\w*)|(?P<field>\.\w*)|(?P<word>[A-Za-z_]\w*)|(?P<sign>:=|.)""",
    re.VERBOSE | re.DOTALL,
)
_VARIABLES: Final = ("$", "$labels", "$externalLabels", "$externalURL", "$value")
_FIELDS: Final = ("Labels", "ExternalLabels", "ExternalURL", "Value")
_VERBS: Final = "sdvfFeEgGqtxXob%"
_VARYING: Final = frozenset({"query", "now"})


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    position: int
    spaced: bool
    """Whether space stands before it: ``$labels .x`` is not ``$labels.x``."""


@dataclass(slots=True)
class Reader:
    """Reads one template; what is known about it before it is expanded is gathered on the way."""

    text: str
    position: int = 0
    defined: dict[str, tuple[Node, ...]] = field(default_factory=dict)
    queries: list[Expr] = field(default_factory=list)
    unknown_queries: int = 0
    labels: list[str] = field(default_factory=list)
    varies: bool = False
    tokens: list[_Token] = field(default_factory=list)
    trim: bool = False
    dots: list[str] = field(default_factory=lambda: ["scope"])
    """What the dot is, from the outside in: scope, row or value."""
    variables: list[str] = field(default_factory=lambda: list(_VARIABLES))
    loops: int = 0
    included: list[tuple[str, int]] = field(default_factory=list)

    def read(self) -> tuple[Node, ...]:
        """Raises TemplateError."""
        nodes, ended = self._nodes()
        if ended:
            raise self._error(ended[0].position, f"unexpected {ended[0].text!r} outside of if, with and range")
        for name, position in self.included:
            if name not in self.defined:
                raise self._error(position, f"there is no template {name!r}; define it before or after")
        return tuple(nodes)

    def _error(self, position: int, reason: str) -> TemplateError:
        return TemplateError(self.text, position, reason)

    # --- nodes

    def _nodes(self) -> tuple[list[Node], list[_Token]]:
        """Nodes up to the end of the text, or up to an ``else`` or ``end``, whose action's tokens are returned."""
        nodes: list[Node] = []
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
            nodes += self._node(action)

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

    def _node(self, action: list[_Token]) -> list[Node]:
        head, rest = action[0], action[1:]
        word = head.text if head.kind == "word" else ""
        if word in ("if", "with", "range"):
            return [self._block(word, head.position, rest)]
        if word in ("define", "block"):
            return self._define(head, rest)
        if word == "template":
            return [self._include(head, rest)]
        if word in ("break", "continue"):
            if not self.loops:
                raise self._error(head.position, f"{{{{{word}}}}} outside {{{{range}}}}")
            self._only(action, 1)
            return [Jump(word)]
        if len(action) > 1 and head.kind == "variable" and action[1].text in (":=", "="):
            return [self._assign(action)]
        return [Output(self._pipeline(action, head.position))]

    def _assign(self, action: list[_Token]) -> Assign:
        name, sign = action[0], action[1]
        operand = self._pipeline(action[2:], sign.position)
        self._declare([name], new=sign.text == ":=")
        return Assign(name.text, operand, sign.text == ":=")

    def _declare(self, names: list[_Token], *, new: bool) -> None:
        for name in names:
            if not new and name.text not in self.variables:
                raise self._undefined(name)
            if new and name.text in ("$labels", "$value"):
                raise self._error(name.position, f"{name.text} is the alert's; give your variable another name")
        self.variables += [name.text for name in names if new]

    def _undefined(self, name: _Token) -> TemplateError:
        known = ", ".join(dict.fromkeys(v for v in self.variables if v != "$"))
        return self._error(name.position, f"undefined variable {name.text!r} (there are: {known})")

    def _define(self, head: _Token, rest: list[_Token]) -> list[Node]:
        if not rest or rest[0].kind != "string":
            raise self._error(head.position, f"{head.text} needs a name in quotes")
        name, include = self._string(rest[0]), None
        if head.text == "block":
            include = Include(name, self._pipeline(rest[1:], head.position))
        else:
            self._only(rest, 1)
        outer, self.variables = self.variables, ["$"]
        self.dots.append("value")
        nodes, ended = self._nodes()
        self.dots.pop()
        self.variables = outer
        if not ended or ended[0].text != "end":
            raise self._error(head.position, f"{head.text!r} without 'end'")
        self.defined[name] = tuple(nodes)
        return [include] if include is not None else []

    def _include(self, head: _Token, rest: list[_Token]) -> Include:
        if not rest or rest[0].kind != "string":
            raise self._error(head.position, "template needs a name in quotes")
        name = self._string(rest[0])
        self.included.append((name, head.position))
        return Include(name, self._pipeline(rest[1:], head.position) if len(rest) > 1 else None)

    def _block(self, kind: str, position: int, condition: list[_Token]) -> Block:
        names, sign, condition = _names(condition, 2 if kind == "range" else 1)
        if not condition:
            raise self._error(position, f"missing value for {kind}")
        operand = self._pipeline(condition, position)
        outer = len(self.variables)
        self._declare(names, new=sign != "=")
        self.dots.append(self._dot_of(kind, operand))
        self.loops += kind == "range"
        then, ended = self._scoped()
        self.loops -= kind == "range"
        self.dots.pop()
        if not ended:
            raise self._error(position, f"{kind!r} without 'end'")
        otherwise: list[Node] = []
        if ended[0].text == "end":
            self._only(ended, 1)
        else:
            otherwise = self._otherwise(kind, position, ended)
        del self.variables[outer:]
        return Block(kind, operand, tuple(then), tuple(otherwise), tuple(n.text for n in names), sign != "=")

    def _dot_of(self, kind: str, operand: Operand) -> str:
        if kind == "if":
            return self.dots[-1]
        if kind == "with":
            return "row" if isinstance(operand, Call) and operand.function == "first" else "value"
        rows = isinstance(operand, Call) and operand.function in ("query", "sortByLabel")
        return "row" if rows else "value"

    def _scoped(self) -> tuple[list[Node], list[_Token]]:
        outer = len(self.variables)
        read = self._nodes()
        del self.variables[outer:]
        return read

    def _otherwise(self, kind: str, position: int, action: list[_Token]) -> list[Node]:
        if len(action) > 1 and kind != "range" and action[1].text == kind:
            return [self._block(kind, action[1].position, action[2:])]
        self._only(action, 1)
        nodes, ended = self._scoped()
        if not ended or ended[0].text != "end":
            raise self._error(position, f"{kind!r} without 'end'")
        self._only(ended, 1)
        return nodes

    def _only(self, action: list[_Token], count: int) -> None:
        if len(action) > count:
            raise self._error(action[count].position, f"unexpected {action[count].text!r} after {action[0].text!r}")

    # --- pipelines

    def _pipeline(self, tokens: list[_Token], position: int) -> Operand:
        self.tokens = list(reversed(tokens))
        operand = self._piped(position)
        if self.tokens:
            raise self._error(self.tokens[-1].position, f"unexpected {self.tokens[-1].text!r}")
        return operand

    def _piped(self, position: int) -> Operand:
        operand = self._command(position, None)
        while self.tokens and self.tokens[-1].text == "|":
            pipe = self.tokens.pop()
            operand = self._command(pipe.position, operand)
        return operand

    def _command(self, position: int, piped: Operand | None) -> Operand:
        if not self.tokens:
            raise self._error(position, "missing value for command")
        head = self.tokens[-1]
        if head.kind == "word" and head.text not in ("true", "false", "nil"):
            self.tokens.pop()
            args = list(self._operands())
            return self._call(head, [*args, piped] if piped is not None else args)
        operand = self._operand()
        if operand == Literal(None):
            raise self._error(head.position, "nil is not a command")
        args = list(self._operands()) if isinstance(operand, Field | Chain) and operand.path else []
        if piped is not None and not isinstance(operand, Field | Chain):
            raise self._error(head.position, f"non executable command in pipeline: {head.text}")
        if self.tokens and self.tokens[-1].text not in ("|", ")"):
            raise self._error(
                self.tokens[-1].position, f"unexpected {self.tokens[-1].text!r}: {head.text} is no function"
            )
        given = (*args, *([piped] if piped is not None else []))
        if not given:
            return operand
        return self._method(head, operand, given)

    def _method(self, head: _Token, operand: Operand, args: tuple[Operand, ...]) -> Operand:
        """Arguments for the last name of a path: only times and durations have methods."""
        known = isinstance(operand, Field) and (operand.root in _VARIABLES or self.dots[-1] != "value")
        if isinstance(operand, Field) and not known:
            return Field(operand.root, operand.path, args)
        if isinstance(operand, Chain):
            return Chain(operand.operand, operand.path, args)
        raise self._error(head.position, f"{head.text} is no function: it takes no arguments")

    def _operands(self) -> Iterator[Operand]:
        while self.tokens and self.tokens[-1].text not in ("|", ")"):
            yield self._operand()

    def _operand(self) -> Operand:
        token = self.tokens.pop()
        if token.kind == "string":
            text = self._string(token)
            return Literal(ord(text) if token.text[0] == "'" else text)
        if token.kind == "number":
            return Literal(_number(token.text))
        if token.kind == "word":
            if token.text in ("true", "false", "nil"):
                return Literal({"true": True, "false": False}.get(token.text))
            return self._call(token, [])
        if token.kind in ("variable", "field"):
            return self._path(token)
        if token.text == "(":
            operand = self._piped(token.position)
            if not self.tokens or self.tokens.pop().text != ")":
                raise self._error(token.position, "'(' without ')'")
            names = self._names()
            return Chain(operand, names) if names else operand
        raise self._error(token.position, f"unexpected {token.text!r}")

    def _names(self) -> tuple[str, ...]:
        """The fields that follow without a space."""
        names: list[str] = []
        while self.tokens and self.tokens[-1].kind == "field" and not self.tokens[-1].spaced:
            names.append(self.tokens.pop().text[1:])
        return tuple(names)

    def _string(self, token: _Token) -> str:
        try:
            return unquoted(token.text)
        except ValueError as error:
            raise self._error(token.position, str(error)) from error

    def _path(self, token: _Token) -> Operand:
        names = ((token.text[1:],) if token.kind == "field" and token.text != "." else ()) + self._names()
        root = token.text if token.kind == "variable" else "."
        if token.kind == "variable" and root not in self.variables:
            raise self._undefined(token)
        self._check_path(token, root, names)
        return Field(root, names)

    def _check_path(self, token: _Token, root: str, names: tuple[str, ...]) -> None:
        defining = "$labels" not in self.variables
        outer = (root == "$" and not defining) or (root == "." and self.dots[-1] == "scope")
        if (outer or (root == "." and self.dots[-1] == "row")) and names:
            allowed = _FIELDS if outer else ("Labels", "Value")
            if names[0] not in allowed:
                raise self._error(
                    token.position,
                    f"there is no field .{names[0]} (there are: {', '.join('.' + a for a in allowed)})",
                )
        of_labels = root == "$labels" or (outer and names[:1] == ("Labels",))
        label = names[1:] if root in (".", "$") else names
        if of_labels and label:
            self.labels.append(label[0])
        self.varies |= root == "$value" or (outer and names[:1] in (("Value",), ())) or defining
        if root in _VARIABLES[1:] or outer:
            depth = {"$labels": 1, "$externalLabels": 1, "$value": 0, "$externalURL": 0}.get(
                root, 2 if names[:1] in (("Labels",), ("ExternalLabels",)) else 1
            )
            if len(names) > depth:
                raise self._error(token.position, f"{token.text} has no field .{names[depth]}")

    # --- calls

    def _call(self, name: _Token, args: list[Operand]) -> Operand:
        function = FUNCTIONS.get(name.text)
        if function is None:
            near = difflib.get_close_matches(name.text, FUNCTIONS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"functions: {', '.join(sorted(FUNCTIONS))}"
            raise self._error(name.position, f"function {name.text!r} is not defined; {hint}")
        if len(args) < function.least or (function.most is not None and len(args) > function.most):
            wanted = str(function.least) if function.most == function.least else f"at least {function.least}"
            raise self._error(
                name.position, f"wrong number of arguments for {name.text}: want {wanted}, got {len(args)}"
            )
        self.varies |= name.text in _VARYING
        if name.text == "printf":
            self._check_verbs(name, args)
        elif name.text == "query":
            self._note_query(name, args[0])
        elif (
            name.text == "index"
            and len(args) > 1
            and args[0] in (Field("$labels", ()), Field(".", ("Labels",)))
            and isinstance(args[1], Literal)
        ):
            self.labels.append(str(args[1].value))
        return Call(name.text, tuple(args))

    def _check_verbs(self, name: _Token, args: list[Operand]) -> None:
        template = args[0]
        if not isinstance(template, Literal):
            return
        if not isinstance(template.value, str):
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

    def _note_query(self, name: _Token, operand: Operand) -> None:
        text = _sketch(operand)
        if text is None:
            self.unknown_queries += 1
            return
        try:
            self.queries.append(parse(text))
        except PromqlError as error:
            raise self._error(name.position, f"its query {text!r}: {error.reason}") from error


def _names(tokens: list[_Token], most: int) -> tuple[list[_Token], str, list[_Token]]:
    """The variables that a condition sets, by which sign, and what is left: ``$i, $x := …``."""
    for count in (1, 2)[:most]:
        size = 2 * count
        if len(tokens) > size - 1 and tokens[size - 1].text in (":=", "="):
            names = tokens[: size - 1 : 2]
            commas = tokens[1 : size - 1 : 2]
            if all(n.kind == "variable" for n in names) and all(c.text == "," for c in commas):
                return names, tokens[size - 1].text, tokens[size:]
    return [], ":=", tokens


def _number(text: str) -> int | float:
    if re.fullmatch(r"[-+]?(0[xXbBoO].*|\d[\d_]*)", text):
        octal = re.fullmatch(r"([-+]?)0([0-7_]+)", text)
        return int(f"{octal[1]}0o{octal[2]}", 0) if octal else int(text, 0)
    return float(text)


def _sketch(operand: Operand) -> str | None:
    """A query's text with ``x`` (or 1) for what printf puts in."""
    if isinstance(operand, Literal):
        return operand.value if isinstance(operand.value, str) else None
    if isinstance(operand, Call) and operand.function == "printf":
        template = operand.args[0]
        fill: dict[str, object] = {"s": "x", "q": '"x"', "v": "1", "%": "%"}
        if isinstance(template, Literal) and isinstance(template.value, str):
            return go_format.VERB.sub(lambda m: str(fill.get(m["verb"] or "", 1)), template.value)
    return None
