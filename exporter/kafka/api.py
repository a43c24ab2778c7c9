"""Names one request of Kafka's protocol in one version."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Api:
    """An API in one version; ``flexible`` versions have tagged fields in their headers (KIP-482)."""

    name: str
    key: int
    version: int
    flexible: bool
