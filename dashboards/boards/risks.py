"""What would break if one more broker stopped, what is being moved, and transactions that do not end: sections of the cluster's board."""

from __future__ import annotations

from typing import Final

from dashboards import links
from dashboards.looks import BLUE, GREEN, NO_IS_GOOD, NONE, ORANGE, RED, limit, low_is_good, none_is_good
from dashboards.panels import Column, Query, Section, graph, stat, table
from dashboards.promql import count_or_zero, each, known, or_none, zero_if_covered

TOPIC: Final = Column("topic", "Topic", link=links.TOPIC)
PARTITION: Final = Column("partition", "Partition")
BROKER: Final = Column("broker", "Broker", link=links.BROKER)
IF_ANY: Final = "found for what is listed only"

ONE_MORE: Final = Section(
    "If one more broker stopped",
    (
        stat(
            "Partitions that would go offline",
            "Partitions without a leader if the worst broker stopped now. NO DATA without trusted metadata.",
            known("kafka_broker_stop_partitions_offline"),
            none_is_good(),
            words=NONE,
            width=6,
        ),
        stat(
            "Partitions whose writes would stop",
            "Partitions below min.insync.replicas if the worst broker stopped now. NO DATA where a min.insync.replicas is not known.",
            known("kafka_broker_stop_partitions_under_min_isr"),
            none_is_good(ORANGE),
            words=NONE,
            width=6,
        ),
        stat(
            "Partitions in one rack",
            "Partitions with two or more replicas that are all in one rack. NO DATA unless every broker has a rack and there are two.",
            known("kafka_partitions_in_one_rack"),
            none_is_good(ORANGE),
            words=NONE,
            width=6,
            quiet="a cluster may have no racks",
        ),
        table(
            "What each broker takes with it",
            "If the broker stopped now: partitions without a leader, partitions below min.insync.replicas, leaders that move, groups that get another coordinator.",
            (
                BROKER,
                Column("Value #A", "Offline", steps=none_is_good()),
                Column("Value #B", "Writes stop", steps=none_is_good(ORANGE)),
                Column("Value #C", "Leaders move"),
                Column("Value #D", "Groups move"),
            ),
            Query(each("broker", "kafka_broker_stop_partitions_offline")),
            Query(each("broker", "kafka_broker_stop_partitions_under_min_isr")),
            Query(each("broker", "kafka_broker_stop_leaders_moved")),
            Query(each("broker", "kafka_broker_stop_groups_moved")),
            width=24,
        ),
    ),
)

MOVES: Final = Section(
    "Reassignments and throttles",
    (
        stat(
            "Partitions being moved",
            "Partitions that are being reassigned.",
            known("kafka_reassigning_partitions"),
            none_is_good(BLUE),
            words=NONE,
            width=6,
        ),
        stat(
            "Still to copy",
            "Bytes that the running reassignments still have to copy. NO DATA while that of one is not known.",
            known("kafka_reassignments_remaining_bytes"),
            none_is_good(BLUE),
            words=NONE,
            unit="bytes",
            width=6,
        ),
        stat(
            "Throttles left behind",
            "Throttles of brokers and topics that stand though nothing moves that they could be for: they slow replication down for good. none only while all were asked and answered.",
            count_or_zero(
                f"{each('broker, throttle', 'kafka_broker_replication_throttle_leftover')}"
                f" or {each('topic, throttle', 'kafka_topic_replication_throttle_leftover')}",
                "reassignments",
                "throttles",
                "throttled_topics",
            ),
            none_is_good(ORANGE),
            words=NONE,
            width=6,
        ),
        table(
            "Replicas being added",
            "Each replica that a running reassignment adds, and what it still has to copy. A row says none while the controller answers and nothing moves.",
            (
                TOPIC,
                PARTITION,
                BROKER,
                Column("Value #A", "Added", words={0: ("no", GREEN), 1: ("yes", BLUE)}),
                Column("Value #B", "Still to copy", "bytes"),
            ),
            Query(
                or_none(
                    each("topic, partition, broker", "kafka_partition_reassignment_adding_replica"),
                    "topic",
                    zero_if_covered("reassignments"),
                )
            ),
            Query(each("topic, partition, broker", "kafka_partition_reassignment_remaining_bytes"), quiet=IF_ANY),
        ),
        table(
            "Throttles left behind",
            "Which throttle stands, of which broker or topic. A row says none while all were asked and answered.",
            (BROKER, TOPIC, Column("throttle", "Throttle"), Column("Value", "Left behind", words=NO_IS_GOOD)),
            Query(
                or_none(
                    f"{each('broker, throttle', 'kafka_broker_replication_throttle_leftover')}"
                    f" or {each('topic, throttle', 'kafka_topic_replication_throttle_leftover')}",
                    "throttle",
                    zero_if_covered("reassignments", "throttles", "throttled_topics"),
                )
            ),
        ),
    ),
)

HANGING: Final = "topic, partition, producer_id"

TRANSACTIONS: Final = Section(
    "Transactions",
    (
        stat(
            "Hanging transactions",
            "Open for longer than transaction.max.timeout.ms and known to no coordinator (KIP-664): nobody will end them. NO DATA while a coordinator or a leader has not answered.",
            known("kafka_transactions_hanging"),
            none_is_good(),
            words=NONE,
            width=6,
        ),
        stat(
            "Late transactions",
            "Ongoing transactions that are older than their own transaction.timeout.ms. NO DATA while a coordinator has not answered.",
            f"sum by (cluster) ({each('broker', 'kafka_transactions_late')})",
            none_is_good(ORANGE),
            words=NONE,
            width=6,
        ),
        stat(
            "Oldest open transaction",
            "Time since the oldest open transaction began; 0 where none is open and every coordinator has answered.",
            f"{known('kafka_transactions_oldest_age_seconds')} or {zero_if_covered('transactions')}",
            low_is_good(60, 900),
            unit="s",
            width=6,
        ),
        stat(
            "Stuck last stable offsets",
            "Partitions whose last stable offset does not move though records lie beyond: read_committed consumers wait.",
            count_or_zero(
                each("topic, partition", "kafka_topic_partition_last_stable_offset_stuck_seconds"), "stuck_offsets"
            ),
            none_is_good(ORANGE),
            words=NONE,
            width=6,
        ),
        graph(
            "Open transactions",
            "Of all coordinators, by state in Kafka's words.",
            "short",
            Query(f"sum by (cluster, state) ({each('broker, state', 'kafka_transactions_open')})", "{{state}}"),
            steps=limit(1000, ORANGE),
        ),
        table(
            "Transactions that hold partitions",
            "Partitions with a hanging transaction, its producer, and the time since its last record. A row says none while every coordinator and leader has answered.",
            (
                TOPIC,
                PARTITION,
                Column("producer_id", "Producer id"),
                Column("Value", "For", "s", ((None, GREEN), (1, RED)), words=NONE),
            ),
            Query(
                or_none(
                    each(HANGING, "kafka_topic_partition_hanging_transaction_age_seconds"),
                    "topic",
                    f"0 * {known('kafka_transactions_hanging')}",
                )
            ),
        ),
    ),
)
