"""Every metric name that Klaxon exposes: one row each, the only place where a name stands (JMX rows come from the bean catalogue)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from types import MappingProxyType

from exporter.jmx import catalogue as jmx


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


def _gauge(
    name: str, help: str, labels: str, *inputs: Owner, unit: str = "", sparse: bool = False, inherited: bool = False
) -> MetricRow:
    return MetricRow(name, help, MetricType.GAUGE, tuple(labels.split()), inputs, unit, sparse, inherited)


def _counter(name: str, help: str, labels: str, *inputs: Owner, unit: str = "", inherited: bool = False) -> MetricRow:
    return MetricRow(name, help, MetricType.COUNTER, tuple(labels.split()), inputs, unit, inherited=inherited)


_C, _L, _T, _G, _O, _D, _Q, _J, _S = (
    Owner.CLUSTER,
    Owner.LEGS,
    Owner.TOPICS,
    Owner.GROUPS,
    Owner.OFFSETS,
    Owner.LOG_DIRS,
    Owner.QUORUM,
    Owner.JMX,
    Owner.SELF,
)

KAFKA_ROWS: tuple[MetricRow, ...] = (
    # cluster and legs
    _gauge("kafka_cluster_info", "The cluster id that the brokers give; always 1.", "cluster_id", _C),
    _gauge("kafka_brokers", "Brokers that are registered and not fenced.", "", _C),
    _gauge("kafka_broker_info", "Address of a registered broker; always 1.", "id address", _C),
    _gauge(
        "kafka_brokers_expected",
        "Brokers that should be there: registered, or holding replicas, until they are unregistered or forgotten.",
        "",
        _L,
    ),
    _gauge(
        "kafka_node_info", "An expected node: its address, rack and roles; always 1.", "broker address rack roles", _L
    ),
    _gauge(
        "kafka_broker_up",
        "1 if the cluster has the broker registered and unfenced, 0 if it is expected but is not.",
        "broker",
        _C,
    ),
    _gauge(
        "kafka_broker_fenced",
        "1 if the broker is registered but fenced: the controller gets no heartbeats from it.",
        "broker",
        _C,
    ),
    _gauge(
        "kafka_broker_leg",
        "How the last try of one way of reaching the node ended: 1 for the state that it is in, 0 for the others; skipped means not tried since an earlier leg failed.",
        "broker leg state",
        _L,
    ),
    _gauge("kafka_broker_leg_seconds", "How long the last try of the leg took.", "broker leg", _L, unit="seconds"),
    _gauge("kafka_brokers_answering", "Expected brokers that answer ApiVersions.", "", _L),
    _gauge(
        "kafka_broker_departure_controlled",
        "1 if the broker left by a controlled shutdown, 0 if it left without one; absent while it is there or when nobody can tell.",
        "broker",
        _C,
        Owner.DEPARTURES,
    ),
    # quorum
    _gauge("kafka_quorum_leader_id", "Node id of the active controller.", "", _Q),
    _gauge("kafka_quorum_epoch", "Epoch of the metadata quorum's leader.", "", _Q),
    _gauge("kafka_quorum_high_watermark", "High watermark of the metadata log.", "", _Q),
    _gauge("kafka_quorum_voters", "Voters of the metadata quorum.", "", _Q),
    _gauge(
        "kafka_quorum_replica_lag",
        "Records of the metadata log that a voter or observer is behind its leader.",
        "broker role",
        _Q,
    ),
    _gauge(
        "kafka_quorum_replica_fetch_age_seconds",
        "Time since the quorum's leader got the last fetch of this node.",
        "broker role",
        _Q,
        unit="seconds",
    ),
    _gauge(
        "kafka_quorum_replica_caught_up_age_seconds",
        "Time since this node had all of the metadata log.",
        "broker role",
        _Q,
        unit="seconds",
    ),
    _gauge(
        "kafka_controller_alive",
        "1 if an active controller answers, 0 if there is evidence that none does; absent when nobody can tell.",
        "",
        _L,
    ),
    # topics
    _gauge("kafka_topic_partitions", "Partitions of the topic.", "topic", _T),
    _gauge(
        "kafka_topic_partition_leader", "Node id of the partition's leader, -1 if there is none.", "topic partition", _T
    ),
    _gauge("kafka_topic_partition_replicas", "Replicas assigned to the partition.", "topic partition", _T),
    _gauge("kafka_topic_partition_in_sync_replica", "In-sync replicas of the partition.", "topic partition", _T),
    _gauge("kafka_topic_partition_leader_is_preferred", "1 if the leader is the first replica.", "topic partition", _T),
    _gauge(
        "kafka_topic_partition_under_replicated_partition",
        "1 if the partition has fewer in-sync replicas than replicas.",
        "topic partition",
        _T,
    ),
    _gauge("kafka_topic_replication_factor", "Largest number of replicas of the topic's partitions.", "topic", _T),
    _gauge("kafka_topic_min_insync_replicas", "min.insync.replicas in force for the topic.", "topic", _T),
    _gauge(
        "kafka_topic_partitions_under_replicated",
        "Partitions of the topic with fewer in-sync replicas than replicas.",
        "topic",
        _T,
    ),
    _gauge(
        "kafka_topic_partitions_under_min_isr",
        "Partitions of the topic below min.insync.replicas: acks=all writes fail.",
        "topic",
        _T,
    ),
    _gauge(
        "kafka_topic_partitions_at_min_isr",
        "Partitions of the topic at min.insync.replicas though fewer than their replicas are in sync: one more loss stops acks=all writes.",
        "topic",
        _T,
    ),
    _gauge(
        "kafka_topic_partitions_leaderless",
        "Partitions of the topic without a leader: nothing can be written or read.",
        "topic",
        _T,
    ),
    _gauge("kafka_partitions", "Partitions of the cluster.", "", _T),
    _gauge("kafka_partitions_under_replicated", "Partitions with fewer in-sync replicas than replicas.", "", _T),
    _gauge("kafka_partitions_under_min_isr", "Partitions below min.insync.replicas: acks=all writes fail.", "", _T),
    _gauge(
        "kafka_partitions_at_min_isr",
        "Partitions at min.insync.replicas though not all replicas are in sync: one more loss stops acks=all writes.",
        "",
        _T,
    ),
    _gauge("kafka_partitions_leaderless", "Partitions without a leader: nothing can be written or read.", "", _T),
    _gauge(
        "kafka_partition_replica_missing",
        "1 for each replica that is not in sync, by the broker that should hold it.",
        "topic partition broker",
        _T,
        sparse=True,
    ),
    _gauge(
        "kafka_partition_under_min_isr",
        "1 for each partition below min.insync.replicas.",
        "topic partition",
        _T,
        sparse=True,
    ),
    _gauge("kafka_partition_leaderless", "1 for each partition without a leader.", "topic partition", _T, sparse=True),
    _gauge(
        "kafka_partition_leaderless_replica",
        "1 for each replica of a partition without a leader, by the broker that holds it.",
        "topic partition broker",
        _T,
        sparse=True,
    ),
    _gauge(
        "kafka_partition_eligible_leader_replica",
        "1 for each eligible leader replica (KIP-966) of a partition below min.insync.replicas.",
        "topic partition broker",
        _T,
        sparse=True,
    ),
    _gauge("kafka_broker_replicas", "Replicas assigned to the broker.", "broker", _T),
    _gauge("kafka_broker_leaders", "Partitions that the broker leads.", "broker", _T),
    _gauge("kafka_broker_replicas_missing", "Replicas assigned to the broker that are not in sync.", "broker", _T),
    _gauge(
        "kafka_topics_without_min_insync_replicas",
        "Topics whose min.insync.replicas is not known yet or may not be read; their partitions are in no count of min ISR.",
        "",
        _T,
    ),
    # offsets
    _gauge(
        "kafka_topic_partition_current_offset",
        "End offset of the partition: the offset that the next record gets.",
        "topic partition",
        _O,
    ),
    _gauge("kafka_topic_partition_oldest_offset", "Log start offset of the partition.", "topic partition", _O),
    # groups
    _gauge("kafka_consumergroup_members", "Members of the group.", "consumergroup", _G),
    _gauge(
        "kafka_consumergroup_state",
        "State and type of the group in Kafka's words; always 1.",
        "consumergroup state type",
        _G,
    ),
    _gauge(
        "kafka_consumergroup_current_offset",
        "Offset that the group has committed for the partition.",
        "consumergroup topic partition",
        _G,
    ),
    _gauge(
        "kafka_consumergroup_current_offset_sum",
        "Sum of the offsets that the group has committed for the topic's partitions.",
        "consumergroup topic",
        _G,
        inherited=True,
    ),
    _gauge(
        "kafka_consumergroup_lag",
        "Records between the group's committed offset and the partition's end, at least 0.",
        "consumergroup topic partition",
        _G,
        _O,
    ),
    _gauge(
        "kafka_consumergroup_lag_sum",
        "Records that the group is behind over the topic's partitions with a committed offset.",
        "consumergroup topic",
        _G,
        _O,
        inherited=True,
    ),
    _gauge(
        "kafka_consumergroup_commit_beyond_end",
        "Records by which the committed offset lies beyond the partition's end: the topic was truncated, recreated, or the commit is wrong.",
        "consumergroup topic partition",
        _G,
        _O,
        sparse=True,
    ),
    # log dirs
    _gauge(
        "kafka_log_dir_online",
        "1 if the log dir works, 0 if the broker has taken it out of service (KAFKA_STORAGE_ERROR).",
        "broker dir",
        _D,
    ),
    _gauge(
        "kafka_log_dir_total_bytes",
        "Size of the volume that holds the log dir (KIP-827); absent when the dir has failed.",
        "broker dir",
        _D,
        unit="bytes",
    ),
    _gauge(
        "kafka_log_dir_usable_bytes",
        "Usable space of the volume that holds the log dir (KIP-827); absent when the dir has failed.",
        "broker dir",
        _D,
        unit="bytes",
    ),
    _gauge("kafka_log_dir_size_bytes", "Bytes of all replicas in the log dir.", "broker dir", _D, unit="bytes"),
    _gauge("kafka_log_dir_replicas", "Replicas in the log dir.", "broker dir", _D),
    _gauge(
        "kafka_broker_topic_size_bytes",
        "Bytes of the topic's replicas on the broker.",
        "broker topic",
        _D,
        unit="bytes",
    ),
    # about the watching itself
    _gauge(
        "klaxon_collector_success", "1 if every source of the collector answered in its last poll.", "collector", _S
    ),
    _gauge(
        "klaxon_collector_duration_seconds", "How long the collector's last poll took.", "collector", _S, unit="seconds"
    ),
    _gauge(
        "klaxon_collector_age_seconds",
        "Age of the newest facts that the collector has from this source; the source cluster speaks for all of it.",
        "collector source",
        _S,
        unit="seconds",
    ),
    _gauge(
        "klaxon_collector_covered",
        "1 if facts of the collector from this source are fresh and trusted, 0 if not; the source cluster speaks for all of it.",
        "collector source",
        _S,
    ),
    _gauge(
        "klaxon_facts_trusted",
        "1 if the collector's facts can be relied on; 0 if the brokers' metadata may be frozen, since no active controller answers.",
        "collector",
        _S,
    ),
    _counter("klaxon_kafka_requests_total", "Requests sent to Kafka since the start of Klaxon.", "api broker", _S),
    _gauge(
        "klaxon_threshold",
        "The limit in force for a rule, by its name; for topic and group limits one series for each that exists.",
        "name topic consumergroup",
        _S,
    ),
    _gauge("klaxon_cluster_reachable", "1 if any bootstrap server or known broker answered in the last poll.", "", _S),
)

PROCESS_ROWS: tuple[MetricRow, ...] = tuple(
    MetricRow(name, help, type, tuple(labels.split()), (Owner.SELF,), unit, cluster=False)
    for name, help, type, labels, unit in (
        ("klaxon_build_info", "Version of Klaxon; always 1.", MetricType.GAUGE, "version", ""),
        ("klaxon_start_time_seconds", "When Klaxon started, Unix time.", MetricType.GAUGE, "", "seconds"),
        (
            "klaxon_alertmanager_up",
            "1 if the last request to this Alertmanager succeeded.",
            MetricType.GAUGE,
            "peer",
            "",
        ),
        (
            "klaxon_alertmanager_last_success_timestamp_seconds",
            "When this Alertmanager last took our alerts, Unix time.",
            MetricType.GAUGE,
            "peer",
            "seconds",
        ),
        ("klaxon_notifications_total", "Alerts sent to this Alertmanager.", MetricType.COUNTER, "peer", ""),
        (
            "klaxon_notifications_failed_total",
            "Requests to this Alertmanager that failed.",
            MetricType.COUNTER,
            "peer",
            "",
        ),
        (
            "klaxon_notifications_dropped_total",
            "Alerts that this Alertmanager refused for good.",
            MetricType.COUNTER,
            "peer",
            "",
        ),
        (
            "klaxon_rule_evaluation_failures_total",
            "Evaluations of this rule that ended in an error.",
            MetricType.COUNTER,
            "rule",
            "",
        ),
        (
            "klaxon_rule_group_last_evaluation_timestamp_seconds",
            "When this rule group was last evaluated, Unix time.",
            MetricType.GAUGE,
            "group",
            "seconds",
        ),
        (
            "klaxon_rule_group_last_duration_seconds",
            "How long the last evaluation of this rule group took.",
            MetricType.GAUGE,
            "group",
            "seconds",
        ),
        ("klaxon_alerts", "Alerts by state.", MetricType.GAUGE, "state", ""),
        ("klaxon_incidents", "Open incidents by severity.", MetricType.GAUGE, "severity", ""),
        ("klaxon_book_healthy", "1 if the last write to the book succeeded.", MetricType.GAUGE, "", ""),
        ("klaxon_history_series", "Series that the history keeps.", MetricType.GAUGE, "", ""),
    )
)
"""Families about the process, kept by prometheus-client's registry."""

ALERTS_ROW = MetricRow(
    "ALERTS",
    "Pending and firing alerts, as Prometheus writes them.",
    MetricType.GAUGE,
    ("alertname", "alertstate"),
    (Owner.SELF,),
    cluster=False,
)


def by_name(rows: Iterable[MetricRow]) -> Mapping[str, MetricRow]:
    """Rows by name; a name that stands twice is an error."""
    table: dict[str, MetricRow] = {}
    for row in rows:
        if row.name in table:
            raise ValueError(f"metric {row.name} stands twice in the catalogue")
        table[row.name] = row
    return MappingProxyType(table)


def jmx_rows() -> tuple[MetricRow, ...]:
    """The families of the bean catalogue as rows."""
    return tuple(
        MetricRow(f.name, f.help, MetricType(f.type), f.labels, (Owner.JMX,), f.unit, inherited=f.inherited)
        for f in jmx.families()
    )


@lru_cache(maxsize=1)
def complete() -> Mapping[str, MetricRow]:
    """Every family that Klaxon can expose or evaluate, by name."""
    return by_name((*KAFKA_ROWS, *PROCESS_ROWS, ALERTS_ROW, *jmx_rows()))
