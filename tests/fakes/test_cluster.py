"""The cluster in memory against what was seen on a real one: a wrong model would make every test that rests on it worthless."""

from __future__ import annotations

import pytest

from exporter.facts.cluster import LegName, LegState, Node, Role
from exporter.facts.partitions import Partition
from exporter.kafka.errors import BrokerError, KafkaError, TimedOut, Unsupported
from tests.fakes.kafka import FakeCluster, FakeReader


@pytest.fixture
def cluster() -> FakeCluster:
    cluster = FakeCluster()
    cluster.create_topic("orders", 3)
    return cluster


@pytest.fixture
def reader(cluster: FakeCluster) -> FakeReader:
    reader = FakeReader(cluster)
    reader.pulse()
    return reader


def rows(reader: FakeReader, topic: str = "orders") -> list[Partition]:
    return [p for p in reader.partitions() if p.topic == topic]


def views(reader: FakeReader) -> dict[int, tuple[Node, ...]]:
    return {p.node: p.view.brokers for p in reader.pulse() if p.view is not None}


def test_a_kill_shows_in_the_voters_at_once_and_in_metadata_after_the_session(
    cluster: FakeCluster, reader: FakeReader
) -> None:
    before = reader.partitions()
    cluster.kill(2)
    cluster.advance(8)
    assert reader.partitions() is before
    voter = next(v for v in reader.quorum().voters if v.node == 2)
    assert voter.last_fetch_at == cluster.clock() - 8
    assert reader.quorum().lag(voter) == 16
    cluster.advance(2)
    assert all(2 not in p.isr and p.leader != 2 and p.offline == (2,) for p in rows(reader))
    assert {n.id: n.fenced for n in views(reader)[1]} == {1: False, 2: True, 3: False}


def test_a_clean_stop_moves_leaders_at_once(cluster: FakeCluster, reader: FakeReader) -> None:
    cluster.stop_cleanly(2)
    assert all(2 not in p.isr and p.leader != 2 for p in rows(reader))
    cluster.begin_start(2)
    assert {p.node: p.legs[LegName.TCP].state for p in reader.pulse()}[2] is LegState.REFUSED
    cluster.start(2)
    assert all(set(p.isr) == {1, 2, 3} for p in rows(reader))
    assert [p.leader for p in rows(reader)] != [1, 2, 3]
    cluster.elect_preferred()
    assert [p.leader for p in rows(reader)] == [1, 2, 3]


def test_a_dead_controller_is_replaced_and_gives_everyone_a_fresh_session(
    cluster: FakeCluster, reader: FakeReader
) -> None:
    epoch = reader.quorum().epoch
    cluster.kill(1)
    with pytest.raises(TimedOut):
        reader.quorum()
    cluster.advance(2)
    told = reader.quorum()
    assert told.epoch == epoch + 1
    assert told.leader in (2, 3)
    dead = next(v for v in told.voters if v.node == 1)
    assert (dead.log_end_offset, dead.last_fetch_at, dead.last_caught_up_at) == (-1, None, None)
    cluster.advance(8)
    assert 1 in rows(reader)[0].isr
    cluster.advance(1)
    assert 1 not in rows(reader)[0].isr


def test_a_hung_controller_keeps_forwarded_requests_waiting_though_another_leads(
    cluster: FakeCluster, reader: FakeReader
) -> None:
    cluster.hang(1)
    cluster.advance(15)
    assert rows(reader)[0].isr == (2, 3)
    with pytest.raises(TimedOut):
        reader.quorum()
    cluster.advance(17)
    assert reader.quorum().leader in (2, 3)


def test_without_a_quorum_metadata_is_frozen_and_looks_healthy(cluster: FakeCluster, reader: FakeReader) -> None:
    before = reader.partitions()
    cluster.kill(2)
    cluster.kill(3)
    cluster.advance(600)
    assert reader.partitions() is before
    assert all(n.fenced is False for n in views(reader)[1])
    with pytest.raises(TimedOut):
        reader.quorum()
    cluster.start(2)
    cluster.advance(3)
    assert reader.quorum().leader is not None
    assert all(3 in p.isr for p in rows(reader)), "the new controller has not noticed yet"
    cluster.advance(9)
    assert all(p.isr and 3 not in p.isr for p in rows(reader))
    cluster.start(3)
    assert all(set(p.isr) == {1, 2, 3} for p in rows(reader))


def test_a_broker_that_slept_serves_its_old_view_for_a_moment(cluster: FakeCluster, reader: FakeReader) -> None:
    cluster.hang(3)
    cluster.advance(10)
    cluster.resume(3)
    cluster.kill(2)
    cluster.advance(0.5)
    assert cluster.image(3).view == cluster.image(1).view.__class__(
        cluster.cluster_id, tuple(Node(i, f"kafka-{i}", 9092, None, frozenset({Role.BROKER}), True, False) for i in (1, 2, 3))
    )  # fmt: skip
    assert cluster.image(3) is not cluster.image(1)
    cluster.advance(1)
    assert cluster.image(3) is cluster.image(1)


def test_the_only_replica_takes_its_partition_along_and_brings_it_back(
    cluster: FakeCluster, reader: FakeReader
) -> None:
    cluster.create_topic("single", assignment=[[2]])
    cluster.produce("single", 0, 3)
    cluster.kill(2)
    cluster.advance(10)
    (row,) = rows(reader, "single")
    assert (row.leader, row.error, row.isr, row.offline) == (-1, 5, (), (2,))
    with pytest.raises(AssertionError):
        cluster.produce("single")
    cluster.start(2)
    (row,) = rows(reader, "single")
    assert (row.leader, row.error, row.isr, row.offline) == (2, 0, (2,), ())


def test_without_elr_the_last_replica_stays_in_the_isr() -> None:
    cluster = FakeCluster(version=(3, 9))
    cluster.create_topic("single", assignment=[[2]])
    reader = FakeReader(cluster)
    reader.pulse()
    cluster.kill(2)
    cluster.advance(10)
    (row,) = rows(reader, "single")
    assert (row.leader, row.isr) == (-1, (2,))
    assert [n.id for n in views(reader)[1]] == [1, 3]
    assert reader.elr(["single"]) == []
    cluster.version = (3, 7)
    with pytest.raises(Unsupported):
        reader.elr(["single"])


def test_min_isr_of_rf_is_under_it_and_names_the_eligible(cluster: FakeCluster, reader: FakeReader) -> None:
    cluster.create_topic("strict", 1, config={"min.insync.replicas": "3"})
    cluster.kill(3)
    cluster.advance(10)
    assert len(rows(reader, "strict")[0].isr) == 2
    assert [r.eligible_leader_replicas for r in reader.elr(["strict", "orders"])] == [(3,)]
    with pytest.raises(AssertionError):
        cluster.produce("strict")
    cluster.start(3)
    assert reader.elr(["strict"]) == []


def test_a_failed_dir_loses_its_replicas_at_once_and_its_totals(cluster: FakeCluster, reader: FakeReader) -> None:
    cluster.create_topic("wide", 8)
    held = {(t.name, i) for t in cluster.topics.values() for i, p in enumerate(t.partitions) if p.dirs[2] == "/d2"}
    assert held
    cluster.fail_log_dir(2, "/d2")
    assert {(p.topic, p.partition) for p in reader.partitions() if 2 not in p.isr} == held
    table = reader.log_dirs([2])[2].value
    assert table is not None
    good, bad = table.dirs
    assert (good.error, bad.error, bad.total_bytes, bad.usable_bytes) == (0, 56, None, None)
    assert set(table.dir.tolist()) <= {0}
    assert all(n.fenced is False for n in views(reader)[1])
    cluster.start(2)
    assert all(2 in p.isr for p in reader.partitions())


def test_the_dir_with_the_metadata_takes_the_process_along(cluster: FakeCluster, reader: FakeReader) -> None:
    cluster.fail_log_dir(2, "/d1")
    assert {p.node: p.legs[LegName.TCP].state for p in reader.pulse()}[2] is LegState.REFUSED


def test_a_coordinator_that_moves_and_loads(cluster: FakeCluster, reader: FakeReader) -> None:
    cluster.create_group("billing")
    cluster.commit("billing", "orders", 0, 5)
    old = cluster.coordinator("billing")
    new = next(n for n in (1, 2, 3) if n != old)
    cluster.move_coordinator("billing", new)
    cluster.load_coordinator(new, 5)
    answers = reader.list_groups([old, new])
    assert answers[old].value == ()
    assert isinstance(answers[new].error, BrokerError)
    assert answers[new].error.name == "COORDINATOR_LOAD_IN_PROGRESS"
    cluster.advance(6)
    answers = reader.list_groups([old, new])
    assert answers[new].value is not None
    assert [g.group for g in answers[new].value] == ["billing"]


def test_controllers_apart_vote_and_are_no_brokers() -> None:
    cluster = FakeCluster(brokers=2, controllers=3, racks=("a", "b"))
    reader = FakeReader(cluster)
    assert [p.node for p in reader.pulse()] == [1, 2]
    told = reader.quorum()
    assert [v.node for v in told.voters] == [3, 4, 5]
    assert [o.node for o in told.observers] == [1, 2]
    assert [n.rack for n in reader.nodes().values()] == ["a", "b"]
    cluster.kill(1)
    cluster.advance(10)
    assert cluster.alive() == [2]


def test_injected_errors_and_hidden_topics(cluster: FakeCluster, reader: FakeReader) -> None:
    cluster.inject("DescribeQuorum", BrokerError(31, "CLUSTER_AUTHORIZATION_FAILED"))
    with pytest.raises(BrokerError):
        reader.quorum()
    cluster.cure("DescribeQuorum")
    assert reader.quorum().leader == 1
    cluster.inject("DescribeLogDirs", KafkaError("broken"), node=2)
    answers = reader.log_dirs([1, 2])
    assert (answers[1].error is None, answers[2].error is None) == (True, False)
    cluster.hidden.add("orders")
    cluster.create_topic("other")
    assert reader.partitions().topics == ("other",)
