"""Unit tests of the shipped rules: they pass in promtool and in Klaxon, and every alerting rule has all four kinds of cases.

A rule fires, does not before its ``for``, resolves, and says nothing where data is missing. What a case shows follows from what happens at its time (whether
the rule's expression gives something, which alerts are expected), never from a test's name.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest

from alerts.engine.rules import AlertingRule, RuleSet, load_rules, read_rule_files
from alerts.engine.unit_test_file import AlertCase, InputSeries, UnitTest, UnitTestFile, read_unit_tests
from alerts.engine.unit_tests import Run
from alerts.model import Severity
from alerts.promql.questions import selectors
from alerts.promql.syntax import Expr

HERE = Path(__file__).parent
FILES = sorted(HERE.glob("*.test.yaml"))
SHIPPED = sorted((HERE.parents[2] / "alerts" / "rules").glob("*.yaml"))
PROMTOOL = os.environ.get("PROMTOOL") or shutil.which("promtool")


@cache
def loaded(*files: Path) -> RuleSet:
    return load_rules(read_rule_files(files), None)


RULES = [rule for path in SHIPPED for rule in loaded(path).alerting]


# --- what happens at the time of each case


@dataclass(frozen=True)
class Seen:
    """A case of a test, and whether each rule of its alert's name gives something then, by the rule's key."""

    case: AlertCase
    holds: Mapping[str, bool]


class Watched(Run):
    """A run that notes at the time of each case whether the conditions of its alert's rules hold."""

    def __init__(self, test: UnitTest, rules: RuleSet, file: UnitTestFile) -> None:
        super().__init__(test, rules.groups, file)
        self._rules = list(rules.alerting)
        self._cases = test.alerts
        self._step = file.interval
        self.seen: list[Seen] = []

    def evaluate(self, offset: float) -> list[str]:
        failed = super().evaluate(offset)
        for case in self._cases:
            if not failed and offset <= case.at < offset + self._step:
                same_name = [rule for rule in self._rules if rule.name == case.alertname]
                self.seen.append(Seen(case, {rule.key: bool(self.samples(rule.text, offset)) for rule in same_name}))
        return failed


@dataclass(frozen=True)
class Outcome:
    """A test that was run: its failures, and its cases in the order of their times."""

    test: UnitTest
    step: float
    failures: Sequence[str]
    seen: Sequence[Seen]


@cache
def outcomes(path: Path) -> Sequence[Outcome]:
    """The tests of a file, run once for all that looks at them."""
    file = read_unit_tests(path)
    assert not file.missing, f"{path.name} names rule files that do not exist"
    rules = loaded(*file.rule_files)
    done = []
    for test in file.tests:
        run = Watched(test, rules, file)
        failures = list(run.failures())
        done.append(Outcome(test, file.interval, failures, run.seen))
    return done


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_klaxon_test_rules_passes(path: Path) -> None:
    assert not [f"{done.test.name}: {failure}" for done in outcomes(path) for failure in done.failures]


@pytest.mark.prometheus
@pytest.mark.skipif(PROMTOOL is None, reason="no promtool: install prometheus or set PROMTOOL=/path/to/promtool")
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_promtool_test_rules_passes(path: Path) -> None:
    done = subprocess.run([str(PROMTOOL), "test", "rules", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


# --- the four kinds of cases


def cases_of(rule: AlertingRule) -> Iterator[Sequence[Seen]]:
    """For each test of the rule's file, the cases of its alert."""
    for done in outcomes_of(rule):
        yield [seen for seen in done.seen if rule.key in seen.holds]


def outcomes_of(rule: AlertingRule) -> Iterator[Outcome]:
    name = Path(rule.file).stem
    for path in FILES:
        if path.name.split(".")[0] == name:
            yield from (done for done in outcomes(path) if any(rule.key in seen.holds for seen in done.seen))


def expected(rule: AlertingRule, seen: Seen) -> bool:
    """Whether the case expects an alert of this very rule: one with its fixed labels, while its condition holds."""
    fixed = {(name, text.text) for name, text in rule.labels if text.constant}
    return seen.holds[rule.key] and any(fixed <= set(alert.labels.items()) for alert in seen.case.expected)


def always(rule: AlertingRule) -> bool:
    """The watchdog has no condition."""
    return rule.severity == Severity.NONE


each_rule = pytest.mark.parametrize("rule", [pytest.param(rule, id=rule.key) for rule in RULES])


@each_rule
def test_a_case_expects_it_to_fire(rule: AlertingRule) -> None:
    assert any(expected(rule, seen) for cases in cases_of(rule) for seen in cases)


@each_rule
def test_cases_stand_on_both_sides_of_for(rule: AlertingRule) -> None:
    """At one evaluation it is silent although its condition holds (without ``for``: since it does not hold yet), at the next one it fires."""
    if always(rule):
        return
    pairs = [
        (before, after, done.step)
        for done in outcomes_of(rule)
        for before in done.seen
        for after in done.seen
        if rule.key in before.holds and rule.key in after.holds and after.case.at == before.case.at + done.step
    ]
    assert any(
        before.holds[rule.key] == (rule.for_ > 0) and not expected(rule, before) and expected(rule, after)
        for before, after, _ in pairs
        if not before.case.expected
    )


@each_rule
def test_for_is_not_shorter_than_the_steps_of_its_tests(rule: AlertingRule) -> None:
    """Else a change of ``for`` below one step would not be seen."""
    assert all(done.step <= rule.for_ for done in outcomes_of(rule) if rule.for_ > 0)


@each_rule
def test_a_case_expects_it_to_resolve(rule: AlertingRule) -> None:
    """After it fired, within the same test, nothing is expected, since its condition does not hold any more."""
    if always(rule):
        return
    assert any(
        expected(rule, fired) and not over.case.expected and not over.holds[rule.key]
        for cases in cases_of(rule)
        for fired, over in pairwise(cases)
    )


@each_rule
def test_a_case_shows_what_it_does_without_its_data(rule: AlertingRule) -> None:
    """A test that has the series of one that fires but for some that the rule reads: nothing fires when the other one does."""
    fires = [
        (done.test.series, seen.case.at)
        for done in outcomes_of(rule)
        for seen in done.seen
        if rule.key in seen.holds and expected(rule, seen)
    ]
    if always(rule):
        assert any(not series for series, _ in fires)
        return
    assert any(
        case.at >= at and not case.expected and less(rule, whole, done.test.series)
        for done in outcomes_of(rule)
        for case in done.test.alerts
        if case.alertname == rule.name
        for whole, at in fires
    )


def less(rule: AlertingRule, whole: Sequence[InputSeries], part: Sequence[InputSeries]) -> bool:
    """Whether ``part`` is ``whole`` without some series that the rule reads."""
    lost = [one for one in whole if not any(alike(one, other) for other in part)]
    return any(one.labels["__name__"] in read_by(rule) for one in lost) and len(lost) + len(part) == len(whole)


def alike(one: InputSeries, other: InputSeries) -> bool:
    return one.labels == other.labels and one.values == other.values


def read_by(rule: AlertingRule) -> set[str]:
    """Metrics that a rule selects, through recorded ones of its file too."""
    recorded: dict[str, list[Expr]] = {}
    for one in loaded(Path(rule.file)).recording:
        recorded.setdefault(one.name, []).append(one.expr)
    found: set[str] = set()
    open_: list[Expr] = [rule.expr]
    while open_:
        names = {s.name for s in selectors(open_.pop()) if s.name} - found
        found |= names
        open_ += [expr for name in names for expr in recorded.get(name, ())]
    return found


def test_every_case_is_about_a_rule_that_exists() -> None:
    """A renamed alert leaves cases behind that expect nothing and pass for ever."""
    known = {rule.name for rule in RULES}
    assert not [
        f"{path.name}: {c.alertname}"
        for path in FILES
        for d in outcomes(path)
        for c in d.test.alerts
        if c.alertname not in known
    ]
