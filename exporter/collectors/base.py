"""What a collector is: it asks, says what each source gave, and concludes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from exporter.facts.certificates import CertificateFile, Shown
from exporter.facts.cluster import ClusterFacts
from exporter.facts.configs import Quota, Settings, TopicSettings
from exporter.facts.groups import CoordinatorFacts
from exporter.facts.log_dirs import LogDirTable
from exporter.facts.partitions import OffsetRows, TimeQuestions, TopicFacts
from exporter.facts.quorum import Quorum
from exporter.facts.reassignments import BrokerThrottles, Move, ThrottledTopics
from exporter.facts.transactions import LeaderProducers, StuckPartition, Transaction
from exporter.jmx.facts import JmxNode
from exporter.kafka.client import Answer, Answers
from exporter.kafka.errors import BrokerError, KafkaError
from exporter.kafka.rights import NOT_PERMITTED, missing_right
from exporter.reading import Failure, Part, Poll, Reading

T = TypeVar("T")

Clock = Callable[[], float]
"""Unix seconds."""


@dataclass(frozen=True, slots=True)
class Known:
    """What the other collectors found: the newest facts that were trusted, else the newest; None before there are any."""

    cluster: ClusterFacts | None = None
    topics: TopicFacts | None = None
    settings: Mapping[int, Settings] | None = None
    """By broker."""
    end_offsets: Reading[OffsetRows] | None = None
    stable_offsets: Reading[OffsetRows] | None = None
    questions: TimeQuestions | None = None
    """What is to be asked so that lags can be told in seconds."""

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
    stable_offsets: Poll[OffsetRows] | None = None
    newest_records: Poll[OffsetRows] | None = None
    first_after: Poll[OffsetRows] | None = None
    log_dirs: Poll[LogDirTable] | None = None
    quorum: Poll[Quorum] | None = None
    jmx: Poll[JmxNode] | None = None
    configs: Poll[Settings] | None = None
    topic_configs: Poll[TopicSettings] | None = None
    quotas: Poll[Sequence[Quota]] | None = None
    certificates: Poll[Sequence[Shown]] | None = None
    certificate_files: Poll[Sequence[CertificateFile]] | None = None
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
    if isinstance(error, BrokerError) and error.code in NOT_PERMITTED:
        return Failure("denied", f"{error}; {missing_right(error.request, error.code)}", at)
    return Failure(error.kind, str(error), at)


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
