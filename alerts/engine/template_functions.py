"""The functions of templates: those of Go's text/template, and Prometheus's own."""

from __future__ import annotations

import html
import ipaddress
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote_plus, urlsplit

from alerts.engine import go_format
from alerts.engine.durations import parse_duration
from alerts.engine.go_format import FormatError
from alerts.engine.template_nodes import QueryRow, Scope
from exporter.series import MatcherError, compile_regex


class Args(dict[str, object]):
    """What ``args`` gives: a name that it lacks prints ``<no value>``, where a label would print nothing."""


@dataclass(frozen=True, slots=True)
class Moment:
    """What ``toTime`` gives, Unix seconds; printed as Go prints a time in UTC."""

    seconds: float

    def __str__(self) -> str:
        return go_format.humanize_timestamp(self.seconds)

    @property
    def date(self) -> datetime:
        return datetime.fromtimestamp(self.seconds, UTC)


@dataclass(frozen=True, slots=True)
class Span:
    """What ``toDuration`` gives, seconds; printed as Go prints a duration."""

    seconds: float

    def __str__(self) -> str:
        return go_format.go_duration(self.seconds)


METHODS: Final[Mapping[type, Mapping[str, Callable[..., object]]]] = {
    Moment: {
        "Year": lambda m: m.date.year,
        "Day": lambda m: m.date.day,
        "Hour": lambda m: m.date.hour,
        "Minute": lambda m: m.date.minute,
        "Second": lambda m: m.date.second,
        "YearDay": lambda m: m.date.timetuple().tm_yday,
        "Month": lambda m: f"{m.date:%B}",
        "Weekday": lambda m: f"{m.date:%A}",
        "Unix": lambda m: math.floor(m.seconds),
        "UnixMilli": lambda m: math.floor(m.seconds * 1000),
        "String": str,
        "Format": lambda m, layout: go_format.go_time(m.date, str(layout)),
    },
    Span: {
        "Seconds": lambda d: d.seconds,
        "Minutes": lambda d: d.seconds / 60,
        "Hours": lambda d: d.seconds / 3600,
        "Milliseconds": lambda d: math.trunc(d.seconds * 1000),
        "String": str,
    },
}
"""The methods of Go's time.Time and time.Duration that make sense in a sentence."""


def shown(value: object) -> str:
    """What ``{{ value }}`` prints."""
    if value is None:
        return "<no value>"
    if isinstance(value, QueryRow):
        return f"{{{shown(value.labels)} {go_format.show(value.value)}}}"
    if isinstance(value, Mapping):
        return "map[" + " ".join(f"{k}:{shown(v)}" for k, v in sorted(value.items())) + "]"
    if isinstance(value, list):
        return "[" + " ".join(map(shown, value)) + "]"
    return go_format.show(value)


def true(value: object) -> bool:
    """Go's truth: not false, not 0, not empty."""
    return True if isinstance(value, QueryRow | Moment | Span) else bool(value)


# --- what each does -----------------------------------------------------------------------------------------------------------------------


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise FormatError(f"wrong type for value; expected string; got {shown(value)}")
    return value


def _rows(value: object) -> list[QueryRow]:
    if not isinstance(value, list) or not all(isinstance(row, QueryRow) for row in value):
        raise FormatError(f"expected the result of a query; got {shown(value)}")
    return value


def _first(value: object) -> QueryRow:
    rows = _rows(value)
    if not rows:
        raise FormatError("first() called on vector with no elements")
    return rows[0]


def _row(row: object) -> QueryRow:
    if not isinstance(row, QueryRow):
        raise FormatError("value, label and strvalue need an element of a query, as `first` gives it")
    return row


def _index(container: object, *keys: object) -> object:
    for key in keys:
        if isinstance(container, Mapping):
            container = container.get(str(key), None if isinstance(container, Args) else "")
        elif isinstance(container, list | str) and isinstance(key, int):
            if not 0 <= key < len(container):
                raise FormatError(f"index out of range: {key}")
            container = container[key] if isinstance(container, list) else container.encode()[key]
        else:
            raise FormatError(f"can't index item of {shown(container)}")
    return container


def _slice(container: object, *bounds: object) -> object:
    if not isinstance(container, list | str) or not all(isinstance(bound, int) for bound in bounds):
        raise FormatError(f"can't slice item of {shown(container)}")
    size = len(container) if isinstance(container, list) else len(container.encode())
    start, end = (*(int(str(b)) for b in bounds), *((0, size)[len(bounds) :]))[:2]
    if not 0 <= start <= end <= size:
        raise FormatError(f"index out of range: {max(start, end)}")
    return container[start:end] if isinstance(container, list) else container.encode()[start:end].decode()


def _length(value: object) -> int:
    if isinstance(value, list | str | Mapping):
        return len(value.encode()) if isinstance(value, str) else len(value)
    raise FormatError(f"len of {shown(value)}")


def _title(text: object) -> str:
    return re.sub(r"(^|[^\w'])([^\W\d_])", lambda m: m[1] + m[2].upper(), _text(text))


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[..., bool]:
    def check(left: object, right: object) -> bool:
        if isinstance(left, str) != isinstance(right, str) or isinstance(left, int) != isinstance(right, int):
            raise FormatError("incompatible types for comparison")
        return compare(left, right)

    return check


def _equal(first: object, *others: object) -> bool:
    return any(_ordered(lambda a, b: bool(a == b))(first, other) for other in others)


def _regex(pattern: object) -> re.Pattern[str]:
    try:
        return re.compile(compile_regex(_text(pattern)).pattern, re.ASCII)
    except MatcherError as error:
        raise FormatError(str(error)) from error


_REFERENCE = re.compile(r"\$(?:(\$)|(\w+)|\{(\w+)\})", re.ASCII)


def _replace_all(pattern: object, replacement: object, text: object) -> str:
    """Go's ReplaceAllString: ``$1``, ``${name}`` and ``$$`` in the replacement."""

    def one(match: re.Match[str]) -> str:
        groups = {str(i): found for i, found in enumerate((match.group(), *match.groups()))} | match.groupdict()
        return _REFERENCE.sub(lambda r: "$" if r[1] else groups.get(r[2] or r[3]) or "", _text(replacement))

    return _regex(pattern).sub(one, _text(text))


def _split_port(text: str) -> tuple[str, str] | None:
    """Host and port, as Go's net.SplitHostPort takes them apart; None where it fails."""
    match = re.fullmatch(r"\[([^\[\]]*)\]:([^:\[\]]*)|([^:\[\]]*):([^:\[\]]*)", text)
    return None if match is None else (match[1] or match[3] or "", match[2] or match[4] or "")


def _strip_port(text: object) -> str:
    split = _split_port(_text(text))
    return _text(text) if split is None else split[0]


def _strip_domain(text: object) -> str:
    host, port = _split_port(_text(text)) or (_text(text), "")
    try:
        ipaddress.ip_address(host)
    except ValueError:
        host = host.split(".")[0]
        return f"{host}:{port}" if port else host
    return _text(text)


def _seconds(text: object) -> float:
    sign = -1.0 if _text(text).startswith("-") else 1.0
    try:
        return sign * parse_duration(_text(text).removeprefix("-"))
    except ValueError as error:
        raise FormatError(str(error)) from error


def _finite(value: object) -> float:
    number = go_format.to_float(value)
    if not math.isfinite(number):
        raise FormatError("value is NaN or Inf")
    return number


def _println(*args: object) -> str:
    return " ".join(map(shown, args)) + "\n"


def _print(*args: object) -> str:
    """Go's Sprint: spaces only between two that are no strings."""
    text = ""
    for i, arg in enumerate(args):
        space = i > 0 and not isinstance(arg, str) and not isinstance(args[i - 1], str)
        text += (" " if space else "") + shown(arg)
    return text


def _js(*args: object) -> str:
    quoted = json.dumps(_print(*args), ensure_ascii=False)[1:-1]
    return re.sub(r"[<>&=']", lambda m: {"'": "\\'"}.get(m[0], f"\\u{ord(m[0]):04X}"), quoted)


def _html(*args: object) -> str:
    return html.escape(_print(*args)).replace("&quot;", "&#34;").replace("&#x27;", "&#39;")


@dataclass(frozen=True, slots=True)
class Function:
    """What it does, and how many arguments it takes (``most`` None: any number)."""

    run: Callable[..., object]
    least: int
    most: int | None


def _of(run: Callable[..., object], least: int = 1, most: int | None = -1) -> Function:
    return Function(run, least, least if most == -1 else most)


SCOPED: Final[Mapping[str, Callable[[Scope], object]]] = {
    "externalURL": lambda scope: scope.external_url,
    "now": lambda scope: scope.at,
    "pathPrefix": lambda scope: urlsplit(scope.external_url).path,
}
"""Functions without arguments that ask the scope."""

FUNCTIONS: Final[Mapping[str, Function]] = {
    **{name: _of(lambda: None, 0) for name in SCOPED},
    "and": _of(lambda *a: a, 1, None),
    "args": _of(lambda *a: Args((f"arg{i}", one) for i, one in enumerate(a)), 0, None),
    "eq": _of(_equal, 2, None),
    "first": _of(_first),
    "ge": _of(_ordered(lambda a, b: not a < b), 2),  # as Go says it: true for NaN
    "graphLink": _of(lambda expr: f"/graph?g0.expr={quote_plus(_text(expr))}&g0.tab=0"),
    "gt": _of(_ordered(lambda a, b: not a <= b), 2),
    "html": _of(_html, 1, None),
    "humanize": _of(go_format.humanize),
    "humanize1024": _of(go_format.humanize1024),
    "humanizeDuration": _of(go_format.humanize_duration),
    "humanizePercentage": _of(go_format.humanize_percentage),
    "humanizeTimestamp": _of(go_format.humanize_timestamp),
    "index": _of(_index, 1, None),
    "js": _of(_js, 1, None),
    "label": _of(lambda name, row: _row(row).labels.get(_text(name), ""), 2),
    "le": _of(_ordered(lambda a, b: bool(a <= b)), 2),
    "len": _of(_length),
    "lt": _of(_ordered(lambda a, b: bool(a < b)), 2),
    "match": _of(lambda pattern, text: _regex(pattern).search(_text(text)) is not None, 2),
    "ne": _of(_ordered(lambda a, b: bool(a != b)), 2),
    "not": _of(lambda value: not true(value)),
    "or": _of(lambda *a: a, 1, None),
    "parseDuration": _of(_seconds),
    "print": _of(_print, 0, None),
    "printf": _of(lambda template, *args: go_format.printf(_text(template), args), 1, None),
    "println": _of(_println, 0, None),
    "query": _of(lambda text: text),
    "reReplaceAll": _of(_replace_all, 3),
    "safeHtml": _of(_text),
    "slice": _of(_slice, 1, 3),
    "sortByLabel": _of(lambda name, v: sorted(_rows(v), key=lambda row: row.labels.get(_text(name), "")), 2),
    "stripDomain": _of(_strip_domain),
    "stripPort": _of(_strip_port),
    "strvalue": _of(lambda row: _row(row).labels.get("__value__", "")),
    "tableLink": _of(lambda expr: f"/graph?g0.expr={quote_plus(_text(expr))}&g0.tab=1"),
    "title": _of(_title),
    "toDuration": _of(lambda value: Span(_finite(value))),
    "toLower": _of(lambda text: _text(text).lower()),
    "toTime": _of(lambda value: Moment(_finite(value))),
    "toUpper": _of(lambda text: _text(text).upper()),
    "urlQueryEscape": _of(lambda text: quote_plus(_text(text))),
    "urlquery": _of(lambda *a: quote_plus(_print(*a)), 1, None),
    "value": _of(lambda row: _row(row).value),
}


def method(value: object, name: str, args: Sequence[object]) -> object:
    """What a method of a time or a duration gives; raises KeyError where there is none."""
    return METHODS[type(value)][name](value, *args)
