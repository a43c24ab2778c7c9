"""Late and hanging transactions: the pure functions, and what a Klaxon on the model shows."""

from __future__ import annotations

from collections import Counter

import pytest

from exporter.blocks import Block
from exporter.derive.transactions import hanging, overdue
from exporter.facts.transactions import LeaderProducers, OpenProducer, Transaction
from exporter.metrics.families import Families
from exporter.reading import Part
from exporter.snapshot import Snapshot
from tests.exporter.simulation import Simulation
from tests.fakes.kafka import BrokerState, FakeCluster

OPEN = Transaction("id", "Ongoing", 7, 0, 60.0, 100.0, frozenset({("orders", 0)}))
LEADS = {1: Part(LeaderProducers((OpenProducer("orders", 0, 7, 0, 3, 100.0),), 900.0), 1100.0)}


@pytest.mark.parametrize(("now", "over"), [(160.0, None), (161.0, 1.0), (90.0, None)])
def test_late_is_what_is_ongoing_beyond_its_own_time_out(now: float, over: float | None) -> None:
    assert overdue(OPEN, now) == over


def test_hanging_is_old_and_known_to_no_coordinator() -> None:
    assert [h.age for h in hanging({}, LEADS)] == [1000.0]
    assert not hanging({2: Part((OPEN,), 0.0)}, LEADS)
    elsewhere = Transaction("id", "Ongoing", 7, 0, 60.0, 100.0, frozenset({("orders", 1)}))
    assert hanging({2: Part((elsewhere,), 0.0)}, LEADS), "its coordinator has it without this partition"
    assert not hanging({}, {1: Part(LEADS[1].value, 1000.0)}), "not older than transaction.max.timeout.ms"


class Watched:
    """A Klaxon on the model that keeps its families."""

    def __init__(self) -> None:
        self.model = FakeCluster()
        self.model.create_topic("orders", assignment=[[1, 2, 3], [2, 3, 1]])
        self.klaxon = Simulation(self.model)
        self._families = Families()

    def run(self, seconds: int) -> dict[str, Block]:
        return self.page(self.klaxon.run(seconds)[-1])

    def page(self, snapshot: Snapshot) -> dict[str, Block]:
        return {b.metric: b for blocks in self._families.blocks(snapshot).values() for b in blocks}


def rows(page: dict[str, Block], name: str) -> dict[tuple[str, ...], float]:
    block = page.get(name)
    return {} if block is None else dict(zip(block.labels.rows, block.values.tolist(), strict=True))


STUCK = "kafka_topic_partition_last_stable_offset_stuck_seconds"
HELD = "kafka_topic_partition_open_transaction_age_seconds"
HANGING = "kafka_topic_partition_hanging_transaction_age_seconds"


def test_an_open_transaction_holds_its_partition_until_it_ends() -> None:
    w = Watched()
    assert rows(w.run(1), "kafka_transactions_hanging") == {(): 0}
    w.model.begin_transaction("billing", "orders", 1, timeout=120.0)
    coordinator = str(w.model.transaction_coordinator("billing"))
    page = w.run(130)
    assert list(rows(page, STUCK)) == [("orders", "1")] and rows(page, STUCK)["orders", "1"] >= 55
    assert list(rows(page, HELD)) == [("orders", "1", "billing", "1000", coordinator)]
    assert rows(page, "kafka_transactions_open")[coordinator, "Ongoing"] == 1
    assert not rows(page, HANGING)
    page = w.run(60)
    assert rows(page, "kafka_transactions_late")[(coordinator,)] == 1
    assert list(rows(page, "kafka_transaction_late_seconds")) == [(coordinator, "billing", "1000")]
    w.model.end_transaction("billing")
    page = w.run(61)
    assert not rows(page, STUCK) and not rows(page, HELD)
    assert rows(page, "kafka_transactions_late")[(coordinator,)] == 0


def test_a_transaction_that_its_coordinator_lost_hangs_after_the_longest_time_out() -> None:
    w = Watched()
    w.model.begin_transaction("billing", "orders", 1)
    w.model.lose_transaction("billing")
    page = w.run(880)
    assert rows(page, STUCK) and not rows(page, HANGING) and rows(page, "kafka_transactions_hanging") == {(): 0}
    page = w.run(90)
    assert list(rows(page, HANGING)) == [("orders", "1", "1000", "0")]
    assert rows(page, "kafka_transactions_hanging") == {(): 1}


def test_nothing_hangs_as_long_as_a_coordinator_has_not_answered() -> None:
    w = Watched()
    w.model.begin_transaction("billing", "orders", 1)
    w.model.lose_transaction("billing")
    w.run(970)
    w.model.load_coordinator(3, 600.0)
    page = w.run(200)
    assert HANGING not in page and "kafka_transactions_hanging" not in page
    assert w.model.brokers[3].state is BrokerState.UP


def test_ordinary_transactions_hold_nothing_and_leaders_are_not_asked_about_producers() -> None:
    w = Watched()
    w.run(61)
    for _ in range(120):
        w.model.begin_transaction("billing", "orders", 1)
        w.model.advance(0.5)
        w.model.end_transaction("billing")
        w.model.advance(0.5)
        assert not rows(w.page(w.klaxon.step()), STUCK)
    asked = {api for (api, _), n in w.klaxon.reader.requests().items() if n}
    assert "ListTransactions" in asked and "DescribeProducers" not in asked


def test_requests_grow_with_brokers_only() -> None:
    """A quiet minute: four polls of reassignments and one of transactions, whose offsets the groups' job reads."""
    w = Watched()
    w.model.create_topic("many", assignment=[[1, 2, 3], [2, 3, 1], [3, 1, 2]] * 20)
    w.run(120)
    before = Counter(w.klaxon.reader.requests())
    w.run(60)
    asked = Counter[str]()
    for (api, _), n in (Counter(w.klaxon.reader.requests()) - before).items():
        asked[api] += n
    brokers = 3
    assert asked["ListPartitionReassignments"] == 4
    assert asked["DescribeConfigs"] == 4 * brokers + 1
    assert asked["ListTransactions"] == brokers
    assert asked["ListOffsets"] == (4 + 4 + 1 + 1) * brokers, "ends, last stable offsets, log starts, newest records"
