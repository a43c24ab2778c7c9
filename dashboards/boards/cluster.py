"""One cluster: what is wrong, where, since when, and whether what is shown can be believed."""

from __future__ import annotations

from typing import Final

from dashboards import links, promql
from dashboards.boards.coverage import COVERAGE
from dashboards.boards.risks import MOVES, ONE_MORE, TRANSACTIONS
from dashboards.boards.settings import SETTINGS
from dashboards.looks import (
    BLUE,
    GREEN,
    LEVELS,
    NO_IS_GOOD,
    NONE,
    OK_IF_NONE,
    ORANGE,
    PLAIN,
    RED,
    YES_IS_GOOD,
    limit,
    low_is_good,
    none_is_good,
)
from dashboards.panels import Board, Column, Query, Section, graph, stat, table, timeline
from dashboards.promql import each, known, of, or_none, zero_if_covered

IF_NONE: Final = "found for listed partitions only"

TOPIC: Final = Column("topic", "Topic", link=links.TOPIC)
PARTITION: Final = Column("partition", "Partition")
BROKER: Final = Column("broker", "Broker", link=links.BROKER)

STATE: Final = Section(
    "State",
    (
        stat(
            "Is everything OK?",
            "As on the wall: OK only where everything that must be known is known and well. PARTLY BLIND: a collector has no facts of some node. DEGRADED: something is lost that clients do "
            "not feel. CRITICAL: clients stand still or a critical alert fires.",
            promql.EVERYTHING,
            ((None, GREEN), (1, ORANGE), (3, RED)),
            words=LEVELS,
            width=6,
        ),
        stat(
            "Brokers",
            "Expected brokers that do not answer or are not registered and unfenced.",
            promql.BROKERS_DOWN,
            none_is_good(),
            words=OK_IF_NONE,
            unit="suffix:DOWN",
            link=links.BROKERS,
            width=3,
        ),
        stat(
            "Active controller",
            "yes if one answers, no if there is evidence that none does.",
            known("kafka_controller_alive"),
            ((None, RED), (1, GREEN)),
            words=YES_IS_GOOD,
            width=3,
        ),
        stat(
            "Partitions without leader",
            "They can be neither written nor read.",
            known("kafka_partitions_leaderless"),
            none_is_good(),
            words=NONE,
            width=3,
        ),
        stat(
            "Below min ISR",
            "Partitions below min.insync.replicas: acks=all writes fail.",
            known("kafka_partitions_under_min_isr"),
            none_is_good(),
            words=NONE,
            width=3,
        ),
        stat(
            "At min ISR",
            "Partitions at min.insync.replicas though not all replicas are in sync: one more loss stops acks=all writes.",
            known("kafka_partitions_at_min_isr"),
            none_is_good(ORANGE),
            words=NONE,
            width=3,
        ),
        stat(
            "Under-replicated",
            "Partitions with fewer in-sync replicas than replicas.",
            known("kafka_partitions_under_replicated"),
            none_is_good(ORANGE),
            words=NONE,
            width=3,
        ),
        stat(
            "Failed log dirs",
            "Log dirs that brokers have taken out of service; none only if every broker was asked and answered.",
            promql.LOG_DIRS_FAILED,
            none_is_good(),
            words=NONE,
            link=links.BROKERS,
            width=3,
        ),
        stat(
            "Critical alerts",
            "Critical alerts that fire; none only while the rules are evaluated by the data source and Klaxon reaches the cluster.",
            promql.alerts_firing("critical"),
            none_is_good(),
            words=NONE,
            width=3,
        ),
        stat(
            "Warnings",
            "Alerts of severity warning that fire; none only while the rules are evaluated by the data source and Klaxon reaches the cluster.",
            promql.alerts_firing("warning"),
            none_is_good(ORANGE),
            words=NONE,
            width=3,
        ),
        stat(
            "Open incidents",
            "Incidents that this Klaxon has open, over all clusters that it watches.",
            "sum(klaxon_incidents)",
            none_is_good(ORANGE),
            words=NONE,
            width=3,
        ),
        stat(
            "Paging",
            "yes if an Alertmanager or a webhook took Klaxon's last request. NO DATA where Klaxon sends to none.",
            "max(klaxon_notify_up)",
            ((None, RED), (1, GREEN)),
            words=YES_IS_GOOD,
            width=3,
            quiet="a Klaxon may send to no Alertmanager",
        ),
        stat(
            "Data age",
            "Age of the oldest of brokers and partitions when you look; red from three scrapes of 15 s on.",
            promql.DATA_AGE,
            low_is_good(30, 45),
            unit="s",
            width=3,
        ),
        stat(
            "Topics of unknown min ISR",
            "Topics whose min.insync.replicas is not known or may not be read: their partitions are in no count of min ISR.",
            known("kafka_topics_without_min_insync_replicas"),
            none_is_good(ORANGE),
            words=NONE,
            width=3,
        ),
        stat("Partitions", "Partitions of the cluster.", known("kafka_partitions"), PLAIN, width=3),
        timeline(
            "What was OK, and when",
            "State of the whole cluster over time. Gaps are times without facts.",
            LEVELS,
            Query(promql.EVERYTHING, "cluster"),
            height=4,
        ),
    ),
)

BELOW: Final = each("topic, partition", "kafka_partition_under_min_isr")


def _of_its_topic(metric: str) -> str:
    return f"{BELOW} * on (cluster, topic) group_left () {each('topic', metric)}"


PARTITIONS: Final = Section(
    "Partitions in trouble",
    (
        table(
            "Missing replicas",
            "Each replica that is not in sync, by the broker that should hold it. A row says none while metadata is fresh and trusted and nothing is missing.",
            (TOPIC, PARTITION, BROKER, Column("Value", "Missing", words=NO_IS_GOOD)),
            Query(
                or_none(
                    each("topic, partition, broker", "kafka_partition_replica_missing"),
                    "topic",
                    zero_if_covered("topics"),
                )
            ),
        ),
        table(
            "Partitions without a leader",
            "Each partition without a leader, by the brokers that hold its replicas: one of these must come back. A row says none while metadata is fresh and trusted and all have one.",
            (TOPIC, PARTITION, BROKER, Column("Value", "No leader", words=NO_IS_GOOD)),
            Query(
                or_none(
                    f"{each('topic, partition, broker', 'kafka_partition_leaderless_replica')}"
                    f" or {each('topic, partition', 'kafka_partition_leaderless')}"
                    f" unless on (cluster, topic, partition) {of('kafka_partition_leaderless_replica')}",
                    "topic",
                    zero_if_covered("topics"),
                )
            ),
        ),
        table(
            "Partitions below min.insync.replicas",
            "Each partition that acks=all producers cannot write to, with the min.insync.replicas and the replication factor of its topic. A row says none while metadata is fresh and trusted "
            "and there is none.",
            (
                TOPIC,
                PARTITION,
                Column("Value #A", "Below", words=NO_IS_GOOD),
                Column("Value #B", "Min ISR"),
                Column("Value #C", "Replication factor"),
            ),
            Query(or_none(BELOW, "topic", zero_if_covered("topics"))),
            Query(_of_its_topic("kafka_topic_min_insync_replicas"), quiet=IF_NONE),
            Query(_of_its_topic("kafka_topic_replication_factor"), quiet=IF_NONE),
        ),
        graph(
            "Partitions by what they lack",
            "Counts over the cluster, and how many are being moved by a reassignment (as the leaders say by JMX). Gaps are times without trusted metadata.",
            "short",
            Query(known("kafka_partitions_leaderless"), "no leader"),
            Query(known("kafka_partitions_under_min_isr"), "below min ISR"),
            Query(known("kafka_partitions_at_min_isr"), "at min ISR"),
            Query(known("kafka_partitions_under_replicated"), "under-replicated"),
            Query(
                f"count by (cluster) ({each('topic, partition', 'kafka_partition_eligible_leader_replica')})",
                "with eligible leader replicas",
                quiet=IF_NONE,
            ),
            Query(
                f"sum by (cluster) ({each('broker', 'kafka_server_replicamanager_reassigningpartitions')})", "moving"
            ),
            steps=limit(1),
        ),
    ),
)

QUORUM: Final = Section(
    "Controllers and quorum",
    (
        stat("Active controller's node", "Node id of the quorum's leader.", known("kafka_quorum_leader_id"), PLAIN),
        stat(
            "Epoch", "Epoch of the quorum's leader; it rises with every election.", known("kafka_quorum_epoch"), PLAIN
        ),
        stat(
            "Voters",
            "Voters of the metadata quorum: it lives while more than half of them do.",
            known("kafka_quorum_voters"),
            ((None, RED), (1, ORANGE), (3, GREEN)),
        ),
        stat(
            "Slowest voter",
            "Longest time since a voter had all of the metadata log.",
            f"max by (cluster) ({of('kafka_quorum_replica_caught_up_age_seconds', role='voter')})",
            low_is_good(5, 10),
            unit="s",
        ),
        stat(
            "Metadata errors",
            "Errors while controllers and brokers loaded or applied metadata: a node may work on an old state.",
            f"max by (cluster) ({of('kafka_controller_kafkacontroller_metadataerrorcount')}"
            f" or {of('kafka_server_brokermetadatametrics_metadata_apply_error_count')}"
            f" or {of('kafka_server_brokermetadatametrics_metadata_load_error_count')})",
            none_is_good(),
            words=NONE,
        ),
        stat(
            "Controllers that say they are active",
            "Nodes whose ActiveControllerCount is 1, as they say by JMX. More than one for longer than an election is two controllers.",
            f"sum by (cluster) ({each('broker', 'kafka_controller_kafkacontroller_activecontrollercount')})",
            ((None, RED), (1, GREEN), (2, ORANGE)),
        ),
        graph(
            "Lag of the metadata log",
            "Records that each voter and observer is behind the quorum's leader.",
            "short",
            Query(each("broker, role", "kafka_quorum_replica_lag"), "{{broker}} {{role}}"),
            steps=limit(1000, ORANGE),
        ),
        table(
            "Nodes",
            "Every expected node: its address, rack and roles.",
            (
                BROKER,
                Column("address", "Address"),
                Column("rack", "Rack"),
                Column("roles", "Roles"),
                Column("Value", "Expected", words=YES_IS_GOOD),
            ),
            Query(each("broker, address, rack, roles", "kafka_node_info")),
        ),
    ),
)

DISKS: Final = Section(
    "Log dirs",
    (
        table(
            "Log dirs",
            "Every log dir of the brokers that answer. Sizes are missing where the dir has failed or brokers are older than 3.3 (KIP-827); the limit of the rule is klaxon_threshold disk_used_ratio.",
            (
                BROKER,
                Column("dir", "Log dir"),
                Column("Value #A", "Works", words=YES_IS_GOOD),
                Column("Value #B", "Used", "percentunit", low_is_good(0.75, 0.85)),
                Column("Value #C", "Usable", "bytes"),
                Column("Value #D", "Size", "bytes"),
                Column("Value #E", "Replicas"),
            ),
            Query(each("broker, dir", "kafka_log_dir_online")),
            Query(promql.DISK_USED),
            Query(each("broker, dir", "kafka_log_dir_usable_bytes")),
            Query(each("broker, dir", "kafka_log_dir_total_bytes")),
            Query(each("broker, dir", "kafka_log_dir_replicas")),
            sort="Used",
        ),
        graph(
            "Used share of log dirs",
            "Of the volume that holds the log dir; the dashed curve is the limit of the rule KafkaDiskFilling.",
            "percentunit",
            Query(promql.DISK_USED, "{{broker}} {{dir}}"),
            Query(known("klaxon_threshold", name="disk_used_ratio"), "limit"),
            steps=limit(0.85),
            most=1,
        ),
    ),
)

ALERTS: Final = Section(
    "Alerts and incidents",
    (
        table(
            "Firing alerts",
            "Alerts of severity critical and warning, each with its subject and for how long it has fired (3 hours at most). A row says none while the data source evaluates Klaxon's rules and "
            "Klaxon reaches the cluster.",
            (
                Column("alertname", "Alert"),
                Column("severity", "Severity"),
                Column("subject", "Subject"),
                Column("Value", "For", "s", ((None, BLUE), (1, ORANGE))),
            ),
            Query(or_none(promql.firing_for("~critical|warning"), "alertname", promql.ALERTS_SEEN)),
            sort="For",
        ),
        graph(
            "Open incidents",
            "Incidents that this Klaxon has open, by severity, over all clusters that it watches.",
            "short",
            Query("max by (severity) (klaxon_incidents)", "{{severity}}"),
            steps=limit(1, ORANGE),
        ),
    ),
)

BOARD: Final = Board(
    uid="klaxon-cluster",
    title="Kafka cluster",
    says="What is wrong with a cluster, where, since when, and whether it can be believed.",
    sections=(STATE, PARTITIONS, ALERTS, ONE_MORE, QUORUM, DISKS, MOVES, TRANSACTIONS, SETTINGS, COVERAGE),
)
