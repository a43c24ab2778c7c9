"""From readings to a Snapshot: expected nodes, legs, trust, departures, health and lag, each remembered as far as it depends on what was before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np

from exporter.collectors.base import Known
from exporter.derive.blast import BlastRadius, blast_radius
from exporter.derive.controller import controller_alive
from exporter.derive.coverage import coverage
from exporter.derive.departures import Departures, Sight, fold
from exporter.derive.drift import Drift, drift
from exporter.derive.health import PartitionHealth, partition_health
from exporter.derive.hidden import HiddenTopics
from exporter.derive.hidden import fold as fold_hidden
from exporter.derive.lag import GroupLag, end_by_row, group_lag
from exporter.derive.legs import Legs, latest_legs
from exporter.derive.moves import Leftovers, dir_moves
from exporter.derive.moves import fold as fold_leftovers
from exporter.derive.nodes import Nodes, Sightings, expected_nodes
from exporter.derive.progress import NO_PROGRESS, Progress, ProgressWatch
from exporter.derive.trust import FROM_METADATA, TrustState, judge
from exporter.derive.witnesses import MUTE_KINDS, QuorumWatch, jmx_window, testimony
from exporter.facts.cluster import ClusterFacts, LegName, LegState, Node, Role
from exporter.facts.groups import CommitTable
from exporter.facts.partitions import I64, OffsetRows, TopicFacts
from exporter.memo import Memo
from exporter.reading import WHOLE_CLUSTER, Part, Reading
from exporter.runner.readings import Readings
from exporter.snapshot import Derived, Snapshot

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Memory:
    """What one Snapshot hands to the next."""

    nodes: Nodes = field(default_factory=dict)
    legs: Legs = field(default_factory=dict)
    trust: TrustState = field(default_factory=TrustState)
    departures: Departures = field(default_factory=Departures)
    known: Known = field(default_factory=Known)
    hidden: HiddenTopics = field(default_factory=HiddenTopics)
    leftovers: Leftovers = field(default_factory=Leftovers)


class Builder:
    """Builds the Snapshots of one cluster, one after the other (not from several threads). ``unsupported`` are collectors that are switched off."""

    def __init__(self, cluster: str, nodes: Iterable[Node], unsupported: Iterable[str]) -> None:
        self._cluster = cluster
        self._off = frozenset(unsupported)
        watch = QuorumWatch(mute="off" if "quorum" in self._off else "")
        self._memory = _Memory(nodes={n.id: n for n in nodes}, trust=TrustState(watch=watch))
        self._memo = Memo()
        self.progress = ProgressWatch()
        """What is remembered of ends and commits; another one may be put here before the first Snapshot."""

    @property
    def nodes(self) -> Nodes:
        """Every node that should be there."""
        return self._memory.nodes

    @property
    def known(self) -> Known:
        """What collectors may build on."""
        return self._memory.known

    @property
    def departures(self) -> Departures:
        """Who is away, and whose departure is still undecided."""
        return self._memory.departures

    def quorum_silent_for(self, now: float) -> float:
        """Seconds since DescribeQuorum last answered; 0 where it never has or never can."""
        watch = self._memory.trust.watch
        return now - watch.answered_at if watch.answered_at is not None and not watch.mute else 0.0

    def forget(self, node: int) -> None:
        """Drop a node; it comes back if the cluster names it."""
        nodes = {n: known for n, known in self._memory.nodes.items() if n != node}
        legs = {n: known for n, known in self._memory.legs.items() if n != node}
        self._memory = replace(self._memory, nodes=nodes, legs=legs)

    def switch_off(self, collectors: Iterable[str]) -> None:
        """From now on these are off, and no others."""
        before, self._off = self._off, frozenset(collectors)
        if "quorum" in self._off - before:
            # Switched on again it stays mute until its first poll: before that nobody can tell, which is no loss of trust.
            trust = replace(self._memory.trust, watch=QuorumWatch(mute="off"))
            self._memory = replace(self._memory, trust=trust)

    def build(self, readings: Readings, requests: Mapping[tuple[str, int], int], now: float) -> Snapshot:
        """The Snapshot of these readings at this moment."""
        self._memory = self._advance(readings, now)
        memory = self._memory
        shown = replace(readings, cluster=self._with_nodes(readings.cluster))
        withdrawn = FROM_METADATA if not memory.trust.trust.trusted else frozenset()
        by_name = shown.by_owner()
        pulsed = readings.cluster.parts.get(WHOLE_CLUSTER)
        return Snapshot(
            cluster=self._cluster,
            at=now,
            cluster_facts=shown.cluster,
            topics=shown.topics,
            groups=shown.groups,
            end_offsets=shown.end_offsets,
            start_offsets=shown.start_offsets,
            stable_offsets=shown.stable_offsets,
            newest_records=shown.newest_records,
            log_dirs=shown.log_dirs,
            quorum=shown.quorum,
            jmx=shown.jmx,
            configs=shown.configs,
            topic_configs=shown.topic_configs,
            quotas=shown.quotas,
            certificates=shown.certificates,
            certificate_files=shown.certificate_files,
            reassignments=shown.reassignments,
            throttles=shown.throttles,
            throttled_topics=shown.throttled_topics,
            transactions=shown.transactions,
            stuck_offsets=shown.stuck_offsets,
            producers=shown.producers,
            derived=self._derived(shown, withdrawn, now),
            coverage=coverage(
                self._cluster,
                by_name,
                withdrawn=withdrawn,
                unsupported=self._off | {name for name, r in by_name.items() if not_offered(r)},
                legs=memory.legs,
                pulsed_at=pulsed.taken_at if pulsed is not None else None,
                viewed_at=memory.trust.viewed_at,
                now=now,
                brokers=[n.id for n in memory.nodes.values() if Role.BROKER in n.roles],
                undecided=memory.departures.undecided(now),
            ),
            requests=requests,
            reachable=_reachable(readings.cluster.value(now)),
        )

    # --- what is remembered

    def _advance(self, readings: Readings, now: float) -> _Memory:
        """The memory after these readings, in the order in which one thing rests on the other."""
        before = self._memory
        trust = judge(before.trust, readings.cluster, readings.quorum, readings.jmx, now)
        facts = readings.cluster.value(now)
        view = facts if facts is not None and facts.cluster_id is not None else None
        topics = readings.topics.value(now)
        # Until a controller has first vouched for it, the view is all there is to know whom to ask; once trust was lost, the last trusted one stands.
        usable = trust.trust.trusted or not trust.lost
        table = topics.partitions if topics is not None and usable else None
        seen = Sightings(view if usable else None, table, readings.quorum.value(now), trust.trust.trusted)
        nodes = expected_nodes(before.nodes, seen)
        witnesses = testimony(readings.jmx, jmx_window(trust.watch, readings.jmx), now)
        legs = latest_legs(before.legs, facts.pulses if facts is not None else {}, readings.jmx, nodes)
        sight = self._sight(readings, nodes, legs, now) if view is not None and trust.trust.trusted else None
        return _Memory(
            nodes=nodes,
            legs=legs,
            trust=trust,
            departures=fold(before.departures, sight, witnesses),
            known=self._known(before.known, view, topics, nodes, readings) if usable else before.known,
            hidden=fold_hidden(
                before.hidden,
                readings.jmx,
                len(topics.partitions.topics) if topics is not None and trust.trust.trusted else None,
                now,
            ),
            leftovers=_leftovers(before.leftovers, readings, now),
        )

    def _sight(self, readings: Readings, nodes: Nodes, legs: Legs, now: float) -> Sight:
        topics = readings.topics.value(now)
        leaders = self._memo.once("leaders", (topics,), lambda: _leaders(topics)) if topics is not None else None
        brokers = [n for n in nodes.values() if Role.BROKER in n.roles]
        return Sight(readings.cluster.parts[WHOLE_CLUSTER].taken_at, brokers, legs, leaders)

    def _known(
        self, before: Known, view: ClusterFacts | None, topics: TopicFacts | None, nodes: Nodes, readings: Readings
    ) -> Known:
        cluster = (
            before.cluster
            if view is None
            else self._memo.once("known", (view, nodes), lambda: replace(view, nodes=nodes))
        )
        settings = {b: p.value for b, p in readings.configs.parts.items()}
        known_topics, known_settings = topics or before.topics, settings or before.settings
        return Known(cluster, known_topics, known_settings, readings.end_offsets, readings.stable_offsets)

    def _with_nodes(self, reading: Reading[ClusterFacts]) -> Reading[ClusterFacts]:
        """The reading with every node that should be there in its facts."""
        part = reading.parts.get(WHOLE_CLUSTER)
        if part is None:
            return reading
        nodes, known = self._memory.nodes, self._memory.known.cluster

        def make() -> Reading[ClusterFacts]:
            cluster_id = part.value.cluster_id or (known.cluster_id if known is not None else None)
            facts = replace(part.value, cluster_id=cluster_id, nodes=nodes)
            return replace(reading, parts={WHOLE_CLUSTER: Part(facts, part.taken_at)})

        return self._memo.once("cluster", (reading, nodes), make)

    # --- what follows

    def _derived(self, shown: Readings, withdrawn: frozenset[str], now: float) -> Derived:
        memory = self._memory
        topics = shown.topics.value(now) if not withdrawn else None
        health = self._memo.once("health", (topics,), lambda: partition_health(topics)) if topics is not None else None
        end = self._offsets("end", shown.end_offsets, health, now)
        start = self._offsets("start", shown.start_offsets, health, now)
        lags = self._lags(shown, health, now) if health is not None else {}
        progress = self._progress(shown, health, lags, end, start, now)
        self._memory = replace(memory, known=replace(memory.known, questions=progress.questions))
        return Derived(
            trust=memory.trust.trust,
            controller_alive=controller_alive(memory.trust.watch, shown.quorum.interval, shown.jmx, memory.legs, now),
            departures=memory.departures.verdicts,
            health=health,
            blast=self._blast(health) if health is not None else None,
            leftovers=memory.leftovers.shown(shown.reassignments.interval),
            end_offsets=end,
            start_offsets=start,
            unstable=self._unstable(shown, health, end, now),
            newest=self._newest(shown, health, now),
            lags=lags,
            progress=progress.groups,
            rewinds=progress.rewinds,
            legs=memory.legs,
            drift=self._drift(shown, now),
            hidden_topics=memory.hidden.hidden,
            viewed_at=memory.trust.viewed_at,
            withdrawn=withdrawn,
        )

    def _blast(self, health: PartitionHealth) -> BlastRadius:
        nodes = self._memory.nodes
        brokers = (n for n in nodes.values() if Role.BROKER in n.roles)
        return self._memo.once("blast", (health, nodes), lambda: blast_radius(health, brokers))

    def _drift(self, shown: Readings, now: float) -> Drift | None:
        settings = {b: p.value for b, p in sorted(shown.configs.fresh(now).items())}
        if len(settings) < 2:
            return None
        return self._memo.once("drift", tuple(settings.values()), lambda: drift(settings))

    def _offsets(
        self, key: str, reading: Reading[OffsetRows], health: PartitionHealth | None, now: float
    ) -> I64 | None:
        """Offsets of every row of the table; None where no source has any."""
        return self._of_parts(key, _oldest_first(reading, now), health) if health is not None else None

    def _of_parts(self, key: str, parts: Sequence[Part[OffsetRows]], health: PartitionHealth) -> I64 | None:
        rows = tuple(p.value for p in parts)
        return self._memo.once(key, (health.table, *rows), lambda: end_by_row(health.table, rows)) if rows else None

    def _unstable(self, shown: Readings, health: PartitionHealth | None, end: I64 | None, now: float) -> I64 | None:
        """End minus last stable offset, which was read after the end."""
        stable = self._offsets("stable", shown.stable_offsets, health, now)
        if stable is None or end is None:
            return None
        known = (stable >= 0) & (end >= 0)
        return self._memo.once(
            "unstable", (stable, end), lambda: np.where(known, np.maximum(end - stable, 0), -1).astype(np.int64)
        )

    def _newest(self, shown: Readings, health: PartitionHealth | None, now: float) -> I64 | None:
        parts = _oldest_first(shown.newest_records, now)
        if health is None or not parts:
            return None
        rows = tuple(p.value for p in parts)
        return self._memo.once(
            "newest", (health.table, *rows), lambda: end_by_row(health.table, [_stamps(r) for r in rows])
        )

    def _progress(
        self,
        shown: Readings,
        health: PartitionHealth | None,
        lags: Mapping[int, GroupLag],
        end: I64 | None,
        start: I64 | None,
        now: float,
    ) -> Progress:
        if health is None:
            return NO_PROGRESS
        if end is not None:
            self.progress.observe(health.table, _oldest_first(shown.end_offsets, now), end)
        self.progress.learn(_oldest_first(shown.first_after, now))
        at = {c: part.value.commits_at for c, part in shown.groups.fresh(now).items()}
        return self.progress.follow(health.table, lags, at, start)

    def _lags(self, shown: Readings, health: PartitionHealth, now: float) -> Mapping[int, GroupLag]:
        """Lag by coordinator. An end that is older than the commits gives none: it would be too small."""
        lags: dict[int, GroupLag] = {}
        parts = _oldest_first(shown.end_offsets, now)
        for coordinator, part in sorted(shown.groups.fresh(now).items()):
            newer = [p for p in parts if p.taken_at >= part.value.commits_at]
            # Where every end is newer, as is usual, the coordinators share one array.
            key = "end" if len(newer) == len(parts) else f"end for {coordinator}"
            lags[coordinator] = self._lag(coordinator, part.value.commits, health, self._of_parts(key, newer, health))
        return self._memo.once("lags", tuple(lags.values()), lambda: lags)

    def _lag(self, coordinator: int, commits: CommitTable, health: PartitionHealth, ends: I64 | None) -> GroupLag:
        table = health.table
        known = ends if ends is not None else self._memo.once("no ends", (table,), lambda: end_by_row(table, ()))
        return self._memo.once(f"lag {coordinator}", (commits, table, known), lambda: group_lag(commits, table, known))


def _leaders(topics: TopicFacts) -> frozenset[int]:
    return frozenset(np.unique(topics.partitions.leader).tolist())


def _stamps(rows: OffsetRows) -> OffsetRows:
    """The records' timestamps in place of their offsets."""
    return replace(rows, offset=rows.timestamp) if rows.timestamp is not None else rows


def _leftovers(before: Leftovers, readings: Readings, now: float) -> Leftovers:
    """What stays of throttles; unchanged while it is not known what moves."""
    moves = readings.reassignments.fresh(now).get(WHOLE_CLUSTER)
    if moves is None:
        return before
    throttles = {b: p.value for b, p in readings.throttles.fresh(now).items()}
    dirs = dir_moves({b: p.value for b, p in readings.log_dirs.fresh(now).items()})
    topics = readings.throttled_topics.value(now)
    return fold_leftovers(before, moves.value, throttles, topics, {b: n > 0 for b, n in dirs.items()}, moves.taken_at)


def _oldest_first(reading: Reading[OffsetRows], now: float) -> list[Part[OffsetRows]]:
    return sorted(reading.fresh(now).values(), key=lambda p: p.taken_at)


def not_offered(reading: Reading[Any]) -> bool:
    """Whether the cluster cannot have these facts at all: every source said so."""
    return bool(reading.failures) and all(
        s in reading.failures and reading.failures[s].kind == "unsupported" for s in reading.expected
    )


def _reachable(facts: ClusterFacts | None) -> bool:
    """Whether any node answered in the newest probe."""
    legs = (p.legs.get(LegName.API_VERSIONS) for p in facts.pulses.values()) if facts is not None else ()
    return any(leg is not None and leg.state is LegState.OK for leg in legs)


def missed(before: Snapshot, now: Snapshot) -> frozenset[str]:
    """The readings that lack, by their last poll, what a broker that came back in between can give."""
    back = _serving(now) - _serving(before)
    if not back:
        return frozenset()
    sources = back | {WHOLE_CLUSTER}
    return frozenset(
        name
        for name, reading in now.readings().items()
        if any(f.kind not in MUTE_KINDS for s, f in reading.failures.items() if s in sources)
    )


def _serving(snapshot: Snapshot) -> frozenset[int]:
    """Brokers that are registered and not fenced; none while nobody can be believed."""
    facts = snapshot.cluster_facts.value(snapshot.at) if "cluster" not in snapshot.derived.withdrawn else None
    return frozenset(n.id for n in facts.brokers if n.registered and not n.fenced) if facts is not None else frozenset()


def changes(old: Snapshot | None, new: Snapshot) -> frozenset[str]:
    """The owners whose series may differ between two Snapshots; ages in ``self`` always do."""
    names = {"self"}
    readings = new.readings()
    if old is None:
        return frozenset({*readings, "legs", *names})
    before = old.readings()
    for name, reading in readings.items():
        gone_stale = reading.fresh(old.at).keys() != reading.fresh(new.at).keys()
        if (
            reading is not before[name]
            or gone_stale
            or (name in new.derived.withdrawn) != (name in old.derived.withdrawn)
        ):
            names.add(name)
    slow = ("start_offsets", "stable_offsets", "newest_records")
    if any(getattr(new, name) is not getattr(old, name) for name in slow):
        names.add("offsets")
    if new.derived.health is not old.derived.health:
        names |= {"topics", "offsets"}
    if new.derived.lags is not old.derived.lags or new.derived.progress is not old.derived.progress:
        names.add("groups")
    if new.derived.hidden_topics != old.derived.hidden_topics:
        names.add("topics")
    if new.derived.departures != old.derived.departures:
        names.add("cluster")
    if new.derived.blast is not old.derived.blast:
        names |= {"topics", "groups"}
    if new.derived.leftovers != old.derived.leftovers:
        names |= {"throttles", "throttled_topics"}
    if (
        new.cluster_facts is not old.cluster_facts
        or new.derived.legs is not old.derived.legs
        or new.derived.controller_alive != old.derived.controller_alive
    ):
        names.add("legs")
    return frozenset(names)
