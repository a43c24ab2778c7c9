"""Families of the derived blast radius: what would break if a broker, or a rack, stopped now."""

from __future__ import annotations

from exporter.metrics.rows.row import MetricRow, Owner, gauge


def _rows(of: str, what: str) -> tuple[MetricRow, ...]:
    stop = f"kafka_{of}_stop"
    return (
        gauge(
            f"{stop}_partitions_offline",
            f"Partitions that would have no leader if {what} stopped: no replica elsewhere is in sync (neither unclean elections nor eligible leader replicas are counted on).",
            of,
            Owner.TOPICS,
            Owner.CLUSTER,
        ),
        gauge(
            f"{stop}_partitions_under_min_isr",
            f"Partitions that would keep a leader but fall below min.insync.replicas if {what} stopped: acks=all writes would fail; absent where a min.insync.replicas is not known.",
            of,
            Owner.TOPICS,
            Owner.CLUSTER,
        ),
        gauge(
            f"{stop}_leaders_moved",
            f"Partitions that would get another leader if {what} stopped.",
            of,
            Owner.TOPICS,
            Owner.CLUSTER,
        ),
        gauge(
            f"{stop}_groups_moved",
            f"Groups that would lose their coordinator if {what} stopped.",
            of,
            Owner.GROUPS,
            Owner.CLUSTER,
        ),
    )


ROWS: tuple[MetricRow, ...] = (
    *_rows("broker", "the broker"),
    *_rows("rack", "all brokers of the rack"),
    gauge(
        "kafka_partitions_in_one_rack",
        "Partitions with two or more replicas that are all in one rack; absent unless every broker has a rack and there are two racks.",
        "",
        Owner.TOPICS,
        Owner.CLUSTER,
    ),
    gauge(
        "kafka_topic_partitions_in_one_rack",
        "Partitions of the topic with two or more replicas that are all in one rack.",
        "topic",
        Owner.TOPICS,
        Owner.CLUSTER,
        sparse=True,
    ),
)
