"""Families of the features that brokers tell with ApiVersions (KIP-584), among them metadata.version."""

from __future__ import annotations

from exporter.metrics.rows.row import MetricRow, Owner, gauge

ROWS: tuple[MetricRow, ...] = (
    gauge(
        "kafka_feature_finalized_level",
        "Level of the feature that the cluster has finalized; below the lowest kafka_broker_feature_max_level an upgrade is not finished.",
        "feature",
        Owner.CLUSTER,
    ),
    gauge(
        "kafka_broker_feature_max_level",
        "Highest level of the feature that the broker's software supports; different levels mean different Kafka versions.",
        "broker feature",
        Owner.CLUSTER,
    ),
)
