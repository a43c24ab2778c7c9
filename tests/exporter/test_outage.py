"""All brokers gone at a random moment in random ways: the page shows nothing that no poll gave, ages go on, facts vanish in time; and all of it comes back."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.collectors import COLLECTORS, reading_interval
from exporter.collectors.offsets import SLOW_INTERVAL_S
from exporter.facts.configs import Quota
from exporter.metrics.catalogue import complete
from exporter.metrics.families import Families
from exporter.metrics.rows.row import Owner
from exporter.reading import FRESH_INTERVALS
from exporter.snapshot import Snapshot
from tests.exporter.simulation import Simulation
from tests.fakes.kafka import FakeCluster

WAYS = ("kill", "hang", "isolate")
OWN = frozenset({Owner.SELF, Owner.LEGS})
READING_OF = {"offsets": "end_offsets", "departures": "cluster"}
"""Owner -> the reading that its families live on, where it has another name."""
LONGEST_FRESH_S = 900
"""Settings are the oldest facts that are shown."""
BACK_S = 150
"""A hung node is tried at least each minute; then its controller must settle, and its coordinators be asked."""
SLOWEST_TURN_S = int(SLOW_INTERVAL_S) + 30
"""What was read before the outage may still be fresh when all is back, and go stale before its next turn."""
MOVING = (
    "kafka_quorum_",
    "kafka_controller_kafkacontroller_",
    "kafka_server_raftmetrics_",
    "kafka_consumergroup_coordinator",
    "kafka_consumergroup_lag_",
    "kafka_consumergroup_commit_standing_seconds",
    "kafka_topic_partition_leader",
    "kafka_broker_leaders",
    "kafka_broker_stop_",
)
"""Families that tell time, or who leads: an election may leave that elsewhere."""

Series = dict[tuple[str, tuple[str, ...]], float]


def pages(snapshots: Sequence[Snapshot], families: Families) -> list[tuple[float, Series]]:
    return [
        (
            s.at,
            {
                (b.metric, row): v
                for made in families.blocks(s).values()
                for b in made
                for row, v in zip(map(tuple, b.labels.rows), b.values.tolist(), strict=True)
            },
        )
        for s in snapshots
    ]


def from_kafka(page: Series) -> Series:
    return {key: v for key, v in page.items() if not OWN & set(complete()[key[0]].inputs)}


def ages(page: Series) -> Series:
    return {key: v for key, v in page.items() if key[0] == "klaxon_collector_age_seconds"}


def freshness(metric: str) -> float:
    every = {r: reading_interval(r, c.interval) for c in COLLECTORS for r in c.feeds}
    return FRESH_INTERVALS * min(every[READING_OF.get(owner, owner)] for owner in complete()[metric].inputs)


def standing(page: Series) -> Series:
    """What is the same after the outage as before."""
    return {key: v for key, v in from_kafka(page).items() if not key[0].startswith(MOVING)}


def cluster() -> FakeCluster:
    model = FakeCluster()
    model.create_topic("orders", 6, 3)
    model.create_group("billing")
    model.set_quota(Quota(None, "app", None, "producer_byte_rate", 1e6))
    return model


def traffic(simulation: Simulation, counts: Sequence[int]) -> None:
    """A second of records for each count, half of them read by the group."""
    for number, count in enumerate(counts):
        simulation.model.produce("orders", number % 6, count)
        simulation.model.commit("billing", "orders", number % 6, count // 2)
        simulation.run(1)


@settings(max_examples=6, deadline=None)
@given(
    counts=st.lists(st.integers(0, 50), max_size=40),
    ways=st.tuples(*[st.sampled_from(WAYS)] * 3),
    seconds=st.integers(1, 200),
)
def test_all_brokers_gone_and_back(counts: list[int], ways: tuple[str, ...], seconds: int) -> None:
    model = cluster()
    simulation, families = Simulation(model), Families()
    simulation.run(70)
    traffic(simulation, counts)
    simulation.run(65)
    ((gone_at, before),) = pages(simulation.snapshots[-1:], families)
    for node, way in enumerate(ways, 1):
        getattr(model, way)(node)
    for at, page in pages(simulation.run(seconds), families):
        shown = from_kafka(page)
        assert shown.items() <= from_kafka(before).items(), "a value that no poll gave"
        assert {k[0] for k in shown if at - gone_at > freshness(k[0])} == set(), "older than three intervals"
        assert ages(page).keys() == ages(before).keys()
        assert min(ages(page).values()) >= at - gone_at
    for node, way in enumerate(ways, 1):
        (model.start if way == "kill" else model.resume)(node)
    owners = set(simulation.snapshots[-1].readings()) - simulation.snapshots[-1].coverage.unsupported
    simulation.run_until(
        lambda s: all(s.coverage.covers(o) for o in (*owners, "legs")) and s.derived.health is not None, BACK_S
    )
    simulation.run(SLOWEST_TURN_S)
    ((_, after),) = pages(simulation.snapshots[-1:], families)
    assert standing(after) == standing(before)


@pytest.mark.parametrize("way", WAYS)
def test_after_a_long_outage_only_what_klaxon_sees_itself_is_left_and_all_comes_back_soon(way: str) -> None:
    model = cluster()
    simulation, families = Simulation(model), Families()
    simulation.run(120)
    ((_, before),) = pages(simulation.snapshots[-1:], families)
    for node in model.brokers:
        getattr(model, way)(node)
    simulation.run(LONGEST_FRESH_S + 60)
    ((_, page),) = pages(simulation.snapshots[-1:], families)
    assert from_kafka(page) == {}
    assert ages(page).keys() == ages(before).keys() and min(ages(page).values()) >= LONGEST_FRESH_S + 60
    for node in model.brokers:
        (model.start if way == "kill" else model.resume)(node)
    simulation.run(BACK_S)
    ((_, after),) = pages(simulation.snapshots[-1:], families)
    assert standing(after) == standing(before)
