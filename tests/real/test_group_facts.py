"""What the page says of groups of every type, of open transactions and of newest records equals what Kafka's own tools say."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

import demo
from demo import kafka, traffic
from tests.klaxon_process import Klaxon, Page, wait_until
from tests.on_cluster import klaxon_config
from tests.real import streams
from tests.real.test_values import COMMAND, TOOLS, agree

pytestmark = pytest.mark.real

SHARE_TOOL = f"{TOOLS}.consumer.group.ShareGroupCommand"
STREAMS_TOOL = f"{TOOLS}.streams.StreamsGroupCommand"
BEHIND = "left-behind"
HOUR_S = 3600.0
NOT_LOADED = (
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR,
)


@pytest.fixture(scope="module")
def busy(cluster: demo.Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[demo.Cluster, Klaxon]]:
    """Groups of every type with members, one that was left behind long ago, and a Klaxon that has come after that."""
    _leave_behind(cluster)
    traffic.start(cluster)
    klaxon = Klaxon(tmp_path_factory.mktemp("klaxon"), klaxon_config(cluster))
    try:
        klaxon.start()
        wait_until(
            lambda: len(klaxon.page().by("kafka_consumergroup_coordinator", "consumergroup")) >= 3,
            90,
            "groups are there",
        )
        yield cluster, klaxon
    finally:
        traffic.stop(cluster)
        klaxon.close()
        kafka.delete_topic(cluster.client_settings(), BEHIND)


def _leave_behind(cluster: demo.Cluster) -> None:
    """Records with the times of two days, and a group that has read half of them."""
    kafka.create_topic(cluster.client_settings(), BEHIND, assignment=[[1, 2, 3]])
    producer = Producer(kafka.client_settings(cluster.client_settings()))
    begun = time.time() - 48 * HOUR_S
    for i in range(480):
        producer.produce(BEHIND, str(i), partition=0, timestamp=int((begun + i * HOUR_S / 10) * 1000))
    assert producer.flush(30) == 0
    consumer = Consumer({**kafka.client_settings(cluster.client_settings()), "group.id": BEHIND})
    wait_until(lambda: _committed(consumer, TopicPartition(BEHIND, 0, 240)), 60, "the group's coordinator has loaded")
    consumer.close()


def _committed(consumer: Consumer, offset: TopicPartition) -> bool:
    """Whether the coordinator has taken the commit; it takes none while it loads its partition, just after its broker started."""
    try:
        consumer.commit(offsets=[offset], asynchronous=False)
    except KafkaException as error:
        if error.args[0].code() not in NOT_LOADED:
            raise
        return False
    return True


def _tool(cluster: demo.Cluster, main: str, *arguments: str) -> str:
    return cluster.kafka_tool(main, "--bootstrap-server", cluster.bootstrap_servers, *arguments)


def test_members_and_assignments(busy: tuple[demo.Cluster, Klaxon]) -> None:
    cluster, klaxon = busy

    def check(page: Page) -> None:
        told = _tool(cluster, COMMAND["groups"], "--describe", "--group", "billing", "--members", "--verbose")
        counts = [int(n) for n in re.findall(r"^billing\s+\S+\s+\S+\s+\S+\s+(\d+)\s", told, re.MULTILINE)]
        assert counts, told
        assert page.value("kafka_consumergroup_members", consumergroup="billing") == len(counts)
        assert page.value("kafka_consumergroup_members_idle", consumergroup="billing") == counts.count(0)
        assigned = page.select("kafka_consumergroup_topic_partitions_assigned", consumergroup="billing")
        assert sum(assigned.values()) == sum(counts)

    agree(klaxon, check)


def test_coordinators(busy: tuple[demo.Cluster, Klaxon]) -> None:
    cluster, klaxon = busy

    def check(page: Page) -> None:
        told = _tool(cluster, COMMAND["groups"], "--describe", "--all-groups", "--state")
        rows = dict(re.findall(r"^(\S+)\s+\S+:\d+\s+\((\d+)\)", told, re.MULTILINE))
        assert rows, told
        coordinators = page.by("kafka_consumergroup_coordinator", "consumergroup")
        assert {g: coordinators[(g,)] for g in rows} == {g: float(n) for g, n in rows.items()}

    agree(klaxon, check)


def test_share_groups(busy: tuple[demo.Cluster, Klaxon]) -> None:
    cluster, klaxon = busy
    if not any(g.protocol == "share" for g in traffic.groups(cluster)):
        pytest.skip("share groups are ready for production from Kafka 4.2 on")
    group = next(g.name for g in traffic.groups(cluster) if g.protocol == "share")

    def check(page: Page) -> None:
        told = _tool(cluster, SHARE_TOOL, "--describe", "--group", group, "--offsets")
        rows = re.findall(rf"^{group}\s+(\S+)\s+(\d+)\s+(\d+)\s+(\d+|-)\s*$", told, re.MULTILINE)
        assert rows, told
        told_starts = {(t, p): float(start) for t, p, start, _ in rows}
        starts = page.by("kafka_sharegroup_start_offset", "topic", "partition", consumergroup=group)
        assert starts.keys() == told_starts.keys()
        assert all(starts[k] <= told_starts[k] <= starts[k] + 5_000 for k in starts), (starts, told_starts)
        lags = page.by("kafka_sharegroup_lag", "topic", "partition", consumergroup=group)
        assert lags.keys() == {(t, p) for t, p, _, lag in rows if lag != "-"}
        members = _tool(cluster, SHARE_TOOL, "--describe", "--group", group, "--members")
        count = len(re.findall(rf"^{group}\s", members, re.MULTILINE))
        assert page.value("kafka_consumergroup_members", consumergroup=group) == count

    agree(klaxon, check)


def assigned_to(page: Page, group: str) -> dict[tuple[str, ...], float]:
    """Topic -> partitions that members read."""
    return page.by("kafka_consumergroup_topic_partitions_assigned", "topic", consumergroup=group)


def read_to_the_end(page: Page, group: str) -> bool:
    lags = page.by("kafka_consumergroup_lag", "partition", consumergroup=group)
    done = len(lags) == streams.PARTITIONS and not any(lags.values())
    return done and sum(assigned_to(page, group).values()) == streams.PARTITIONS


@pytest.mark.since("4.2.0")
def test_streams_groups(busy: tuple[demo.Cluster, Klaxon]) -> None:
    cluster, klaxon = busy

    def told(of: str) -> str:
        return _tool(cluster, STREAMS_TOOL, "--describe", "--group", streams.GROUP, of)

    with streams.running(cluster):
        wait_until(
            lambda: read_to_the_end(klaxon.page(), streams.GROUP), 90, "all tasks are assigned and have read all"
        )
        members, state, offsets = told("--members"), told("--state"), told("--verbose")
        page = klaxon.page()
    active = re.findall(rf"^{streams.GROUP}\s.*ACTIVE: \d+:\[([\d,]+)\]", members, re.MULTILINE)
    assert page.value("kafka_consumergroup_members", consumergroup=streams.GROUP) == len(active) == 1, members
    assert assigned_to(page, streams.GROUP) == {(streams.READ,): len(active[0].split(","))}
    coordinator = int(page.value("kafka_consumergroup_coordinator", consumergroup=streams.GROUP) or 0)
    pattern = rf"^{streams.GROUP}\s+\S+\s+\((\d+)\)\s+(\w+)\s+(\d+)"
    assert re.findall(pattern, state, re.MULTILINE) == [(f"{coordinator}", "Stable", "1")], state
    states = page.by("kafka_consumergroup_state", "state", "type", consumergroup=streams.GROUP)
    assert list(states) == [("Stable", "streams")]
    rows = re.findall(rf"^{streams.GROUP}\s+(\S+)\s+(\d+)\s+(\d+)\s+\S+\s+(\d+)\s+(\d+)", offsets, re.MULTILINE)
    assert {topic for topic, *_ in rows} == {streams.READ}, offsets
    for place, family in ((2, "kafka_consumergroup_current_offset"), (4, "kafka_consumergroup_lag")):
        shown = page.by(family, "topic", "partition", consumergroup=streams.GROUP)
        assert shown == {(row[0], row[1]): float(row[place]) for row in rows}, (family, offsets)
    streams.forget(cluster)


@pytest.mark.proof
def test_an_open_transaction_and_the_newest_records(busy: tuple[demo.Cluster, Klaxon]) -> None:
    cluster, klaxon = busy
    topic = "unstable"
    kafka.create_topic(cluster.client_settings(), topic, assignment=[[1, 2, 3]])
    producer = Producer({**kafka.client_settings(cluster.client_settings()), "transactional.id": "unstable"})
    producer.init_transactions(30)
    producer.begin_transaction()
    for i in range(7):
        producer.produce(topic, str(i))
    producer.flush(30)

    def unstable(page: Page) -> None:
        found = page.value("kafka_topic_partition_unstable_records", topic=topic, partition="0")
        assert found == 7

    def stable(page: Page) -> None:
        assert page.value("kafka_topic_partition_unstable_records", topic=topic, partition="0") is None
        told = _tool(cluster, COMMAND["offsets"], "--topic-partitions", f"{topic}:0", "--time", "-3")
        assert f"{topic}:0:6" in told or f"{topic}:0:7" in told, told
        newest = page.value("kafka_topic_partition_newest_record_timestamp_seconds", topic=topic, partition="0")
        assert newest is not None
        assert abs(time.time() - newest) < 300

    try:
        agree(klaxon, unstable)
    finally:
        producer.commit_transaction(30)
    agree(klaxon, stable)
    kafka.delete_topic(cluster.client_settings(), topic)


@pytest.mark.proof
def test_a_group_that_was_hours_behind_before_klaxon_came(busy: tuple[demo.Cluster, Klaxon]) -> None:
    """The age comes from ListOffsets by timestamp."""
    _, klaxon = busy

    def check(page: Page) -> None:
        seconds = page.value("kafka_consumergroup_lag_seconds", consumergroup=BEHIND, topic=BEHIND, partition="0")
        assert seconds is not None
        assert seconds == pytest.approx(24 * HOUR_S, rel=0.25)
        assert page.value("kafka_consumergroup_lag", consumergroup=BEHIND, topic=BEHIND, partition="0") == 240

    names = {"consumergroup": BEHIND, "topic": BEHIND, "partition": "0"}
    wait_until(
        lambda: klaxon.page().value("kafka_consumergroup_lag_seconds", **names) is not None,
        150,
        "its age is known",
        every=2,
    )
    agree(klaxon, check)
