"""What Alertmanager is to be told: alerts with labels that never change, firing or resolved, and when each is due again."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final
from urllib.parse import quote

from alerts.diagnosis.text import notes
from alerts.model import Alert, AlertState, Incident, Severity

RESEND: Final = 60.0
"""Seconds after which what still holds is sent again: Alertmanager forgets over a restart."""

OUTLIVES: Final = 900.0
"""Seconds that Alertmanager keeps an alert firing after our last word; we resolve explicitly, so this matters only after our death."""


MOST_ALERTS: Final = 100
"""Fingerprints that go with one posting."""


@dataclass(frozen=True, slots=True)
class Posting:
    """One alert for Alertmanager; ``labels`` are its identity. ``resolved_at`` is None while it fires. Times are Unix seconds."""

    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    starts_at: float
    resolved_at: float | None = None
    url: str = ""
    incident: str = ""
    """The id of its incident; empty for an alert that goes as it is (the watchdog)."""

    @property
    def lasting(self) -> bool:
        """An end is told until it is taken; what fires is told again each minute."""
        return self.resolved_at is not None

    @property
    def about(self) -> Mapping[str, str]:
        return self.labels

    @property
    def key(self) -> tuple[tuple[str, str], ...]:
        """The identity, hashable."""
        return tuple(sorted(self.labels.items()))


@dataclass(frozen=True, slots=True)
class Links:
    """Where people find more: ``external_url`` is Klaxon's own address, ``dashboard`` gives a board's address for an incident."""

    external_url: str = ""
    dashboard: Callable[[Incident], str] | None = None

    def page(self, incident: Incident) -> str:
        return f"{self.external_url.rstrip('/')}/incidents/{quote(incident.id)}" if self.external_url else ""

    def board(self, incident: Incident) -> str:
        return self.dashboard(incident) if self.dashboard is not None else ""


def postings(
    incidents: Iterable[Incident], alerts: Iterable[Alert], links: Links = Links(), instance: str = ""
) -> list[Posting]:
    """Everything that Alertmanager should know now: what incidents posted, and alerts of severity none (the watchdog) as they are, with ``instance`` if it is one of
    several Klaxons."""
    said = [p for i in incidents for p in _of_incident(i, links)]
    return said + [p for a in alerts if a.severity is Severity.NONE for p in _of_alert(a, links, instance)]


def with_external(batch: Iterable[Posting], external: Mapping[str, str]) -> list[Posting]:
    """The postings with external labels, which go to everyone and never over a label of one's own."""
    return [replace(one, labels={**external, **one.labels}) if external else one for one in batch]


def _of_incident(incident: Incident, links: Links) -> Iterator[Posting]:
    url = links.page(incident)
    said = notes(incident, url, links.board(incident)) | {"alerts": " ".join(sorted(incident.alerts)[:MOST_ALERTS])}
    for severity, starts_at in incident.postings:
        labels = {
            **incident.labels,
            "alertname": incident.problem,
            "cluster": incident.cluster,
            "subject": incident.subject,
            "severity": str(severity),
        }
        yield Posting({k: v for k, v in labels.items() if v}, said, starts_at, incident.closed_at, url, incident.id)


def _of_alert(alert: Alert, links: Links, instance: str) -> Iterator[Posting]:
    since = alert.fired_at if alert.fired_at is not None else alert.active_at
    labels = {**alert.labels, "instance": instance} if instance else alert.labels
    if alert.active:
        yield Posting(labels, alert.annotations, since, None, links.external_url)
    elif alert.state is AlertState.RESOLVED and alert.fired_at is not None and alert.resolved_at is not None:
        yield Posting(labels, alert.annotations, since, alert.resolved_at, links.external_url)


@dataclass(slots=True)
class Schedule:
    """Picks what is due: at once when it is new, has changed between firing and resolved, or stands for other alerts, then each minute."""

    resend: float = RESEND
    _sent: dict[tuple[tuple[str, str], ...], tuple[tuple[object, ...], float]] = field(default_factory=dict)

    def due(self, current: Iterable[Posting], now: float, silent: Container[str] = ()) -> list[Posting]:
        """Those to send now; they count as sent. What fires of the incidents in ``silent`` is not sent again."""
        known, chosen, after = self._sent, [], {}
        for posting in current:
            resolved = posting.resolved_at is not None
            state = (resolved, posting.starts_at)
            says = (*state, posting.annotations.get("alerts"))
            last = known.get(posting.key)
            fresh = last is not None and last[0] == says and 0 <= now - last[1] < self.resend
            left = last is not None and last[0][:2] == state and not resolved and posting.incident in silent
            if last is not None and (fresh or left):
                after[posting.key] = last
            else:
                chosen.append(posting)
                after[posting.key] = (says, now)
        self._sent = after
        return chosen
