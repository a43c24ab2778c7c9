"""The collectors `reassignments` and `transactions`: what they ask how often, and what a failure of one question hides."""

from __future__ import annotations

from dataclasses import replace

import pytest

from exporter.collectors.base import Known
from exporter.collectors.reassignments import QUIET_TOPICS_S, ReassignmentsCollector
from exporter.collectors.transactions import TransactionsCollector
from exporter.facts.cluster import ClusterFacts
from exporter.facts.partitions import LAST_STABLE, TopicFacts
from exporter.facts.transactions import OpenProducer, ProducerAnswer, Transaction, TransactionListing
from exporter.kafka.client import Answer
from exporter.kafka.errors import BrokerError, TimedOut, Unsupported
from exporter.reading import WHOLE_CLUSTER
from tests.exporter.scripted import Cluster, partition
from tests.fakes.clock import FakeClock

CLUSTER_DENIED = BrokerError(31, "CLUSTER_AUTHORIZATION_FAILED", request="ListPartitionReassignments")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def scripted(clock: FakeClock) -> Cluster:
    return Cluster(clock)


def known(cluster: Cluster) -> Known:
    import numpy as np

    topics = TopicFacts(cluster.table, np.full(len(cluster.table.topics), 2, dtype=np.int32))
    return Known(ClusterFacts("id", dict(cluster.brokers), {}), topics)


def answer(value: object, node: int = 1) -> dict[int, Answer[object]]:
    return {node: Answer(1000.0, 0.01, value)}


# --- reassignments


def test_topics_are_asked_seldom_while_nothing_is_throttled(scripted: Cluster, clock: FakeClock) -> None:
    collector = ReassignmentsCollector(scripted, clock)
    for _ in range(9):
        collector.poll(known(scripted))
        clock.advance(15.01)
    assert scripted.count("topic_values") == 3
    assert scripted.count("reassignments") == scripted.count("broker_values") == 9
    rates = {n: Answer(1000.0, 0.01, {"leader.replication.throttled.rate": "10"}) for n in (1, 2, 3)}
    scripted.replies["broker_values"] = rates
    polls = [collector.poll(known(scripted)) for _ in range(3)]
    assert all(p.throttled_topics for p in polls)
    assert polls[0].throttles is not None and polls[0].throttles.parts[1].value.rates == {"leader": 10}
    assert QUIET_TOPICS_S == 60


def test_unlimited_is_no_throttle(scripted: Cluster, clock: FakeClock) -> None:
    scripted.replies["broker_values"] = answer({"leader.replication.throttled.rate": str((1 << 63) - 1)})
    throttles = ReassignmentsCollector(scripted, clock).poll(known(scripted)).throttles
    assert throttles is not None and throttles.parts[1].value.rates == {}
    assert throttles.expected == {1, 2, 3}


@pytest.mark.parametrize(
    ("error", "kind"),
    [(CLUSTER_DENIED, "denied"), (TimedOut("late", phase="answer"), "timeout"), (Unsupported("old"), "unsupported")],
)
def test_moves_that_cannot_be_had_hide_no_throttle(
    scripted: Cluster, clock: FakeClock, error: Exception, kind: str
) -> None:
    scripted.replies["reassignments"] = error
    polls = ReassignmentsCollector(scripted, clock).poll(known(scripted))
    assert polls.reassignments is not None and not polls.reassignments.parts
    failure = polls.reassignments.failures[WHOLE_CLUSTER]
    assert failure.kind == kind and ("needs Describe on cluster" in failure.message) == (kind == "denied")
    assert polls.throttles is not None and not polls.throttles.failures
    assert polls.throttled_topics is not None and not polls.throttled_topics.failures


def test_topics_that_may_not_be_described_are_not_unthrottled(scripted: Cluster, clock: FakeClock) -> None:
    scripted.replies["topic_values"] = {}
    topics = ReassignmentsCollector(scripted, clock).poll(known(scripted)).throttled_topics
    assert topics is not None and not topics.parts
    assert (
        topics.failures[WHOLE_CLUSTER].kind == "denied"
        and "DescribeConfigs on topics" in topics.failures[WHOLE_CLUSTER].message
    )


# --- transactions


def opened(state: str = "Ongoing", error: int = 0) -> Transaction:
    return Transaction("id", state, 7, 0, 60.0, 900.0, frozenset({("orders", 0)}), error)


def hold_back(scripted: Cluster) -> None:
    """The last stable offset of the partitions that node 1 leads is 3."""
    full = scripted.offsets(scripted.table, LAST_STABLE)
    held = replace(full[1].value, offset=full[1].value.offset * 0 + 3)
    scripted.replies["offsets last_stable"] = {**full, 1: replace(full[1], value=held)}


def test_a_quiet_cluster_is_asked_for_lists_and_offsets_only(scripted: Cluster, clock: FakeClock) -> None:
    polls = TransactionsCollector(scripted, clock).poll(known(scripted))
    assert [name for name, _ in scripted.calls] == ["list_transactions", "offsets end", "offsets last_stable"]
    for poll in (polls.transactions, polls.stuck_offsets, polls.producers):
        assert poll is not None and not poll.failures and set(poll.parts) == {1, 2, 3}


def test_ends_that_the_groups_job_read_are_not_asked_for_again(scripted: Cluster, clock: FakeClock) -> None:
    from exporter.collectors.base import poll_of
    from exporter.facts.partitions import END, LAST_STABLE
    from exporter.reading import Reading

    told = known(scripted)
    ends, stable = (
        Reading.never("groups", 15.0).merged(poll_of(scripted.offsets(scripted.table, kind), [1, 2, 3]), clock(), 0.0)
        for kind in (END, LAST_STABLE)
    )
    scripted.calls.clear()
    TransactionsCollector(scripted, clock).poll(replace(told, end_offsets=ends, stable_offsets=stable))
    assert not [name for name, _ in scripted.calls if name.startswith("offsets")]


def test_leaders_are_asked_at_the_first_poll_and_then_only_where_it_stands(scripted: Cluster, clock: FakeClock) -> None:
    collector = TransactionsCollector(scripted, clock)
    collector.poll(known(scripted))
    hold_back(scripted)
    collector.poll(known(scripted))
    assert scripted.count("open_producers") == 0, "it lags for the first time"
    clock.advance(60)
    polls = collector.poll(known(scripted))
    assert scripted.count("open_producers") == 1
    assert polls.stuck_offsets is not None and {s.last_stable_offset for s in polls.stuck_offsets.parts[1].value} == {3}
    other = TransactionsCollector(scripted, clock)
    other.poll(known(scripted))
    assert scripted.count("open_producers") == 2, "at its first poll nothing is known of before"


def test_the_longest_time_out_is_asked_for_where_a_producer_is_open(scripted: Cluster, clock: FakeClock) -> None:
    hold_back(scripted)
    producer = OpenProducer("orders", 0, 7, 0, 3, 900.0)
    scripted.replies["open_producers"] = answer(ProducerAnswer((producer,), {}))
    scripted.replies["broker_values"] = answer({"transaction.max.timeout.ms": "900000"})
    collector = TransactionsCollector(scripted, clock)
    for _ in range(2):
        polls = collector.poll(known(scripted))
        assert polls.producers is not None and polls.producers.parts[1].value.max_timeout == 900
        assert polls.producers.parts[1].value.producers == (producer,)
        clock.advance(60)
    assert scripted.count("broker_values") == 1
    scripted.replies["broker_values"] = answer({})
    polls = TransactionsCollector(scripted, clock).poll(known(scripted))
    assert (
        polls.producers is not None
        and polls.producers.failures[1].kind == "no_value"
        and 1 not in polls.producers.parts
    )


@pytest.mark.parametrize(("code", "kind"), [(29, "denied"), (3, None), (6, None), (-1, "broker")])
def test_a_leader_that_does_not_tell_leaves_its_producers_unknown(
    scripted: Cluster, clock: FakeClock, code: int, kind: str | None
) -> None:
    hold_back(scripted)
    scripted.replies["open_producers"] = answer(ProducerAnswer((), {("orders", 0): code}))
    polls = TransactionsCollector(scripted, clock).poll(known(scripted))
    assert polls.producers is not None and polls.stuck_offsets is not None
    assert (1 in polls.producers.parts) == (kind is None) and 1 in polls.stuck_offsets.parts
    failure = polls.producers.failures.get(1)
    assert (failure.kind if failure else None) == kind
    if kind == "denied":
        assert failure is not None and "needs Read on topic" in failure.message and "orders-0" in failure.message


@pytest.mark.parametrize(("code", "kind"), [(14, "loading"), (15, "loading"), (16, "moving"), (53, "denied")])
def test_a_coordinator_that_cannot_say_gives_no_part(scripted: Cluster, clock: FakeClock, code: int, kind: str) -> None:
    scripted.replies["list_transactions"] = answer((TransactionListing("id", 7, "Ongoing"),))
    scripted.replies["describe_transactions"] = answer((opened(error=code),))
    poll = TransactionsCollector(scripted, clock).poll(known(scripted)).transactions
    assert poll is not None and 1 not in poll.parts and poll.failures[1].kind == kind


@pytest.mark.parametrize("row", [opened("CompleteCommit"), opened(error=105)])
def test_a_transaction_that_ended_meanwhile_is_gone(scripted: Cluster, clock: FakeClock, row: Transaction) -> None:
    scripted.replies["list_transactions"] = answer((TransactionListing("id", 7, "Ongoing"),))
    scripted.replies["describe_transactions"] = answer((row,))
    poll = TransactionsCollector(scripted, clock).poll(known(scripted)).transactions
    assert poll is not None and poll.parts[1].value == () and 1 not in poll.failures


def test_transactions_without_a_coordinator_are_a_failure_of_the_cluster(scripted: Cluster, clock: FakeClock) -> None:
    from exporter.facts.partitions import PartitionTable

    scripted.table = PartitionTable.of(
        [partition("__transaction_state", 0, -1, (1,), ()), partition("orders", 0, 1, (1, 2))]
    )
    poll = TransactionsCollector(scripted, clock).poll(known(scripted)).transactions
    assert poll is not None and poll.failures[WHOLE_CLUSTER].kind == "no_coordinator"
    assert WHOLE_CLUSTER in poll.expected and WHOLE_CLUSTER not in poll.parts
