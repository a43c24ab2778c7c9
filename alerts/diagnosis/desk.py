"""The desk where it comes together: walks the trees of active alerts, keeps the incidents, writes them down, then sends."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from alerts.diagnosis.incidents import SHOWN_LASTS, Settings, State, known, step
from alerts.diagnosis.inputs import inputs_of
from alerts.diagnosis.postings import Links, Posting, Schedule, postings, with_external
from alerts.diagnosis.shown import Shown
from alerts.diagnosis.tree import Tree, Trees
from alerts.diagnosis.walk import World, diagnose
from alerts.model import Alert, Finding, Incident, Severity

log = structlog.get_logger(__name__)

REWALK = 15.0
"""Seconds between walks for an alert that has its incident; one that waits is walked each time."""

MOST_WALKS = 50
"""Walks in one pass; what is left over keeps its last findings until the next."""


class IncidentBook(Protocol):
    """Where incidents survive a restart. Does not raise: it tells of its own failures, and we go on from memory."""

    def load_incidents(self) -> Sequence[Incident]: ...

    def save_incidents(self, incidents: Sequence[Incident]) -> None: ...


class Outbox(Protocol):
    """Takes what is to be delivered and returns at once."""

    def post(self, batch: Sequence[Posting]) -> None:
        """What Alertmanagers are to be told now."""
        ...

    def tell(self, incidents: Sequence[Incident]) -> None:
        """All incidents as they are in the book; webhooks are told what they have not been told yet."""
        ...


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the desk asks of the daemon. ``world`` gives what can be seen of a cluster at a time; ``request_early`` asks for polls before their turn, and ``answered`` says
    whether polls of all these collectors that began at or after a time (Unix seconds) can be seen. ``shown`` gives what Alertmanager shows, for one of several
    Klaxons; it is asked with whether that is of interest now."""

    world: Callable[[str, float], World]
    request_early: Callable[[str, frozenset[str]], None]
    answered: Callable[[str, frozenset[str], float], bool]
    clock: Callable[[], float]
    shown: Callable[[bool], Shown | None] = lambda wanted: None


@dataclass(slots=True)
class _Walked:
    at: float
    findings: tuple[Finding, ...]


@dataclass(slots=True)
class Desk:
    """One for the daemon. ``tick`` after every evaluation of rules and at least each few seconds; calls come from one thread."""

    trees: Trees
    book: IncidentBook
    outbox: Outbox
    surroundings: Surroundings
    settings: Settings = field(default_factory=Settings)
    links: Links = field(default_factory=Links)
    external_labels: Mapping[str, str] = field(default_factory=dict)
    """What everything that is sent to Alertmanager carries."""
    _state: State = field(default_factory=State)
    _walked: dict[str, _Walked] = field(default_factory=dict)
    _schedule: Schedule = field(default_factory=Schedule)
    _failing: dict[str, str] = field(default_factory=dict)
    """Rule -> how its walk failed last, to log it once."""

    def restore(self) -> None:
        """Take over what the book has; call it once, before the first tick. Nothing is notified twice: labels and startsAt stay."""
        self._state = State.restored(self.book.load_incidents())

    @property
    def incidents(self) -> tuple[Incident, ...]:
        """Open ones and those closed not long ago; a snapshot that any thread may read."""
        return tuple(self._state.incidents.values())

    def findings(self, fingerprint: str) -> tuple[Finding, ...]:
        """What the walks of an active alert found last."""
        walked = self._walked.get(fingerprint)
        return walked.findings if walked is not None else ()

    def tick(self, alerts: Iterable[Alert]) -> None:
        """One pass over all alerts of the engine (resolved ones included)."""
        now = self.surroundings.clock()
        everything = list(alerts)
        active = [a for a in everything if a.active and a.severity is not Severity.NONE]
        self._walk(active, now)
        findings: Mapping[str, Sequence[Finding]] = {f: w.findings for f, w in self._walked.items()}
        answered = frozenset(a.fingerprint for a in active if self._answered(a))
        shown = self.surroundings.shown(bool(active) or bool(self._state.open))
        self._state, changes = step(self._state, everything, findings, now, self.settings, answered, shown)
        if changes.changed:
            self.book.save_incidents(changes.changed)
        self._ask_early(changes.began_waiting)
        said = postings(self.incidents, everything, self.links, self.settings.instance_label)
        if batch := self._schedule.due(said, now, self._left_to_others(active, shown, now)):
            self.outbox.post(with_external(batch, self.external_labels))
        self.outbox.tell(self.incidents)

    def _left_to_others(self, active: Sequence[Alert], shown: Shown | None, now: float) -> frozenset[str]:
        """Incidents that are over or held here and that Alertmanager shows no longer: another Klaxon has ended them, and it knows better."""
        if shown is None or self.settings.instance is None or now - shown.at > SHOWN_LASTS:
            return frozenset()
        seen = {a.fingerprint for a in active if a.held_since is None}
        unsure = [i for i in self._state.open if i.ended_at is not None or not seen & set(i.alerts)]
        label = self.settings.instance_label
        return frozenset(i.id for i in unsure if not shown.of((i.cluster, i.problem, i.subject), label))

    # --- walking

    def _walk(self, active: Sequence[Alert], now: float) -> None:
        worlds: dict[str, World] = {}
        walked = {a.fingerprint: w for a in active if (w := self._walked.get(a.fingerprint)) is not None}
        placed = {f for i in self._state.open for f in i.alerts}
        due = [a for a in active if self._due(a, walked.get(a.fingerprint), a.fingerprint in placed, now)]
        due.sort(key=lambda a: (-a.severity.rank, walked[a.fingerprint].at if a.fingerprint in walked else 0.0))
        for alert in due[:MOST_WALKS]:
            world = worlds.get(alert.cluster)
            if world is None:
                world = worlds[alert.cluster] = self.surroundings.world(alert.cluster, now)
            walked[alert.fingerprint] = _Walked(now, self._diagnosed(alert, world))
        self._walked = walked

    def _due(self, alert: Alert, last: _Walked | None, placed: bool, now: float) -> bool:
        if last is None or not placed or not 0 <= now - last.at < REWALK:
            return True
        return not all(known(f) and f.complete for f in last.findings)

    def _diagnosed(self, alert: Alert, world: World) -> tuple[Finding, ...]:
        try:
            found = diagnose(self.trees, alert, world)
        except Exception as error:  # part of the rule loop: a tree that cannot be walked must never hold back the alert that it should explain
            if self._failing.get(alert.rule) != repr(error):
                log.exception("walk failed", rule=alert.rule, cluster=alert.cluster, subject=alert.subject)
            self._failing[alert.rule] = repr(error)
            return ()
        self._failing.pop(alert.rule, None)
        return found

    def _ask_early(self, began: Sequence[Alert]) -> None:
        wanted: dict[str, frozenset[str]] = {}
        for alert in began:
            if names := self._wanted(alert):
                wanted[alert.cluster] = wanted.get(alert.cluster, frozenset()) | names
        for cluster, names in wanted.items():
            self.surroundings.request_early(cluster, names)

    def _answered(self, alert: Alert) -> bool:
        """Whether an alert that waits has got the polls that were asked for when its wait began."""
        since = self._state.waiting.get(alert.fingerprint)
        names = self._wanted(alert) if since is not None else frozenset()
        return since is not None and bool(names) and self.surroundings.answered(alert.cluster, names, since)

    def _wanted(self, alert: Alert) -> frozenset[str]:
        """The collectors whose data the alert's walk may ask for."""
        tree = self.trees.for_alert(alert.rule, alert.labels)
        return collectors(self.trees, tree) if tree is not None and alert.cluster else frozenset()


def collectors(trees: Trees, tree: Tree) -> frozenset[str]:
    """The collectors whose data a walk from this tree may ask for, trees that it leads to included."""
    seen: dict[str, Tree] = {}
    todo = [tree.name]
    while todo:
        current = trees.by_name[todo.pop()]
        seen[current.name] = current
        branches = (b for step in current.file.steps.values() for b in (step.found, step.none))
        todo += [b.tree for b in branches if b.tree is not None and b.tree not in seen]
    exprs = [t.exprs[s.expr] for t in seen.values() for s in t.file.steps.values()]
    return frozenset(i.owner.value for e in exprs for i in inputs_of(e))
