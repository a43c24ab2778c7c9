"""The walk through a decision tree: questions put to live data, with what was seen, how old it was, and what could not be seen.

Pure given a Querier, the coverage and the time. A step counts only if every input of its expression has fresh data that is younger than the alert; missing data
is *unknown* and older data *not yet*, never "none".
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from alerts.diagnosis.inputs import inputs_of, oldest, uncovered
from alerts.diagnosis.template import Command, FactValue, Filled, Template, number
from alerts.diagnosis.tree import HEALED, UNKNOWN, Branch, Cause, Do, Sentence, Step, Tree, Trees
from alerts.engine.querier import Querier
from alerts.model import Action, Alert, Confidence, Evidence, Finding, Severity, Verdict
from alerts.promql.errors import QueryError
from alerts.promql.questions import bind
from alerts.promql.syntax import Expr
from alerts.promql.values import Scalar, Value, Vector
from exporter.reading import Coverage

WORST = 20
"""Rows that an Evidence keeps; the rest is counted."""

MOST_ACTIONS = 5
"""How often an action with ``each`` is repeated."""

MOST_WALKS = 20
"""How many values of an ``each`` are followed."""

Rows: TypeAlias = tuple[tuple[Mapping[str, str], float], ...]


@dataclass(slots=True)
class World:
    """What can be seen at one moment; remembers answers, so that walks of one evaluation share them.

    ``coverage`` is None where nobody keeps it; then everything that has series counts as covered and new.
    """

    querier: Querier
    at: float
    coverage: Coverage | None
    bootstrap: str = ""
    """host:port,… of the cluster, for commands."""
    _answers: dict[Expr, Rows | QueryError] = field(default_factory=dict)

    def rows(self, expr: Expr) -> Rows:
        """The answer, worst value first; raises QueryError."""
        known = self._answers.get(expr)
        if known is None:
            try:
                known = tuple(
                    sorted(_rows(self.querier.evaluate(expr, self.at)), key=lambda r: _badness(r[1]), reverse=True)
                )
            except QueryError as error:
                known = error
            self._answers[expr] = known
        if isinstance(known, QueryError):
            raise known
        return known

    def taken_at(self, expr: Expr) -> float | None:
        """When the oldest input was taken; None where one is missing."""
        if self.coverage is None:
            return self.at
        return oldest(inputs_of(expr), self.coverage)

    def missing(self, expr: Expr) -> tuple[str, ...]:
        return () if self.coverage is None else tuple(str(i) for i in uncovered(inputs_of(expr), self.coverage))

    def impossible(self, expr: Expr) -> bool:
        """Whether whatever is missing is not to be had from this cluster."""
        if self.coverage is None:
            return False
        return all(i.owner.value in self.coverage.unsupported for i in uncovered(inputs_of(expr), self.coverage))


def _rows(value: Value) -> Rows:
    if isinstance(value, Scalar):
        return (({}, value.value),)
    if isinstance(value, Vector):
        return tuple((sample.labels, sample.value) for sample in value)
    raise QueryError("not a vector", "a question must be an instant vector or a scalar")


def _badness(value: float) -> float:
    return -math.inf if math.isnan(value) else value


@dataclass(frozen=True, slots=True)
class Case:
    """What is diagnosed: the problem and subject that hold while no cause is found, what is bound from the start, and since when."""

    problem: str
    subject: str
    names: Mapping[str, str]
    since: float = 0.0
    """Data must be younger than this (Unix seconds); 0 takes whatever is fresh."""
    impact: str = ""
    """What the rule says about the impact, for as long as no cause says more."""

    @classmethod
    def of(cls, alert: Alert) -> Case:
        return cls(alert.problem, alert.subject, alert.labels, alert.active_at, alert.annotations.get("impact", ""))


def diagnose(trees: Trees, alert: Alert, world: World) -> tuple[Finding, ...]:
    """Walk the alert's tree: one finding per thing that is at fault (``each``), none without a tree or where the alert lacks a label that the tree needs."""
    tree = trees.for_alert(alert.rule, alert.labels)
    if tree is None or any(name not in alert.labels for name in tree.file.given):
        return ()
    return walk(trees, tree, Case.of(alert), world)


def walk(trees: Trees, tree: Tree, case: Case, world: World) -> tuple[Finding, ...]:
    """Walk one tree from its first step."""
    names = {**case.names, "bootstrap": world.bootstrap}
    return tuple(_Walk(trees, case, world).step(_Trail(tree, names), tree.first))


@dataclass(frozen=True, slots=True)
class _Trail:
    """Where a walk is and what it has seen."""

    tree: Tree
    names: Mapping[str, str]
    evidence: tuple[Evidence, ...] = ()
    refuted: tuple[str, ...] = ()
    unknowns: tuple[str, ...] = ()
    complete: bool = True


@dataclass(frozen=True, slots=True)
class _Answer:
    verdict: Verdict
    rows: Rows = ()
    age: float | None = None
    missing: tuple[str, ...] = ()
    impossible: bool = False
    """What is missing cannot be had from this cluster."""
    error: str = ""


class _Walk:
    def __init__(self, trees: Trees, case: Case, world: World) -> None:
        self.trees = trees
        self.case = case
        self.world = world

    # --- steps

    def step(self, trail: _Trail, name: str) -> Iterator[Finding]:
        """The findings that follow from this step on."""
        step = trail.tree.file.steps[name]
        answer = self._ask(step, bind(trail.tree.exprs[step.expr], trail.names))
        if answer.verdict in (Verdict.UNKNOWN, Verdict.NOT_YET):
            yield from self._unknown(trail, name, step, answer)
        elif answer.verdict is Verdict.NONE:
            yield from self._follow(self._seen(trail, name, step, answer), step.none)
        elif step.each is None:
            yield from self._follow(self._seen(trail, name, step, answer), step.found)
        else:
            yield from self._each(trail, name, step, step.each, answer)

    def _each(self, trail: _Trail, name: str, step: Step, label: str, answer: _Answer) -> Iterator[Finding]:
        values = dict.fromkeys(labels[label] for labels, _ in answer.rows if label in labels)
        for value in list(values)[:MOST_WALKS]:
            rows = tuple(row for row in answer.rows if row[0].get(label) == value)
            own = replace(trail, names={**trail.names, label: value})
            yield from self._follow(self._seen(own, name, step, replace(answer, rows=rows)), step.found)

    def _ask(self, step: Step, expr: Expr) -> _Answer:
        world = self.world
        try:
            rows = world.rows(expr)
        except QueryError as error:
            return _Answer(Verdict.UNKNOWN, error=error.reason)
        verdict = Verdict.FOUND if rows else Verdict.NONE
        if step.before:
            return _Answer(verdict, rows)
        taken_at = world.taken_at(expr)
        if taken_at is None and not (step.partial and rows):
            return _Answer(Verdict.UNKNOWN, missing=world.missing(expr), impossible=world.impossible(expr))
        if taken_at is None or math.isinf(taken_at):
            return _Answer(verdict, rows)
        age = max(0.0, world.at - taken_at)
        if taken_at < self.case.since:
            return _Answer(Verdict.NOT_YET, rows, age)
        return _Answer(verdict, rows, age)

    def _seen(self, trail: _Trail, name: str, step: Step, answer: _Answer) -> _Trail:
        ruled_out = step.rules_out.get(answer.verdict.value)
        refuted = trail.refuted
        if ruled_out is not None:
            refuted = (*refuted, self._fill(trail, ruled_out, answer).text)
        evidence = self._evidence(trail, name, step, answer, self._sentence(trail, step, answer))
        return replace(trail, evidence=(*trail.evidence, evidence), refuted=refuted)

    def _evidence(
        self, trail: _Trail, name: str, step: Step, answer: _Answer, sentence: str, by_hand: str = ""
    ) -> Evidence:
        return Evidence(
            step=name,
            ask=Template.parse(step.ask).fill(trail.names, {}).text,
            expr=step.expr,
            verdict=answer.verdict,
            answer=sentence,
            rows=tuple((dict(labels), value) for labels, value in answer.rows[:WORST]),
            total=len(answer.rows),
            age=answer.age,
            missing=answer.missing,
            by_hand=by_hand,
        )

    def _sentence(self, trail: _Trail, step: Step, answer: _Answer) -> str:
        text = step.answers.get(answer.verdict.value)
        if text is not None:
            return self._fill(trail, text, answer).text
        if answer.verdict is Verdict.NONE:
            return "no"
        return "yes" if len(answer.rows) == 1 else f"yes: {number(len(answer.rows))} times"

    def _unknown(self, trail: _Trail, name: str, step: Step, answer: _Answer) -> Iterator[Finding]:
        if answer.verdict is Verdict.NOT_YET:
            why = f"not yet: the newest data is {number(round(answer.age or 0))} s old, from before the alert"
        else:
            why = _why_unknown(answer)
        by_hand = self._by_hand(trail, step)
        evidence = self._evidence(trail, name, step, answer, why, by_hand)
        note = f"{evidence.ask} {why[0].upper()}{why[1:]}." + (f" By hand: {by_hand}" if by_hand else "")
        trail = replace(
            trail,
            evidence=(*trail.evidence, evidence),
            unknowns=(*trail.unknowns, note),
            complete=trail.complete and answer.verdict is not Verdict.NOT_YET,
        )
        if step.unknown is not None and step.unknown.then is not None:
            yield from self.step(trail, step.unknown.then)
        else:
            yield self._undecided(trail)

    def _by_hand(self, trail: _Trail, step: Step) -> str:
        if step.unknown is None:
            return ""
        manual = Command.parse(step.unknown.manual)
        reading = Template.parse(step.unknown.reading)
        command = manual.fill(trail.names, self._facts(trail, manual.facts)).text
        return f"{command} ; {reading.fill(trail.names, self._facts(trail, reading.facts)).text}"

    def _follow(self, trail: _Trail, branch: Branch) -> Iterator[Finding]:
        if branch.step is not None:
            yield from self.step(trail, branch.step)
        elif branch.tree is not None:
            tree = self.trees.by_name[branch.tree]
            yield from self.step(replace(trail, tree=tree), tree.first)
        elif branch.cause == HEALED:
            yield self._healed(trail)
        elif branch.cause == UNKNOWN or branch.cause is None:
            yield self._undecided(trail)
        else:
            if branch.low is not None:
                low = Template.parse(branch.low)
                trail = replace(
                    trail, unknowns=(*trail.unknowns, low.fill(trail.names, self._facts(trail, low.facts)).text)
                )
            yield self._cause(trail, branch.cause, trail.tree.file.causes[branch.cause])

    # --- leaves

    def _cause(self, trail: _Trail, name: str, cause: Cause) -> Finding:
        return replace(
            self._finding(trail, name),
            says=self._say(trail, cause.says),
            impact=self._say(trail, cause.impact),
            headline=self._headline(trail, cause.headline),
            problem=self.case.problem if self.case.problem in cause.problems else cause.problems[0],
            subject=self._text(trail, cause.subject),
            severity=self._severity(trail, cause),
            do=tuple(self._actions(trail, cause)),
            explains=tuple(cause.explains),
            verify=cause.verify,
        )

    def _finding(self, trail: _Trail, cause: str) -> Finding:
        return Finding(
            tree=trail.tree.name,
            cause=cause,
            says="",
            impact=self.case.impact,
            problem=self.case.problem,
            cluster=self.case.names.get("cluster", ""),
            subject=self.case.subject,
            severity=None,
            confidence=Confidence.LOW if trail.unknowns else Confidence.HIGH,
            evidence=trail.evidence,
            refuted=trail.refuted,
            unknowns=trail.unknowns,
            do=(),
            explains=(),
            verify="",
            walked_at=self.world.at,
            complete=trail.complete,
        )

    def _healed(self, trail: _Trail) -> Finding:
        return replace(
            self._finding(trail, HEALED), says="It has healed by itself: the first question finds nothing any more."
        )

    def _undecided(self, trail: _Trail) -> Finding:
        last = trail.evidence[-1]
        if last.verdict in (Verdict.UNKNOWN, Verdict.NOT_YET):
            says = f"The cause is not known: {last.ask} {last.answer[0].upper()}{last.answer[1:]}."
        else:
            says = "The cause is not known: no branch of the tree fits what was seen."
        trail = replace(trail, unknowns=trail.unknowns or (says,))
        return replace(self._finding(trail, UNKNOWN), says=says)

    def _severity(self, trail: _Trail, cause: Cause) -> Severity | None:
        """Critical where clients stand still; where that cannot be seen, the alert's own severity stays."""
        if cause.critical_when is not None:
            expr = bind(trail.tree.exprs[cause.critical_when], trail.names)
            try:
                if self.world.rows(expr):
                    return Severity.CRITICAL
            except QueryError:
                return None
        return Severity(cause.severity) if cause.severity is not None else None

    def _actions(self, trail: _Trail, cause: Cause) -> Iterator[Action]:
        for do in cause.do:
            if do.each is None:
                yield self._action(trail, do)
                continue
            values = self._fact(trail, do.each)
            for value in (values if isinstance(values, tuple) else ())[:MOST_ACTIONS]:
                yield self._action(replace(trail, names={**trail.names, "each": value}), do)

    def _action(self, trail: _Trail, do: Do) -> Action:
        command = Command.parse(do.command)
        return Action(
            title=self._text(trail, do.title),
            command=command.fill(trail.names, self._facts(trail, command.facts)).text,
            risk=self._text(trail, do.risk),
            undo=self._text(trail, do.undo),
            watch=self._text(trail, do.watch),
        )

    # --- sentences

    def _headline(self, trail: _Trail, sentences: Sequence[Sentence]) -> str:
        for sentence in sentences:
            condition = sentence.if_ or sentence.unless
            value = self._fact(trail, condition) if condition is not None else True
            if value is None or bool(value) is (sentence.unless is not None):
                continue
            filled = self._filled(trail, sentence.say)
            if not filled.missing:
                return filled.text
        return ""

    def _say(self, trail: _Trail, sentences: Sequence[Sentence]) -> str:
        said = (self._one(trail, sentence) for sentence in sentences)
        return " ".join(dict.fromkeys(s for s in said if s))

    def _one(self, trail: _Trail, sentence: Sentence) -> str:
        """The sentence, nothing where its condition does not hold, or what is not known where a number of it is missing."""
        condition = sentence.if_ or sentence.unless
        if condition is not None:
            value = self._fact(trail, condition)
            if value is None:
                return self._not_known(trail, (condition,))
            if bool(value) is (sentence.unless is not None):
                return ""
        filled = self._filled(trail, sentence.say)
        return self._not_known(trail, filled.missing) if filled.missing else filled.text

    def _not_known(self, trail: _Trail, facts: Sequence[str]) -> str:
        what = [Template.parse(trail.tree.file.facts[f].is_).fill(trail.names, {}).text for f in dict.fromkeys(facts)]
        return f"Not known (no data): {', '.join(what)}."

    def _text(self, trail: _Trail, text: str) -> str:
        return self._filled(trail, text).text

    def _filled(self, trail: _Trail, text: str) -> Filled:
        template = Template.parse(text)
        return template.fill(trail.names, self._facts(trail, template.facts))

    def _fill(self, trail: _Trail, text: str, answer: _Answer) -> Filled:
        """A step's own sentence, which may use the worst value and the count of its answer."""
        template = Template.parse(text)
        facts = dict(self._facts(trail, template.facts - {"value", "count"}))
        facts["count"] = float(len(answer.rows))
        facts["value"] = answer.rows[0][1] if answer.rows else None
        return template.fill(trail.names, facts)

    def _facts(self, trail: _Trail, names: frozenset[str]) -> Mapping[str, FactValue | None]:
        return {name: self._fact(trail, name) for name in names}

    def _fact(self, trail: _Trail, name: str) -> FactValue | None:
        """The fact's value, or None where it has no data. What is found counts; what is missing counts as ``empty`` only where every input is there."""
        fact = trail.tree.file.facts[name]
        expr = bind(trail.tree.exprs[fact.expr], trail.names)
        try:
            rows = self.world.rows(expr)
        except QueryError:
            return None
        if rows:
            if fact.label is None:
                return rows[0][1]
            texts = {labels[fact.label] for labels, _ in rows if fact.label in labels}
            return tuple(sorted({_host(t) for t in texts} if fact.host else texts, key=_natural))
        if not fact.before and self.world.taken_at(expr) is None:
            return None
        if fact.label is not None:
            return () if fact.empty is not None else None
        return None if fact.empty is None else float(fact.empty)


def _why_unknown(answer: _Answer) -> str:
    """What the cluster cannot give at all is no gap in what is watched."""
    if not answer.missing:
        return f"unknown: {answer.error}"
    what = ", ".join(answer.missing)
    return f"not supported: this cluster does not give {what}" if answer.impossible else f"unknown: no data from {what}"


def _host(address: str) -> str:
    """host:port without the port."""
    return address.rpartition(":")[0].strip("[]") or address


def _natural(text: str) -> tuple[int, int, str]:
    """Numbers in their order, before words."""
    return (0, int(text), "") if text.isdecimal() else (1, 0, text)
