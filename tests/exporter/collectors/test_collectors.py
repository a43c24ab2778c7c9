"""Each collector on the cluster in memory, and on answers that no model gives."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.collectors.base import Known
from exporter.collectors.cluster import ClusterCollector, shared_view
from exporter.collectors.groups import poll_groups, without_groups, without_repeats
from exporter.collectors.jmx import JmxCollector
from exporter.collectors.log_dirs import LogDirsCollector
from exporter.collectors.offsets import GroupsAndOffsets
from exporter.collectors.quorum import QuorumCollector
from exporter.collectors.topics import REFRESH_S, TopicsCollector
from exporter.facts.cluster import ClusterFacts, ClusterView, Leg, LegName, LegState, Pulse
from exporter.facts.groups import CommitTable, CoordinatorFacts
from exporter.facts.log_dirs import LogDir
from exporter.facts.partitions import Partition, PartitionTable, TimeQuestions, TopicFacts
from exporter.jmx.catalogue import shipped
from exporter.jmx.errors import JmxRefused
from exporter.jmx.transport import BeanValues, JmxAnswer, Target
from exporter.kafka.client import Answer
from exporter.kafka.errors import BrokerError, Refused, TimedOut, Unsupported
from exporter.reading import WHOLE_CLUSTER, Part
from tests.exporter.scripted import (
    Cluster,
    coordinator,
    description,
    listing,
    node,
    partition,
    pulse,
    quorum,
)
from tests.fakes.kafka import FakeClock, FakeCluster, FakeReader


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(1000.0)


@pytest.fixture
def scripted(clock: FakeClock) -> Cluster:
    return Cluster(clock)


def known(cluster: Cluster) -> Known:
    facts = ClusterFacts("cluster-id", dict(cluster.brokers), {})
    table = cluster.table
    return Known(facts, TopicFacts(table, TopicsCollector(cluster, cluster.clock)._column(table)))


def topics_of(collector: TopicsCollector) -> TopicFacts:
    poll = collector.poll(Known()).topics
    assert poll is not None
    return poll.parts[WHOLE_CLUSTER].value


# --- cluster -------------------------------------------------------------------------------------------------------------------------------


def view(*nodes: int, fenced: int | None = None) -> ClusterView:
    return ClusterView("id", tuple(node(n, fenced=n == fenced) for n in nodes))


def test_most_brokers_are_believed() -> None:
    new, old = view(1, 2, 3, fenced=3), view(1, 2, 3)
    assert shared_view([pulse(1, new), pulse(2, new), pulse(3, old)], old) == new


def test_between_equals_the_view_stands_as_it_was() -> None:
    new, old = view(1, 2, fenced=2), view(1, 2)
    assert shared_view([pulse(1, new), pulse(2, old)], old) is old
    assert shared_view([pulse(1, new), pulse(2, old)], None) == new


def test_no_view_is_a_failure_beside_the_legs(scripted: Cluster) -> None:
    scripted.dead = {1, 2, 3}
    poll = ClusterCollector(scripted, scripted.clock).poll(Known()).cluster
    assert poll is not None
    assert poll.failures[WHOLE_CLUSTER].kind == "no_view"
    facts = poll.parts[WHOLE_CLUSTER].value
    assert facts.cluster_id is None and set(facts.pulses) == {1, 2, 3}


def test_no_bootstrap_server_is_named_with_its_reason(scripted: Cluster) -> None:
    scripted.replies.update(pulse=[], bootstrap_errors={"kafka-1:9092": Refused("connection refused")})
    poll = ClusterCollector(scripted, scripted.clock).poll(Known()).cluster
    assert poll is not None and not poll.parts
    assert "kafka-1:9092: connection refused" in poll.failures[WHOLE_CLUSTER].message


def test_a_node_of_another_cluster_is_named(scripted: Cluster) -> None:
    mine = scripted.view()
    scripted.replies["pulse"] = [pulse(1, mine), pulse(2, mine), pulse(3, ClusterView("other", mine.brokers))]
    poll = ClusterCollector(scripted, scripted.clock).poll(Known()).cluster
    assert poll is not None and poll.parts[WHOLE_CLUSTER].value.cluster_id == "cluster-id"
    assert "node 3 says other" in poll.failures[WHOLE_CLUSTER].message


# --- topics --------------------------------------------------------------------------------------------------------------------------------


def test_min_isr_is_asked_for_at_first_for_new_topics_and_all_after_a_while(clock: FakeClock) -> None:
    model = FakeCluster(clock)
    model.create_topic("orders", 2, 3)
    cluster = Cluster(clock, table=model.image(1).partitions)
    collector = TopicsCollector(cluster, clock)

    def asked() -> list[list[str]]:
        return [argument for name, argument in cluster.calls if name == "min_insync_replicas"]

    first = topics_of(collector)
    assert asked() == [["orders"]] and first.min_insync_replicas.tolist() == [2]
    clock.advance(5)
    assert topics_of(collector) is first, "the same facts while nothing changed"
    model.create_topic("bills", 1, 3)
    cluster.table = model.image(1).partitions
    topics_of(collector)
    model.delete_topic("orders")
    model.create_topic("orders", 1, 3)
    cluster.table = model.image(1).partitions
    topics_of(collector)
    assert asked()[1:] == [["bills"], ["orders"]], "a topic that was made again is another"
    clock.advance(REFRESH_S)
    cluster.replies["min_insync_replicas"] = {"bills": 1, "orders": 3}
    assert topics_of(collector).min_insync_replicas.tolist() == [1, 3]
    assert sorted(asked()[3]) == ["bills", "orders"]


def test_topics_without_the_right_to_their_configs_are_not_asked_again_each_time(scripted: Cluster) -> None:
    scripted.replies["min_insync_replicas"] = {}
    collector = TopicsCollector(scripted, scripted.clock)
    assert topics_of(collector).min_insync_replicas.tolist() == [0]
    topics_of(collector)
    assert scripted.count("min_insync_replicas") == 1


def test_failing_configs_keep_topics_and_what_was_known(scripted: Cluster, clock: FakeClock) -> None:
    collector = TopicsCollector(scripted, clock)
    topics_of(collector)
    clock.advance(REFRESH_S)
    scripted.replies["min_insync_replicas"] = TimedOut("no answer", phase="answer")
    poll = collector.poll(Known()).topics
    assert poll is not None and poll.failures[WHOLE_CLUSTER].kind == "timeout"
    assert poll.parts[WHOLE_CLUSTER].value.min_insync_replicas.tolist() == [2]
    del scripted.replies["min_insync_replicas"]
    poll = collector.poll(Known()).topics
    assert poll is not None and not poll.failures


def test_elr_is_asked_only_for_topics_below_min_isr_and_never_again_where_not_offered(scripted: Cluster) -> None:
    collector = TopicsCollector(scripted, scripted.clock)
    topics_of(collector)
    assert scripted.count("elr") == 0
    scripted.table = PartitionTable.of([partition("a", 0, 1, (1, 2, 3), (1,)), partition("b", 0, 1, (1, 2, 3))])
    assert [row.topic for row in topics_of(collector).elr] == ["a"]
    scripted.replies["elr"] = Unsupported("before 4.0")
    for _ in range(3):
        assert topics_of(collector).elr == ()
    assert scripted.count("elr") == 2


# --- groups and offsets ----------------------------------------------------------------------------------------------------------------------


def test_commits_are_read_before_ends_and_starts_each_minute(scripted: Cluster, clock: FakeClock) -> None:
    collector = GroupsAndOffsets(scripted, clock, 15.0)
    names = []
    for _ in range(9):
        scripted.calls.clear()
        collector.poll(known(scripted))
        clock.advance(15.01)
        names.append([name for name, _ in scripted.calls])
    kafka = ["list_groups", "describe_groups", "committed_offsets", "offsets end", "offsets last_stable"]
    assert names[0] == [*kafka, "offsets start"]
    assert [i for i, called in enumerate(names) if "offsets start" in called] == [0, 4, 8]
    assert [i for i, called in enumerate(names) if "offsets newest" in called] == [2, 6]
    assert all(called[:5] == kafka for called in names)
    assert max(map(len, names)) == 6, "what is asked besides takes turns"


def test_questions_take_the_turns_that_are_free(scripted: Cluster, clock: FakeClock) -> None:
    collector = GroupsAndOffsets(scripted, clock, 15.0)
    asking = replace(known(scripted), questions=TimeQuestions(scripted.table, np.array([0]), np.array([1_000])))
    asked = []
    for _ in range(5):
        scripted.calls.clear()
        collector.poll(asking)
        clock.advance(15.01)
        asked.append(scripted.count("first_after"))
    assert asked == [0, 1, 0, 1, 0]
    other = replace(asking, questions=TimeQuestions(PartitionTable.of([]), np.array([0]), np.array([1_000])))
    clock.advance(15.01)
    scripted.calls.clear()
    collector.poll(other)
    assert not scripted.count("first_after"), "row numbers of another table would name other partitions"


@pytest.mark.parametrize(("partitions", "covered"), [([], True), ([partition("orders", 0, -1, (1,), ())], False)])
def test_without_any_leader(scripted: Cluster, partitions: list[Partition], covered: bool) -> None:
    scripted.table = PartitionTable.of(partitions)
    poll = GroupsAndOffsets(scripted, scripted.clock, 15.0).poll(known(scripted)).end_offsets
    assert poll is not None and poll.expected == {WHOLE_CLUSTER}
    assert (WHOLE_CLUSTER in poll.parts) == covered == (not poll.failures)


def test_a_dead_coordinator_is_its_own_failure_only(scripted: Cluster) -> None:
    scripted.dead = {3}
    poll = poll_groups(scripted, known(scripted), scripted.clock)
    assert set(poll.parts) == {1, 2} and poll.failures[3].kind == "refused" and poll.expected == {1, 2, 3}


@pytest.mark.parametrize("call", ["list_groups", "describe_groups", "committed_offsets"])
def test_a_coordinator_that_loads_gives_no_part(scripted: Cluster, call: str) -> None:
    loading = BrokerError(14, "COORDINATOR_LOAD_IN_PROGRESS")
    scripted.replies[call] = {1: Answer(1000.0, 0.1, error=loading)}
    poll = poll_groups(scripted, known(scripted), scripted.clock)
    assert 1 not in poll.parts and poll.failures[1].kind == "loading"


@pytest.mark.parametrize(("code", "kind", "kept"), [(14, "loading", False), (15, "loading", False), (16, "moving", False), (30, "denied", True), (-1, "broker", True)])  # fmt: skip
def test_errors_of_a_single_group(scripted: Cluster, code: int, kind: str, kept: bool) -> None:
    told = {"billing": description("billing", error=code)}
    scripted.replies["describe_groups"] = {1: Answer(1000.0, 0.1, value=told)}
    poll = poll_groups(scripted, known(scripted), scripted.clock)
    assert poll.failures[1].kind == kind and "billing" in poll.failures[1].message
    assert (1 in poll.parts) == kept


def test_a_group_that_was_deleted_meanwhile_is_gone_without_a_failure(scripted: Cluster) -> None:
    scripted.replies["describe_groups"] = {1: Answer(1000.0, 0.1, value={"billing": description("billing", error=69)})}
    poll = poll_groups(scripted, known(scripted), scripted.clock)
    assert not poll.failures and poll.parts[1].value.listings == () and len(poll.parts[1].value.commits) == 0


def test_a_group_that_moved_counts_at_its_new_coordinator(scripted: Cluster) -> None:
    rows = {("billing", "orders", 0): 7}
    scripted.groups = {1: rows, 2: rows}
    at_1, at_2 = description("billing", error=16), description("billing")
    scripted.replies["describe_groups"] = {
        1: Answer(1000.0, 0.1, value={"billing": at_1}),
        2: Answer(1000.0, 0.1, value={"billing": at_2}),
    }
    poll = poll_groups(scripted, known(scripted), scripted.clock)
    assert not poll.failures
    assert not poll.parts[1].value.listings and poll.parts[2].value.listings


def test_leaderless_offsets_partitions_uncover_groups(scripted: Cluster) -> None:
    scripted.table = PartitionTable.of(
        [partition("__consumer_offsets", 0, -1, (1,), ()), partition("orders", 0, 1, (1,))]
    )
    poll = poll_groups(scripted, known(scripted), scripted.clock)
    assert WHOLE_CLUSTER in poll.expected and WHOLE_CLUSTER not in poll.parts
    assert poll.failures[WHOLE_CLUSTER].kind == "no_coordinator"


def test_share_groups_have_no_commits_to_ask_for(scripted: Cluster) -> None:
    scripted.replies["list_groups"] = {1: Answer(1000.0, 0.1, value=(listing("s", type="share"), listing("c")))}
    poll_groups(scripted, known(scripted), scripted.clock)
    assert [argument for name, argument in scripted.calls if name == "committed_offsets"] == [{1: ["c"]}]


def rows_of(table: CommitTable) -> dict[tuple[str, str, int], int]:
    columns = zip(
        table.group.tolist(), table.topic.tolist(), table.partition.tolist(), table.offset.tolist(), strict=True
    )
    return {(table.groups[g], table.topics[t], p): offset for g, t, p, offset in columns}


GROUPS = st.dictionaries(
    st.tuples(st.sampled_from("abcd"), st.sampled_from("xy"), st.integers(0, 2)), st.integers(0, 9)
)


@given(GROUPS, st.sets(st.sampled_from("abcde")))
def test_without_groups_keeps_exactly_the_others(rows: dict[tuple[str, str, int], int], gone: set[str]) -> None:
    facts = coordinator(rows)
    left = without_groups(facts, gone)
    assert rows_of(left.commits) == {k: v for k, v in rows.items() if k[0] not in gone}
    assert {g.group for g in left.listings} == {g for g, _, _ in rows} - gone
    assert (left is facts) == (not {g for g, _, _ in rows} & gone)


@given(st.dictionaries(st.integers(1, 3), GROUPS), st.booleans())
def test_every_group_is_left_at_one_coordinator(held: dict[int, dict[tuple[str, str, int], int]], newest: bool) -> None:
    parts = {n: Part(coordinator(rows), float(n)) for n, rows in held.items()}
    left = without_repeats(parts, newest=newest)
    names = [g.group for p in left.values() for g in p.value.listings]
    assert sorted(names) == sorted({g for rows in held.values() for g, _, _ in rows})
    for name in names:
        holders = [n for n, rows in held.items() if name in {g for g, _, _ in rows}]
        best = next(n for n, p in left.items() if name in {g.group for g in p.value.listings})
        sums = {n: sum(v for (g, _, _), v in held[n].items() if g == name) for n in holders}
        assert best == max(holders) if newest else sums[best] == max(sums.values())


def test_members_count_more_than_old_commits() -> None:
    far, near = coordinator({("g", "x", 0): 9}), coordinator({("g", "x", 0): 1})
    empty = CoordinatorFacts(far.listings, {"g": description("g", members=0)}, far.commits, 0.0)
    assert set(_holders(without_repeats({1: Part(empty, 0.0), 2: Part(near, 0.0)}))) == {2}


def _holders(parts: Any) -> list[int]:
    return [n for n, p in parts.items() if p.value.listings]


# --- log dirs, quorum, JMX ---------------------------------------------------------------------------------------------------------------------


def test_a_dead_brokers_disks_are_expected(scripted: Cluster) -> None:
    scripted.dead = {2}
    scripted.fence(2)
    poll = LogDirsCollector(scripted).poll(known(scripted)).log_dirs
    assert poll is not None and poll.expected == {1, 2, 3} and set(poll.parts) == {1, 3} and set(poll.failures) == {2}


@pytest.mark.parametrize("dirs", [(), (LogDir("", 31, None, None),)])
def test_log_dirs_that_may_not_be_seen_are_no_broker_without_disks(scripted: Cluster, dirs: tuple[LogDir, ...]) -> None:
    model = FakeCluster()
    reader = FakeReader(model)
    reader.pulse()
    told = reader.log_dirs([1])[1].value
    assert told is not None
    scripted.replies["log_dirs"] = {1: Answer(1000.0, 0.1, value=replace(told, dirs=dirs))}
    poll = LogDirsCollector(scripted).poll(known(scripted)).log_dirs
    assert poll is not None and not poll.parts and poll.failures[1].kind == "denied"


def test_a_quorum_without_leader_is_a_failure(scripted: Cluster) -> None:
    scripted.replies["quorum"] = quorum(leader=None)
    poll = QuorumCollector(scripted, scripted.clock).poll(Known()).quorum
    assert poll is not None and not poll.parts and poll.failures[WHOLE_CLUSTER].kind == "no_leader"


class Jmx:
    """Answers with the node ids that a test sets; None refuses."""

    def __init__(self, ids: dict[int, int | None]) -> None:
        self.ids = ids
        self.asked: list[dict[int, Target]] = []
        self.waits: list[tuple[frozenset[int], float]] = []
        self._at = itertools.count(1000)

    def read(self, targets: Any, deadline_s: float) -> dict[int, JmxAnswer]:
        self.asked.append({t.node: t for t in targets})
        self.waits.append((frozenset(t.node for t in targets), deadline_s))
        return {t.node: self._answer(t) for t in targets}

    def _answer(self, target: Target) -> JmxAnswer:
        at, own = float(next(self._at)), self.ids[target.node]
        if own is None:
            return JmxAnswer(target.node, target.address, at, 0.2, error=JmxRefused("refused", node=target.node))
        request = next(b for b in target.plan.beans if b.bean == "kafka.server:type=app-info,id=*")
        values = tuple("4.3.1" if a.name == "Version" else 1.0 for a in request.attributes)
        bean = BeanValues(request.bean, f"kafka.server:type=app-info,id={own}", values)
        return JmxAnswer(target.node, target.address, at, 0.2, beans=(bean,))

    def close(self) -> None:
        pass


def test_jmx_targets_are_sources_and_a_wrong_one_is_named() -> None:
    transport = Jmx({1: 1, 2: 3, 3: None})
    collector = JmxCollector(transport, shipped(), {1: "a:1", 2: "b:1", 3: "c:1"}, 15.0)
    poll = collector.poll(Known()).jmx
    assert poll is not None and poll.expected == {1, 2, 3} and set(poll.parts) == {1}
    assert poll.failures[2].kind == "wrong_node" and "b:1) is node 3" in poll.failures[2].message
    assert poll.failures[3].kind == "refused" and poll.failures[3].seconds == 0.2
    assert poll.parts[1].value.version == "4.3.1"
    collector.poll(Known())
    assert transport.asked[1][1].plan is not transport.asked[0][1].plan, "asked only for what its version has"


def test_a_node_that_is_silent_on_kafkas_port_is_not_waited_for_over_jmx(scripted: Cluster) -> None:
    transport, clock = Jmx({1: 1, 2: 2}), FakeClock(1000.0)
    collector = JmxCollector(transport, shipped(), {1: "a:1", 2: "b:1"}, 15.0, clock=clock)
    told = known(scripted)
    assert told.cluster is not None

    def pulsed(state: LegState) -> Known:
        pulse = Pulse(2, {LegName.TCP: Leg(LegState.OK, 0.0, clock()), LegName.API_VERSIONS: Leg(state, 3.0, clock())})
        return replace(told, cluster=replace(told.cluster, pulses={2: pulse}))

    collector.poll(pulsed(LegState.OK))
    clock.now += 15
    collector.poll(pulsed(LegState.TIMEOUT))
    clock.now += 50
    collector.poll(pulsed(LegState.TIMEOUT))
    both, one, two = frozenset({1, 2}), frozenset({1}), frozenset({2})
    assert transport.waits == [(both, 10.0), (one, 5.0), (two, 1.0), (both, 5.0)], (
        "longer at first, the whole time again once a minute"
    )
