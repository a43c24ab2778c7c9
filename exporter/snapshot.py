"""The latest reading of every collector of one cluster, with what follows from them: immutable, replaced as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from exporter.derive.blast import BlastRadius
from exporter.derive.health import PartitionHealth
from exporter.derive.lag import GroupLag
from exporter.derive.moves import Throttle
from exporter.derive.trust import Trust
from exporter.facts.cluster import ClusterFacts, Leg
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
    lags: Mapping[int, GroupLag] = field(default_factory=dict)
    """Coordinator -> lag of its groups; a group that two coordinators list is only in the newer one's."""
    legs: Mapping[int, Mapping[str, Leg]] = field(default_factory=dict)
    """Node -> leg -> its last try (legs not tried since an earlier one failed are ``skipped``)."""
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
    log_dirs: Reading[LogDirTable]
    quorum: Reading[Quorum]
    jmx: Reading[JmxNode]
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
        """The readings by the name of their owner in the metric catalogue; that of the log start offsets is apart."""
        return {
            "cluster": self.cluster_facts,
            "topics": self.topics,
            "groups": self.groups,
            "offsets": self.end_offsets,
            "log_dirs": self.log_dirs,
            "quorum": self.quorum,
            "jmx": self.jmx,
            "reassignments": self.reassignments,
            "throttles": self.throttles,
            "throttled_topics": self.throttled_topics,
            "transactions": self.transactions,
            "stuck_offsets": self.stuck_offsets,
            "producers": self.producers,
        }
