"""What can be asked of a tree without evaluating it: its selectors and windows, whether it rests on absence, and binding of ``$names``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from alerts.promql.errors import PromqlError
from alerts.promql.syntax import COMPARISONS, Aggregation, Binary, Call, Expr, Negation, Selector, Subquery, children
from alerts.promql.text import to_text
from exporter.series import Matcher

_VARIABLE = re.compile(r"\$([a-zA-Z_][a-zA-Z0-9_]*)", re.ASCII)


def selectors(expr: Expr) -> tuple[Selector, ...]:
    """Every selector of the expression in the order of its text; the look-back of instant selectors is not in their ``range``."""
    if isinstance(expr, Selector):
        return (expr,)
    return tuple(found for child in children(expr) for found in selectors(child))


@dataclass(frozen=True, slots=True)
class Window:
    """The past that a selector reads, as seen from the moment of evaluation: ``range_ms`` up to ``offset_ms`` ago (below 0: ahead).

    The subqueries around the selector are in it, the look-back of instant selectors is not.
    """

    range_ms: int = 0
    offset_ms: int = 0

    def through(self, node: Selector | Subquery) -> Window:
        """What a selector or subquery inside this window reads. One that ``@`` pins is read once, for the query's own moment."""
        outer = self if node.at is None else Window()
        return Window(outer.range_ms + node.range_ms, outer.offset_ms + node.offset_ms)


def windows(expr: Expr, inside: Window = Window()) -> Iterator[tuple[Selector, Window]]:
    """Every selector with its window, in the order of the text."""
    if isinstance(expr, Selector):
        yield expr, inside.through(expr)
    else:
        inner = inside.through(expr) if isinstance(expr, Subquery) else inside
        for child in children(expr):
            yield from windows(child, inner)


def longest_windows(exprs: Iterable[Expr]) -> dict[str | None, float]:
    """Seconds of the past that the expressions select, by metric: ranges, those of subqueries too, plus offsets; look-back not counted.

    The key None stands for selectors that name no metric.
    """
    longest: dict[str | None, float] = {}
    for expr in exprs:
        for selector, window in windows(expr):
            seconds = (window.range_ms + max(window.offset_ms, 0)) / 1000
            longest[selector.name] = max(longest.get(selector.name, 0.0), seconds)
    return longest


# --- $names -----------------------------------------------------------------------------------------------------------------------------------


def variables(expr: Expr) -> frozenset[str]:
    """The names that ``bind`` must be given: every ``$name`` inside a matcher's string."""
    return frozenset(name for s in selectors(expr) for m in s.matchers for name in _VARIABLE.findall(m.value))


def bind(expr: Expr, values: Mapping[str, str]) -> Expr:
    """The expression with every ``$name`` inside matcher strings replaced by its value, regex-escaped in ``=~`` and ``!~``.

    Works on the tree: a value can never become syntax. Raises PromqlError for a name that ``values`` lacks.
    """
    if missing := sorted(variables(expr) - values.keys()):
        text = to_text(expr)
        known = ", ".join(f"${name}" for name in sorted(values)) or "none"
        raise PromqlError(text, text.find(f"${missing[0]}"), f"${missing[0]} is not bound here (bound: {known})")
    return _bound(expr, values)


def _bound(expr: Expr, values: Mapping[str, str]) -> Expr:
    if isinstance(expr, Selector):
        return replace(expr, matchers=tuple(_bound_matcher(m, values) for m in expr.matchers))
    if isinstance(expr, Negation | Subquery):
        return replace(expr, operand=_bound(expr.operand, values))
    if isinstance(expr, Aggregation):
        param = None if expr.param is None else _bound(expr.param, values)
        return replace(expr, operand=_bound(expr.operand, values), param=param)
    if isinstance(expr, Call):
        return Call(expr.function, tuple(_bound(arg, values) for arg in expr.args))
    if isinstance(expr, Binary):
        return replace(expr, left=_bound(expr.left, values), right=_bound(expr.right, values))
    return expr


def _bound_matcher(matcher: Matcher, values: Mapping[str, str]) -> Matcher:
    if "$" not in matcher.value:
        return matcher
    escape = re.escape if matcher.op in ("=~", "!~") else str
    return Matcher(matcher.name, matcher.op, _VARIABLE.sub(lambda found: escape(values[found.group(1)]), matcher.value))


# --- absence ----------------------------------------------------------------------------------------------------------------------------------

_FALLING = frozenset({"<", "<=", "==", "!="})
"""Comparisons that may turn true as their left side falls."""
_RISING = frozenset({">", ">=", "==", "!="})


def rests_on_absence(expr: Expr) -> bool:
    """Whether series that are merely missing can make the expression have a result.

    True for ``absent`` and ``absent_over_time``, ``unless``, an ``or`` that falls back to something without series (``or vector(0)``), and
    comparisons that turn true as a count falls: ``count(x) < 3``, ``count(x) == 0``, ``3 > count(x)``, ``a - count_over_time(x[5m]) > 0``.
    """
    if isinstance(expr, Call) and expr.function in ("absent", "absent_over_time"):
        return True
    if isinstance(expr, Binary):
        if expr.op == "unless" or (expr.op == "or" and not selectors(expr.right)):
            return True
        if expr.op in COMPARISONS and (
            _falls(expr.left, expr.op, _FALLING, _RISING) or _falls(expr.right, expr.op, _RISING, _FALLING)
        ):
            return True
    return any(rests_on_absence(child) for child in children(expr))


def _falls(side: Expr, op: str, with_count: frozenset[str], against_count: frozenset[str]) -> bool:
    directions = _count_directions(side)
    return (1 in directions and op in with_count) or (-1 in directions and op in against_count)


def _count_directions(expr: Expr) -> frozenset[int]:
    """1 if the value falls with a count of series or samples that is in it, -1 if it rises as the count falls; both, one or none."""
    if isinstance(expr, Aggregation):
        return frozenset({1}) if expr.op == "count" else _count_directions(expr.operand)
    if isinstance(expr, Call):
        if expr.function == "count_over_time":
            return frozenset({1})
        return frozenset[int]().union(*map(_count_directions, expr.args))
    if isinstance(expr, Subquery):
        return _count_directions(expr.operand)
    if isinstance(expr, Negation):
        return _turned(_count_directions(expr.operand))
    if isinstance(expr, Binary):
        left, right = _count_directions(expr.left), _count_directions(expr.right)
        if expr.op in COMPARISONS:
            return left
        return left | (_turned(right) if expr.op in ("-", "/", "%") else right)
    return frozenset()


def _turned(directions: frozenset[int]) -> frozenset[int]:
    return frozenset(-direction for direction in directions)
