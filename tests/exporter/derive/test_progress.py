"""How groups move, through the cluster in memory and the whole line from collectors to Snapshots; the truth is the time of every record in the model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from exporter.derive import progress_file
from tests.exporter.simulation import Simulation
from tests.fakes.kafka import FakeCluster

HOUR = 3600

Told = Mapping[tuple[str, str, int], Mapping[str, float]]
"""(group, topic, partition) -> what is told of it."""
COLUMNS = ("lag_seconds", "lag_seconds_at_least", "standing", "headroom", "headroom_seconds", "retention_used")


def told(sim: Simulation) -> Told:
    found: dict[tuple[str, str, int], dict[str, float]] = {}
    for progress in sim.snapshots[-1].derived.progress.values():
        table = progress.lag.commits
        for row in range(len(table)):
            key = (table.groups[table.group[row]], table.topics[table.topic[row]], int(table.partition[row]))
            found[key] = {name: float(getattr(progress, name)[row]) for name in COLUMNS}
    return found


def world(partitions: int = 1) -> FakeCluster:
    model = FakeCluster()
    model.create_topic("orders", partitions)
    model.create_group("billing")
    return model


def write(model: FakeCluster, seconds: int, *, every: int = 10, sim: Simulation | None = None) -> None:
    """A record every so often, with or without a Klaxon that looks on."""
    for _ in range(seconds // every):
        model.produce("orders", 0)
        if sim is not None:
            sim.run(every)
        else:
            model.advance(every)


def true_lag(model: FakeCluster, sim: Simulation, position: int) -> float:
    """At the moment when the end was last read."""
    read_at = max(p.taken_at for p in sim.snapshots[-1].end_offsets.parts.values())
    return read_at - model.topics["orders"].partitions[0].appended_at(position)


ROW = ("billing", "orders", 0)


def test_a_group_that_has_read_everything_is_not_behind_however_long_nothing_comes() -> None:
    model = world()
    model.produce("orders", 0, 5)
    model.commit("billing", "orders", 0, 5)
    sim = Simulation(model)
    sim.run(HOUR)
    assert told(sim)[ROW]["lag_seconds"] == 0
    assert told(sim)[ROW]["standing"] == 0
    model.produce("orders", 0)
    sim.run(20)
    assert 0 < told(sim)[ROW]["lag_seconds"] <= 35
    assert told(sim)[ROW]["standing"] <= 35, "it stands since there is something to read, not since the last commit"


def test_a_group_behind_by_hours_when_klaxon_starts() -> None:
    model = world()
    write(model, 30 * HOUR, every=60)
    end = model.topics["orders"].partitions[0].end
    for name, position in {"near": end - 120, "far": 3, "middle": end // 2}.items():
        model.create_group(name)
        model.commit(name, "orders", 0, position)
    sim = Simulation(model)
    sim.run(10)
    first = told(sim)["far", "orders", 0]
    assert np.isnan(first["lag_seconds"]), "one poll cannot tell"
    sim.run(10 * 60)
    for name, position in {"near": end - 120, "far": 3, "middle": end // 2}.items():
        said = told(sim)[name, "orders", 0]
        assert said["lag_seconds"] == pytest.approx(true_lag(model, sim, position), rel=0.25), name
        assert np.isnan(said["lag_seconds_at_least"])
        assert said["standing"] == pytest.approx(600, abs=30)
    assert told(sim)["far", "orders", 0]["headroom_seconds"] == pytest.approx(180, rel=1.0, abs=1800)


def test_a_lag_is_followed_while_it_grows_and_shrinks() -> None:
    model = world()
    model.commit("billing", "orders", 0, 0)
    sim = Simulation(model)
    write(model, HOUR, sim=sim)
    for position in (0, 100, 300, 350):
        model.commit("billing", "orders", 0, position)
        write(model, 60, sim=sim)
        assert told(sim)[ROW]["lag_seconds"] == pytest.approx(true_lag(model, sim, position), rel=0.25, abs=30)
    assert told(sim)[ROW]["standing"] <= 60


def test_an_emptied_topic_leaves_nothing_to_read_and_says_what_was_lost() -> None:
    model = world()
    write(model, HOUR)
    model.commit("billing", "orders", 0, 100)
    sim = Simulation(model)
    sim.run(60)
    model.retain_from("orders", 0, 360)
    sim.run(90)
    said = told(sim)[ROW]
    assert said["lag_seconds"] == 0
    assert said["standing"] == 0
    assert said["headroom"] == -260
    model.produce("orders", 0)
    sim.run(30)
    assert 0 < told(sim)[ROW]["lag_seconds"] <= 45


def test_a_group_that_retention_is_overtaking() -> None:
    model = world()
    write(model, HOUR)
    model.commit("billing", "orders", 0, 90)
    model.retain_from("orders", 0, 80)
    sim = Simulation(model)
    sim.run(5 * 60)
    said = told(sim)[ROW]
    assert said["headroom"] == 10
    assert said["retention_used"] == pytest.approx((360 - 90) / (360 - 80))
    assert said["headroom_seconds"] == pytest.approx(100, abs=900)
    model.retain_from("orders", 0, 200)
    sim.run(180)
    said = told(sim)[ROW]
    assert said["headroom"] == -110
    assert said["retention_used"] > 1
    assert said["lag_seconds"] == pytest.approx(true_lag(model, sim, 200), rel=0.25)


def test_a_restart_goes_on_where_it_was(tmp_path: Path) -> None:
    model = world()
    model.commit("billing", "orders", 0, 0)
    sim = Simulation(model)
    write(model, HOUR, sim=sim)
    model.commit("billing", "orders", 0, 200)
    sim.run(30)
    model.commit("billing", "orders", 0, 150)
    sim.run(30)
    assert sim.snapshots[-1].derived.rewinds == {("billing", "orders"): 1}
    path = tmp_path / "offsets.npz"
    progress_file.write(path, sim.builder.progress.state())
    model.advance(60)
    after = Simulation(model)
    after.builder.progress = progress_file.read(path)
    before = after.reader.requests().get(("ListOffsets", 1), 0)
    after.run(20)
    assert told(after)[ROW]["lag_seconds"] == pytest.approx(true_lag(model, after, 150), rel=0.25)
    assert told(after)[ROW]["standing"] >= 60
    assert after.snapshots[-1].derived.rewinds == {("billing", "orders"): 1}
    assert after.reader.requests().get(("ListOffsets", 1), 0) - before <= 8


def test_a_file_that_is_damaged_is_told_and_left(tmp_path: Path) -> None:
    model = world()
    model.commit("billing", "orders", 0, 0)
    sim = Simulation(model)
    write(model, 60, sim=sim)
    path = tmp_path / "offsets.npz"
    progress_file.write(path, sim.builder.progress.state())
    whole = path.read_bytes()
    for broken in (b"", b"no zip", whole[: len(whole) // 2], whole[:200] + bytes(400) + whole[600:]):
        path.write_bytes(broken)
        with pytest.raises(ValueError):
            progress_file.read(path)


def test_rewinds_are_counted_and_a_topic_made_again_is_none() -> None:
    model = world()
    model.produce("orders", 0, 100)
    model.commit("billing", "orders", 0, 80)
    sim = Simulation(model)
    sim.run(20)
    assert not sim.snapshots[-1].derived.rewinds
    for offset in (90, 40, 60, 59, 59):
        model.commit("billing", "orders", 0, offset)
        sim.run(15)
    assert sim.snapshots[-1].derived.rewinds == {("billing", "orders"): 2}
    model.delete_topic("orders")
    model.create_topic("orders", 1)
    model.produce("orders", 0, 10)
    model.commit("billing", "orders", 0, 5)
    sim.run(30)
    assert sim.snapshots[-1].derived.rewinds == {("billing", "orders"): 2}


def test_a_group_that_moves_to_another_coordinator_keeps_its_memory() -> None:
    model = world()
    model.produce("orders", 0, 100)
    model.commit("billing", "orders", 0, 80)
    sim = Simulation(model)
    sim.run(300)
    standing = told(sim)[ROW]["standing"]
    assert standing >= 270
    old = model.coordinator("billing")
    model.move_coordinator("billing", next(n for n in (1, 2, 3) if n != old))
    sim.run(60)
    assert told(sim)[ROW]["standing"] >= standing + 30
    model.commit("billing", "orders", 0, 10)
    sim.run(20)
    assert sim.snapshots[-1].derived.rewinds == {("billing", "orders"): 1}


def test_requests_of_a_cycle_stay_bounded_while_much_is_asked() -> None:
    model = world(partitions=12)
    for _ in range(200):
        for partition in range(12):
            model.produce("orders", partition)
        model.advance(600)
    for i in range(4):
        model.create_group(f"g{i}")
        for partition in range(12):
            model.commit(f"g{i}", "orders", partition, 45 * i)
    sim = Simulation(model)
    sim.run(30)
    # Three to a broker, and one more each minute for the transactions.
    for _ in range(16):
        before = sum(n for (api, _), n in sim.reader.requests().items() if api == "ListOffsets")
        sim.run(15)
        assert sum(n for (api, _), n in sim.reader.requests().items() if api == "ListOffsets") - before <= 4 * 3
    unknown = [row for row, said in told(sim).items() if np.isnan(said["lag_seconds"])]
    assert not unknown
