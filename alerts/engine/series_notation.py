"""Prometheus's notation of series in unit tests: ``up{job="a"} 0+1x10 _ stale``."""

from __future__ import annotations

import re
from typing import Final

from alerts.engine.go_strings import unquoted
from exporter.series import METRIC_NAME, STALE_NAN, Labels

MOST_VALUES: Final = 1_000_000
"""Values that one series may have."""

_NUMBER = r"(?:(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|[iI][nN][fF]|[nN][aA][nN])"
_ITEM = re.compile(rf"(?:(?P<blank>_)|(?P<value>[-+]?{_NUMBER})(?P<step>[-+]{_NUMBER})?)(?:x(?P<times>\d+))?", re.ASCII)
_WORD_AND_X = re.compile(r"[a-zA-Z]x\d", re.ASCII)
_METRIC = re.compile(r"\s*(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)?\s*(?P<brace>\{)?", re.ASCII)
_LABEL = re.compile(
    r"""\s*(?P<name>[a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*(?P<value>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|`[^`]*`)\s*(?P<next>,|\})""",
    re.ASCII | re.VERBOSE,
)


class NotationError(ValueError):
    """A series that cannot be read; says what would be right."""


def read_metric(text: str) -> Labels:
    """The label set of ``name{label="value"}``, the name included; "" and ``{}`` are the empty one."""
    labels, rest = _metric(text)
    if rest.strip():
        raise NotationError(f"{text!r}: unexpected {rest.strip()!r} after the labels")
    return labels


def read_values(text: str) -> list[float | None]:
    """The values of one series, one for each interval; None where it has no sample."""
    values: list[float | None] = []
    for item in text.split():
        values += _item(item, text)
        if len(values) > MOST_VALUES:
            raise NotationError(f"{item!r}: more than {MOST_VALUES} values")
    return values


def _item(item: str, text: str) -> list[float | None]:
    if item == "stale":
        return [STALE_NAN]
    match = _ITEM.fullmatch(item)
    if match is None or (match["step"] and match["times"] is None) or _WORD_AND_X.search(item):
        native = " (native histograms are not supported)" if "{{" in text else ""
        raise NotationError(f"{item!r} is no value; write a number, _ or stale, and repeats as 1x5 or 0+10x5{native}")
    times = int(match["times"] or 0)
    if times > MOST_VALUES:
        raise NotationError(f"{item!r}: more than {MOST_VALUES} values")
    if match["blank"]:
        return [None] * (times if match["times"] is not None else 1)
    value, step = float(match["value"]), float(match["step"] or 0)
    found: list[float | None] = []
    for _ in range(times + 1):
        found.append(value)
        value = value + step if match["step"] else value
    return found


def _metric(text: str) -> tuple[Labels, str]:
    head = _METRIC.match(text)
    assert head is not None
    pairs = {METRIC_NAME: head["name"]} if head["name"] else {}
    position = head.end()
    while head["brace"]:
        if end := re.compile(r"\s*\}").match(text, position):
            return Labels.of(pairs), text[end.end() :]
        label = _LABEL.match(text, position)
        if label is None:
            raise NotationError(f'{text!r}: write the labels as name{{label="value", …}}')
        if label["name"] in pairs:
            raise NotationError(f"{text!r}: the label {label['name']} stands twice")
        try:
            pairs[label["name"]] = unquoted(label["value"])
        except ValueError as error:
            raise NotationError(f"{label['value']}: {error}") from error
        position = label.end()
        if label["next"] == "}":
            break
    return Labels.of(pairs), text[position:]
