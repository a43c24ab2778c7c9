"""What Alertmanager already shows: by it, Klaxons that watch the same clusters tell each fault once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from alerts.model import Severity

CORE: Final = frozenset({"alertname", "cluster", "subject", "severity"})
"""Labels that every incident has; what else stands on one was given by routing."""


@dataclass(frozen=True, slots=True)
class ShownAlert:
    """One firing alert of Alertmanager. ``alerts`` are the fingerprints of Klaxon's alerts that it stands for."""

    labels: Mapping[str, str]
    starts_at: float
    alerts: frozenset[str] = frozenset()

    @property
    def identity(self) -> tuple[str, str, str]:
        """Cluster, problem and subject: the same as an incident's."""
        return (self.labels.get("cluster", ""), self.labels.get("alertname", ""), self.labels.get("subject", ""))

    @property
    def severity(self) -> Severity:
        return Severity.of(self.labels)

    @property
    def routed(self) -> dict[str, str]:
        """The labels beyond those that every incident has."""
        return {k: v for k, v in self.labels.items() if k not in CORE}


@dataclass(frozen=True, slots=True)
class Shown:
    """All alerts that any peer showed when it was asked last, at ``at`` (Unix seconds)."""

    at: float
    alerts: Sequence[ShownAlert] = ()

    def of(self, identity: tuple[str, str, str], instance: str) -> list[ShownAlert]:
        """Those of one incident, the mildest first, each severity once."""
        found = [a for a in self.alerts if a.identity == identity and a.labels.get("instance", instance) == instance]
        found.sort(key=lambda a: (a.severity.rank, a.starts_at))
        return list({a.severity: a for a in reversed(found)}.values())[::-1]

    def standing_for(self, cluster: str, fingerprint: str, instance: str) -> ShownAlert | None:
        """The one that stands for an alert, the oldest if there are several."""
        found = [
            a
            for a in self.alerts
            if fingerprint in a.alerts
            and a.labels.get("cluster", "") == cluster
            and a.labels.get("instance", instance) == instance
        ]
        return min(found, key=lambda a: a.starts_at, default=None)
