"""What is asked of a cluster: one file per collector, one line each in the table below."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from exporter.collectors.base import Clock, Collector
from exporter.collectors.certificates import CertificatesCollector
from exporter.collectors.cluster import ClusterCollector
from exporter.collectors.configs import ConfigsCollector
from exporter.collectors.jmx import JmxCollector
from exporter.collectors.log_dirs import LogDirsCollector
from exporter.collectors.offsets import SLOW_INTERVAL_S, GroupsAndOffsets
from exporter.collectors.quorum import QuorumCollector
from exporter.collectors.reassignments import QUIET_TOPICS_S, ReassignmentsCollector
from exporter.collectors.topics import TopicsCollector
from exporter.collectors.transactions import TransactionsCollector
from exporter.jmx.access import OPEN, Access
from exporter.jmx.catalogue import Catalogue
from exporter.jmx.transport import JmxTransport
from exporter.kafka.client import KafkaReader


@dataclass(frozen=True, slots=True)
class Tools:
    """What collectors are made with; ``interval`` is that of the collector being made, in seconds."""

    reader: KafkaReader
    clock: Clock
    interval: float
    jmx: JmxTransport | None = None
    jmx_targets: Mapping[int, str] | None = None
    catalogue: Catalogue | None = None
    jmx_access: Access = OPEN


@dataclass(frozen=True, slots=True)
class Registration:
    """A collector: its name (the key in the configuration), default interval in seconds, the readings that it feeds, and what must be known before it can ask."""

    name: str
    interval: float
    feeds: tuple[str, ...]
    needs: frozenset[str]
    make: Callable[[Tools], Collector]


def _jmx(tools: Tools) -> Collector:
    assert tools.jmx is not None and tools.catalogue is not None and tools.jmx_targets is not None
    return JmxCollector(tools.jmx, tools.catalogue, tools.jmx_targets, tools.interval, tools.jmx_access, tools.clock)


_NOTHING, _CLUSTER = frozenset[str](), frozenset({"cluster"})

COLLECTORS: tuple[Registration, ...] = (
    Registration("cluster", 5.0, ("cluster",), _NOTHING, lambda t: ClusterCollector(t.reader, t.clock)),
    Registration("quorum", 5.0, ("quorum",), _CLUSTER, lambda t: QuorumCollector(t.reader, t.clock)),
    Registration("topics", 5.0, ("topics",), _CLUSTER, lambda t: TopicsCollector(t.reader, t.clock)),
    Registration(
        "groups",
        15.0,
        ("groups", "end_offsets", "stable_offsets", "start_offsets", "newest_records", "first_after"),
        frozenset({"cluster", "topics"}),
        lambda t: GroupsAndOffsets(t.reader, t.clock, t.interval),
    ),
    Registration("log_dirs", 30.0, ("log_dirs",), _CLUSTER, lambda t: LogDirsCollector(t.reader)),
    Registration(
        "configs",
        300.0,
        ("configs", "topic_configs", "quotas"),
        frozenset({"cluster", "topics"}),
        lambda t: ConfigsCollector(t.reader, t.clock),
    ),
    Registration(
        "certificates",
        3600.0,
        ("certificates", "certificate_files"),
        _CLUSTER,
        lambda t: CertificatesCollector(t.reader, t.clock, t.jmx_targets, t.jmx_access.tls),
    ),
    Registration(
        "reassignments",
        15.0,
        ("reassignments", "throttles", "throttled_topics"),
        frozenset({"cluster", "topics"}),
        lambda t: ReassignmentsCollector(t.reader, t.clock),
    ),
    Registration(
        "transactions",
        60.0,
        ("transactions", "stuck_offsets", "producers"),
        frozenset({"cluster", "topics"}),
        lambda t: TransactionsCollector(t.reader, t.clock),
    ),
    Registration("jmx", 15.0, ("jmx",), _NOTHING, _jmx),
)
"""In the order of their first polls."""

SLOWER: Mapping[str, float] = {
    "start_offsets": SLOW_INTERVAL_S,
    "newest_records": SLOW_INTERVAL_S,
    "throttled_topics": QUIET_TOPICS_S,
}
"""Readings that are not renewed at every poll of their collector, and how often they are, in seconds."""

BY_NAME: Mapping[str, Registration] = {c.name: c for c in COLLECTORS}


def reading_interval(reading: str, interval: float) -> float:
    """How often a reading is renewed, in seconds, when its collector is polled every ``interval``."""
    return max(interval, SLOWER.get(reading, 0.0))
