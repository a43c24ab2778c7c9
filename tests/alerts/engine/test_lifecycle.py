"""What an alert may and may not do, whatever the data, the gaps, the restarts and the clock do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from alerts.codec import dumps, loads
from alerts.engine.lifecycle import (
    MAX_HOLD,
    OUTAGE_TOLERANCE,
    RESOLVED_RETENTION,
    Change,
    Element,
    Evidence,
    Failed,
    Happened,
    RuleState,
    Timing,
    advance,
    element,
    end_all,
)
from alerts.model import Alert, AlertState

LABELS = {"alertname": "R", "broker": "2"}
ONE = element(LABELS, 1.0)
STEP = 15.0


@dataclass
class Rule:
    """A rule that is driven by hand: ``at`` moves by a step with every evaluation, inputs were taken a second ago unless said otherwise."""

    timing: Timing = field(default_factory=Timing)
    state: RuleState = field(default_factory=RuleState)
    at: float = 1_000_000.0
    changes: list[Change] = field(default_factory=list)

    def see(
        self, *elements: Element, missing: tuple[str, ...] = (), taken: float | None = None, step: float = STEP
    ) -> list[str]:
        self.at += step
        evidence = Evidence(missing, self.at - 1 if taken is None else taken)
        return self._advance(list(elements), evidence)

    def fail(self, step: float = STEP) -> list[str]:
        self.at += step
        return self._advance(Failed("boom"), Evidence())

    def _advance(self, outcome: Any, evidence: Evidence) -> list[str]:
        self.state, changes = advance("R", self.timing, self.state, outcome, lambda labels: evidence, self.at)
        self.changes += changes
        return [c.happened.value for c in changes]

    @property
    def alert(self) -> Alert:
        (tracked,) = self.state.alerts.values()
        return tracked.alert

    def restart(self) -> None:
        self.state = loads(RuleState, dumps(self.state))


def test_pending_then_firing_at_the_evaluation_that_completes_for() -> None:
    rule = Rule(Timing(for_=30))
    assert rule.see(ONE) == ["pending"]
    assert rule.see(ONE) == []
    assert rule.see(ONE) == ["firing"]
    assert rule.alert.fired_at == rule.at
    assert rule.alert.active_at == rule.at - 30


def test_without_for_it_fires_at_once() -> None:
    rule = Rule()
    assert rule.see(ONE) == ["pending", "firing"]


def test_one_evaluation_without_the_element_forgets_a_pending_and_resolves_a_firing_alert() -> None:
    rule = Rule(Timing(for_=15))
    rule.see(ONE)
    assert rule.see() == ["forgotten"]
    assert not rule.state.alerts
    rule.see(ONE)
    rule.see(ONE)
    assert rule.see() == ["resolved"]
    assert rule.alert.resolved_at == rule.at


def test_keep_firing_for_counts_from_the_first_evaluation_without_result_and_a_result_clears_it() -> None:
    rule = Rule(Timing(keep_firing_for=30))
    rule.see(ONE)
    assert rule.see() == ["keeping"]
    assert rule.see(ONE) == ["firing"]
    assert [rule.see(), rule.see(), rule.see()] == [["keeping"], [], ["resolved"]]


def test_a_resolved_alert_stays_for_15_minutes_and_one_that_returns_is_new() -> None:
    rule = Rule()
    rule.see(ONE)
    fired = rule.alert.fired_at
    rule.see()
    assert rule.see(step=RESOLVED_RETENTION) == []
    assert rule.alert.state is AlertState.RESOLVED
    rule.see(ONE)
    assert rule.alert.state is AlertState.FIRING
    assert rule.alert.fired_at != fired
    rule.see()
    rule.see(step=RESOLVED_RETENTION + 1)
    assert not rule.state.alerts


def test_uncovered_inputs_hold_a_firing_alert_and_after_half_an_hour_it_is_unknown() -> None:
    rule = Rule()
    rule.see(ONE)
    assert rule.see(missing=("jmx of broker 2",)) == ["held"]
    held = rule.alert
    assert (held.state, held.held_since, held.held_inputs, held.unknown) == (
        AlertState.FIRING,
        rule.at,
        ("jmx of broker 2",),
        False,
    )
    assert rule.see(missing=("jmx of broker 2",), step=MAX_HOLD - 1) == []
    assert rule.see(missing=("jmx of broker 2",)) == ["unknown"]
    assert rule.see() == ["resolved"]
    assert rule.alert.held_since is None


def test_a_held_alert_that_is_true_when_the_inputs_return_goes_on() -> None:
    rule = Rule()
    rule.see(ONE)
    fired = rule.alert.fired_at
    rule.see(missing=("x",))
    assert rule.see(ONE) == ["released"]
    assert (rule.alert.fired_at, rule.alert.held_since, rule.alert.unknown) == (fired, None, False)


def test_the_clock_of_a_pending_alert_stands_still_while_it_is_held() -> None:
    rule = Rule(Timing(for_=30))
    rule.see(ONE)
    rule.see(ONE)  # 15 s of 30
    assert rule.see(ONE, missing=("x",)) == ["held"]
    assert rule.see(missing=("x",), step=3600) == ["unknown"]
    assert rule.see(ONE) == ["released", "firing"]


def test_a_failed_evaluation_holds_and_ends_nothing() -> None:
    rule = Rule(Timing(for_=15))
    rule.see(ONE)
    assert rule.fail() == ["held"]
    assert rule.alert.held_inputs == ("boom",)
    assert rule.see(ONE) == ["released", "firing"]
    assert rule.fail() == ["held"]
    assert rule.alert.active


def test_inputs_from_before_it_was_last_true_prove_nothing() -> None:
    rule = Rule()
    rule.see(ONE)
    assert rule.see(taken=rule.at) == []
    assert rule.alert.active
    assert rule.alert.held_since is None
    assert rule.see() == ["resolved"]


def test_what_rests_on_absence_does_not_begin_without_coverage() -> None:
    rule = Rule(Timing(absence=True))
    assert rule.see(ONE, missing=("x",)) == []
    assert not rule.state.alerts
    rule.at += STEP
    rule.state, _ = advance("R", rule.timing, rule.state, [ONE], lambda labels: Evidence(impossible=True), rule.at)
    assert not rule.state.alerts
    assert rule.see(ONE) == ["pending", "firing"]


def test_a_short_outage_counts_for_for_and_a_long_one_does_not() -> None:
    rule = Rule(Timing(for_=300))
    rule.see(ONE)
    begun = rule.alert.active_at
    rule.restart()
    assert rule.see(ONE, step=OUTAGE_TOLERANCE + STEP) == ["firing"]
    assert rule.alert.active_at == begun

    rule = Rule(Timing(for_=300))
    rule.see(ONE)
    begun = rule.alert.active_at
    rule.restart()
    assert rule.see(ONE, step=1000.0) == []
    assert rule.alert.active_at == begun + 1000 - STEP


def test_a_clock_set_back_does_not_lengthen_the_wait_and_old_inputs_do_not_resolve() -> None:
    rule = Rule(Timing(for_=30))
    rule.see(ONE)
    rule.see(ONE)
    assert rule.see(ONE, step=-5000) == []
    assert rule.see(ONE) == ["firing"]
    before = rule.at - 1
    assert rule.see(step=-5000, taken=before) == []
    assert rule.see() == ["resolved"]


def test_ending_all_resolves_what_fired_and_forgets_what_was_pending() -> None:
    other = element({"alertname": "R", "broker": "3"}, 1.0)
    rule = Rule(Timing(for_=15))
    rule.see(ONE)
    rule.see(ONE, other)
    state, changes = end_all(rule.state, rule.at)
    assert sorted(c.happened.value for c in changes) == ["forgotten", "resolved"]
    assert [t.alert.state for t in state.alerts.values()] == [AlertState.RESOLVED]


# --- invariants ---------------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tick:
    """One evaluation: how far the clock went, what the data said, and what was covered."""

    step: float
    true: bool | None
    """None: the evaluation failed."""
    covered: bool
    age: float
    """Of the oldest input."""
    restart: bool


TICKS = st.lists(
    st.builds(
        Tick,
        step=st.sampled_from([STEP] * 6 + [30.0, 200.0, 1000.0, -40.0, -4000.0]),
        true=st.sampled_from([True, True, True, False, False, None]),
        covered=st.sampled_from([True, True, True, False]),
        age=st.sampled_from([0.5, 5.0, 14.0, 29.0, 44.0]),
        restart=st.booleans(),
    ),
    min_size=1,
    max_size=40,
)
TIMINGS = st.builds(
    Timing,
    for_=st.sampled_from([0.0, 15.0, 30.0, 300.0]),
    keep_firing_for=st.sampled_from([0.0, 30.0]),
    absence=st.booleans(),
)


@settings(max_examples=600, deadline=None)
@given(TIMINGS, TICKS)
def test_invariants(timing: Timing, ticks: Sequence[Tick]) -> None:
    at, state = 1_000_000.0, RuleState()
    proven = 0.0  # seconds for which it was seen true without a break, an unknown interval counting nothing
    last_true = float("-inf")
    fired_at: float | None = None
    for tick in ticks:
        previous, at = at, at + tick.step
        if tick.step < 0:
            last_true = min(last_true, at)
        evidence = Evidence(() if tick.covered else ("x",), at - tick.age)
        outcome = Failed("boom") if tick.true is None else [ONE] if tick.true else []
        if tick.restart:
            assert loads(RuleState, dumps(state)) == state
            state = loads(RuleState, dumps(state))
        known = state.alerts.get(ONE.id)
        pending = known is not None and known.alert.state is AlertState.PENDING
        state, changes = advance("R", timing, state, outcome, lambda labels, e=evidence: e, at)  # type: ignore[misc]
        happened = [c.happened for c in changes]
        if tick.true and tick.covered and pending:
            gap = at - previous
            proven += max(0.0, gap if gap <= OUTAGE_TOLERANCE + STEP else STEP)
        if Happened.PENDING in happened:
            proven = 0.0
            assert not (timing.absence and not tick.covered), "nothing that rests on absence begins without coverage"
        if Happened.FIRING in happened and (known is None or known.alert.state is not AlertState.KEEPING):
            assert tick.true, "it fires only when it is true"
            assert tick.covered, "no pending alert advances while an input is uncovered"
            assert proven >= timing.for_, "never before for"
            assert fired_at is None, "no two firings without a resolve in between"
            fired_at = at
        if Happened.RESOLVED in happened:
            assert tick.true is False
            assert tick.covered, "no resolve while an input is uncovered"
            assert at - tick.age > last_true, "no resolve without evidence from after the fault"
            fired_at = None
        if fired_at is not None:
            assert state.alerts[ONE.id].alert.fired_at == fired_at, "its identity lasts"
            assert state.alerts[ONE.id].alert.active, "what fired is active until it resolves"
        if tick.true:
            last_true = at


@settings(max_examples=200, deadline=None)
@given(TIMINGS, st.lists(st.booleans(), min_size=1, max_size=40))
def test_without_gaps_it_does_what_prometheus_does(timing: Timing, truths: Sequence[bool]) -> None:
    timing = replace(timing, absence=False)
    rule = Rule(timing)
    active_at: float | None = None
    kept: float | None = None
    state = "inactive"
    for true in truths:
        rule.see(*([ONE] if true else []))
        now = rule.at
        if true:
            kept = None
            if state == "inactive":
                state, active_at = "pending", now
            if state == "pending" and now - (active_at or 0.0) >= timing.for_:
                state = "firing"
        elif state == "firing" and timing.keep_firing_for:
            kept = now if kept is None else kept
            state = "firing" if now - kept < timing.keep_firing_for else "inactive"
        else:
            state = "inactive"
        found = {t.alert.state for t in rule.state.alerts.values()} - {AlertState.RESOLVED}
        shown = {"keeping": "firing"}.get(next(iter(found)).value, next(iter(found)).value) if found else "inactive"
        assert shown == state


def test_alerts_of_one_rule_do_not_touch_each_other() -> None:
    """An alert whose own inputs are covered is not held by another broker's silence."""
    other = element({"alertname": "R", "broker": "1"}, 1.0)
    at = 1_000_000.0
    state, _ = advance("R", Timing(), RuleState(), [ONE, other], lambda labels: Evidence(oldest=at - 1), at)

    def evidence(labels: Mapping[str, str]) -> Evidence:
        return Evidence(("jmx of broker 2",)) if labels["broker"] == "2" else Evidence(oldest=at + 14)

    state, changes = advance("R", Timing(), state, [], evidence, at + 15)
    assert {(c.alert.labels["broker"], c.happened.value) for c in changes} == {("1", "resolved"), ("2", "held")}


def test_max_hold_is_the_rule_setting() -> None:
    rule = Rule(Timing(max_hold=60))
    rule.see(ONE)
    rule.see(missing=("x",))
    assert rule.see(missing=("x",), step=60) == ["unknown"]
