"""What a collector is: it asks, says what each source gave, and concludes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

from exporter.facts.cluster import ClusterFacts
from exporter.facts.groups import CoordinatorFacts
from exporter.facts.log_dirs import LogDirTable
from exporter.facts.partitions import OffsetRows, TopicFacts
from exporter.facts.quorum import Quorum
from exporter.facts.reassignments import BrokerThrottles, Move, ThrottledTopics
from exporter.facts.transactions import LeaderProducers, StuckPartition, Transaction
from exporter.jmx.facts import JmxNode
from exporter.kafka.client import Answer, Answers
from exporter.kafka.errors import BrokerError, KafkaError
from exporter.reading import Failure, Part, Poll, Reading

T = TypeVar("T")

Clock = Callable[[], float]
"""Unix seconds."""

NOT_PERMITTED = frozenset({29, 30, 31})
"""TOPIC_, GROUP_ and CLUSTER_AUTHORIZATION_FAILED."""

NEEDS: Mapping[str, str] = {
    "DescribeConfigs": "DescribeConfigs on the cluster",
    "DescribeProducers": "Read on the topic",
    "ListPartitionReassignments": "Describe on the cluster",
}
"""Request -> the right that it needs (Kafka's Authorizer)."""


@dataclass(frozen=True, slots=True)
class Known:
    """What the other collectors found: the newest facts that were trusted, else the newest; None before there are any."""

    cluster: ClusterFacts | None = None
    topics: TopicFacts | None = None
    end_offsets: Reading[OffsetRows] | None = None

    @property
    def brokers(self) -> frozenset[int]:
        """Every broker that should be there."""
        return frozenset(n.id for n in self.cluster.brokers) if self.cluster is not None else frozenset()

    @property
    def living_brokers(self) -> frozenset[int]:
        """Brokers that are registered and not fenced: leaders and coordinators are among them."""
        nodes = self.cluster.brokers if self.cluster is not None else ()
        return frozenset(n.id for n in nodes if n.registered and not n.fenced)


@dataclass(frozen=True, slots=True)
class Polls:
    """What one run of a collector gave, a poll for each reading that it feeds; None: that reading was not asked for this time."""

    cluster: Poll[ClusterFacts] | None = None
    topics: Poll[TopicFacts] | None = None
    groups: Poll[CoordinatorFacts] | None = None
    end_offsets: Poll[OffsetRows] | None = None
    start_offsets: Poll[OffsetRows] | None = None
    log_dirs: Poll[LogDirTable] | None = None
    quorum: Poll[Quorum] | None = None
    jmx: Poll[JmxNode] | None = None
    reassignments: Poll[tuple[Move, ...]] | None = None
    throttles: Poll[BrokerThrottles] | None = None
    throttled_topics: Poll[ThrottledTopics] | None = None
    transactions: Poll[tuple[Transaction, ...]] | None = None
    stuck_offsets: Poll[tuple[StuckPartition, ...]] | None = None
    producers: Poll[LeaderProducers] | None = None


class Collector(Protocol):
    """One job. It may remember between polls; the runner never runs one twice at a time."""

    def poll(self, known: Known) -> Polls:
        """Ask now. A source that failed is a failure of the poll; a :class:`KafkaError` that is raised is one of every reading of the collector."""


def failure(error: KafkaError, at: float) -> Failure:
    """A request's error as the failure of its source."""
    denied = isinstance(error, BrokerError) and error.code in NOT_PERMITTED
    needs = f"; it needs {NEEDS[error.request]}" if denied and error.request in NEEDS else ""
    return Failure("denied" if denied else error.kind, f"{error}{needs}", at)


def failures(answers: Answers[T]) -> dict[int, Failure]:
    """The failures among the answers, by node."""
    return {node: failure(a.error, a.at) for node, a in answers.items() if a.error is not None}


def good(answers: Answers[T]) -> dict[int, Answer[T]]:
    """The answers with a value, by node."""
    return {node: a for node, a in answers.items() if a.error is None and a.value is not None}


def poll_of(answers: Answers[T], expected: Iterable[int]) -> Poll[T]:
    """A poll whose sources are nodes. An expected node without any answer is a failure of its own."""
    values = {node: (a.at, a.value) for node, a in answers.items() if a.error is None and a.value is not None}
    parts: Mapping[int, Part[T]] = {node: Part(value, at) for node, (at, value) in values.items()}
    wanted = frozenset(expected)
    return Poll(parts, failures(answers), wanted | parts.keys())
