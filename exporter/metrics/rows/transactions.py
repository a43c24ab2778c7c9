"""Families of the collector ``transactions``."""

from __future__ import annotations

from exporter.metrics.rows.row import MetricRow, Owner, gauge

ROWS: tuple[MetricRow, ...] = (
    gauge(
        "kafka_transactions_open",
        "Transactions that the coordinator has open, by state in Kafka's words.",
        "broker state",
        Owner.TRANSACTIONS,
    ),
    gauge(
        "kafka_transactions_late",
        "Ongoing transactions of the coordinator that are older than their own transaction.timeout.ms; coordinators abort such ones each 10 s by default.",
        "broker",
        Owner.TRANSACTIONS,
    ),
    gauge(
        "kafka_transaction_late_seconds",
        "For how long a transaction has been ongoing beyond its own transaction.timeout.ms, by its coordinator.",
        "broker transactional_id producer_id",
        Owner.TRANSACTIONS,
        unit="seconds",
        sparse=True,
    ),
    gauge(
        "kafka_transactions_oldest_age_seconds",
        "Time since the oldest open transaction of the coordinator began; absent where it has none.",
        "broker",
        Owner.TRANSACTIONS,
        unit="seconds",
        sparse=True,
    ),
    gauge(
        "kafka_topic_partition_last_stable_offset_stuck_seconds",
        "For how long the partition's last stable offset has not moved, as far as Klaxon saw it, though records lie beyond: consumers with isolation.level=read_committed wait for them.",
        "topic partition",
        Owner.STUCK_OFFSETS,
        unit="seconds",
        sparse=True,
    ),
    gauge(
        "kafka_topic_partition_open_transaction_age_seconds",
        "Age of a transaction that holds the partition's last stable offset and that its coordinator (the label broker) knows.",
        "topic partition transactional_id producer_id broker",
        Owner.PRODUCERS,
        Owner.TRANSACTIONS,
        unit="seconds",
        sparse=True,
    ),
    gauge(
        "kafka_topic_partition_hanging_transaction_age_seconds",
        "Time since the last record of a hanging transaction (KIP-664): open in the partition for longer than the broker's transaction.max.timeout.ms and known to no coordinator, so that nobody will end it.",
        "topic partition producer_id start_offset",
        Owner.PRODUCERS,
        Owner.TRANSACTIONS,
        unit="seconds",
        sparse=True,
    ),
    gauge(
        "kafka_transactions_hanging",
        "Hanging transactions (KIP-664), counted per partition; absent while a coordinator or a leader has not answered.",
        "",
        Owner.PRODUCERS,
        Owner.TRANSACTIONS,
    ),
)
