"""What the pages show: clusters and incidents as values that a template only has to print."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from alerts.model import Alert, Incident


@dataclass(frozen=True, slots=True)
class ClusterView:
    """One cluster in words. ``state`` is a word for the style sheet: critical, warning, unknown or ok."""

    name: str
    state: str
    sentence: str
    facts: Sequence[str]


@dataclass(frozen=True, slots=True)
class IncidentView:
    """One incident with the sentences around it; ``text`` is the same as plain text."""

    incident: Incident
    headline: str
    alerts: Sequence[str]
    """Names of the alerts that it explains."""
    history: Sequence[str]
    delivered: Sequence[str]
    """Who took it, and who has not."""
    text: str

    @property
    def open(self) -> bool:
        return self.incident.closed_at is None


@dataclass(frozen=True, slots=True)
class AlertView:
    """One alert with the ids of its open incidents, and the maintenance window in which these are not sent ("" for none)."""

    alert: Alert
    incidents: Sequence[str]
    maintenance: str
