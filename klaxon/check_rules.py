"""`klaxon check-rules`: what is wrong in rule files, and what a good rule has and these lack."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from alerts.engine.durations import format_duration
from alerts.engine.rules import AlertingRule, Fault, RuleError, RuleGroup, RuleSet, load_rules, read_rule_files
from alerts.engine.unit_test_file import UnitTestError, UnitTestFile, read_unit_tests
from alerts.model import Severity
from exporter.collectors import COLLECTORS, reading_interval
from exporter.metrics.catalogue import MetricRow

TEST_FILES = ("*.test.yaml", "*.test.yml", "*_test.yaml", "*_test.yml")
URGENT_S = 15.0
"""A critical rule is evaluated at least this often, in seconds."""


class Level(StrEnum):
    """An error: the file cannot be used. A warning: it can, and lacks something."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Found:
    """One thing that is wrong or missing."""

    level: Level
    fault: Fault


def check(
    files: Sequence[Path],
    shipped: Collection[Path],
    catalogue: Mapping[str, MetricRow],
    trees: Collection[str],
    tests: Iterable[Path] = (),
) -> tuple[RuleSet | None, list[Found]]:
    """Reads the files and checks them; the rules are None when they cannot be used. ``tests`` are files and folders of unit tests; those beside the rule
    files are looked for too."""
    try:
        rules = load_rules(read_rule_files(files, shipped=shipped), catalogue, trees=trees)
    except RuleError as error:
        return None, [Found(Level.ERROR, fault) for fault in error.faults]
    tested, faults = _tested(files, tests)
    if not set(files) - set(shipped) and not tested and not faults:
        tested = {rule.name for rule in rules.alerting}  # an installed Klaxon has no tests of its own rules
    found = [Found(Level.ERROR, fault) for fault in faults]
    seen: dict[tuple[object, ...], int] = {}
    for group in rules.groups:
        for rule in group.rules:
            reasons = list(_duplicate(rule.name, rule.text, rule.labels, rule.line, seen))
            if isinstance(rule, AlertingRule):
                reasons += _lacks(group, rule, tested)
            found += [
                Found(Level.WARNING, Fault(rule.file, rule.line, group.name, rule.name, reason)) for reason in reasons
            ]
    return rules, found


def _duplicate(name: str, text: str, labels: object, line: int, seen: dict[tuple[object, ...], int]) -> Iterator[str]:
    first = seen.setdefault((name, text, str(labels)), line)
    if first != line:
        yield f"the same rule stands in line {first} too; remove one"


# --- what an alerting rule should have


def _lacks(group: RuleGroup, rule: AlertingRule, tested: Collection[str]) -> Iterator[str]:
    labels, annotations = dict(rule.labels), dict(rule.annotations)
    watchdog = rule.severity == Severity.NONE
    known = ", ".join(Severity)
    if "severity" not in labels:
        yield f"no label severity ({known}): it counts as a warning"
    elif labels["severity"].constant and rule.severity not in list(Severity):
        yield f"severity {rule.severity!r} is none of {known}: it counts as a warning"
    if "summary" not in annotations:
        yield "no annotation summary: say with the number and the subject what is wrong"
    elif annotations["summary"].constant and not watchdog:
        yield "the summary names neither a number nor a subject; use {{ $value }} and {{ $labels.… }}"
    if not watchdog:
        yield from (
            f"no label {name}: {why}"
            for name, why in (
                ("tree", "nothing will look for the cause"),
                ("subject", "it counts as a fault of the whole cluster"),
            )
            if name not in labels
        )
    if any(template.varies for template in labels.values()):
        yield "a label changes with the value: each value is a new alert that waits from zero; put the value into an annotation"
    if rule.name not in tested:
        yield "no unit test expects it to fire (files like x.test.yaml beside the rules, or --tests)"
    if rule.severity == Severity.CRITICAL and group.interval > URGENT_S:
        yield f"critical, but evaluated only every {format_duration(group.interval)}; put it into a group of {format_duration(URGENT_S)} or less"
    yield from _joins(rule)


def _joins(rule: AlertingRule) -> Iterator[str]:
    """What several collectors say is not of one moment: a rule that joins it must wait until each was asked twice."""
    inputs = {need.inputs for need in rule.needs if need.inputs}
    slowest = max(((_interval(name), name) for names in inputs for name in names), default=(0.0, ""))
    if len(inputs) > 1 and len({name for names in inputs for name in names}) > 1 and rule.for_ < 2 * slowest[0]:
        yield (
            f"joins collectors and waits {format_duration(rule.for_)}; for: must be at least {format_duration(2 * slowest[0])}, "
            f"twice the interval of {slowest[1]}"
        )


def _interval(owner: str) -> float:
    """How often an input is renewed by default, seconds; Klaxon's own probes are as quick as the evaluation."""
    return next((reading_interval(owner, c.interval) for c in COLLECTORS if owner == c.name or owner in c.feeds), 0.0)


# --- unit tests


def _tested(files: Iterable[Path], tests: Iterable[Path]) -> tuple[set[str], list[Fault]]:
    """Names of the alerts that some unit test expects to fire, and the test files that cannot be read."""
    names: set[str] = set()
    faults: list[Fault] = []
    for path in _test_files(files, tests):
        try:
            names |= _expected(read_unit_tests(path))
        except UnitTestError as error:
            faults += [Fault(str(path), 1, "", "", text) for text in error.faults]
    return names, faults


def _test_files(files: Iterable[Path], tests: Iterable[Path]) -> list[Path]:
    places = [*{file.parent for file in files}, *tests]
    found = [f for place in places for pattern in TEST_FILES for f in place.glob(pattern)]
    return sorted({*found, *(place for place in places if place.is_file())})


def _expected(file: UnitTestFile) -> set[str]:
    return {case.alertname for test in file.tests for case in test.alerts if case.expected}
