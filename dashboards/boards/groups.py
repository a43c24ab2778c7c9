"""Consumer groups: which fall behind, on which topic and partition, and whether they move."""

from __future__ import annotations

from typing import Final

from dashboards import links, promql
from dashboards.looks import GROUP_STATES, NEUTRAL, NO_IS_GOOD, NONE, ORANGE, PLAIN, floor, limit, none_is_good
from dashboards.panels import Board, Choice, Column, Query, Section, graph, stat, table, timeline
from dashboards.promql import count_or_zero, each, of, or_none, states, zero_if_covered

GROUP: Final = "~$consumergroup"
TOPIC: Final = "~$topic"
BY_GROUP: Final = "{{consumergroup}}"
BY_TOPIC: Final = "{{consumergroup}} {{topic}}"
PARTITION: Final = "consumergroup, topic, partition"

NAMES: Final = (
    Column("consumergroup", "Group", link=links.GROUP),
    Column("topic", "Topic", link=links.TOPIC),
    Column("partition", "Partition"),
)


def _by_partition(metric: str) -> str:
    return each(PARTITION, metric, consumergroup=GROUP, topic=TOPIC)


def _by_topic(metric: str) -> str:
    return each("consumergroup, topic", metric, consumergroup=GROUP, topic=TOPIC)


LAG: Final = f"sum by (cluster, consumergroup) ({_by_topic('kafka_consumergroup_lag_sum')})"
LARGEST: Final = f"max by (cluster, consumergroup) ({of('kafka_consumergroup_lag', consumergroup=GROUP, topic=TOPIC)})"
LIMIT: Final = each("consumergroup", "klaxon_threshold", name="group_lag", consumergroup=GROUP)
COMMITTED: Final = _by_topic("kafka_consumergroup_current_offset_sum")
STANDING: Final = (
    f"({_by_partition('kafka_consumergroup_lag')} > 0)"
    f" and ({_by_partition('kafka_consumergroup_current_offset')}"
    f" == max by (cluster, {PARTITION}) ({of('kafka_consumergroup_current_offset', consumergroup=GROUP, topic=TOPIC)} offset 10m))"
)
SPENT: Final = (
    f"{_by_topic('kafka_consumergroup_lag_seconds')} * 1000"
    f" / on (cluster, topic) group_left () ({each('topic', 'kafka_topic_config_value', name='retention.ms', topic=TOPIC)} > 0)"
    f" and on (cluster, topic) {of('kafka_topic_cleanup_policy_info', policy='~.*delete.*', topic=TOPIC)}"
)
MEMBERS: Final = each("consumergroup", "kafka_consumergroup_members", consumergroup=GROUP)

STATE: Final = Section(
    "State",
    (
        stat(
            "Groups",
            "Groups that the coordinators list, of those chosen.",
            f"count by (cluster) ({MEMBERS})",
            PLAIN,
        ),
        stat(
            "Behind their limit",
            "Groups of the whole cluster with more lag than their limit (klaxon_threshold group_lag). NO DATA when a coordinator or a leader has not answered.",
            promql.GROUPS_BEHIND,
            none_is_good(ORANGE),
            words=NONE,
        ),
        stat(
            "Partitions standing still",
            "Partitions of the chosen groups with lag whose commit is the one of 10 minutes ago.",
            count_or_zero(STANDING, "groups", "offsets"),
            none_is_good(ORANGE),
            words=NONE,
        ),
        stat(
            "Without members",
            "Chosen groups without members: nobody reads.",
            count_or_zero(f"{MEMBERS} == 0", "groups"),
            none_is_good(ORANGE),
            words=NONE,
        ),
        stat(
            "Commits beyond the end",
            "Partitions whose committed offset lies beyond their end: the topic was truncated or made again, or the commit is wrong.",
            count_or_zero(_by_partition("kafka_consumergroup_commit_beyond_end"), "groups", "offsets"),
            none_is_good(ORANGE),
            words=NONE,
        ),
        stat(
            "Lag",
            "Records that the chosen groups are behind, all together.",
            f"sum by (cluster) ({LAG})",
            PLAIN,
            unit="short",
        ),
        timeline(
            "State of each group",
            "In Kafka's words. Empty: no members. Orange ones are rebalancing, which should take seconds. Gaps are times without facts.",
            GROUP_STATES,
            Query(
                states("kafka_consumergroup_state", "consumergroup", "state", GROUP_STATES, consumergroup=GROUP),
                BY_GROUP,
            ),
            height=10,
        ),
    ),
)

LAGS: Final = Section(
    "Lag",
    (
        graph(
            "Lag by group",
            "Records that the group is behind over the chosen topics.",
            "short",
            Query(LAG, BY_GROUP),
            Query(
                each("consumergroup", "kafka_consumergroup_group_lag", consumergroup=GROUP), f"{BY_GROUP} all topics"
            ),
        ),
        graph(
            "Lag against the limit",
            "Lag of the whole group as a share of its limit (klaxon_threshold group_lag): above 1 and growing, KafkaGroupBehind fires.",
            "percentunit",
            Query(f"{LAG} / on (cluster, consumergroup) {LIMIT}", BY_GROUP),
            steps=limit(1),
        ),
        graph(
            "Largest lag of a partition",
            "Lag of the group's worst partition: far from its mean means one slow consumer or one hot key.",
            "short",
            Query(LARGEST, BY_GROUP),
        ),
        graph(
            "Lag in time",
            "Time since the record was appended that the group reads next, of its slowest partition (docs/lag.md). Where one of its partitions is only bounded, at least so much.",
            "s",
            Query(each("consumergroup", "kafka_consumergroup_lag_max_seconds", consumergroup=GROUP), BY_GROUP),
            Query(
                each("consumergroup", "kafka_consumergroup_lag_at_least_seconds", consumergroup=GROUP),
                f"{BY_GROUP} at least",
                quiet="only where a partition is bounded",
            ),
        ),
        graph(
            "Spent share of retention",
            "Age of the record that the group reads next, as a share of its topic's retention.ms: above klaxon_threshold group_retention_used_ratio, KafkaGroupNearRetention fires.",
            "percentunit",
            Query(SPENT, BY_TOPIC),
            steps=limit(0.75),
        ),
        graph(
            "Unread share of the log",
            "Share of the log's records that the group has not read, of its worst partition: at 1 retention takes records before they are read.",
            "percentunit",
            Query(_by_topic("kafka_consumergroup_retention_used_ratio"), BY_TOPIC),
            steps=limit(0.8),
        ),
        graph(
            "Headroom to retention",
            "Records between the log's start and the commit, of the partition with the fewest. Below zero records are lost to the group.",
            "short",
            Query(_by_topic("kafka_consumergroup_headroom_records"), BY_TOPIC),
            steps=floor(0),
            least=None,
        ),
        graph(
            "Lag by topic",
            "Records that the group is behind, by topic.",
            "short",
            Query(_by_topic("kafka_consumergroup_lag_sum"), BY_TOPIC),
        ),
    ),
)

WORK: Final = Section(
    "Work",
    (
        graph(
            "Commit progress",
            "Records per second by which the group's commits move on: zero with lag means that it stands still, below zero that it was rewound.",
            "wps",
            Query(
                f"deriv({of('kafka_consumergroup_current_offset_sum', consumergroup=GROUP, topic=TOPIC)}[5m:15s])",
                BY_TOPIC,
            ),
            least=None,
        ),
        graph(
            "Records that arrive",
            "Records per second that are written to the chosen topics.",
            "wps",
            Query(
                f"sum by (cluster, topic) (deriv({of('kafka_topic_partition_current_offset', topic=TOPIC)}[5m]))",
                "{{topic}}",
            ),
            least=None,
        ),
        graph(
            "Members",
            "Members of each group, and those to whom no partition is assigned.",
            "short",
            Query(MEMBERS, BY_GROUP),
            Query(each("consumergroup", "kafka_consumergroup_members_idle", consumergroup=GROUP), f"{BY_GROUP} idle"),
        ),
        graph(
            "Epoch",
            "It rises whenever members or subscriptions change; a steep line is a group that divides its partitions again and again. Classic groups have none.",
            "none",
            Query(
                each("consumergroup", "kafka_consumergroup_epoch", consumergroup=GROUP),
                BY_GROUP,
                quiet="classic groups have none",
            ),
        ),
        graph(
            "Rewinds",
            "Commits per second that were below the one before: the group reads again.",
            "ops",
            Query(
                promql.rate(
                    "consumergroup, topic", "kafka_consumergroup_rewinds_total", consumergroup=GROUP, topic=TOPIC
                ),
                BY_TOPIC,
            ),
        ),
        graph(
            "Rebalances",
            "Rebalances per second of classic and KIP-848 groups, by the broker that coordinates them.",
            "ops",
            Query(
                promql.rate("broker", "kafka_server_group_coordinator_metrics_group_completed_rebalance_count"),
                "{{broker}} classic",
            ),
            Query(
                promql.rate("broker", "kafka_server_group_coordinator_metrics_consumer_group_rebalance_count"),
                "{{broker}} KIP-848",
            ),
            steps=limit(1, ORANGE),
        ),
    ),
)

WORST: Final = Section(
    "Worst first",
    (
        table(
            "Groups",
            "The 20 groups with the most lag over the chosen topics, with their limit and members.",
            (
                NAMES[0],
                Column("Value #A", "Lag", "short"),
                Column("Value #B", "Limit", "short"),
                Column("Value #C", "Members", "none", ((None, ORANGE), (1, NEUTRAL))),
            ),
            Query(f"topk by (cluster) (20, {LAG})"),
            Query(f"{LIMIT} and topk by (cluster) (20, {LAG})"),
            Query(f"{MEMBERS} and topk by (cluster) (20, {LAG})"),
            sort="Lag",
        ),
        table(
            "Partitions",
            "The 20 partitions with the most lag.",
            (*NAMES, Column("Value", "Lag", "short")),
            Query(f"topk by (cluster) (20, {_by_partition('kafka_consumergroup_lag')})"),
            sort="Lag",
        ),
        table(
            "Partitions standing still",
            "Partitions with lag whose commit is the one of 10 minutes ago. A row says none while every coordinator and leader has answered.",
            (*NAMES, Column("Value", "Lag", "short", none_is_good(ORANGE), words=NONE)),
            Query(or_none(STANDING, "consumergroup", zero_if_covered("groups", "offsets"))),
            sort="Lag",
        ),
        table(
            "Nobody reads",
            "Partitions with a commit of the group that are assigned to none of its members. A row says none while every coordinator has answered.",
            (*NAMES, Column("Value", "Unassigned", words=NO_IS_GOOD)),
            Query(
                or_none(
                    _by_partition("kafka_consumergroup_partition_unassigned"),
                    "consumergroup",
                    zero_if_covered("groups"),
                )
            ),
        ),
        table(
            "Records lost to groups",
            "Records that retention took away before the group had read them. A row says none while every coordinator and leader has answered.",
            (*NAMES, Column("Value", "Records lost", "short", none_is_good(), words=NONE)),
            Query(
                or_none(
                    _by_partition("kafka_consumergroup_records_lost"),
                    "consumergroup",
                    zero_if_covered("groups", "offsets"),
                )
            ),
        ),
        table(
            "Coordinators",
            "Node id of each group's coordinator.",
            (NAMES[0], Column("Value", "Coordinator")),
            Query(each("consumergroup", "kafka_consumergroup_coordinator", consumergroup=GROUP)),
        ),
        table(
            "Commits beyond the end",
            "Partitions whose committed offset lies beyond their end, and by how many records. A row says none while every coordinator and leader has answered.",
            (*NAMES, Column("Value", "Records beyond", "short", none_is_good(ORANGE), words=NONE)),
            Query(
                or_none(
                    _by_partition("kafka_consumergroup_commit_beyond_end"),
                    "consumergroup",
                    zero_if_covered("groups", "offsets"),
                )
            ),
        ),
    ),
)

BOARD: Final = Board(
    uid="klaxon-consumer-groups",
    title="Kafka consumer groups",
    says="Which groups fall behind, on which topic and partition, and whether they move.",
    sections=(STATE, LAGS, WORK, WORST),
    choices=(
        Choice("consumergroup", "kafka_consumergroup_members", "consumergroup"),
        Choice("topic", "kafka_topic_partitions", "topic"),
    ),
)
