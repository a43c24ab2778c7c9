"""Nodes of a cluster and the four legs by which each is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from exporter.facts.configs import Features


class Role(StrEnum):
    """What a node does in KRaft (``process.roles``)."""

    BROKER = "broker"
    CONTROLLER = "controller"


class LegState(StrEnum):
    """How one way of reaching a node ended; ``skipped`` means that the circuit breaker did not try."""

    OK = "ok"
    REFUSED = "refused"
    TIMEOUT = "timeout"
    ERROR = "error"
    SKIPPED = "skipped"


class LegName(StrEnum):
    TCP = "tcp"
    API_VERSIONS = "api_versions"
    METADATA = "metadata"
    JMX = "jmx"


@dataclass(frozen=True, slots=True)
class Leg:
    """One try of one leg: its end, how long it took (seconds) and the error in words when it failed."""

    state: LegState
    seconds: float
    at: float
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Node:
    """A node that is expected: it is registered, holds replicas, votes, or did so when it was last seen.

    ``fenced`` is None where the cluster cannot tell (before Kafka 4.0) or the node is not registered.
    """

    id: int
    host: str
    port: int
    rack: str | None
    roles: frozenset[Role]
    registered: bool
    fenced: bool | None

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class ClusterView:
    """One broker's own view of the cluster: who is registered (Metadata, or DescribeCluster v2 with fenced brokers, KIP-1073)."""

    cluster_id: str
    brokers: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Pulse:
    """The three Kafka legs of one node, and its view of the cluster when the metadata leg answered."""

    node: int
    legs: Mapping[LegName, Leg]
    view: ClusterView | None = None
    api_versions: Mapping[int, tuple[int, int]] | None = None
    """Newest ApiVersions answer: api key -> (lowest, highest version)."""
    features: Features | None = None
    """Of the same answer."""


@dataclass(frozen=True, slots=True)
class ClusterFacts:
    """What the collector ``cluster`` knows: every expected node with its pulse, and the view that most living brokers share."""

    cluster_id: str | None
    nodes: Mapping[int, Node]
    pulses: Mapping[int, Pulse]

    @property
    def brokers(self) -> tuple[Node, ...]:
        return tuple(n for n in self.nodes.values() if Role.BROKER in n.roles)
