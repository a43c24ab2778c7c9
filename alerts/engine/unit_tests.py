"""Runs unit tests of rules with strict Prometheus semantics: no coverage, nothing held; the verdicts are promtool's."""

from __future__ import annotations

import math
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Final, TypeAlias

import numpy as np

from alerts.engine.durations import format_duration
from alerts.engine.engine import Engine, NoBook, RuleFailure, rows_of
from alerts.engine.rules import RuleError, RuleGroup, RuleSet, load_rules, read_rule_files
from alerts.engine.unit_test_file import AlertCase, QueryCase, UnitTest, UnitTestFile
from alerts.promql.errors import QueryError
from alerts.promql.evaluate import Evaluator
from alerts.promql.parse import parse
from alerts.promql.values import Value
from exporter.series import METRIC_NAME, STALE_NAN, Labels, Matcher, Series

ALERTNAME: Final = "alertname"

Pairs: TypeAlias = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Result:
    """How one test ended; without failures it passed."""

    name: str
    failures: tuple[str, ...]


def run_file(file: UnitTestFile, only: re.Pattern[str] | None = None) -> tuple[Result, ...]:
    """Runs a file's tests, or those whose names ``only`` is found in; rule files that cannot be used fail all of them."""
    chosen = [test for test in file.tests if only is None or only.search(test.name)]
    try:
        rules = load_rules(read_rule_files(file.rule_files), None)
    except RuleError as error:
        return tuple(Result(test.name, tuple(map(str, error.faults))) for test in chosen)
    ordered = _ordered(rules.groups, file.order)
    return tuple(Result(test.name, tuple(Run(test, ordered, file).failures())) for test in chosen)


def _ordered(groups: Sequence[RuleGroup], order: Sequence[str]) -> list[RuleGroup]:
    return sorted(groups, key=lambda group: order.index(group.name) if group.name in order else 0)


class Run:
    """One test from its start to its last time; ``groups`` in the order in which they are evaluated."""

    def __init__(self, test: UnitTest, groups: Sequence[RuleGroup], file: UnitTestFile) -> None:
        self._test = test
        self._interval = file.interval
        self._fuzzy = file.fuzzy
        self._store = _Store(test)
        self._querier = Evaluator(self._store)
        # All groups are evaluated at every step, whatever their own interval is.
        phase = math.fmod(test.start, file.interval)
        rules = RuleSet(tuple(replace(group, interval=file.interval, phase=phase) for group in groups))
        self._engine = Engine(
            rules,
            self._querier,
            dict,
            NoBook(),
            lambda: test.start,
            sink=self._store,
            external_url=test.external_url,
            external_labels=Labels.of(test.external_labels),
        )

    def failures(self) -> Iterator[str]:
        """Sentences for what is not as expected; a rule that cannot be evaluated ends the test."""
        due = sorted(self._test.alerts, key=lambda case: case.at)
        for step in range(int(self._test.seconds // self._interval) + 1):
            offset = step * self._interval
            if failed := self.evaluate(offset):
                yield from failed
                return
            while due and offset <= due[0].at < offset + self._interval:
                yield from self._alerts(due.pop(0))
        for case in self._test.queries:
            yield from self._query(case)

    def evaluate(self, offset: float) -> list[str]:
        """Evaluates every group, ``offset`` seconds after the start; what failed."""
        at = self._test.start + offset
        self._store.until_ms = round(at * 1000)
        self._engine.evaluate_due(at)
        status = [rule for group in self._engine.status() for rule in group.rules]
        return [f"rule {r.rule.name} at {format_duration(offset)}: {r.error}" for r in status if r.error]

    def firing(self, name: str) -> list[tuple[Pairs, Pairs]]:
        """Labels and annotations of the rule's alerts that fire now, sorted."""
        active = [a for a in self._engine.alerts() if a.active and a.rule == name]
        return sorted((_pairs(a.labels), _pairs(a.annotations)) for a in active)

    def samples(self, expr: str, offset: float) -> list[tuple[Labels, float]]:
        """What an expression gives, sorted by labels; raises QueryError, or RuleFailure for what is no vector."""
        return _samples(self._querier.evaluate(parse(expr), self._test.start + offset))

    def _alerts(self, case: AlertCase) -> Iterator[str]:
        got = self.firing(case.alertname)
        expected = sorted(
            (_pairs({**alert.labels, ALERTNAME: case.alertname}), _pairs(alert.annotations)) for alert in case.expected
        )
        if got != expected:
            yield (
                f"line {case.line}: alert {case.alertname} at {format_duration(case.at)}:\n"
                f"{_alerts_text('expected', expected)}\n{_alerts_text('got', got)}"
            )

    def _query(self, case: QueryCase) -> Iterator[str]:
        where = f"line {case.line}: {case.expr} at {format_duration(case.at)}:"
        try:
            got = self.samples(case.expr, case.at)
        except (QueryError, RuleFailure) as error:
            yield f"{where} {error}"
            return
        expected = sorted(case.expected, key=lambda sample: _pairs(sample[0]))
        same = len(got) == len(expected) and all(
            a[0] is b[0] and self._equal(a[1], b[1]) for a, b in zip(got, expected, strict=True)
        )
        if not same:
            yield f"{where}\n{_samples_text('expected', expected)}\n{_samples_text('got', got)}"

    def _equal(self, a: float, b: float) -> bool:
        near = math.nextafter(a, -math.inf) == b or math.nextafter(a, math.inf) == b
        return a == b or (self._fuzzy and near)


# --- what an engine needs ---------------------------------------------------------------------------------------------------------------------


class _Store:
    """A test's input series up to now, and what rules write."""

    def __init__(self, test: UnitTest) -> None:
        self.until_ms = 0
        self._series: dict[str, dict[Labels, tuple[list[int], list[float]]]] = {}
        """By metric."""
        self._last: dict[tuple[str, str], set[Labels]] = {}
        start, step = round(test.start * 1000), round(test.interval * 1000)
        for one in test.series:
            samples = [(start + i * step, value) for i, value in enumerate(one.values) if value is not None]
            self._of(one.labels.name)[one.labels] = [at for at, _ in samples], [value for _, value in samples]

    def _of(self, name: str) -> dict[Labels, tuple[list[int], list[float]]]:
        return self._series.setdefault(name, {})

    def append_series(self, name: str, rows: Iterable[tuple[Labels, float]], at_ms: int, source: str = "") -> None:
        """See SeriesSink; an input series of the same labels wins over what a rule writes at or before its last sample."""
        present = dict(rows)
        gone = self._last.get((source, name), set()) - present.keys()
        for labels, value in (*present.items(), *((one, STALE_NAN) for one in gone)):
            times, values = self._of(labels.name).setdefault(labels, ([], []))
            place = bisect_right(times, self.until_ms)
            if place == 0 or times[place - 1] < at_ms:
                times.insert(place, at_ms)
                values.insert(place, value)
        self._last[source, name] = set(present)

    def select(self, matchers: Sequence[Matcher], start_ms: int, end_ms: int) -> list[Series]:
        """See SeriesStore."""
        found = []
        named = [m.value for m in matchers if m.name == METRIC_NAME and m.op == "="]
        chosen = [self._series.get(name, {}) for name in named[:1]] or self._series.values()
        for labels, (times, values) in chain.from_iterable(one.items() for one in chosen):
            if all(m.matches(labels.get(m.name, "")) for m in matchers):
                first, last = bisect_left(times, start_ms), bisect_right(times, min(end_ms, self.until_ms))
                if last > first:
                    timestamps = np.array(times[first:last], dtype=np.int64)
                    found.append(Series(labels, timestamps, np.array(values[first:last], dtype=np.float64)))
        return found


# --- comparing and telling ----------------------------------------------------------------------------------------------------------------------


def _pairs(labels: Mapping[str, str]) -> Pairs:
    return tuple(sorted(labels.items()))


def _samples(value: Value) -> list[tuple[Labels, float]]:
    return sorted(rows_of(value), key=lambda sample: _pairs(sample[0]))


def _shown(pairs: Pairs) -> str:
    name = dict(pairs).get(METRIC_NAME, "")
    return f"{name}{{{', '.join(f'{k}={v!r}' for k, v in pairs if k != METRIC_NAME)}}}"


def _alerts_text(what: str, alerts: Sequence[tuple[Pairs, Pairs]]) -> str:
    lines = [f"    {_shown(labels)} {_shown(annotations)}" for labels, annotations in alerts]
    return "\n".join([f"  {what}:" + ("" if lines else " nothing"), *lines])


def _samples_text(what: str, samples: Sequence[tuple[Labels, float]]) -> str:
    lines = [f"    {_shown(_pairs(labels))} {value!r}" for labels, value in samples]
    return "\n".join([f"  {what}:" + ("" if lines else " nothing"), *lines])
