"""Families of the collector ``cluster`` and of the legs by which its nodes are reached."""

from __future__ import annotations

from exporter.metrics.rows.row import MetricRow, Owner, gauge

ROWS: tuple[MetricRow, ...] = (
    gauge("kafka_cluster_info", "The cluster id that the brokers give; always 1.", "cluster_id", Owner.CLUSTER),
    gauge("kafka_brokers", "Brokers that are registered and not fenced.", "", Owner.CLUSTER),
    gauge("kafka_broker_info", "Address of a registered broker; always 1.", "id address", Owner.CLUSTER),
    gauge(
        "kafka_brokers_expected",
        "Brokers that should be there: registered, or holding replicas, until they are unregistered or forgotten.",
        "",
        Owner.LEGS,
    ),
    gauge(
        "kafka_node_info",
        "An expected node: its address, rack and roles; always 1.",
        "broker address rack roles",
        Owner.LEGS,
    ),
    gauge(
        "kafka_broker_up",
        "1 if the cluster has the broker registered and unfenced, 0 if it is expected but is not.",
        "broker",
        Owner.CLUSTER,
    ),
    gauge(
        "kafka_broker_fenced",
        "1 if the broker is registered but fenced: the controller gets no heartbeats from it.",
        "broker",
        Owner.CLUSTER,
    ),
    gauge(
        "kafka_broker_leg",
        "How the last try of one way of reaching the node ended: 1 for the state that it is in, 0 for the others; skipped means not tried since an earlier leg failed.",
        "broker leg state",
        Owner.LEGS,
    ),
    gauge(
        "kafka_broker_leg_seconds", "How long the last try of the leg took.", "broker leg", Owner.LEGS, unit="seconds"
    ),
    gauge("kafka_brokers_answering", "Expected brokers that answer ApiVersions.", "", Owner.LEGS),
    gauge(
        "kafka_broker_departure_controlled",
        "1 if the broker left by a controlled shutdown, 0 if it left without one; absent while it is there or when nobody can tell.",
        "broker",
        Owner.CLUSTER,
        Owner.DEPARTURES,
    ),
)
