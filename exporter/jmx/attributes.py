"""Reads the values out of an AttributeList's ``toString()``: one string per bean is far cheaper than walking Java objects from Python."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from exporter.jmx.transport import Attribute, Kind, Value

Parser = Callable[[str], "tuple[Value, ...] | None"]

# AttributeList is an ArrayList of Attribute, whose toString is "name = value": [Count = 5, Mean = 0.3, current-state = leader]
_NUMBER = r"([^,\]]*)"
_TEXT = r"(.*)"
_COMPOSITE = r"(null|javax\.management\.openmbean\.CompositeDataSupport\(compositeType=.*?,contents=\{[^{}]*\}\))"
_PATTERNS = {Kind.NUMBER: _NUMBER, Kind.TEXT: _TEXT, Kind.COMPOSITE: _COMPOSITE}
_WORDS = {"true": 1.0, "false": 0.0}


def parser(attributes: Sequence[Attribute]) -> Parser:
    """A function from the string to the values in the order of the attributes (items of composites one by one).

    Attributes that the bean left out, nulls and what is not a number where one is expected give None. The whole is None if the string has another form. Text may hold
    anything, brackets and ``, `` included, since it is the last attribute and goes up to the end.
    """
    texts = [a.name for a in attributes if a.kind is Kind.TEXT]
    if len(texts) > 1 or (texts and attributes[-1].kind is not Kind.TEXT):
        raise ValueError(f"one text attribute at most, and last: {', '.join(texts)}")
    pattern = re.compile(_pattern(attributes), re.DOTALL)
    if all(a.kind is Kind.NUMBER for a in attributes):
        return lambda text: _numbers(pattern, text)
    return lambda text: _mixed(pattern, attributes, text)


def _pattern(attributes: Sequence[Attribute]) -> str:
    # Each attribute may be left out; a comma stands only between two, which the look-behind holds to.
    parts = [rf"(?:(?:(?<=^\[)|, ){re.escape(a.name)} = {_PATTERNS[a.kind]})?" for a in attributes]
    return rf"^\[{''.join(parts)}\]$"


def _numbers(pattern: re.Pattern[str], text: str) -> tuple[Value, ...] | None:
    match = pattern.match(text)
    return None if match is None else tuple([_number(group) for group in match.groups()])


def _mixed(pattern: re.Pattern[str], attributes: Sequence[Attribute], text: str) -> tuple[Value, ...] | None:
    match = pattern.match(text)
    if match is None:
        return None
    values: list[Value] = []
    for attribute, group in zip(attributes, match.groups(), strict=True):
        if attribute.kind is Kind.TEXT:
            values.append(None if group == "null" else group)
        elif attribute.kind is Kind.COMPOSITE:
            values.extend(_items(attribute, group))
        else:
            values.append(_number(group))
    return tuple(values)


def _number(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        return float(text)
    except ValueError:
        return _WORDS.get(text)


def _items(attribute: Attribute, text: str | None) -> list[Value]:
    """The wanted numbers of ``CompositeDataSupport(compositeType=…,contents={committed=1, used=2})``."""
    if text is None or text == "null":
        return [None] * attribute.width
    contents = text[text.rindex("{") + 1 : text.rindex("}")]
    pairs = dict(part.split("=", 1) for part in contents.split(", ") if "=" in part)
    return [_number(pairs.get(item)) for item in attribute.items]
