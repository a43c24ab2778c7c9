"""Durations in Prometheus's syntax (``1h30m``), to seconds and back."""

from __future__ import annotations

import re

_UNITS = (
    ("y", 365 * 86_400_000),
    ("w", 7 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
)
_SYNTAX = re.compile("".join(f"(?:([0-9]+){unit})?" for unit, _ in _UNITS), re.ASCII)


def parse_duration(text: str) -> float:
    """Seconds; raises ValueError that says what would be right."""
    if text == "0":
        return 0.0
    match = _SYNTAX.fullmatch(text)
    if match is None or not text:
        raise ValueError(
            f"{text!r} is not a duration; write it like 30s, 5m, 1h30m or 1d (largest unit first, whole numbers)"
        )
    return sum(int(n) * size for n, (_, size) in zip(match.groups(), _UNITS, strict=True) if n) / 1000


def format_duration(seconds: float) -> str:
    """The shortest text in Prometheus's syntax: 5400 is ``1h30m``."""
    left = round(seconds * 1000)
    if left == 0:
        return "0s"
    text = ""
    for unit, size in _UNITS[2:]:
        count, left = divmod(left, size)
        text += f"{count}{unit}" if count else ""
    return text
