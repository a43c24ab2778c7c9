"""From facts to samples: every family of the catalogue that a Snapshot can fill, as blocks with lasting label sets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from exporter.blocks import NO_LABELS, Block, LabelSets
from exporter.derive.health import PartitionHealth
from exporter.derive.lag import GroupLag
from exporter.facts.cluster import LegName, LegState, Role
from exporter.facts.groups import CoordinatorFacts
from exporter.facts.log_dirs import LogDirTable
from exporter.facts.partitions import I32, I64, Bool, PartitionTable, TopicFacts
from exporter.facts.quorum import Quorum, QuorumReplica
from exporter.jmx.join import JmxBlocks
from exporter.reading import WHOLE_CLUSTER, Reading
from exporter.snapshot import Snapshot

T = TypeVar("T")
Row = tuple[str, ...]
Blocks = list[Block]

LEG_STATES = tuple(LegState)


class Families:
    """Makes the blocks of one cluster. It remembers label sets and whole blocks, so that what did not change is handed out again as the same object."""

    def __init__(self) -> None:
        self._labels: dict[str, LabelSets] = {}
        self._memo: dict[str, tuple[tuple[Any, ...], Any]] = {}
        self._joined_jmx = JmxBlocks()

    def blocks(self, snapshot: Snapshot) -> dict[str, Blocks]:
        """Collector -> blocks of its families; a collector without fresh and trusted facts gives none."""
        return {
            "cluster": self._cluster(snapshot),
            "legs": self._legs(snapshot),
            "quorum": self._quorum(snapshot),
            "topics": self._topics(snapshot),
            "offsets": self._offsets(snapshot),
            "groups": self._groups(snapshot),
            "log_dirs": self._log_dirs(snapshot),
            "jmx": self._jmx(snapshot),
            "self": self._self(snapshot),
        }

    # --- lasting label sets

    def _block(self, metric: str, names: tuple[str, ...], samples: Iterable[tuple[Row, float]]) -> Block:
        """A small family from (label values, value) pairs."""
        pairs = list(samples)
        values = np.array([v for _, v in pairs], dtype=np.float64)
        return Block(metric, self._lasting(metric, names, [r for r, _ in pairs]), values)

    def _lasting(self, key: str, names: tuple[str, ...], rows: Sequence[Row]) -> LabelSets:
        """The label sets kept under ``key`` as long as the rows are equal."""
        known = self._labels.get(key)
        if known is None or known.rows != rows or known.names != names:
            known = self._labels[key] = LabelSets(names, rows)
        return known

    def _once(self, key: str, inputs: tuple[Any, ...], make: Callable[[], T]) -> T:
        """``make()``, again only when one of the inputs is another object than last time."""
        known = self._memo.get(key)
        if (
            known is not None
            and len(known[0]) == len(inputs)
            and all(a is b for a, b in zip(known[0], inputs, strict=True))
        ):
            return known[1]  # type: ignore[no-any-return]
        made = make()
        self._memo[key] = (inputs, made)
        return made

    def _some(self, key: str, labels: LabelSets, mask: Bool) -> LabelSets:
        """The label sets where ``mask`` is true; ``labels`` itself when it is true everywhere."""
        if mask.all():
            return labels
        known = self._memo.get(key)
        if known is not None and known[0][0] is labels and np.array_equal(known[0][1], mask):
            return known[1]  # type: ignore[no-any-return]
        rows = labels.rows
        some = LabelSets(labels.names, [rows[i] for i in np.flatnonzero(mask).tolist()])
        self._memo[key] = ((labels, mask), some)
        return some

    def _masked(self, metric: str, labels: LabelSets, values: I64, mask: Bool) -> Block:
        return Block(metric, self._some(metric, labels, mask), values[mask])

    def _scalar(self, metric: str, value: float) -> Block:
        return Block(metric, NO_LABELS, np.array([value], dtype=np.float64))

    # --- cluster and legs

    def _cluster(self, snapshot: Snapshot) -> Blocks:
        facts = _trusted(snapshot, "cluster", snapshot.cluster_facts)
        if facts is None:
            return []
        brokers = sorted(facts.brokers, key=lambda n: n.id)
        up = [n for n in brokers if n.registered and not n.fenced]
        blocks = [
            self._scalar("kafka_brokers", len(up)),
            self._block(
                "kafka_broker_info", ("id", "address"), (((str(n.id), n.address), 1) for n in brokers if n.registered)
            ),
            self._block(
                "kafka_broker_up", ("broker",), (((str(n.id),), n.registered and not n.fenced) for n in brokers)
            ),
            self._block(
                "kafka_broker_fenced", ("broker",), (((str(n.id),), n.fenced) for n in brokers if n.fenced is not None)
            ),
            self._block(
                "kafka_broker_departure_controlled",
                ("broker",),
                (((str(b),), controlled) for b, controlled in sorted(snapshot.derived.departures.items())),
            ),
        ]
        if facts.cluster_id is not None:
            blocks.append(self._block("kafka_cluster_info", ("cluster_id",), [((facts.cluster_id,), 1)]))
        return blocks

    def _legs(self, snapshot: Snapshot) -> Blocks:
        """What we saw with our own eyes: needs no trust in the brokers' word."""
        legs = snapshot.derived.legs
        facts = snapshot.cluster_facts.value(snapshot.at)
        blocks: Blocks = []
        if snapshot.derived.controller_alive is not None:
            blocks.append(self._scalar("kafka_controller_alive", snapshot.derived.controller_alive))
        if facts is None or not facts.nodes:
            return blocks
        nodes = sorted(facts.nodes.values(), key=lambda n: n.id)
        brokers = [n.id for n in nodes if Role.BROKER in n.roles]
        tries = [(str(n), name, leg) for n in sorted(legs) for name, leg in sorted(legs[n].items())]
        return [
            *blocks,
            self._scalar("kafka_brokers_expected", len(brokers)),
            self._scalar("kafka_brokers_answering", sum(_answers(legs.get(b, {})) for b in brokers)),
            self._block(
                "kafka_node_info",
                ("broker", "address", "rack", "roles"),
                (((str(n.id), n.address, n.rack or "", ",".join(sorted(n.roles))), 1) for n in nodes),
            ),
            self._block(
                "kafka_broker_leg",
                ("broker", "leg", "state"),
                (((node, name, state), leg.state is state) for node, name, leg in tries for state in LEG_STATES),
            ),
            self._block(
                "kafka_broker_leg_seconds",
                ("broker", "leg"),
                (((node, name), leg.seconds) for node, name, leg in tries if leg.state is not LegState.SKIPPED),
            ),
        ]

    # --- quorum

    def _quorum(self, snapshot: Snapshot) -> Blocks:
        part = snapshot.quorum.fresh(snapshot.at).get(WHOLE_CLUSTER)
        if part is None:
            return []
        quorum, asked = part.value, part.taken_at
        replicas = [("voter", r) for r in quorum.voters] + [("observer", r) for r in quorum.observers]
        blocks = [
            self._scalar("kafka_quorum_epoch", quorum.epoch),
            self._scalar("kafka_quorum_high_watermark", quorum.high_watermark),
            self._scalar("kafka_quorum_voters", len(quorum.voters)),
            self._per_replica("kafka_quorum_replica_lag", replicas, lambda r: _quorum_lag(quorum, r)),
            self._per_replica(
                "kafka_quorum_replica_fetch_age_seconds", replicas, lambda r: _age(asked, r.last_fetch_at)
            ),
            self._per_replica(
                "kafka_quorum_replica_caught_up_age_seconds", replicas, lambda r: _age(asked, r.last_caught_up_at)
            ),
        ]
        if quorum.leader is not None:
            blocks.append(self._scalar("kafka_quorum_leader_id", quorum.leader))
        return blocks

    def _per_replica(
        self, metric: str, replicas: list[tuple[str, QuorumReplica]], value: Callable[[QuorumReplica], float | None]
    ) -> Block:
        known = ((role, r, value(r)) for role, r in sorted(replicas, key=lambda x: (x[1].node, x[0])))
        return self._block(
            metric, ("broker", "role"), (((str(r.node), role), v) for role, r, v in known if v is not None)
        )

    # --- topics

    def _topics(self, snapshot: Snapshot) -> Blocks:
        facts = _trusted(snapshot, "topics", snapshot.topics)
        health = snapshot.derived.health
        if facts is None or health is None:
            return []
        cluster = snapshot.cluster_facts.value(snapshot.at)
        brokers = self._lasting(
            "brokers", ("broker",), [(str(n),) for n in sorted(b.id for b in cluster.brokers)] if cluster else []
        )
        return self._once("topics", (facts, health, brokers), lambda: self._topic_blocks(facts, health, brokers))

    def _topic_blocks(self, facts: TopicFacts, health: PartitionHealth, brokers: LabelSets) -> Blocks:
        return [
            *self._per_partition(health),
            *self._per_topic(facts, health),
            *self._per_broker(health, brokers),
            *self._totals(health),
            *self._sparse(facts, health),
        ]

    def _partition_labels(self, table: PartitionTable) -> LabelSets:
        """(topic, partition) of every row; the same object as long as the same partitions exist, whoever leads them."""
        known = self._memo.get("partition labels")
        if known is not None:
            old: PartitionTable = known[0][0]
            if old is table or (old.topics == table.topics and np.array_equal(old.topic_starts, table.topic_starts)):
                self._memo["partition labels"] = ((table,), known[1])
                return known[1]  # type: ignore[no-any-return]
        names = table.topics
        rows = [(names[t], str(p)) for t, p in zip(table.topic.tolist(), table.partition.tolist(), strict=True)]
        labels = LabelSets(("topic", "partition"), rows)
        self._memo["partition labels"] = ((table,), labels)
        return labels

    def _per_partition(self, health: PartitionHealth) -> Blocks:
        labels = self._partition_labels(health.table)
        return [
            Block("kafka_topic_partition_leader", labels, health.table.leader.astype(np.int64)),
            Block("kafka_topic_partition_replicas", labels, health.replicas),
            Block("kafka_topic_partition_in_sync_replica", labels, health.in_sync),
            Block("kafka_topic_partition_leader_is_preferred", labels, health.preferred.astype(np.int64)),
            Block("kafka_topic_partition_under_replicated_partition", labels, health.under_replicated.astype(np.int64)),
        ]

    def _per_topic(self, facts: TopicFacts, health: PartitionHealth) -> Blocks:
        table = health.table
        labels = self._lasting("topics", ("topic",), [(t,) for t in table.topics])

        def count(mask: Bool) -> I64:
            return np.bincount(table.topic[mask], minlength=len(table.topics)).astype(np.int64)

        known = facts.min_insync_replicas > 0
        factor = np.zeros(len(table.topics), dtype=np.int64)
        np.maximum.at(factor, table.topic, health.replicas)
        return [
            Block("kafka_topic_partitions", labels, np.diff(table.topic_starts)),
            Block("kafka_topic_replication_factor", labels, factor),
            self._masked(
                "kafka_topic_min_insync_replicas",
                labels,
                facts.min_insync_replicas.astype(np.int64),
                known,
            ),
            Block("kafka_topic_partitions_under_replicated", labels, count(health.under_replicated)),
            self._masked("kafka_topic_partitions_under_min_isr", labels, count(health.under_min_isr), known),
            self._masked("kafka_topic_partitions_at_min_isr", labels, count(health.at_min_isr), known),
            self._scalar("kafka_topics_without_min_insync_replicas", int((~known).sum())),
            Block("kafka_topic_partitions_leaderless", labels, count(health.leaderless)),
        ]

    def _per_broker(self, health: PartitionHealth, brokers: LabelSets) -> Blocks:
        def count(ids: I32) -> I64:
            return np.array([int((ids == int(b)).sum()) for (b,) in brokers.rows], dtype=np.int64)

        return [
            Block("kafka_broker_replicas", brokers, count(health.table.replicas.values)),
            Block("kafka_broker_leaders", brokers, count(health.table.leader)),
            Block("kafka_broker_replicas_missing", brokers, count(health.missing_broker)),
        ]

    def _totals(self, health: PartitionHealth) -> Blocks:
        return [
            self._scalar("kafka_partitions", len(health.table)),
            self._scalar("kafka_partitions_under_replicated", int(health.under_replicated.sum())),
            self._scalar("kafka_partitions_under_min_isr", int(health.under_min_isr.sum())),
            self._scalar("kafka_partitions_at_min_isr", int(health.at_min_isr.sum())),
            self._scalar("kafka_partitions_leaderless", int(health.leaderless.sum())),
        ]

    def _sparse(self, facts: TopicFacts, health: PartitionHealth) -> Blocks:
        rows = self._partition_labels(health.table).rows
        leaderless = np.flatnonzero(health.leaderless).tolist()
        replicas = health.table.replicas
        with_broker = ("topic", "partition", "broker")
        missing = zip(health.missing_row.tolist(), health.missing_broker.tolist(), strict=True)
        return [
            self._ones("kafka_partition_replica_missing", with_broker, [(*rows[r], str(b)) for r, b in missing]),
            self._ones(
                "kafka_partition_under_min_isr",
                ("topic", "partition"),
                [rows[r] for r in np.flatnonzero(health.under_min_isr).tolist()],
            ),
            self._ones("kafka_partition_leaderless", ("topic", "partition"), [rows[r] for r in leaderless]),
            self._ones(
                "kafka_partition_leaderless_replica",
                with_broker,
                [(*rows[r], str(b)) for r in leaderless for b in replicas.row(r).tolist()],
            ),
            self._ones(
                "kafka_partition_eligible_leader_replica",
                with_broker,
                [(e.topic, str(e.partition), str(b)) for e in facts.elr for b in e.eligible_leader_replicas],
            ),
        ]

    def _ones(self, metric: str, names: tuple[str, ...], rows: Sequence[Row]) -> Block:
        return Block(metric, self._lasting(metric, names, rows), np.ones(len(rows), dtype=np.int64))

    # --- offsets and groups

    def _offsets(self, snapshot: Snapshot) -> Blocks:
        derived = snapshot.derived
        if derived.health is None:
            return []
        labels = self._partition_labels(derived.health.table)
        families = (
            ("kafka_topic_partition_current_offset", derived.end_offsets),
            ("kafka_topic_partition_oldest_offset", derived.start_offsets),
        )
        return self._once(
            "offsets",
            (labels, derived.end_offsets, derived.start_offsets),
            lambda: [
                self._masked(name, labels, values, values >= 0) for name, values in families if values is not None
            ],
        )

    def _groups(self, snapshot: Snapshot) -> Blocks:
        parts = [p.value for _, p in sorted(snapshot.groups.fresh(snapshot.at).items())]
        if not parts or "groups" in snapshot.derived.withdrawn:
            return []
        lags = [snapshot.derived.lags[c] for c in sorted(snapshot.derived.lags)]
        return [
            *self._once("group states", tuple(parts), lambda: self._group_states(parts)),
            *self._once("group commits", tuple(lags), lambda: self._group_commits(lags)),
        ]

    def _group_states(self, parts: list[CoordinatorFacts]) -> Blocks:
        listed = {g.group: g for p in parts for g in p.listings}
        described = {name: d for p in parts for name, d in p.descriptions.items() if d.error == 0}
        states = [
            (name, described[name].state if name in described else g.state, g.type)
            for name, g in sorted(listed.items())
        ]
        return [
            self._block(
                "kafka_consumergroup_members",
                ("consumergroup",),
                (((n,), len(d.members)) for n, d in sorted(described.items())),
            ),
            self._ones("kafka_consumergroup_state", ("consumergroup", "state", "type"), states),
        ]

    def _group_commits(self, lags: list[GroupLag]) -> Blocks:
        if not lags:
            return []
        names = ("consumergroup", "topic", "partition")
        tables = [x.commits for x in lags]
        identity = tuple(part for t in tables for part in (t.groups, t.topics, t.group, t.topic, t.partition))
        labels = self._once(
            "commits", identity, lambda: LabelSets(names, [row for t in tables for row in _commit_rows(t)])
        )
        sums = self._once("commit sums", (labels,), lambda: _Sums(labels))
        offset = np.concatenate([t.offset for t in tables])
        committed = (offset >= 0) & (np.concatenate([t.error for t in tables]) == 0)
        lag, beyond = np.concatenate([x.lag for x in lags]), np.concatenate([x.beyond for x in lags])
        return [
            self._masked("kafka_consumergroup_current_offset", labels, offset, committed),
            self._sum("kafka_consumergroup_current_offset_sum", sums, offset, committed),
            self._masked("kafka_consumergroup_lag", labels, lag, lag >= 0),
            self._sum("kafka_consumergroup_lag_sum", sums, lag, lag >= 0),
            self._masked("kafka_consumergroup_commit_beyond_end", labels, beyond, beyond > 0),
        ]

    def _sum(self, metric: str, sums: _Sums, values: I64, mask: Bool) -> Block:
        """Sums over a topic's partitions with a value; a topic without any has no sum."""
        total = np.zeros(len(sums.labels), dtype=np.int64)
        np.add.at(total, sums.owner[mask], values[mask])
        some = np.bincount(sums.owner[mask], minlength=len(sums.labels)) > 0
        return self._masked(metric, sums.labels, total, some)

    # --- log dirs, JMX, self

    def _log_dirs(self, snapshot: Snapshot) -> Blocks:
        parts = {b: p.value for b, p in sorted(snapshot.log_dirs.fresh(snapshot.at).items())}
        return self._once("log dirs", tuple(parts.values()), lambda: self._dir_blocks(parts))

    def _dir_blocks(self, parts: Mapping[int, LogDirTable]) -> Blocks:
        if not parts:
            return []
        dirs = [(b, i, d, t) for b, t in parts.items() for i, d in enumerate(t.dirs)]
        names = ("broker", "dir")
        sizes = {b: np.bincount(t.dir, weights=t.size, minlength=len(t.dirs)) for b, t in parts.items()}
        counts = {b: np.bincount(t.dir, minlength=len(t.dirs)) for b, t in parts.items()}
        return [
            self._block("kafka_log_dir_online", names, (((str(b), d.path), d.error == 0) for b, _, d, _ in dirs)),
            self._block(
                "kafka_log_dir_total_bytes",
                names,
                (((str(b), d.path), d.total_bytes) for b, _, d, _ in dirs if d.total_bytes is not None),
            ),
            self._block(
                "kafka_log_dir_usable_bytes",
                names,
                (((str(b), d.path), d.usable_bytes) for b, _, d, _ in dirs if d.usable_bytes is not None),
            ),
            self._block(
                "kafka_log_dir_size_bytes",
                names,
                (((str(b), d.path), sizes[b][i]) for b, i, d, _ in dirs if d.error == 0),
            ),
            self._block(
                "kafka_log_dir_replicas",
                names,
                (((str(b), d.path), counts[b][i]) for b, i, d, _ in dirs if d.error == 0),
            ),
            self._topic_sizes(parts),
        ]

    def _topic_sizes(self, parts: Mapping[int, LogDirTable]) -> Block:
        rows = [(str(b), topic) for b, t in parts.items() for topic in t.topics]
        totals = [np.bincount(t.topic, weights=t.size, minlength=len(t.topics)) for t in parts.values()]
        values = np.concatenate(totals).astype(np.int64) if totals else np.zeros(0, dtype=np.int64)
        return Block("kafka_broker_topic_size_bytes", self._lasting("topic sizes", ("broker", "topic"), rows), values)

    def _jmx(self, snapshot: Snapshot) -> Blocks:
        return self._joined_jmx(part.value for _, part in sorted(snapshot.jmx.fresh(snapshot.at).items()))

    def _self(self, snapshot: Snapshot) -> Blocks:
        readings: dict[str, Reading[Any]] = {
            "cluster": snapshot.cluster_facts,
            "topics": snapshot.topics,
            "groups": snapshot.groups,
            "offsets": snapshot.end_offsets,
            "log_dirs": snapshot.log_dirs,
            "quorum": snapshot.quorum,
            "jmx": snapshot.jmx,
        }
        known = {name: r for name, r in readings.items() if name not in snapshot.coverage.unsupported}
        polled = {name: r for name, r in known.items() if r.polled_at}
        requests = sorted(snapshot.requests.items())
        return [
            self._scalar("klaxon_cluster_reachable", snapshot.reachable),
            self._block("klaxon_collector_success", ("collector",), (((n,), r.success) for n, r in polled.items())),
            self._block(
                "klaxon_collector_duration_seconds", ("collector",), (((n,), r.duration) for n, r in polled.items())
            ),
            self._block("klaxon_collector_age_seconds", ("collector", "source"), _ages(polled, snapshot.at)),
            self._block("klaxon_collector_covered", ("collector", "source"), _covered(known, snapshot)),
            self._block(
                "klaxon_facts_trusted",
                ("collector",),
                (((n,), n not in snapshot.derived.withdrawn) for n in ("cluster", "topics", "groups", "offsets")),
            ),
            self._block(
                "klaxon_kafka_requests_total",
                ("api", "broker"),
                (((api, str(node)), count) for (api, node), count in requests),
            ),
        ]


class _Sums:
    """Which (group, topic) each (group, topic, partition) adds to."""

    def __init__(self, labels: LabelSets) -> None:
        index: dict[Row, int] = {}
        self.owner: npt.NDArray[np.int64] = np.array(
            [index.setdefault(row[:2], len(index)) for row in labels.rows], dtype=np.int64
        )
        self.labels = LabelSets(labels.names[:2], list(index))


def _commit_rows(table: Any) -> Iterable[Row]:
    groups, topics = table.groups, table.topics
    return (
        (groups[g], topics[t], str(p))
        for g, t, p in zip(table.group.tolist(), table.topic.tolist(), table.partition.tolist(), strict=True)
    )


def _trusted(snapshot: Snapshot, collector: str, reading: Reading[T]) -> T | None:
    """The fresh value of a cluster-wide collector, None where it is withdrawn."""
    return None if collector in snapshot.derived.withdrawn else reading.value(snapshot.at)


def _answers(legs: Mapping[str, Any]) -> bool:
    leg = legs.get(LegName.API_VERSIONS)
    return leg is not None and leg.state is LegState.OK


def _quorum_lag(quorum: Quorum, replica: QuorumReplica) -> float | None:
    """Lag of a replica that has fetched; a voter that died has the whole log as lag and no fetch time, which says nothing new."""
    return quorum.lag(replica)


def _age(now: float, then: float | None) -> float | None:
    return None if then is None else max(0.0, now - then)


def _source(source: int) -> str:
    return "cluster" if source == WHOLE_CLUSTER else str(source)


def _ages(readings: Mapping[str, Reading[Any]], now: float) -> Iterable[tuple[Row, float]]:
    return (
        ((name, _source(s)), max(0.0, now - p.taken_at))
        for name, r in readings.items()
        for s, p in sorted(r.parts.items())
    )


def _covered(readings: Mapping[str, Reading[Any]], snapshot: Snapshot) -> Iterable[tuple[Row, float]]:
    taken = snapshot.coverage.taken_at
    return (((name, _source(s)), s in taken.get(name, {})) for name, r in readings.items() for s in sorted(r.expected))
