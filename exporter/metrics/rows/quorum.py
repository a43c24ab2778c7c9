"""Families of the collector ``quorum``."""

from __future__ import annotations

from exporter.metrics.rows.row import MetricRow, Owner, gauge

ROWS: tuple[MetricRow, ...] = (
    gauge("kafka_quorum_leader_id", "Node id of the active controller.", "", Owner.QUORUM),
    gauge("kafka_quorum_epoch", "Epoch of the metadata quorum's leader.", "", Owner.QUORUM),
    gauge("kafka_quorum_high_watermark", "High watermark of the metadata log.", "", Owner.QUORUM),
    gauge("kafka_quorum_voters", "Voters of the metadata quorum.", "", Owner.QUORUM),
    gauge(
        "kafka_quorum_replica_lag",
        "Records of the metadata log that a voter or observer is behind its leader.",
        "broker role",
        Owner.QUORUM,
    ),
    gauge(
        "kafka_quorum_replica_fetch_age_seconds",
        "Time since the quorum's leader got the last fetch of this node.",
        "broker role",
        Owner.QUORUM,
        unit="seconds",
    ),
    gauge(
        "kafka_quorum_replica_caught_up_age_seconds",
        "Time since this node had all of the metadata log.",
        "broker role",
        Owner.QUORUM,
        unit="seconds",
    ),
    gauge(
        "kafka_controller_alive",
        "1 if an active controller answers, 0 if there is evidence that none does; absent when nobody can tell.",
        "",
        Owner.LEGS,
    ),
)
