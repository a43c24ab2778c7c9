"""Sentences and commands with gaps: ``$name`` for what the walk has bound, ``{fact}`` or ``{fact|filter}`` for what it has measured.

``{{`` and ``}}`` are braces. A gap whose fact has no data is never filled with a made-up number: ``fill`` names it, and the caller says so instead of the sentence.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

FactValue: TypeAlias = float | tuple[str, ...]
"""A number, or the distinct values of a label."""

_GAP = re.compile(
    r"(?P<brace>\{\{|\}\})|\$(?P<name>[a-z][a-z_]*)|\{(?P<fact>[a-z][a-z_]*)(?:\|(?P<filter>[a-z]+)(?::(?P<word>[^{}|]+))?)?\}"
)
_BRACE = re.compile(r"[{}]")
_OPERATOR = re.compile(r"[|&;<>()]+")


class TemplateError(ValueError):
    """A template that cannot be used; the message says what is wrong in it."""


@dataclass(frozen=True, slots=True)
class Filled:
    """A filled text, and the facts without data that it would have needed."""

    text: str
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Template:
    """A checked text with gaps."""

    text: str
    names: frozenset[str]
    facts: frozenset[str]

    @classmethod
    def parse(cls, text: str) -> Template:
        """Raises TemplateError for an unknown filter or a brace that opens no gap."""
        gaps = list(_GAP.finditer(text))
        if _BRACE.search(_GAP.sub("", text)):
            raise TemplateError(f"a brace in {text!r} belongs to no {{fact}} or {{fact|filter}}")
        for gap in gaps:
            if gap["brace"]:
                continue
            if (name := gap["filter"]) is not None and name not in FILTERS:
                raise TemplateError(
                    f"unknown filter {name!r} in {gap.group()} (there are {', '.join(sorted(FILTERS))})"
                )
            if (gap["filter"] == "n") != (gap["word"] is not None):
                raise TemplateError(
                    f"{gap.group()}: the filter n, and only it, takes a word: {{{gap['fact']}|n:partition}}"
                )
        names = frozenset(g["name"] for g in gaps if g["name"])
        return cls(text, names, frozenset(g["fact"] for g in gaps if g["fact"]))

    def fill(self, names: Mapping[str, str], facts: Mapping[str, FactValue | None]) -> Filled:
        """The sentence; facts that are None or absent are listed as missing and stand as ``[no data]``."""
        missing: list[str] = []

        def gap(found: re.Match[str]) -> str:
            if found["brace"]:
                return found["brace"][0]
            if name := found["name"]:
                return names[name]
            value = facts.get(found["fact"])
            if value is None:
                missing.append(found["fact"])
                return "[no data]"
            return _shown(value, found["filter"], found["word"])

        return Filled(_GAP.sub(gap, self.text), tuple(missing))


@dataclass(frozen=True, slots=True)
class Command:
    """A shell command as words with gaps: whatever a gap is filled with stays one quoted word."""

    words: tuple[Template, ...]

    @classmethod
    def parse(cls, text: str) -> Command:
        """Splits like a shell. Raises TemplateError for unbalanced quotes and for shell operators, which would be quoted and lose their meaning."""
        try:
            words = shlex.split(text)
        except ValueError as error:
            raise TemplateError(f"{text!r}: {error}") from error
        if operators := [w for w in words if _OPERATOR.fullmatch(w)]:
            raise TemplateError(f"{text!r} uses the shell operator {operators[0]}; give one plain command")
        return cls(tuple(Template.parse(word) for word in words))

    @property
    def names(self) -> frozenset[str]:
        return frozenset().union(*(w.names for w in self.words))

    @property
    def facts(self) -> frozenset[str]:
        return frozenset().union(*(w.facts for w in self.words))

    def fill(self, names: Mapping[str, str], facts: Mapping[str, FactValue | None]) -> Filled:
        """The command to paste; a missing fact stands as a quoted note that no program takes for a name."""
        filled = [word.fill(names, facts) for word in self.words]
        words = _for_remote_shell([f.text for f in filled])
        return Filled(shlex.join(words), tuple(m for f in filled for m in f.missing))


def _for_remote_shell(words: list[str]) -> list[str]:
    """ssh hands its words to a second shell: what that one would not take as they are becomes one word, quoted for it."""
    if words[:1] != ["ssh"]:
        return words
    host = next((i for i, word in enumerate(words) if i > 0 and not word.startswith("-")), len(words))
    remote = words[host + 1 :]
    command = shlex.join(remote)
    return words if command == " ".join(remote) else [*words[: host + 1], command]


def _shown(value: FactValue, filter_: str | None, word: str | None) -> str:
    if filter_ == "n":
        return _counted(value, word or "")
    return FILTERS[filter_ or "plain"](value)


def number(value: float) -> str:
    """81, 12,000, 0.25, 3.14: whole numbers in full, others with three digits that count."""
    if value != value or value in (float("inf"), float("-inf")):
        return str(value)
    if value == int(value):
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def data_size(value: float) -> str:
    """Bytes in units of 1024: 512 B, 1.5 GiB."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(value) < 1024 or unit == "TiB":
            return f"{value:.0f} {unit}" if unit == "B" or abs(value) >= 100 else f"{value:.3g} {unit}"
        value /= 1024
    raise AssertionError("unreachable: TiB takes all")


def duration(seconds: float) -> str:
    """Whole seconds to two units: 9 s, 2 min, 3 h 20 min, 2 d 4 h."""
    left = max(0, round(seconds))
    if left < 60:
        return f"{left} s"
    if left < 3600:
        return f"{left // 60} min" if left % 60 == 0 or left >= 600 else f"{left // 60} min {left % 60} s"
    if left < 86400:
        return f"{left // 3600} h" + (f" {left % 3600 // 60} min" if left % 3600 >= 60 else "")
    return f"{left // 86400} d" + (f" {left % 86400 // 3600} h" if left % 86400 >= 3600 else "")


def _counted(value: FactValue, word: str) -> str:
    if isinstance(value, tuple):
        return ", ".join(value)
    return f"{number(value)} {word if value == 1 else word + 's'}"


def _plain(value: FactValue) -> str:
    return ", ".join(value) if isinstance(value, tuple) else number(value)


def _of_number(show: Callable[[float], str]) -> Callable[[FactValue], str]:
    return lambda value: show(value) if isinstance(value, float | int) else ", ".join(value)


def _few(value: FactValue) -> str:
    """At most five names, then how many more."""
    if not isinstance(value, tuple) or len(value) <= 5:
        return _plain(value)
    return ", ".join(value[:5]) + f" and {len(value) - 5} more"


FILTERS: Mapping[str, Callable[[FactValue], str]] = {
    "plain": _plain,
    "n": _plain,
    "bytes": _of_number(data_size),
    "duration": _of_number(duration),
    "percent": _of_number(lambda v: f"{v * 100:.3g} %"),
    "few": _few,
}
"""``n:partition`` counts with a word (1 partition, 81 partitions); ``percent`` takes a ratio; ``few`` shows five names."""
