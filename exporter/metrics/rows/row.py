"""What a row of the metric catalogue says."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class MetricType(StrEnum):
    GAUGE = "gauge"
    COUNTER = "counter"


class Owner(StrEnum):
    """Where a metric's data comes from; coverage is asked per owner. ``LEGS`` are our own probes, which need no trust in the cluster's word;
    ``DEPARTURES`` are verdicts on brokers that are gone, each uncovered while it is still to be reached."""

    CLUSTER = "cluster"
    LEGS = "legs"
    DEPARTURES = "departures"
    TOPICS = "topics"
    GROUPS = "groups"
    OFFSETS = "offsets"
    LOG_DIRS = "log_dirs"
    QUORUM = "quorum"
    JMX = "jmx"
    CONFIGS = "configs"
    TOPIC_CONFIGS = "topic_configs"
    QUOTAS = "quotas"
    CERTIFICATES = "certificates"
    CERTIFICATE_FILES = "certificate_files"
    REASSIGNMENTS = "reassignments"
    THROTTLES = "throttles"
    THROTTLED_TOPICS = "throttled_topics"
    TRANSACTIONS = "transactions"
    STUCK_OFFSETS = "stuck_offsets"
    PRODUCERS = "producers"
    SELF = "self"


@dataclass(frozen=True, slots=True)
class MetricRow:
    """One family. ``labels`` come after ``cluster``, which every family but those about the process itself carries.

    ``inputs`` are the collectors whose facts it needs (one for most, several for derived ones); ``sparse`` families only have series where
    something is so, and an absent series there means "not so" only while the inputs are covered. ``inherited`` names keep kafka_exporter's or Strimzi's
    spelling though promtool dislikes it. A derived family that is absent where it cannot tell names only what it cannot do without: the departure of a
    dead broker is no less known because that broker's JMX is silent.
    """

    name: str
    help: str
    type: MetricType
    labels: tuple[str, ...]
    inputs: tuple[Owner, ...]
    unit: str = ""
    sparse: bool = False
    inherited: bool = False
    cluster: bool = True

    @property
    def owner(self) -> Owner:
        return self.inputs[0]


def gauge(
    name: str, help: str, labels: str, *inputs: Owner, unit: str = "", sparse: bool = False, inherited: bool = False
) -> MetricRow:
    return MetricRow(name, help, MetricType.GAUGE, tuple(labels.split()), inputs, unit, sparse, inherited)


def counter(name: str, help: str, labels: str, *inputs: Owner, unit: str = "", inherited: bool = False) -> MetricRow:
    return MetricRow(name, help, MetricType.COUNTER, tuple(labels.split()), inputs, unit, inherited=inherited)
