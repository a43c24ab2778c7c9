"""Running reassignments of partitions (KIP-455), and the replication throttles that are set (KIP-73, KIP-113)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Move:
    """One partition that is being reassigned: ``replicas`` are all it has now, among them those that come and those that will go."""

    topic: str
    partition: int
    replicas: tuple[int, ...]
    adding: tuple[int, ...]
    removing: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class BrokerThrottles:
    """Throttle (``leader``, ``follower``, ``alter_log_dirs``) -> bytes a second, of those that are set on one broker."""

    rates: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class ThrottledTopics:
    """Topic -> throttle (``leader``, ``follower``) -> its throttled replicas (``*`` or ``partition:broker,…``), of topics that have any."""

    replicas: Mapping[str, Mapping[str, str]]
