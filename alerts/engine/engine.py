"""The rule loop: evaluates every group on its grid, lets alerts live by the lifecycle, writes the book before anyone is told, and keeps one bad rule from others.

The grid is Prometheus's: a group's ticks are its phase (a hash of file and name) plus whole intervals since 1970, so that groups do not all run at once and a
restart changes nothing. Missed ticks are skipped. Clocks (``for``, ``active_at``, recorded samples) stand on the grid; data are looked at when the evaluation
really runs, so that they are never older than the coverage that vouches for them.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from alerts.engine.evidence import ALERTS, ALERTS_FOR_STATE, CoverageOf, Inputs
from alerts.engine.lifecycle import (
    MAX_HOLD,
    Change,
    Element,
    Evidence,
    Failed,
    RuleState,
    Timing,
    Tracked,
    advance,
    end_all,
)
from alerts.engine.querier import Querier
from alerts.engine.rules import AlertingRule, RecordingRule, Rule, RuleGroup, RuleSet
from alerts.engine.template import QueryRow, Scope, Template
from alerts.model import Alert, AlertState, fingerprint
from alerts.promql.errors import QueryError
from alerts.promql.syntax import Expr
from alerts.promql.values import Scalar, Value, Vector
from exporter.series import METRIC_NAME, NO_LABELS, Labels

REWRITE_AFTER: Final = 60.0
"""Seconds after which an alert is written again though only its value or annotations changed."""

_EXPANSIONS_SPARE: Final = 16
"""Label sets without an alert that a rule remembers beyond as many as it has."""

_ALERT_SERIES: Final = (ALERTS, ALERTS_FOR_STATE)

NO_ROWS: Final[Mapping[Labels, float]] = {}


@dataclass(frozen=True, slots=True)
class StoredAlert:
    """An alert as the book keeps it: the rule's key and what the lifecycle knows."""

    rule_key: str
    tracked: Tracked


class AlertBook(Protocol):
    """What the engine needs of the book. Writing may raise; the engine goes on from memory and writes again next time."""

    def load_alerts(self) -> Iterable[StoredAlert]: ...

    def load_evaluations(self) -> Mapping[str, float]:
        """Group key -> its last evaluation, Unix seconds."""
        ...

    def save_alerts(
        self, written: Sequence[StoredAlert], removed: Sequence[tuple[str, str]], evaluations: Mapping[str, float]
    ) -> None:
        """In one transaction: alerts to write, (rule key, fingerprint) to remove, and when groups were evaluated."""
        ...


class NoBook:
    """A book that remembers nothing."""

    def load_alerts(self) -> Iterable[StoredAlert]:
        return ()

    def load_evaluations(self) -> Mapping[str, float]:
        return {}

    def save_alerts(
        self, written: Sequence[StoredAlert], removed: Sequence[tuple[str, str]], evaluations: Mapping[str, float]
    ) -> None:
        pass


class SeriesSink(Protocol):
    """Where ALERTS and recorded series go."""

    def append_series(self, name: str, rows: Iterable[tuple[Labels, float]], at_ms: int, source: str = "") -> None:
        """Takes all series that one rule (``source``, its key) gives of this metric at one time; those of its call before that are missing end."""
        ...


class Observer(Protocol):
    """Told of what goes wrong and how long it took, for logs and metrics."""

    def rule_failed(self, group: RuleGroup, rule: Rule, reason: str) -> None: ...

    def group_evaluated(self, group: RuleGroup, at: float, seconds: float) -> None: ...

    def book_failed(self, error: Exception) -> None: ...


@dataclass(frozen=True, slots=True)
class RuleStatus:
    """One rule for pages and ``/api/v1/rules``. ``error`` is "" after a good evaluation."""

    rule: Rule
    error: str
    failures: int
    evaluated_at: float | None
    seconds: float
    alerts: tuple[Alert, ...]


@dataclass(frozen=True, slots=True)
class GroupStatus:
    group: RuleGroup
    evaluated_at: float | None
    seconds: float
    rules: tuple[RuleStatus, ...]


@dataclass(slots=True)
class _Live:
    """What the engine knows of one rule."""

    names: tuple[str, ...]
    """Of the series that it writes."""
    state: RuleState = field(default_factory=RuleState)
    written: dict[str, tuple[Tracked, float]] = field(default_factory=dict)
    shown: bool = False
    """Whether it has series that must be ended."""
    expanded: dict[Labels, tuple[Labels, str]] = field(default_factory=dict)
    error: str = ""
    failures: int = 0
    evaluated_at: float | None = None
    seconds: float = 0.0


class Engine:
    """Evaluates a rule set. ``evaluate_due``, ``restore``, ``reload`` and ``keep_clusters`` belong to one thread; the rest may be read from any.

    ``coverage`` must speak of a Snapshot that is in the history already (the one that was appended last), with an entry for every configured cluster, before
    its first poll too. ``clock`` gives Unix seconds.
    """

    def __init__(
        self,
        rules: RuleSet,
        querier: Querier,
        coverage: Callable[[], CoverageOf],
        book: AlertBook,
        clock: Callable[[], float],
        *,
        sink: SeriesSink | None = None,
        observer: Observer | None = None,
        external_url: str = "",
        external_labels: Mapping[str, str] = NO_LABELS,
        max_hold: float = MAX_HOLD,
    ) -> None:
        self._querier = querier
        self._coverage = coverage
        self._book = book
        self._clock = clock
        self._sink = sink
        self._observer = observer
        self._external_url = external_url
        self._external_labels = external_labels
        self._max_hold = max_hold
        self._groups: tuple[RuleGroup, ...] = ()
        self._live: dict[str, _Live] = {}
        self._last: dict[str, float] = {}
        self._group_seconds: dict[str, float] = {}
        self._left: dict[str, _Live] = {}
        self._gone: list[tuple[str, str]] = []
        self._alerts: tuple[Alert, ...] = ()
        self._status: tuple[GroupStatus, ...] = ()
        self._lock = threading.Lock()
        self._adopt(rules)
        self._publish()

    # --- reading, from any thread

    def alerts(self) -> tuple[Alert, ...]:
        """All alerts as they stood after the last evaluation: pending, firing, keeping, and resolved ones for 15 minutes."""
        return self._alerts

    def status(self) -> tuple[GroupStatus, ...]:
        """All groups and rules with their health and alerts."""
        return self._status

    @property
    def rules(self) -> RuleSet:
        return RuleSet(self._groups)

    def next_due(self, now: float) -> float:
        """When the next group is due, Unix seconds; a minute from now without groups."""
        due = [self._due(group, now) for group in self._groups]
        return min(
            (now if at is not None else _tick(now, g) + g.interval for g, at in zip(self._groups, due, strict=True)),
            default=now + 60.0,
        )

    # --- changing, from one thread

    def restore(self, now: float | None = None) -> tuple[Change, ...]:
        """Takes up what the book remembers; call once, before the first evaluation. Alerts of rules that are gone end; those are the changes."""
        now = self._clock() if now is None else now
        evaluations = dict(self._book.load_evaluations())
        group_of = {rule.key: group for group in self._groups for rule in group.rules}
        for stored in self._book.load_alerts():
            live = self._live.get(stored.rule_key)
            if live is None or live.names != _ALERT_SERIES:
                live = self._left.setdefault(stored.rule_key, _Live(_ALERT_SERIES))
            group = group_of.get(stored.rule_key)
            evaluated_at = None if group is None else evaluations.get(group.key)
            may_be_true_at = None if group is None or evaluated_at is None else min(now, evaluated_at + group.interval)
            tracked = _remembered(stored.tracked, may_be_true_at)
            key = tracked.alert.fingerprint
            live.state = RuleState(evaluated_at, {**live.state.alerts, key: tracked})
            live.written[key] = (tracked, now)
            live.shown |= _shows(tracked.alert)
        keys = {group.key for group in self._groups}
        self._last = {key: at for key, at in evaluations.items() if key in keys}
        changes = self._end_left(now)
        self._write(now)
        self._publish()
        return changes

    def reload(self, rules: RuleSet, external_labels: Mapping[str, str] = NO_LABELS) -> tuple[Change, ...]:
        """Changes to another rule set; rules keep their alerts by file, group, name and labels, the alerts and series of rules that are gone end."""
        before, self._external_labels = self._live, external_labels
        self._adopt(rules)
        for key, live in before.items():
            if key not in self._live:
                self._left[key] = live
        now = self._clock()
        changes = self._end_left(now)
        self._write(now)
        self._publish()
        return changes

    def keep_clusters(self, clusters: Collection[str]) -> tuple[Change, ...]:
        """Ends the alerts of clusters that are no longer configured."""
        now = self._clock()
        changes: list[Change] = []
        for live in self._live.values():
            gone = {k: t for k, t in live.state.alerts.items() if t.alert.cluster and t.alert.cluster not in clusters}
            if gone:
                ended, some = end_all(RuleState(live.state.evaluated_at, gone), now)
                kept = {k: t for k, t in live.state.alerts.items() if k not in gone}
                live.state = RuleState(live.state.evaluated_at, {**kept, **ended.alerts})
                changes += some
        self._write(now)
        self._publish()
        return tuple(changes)

    def evaluate_due(self, now: float | None = None) -> tuple[Change, ...]:
        """Evaluates every group that is due; gives what happened, already in the book (or, if that failed, in memory only)."""
        now = self._clock() if now is None else now
        due = [(group, at) for group in self._groups if (at := self._due(group, now)) is not None]
        if not due:
            return ()
        coverage = self._coverage()
        changes = [change for group, at in due for change in self._evaluate_group(group, coverage, at, now)]
        self._age_left(now)
        self._write(now)
        self._publish()
        return tuple(changes)

    def _evaluate_group(self, group: RuleGroup, coverage: CoverageOf, at: float, now: float) -> Iterable[Change]:
        started = time.perf_counter()
        changes = [change for rule in group.rules for change in self._evaluate(group, rule, coverage, at, now)]
        self._last[group.key] = at
        self._group_seconds[group.key] = time.perf_counter() - started
        if self._observer is not None:
            self._observer.group_evaluated(group, at, self._group_seconds[group.key])
        return changes

    def _due(self, group: RuleGroup, now: float) -> float | None:
        """The tick that is to be evaluated now, None if its last one has been. A clock that was set back by more than a tick begins anew."""
        at = _tick(now, group)
        last = self._last.get(group.key)
        return at if last is None or at > last or at < last - group.interval else None

    # --- one rule

    def _evaluate(self, group: RuleGroup, rule: Rule, coverage: CoverageOf, at: float, now: float) -> Sequence[Change]:
        live = self._live[rule.key]
        started = time.perf_counter()
        reason = ""
        changes: Sequence[Change] = ()
        queried_at = (at if now - at >= group.interval else now) - group.query_offset
        try:
            if isinstance(rule, RecordingRule):
                self._record(group, live, rule, queried_at, at - group.query_offset)
            else:
                changes = self._alert(group, live, rule, coverage, at, queried_at)
        except Exception as error:  # noqa: BLE001 - the rule loop: a failure in one rule harms no other
            reason = _reason(error)
            if isinstance(rule, AlertingRule):
                changes = self._fail(group, live, rule, reason, at)
        live.error, live.evaluated_at, live.seconds = reason, at, time.perf_counter() - started
        if reason:
            live.failures += 1
            if self._observer is not None:
                self._observer.rule_failed(group, rule, reason)
        return changes

    def _alert(
        self, group: RuleGroup, live: _Live, rule: AlertingRule, coverage: CoverageOf, at: float, queried_at: float
    ) -> Sequence[Change]:
        inputs = Inputs(rule.needs, coverage, self._querier, queried_at)
        outcome = self._elements(live, rule, queried_at)
        _limited(group, len(outcome), "alerts")
        live.state, changes = advance(
            rule.name, self._timing(group, rule), live.state, outcome, inputs.evidence, at, queried_at
        )
        self._show(rule.key, live, at - group.query_offset)
        return changes

    def _fail(self, group: RuleGroup, live: _Live, rule: AlertingRule, reason: str, at: float) -> Sequence[Change]:
        """Nothing is known: every alert of the rule is held."""
        failed = Failed(f"the rule's evaluation failed: {reason}")
        live.state, changes = advance(rule.name, self._timing(group, rule), live.state, failed, _unasked, at)
        self._show(rule.key, live, at - group.query_offset)
        return changes

    def _timing(self, group: RuleGroup, rule: AlertingRule) -> Timing:
        return Timing(rule.for_, rule.keep_firing_for, group.interval, rule.absence, self._max_hold)

    def _elements(self, live: _Live, rule: AlertingRule, at: float) -> Sequence[Element]:
        elements: list[Element] = []
        seen: set[str] = set()
        for labels, value in self._rows(rule.expr, at):
            scope = self._scope(labels, value, at)
            complete, key = self._labels(live, rule, labels, scope)
            if key in seen:
                raise RuleFailure(f"two results have the same labels {complete} once the rule's labels are added")
            seen.add(key)
            annotations = {name: template.expand(scope) for name, template in rule.annotations}
            elements.append(Element(complete, annotations, value, key))
        if len(live.expanded) > 2 * len(elements) + _EXPANSIONS_SPARE:
            live.expanded = {of: made for of, made in live.expanded.items() if made[1] in seen}
        return elements

    def _scope(self, labels: Labels, value: float, at: float) -> Scope:
        return Scope(
            labels,
            value,
            lambda expr: self._query_rows(expr, at),
            self._external_url,
            self._external_labels,
            at,
        )

    def _labels(self, live: _Live, rule: AlertingRule, labels: Labels, scope: Scope) -> tuple[Labels, str]:
        """The alert's labels and their fingerprint; remembered as long as they follow from the element's labels alone."""
        known = live.expanded.get(labels)
        if known is not None:
            return known
        pairs = {name: value for name, value in labels.items() if name != METRIC_NAME}
        pairs.update((name, template.expand(scope)) for name, template in rule.labels)
        pairs["alertname"] = rule.name
        complete = Labels.of(pairs)
        made = (complete, fingerprint(complete))
        if not any(_changes(template) for _, template in rule.labels):
            live.expanded[labels] = made
        return made

    def _rows(self, expr: Expr, at: float) -> Iterable[tuple[Labels, float]]:
        return rows_of(self._querier.evaluate(expr, at))

    def _query_rows(self, expr: Expr, at: float) -> list[QueryRow]:
        return [QueryRow(labels, value) for labels, value in self._rows(expr, at)]

    def _record(self, group: RuleGroup, live: _Live, rule: RecordingRule, queried_at: float, at: float) -> None:
        added = dict(rule.labels)
        rows: dict[Labels, float] = {}
        for labels, value in self._rows(rule.expr, queried_at):
            complete = Labels.of({**labels, **added, METRIC_NAME: rule.name})
            if complete in rows:
                raise RuleFailure(f"two results have the same labels {complete} once the rule's labels are added")
            rows[complete] = value
        _limited(group, len(rows), "series")
        self._append(rule.key, live, (rows,), at)

    def _show(self, key: str, live: _Live, at: float) -> None:
        """ALERTS and ALERTS_FOR_STATE as Prometheus writes them: pending and firing, a kept one as firing."""
        shown = [t.alert for t in live.state.alerts.values() if _shows(t.alert)]
        states = {_shown(alert): 1.0 for alert in shown}
        since = {_since(alert): float(math.floor(alert.active_at)) for alert in shown}
        self._append(key, live, (states, since), at)

    def _append(self, key: str, live: _Live, tables: Sequence[Mapping[Labels, float]], at: float) -> None:
        """One table for each metric that the rule writes; without rows its series end."""
        if self._sink is not None and (live.shown or any(tables)):
            for name, rows in zip(live.names, tables or [NO_ROWS] * len(live.names), strict=True):
                self._sink.append_series(name, rows.items(), round(at * 1000), key)
        live.shown = any(tables)

    # --- rule sets

    def _adopt(self, rules: RuleSet) -> None:
        before = self._live
        self._groups = rules.groups
        self._live = {}
        for group in rules.groups:
            for rule in group.rules:
                names = _ALERT_SERIES if isinstance(rule, AlertingRule) else (rule.name,)
                live = self._live[rule.key] = before.get(rule.key) or _Live(names)
                live.expanded = {}
        keys = {group.key for group in rules.groups}
        self._last = {key: at for key, at in self._last.items() if key in keys}

    def _end_left(self, now: float) -> tuple[Change, ...]:
        changes: list[Change] = []
        for key, live in self._left.items():
            live.state, some = end_all(live.state, now)
            changes += some
            self._append(key, live, (), now)
        return tuple(changes)

    def _age_left(self, now: float) -> None:
        """Resolved alerts of rules that are gone are kept for their 15 minutes too."""
        for key, live in list(self._left.items()):
            live.state, _ = advance("", Timing(), live.state, (), _unasked, now)
            if not live.state.alerts:
                self._gone += [(key, alert) for alert in live.written]
                del self._left[key]

    # --- book and publication

    def _write(self, now: float) -> None:
        """What changed goes to the book in one transaction; what could not be written is tried again next time."""
        written: list[tuple[_Live, str, Tracked]] = []
        stored: list[StoredAlert] = []
        removed: list[tuple[_Live | None, str, str]] = [(None, key, alert) for key, alert in self._gone]
        for key, live in (*self._live.items(), *self._left.items()):
            for alert_id, tracked in live.state.alerts.items():
                known = live.written.get(alert_id)
                if known is None or _differs(known[0], tracked) or now - known[1] >= REWRITE_AFTER or now < known[1]:
                    written.append((live, alert_id, tracked))
                    stored.append(StoredAlert(key, tracked))
            removed += [(live, key, alert_id) for alert_id in live.written if alert_id not in live.state.alerts]
        try:
            self._book.save_alerts(stored, [(key, alert_id) for _, key, alert_id in removed], dict(self._last))
        except Exception as error:  # noqa: BLE001 - the rule loop: without a book it goes on from memory
            if self._observer is not None:
                self._observer.book_failed(error)
            return
        for live, alert_id, tracked in written:
            live.written[alert_id] = (tracked, now)
        for owner, _, alert_id in removed:
            if owner is not None:
                owner.written.pop(alert_id, None)
        self._gone = []

    def _publish(self) -> None:
        alerts = tuple(
            t.alert for live in (*self._live.values(), *self._left.values()) for t in live.state.alerts.values()
        )
        status = tuple(
            GroupStatus(
                group,
                self._last.get(group.key),
                self._group_seconds.get(group.key, 0.0),
                tuple(_rule_status(rule, self._live[rule.key]) for rule in group.rules),
            )
            for group in self._groups
        )
        with self._lock:
            self._alerts, self._status = alerts, status


class RuleFailure(Exception):
    """An evaluation whose result cannot be alerts or series."""


def _rule_status(rule: Rule, live: _Live) -> RuleStatus:
    alerts = tuple(t.alert for t in live.state.alerts.values())
    return RuleStatus(rule, live.error, live.failures, live.evaluated_at, live.seconds, alerts)


def _tick(now: float, group: RuleGroup) -> float:
    """The group's newest tick."""
    return math.floor(round((now - group.phase) / group.interval, 6)) * group.interval + group.phase


def rows_of(value: Value) -> Iterable[tuple[Labels, float]]:
    """The elements of a vector, a scalar as one without labels. Raises RuleFailure for anything else."""
    if isinstance(value, Scalar):
        return [(NO_LABELS, value.value)]
    if not isinstance(value, Vector):
        raise RuleFailure("the expression gives neither a vector nor a scalar")
    return zip(value.labels, value.values.tolist(), strict=True)


def _limited(group: RuleGroup, count: int, what: str) -> None:
    if group.limit and count > group.limit:
        raise RuleFailure(f"the rule gives {count} {what}, its group's limit is {group.limit}")


def _remembered(tracked: Tracked, may_be_true_at: float | None) -> Tracked:
    """An alert from the book. Not every evaluation that finds it true again is written, so it may have been true at the last one: what was taken before
    that proves nothing."""
    alert = tracked.alert
    last = alert.last_true_at
    if alert.state is not AlertState.RESOLVED and may_be_true_at is not None:
        last = may_be_true_at if last is None else max(last, may_be_true_at)
    return replace(tracked, alert=replace(alert, labels=Labels.of(alert.labels), last_true_at=last))


def _shows(alert: Alert) -> bool:
    return alert.state is not AlertState.RESOLVED


def _shown(alert: Alert) -> Labels:
    """The series of ALERTS for an alert."""
    state = AlertState.PENDING if alert.state is AlertState.PENDING else AlertState.FIRING
    return Labels.of({**alert.labels, METRIC_NAME: ALERTS, "alertstate": state.value})


def _since(alert: Alert) -> Labels:
    """The series of ALERTS_FOR_STATE for an alert."""
    return Labels.of({**alert.labels, METRIC_NAME: ALERTS_FOR_STATE})


def _changes(template: Template) -> bool:
    """Whether a template can give another text for the same labels."""
    return template.varies


def _differs(old: Tracked, new: Tracked) -> bool:
    """Whether more than the value, its texts and the time it was last true changed."""
    if old is new:
        return False
    a, b = old.alert, new.alert
    if old.kept_since != new.kept_since or a.state is not b.state or a.unknown != b.unknown:
        return True
    return (a.active_at, a.fired_at, a.resolved_at, a.held_since, a.held_inputs) != (
        b.active_at,
        b.fired_at,
        b.resolved_at,
        b.held_since,
        b.held_inputs,
    )


def _reason(error: Exception) -> str:
    text = str(error)
    return text if isinstance(error, RuleFailure | QueryError) and text else f"{type(error).__name__}: {text}"


def _unasked(labels: Mapping[str, str]) -> Evidence:
    return Evidence()
