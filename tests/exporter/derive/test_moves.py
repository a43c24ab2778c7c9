"""What is left to copy, and when a throttle is a leftover."""

from __future__ import annotations

import numpy as np
import pytest

from exporter.derive.moves import Leftovers, bytes_left, fold
from exporter.facts.log_dirs import LogDir, LogDirTable
from exporter.facts.partitions import PartitionTable
from exporter.facts.reassignments import BrokerThrottles, Move, ThrottledTopics
from tests.exporter.scripted import partition
from tests.exporter.simulation import Simulation
from tests.fakes.kafka import FakeCluster

MOVE = Move("orders", 0, (1, 2), (2,), (1,))
RATES = {1: BrokerThrottles({"leader": 10, "alter_log_dirs": 10})}
TOPICS = ThrottledTopics({"orders": {"leader": "*"}})
STANDING = {("broker", "1", "leader"), ("broker", "1", "alter_log_dirs"), ("topic", "orders", "leader")}


def folded(
    times: range, moves: tuple[Move, ...] = (), dirs: bool | None = False, state: Leftovers | None = None
) -> Leftovers:
    state = state or Leftovers()
    for at in times:
        state = fold(state, moves, RATES, TOPICS, {} if dirs is None else {1: dirs}, float(at))
    return state


def test_a_throttle_is_left_over_after_more_than_two_polls() -> None:
    assert folded(range(15, 60, 15)).shown(15.0) == frozenset()
    assert folded(range(15, 75, 15)).shown(15.0) == STANDING


def test_a_move_keeps_it_from_being_one_and_starts_the_time_anew() -> None:
    dirs_only = {("broker", "1", "alter_log_dirs")}
    moving = folded(range(15, 165, 15), (MOVE,))
    assert moving.shown(15.0) == dirs_only
    assert folded(range(165, 210, 15), state=moving).shown(15.0) == dirs_only
    assert folded(range(165, 225, 15), state=moving).shown(15.0) == STANDING


@pytest.mark.parametrize("dirs", [True, None])
def test_the_throttle_of_dirs_needs_dirs_that_are_known_to_rest(dirs: bool | None) -> None:
    assert folded(range(15, 150, 15), dirs=dirs).shown(15.0) == STANDING - {("broker", "1", "alter_log_dirs")}


def test_facts_that_were_folded_count_once() -> None:
    state = folded(range(15, 30, 15))
    assert fold(state, (MOVE,), {}, None, {}, 15.0) is state


def dirs(size: int | None) -> LogDirTable:
    rows = [] if size is None else [size]
    zeros = np.zeros(len(rows), dtype=np.int32)
    return LogDirTable(
        (LogDir("/d", 0, 100, 50),),
        ("orders",),
        zeros,
        zeros,
        zeros,
        np.array(rows, dtype=np.int64),
        zeros.astype(np.int64),
        zeros.astype(np.bool_),
    )


@pytest.mark.parametrize(
    ("sizes", "left"),
    [
        ({1: 100, 2: 30}, 70),
        ({1: 100, 2: None}, 100),
        ({1: 100, 2: 120}, 0),
        ({1: 100}, None),
        ({2: 30}, None),
        ({1: None, 2: 3}, None),
    ],
)
def test_bytes_left_are_the_leaders_less_its_own(sizes: dict[int, int | None], left: int | None) -> None:
    table = PartitionTable.of([partition("orders", 0, 1, (1, 2), (1,))])
    assert bytes_left([MOVE], table, {b: dirs(size) for b, size in sizes.items()}) == {("orders", 0, 2): left}


def test_a_finished_reassignment_leaves_nothing() -> None:
    model = FakeCluster()
    model.create_topic("orders", assignment=[[1, 2]])
    watched = Simulation(model)
    model.begin_reassignment("orders", 0, [2, 3])
    model.set_broker_config(1, {"leader.replication.throttled.rate": "1000"})
    model.topics["orders"].config["leader.replication.throttled.replicas"] = "0:1"
    watched.run(90)
    moving = watched.snapshots[-1]
    assert moving.reassignments.value(moving.at) and not moving.derived.leftovers
    assert moving.throttles.parts[1].value.rates == {"leader": 1000}
    model.reassign("orders", 0, [2, 3])
    for snapshot in watched.run(29):
        assert not snapshot.derived.leftovers
    seen = watched.run(60)[-1]
    assert seen.reassignments.value(seen.at) == ()
    assert seen.derived.leftovers == {("broker", "1", "leader"), ("topic", "orders", "leader")}
    model.set_broker_config(1, {"leader.replication.throttled.rate": None})
    model.topics["orders"].config.clear()
    assert not watched.run(16)[-1].derived.leftovers
