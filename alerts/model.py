"""Alerts, findings and incidents: the frozen values that the engine, the walk, the notifier, the book and the pages share."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Severity(StrEnum):
    """What an alert does to people: critical pages, warning makes a ticket, info is shown, none is the watchdog."""

    NONE = "none"
    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        return list(Severity).index(self)

    @classmethod
    def of(cls, labels: Mapping[str, str]) -> Severity:
        """The label ``severity``; what is none of ours, or missing, counts as a warning."""
        said = labels.get("severity", "")
        return cls(said) if said in list(cls) else cls.WARNING


class AlertState(StrEnum):
    PENDING = "pending"
    FIRING = "firing"
    KEEPING = "keeping"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True)
class Alert:
    """One label set of one rule. Times are Unix seconds. ``labels`` are complete (rule labels merged, ``alertname`` included).

    ``held_since`` is set while the rule's inputs are uncovered; ``unknown`` is true once that lasted longer than ``max_hold``.
    """

    rule: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    state: AlertState
    active_at: float
    value: float
    fired_at: float | None = None
    resolved_at: float | None = None
    last_true_at: float | None = None
    held_since: float | None = None
    held_inputs: tuple[str, ...] = ()
    unknown: bool = False

    @property
    def severity(self) -> Severity:
        return Severity.of(self.labels)

    @property
    def cluster(self) -> str:
        return self.labels.get("cluster", "")

    @property
    def problem(self) -> str:
        """The rule's label ``problem``, or its name."""
        return self.labels.get("problem", self.rule)

    @property
    def subject(self) -> str:
        """``broker/2``, ``topic/orders``, ``group/billing`` or ``cluster``; from the rule's label ``subject``."""
        return self.labels.get("subject", "cluster")

    @property
    def active(self) -> bool:
        return self.state in (AlertState.FIRING, AlertState.KEEPING)

    @property
    def fingerprint(self) -> str:
        """Identity over restarts: a hash of the labels."""
        return fingerprint(self.labels)


def fingerprint(labels: Mapping[str, str]) -> str:
    """16 hexadecimal digits that name a label set."""
    joined = "\xff".join(f"{k}\xfe{v}" for k, v in sorted(labels.items()))
    return hashlib.sha256(joined.encode()).hexdigest()[:16]


class Verdict(StrEnum):
    """How a step ended; NOT_YET: an input is older than the alert."""

    FOUND = "found"
    NONE = "none"
    UNKNOWN = "unknown"
    NOT_YET = "not yet"


class Confidence(StrEnum):
    HIGH = "high"
    LOW = "low"


@dataclass(frozen=True, slots=True)
class Evidence:
    """One walked step: the question, what was found, and how old it is (seconds). ``rows`` are the worst 20, ``total`` counts all."""

    step: str
    ask: str
    expr: str
    verdict: Verdict
    answer: str
    """The finding in one sentence, numbers with units."""
    rows: tuple[tuple[Mapping[str, str], float], ...] = ()
    total: int = 0
    age: float | None = None
    missing: tuple[str, ...] = ()
    """Inputs without data, in words (JMX of broker 2)."""
    by_hand: str = ""
    """What to run and how to read it when the step is unknown."""


@dataclass(frozen=True, slots=True)
class Action:
    """One thing to do: a shell-quoted command, its risk, how to undo it and what to watch."""

    title: str
    command: str
    risk: str = ""
    undo: str = ""
    watch: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """A walked tree. ``cause`` is the leaf's name, or "unknown"; ``problem``/``subject`` are those of the incident that it belongs to."""

    tree: str
    cause: str
    says: str
    impact: str
    problem: str
    cluster: str
    subject: str
    severity: Severity | None
    """By impact; None leaves the alert's own."""
    confidence: Confidence
    evidence: tuple[Evidence, ...]
    refuted: tuple[str, ...]
    """Branches not taken, each with the number that refuted it."""
    unknowns: tuple[str, ...]
    do: tuple[Action, ...]
    explains: tuple[str, ...]
    """Alert names that this cause explains."""
    verify: str
    walked_at: float
    complete: bool = True
    """False while a step is *not yet* answered by inputs younger than the alert."""
    headline: str = ""
    """The subject line without the cluster: ``broker 2 down, 81 partitions on 2 of 3 copies``."""


@dataclass(frozen=True, slots=True)
class Incident:
    """All alerts of one problem and subject: the unit that is paged. Times are Unix seconds."""

    id: str
    cluster: str
    problem: str
    subject: str
    severity: Severity
    opened_at: float
    alerts: tuple[str, ...]
    """Fingerprints of its active alerts."""
    finding: Finding | None = None
    summary: str = ""
    settled_at: float | None = None
    """When it was first ready to be sent; None while it settles."""
    ended_at: float | None = None
    """When its last alert ended; it closes two minutes later."""
    closed_at: float | None = None
    parent: str | None = None
    """The incident that absorbs this one."""
    history: tuple[tuple[float, str], ...] = field(default=())
    rules: tuple[str, ...] = ()
    """Names of the rules whose alerts took part, in the order they came; they stay when their alerts have ended."""
    postings: tuple[tuple[Severity, float], ...] = ()
    """What Alertmanager was given: each severity with its startsAt. A rise to critical adds a second one; all resolve together."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """What routing gave it, fixed at opening."""
    updates: int = 0
    """How often its cause changed after it was sent."""
    returned: bool = False
    """Whether it came back soon after it was closed: then it closes only after the quiet period."""
    stands_for: tuple[str, ...] = ()
    """The incidents that a summary stands for, a line each."""
    maintenance: str = ""
    """The maintenance window in which it is not sent."""


def incident_id(cluster: str, problem: str, subject: str) -> str:
    """The same for two Klaxons: a hash of cluster, problem and subject (design 4.4)."""
    return hashlib.sha256(f"{cluster}\xff{problem}\xff{subject}".encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class Sent:
    """That ``what`` (firing, resolved, …) of an incident last reached a peer ``at`` (Unix seconds)."""

    incident: str
    peer: str
    what: str
    at: float
