"""The life of alerts as a pure function: (state, samples, coverage, now) -> (state, changes); design 4.2.

inactive → pending → firing → keeping → resolved as in Prometheus, and *held*: while an input of the alert is uncovered it does not resolve, its ``for``
clock stands still, and nothing that rests on absence begins. What follows holds whatever the data, the gaps and the clock do:

- An alert resolves only if all its inputs were taken after it was last seen true.
- It fires only after its expression was true for ``for``: an interval counts when the evaluation at its end was true and covered.
- A failed evaluation holds the rule's alerts; it ends none.
- A gap between two evaluations of up to five minutes counts for ``for`` if the first evaluation after it is true; a longer one moves ``active_at``.
- A clock that was set back moves the times that are waited on with it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final, TypeAlias

from alerts.model import Alert, AlertState, fingerprint

MAX_HOLD: Final = 1800.0
"""Seconds after which a held alert says that it is unknown."""

OUTAGE_TOLERANCE: Final = 300.0
"""Seconds without evaluations that still count for ``for``."""

CLOCK_SLACK: Final = 1.0
"""Seconds that an input may be younger than the evaluation; more comes from before the clock was set back."""

RESOLVED_RETENTION: Final = 900.0
"""Seconds that a resolved alert is kept to be sent again; Prometheus's value."""


@dataclass(frozen=True, slots=True)
class Timing:
    """What the lifecycle must know of a rule; seconds."""

    for_: float = 0.0
    keep_firing_for: float = 0.0
    interval: float = 15.0
    absence: bool = False
    max_hold: float = MAX_HOLD


@dataclass(frozen=True, slots=True)
class Element:
    """One label set for which the expression is true; ``labels`` are the alert's, complete and expanded; ``id`` is their fingerprint."""

    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    value: float
    id: str


@dataclass(frozen=True, slots=True)
class Failed:
    """An evaluation that ended in an error: nothing is known."""

    reason: str


Outcome: TypeAlias = Sequence[Element] | Failed


@dataclass(frozen=True, slots=True)
class Evidence:
    """The inputs of one alert. ``missing`` names the uncovered ones in words; ``oldest`` is when the oldest of the others was taken (Unix seconds,
    infinite where nothing from outside is needed); ``impossible`` if the cluster cannot have one of them at all."""

    missing: tuple[str, ...] = ()
    oldest: float = float("inf")
    impossible: bool = False


EvidenceOf: TypeAlias = Callable[[Mapping[str, str]], Evidence]


@dataclass(frozen=True, slots=True)
class Tracked:
    """An alert with what only the lifecycle needs: since when it is kept firing without being true."""

    alert: Alert
    kept_since: float | None = None


@dataclass(frozen=True, slots=True)
class RuleState:
    """All alerts of one rule by fingerprint, resolved ones for 15 minutes."""

    evaluated_at: float | None = None
    alerts: Mapping[str, Tracked] = field(default_factory=dict)


class Happened(StrEnum):
    """What a change was."""

    PENDING = "pending"
    FIRING = "firing"
    KEEPING = "keeping"
    HELD = "held"
    UNKNOWN = "unknown"
    RELEASED = "released"
    RESOLVED = "resolved"
    FORGOTTEN = "forgotten"


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that happened to an alert in an evaluation; ``alert`` is how it stands afterwards."""

    happened: Happened
    alert: Alert


def advance(
    name: str,
    timing: Timing,
    state: RuleState,
    outcome: Outcome,
    evidence: EvidenceOf,
    now: float,
    queried_at: float | None = None,
) -> tuple[RuleState, tuple[Change, ...]]:
    """One evaluation of the rule ``name``. ``now`` is its place on the grid, ``queried_at`` when the data was looked at (now, if not given).

    Pure: the same arguments give the same answer.
    """
    step = _Step(name, timing, _clock_set_back(state, now), evidence, now, now if queried_at is None else queried_at)
    return step.failed(outcome) if isinstance(outcome, Failed) else step.evaluated(outcome)


def end_all(state: RuleState, now: float) -> tuple[RuleState, tuple[Change, ...]]:
    """Ends what a rule that is no longer there, or a cluster that is no longer watched, leaves behind: its question is gone."""
    alerts: dict[str, Tracked] = {}
    changes = []
    for key, tracked in state.alerts.items():
        if tracked.alert.active:
            tracked = _resolved(tracked, now)
            changes.append(Change(Happened.RESOLVED, tracked.alert))
        elif tracked.alert.state is AlertState.PENDING:
            changes.append(Change(Happened.FORGOTTEN, tracked.alert))
            continue
        alerts[key] = tracked
    return RuleState(now, alerts), tuple(changes)


@dataclass(slots=True)
class _Step:
    name: str
    timing: Timing
    state: RuleState
    evidence: EvidenceOf
    now: float
    queried_at: float
    alerts: dict[str, Tracked] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)

    def failed(self, outcome: Failed) -> tuple[RuleState, tuple[Change, ...]]:
        for key, tracked in self.state.alerts.items():
            if tracked.alert.state is AlertState.RESOLVED:
                self._age(key, tracked)
            else:
                self._put(key, tracked, self._held(self._paused(tracked), (outcome.reason,)))
        return self._done()

    def evaluated(self, elements: Sequence[Element]) -> tuple[RuleState, tuple[Change, ...]]:
        present: set[str] = set()
        for element in elements:
            present.add(element.id)
            tracked = self.state.alerts.get(element.id)
            if tracked is None or tracked.alert.state is AlertState.RESOLVED:
                self._begin(element, tracked)
            else:
                self._true(element, tracked)
        for key, tracked in self.state.alerts.items():
            if key in present:
                continue
            if tracked.alert.state is AlertState.RESOLVED:
                self._age(key, tracked)
            else:
                self._not_true(key, tracked)
        return self._done()

    def _done(self) -> tuple[RuleState, tuple[Change, ...]]:
        return RuleState(self.now, self.alerts), tuple(self.changes)

    # --- the three cases

    def _begin(self, element: Element, resolved: Tracked | None) -> None:
        evidence = self.evidence(element.labels)
        if self.timing.absence and (evidence.missing or evidence.impossible):
            if resolved is not None:
                self._age(element.id, resolved)
            return
        alert = Alert(
            self.name,
            element.labels,
            element.annotations,
            AlertState.PENDING,
            active_at=self.now,
            value=element.value,
            last_true_at=self.queried_at,
        )
        tracked = Tracked(alert)
        self.changes.append(Change(Happened.PENDING, alert))
        self._put(
            element.id, tracked, self._held(tracked, evidence.missing) if evidence.missing else self._ripe(tracked)
        )

    def _true(self, element: Element, before: Tracked) -> None:
        evidence = self.evidence(element.labels)
        alert = replace(
            before.alert, value=element.value, annotations=element.annotations, last_true_at=self.queried_at
        )
        if alert.state is AlertState.KEEPING:
            alert = replace(alert, state=AlertState.FIRING)
        tracked = Tracked(alert)
        if evidence.missing:
            self._put(element.id, before, self._held(self._paused(tracked), evidence.missing))
            return
        self._put(element.id, before, self._ripe(_released(self._outage(tracked))))

    def _not_true(self, key: str, before: Tracked) -> None:
        evidence = self.evidence(before.alert.labels)
        if evidence.missing:
            self._put(key, before, self._held(self._paused(before), evidence.missing))
        elif not self._proves(evidence, before.alert):
            # Covered, but by what was taken before it was last true: that it is gone now proves nothing yet.
            self._put(key, before, _released(self._paused(before)))
        elif before.alert.state is AlertState.PENDING:
            self.changes.append(Change(Happened.FORGOTTEN, before.alert))
        else:
            self._put(key, before, self._keeping(_released(before)))

    def _proves(self, evidence: Evidence, alert: Alert) -> bool:
        """Whether all inputs were taken after the alert was last seen true (and not in a future that a clock set back has left behind)."""
        after = evidence.oldest > (alert.last_true_at or 0.0)
        return after and (math.isinf(evidence.oldest) or evidence.oldest <= self.queried_at + CLOCK_SLACK)

    # --- what can become of an alert

    def _ripe(self, tracked: Tracked) -> Tracked:
        alert = tracked.alert
        if alert.state is AlertState.PENDING and self.now - alert.active_at >= self.timing.for_:
            return Tracked(replace(alert, state=AlertState.FIRING, fired_at=self.now))
        return tracked

    def _keeping(self, tracked: Tracked) -> Tracked:
        since = self.now if tracked.kept_since is None else tracked.kept_since
        if self.now - since < self.timing.keep_firing_for:
            return Tracked(replace(tracked.alert, state=AlertState.KEEPING), since)
        return _resolved(tracked, self.now)

    def _held(self, tracked: Tracked, missing: tuple[str, ...]) -> Tracked:
        since = self.now if tracked.alert.held_since is None else tracked.alert.held_since
        unknown = self.now - since >= self.timing.max_hold
        return replace(tracked, alert=replace(tracked.alert, held_since=since, held_inputs=missing, unknown=unknown))

    def _paused(self, tracked: Tracked) -> Tracked:
        """The ``for`` clock stands still: the time since the last evaluation does not count."""
        if tracked.alert.state is not AlertState.PENDING or self.state.evaluated_at is None:
            return tracked
        return _moved(tracked, self.now - self.state.evaluated_at)

    def _outage(self, tracked: Tracked) -> Tracked:
        """After a long time without evaluations ``active_at`` moves by it, so that nobody's silence counts as truth."""
        if tracked.alert.state is not AlertState.PENDING or self.state.evaluated_at is None:
            return tracked
        outage = self.now - self.state.evaluated_at - self.timing.interval
        return _moved(tracked, outage) if outage > OUTAGE_TOLERANCE else tracked

    def _age(self, key: str, tracked: Tracked) -> None:
        if self.now - (tracked.alert.resolved_at or 0.0) <= RESOLVED_RETENTION:
            self.alerts[key] = tracked

    def _put(self, key: str, before: Tracked, after: Tracked) -> None:
        self.alerts[key] = after
        old, new = before.alert, after.alert
        if old.held_since is None and new.held_since is not None:
            self.changes.append(Change(Happened.HELD, new))
        elif old.held_since is not None and new.held_since is None and new.state is not AlertState.RESOLVED:
            self.changes.append(Change(Happened.RELEASED, new))
        if new.unknown and not old.unknown:
            self.changes.append(Change(Happened.UNKNOWN, new))
        if old.state is not new.state:
            self.changes.append(Change(Happened(new.state.value), new))


def _moved(tracked: Tracked, by: float) -> Tracked:
    return replace(tracked, alert=replace(tracked.alert, active_at=tracked.alert.active_at + by))


def _released(tracked: Tracked) -> Tracked:
    if tracked.alert.held_since is None:
        return tracked
    return replace(tracked, alert=replace(tracked.alert, held_since=None, held_inputs=(), unknown=False))


def _resolved(tracked: Tracked, now: float) -> Tracked:
    alert = replace(
        tracked.alert, state=AlertState.RESOLVED, resolved_at=now, held_since=None, held_inputs=(), unknown=False
    )
    return Tracked(alert)


def _clock_set_back(state: RuleState, now: float) -> RuleState:
    """The state as if the clock had always shown what it shows now; when an alert fired keeps its time, which others have been told."""
    if state.evaluated_at is None or now >= state.evaluated_at:
        return state
    back = state.evaluated_at - now
    return RuleState(now, {key: _set_back(tracked, back, now) for key, tracked in state.alerts.items()})


def _set_back(tracked: Tracked, back: float, now: float) -> Tracked:
    alert = tracked.alert
    alert = replace(
        alert,
        active_at=alert.active_at - back if alert.state is AlertState.PENDING else alert.active_at,
        last_true_at=None if alert.last_true_at is None else min(alert.last_true_at, now),
        held_since=None if alert.held_since is None else alert.held_since - back,
        resolved_at=None if alert.resolved_at is None else min(alert.resolved_at, now),
    )
    return Tracked(alert, None if tracked.kept_since is None else tracked.kept_since - back)


def element(labels: Mapping[str, str], value: float, annotations: Mapping[str, str] | None = None) -> Element:
    """An element with its fingerprint."""
    return Element(labels, annotations or {}, value, fingerprint(labels))
