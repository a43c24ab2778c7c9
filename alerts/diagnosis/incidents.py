"""Incidents as a pure function: (state, alerts, findings, now) -> (state, changes); design 4.4.

An alert waits a short while for its cause and then opens an incident or joins one. Whatever the alerts, the findings, the restarts and the clock do:

- There is never more than one open incident of one cluster, problem and subject.
- Nothing is withheld for want of a diagnosis: after ``settle`` seconds an alert goes out as its rule describes it.
- What was posted stays posted, with the same labels and startsAt, until the incident closes; then all of it resolves, once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final

from alerts.diagnosis.routing import Route, routed
from alerts.diagnosis.shown import Shown, ShownAlert
from alerts.diagnosis.tree import BUILT_IN_CAUSES, HEALED
from alerts.engine.maintenance import Window, window_of
from alerts.model import Alert, Confidence, Finding, Incident, Severity, incident_id

CLUSTER: Final = "cluster"
"""The subject of an incident that concerns a whole cluster."""

STORM: Final = "KafkaManyIncidents"
"""The problem of the one incident that stands for all above the storm limit."""

HISTORY_KEPT: Final = 100

NAMED: Final = 200
"""Incidents that a summary names; it counts them all."""

OWN: Final = "Klaxon"
"""Problems of Klaxon itself begin with it: they are told for each Klaxon."""

STEP: Final = 15.0
"""Seconds that each further Klaxon of the same clusters waits before it opens an incident."""

SHOWN_LASTS: Final = 6.0
"""Seconds that Alertmanager's word on what it shows is good for; so long an opening waits for a new one, no longer."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Seconds, and a count."""

    settle: float = 10.0
    """How long an alert may wait for its cause."""
    gather: float = 2.0
    """How long one whose cause is sure waits for others of the same fault."""
    close_after: float = 120.0
    """How long an incident stays open after its last alert; a return within that is the same one."""
    keep_closed: float = 900.0
    """How long a closed one is kept, to be sent as resolved again."""
    quiet_period: float = 900.0
    """An incident that returns within this after it was closed closes the next time only after so long a silence."""
    storm_limit: int = 20
    """Incidents of one cluster that are sent on their own; what comes on top is summed up in one, until no more than half as many are left."""
    windows: tuple[Window, ...] = ()
    """Maintenance: what they are about is shown and not sent; what is still there at their end is sent then."""
    routes: tuple[Route, ...] = ()
    instance: int | None = None
    """Which one this is, from 0, of several Klaxons that watch the same clusters; None for one alone."""

    @property
    def instance_label(self) -> str:
        return "" if self.instance is None else str(self.instance)


@dataclass(frozen=True, slots=True)
class State:
    """All incidents by id, the latest of each id, closed ones for a while; and since when alerts without an incident wait."""

    incidents: Mapping[str, Incident] = field(default_factory=dict)
    waiting: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def restored(cls, incidents: Iterable[Incident]) -> State:
        """From the book: those that are open, and those closed not long ago."""
        latest: dict[str, Incident] = {}
        for incident in sorted(incidents, key=lambda i: i.opened_at):
            latest[incident.id] = incident
        return cls(MappingProxyType(latest))

    @property
    def open(self) -> tuple[Incident, ...]:
        return tuple(i for i in self.incidents.values() if i.closed_at is None)


@dataclass(frozen=True, slots=True)
class Changes:
    """What a step did. ``changed`` must be in the book before anything is sent; ``began_waiting`` are alerts whose trees want fresh data."""

    changed: tuple[Incident, ...] = ()
    began_waiting: tuple[Alert, ...] = ()


Findings = Mapping[str, Sequence[Finding]]
"""Alert fingerprint -> what its walks found last; absent or empty where nothing was walked."""


def step(
    state: State,
    alerts: Iterable[Alert],
    findings: Findings,
    now: float,
    settings: Settings = Settings(),
    answered: Collection[str] = (),
    shown: Shown | None = None,
) -> tuple[State, Changes]:
    """One step at ``now`` (Unix seconds). Alerts of severity none are no incidents. Pure: the same arguments give the same answer.

    ``answered`` are the fingerprints of waiting alerts whose trees have got all the fresh polls that they wanted: what they do not know now they will not know soon.
    ``shown`` is what Alertmanager shows, for one of several Klaxons: what another one opened is adopted.
    """
    return _Step(state, alerts, findings, now, settings, answered, shown).run()


def known(finding: Finding) -> bool:
    """Whether the walk ended at a cause of its tree."""
    return finding.cause not in BUILT_IN_CAUSES


class _Step:
    def __init__(
        self,
        state: State,
        alerts: Iterable[Alert],
        findings: Findings,
        now: float,
        settings: Settings,
        answered: Collection[str],
        shown: Shown | None,
    ) -> None:
        active = [a for a in alerts if a.active and a.severity is not Severity.NONE]
        self.alerts = {
            a.fingerprint: a for a in sorted(active, key=lambda a: (a.fired_at or a.active_at, a.fingerprint))
        }
        self.findings = findings
        self.now = now
        self.settings = settings
        self.answered = answered
        self.shown = shown if settings.instance is not None else None
        self.before = state
        kept = max(settings.keep_closed, settings.quiet_period)
        self.incidents = {i.id: i for i in state.incidents.values() if i.closed_at is None or now - i.closed_at < kept}
        self.waiting: dict[str, float] = {}
        self.began: list[Alert] = []

    def run(self) -> tuple[State, Changes]:
        for alert in self.alerts.values():
            self._place(alert)
        for incident in self._open():
            self._refresh(incident)
            self._maintain(self.incidents[incident.id])
        self._nest()
        self._calm_storms()
        for incident in self._open():
            self._send_or_close(incident)
        state = State(MappingProxyType(self.incidents), MappingProxyType(self.waiting))
        return state, Changes(tuple(self._changed()), tuple(self.began))

    def _open(self) -> list[Incident]:
        return [i for i in self.incidents.values() if i.closed_at is None]

    def _changed(self) -> Iterator[Incident]:
        for incident in self.incidents.values():
            old = self.before.incidents.get(incident.id)
            if old is None or _material(old) != _material(incident):
                yield incident

    def _put(self, incident: Incident, said: str = "") -> None:
        if said:
            incident = replace(incident, history=(*incident.history, (self.now, said))[-HISTORY_KEPT:])
        self.incidents[incident.id] = incident

    # --- where an alert belongs

    def _place(self, alert: Alert) -> None:
        homes = [i for i in self._open() if alert.fingerprint in i.alerts and i.problem != STORM]
        targets = self._targets(alert)
        if homes:
            self._move(alert, homes, targets)
        elif self._join_open(alert, targets) or self._adopted(alert):
            return
        elif self._ready(alert, targets):
            self._open_for(alert, targets)

    def _targets(self, alert: Alert) -> list[Finding]:
        """The findings that say where the alert belongs."""
        return [f for f in self.findings.get(alert.fingerprint, ()) if known(f)]

    def _home_of(self, finding: Finding) -> Incident | None:
        """The open incident of the same problem and subject, or of the same cause and subject under another name."""
        named = self.incidents.get(incident_id(finding.cluster, finding.problem, finding.subject))
        if named is not None and named.closed_at is None:
            return named
        return next((i for i in self._open() if _same_fault(i, finding)), None)

    def _move(self, alert: Alert, homes: Sequence[Incident], targets: Sequence[Finding]) -> None:
        """An alert whose finding now points to another open incident joins it, and leaves where it was if that was not sent yet."""
        elsewhere = [h for t in targets if (h := self._home_of(t)) is not None and h.id not in {i.id for i in homes}]
        for incident in elsewhere:
            self._join(incident, alert)
        if elsewhere:
            for incident in homes:
                if incident.settled_at is None:
                    left = tuple(f for f in incident.alerts if f != alert.fingerprint)
                    self._put(replace(self.incidents[incident.id], alerts=left))

    def _join_open(self, alert: Alert, targets: Sequence[Finding]) -> bool:
        """Join what is open already: there is nothing to wait for."""
        if targets:
            homes = [self._home_of(t) for t in targets]
            if any(h is None for h in homes):
                return False
            for home in homes:
                if home is not None:
                    self._join(self.incidents[home.id], alert)
            return True
        own = self.incidents.get(incident_id(alert.cluster, alert.problem, alert.subject))
        if own is None or own.closed_at is not None:
            return False
        self._join(own, alert)
        return True

    def _ready(self, alert: Alert, targets: Sequence[Finding]) -> bool:
        since = self.before.waiting.get(alert.fingerprint)
        if since is None or since > self.now:
            since = self.now
            self.began.append(alert)
        self.waiting[alert.fingerprint] = since
        walks = self.findings.get(alert.fingerprint, ())
        sure = all(f.complete and f.confidence is Confidence.HIGH for f in walks) or (
            alert.fingerprint in self.answered and all(f.complete for f in walks)
        )
        waited = self.now - since - STEP * (self.settings.instance or 0)
        return self._asked(waited - self.settings.settle) or (
            bool(targets) and sure and self._asked(waited - self.settings.gather)
        )

    def _asked(self, over: float) -> bool:
        """Whether the wait is over, and Alertmanager has said what it shows, or did not for too long."""
        if over < 0 or self.settings.instance is None:
            return over >= 0
        return over >= SHOWN_LASTS or (self.shown is not None and self.now - self.shown.at < SHOWN_LASTS)

    def _shown_of(self, cluster: str, problem: str, subject: str) -> Sequence[ShownAlert]:
        """What Alertmanager shows of an incident; nothing where that may be what we just ended ourselves."""
        if self.shown is None:
            return ()
        before = self.before.incidents.get(incident_id(cluster, problem, subject))
        if before is not None and before.closed_at is not None and self.shown.at - before.closed_at < SHOWN_LASTS:
            return ()
        return self.shown.of((cluster, problem, subject), self.settings.instance_label)

    def _adopted(self, alert: Alert) -> bool:
        """Join, and if need be open, the incident that another Klaxon has sent for this alert."""
        if self.shown is None:
            return False
        stands = self.shown.standing_for(alert.cluster, alert.fingerprint, self.settings.instance_label)
        if stands is None or stands.identity[1] == STORM or not self._shown_of(*stands.identity):
            return False
        _, problem, subject = stands.identity
        known_as = incident_id(alert.cluster, problem, subject)
        if known_as not in self.incidents or self.incidents[known_as].closed_at is not None:
            self._put(self._new(alert.cluster, problem, subject, alert.severity, self.now), "opened")
        self._join(self.incidents[known_as], alert)
        return True

    def _new(self, cluster: str, problem: str, subject: str, severity: Severity, since: float) -> Incident:
        """A new incident with the labels that it keeps: those that Alertmanager shows of it, else those of routing."""
        known_as = incident_id(cluster, problem, subject)
        shown = self._shown_of(cluster, problem, subject)
        labels = shown[0].routed if shown else routed(self.settings.routes, cluster, problem, subject)
        if problem.startswith(OWN) and self.settings.instance is not None:
            labels = {**labels, "instance": self.settings.instance_label}
        before = self.incidents.get(known_as)
        closed_at = before.closed_at if before is not None and before.settled_at is not None else None
        returned = closed_at is not None and 0 <= self.now - closed_at < self.settings.quiet_period
        return Incident(known_as, cluster, problem, subject, severity, since, (), labels=labels, returned=returned)

    def _open_for(self, alert: Alert, targets: Sequence[Finding]) -> None:
        since = self.waiting.pop(alert.fingerprint)
        places = [(f.problem, f.subject, self._home_of(f)) for f in targets] or [(alert.problem, alert.subject, None)]
        for problem, subject, home in places:
            if home is None:
                home = self._new(alert.cluster, problem, subject, alert.severity, since)
                self._put(home, "opened, it had been closed shortly before" if home.returned else "opened")
            self._join(self.incidents[home.id], alert)

    def _join(self, incident: Incident, alert: Alert) -> None:
        if alert.fingerprint in incident.alerts:
            return
        rules = incident.rules if alert.rule in incident.rules else (*incident.rules, alert.rule)
        joined = replace(incident, alerts=(*incident.alerts, alert.fingerprint), rules=rules)
        self._put(joined, f"{alert.rule} joined" if incident.rules else "")

    # --- what an incident has become

    def _refresh(self, incident: Incident) -> None:
        if incident.problem == STORM:
            return
        members = [self.alerts[f] for f in incident.alerts if f in self.alerts]
        found = self._finding(incident, members)
        said = []
        updates = incident.updates
        if found is not None and (incident.finding is None or found.cause != incident.finding.cause):
            if incident.finding is not None:
                said.append(f"cause: {found.cause} (was {incident.finding.cause})")
            updates += incident.settled_at is not None
        now_ended = not members
        if now_ended and incident.ended_at is None:
            said.append("its last alert ended")
        if not now_ended and incident.ended_at is not None:
            said.append("an alert of it returned")
        self._put(
            replace(
                incident,
                alerts=tuple(a.fingerprint for a in members),
                finding=found,
                severity=self._severity(incident, members, found),
                summary=_summary(incident, members, found),
                updates=updates,
                ended_at=self._ended(incident) if now_ended else None,
            ),
            "; ".join(said),
        )

    def _ended(self, incident: Incident) -> float:
        """When the last alert ended; never ahead of a clock that was set back."""
        return self.now if incident.ended_at is None else min(incident.ended_at, self.now)

    def _finding(self, incident: Incident, members: Sequence[Alert]) -> Finding | None:
        """The surest of what the walks of its alerts found about it; what was known stays known when it heals or data goes missing."""
        own = [f for a in members for f in self.findings.get(a.fingerprint, ())]
        causes = [f for f in own if known(f)]
        about = [f for f in causes if _names(incident, f) or _same_fault(incident, f)]
        about = about or [f for f in causes if self._home_of(f) is None]
        if about:
            return max(about, key=_sureness)
        old = incident.finding
        if old is not None and known(old):
            return old
        return next((f for f in own if f.cause != HEALED and not known(f)), old)

    def _severity(self, incident: Incident, members: Sequence[Alert], found: Finding | None) -> Severity:
        worst = [a.severity for a in members]
        if incident.settled_at is not None or not members:
            worst.append(incident.severity)
        if members and found is not None and found.severity is not None:
            worst.append(found.severity)
        return max(worst, key=lambda s: s.rank)

    # --- nesting and storms

    def _nest(self) -> None:
        """An incident of the whole cluster whose cause explains all alerts of another one absorbs it."""
        for incident in self._open():
            if incident.problem == STORM:
                continue
            parent = next((p for p in self._parents(incident)), None)
            if parent is None and incident.parent == incident_id(incident.cluster, STORM, CLUSTER):
                continue
            if (parent.id if parent else None) != incident.parent:
                said = f"absorbed by {parent.problem}" if parent else "stands on its own"
                self._put(replace(incident, parent=parent.id if parent else None), said)

    def _parents(self, child: Incident) -> Iterator[Incident]:
        rules = {self.alerts[f].rule for f in child.alerts}
        for other in sorted(self._open(), key=lambda i: (i.opened_at, i.id)):
            if other.id == child.id or other.cluster != child.cluster or other.subject != CLUSTER:
                continue
            if other.problem == STORM or other.parent is not None or other.finding is None:
                continue
            if (rules and rules <= set(other.finding.explains)) or (not rules and child.parent == other.id):
                yield other

    def _calm_storms(self) -> None:
        for cluster in sorted({i.cluster for i in self._open()}):
            self._calm(cluster)

    def _calm(self, cluster: str) -> None:
        """Above the limit, those not sent yet are summed up in one incident."""
        storm_id = incident_id(cluster, STORM, CLUSTER)
        alone = [i for i in self._open() if i.cluster == cluster and i.problem != STORM and i.ended_at is None]
        alone = [i for i in alone if i.parent in (None, storm_id) and not i.maintenance]
        sent = [i for i in alone if i.settled_at is not None]
        unsent = sorted((i for i in alone if i.settled_at is None), key=_urgency)
        over = len(alone) <= max(1, self.settings.storm_limit // 2)
        room = len(unsent) if over else max(0, self.settings.storm_limit - len(sent))
        # What was summed up stays so while the storm lasts, so that nobody is paged while it heals; but what became critical takes its own place if there is one.
        first = [i for i in unsent if over or i.parent is None or i.severity is Severity.CRITICAL][:room]
        for incident in first:
            if incident.parent is not None:
                self._put(replace(incident, parent=None), "stands on its own")
        drowned = [i for i in unsent if i not in first]
        storm = self.incidents.get(storm_id)
        running = storm is not None and storm.closed_at is None
        if not drowned and not running:
            return
        if storm is None or storm.closed_at is not None:
            self._put(self._new(cluster, STORM, CLUSTER, Severity.WARNING, self.now), "opened")
        self._sum_up(self.incidents[storm_id], drowned)

    def _sum_up(self, storm: Incident, drowned: Sequence[Incident]) -> None:
        for incident in drowned:
            if incident.parent is None:
                self._put(replace(incident, parent=storm.id), "summed up, too many at once")
        severities = [storm.severity, *(i.severity for i in drowned)]
        rules = tuple(dict.fromkeys((*storm.rules, *(r for i in drowned for r in i.rules))))
        ended = None if drowned else self._ended(storm)
        problems = ", ".join(sorted({i.problem for i in drowned})) or "all over"
        self._put(
            replace(
                storm,
                alerts=tuple(dict.fromkeys(f for i in drowned for f in i.alerts)),
                severity=max(severities, key=lambda s: s.rank),
                rules=rules,
                ended_at=ended,
                summary=f"{storm.cluster}: {_many(drowned)} at once ({problems})" if drowned else storm.summary,
                stands_for=_lines(drowned) if drowned else storm.stands_for,
            )
        )

    # --- sending and closing

    def _maintain(self, incident: Incident) -> None:
        window = window_of(self.settings.windows, incident.cluster, incident.subject, self.now)
        self._put(*_maintained(incident, window))

    def _send_or_close(self, incident: Incident) -> None:
        if incident.ended_at is not None:
            waited = self.now - incident.ended_at
            if incident.settled_at is None:
                self._put(replace(incident, closed_at=self.now), "over before it was sent")
            elif waited >= self._close_after(incident):
                self._put(replace(incident, closed_at=self.now), "closed")
            return
        if incident.maintenance:
            return
        shown = [
            (a.severity, a.starts_at) for a in self._shown_of(incident.cluster, incident.problem, incident.subject)
        ]
        if incident.settled_at is None:
            if shown:
                self._put(
                    replace(incident, settled_at=self.now, postings=tuple(shown), parent=None),
                    "adopted: another Klaxon has sent it",
                )
            elif incident.parent is None:
                self._put(
                    replace(incident, settled_at=self.now, postings=((incident.severity, incident.opened_at),)),
                    f"raised as {incident.severity}",
                )
            return
        worst = max(s.rank for s, _ in incident.postings)
        if raised := [(s, at) for s, at in shown if s.rank > worst][-1:]:
            self._put(
                replace(incident, severity=raised[0][0], postings=(*incident.postings, *raised)),
                f"raised to {raised[0][0]} by another Klaxon",
            )
        elif incident.severity.rank > worst:
            postings = (*incident.postings, (incident.severity, self.now))
            self._put(replace(incident, postings=postings), f"raised to {incident.severity}")

    def _close_after(self, incident: Incident) -> float:
        own = self.settings.close_after
        return max(own, self.settings.quiet_period) if incident.returned else own


def _urgency(incident: Incident) -> tuple[int, float, str]:
    return (-incident.severity.rank, incident.opened_at, incident.id)


def _lines(incidents: Sequence[Incident]) -> tuple[str, ...]:
    named = [f"{i.problem} of {i.subject} ({i.severity}): {i.summary}" for i in incidents[:NAMED]]
    return (*named, *([f"and {len(incidents) - NAMED} more"] if len(incidents) > NAMED else []))


def _many(incidents: Sequence[Incident]) -> str:
    return f"{len(incidents)} more incident{'' if len(incidents) == 1 else 's'}"


def _maintained(incident: Incident, window: Window | None) -> tuple[Incident, str]:
    """The incident with its window, and what is to be said of it."""
    name = window.name if window is not None else ""
    if name == incident.maintenance:
        return incident, ""
    said = f"not sent during maintenance {name}" if name else f"maintenance {incident.maintenance} is over"
    return replace(incident, maintenance=name), said


def _names(incident: Incident, finding: Finding) -> bool:
    return (incident.cluster, incident.problem, incident.subject) == (finding.cluster, finding.problem, finding.subject)


def _same_fault(incident: Incident, finding: Finding) -> bool:
    own = incident.finding
    return (
        own is not None
        and known(own)
        and (incident.cluster, own.subject, own.cause) == (finding.cluster, finding.subject, finding.cause)
    )


def _sureness(finding: Finding) -> tuple[bool, bool, int]:
    severity = finding.severity.rank if finding.severity is not None else -1
    return finding.complete, finding.confidence is Confidence.HIGH, severity


def _summary(incident: Incident, members: Sequence[Alert], found: Finding | None) -> str:
    """``orders: broker 2 down, 81 partitions on fewer copies``; the rule's own words where no cause is known."""
    if not members and incident.summary:
        return incident.summary
    if found is not None and found.headline:
        return f"{incident.cluster}: {found.headline}"
    said = next((a.annotations["summary"] for a in members if a.annotations.get("summary")), incident.problem)
    return f"{incident.cluster}: {said}" if incident.cluster else said


def _material(incident: Incident) -> Incident:
    """What is worth a write to the book: all but the age of the data and the time of the last walk."""
    finding = incident.finding
    if finding is None:
        return incident
    bare = replace(
        finding, walked_at=0.0, evidence=tuple((replace(e, age=None, rows=(), answer="")) for e in finding.evidence)
    )
    return replace(incident, finding=bare)
