"""Reassignments, throttles, transactions and what would stop with a broker: the page against Kafka's own tools, before, during and after each fault."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest

import demo
from demo import faults, leftovers, traffic
from tests.klaxon_process import Klaxon, Page, wait_until
from tests.on_cluster import klaxon_config

pytestmark = pytest.mark.real

TRANSACTIONS = "org.apache.kafka.tools.TransactionsCommand"
CONFIGS = "kafka.admin.ConfigCommand"
FASTER = {"reassignments": {"interval": 2}, "transactions": {"interval": 3}, "log_dirs": {"interval": 5}}


@pytest.fixture(scope="module")
def watched(cluster: demo.Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[demo.Cluster, Klaxon]]:
    """A healthy cluster, and a Klaxon that asks about moves and transactions more often than usual."""
    faults.heal(cluster)
    configuration = klaxon_config(cluster)
    configuration["clusters"]["demo"]["collectors"] = FASTER
    klaxon = Klaxon(tmp_path_factory.mktemp("moves"), configuration)
    try:
        klaxon.start()
        see(klaxon, lambda p: p.value("kafka_reassigning_partitions") == 0, "the controller says what moves")
        see(klaxon, lambda p: p.value("kafka_transactions_hanging") == 0, "all say what is open")
        yield cluster, klaxon
    finally:
        klaxon.close()


def see(klaxon: Klaxon, condition: Callable[[Page], object], what: str, limit: float = 60) -> Page:
    return wait_until(lambda: (page := klaxon.page()) and condition(page) and page, limit, what, every=0.5)  # type: ignore[no-any-return]


def tool(cluster: demo.Cluster, command: str, *arguments: str) -> str:
    return cluster.kafka_tool(command, "--bootstrap-server", cluster.live_bootstrap_servers, *arguments)


def test_a_reassignment_and_nothing_after_it(watched: tuple[demo.Cluster, Klaxon]) -> None:
    cluster, klaxon = watched
    details = faults.break_(cluster, "reassignment")
    page = see(klaxon, lambda p: p.value("kafka_reassigning_partitions") == 1, "it moves")
    told = tool(cluster, leftovers.REASSIGN_COMMAND, "--list")
    (row,) = re.findall(
        r"^(\S+)-(\d+): replicas: (\S+)\.(?: adding: (\S+)\.)?(?: removing: (\S+)\.)?", told, re.MULTILINE
    )
    topic, partition, _, adding, removing = row
    place = ("topic", "partition", "broker")
    assert page.by("kafka_partition_reassignment_adding_replica", *place) == {(topic, partition, adding): 1}
    assert page.by("kafka_partition_reassignment_removing_replica", *place) == {(topic, partition, removing): 1}
    assert (topic, adding) == (details["topic"], str(details["target"]))
    left = see(klaxon, lambda p: p.value("kafka_reassignments_remaining_bytes"), "the log dirs tell what is left")
    whole = leftovers.MOVED_RECORDS * leftovers.RECORD_SIZE
    assert 0 < (left.value("kafka_reassignments_remaining_bytes") or 0) < 1.2 * whole
    throttles = {(str(b), t): leftovers.MOVE_RATE for b in cluster.broker_ids for t in ("leader", "follower")}
    page = see(klaxon, lambda p: p.select("kafka_broker_replication_throttle_bytes"), "the throttle is seen")
    assert page.by("kafka_broker_replication_throttle_bytes", "broker", "throttle").items() <= throttles.items()
    assert not page.select("kafka_broker_replication_throttle_leftover"), "it is there for the move"
    faults.heal(cluster, "reassignment")
    page = see(
        klaxon,
        lambda p: (
            p.value("kafka_reassigning_partitions") == 0
            and not p.select("kafka_broker_replication_throttle_bytes")
            and not p.select("kafka_topic_replication_throttled")
        ),
        "nothing is left",
    )
    assert not page.select("kafka_broker_replication_throttle_leftover")
    assert not page.select("kafka_partition_reassignment_adding_replica")


def test_a_throttle_that_was_left(watched: tuple[demo.Cluster, Klaxon]) -> None:
    cluster, klaxon = watched
    details = faults.break_(cluster, "throttle-left")
    both = ("leader", "follower")
    expected = {(str(b), t): 1.0 for b in details["brokers"] for t in both}
    page = see(
        klaxon,
        lambda p: (
            p.by("kafka_broker_replication_throttle_leftover", "broker", "throttle") == expected
            and len(p.select("kafka_topic_replication_throttle_leftover")) == 2
        ),
        "the throttles are leftovers",
    )
    assert page.by("kafka_topic_replication_throttle_leftover", "topic", "throttle") == {
        (details["topic"], t): 1 for t in both
    }
    told = tool(cluster, CONFIGS, "--describe", "--entity-type", "brokers")
    by_tool = {
        (broker, throttle): float(rate)
        for broker, settings in re.findall(r"Dynamic configs for broker (\d+) are:\n((?:  .*\n?)*)", told)
        for throttle, rate in re.findall(r"(leader|follower)\.replication\.throttled\.rate=(\d+)", settings)
    }
    assert by_tool == page.by("kafka_broker_replication_throttle_bytes", "broker", "throttle")
    faults.heal(cluster, "throttle-left")
    see(
        klaxon,
        lambda p: (
            not p.select("kafka_broker_replication_throttle_leftover")
            and not p.select("kafka_topic_replication_throttle_leftover")
        ),
        "they are gone",
    )


def test_an_open_transaction(watched: tuple[demo.Cluster, Klaxon]) -> None:
    cluster, klaxon = watched
    details = faults.break_(cluster, "hanging-transaction")
    id, topic = details["transactional_id"], details["topic"]
    page = see(
        klaxon,
        lambda p: p.select("kafka_topic_partition_open_transaction_age_seconds", transactional_id=id),
        "it is open",
    )
    rows = [r.split() for r in tool(cluster, TRANSACTIONS, "list").splitlines()[1:]]
    (coordinator, producer) = next((r[1], r[2]) for r in rows if r[0] == id and r[3] == "Ongoing")
    held = page.by(
        "kafka_topic_partition_open_transaction_age_seconds", "topic", "producer_id", "broker", transactional_id=id
    )
    assert held.keys() == {(topic, producer, coordinator)}
    assert (page.value("kafka_transactions_open", broker=coordinator, state="Ongoing") or 0) >= 1
    described = tool(cluster, TRANSACTIONS, "describe", "--transactional-id", id).splitlines()
    described_as = dict(zip(described[0].split("\t"), described[1].split("\t"), strict=True))
    age = float(described_as["TransactionDurationMs"].strip()) / 1000
    assert abs(age - max(held.values())) < 60
    see(
        klaxon,
        lambda p: (
            max(p.select("kafka_topic_partition_last_stable_offset_stuck_seconds", topic=topic).values(), default=0) > 5
        ),
        "the last stable offset stands",
    )
    hanging = tool(cluster, TRANSACTIONS, "find-hanging", "--broker-id", coordinator).splitlines()[1:]
    assert not hanging and page.value("kafka_transactions_hanging") == 0, "its coordinator knows it: it will end it"
    assert page.value("kafka_transactions_late", broker=coordinator) == 0
    faults.heal(cluster, "hanging-transaction")
    see(
        klaxon,
        lambda p: not p.select("kafka_topic_partition_open_transaction_age_seconds", transactional_id=id),
        "it is ended",
    )
    see(
        klaxon,
        lambda p: not p.select("kafka_topic_partition_last_stable_offset_stuck_seconds", topic=topic),
        "readers go on",
    )


def test_what_would_stop_with_a_broker(watched: tuple[demo.Cluster, Klaxon]) -> None:
    cluster, klaxon = watched
    traffic.create_topics(cluster)
    told = tool(cluster, "org.apache.kafka.tools.TopicCommand", "--describe")
    rows = re.findall(r"Partition: (\d+)\s+Leader: (\d+)\s+Replicas: (\S+)\s+Isr: (\S+)", told)
    limits = {t: int(n) for t, n in re.findall(r"Topic: (\S+)\s+TopicId.*min\.insync\.replicas=(\d+)", told)}
    topics = re.findall(r"Topic: (\S+)\s+Partition: \d+", told)
    offline, under, leaders = (
        dict.fromkeys(cluster.broker_ids, 0),
        dict.fromkeys(cluster.broker_ids, 0),
        dict.fromkeys(cluster.broker_ids, 0),
    )
    for topic, (_, leader, replicas, isr) in zip(topics, rows, strict=True):
        needed = min(limits.get(topic, 1), replicas.count(",") + 1)
        for broker in map(int, isr.split(",")):
            left = isr.count(",")
            offline[broker] += left == 0
            under[broker] += 0 < left < needed <= left + 1
            leaders[broker] += left > 0 and int(leader) == broker
    page = see(
        klaxon,
        lambda p: p.by("kafka_broker_stop_partitions_offline", "broker") == {(str(b),): n for b, n in offline.items()},
        "as many would be offline",
    )
    assert page.by("kafka_broker_stop_partitions_under_min_isr", "broker") == {(str(b),): n for b, n in under.items()}
    assert page.by("kafka_broker_stop_leaders_moved", "broker") == {(str(b),): n for b, n in leaders.items()}
