"""The latest reading of every collector of one cluster, with what follows from them: immutable, replaced as a whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from exporter.derive.blast import BlastRadius
from exporter.derive.drift import Drift
from exporter.derive.health import PartitionHealth
from exporter.derive.lag import GroupLag
from exporter.derive.moves import Throttle
from exporter.derive.progress import GroupProgress
from exporter.derive.trust import Trust
from exporter.facts.certificates import CertificateFile, Shown
from exporter.facts.cluster import ClusterFacts, Leg
from exporter.facts.configs import Quota, Settings, TopicSettings
from exporter.facts.groups import CoordinatorFacts
from exporter.facts.log_dirs import LogDirTable
from exporter.facts.partitions import I64, OffsetRows, TopicFacts
from exporter.facts.quorum import Quorum
from exporter.facts.reassignments import BrokerThrottles, Move, ThrottledTopics
from exporter.facts.transactions import LeaderProducers, StuckPartition, Transaction
from exporter.jmx.facts import JmxNode
from exporter.reading import Coverage, Reading

__all__ = ["Derived", "Snapshot", "Trust"]


@dataclass(frozen=True, slots=True, eq=False)
class Derived:
    """What follows from the readings of one Snapshot. None and absent keys mean unknown. All of it is as fresh as its oldest input."""

    trust: Trust
    controller_alive: bool | None = None
    departures: Mapping[int, bool] = field(default_factory=dict)
    """Broker that is gone -> True if it left by a controlled shutdown, False if without one."""
    health: PartitionHealth | None = None
    blast: BlastRadius | None = None
    leftovers: frozenset[Throttle] = frozenset()
    """Throttles that stand though nothing moves."""
    end_offsets: I64 | None = None
    """One entry per row of ``health.table``, -1 where unknown."""
    start_offsets: I64 | None = None
    unstable: I64 | None = None
    """Records between the last stable offset and the end, per row; -1 where unknown."""
    newest: I64 | None = None
    """Largest timestamp of a record, Unix milliseconds per row; -1 where there is none or it is unknown."""
    lags: Mapping[int, GroupLag] = field(default_factory=dict)
    """Coordinator -> lag of its groups; a group that two coordinators list is only in the newer one's."""
    progress: Mapping[int, GroupProgress] = field(default_factory=dict)
    """Coordinator -> how its groups move and how far behind they are in seconds."""
    rewinds: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """(group, topic) -> commits that went back since Klaxon knows the group; none is 0."""
    legs: Mapping[int, Mapping[str, Leg]] = field(default_factory=dict)
    """Node -> leg -> its last try (legs not tried since an earlier one failed are ``skipped``)."""
    drift: Drift | None = None
    """None where fewer than two brokers have told their settings."""
    hidden_topics: int | None = None
    """Topics that Metadata leaves out since Klaxon has no right to see them."""
    viewed_at: float | None = None
    """When a broker last gave its view of the cluster (Unix seconds)."""
    withdrawn: frozenset[str] = frozenset()
    """Collectors whose facts are not shown since they are not trusted."""


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """One cluster at one moment. ``at`` is when it was put together (Unix seconds)."""

    cluster: str
    at: float
    cluster_facts: Reading[ClusterFacts]
    topics: Reading[TopicFacts]
    groups: Reading[CoordinatorFacts]
    end_offsets: Reading[OffsetRows]
    start_offsets: Reading[OffsetRows]
    stable_offsets: Reading[OffsetRows]
    newest_records: Reading[OffsetRows]
    log_dirs: Reading[LogDirTable]
    quorum: Reading[Quorum]
    jmx: Reading[JmxNode]
    configs: Reading[Settings]
    topic_configs: Reading[TopicSettings]
    quotas: Reading[Sequence[Quota]]
    certificates: Reading[Sequence[Shown]]
    certificate_files: Reading[Sequence[CertificateFile]]
    reassignments: Reading[tuple[Move, ...]]
    throttles: Reading[BrokerThrottles]
    throttled_topics: Reading[ThrottledTopics]
    transactions: Reading[tuple[Transaction, ...]]
    stuck_offsets: Reading[tuple[StuckPartition, ...]]
    producers: Reading[LeaderProducers]
    derived: Derived
    coverage: Coverage
    requests: Mapping[tuple[str, int], int] = field(default_factory=dict)
    reachable: bool = False

    def readings(self) -> Mapping[str, Reading[Any]]:
        """The readings by the name of their owner in the metric catalogue; the slower ones of offsets are apart."""
        return {
            "cluster": self.cluster_facts,
            "topics": self.topics,
            "groups": self.groups,
            "offsets": self.end_offsets,
            "log_dirs": self.log_dirs,
            "quorum": self.quorum,
            "jmx": self.jmx,
            "configs": self.configs,
            "topic_configs": self.topic_configs,
            "quotas": self.quotas,
            "certificates": self.certificates,
            "certificate_files": self.certificate_files,
            "reassignments": self.reassignments,
            "throttles": self.throttles,
            "throttled_topics": self.throttled_topics,
            "transactions": self.transactions,
            "stuck_offsets": self.stuck_offsets,
            "producers": self.producers,
        }
