"""The words, colours and limits that mean the same on every board."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

GREEN: Final = "green"
ORANGE: Final = "orange"
RED: Final = "red"
BLUE: Final = "blue"
PURPLE: Final = "purple"
NEUTRAL: Final = "#5a6270"

NO_DATA: Final = "NO DATA"

Steps = tuple[tuple[float | None, str], ...]
"""Thresholds: from which value on which colour holds; the first has no value and holds below all others."""
Words = Mapping[int, tuple[str, str]]
"""Value -> the word that stands for it, and its colour."""

PLAIN: Final[Steps] = ((None, NEUTRAL),)
"""For what has no limit of its own: a number to be read, neither good nor bad."""


def none_is_good(colour: str = RED) -> Steps:
    """A count of things that should not be."""
    return ((None, GREEN), (1, colour))


def low_is_good(warn: float, bad: float) -> Steps:
    return ((None, GREEN), (warn, ORANGE), (bad, RED))


def high_is_good(bad: float, warn: float) -> Steps:
    return ((None, RED), (bad, ORANGE), (warn, GREEN))


def limit(value: float, colour: str = RED) -> Steps:
    """For graphs: a line at the limit, the curves keep their own colours."""
    return ((None, NEUTRAL), (value, colour))


def floor(value: float, colour: str = RED) -> Steps:
    """For graphs of what should stay above a limit."""
    return ((None, colour), (value, NEUTRAL))


OK_IF_NONE: Final[Words] = {0: ("OK", GREEN)}
NONE: Final[Words] = {0: ("none", GREEN)}
YES_IS_GOOD: Final[Words] = {0: ("no", RED), 1: ("yes", GREEN)}
NO_IS_GOOD: Final[Words] = {0: ("no", GREEN), 1: ("yes", RED)}
YES_NO: Final[Words] = {0: ("no", ORANGE), 1: ("yes", BLUE)}

LEVELS: Final[Words] = {
    0: ("OK", GREEN),
    1: ("PARTLY BLIND", ORANGE),
    2: ("DEGRADED", ORANGE),
    3: ("CRITICAL", RED),
}
"""What `promql.EVERYTHING` says."""

LEG_STATES: Final[Words] = {
    1: ("ok", GREEN),
    2: ("refused", RED),
    3: ("timeout", RED),
    4: ("error", ORANGE),
    5: ("skipped", NEUTRAL),
}
GROUP_STATES: Final[Words] = {
    1: ("Stable", GREEN),
    2: ("Empty", NEUTRAL),
    3: ("PreparingRebalance", ORANGE),
    4: ("CompletingRebalance", ORANGE),
    5: ("Assigning", ORANGE),
    6: ("Reconciling", ORANGE),
    7: ("NotReady", ORANGE),
    8: ("Unknown", ORANGE),
    9: ("Dead", RED),
}
"""Every state that Kafka has for a group, of any type."""
