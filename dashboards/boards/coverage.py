"""Whether what is shown can be believed: coverage and age of Klaxon's facts, and how Klaxon itself is; a section of the cluster's board."""

from __future__ import annotations

from typing import Final

from dashboards import promql
from dashboards.looks import GREEN, NEUTRAL, NONE, ORANGE, PLAIN, RED, YES_IS_GOOD, limit, low_is_good, none_is_good
from dashboards.panels import Column, Query, Section, graph, stat, table
from dashboards.promql import each, known, of, rate

NO_PEER: Final = "a Klaxon may send to no Alertmanager and no webhook"

COVERAGE: Final = Section(
    "Can this be believed?",
    (
        stat(
            "Cluster reachable",
            "yes if any broker answered Klaxon's last poll.",
            known("klaxon_cluster_reachable"),
            ((None, RED), (1, GREEN)),
            words=YES_IS_GOOD,
            width=3,
        ),
        stat(
            "Metadata trusted",
            "no while no controller answers: then what brokers say about the cluster may be frozen, and Klaxon withdraws it.",
            f"min by (cluster) ({of('klaxon_facts_trusted')})",
            ((None, RED), (1, GREEN)),
            words=YES_IS_GOOD,
            width=3,
        ),
        stat(
            "Sources without facts",
            "Pairs of a collector and a node (or the cluster) that have no fresh and trusted facts, those left out that cannot have any.",
            f"count by (cluster) ({promql.UNSEEN}) or 0 * {known('klaxon_collector_covered')}",
            none_is_good(ORANGE),
            words=NONE,
            width=3,
        ),
        stat(
            "Rule evaluations failed",
            "Evaluations of Klaxon's rules that ended in an error in the last hour.",
            "(sum(increase(klaxon_rule_evaluation_failures_total[1h])) or vector(0)) and on () klaxon_start_time_seconds",
            none_is_good(),
            words=NONE,
            width=3,
        ),
        stat(
            "Book",
            "yes if Klaxon's last write of its own state (alerts, incidents) succeeded.",
            "min(klaxon_book_healthy)",
            ((None, RED), (1, GREEN)),
            words=YES_IS_GOOD,
            width=3,
        ),
        stat(
            "Detail off the page",
            "Families whose detail Klaxon leaves off its page since the cluster has more series than metrics.ceiling: boards lack it.",
            f"sum by (cluster) ({each('level', 'klaxon_page_detail_dropped')})",
            none_is_good(ORANGE),
            words=NONE,
            width=3,
        ),
        stat(
            "Configuration",
            "yes if the configuration that was read last is in force, no if it was refused.",
            "min(klaxon_config_last_reload_successful)",
            ((None, RED), (1, GREEN)),
            words=YES_IS_GOOD,
            width=3,
        ),
        stat(
            "Series in the history",
            "Series that Klaxon keeps for rules and trees.",
            "max(klaxon_history_series)",
            PLAIN,
            unit="short",
            width=3,
        ),
        table(
            "Facts and their age",
            "Each collector and source (a node, or the whole cluster): whether it is covered by fresh and trusted facts, how old the newest are, and whether it can give any at all. No age: there are none.",
            (
                Column("collector", "Collector"),
                Column("source", "Source"),
                Column("Value #A", "Covered", words=YES_IS_GOOD),
                Column("Value #B", "Age", "s", low_is_good(60, 900)),
                Column("Value #C", "Supported", words={0: ("not supported", NEUTRAL), 1: ("yes", NEUTRAL)}),
            ),
            Query(each("collector, source", "klaxon_collector_covered")),
            Query(each("collector, source", "klaxon_collector_age_seconds")),
            Query(each("collector, source", "klaxon_collector_supported")),
            sort="Age",
        ),
        graph(
            "Requests to Kafka",
            "What Klaxon asks of this cluster, by request. It grows with brokers, never with topics, partitions or groups.",
            "reqps",
            Query(rate("api", "klaxon_kafka_requests_total"), "{{api}}"),
        ),
        graph(
            "Duration of polls",
            "How long the last poll of each collector took.",
            "s",
            Query(each("collector", "klaxon_collector_duration_seconds"), "{{collector}}"),
            steps=limit(5, ORANGE),
        ),
        table(
            "Collectors",
            "Whether every source answered in the collector's last poll.",
            (Column("collector", "Collector"), Column("Value", "All answered", words=YES_IS_GOOD)),
            Query(each("collector", "klaxon_collector_success")),
        ),
        table(
            "Who is told",
            "Each Alertmanager and webhook of Klaxon: whether it took the last request, what waits for it, what it refused in the last hour, and how far Klaxon's clock is ahead of its clock.",
            (
                Column("peer", "Peer"),
                Column("Value #A", "Takes", words=YES_IS_GOOD),
                Column("Value #B", "Waiting", steps=none_is_good(ORANGE)),
                Column("Value #C", "Dropped in 1 h", steps=none_is_good()),
                Column("Value #D", "Clock ahead", "s"),
            ),
            Query("min by (peer) (klaxon_notify_up)", quiet=NO_PEER),
            Query("sum by (peer) (klaxon_notify_queued)", quiet=NO_PEER),
            Query("sum by (peer) (increase(klaxon_notifications_dropped_total[1h]))", quiet=NO_PEER),
            Query("max by (peer) (klaxon_notify_clock_skew_seconds)", quiet=NO_PEER),
        ),
    ),
)
