"""What webhooks are told: an incident's story as events, each with a key by which a repeat is known."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from alerts.diagnosis.postings import Links
from alerts.diagnosis.text import notes, page, rfc3339
from alerts.model import Incident


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened to an incident, with the incident as it was told first. ``what`` is opened, updated, raised or resolved; ``number`` counts those of a kind."""

    incident: Incident
    what: str
    number: int
    at: float
    url: str = ""
    dashboard_url: str = ""

    @property
    def row(self) -> str:
        """Its name among all events of all openings of the incident."""
        return f"{self.what}/{self.number} {self.incident.opened_at}"

    @property
    def key(self) -> Hashable:
        """A newer update replaces an older one that waits; nothing else is replaced."""
        return (self.incident.id, self.incident.opened_at, self.what, 0 if self.what == "updated" else self.number)

    @property
    def lasting(self) -> bool:
        return True

    @property
    def about(self) -> Mapping[str, str]:
        return {"incident": self.incident.id, "event": self.what}

    @property
    def idempotency_key(self) -> str:
        """The same for every try, and for every Klaxon that tells of the same incident."""
        began = rfc3339(self.incident.postings[0][1]) if self.incident.postings else ""
        named = f"{self.incident.id}\xff{began}\xff{self.what}\xff{self.number}"
        return hashlib.sha256(named.encode()).hexdigest()[:32]


def events(incident: Incident, links: Links) -> Iterator[Event]:
    """All events of an incident so far, oldest first; of several updates the newest. None before it was sent."""
    if incident.settled_at is None:
        return
    url, board = links.page(incident), links.board(incident)
    yield Event(incident, "opened", 0, incident.settled_at, url, board)
    for number, (_, at) in enumerate(incident.postings[1:], 1):
        yield Event(incident, "raised", number, at, url, board)
    if incident.updates:
        changed = [at for at, said in incident.history if "cause: " in said]
        yield Event(incident, "updated", incident.updates, max([incident.settled_at, *changed]), url, board)
    if incident.closed_at is not None:
        yield Event(incident, "resolved", 0, incident.closed_at, url, board)


def as_json(event: Event) -> dict[str, Any]:
    """The body of one event; times are RFC 3339."""
    incident = event.incident
    return {
        "version": 1,
        "event": event.what,
        "at": rfc3339(event.at),
        "idempotency_key": event.idempotency_key,
        "incident": {
            "id": incident.id,
            "cluster": incident.cluster,
            "problem": incident.problem,
            "subject": incident.subject,
            "severity": str(incident.severity),
            "labels": dict(incident.labels),
            "opened_at": rfc3339(incident.opened_at),
            "closed_at": None if incident.closed_at is None else rfc3339(incident.closed_at),
            "cause": incident.finding.cause if incident.finding is not None else None,
            "notes": notes(incident, event.url, event.dashboard_url),
            "text": page(incident, event.at),
        },
    }
