"""The one Protocol behind which every Kafka request of the daemon stands; it speaks facts.

Methods with ``nodes`` ask those nodes in parallel, each bounded by its own deadline: one dead broker costs one time-out and harms no other. Nothing is raised
for a node that failed: its error is its answer. Methods without nodes ask one node and raise :class:`KafkaError`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from exporter.facts.certificates import CertificateFile, Listener, Shown
from exporter.facts.cluster import Node, Pulse
from exporter.facts.configs import Quota, Settings, TopicSettings
from exporter.facts.groups import CommitTable, GroupDescription, GroupListing, ShareOffsetTable
from exporter.facts.log_dirs import LogDirTable
from exporter.facts.partitions import ElrRow, OffsetKind, OffsetRows, PartitionTable, TimeQuestions
from exporter.facts.quorum import Quorum
from exporter.facts.reassignments import Move
from exporter.facts.transactions import ProducerAnswer, Transaction, TransactionListing
from exporter.kafka.errors import KafkaError
from exporter.kafka.security import SecurityConfig

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """What one node gave: ``value``, or ``error``; ``at`` is when it ended (Unix seconds)."""

    at: float
    seconds: float
    value: T | None = None
    error: KafkaError | None = None


Answers = Mapping[int, Answer[T]]


class KafkaReader(Protocol):
    """Read access to one cluster. Implementations: ``exporter.kafka.reader.Reader`` and the tests' in-memory cluster; one contract suite runs on both."""

    @property
    def cluster(self) -> str:
        """The configured name of the cluster (the label ``cluster``)."""

    @property
    def tls(self) -> bool:
        """Whether connections to the cluster use TLS."""

    def expect(self, nodes: Iterable[Node]) -> None:
        """Set the nodes to know of from before (the book): they are probed though no metadata names them. Adds to what is known."""

    def forget(self, node: int) -> None:
        """Close and drop a node; it comes back if the cluster names it again."""

    def pulse(self) -> Sequence[Pulse]:
        """Probe every known node: ApiVersions, then its own view of the brokers (DescribeCluster v2 where offered, else Metadata without topics).

        The first call resolves the bootstrap servers. New brokers in any view join the known nodes within this call. The only method that feeds the legs and the
        circuit breaker. A node that timed out is tried again after growing pauses, with ``skipped`` legs between. Empty only when no bootstrap server answered.
        """

    def bootstrap_errors(self) -> Mapping[str, KafkaError]:
        """host:port -> why the bootstrap server did not answer when it was last tried; empty once nodes are known."""

    def nodes(self) -> Mapping[int, Node]:
        """Every node known now, by id."""

    def partitions(self) -> PartitionTable:
        """All topics (Metadata), from one healthy broker that is kept as long as it answers; the same object while nothing changed."""

    def min_insync_replicas(self, topics: Sequence[str]) -> Mapping[str, int]:
        """``min.insync.replicas`` in force per topic, one DescribeConfigs for all; topics that may not be described are left out."""

    def elr(self, topics: Sequence[str]) -> Sequence[ElrRow]:
        """DescribeTopicPartitions (KIP-966) of these topics; raises Unsupported before Kafka 3.8/ELR."""

    def list_groups(self, nodes: Iterable[int]) -> Answers[tuple[GroupListing, ...]]:
        """ListGroups v5 on each coordinator."""

    def describe_groups(self, groups: Mapping[int, Sequence[GroupListing]]) -> Answers[Mapping[str, GroupDescription]]:
        """Coordinator -> its groups: DescribeGroups for classic, ConsumerGroupDescribe (KIP-848) for consumer, ShareGroupDescribe (KIP-932) for share and
        StreamsGroupDescribe (KIP-1071) for streams groups; one request per node and kind that it has."""

    def committed_offsets(self, groups: Mapping[int, Sequence[str]]) -> Answers[CommitTable]:
        """Coordinator -> its groups: one OffsetFetch per node for all its groups."""

    def share_offsets(self, groups: Mapping[int, Sequence[str]]) -> Answers[ShareOffsetTable]:
        """Coordinator -> its share groups: one DescribeShareGroupOffsets per node, with the lag where its version has it (KIP-1226)."""

    def offsets(self, table: PartitionTable, kind: OffsetKind) -> Answers[OffsetRows]:
        """ListOffsets of every partition of the table that has a leader: one request per leading node. NEWEST comes with the records' timestamps."""

    def first_after(self, questions: TimeQuestions) -> Answers[OffsetRows]:
        """The first record at or after a moment of each partition's own, with its timestamp; offset -1 where there is none. ListOffsets, one request per node that leads any of them."""

    def log_dirs(self, nodes: Iterable[int]) -> Answers[LogDirTable]:
        """DescribeLogDirs of each broker."""

    def broker_settings(self, nodes: Iterable[int]) -> Answers[Settings]:
        """DescribeConfigs of each broker by itself: every setting in force with its source, sensitive values left out; the same object while nothing changed."""

    def topic_settings(self, topics: Sequence[str]) -> TopicSettings:
        """The settings of ``exporter.kafka.configs.TOPIC_KEYS`` in force per topic, one DescribeConfigs for all; the same object while nothing changed.

        Topics that may not be described are left out; raises BrokerError where that is so of all.
        """

    def client_quotas(self) -> Sequence[Quota]:
        """DescribeClientQuotas: every limit of users, clients and addresses."""

    def certificates(self, listeners: Sequence[Listener], security: SecurityConfig | None = None) -> Sequence[Shown]:
        """What each listener shows in a TLS handshake of its own, in the order asked; those that give nothing say why. No request of Kafka's.

        ``security`` says whom to trust where the listeners are not the cluster's (JMX).
        """

    def own_certificates(self, security: SecurityConfig | None = None) -> Sequence[CertificateFile]:
        """The certificates in the files of the security settings; empty where there are none."""

    def quorum(self) -> Quorum:
        """DescribeQuorum, on a connection of its own since the broker forwards it to the controller and may hang with it."""

    def reassignments(self) -> tuple[Move, ...]:
        """ListPartitionReassignments (KIP-455) of every topic, forwarded to the controller."""

    def broker_values(self, nodes: Iterable[int], names: Sequence[str]) -> Answers[Mapping[str, str]]:
        """These settings in force on each broker, of the broker itself (DescribeConfigs); those without a value are left out."""

    def topic_values(self, topics: Sequence[str], names: Sequence[str]) -> Mapping[str, Mapping[str, str]]:
        """These settings in force per topic, one DescribeConfigs for all; topics that may not be described are left out."""

    def list_transactions(self, nodes: Iterable[int]) -> Answers[tuple[TransactionListing, ...]]:
        """ListTransactions (KIP-664) of those that are open, on each coordinator. What may not be described is left out without a word."""

    def describe_transactions(self, ids: Mapping[int, Sequence[str]]) -> Answers[tuple[Transaction, ...]]:
        """Coordinator -> its transactional ids: one DescribeTransactions per node; an id's error is in its row."""

    def open_producers(self, partitions: Mapping[int, Sequence[tuple[str, int]]]) -> Answers[ProducerAnswer]:
        """Leader -> (topic, partition): the producers with an open transaction there, one DescribeProducers per node; needs Read on the topics."""

    def requests(self) -> Mapping[tuple[str, int], int]:
        """(API name, node id) -> requests sent since start."""

    def close(self) -> None:
        """Close every connection and end the threads."""
