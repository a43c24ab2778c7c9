"""Families about the watching of a cluster."""

from __future__ import annotations

from exporter.metrics.rows.row import MetricRow, Owner, counter, gauge

ROWS: tuple[MetricRow, ...] = (
    gauge(
        "klaxon_collector_success",
        "1 if every source of the collector answered in its last poll.",
        "collector",
        Owner.SELF,
    ),
    gauge(
        "klaxon_collector_duration_seconds",
        "How long the collector's last poll took.",
        "collector",
        Owner.SELF,
        unit="seconds",
    ),
    gauge(
        "klaxon_collector_age_seconds",
        "Age of the newest facts that the collector has from this source; the source cluster speaks for all of it.",
        "collector source",
        Owner.SELF,
        unit="seconds",
    ),
    gauge(
        "klaxon_collector_covered",
        "1 if facts of the collector from this source are fresh and trusted, 0 if not; the source cluster speaks for all of it.",
        "collector source",
        Owner.SELF,
    ),
    gauge(
        "klaxon_collector_supported",
        "0 if this source cannot give the collector's facts at all (or the collector is switched off): neither unknown nor a fault; the source cluster speaks for all of it.",
        "collector source",
        Owner.SELF,
    ),
    gauge(
        "klaxon_facts_trusted",
        "1 if the collector's facts can be relied on; 0 if the brokers' metadata may be frozen, since no active controller answers.",
        "collector",
        Owner.SELF,
    ),
    counter(
        "klaxon_kafka_requests_total", "Requests sent to Kafka since the start of Klaxon.", "api broker", Owner.SELF
    ),
    gauge(
        "klaxon_threshold",
        "The limit in force for a rule, by its name; for topic and group limits one series for each that exists.",
        "name topic consumergroup",
        Owner.SELF,
    ),
    gauge(
        "klaxon_cluster_reachable",
        "1 if any bootstrap server or known broker answered in the last poll.",
        "",
        Owner.SELF,
    ),
    gauge(
        "klaxon_page_series",
        "Series of the cluster on the metrics page, by the collector they come from.",
        "collector",
        Owner.SELF,
    ),
    gauge(
        "klaxon_page_detail_dropped",
        "Families that are off the metrics page since the cluster has more series than metrics.ceiling, by the detail they have.",
        "level",
        Owner.SELF,
    ),
)
