"""The readings of one cluster, and how a finished poll is laid over them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from exporter.collectors import COLLECTORS, reading_interval
from exporter.collectors.base import Polls
from exporter.collectors.groups import without_repeats
from exporter.facts.certificates import CertificateFile, Shown
from exporter.facts.cluster import ClusterFacts
from exporter.facts.configs import Quota, Settings, TopicSettings
from exporter.facts.groups import CoordinatorFacts
from exporter.facts.log_dirs import LogDirTable
from exporter.facts.partitions import OffsetRows, TopicFacts
from exporter.facts.quorum import Quorum
from exporter.facts.reassignments import BrokerThrottles, Move, ThrottledTopics
from exporter.facts.transactions import LeaderProducers, StuckPartition, Transaction
from exporter.jmx.facts import JmxNode
from exporter.reading import Failure, Poll, Reading


@dataclass(frozen=True, slots=True)
class Readings:
    """The newest reading of everything, immutable; field names are those of :class:`Polls`."""

    cluster: Reading[ClusterFacts]
    topics: Reading[TopicFacts]
    groups: Reading[CoordinatorFacts]
    end_offsets: Reading[OffsetRows]
    start_offsets: Reading[OffsetRows]
    stable_offsets: Reading[OffsetRows]
    newest_records: Reading[OffsetRows]
    first_after: Reading[OffsetRows]
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

    @classmethod
    def none(cls, intervals: Mapping[str, float]) -> Readings:
        """Before the first poll; ``intervals`` by collector, in seconds."""
        empty: dict[str, Any] = {}
        for collector in COLLECTORS:
            for name in collector.feeds:
                every = reading_interval(name, intervals.get(collector.name, collector.interval))
                empty[name] = Reading.never(collector.name, every)
        return cls(**empty)

    def by_owner(self) -> dict[str, Reading[Any]]:
        """The readings by the name of their owner in the metric catalogue; the slower ones of offsets are apart."""
        return {
            "cluster": self.cluster,
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

    def merged(self, polls: Polls, at: float, duration: float) -> Readings:
        """These readings with newer polls laid over them."""
        newer: dict[str, Any] = {}
        for field in fields(polls):
            poll: Poll[Any] | None = getattr(polls, field.name)
            if poll is not None:
                newer[field.name] = getattr(self, field.name).merged(poll, at, duration)
        if "groups" in newer:
            # A group that another coordinator has taken over stands in an old part of its former one as well.
            groups = newer["groups"]
            newer["groups"] = replace(groups, parts=without_repeats(groups.parts, newest=True))
        return replace(self, **newer)

    def failed(self, feeds: tuple[str, ...], failure: Failure, at: float, duration: float) -> Readings:
        """These readings after a run of their collector that gave nothing: every expected source failed alike."""
        newer: dict[str, Any] = {}
        for name in feeds:
            reading: Reading[Any] = getattr(self, name)
            poll: Poll[Any] = Poll({}, dict.fromkeys(sorted(reading.expected), failure), reading.expected)
            newer[name] = reading.merged(poll, at, duration)
        return replace(self, **newer)

    def paced(self, feeds: tuple[str, ...], interval: float) -> Readings:
        """These readings, those of a collector with the interval at which it polls from now on, in seconds."""
        old: dict[str, Reading[Any]] = {name: getattr(self, name) for name in feeds}
        newer = {
            name: replace(reading, interval=every)
            for name, reading in old.items()
            if reading.interval != (every := reading_interval(name, interval))
        }
        return replace(self, **newer) if newer else self

    def without(self, feeds: tuple[str, ...]) -> Readings:
        """These readings as before the first poll of a collector."""
        old: dict[str, Reading[Any]] = {name: getattr(self, name) for name in feeds}
        return replace(self, **{name: Reading.never(r.collector, r.interval) for name, r in old.items()})
