"""Printing an expression as PromQL that parses to the same tree, durations exact and parentheses only where they are needed."""

from __future__ import annotations

import math
import re

from alerts.promql.syntax import (
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
from exporter.series import LABEL_NAME, METRIC_NAME, Matcher

_METRIC = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*", re.ASCII)
_KEYWORDS = frozenset(
    "and or unless atan2 by without on ignoring group_left group_right bool offset inf nan start end step fill fill_left fill_right "  # noqa: SIM905
    "sum min max avg count group stddev stdvar topk bottomk quantile count_values limitk limit_ratio".split()
)
_UNITS = (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1))


def to_text(expr: Expr) -> str:
    """The expression as PromQL; ``parse(to_text(e)) == e`` for every tree that ``parse`` gives."""
    if isinstance(expr, Number):
        return _number(expr.value)
    if isinstance(expr, String):
        return quoted(expr.value)
    if isinstance(expr, Selector):
        return _selector(expr)
    if isinstance(expr, Subquery):
        return _subquery(expr)
    if isinstance(expr, Negation):
        return f"-{_operand(expr.operand, tight=PRECEDENCE['^'])}"
    if isinstance(expr, Aggregation):
        return _aggregation(expr)
    if isinstance(expr, Call):
        return f"{expr.function}({', '.join(map(to_text, expr.args))})"
    return _binary(expr)


def quoted(text: str) -> str:
    """A string literal in double quotes."""
    escaped = (
        text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")
    )
    return f'"{escaped}"'


def duration(ms: int) -> str:
    """Milliseconds as a PromQL duration, exact: 90061001 is ``1d1h1m1s1ms``."""
    parts = []
    for unit, size in _UNITS:
        count, ms = divmod(ms, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def _number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Inf" if value > 0 else "-Inf"
    return repr(value).removesuffix(".0")


def _selector(selector: Selector) -> str:
    names = [m for m in selector.matchers if m.name == METRIC_NAME]
    plain = len(names) == 1 and names[0].op == "=" and _is_plain_metric(names[0].value)
    rest = [m for m in selector.matchers if not (plain and m.name == METRIC_NAME)]
    text = names[0].value if plain else ""
    if rest or not plain:
        text += f"{{{', '.join(map(_matcher, rest))}}}"
    if selector.range_ms:
        text += f"[{duration(selector.range_ms)}]"
    return text + _moved(selector.at, selector.offset_ms)


def _subquery(expr: Subquery) -> str:
    whole = isinstance(expr.operand, Call) or (
        isinstance(expr.operand, Selector) and not _moved(expr.operand.at, expr.operand.offset_ms)
    )
    inner = to_text(expr.operand) if whole else f"({to_text(expr.operand)})"
    step = duration(expr.step_ms) if expr.step_ms else ""
    return f"{inner}[{duration(expr.range_ms)}:{step}]{_moved(expr.at, expr.offset_ms)}"


def _moved(at: At, offset_ms: int) -> str:
    """The modifiers that move a selector or subquery in time."""
    text = ""
    if isinstance(at, Edge):
        text = f" @ {at.value}()"
    elif at is not None:
        text = f" @ {at // 1000}.{at % 1000:03}" if at >= 0 else f" @ -{-at // 1000}.{-at % 1000:03}"
    if offset_ms:
        text += f" offset {'-' if offset_ms < 0 else ''}{duration(abs(offset_ms))}"
    return text


def _is_plain_metric(name: str) -> bool:
    return _METRIC.fullmatch(name) is not None and name.lower() not in _KEYWORDS


def _matcher(matcher: Matcher) -> str:
    return f"{_label(matcher.name)}{matcher.op}{quoted(matcher.value)}"


def _label(name: str) -> str:
    return name if LABEL_NAME.fullmatch(name) else quoted(name)


def _labels(names: tuple[str, ...]) -> str:
    return f"({', '.join(map(_label, names))})"


def _aggregation(expr: Aggregation) -> str:
    clause = f" {'without' if expr.without else 'by'} {_labels(expr.labels)} " if expr.without or expr.labels else ""
    inner = to_text(expr.operand) if expr.param is None else f"{to_text(expr.param)}, {to_text(expr.operand)}"
    return f"{expr.op}{clause}({inner})"


def _binary(expr: Binary) -> str:
    level = PRECEDENCE[expr.op]
    right_grouping = expr.op == "^"
    left = _operand(expr.left, level + 1 if right_grouping else level)
    right = _operand(expr.right, level if right_grouping else level + 1)
    modifiers = (" bool" if expr.returns_bool else "") + _matching(expr.matching)
    return f"{left} {expr.op}{modifiers} {right}"


def _matching(matching: Matching) -> str:
    text = ""
    if matching.on or matching.labels or matching.many:
        text = f" {'on' if matching.on else 'ignoring'} {_labels(matching.labels)}"
    if matching.many:
        text += f" group_{matching.many} {_labels(matching.include)}"
    return text


def _operand(expr: Expr, tight: int) -> str:
    """An operand in parentheses where it binds less tightly than its place asks; a minus sign always gets them."""
    loose = PRECEDENCE[expr.op] < tight if isinstance(expr, Binary) else isinstance(expr, Negation)
    negative = isinstance(expr, Number) and math.copysign(1.0, expr.value) < 0
    return f"({to_text(expr)})" if loose or negative else to_text(expr)
