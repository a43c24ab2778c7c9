"""What every KafkaReader promises, as one suite: it runs on the cluster in memory and on real brokers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import numpy as np
import pytest

from exporter.facts.cluster import LegName, LegState, Node, Pulse, Role
from exporter.facts.groups import CommitTable, GroupDescription, GroupListing
from exporter.facts.partitions import (
    END,
    LAST_STABLE,
    NEWEST,
    START,
    OffsetKind,
    OffsetRows,
    Partition,
    PartitionTable,
    TimeQuestions,
)
from exporter.kafka.client import Answers, KafkaReader
from exporter.kafka.errors import KafkaError, Refused, Skipped, TimedOut

KAFKA_LEGS = (LegName.TCP, LegName.API_VERSIONS, LegName.METADATA)
NOT_COORDINATOR = 16
GROUP_ID_NOT_FOUND = 69

Commits = Mapping[tuple[str, int], tuple[int, str]]
"""(topic, partition) -> offset and metadata string."""


class World(Protocol):
    """A cluster that can be written to and broken, and a fresh reader of it. Names made by ``name`` are this test's own."""

    reader: KafkaReader
    brokers: Sequence[int]
    controllers: Sequence[int]
    """The quorum's voters; with combined roles the brokers."""
    version: tuple[int, int]

    def name(self, stem: str) -> str: ...
    def new_reader(self, bootstrap_servers: Sequence[str]) -> KafkaReader: ...
    def until(self, condition: Callable[[], bool], what: str) -> None: ...
    def now(self) -> float: ...

    def create_topic(
        self, name: str, assignment: Sequence[Sequence[int]], config: Mapping[str, str] | None = None
    ) -> None: ...
    def delete_topic(self, name: str) -> None: ...
    def produce(self, topic: str, partition: int, count: int) -> None: ...
    def commit(self, group: str, commits: Commits) -> None: ...
    def members(self, group: str, type: str, topic: str) -> AbstractContextManager[None]:
        """Two members, stable and with assignments, for as long as the context lasts."""

    def kill(self, node: int) -> None: ...
    def hang(self, node: int) -> None: ...
    def resume(self, node: int) -> None: ...
    def start(self, node: int) -> None: ...


# --- reading what a reader said


def states(pulse: Pulse) -> tuple[LegState, ...]:
    return tuple(pulse.legs[name].state for name in KAFKA_LEGS)


ALL_OK = (LegState.OK, LegState.OK, LegState.OK)
REFUSED = (LegState.REFUSED, LegState.SKIPPED, LegState.SKIPPED)
HUNG = (LegState.OK, LegState.TIMEOUT, LegState.SKIPPED)
HUNG_AFTER_API_VERSIONS = (LegState.OK, LegState.OK, LegState.TIMEOUT)
SKIPPED = (LegState.SKIPPED, LegState.SKIPPED, LegState.SKIPPED)


def pulses(reader: KafkaReader) -> Mapping[int, Pulse]:
    told = {p.node: p for p in reader.pulse()}
    assert all(set(p.legs) == set(KAFKA_LEGS) for p in told.values())
    return told


def rows_of(table: PartitionTable, topic: str) -> list[Partition]:
    rows = table.rows_of(topic)
    return [table.row(i) for i in range(rows.start, rows.stop)]


def offsets_of(reader: KafkaReader, topic: str, kind: OffsetKind) -> Mapping[int, int]:
    """Partition -> offset, of the partitions whose leader answered without an error."""
    table = reader.partitions()
    found = {}
    for answer in reader.offsets(table, kind).values():
        if answer.value is None:
            continue
        assert answer.value.partitions is table
        for row, offset, error in zip(answer.value.rows, answer.value.offset, answer.value.error, strict=True):
            if table.row(int(row)).topic == topic and error == 0:
                found[table.row(int(row)).partition] = int(offset)
    return found


def _by_partition(answers: Answers[OffsetRows], topic: str) -> Mapping[int, tuple[int, int]]:
    """Partition -> offset and timestamp."""
    found = {}
    for answer in answers.values():
        assert answer.value is not None, answer.error
        told = answer.value
        assert told.timestamp is not None
        assert not told.error.any()
        for row, offset, stamp in zip(told.rows, told.offset, told.timestamp, strict=True):
            if told.partitions.row(int(row)).topic == topic:
                found[told.partitions.row(int(row)).partition] = (int(offset), int(stamp))
    return found


def commits_of(table: CommitTable, group: str) -> Mapping[tuple[str, int], int]:
    rows = zip(table.group, table.topic, table.partition, table.offset, strict=True)
    return {(table.topics[t], int(p)): int(o) for g, t, p, o in rows if table.groups[g] == group and o >= 0}


def quorum_leader(reader: KafkaReader) -> int | None:
    """None where the call failed."""
    try:
        return reader.quorum().leader
    except KafkaError:
        return None


def find_group(world: World, group: str) -> tuple[int, GroupListing]:
    """The coordinator that lists the group, and the row."""
    found: list[tuple[int, GroupListing]] = []

    def listed() -> bool:
        answers = world.reader.list_groups(world.brokers)
        found[:] = [(n, g) for n, a in answers.items() for g in a.value or () if g.group == group]
        return len(found) == 1

    world.until(listed, f"exactly one broker lists {group}")
    return found[0]


def described(world: World, group: str) -> GroupDescription:
    node, listing = find_group(world, group)
    answer = world.reader.describe_groups({node: [listing]})[node]
    assert answer.error is None, answer.error
    assert answer.value is not None
    return answer.value[group]


def committed(world: World, group: str) -> CommitTable:
    node, _ = find_group(world, group)
    answer = world.reader.committed_offsets({node: [group]})[node]
    assert answer.error is None, answer.error
    assert answer.value is not None
    return answer.value


class ReaderContract:
    """Subclasses give the fixtures ``world``, and ``fragile_world`` for tests that break brokers: healthy before and after."""

    @pytest.fixture
    def world(self) -> Iterator[World]:
        raise NotImplementedError

    @pytest.fixture
    def fragile_world(self) -> Iterator[World]:
        raise NotImplementedError

    # --- pulse and nodes

    def test_a_pulse_finds_every_broker_and_its_view(self, world: World) -> None:
        assert world.reader.nodes() == {}
        told = pulses(world.reader)
        assert set(told) == set(world.brokers)
        for pulse in told.values():
            assert states(pulse) == ALL_OK
            assert pulse.view is not None
            assert pulse.view.cluster_id
            assert [n.id for n in pulse.view.brokers] == sorted(world.brokers)
            assert pulse.api_versions is not None
            assert pulse.api_versions[3][1] >= 12, "Metadata v12 is what Kafka 3 and 4 have"
        for node in world.reader.nodes().values():
            assert (node.registered, Role.BROKER in node.roles) == (True, True)
            assert node.fenced is (False if world.version >= (4, 0) else None)
            assert node.host
            assert node.port > 0
        assert world.reader.bootstrap_errors() == {}

    def test_bootstrap_servers_that_do_not_answer_are_named(self, world: World) -> None:
        reader = world.new_reader(["127.0.0.1:1"])
        try:
            assert list(reader.pulse()) == []
            assert set(reader.bootstrap_errors()) == {"127.0.0.1:1"}
            assert isinstance(reader.bootstrap_errors()["127.0.0.1:1"], KafkaError)
            with pytest.raises(KafkaError):
                reader.partitions()
            with pytest.raises(KafkaError):
                reader.quorum()
        finally:
            reader.close()

    def test_an_expected_node_is_probed_until_it_is_forgotten(self, world: World) -> None:
        stranger = Node(9, "127.0.0.1", 1, None, frozenset({Role.BROKER}), False, None)
        world.reader.expect([stranger])
        told = pulses(world.reader)
        assert set(told) == {*world.brokers, 9}
        assert told[9].legs[LegName.TCP].state is not LegState.OK
        assert told[9].view is None
        assert world.reader.nodes()[9].address == "127.0.0.1:1"
        assert world.reader.list_groups([9])[9].error is not None
        world.reader.forget(9)
        assert set(pulses(world.reader)) == set(world.brokers)
        world.reader.forget(9)

    # --- topics

    def test_the_table_is_the_same_object_while_nothing_changes(self, world: World) -> None:
        world.reader.pulse()
        topic = world.name("steady")
        world.create_topic(topic, [[1, 2, 3]])
        seen: list[PartitionTable] = []

        def settled() -> bool:
            seen.append(world.reader.partitions())
            return len(seen) > 1 and seen[-1] is seen[-2] and topic in seen[-1].topics

        world.until(settled, "two answers are one object")
        world.create_topic(world.name("other"), [[1]])
        world.until(lambda: world.reader.partitions() is not seen[-1], "a new topic gives a new table")

    def test_rows_are_what_was_created(self, world: World) -> None:
        world.reader.pulse()
        topic = world.name("placed")
        assignment = [[1, 2], [2, 3], [3, 1], [2, 1]]
        world.create_topic(topic, assignment)
        world.until(lambda: len(rows_of(world.reader.partitions(), topic)) == 4, "the topic is known")
        world.until(
            lambda: all(p.leader == p.replicas[0] for p in rows_of(world.reader.partitions(), topic)), "leaders lead"
        )
        table = world.reader.partitions()
        for row, replicas in zip(rows_of(table, topic), assignment, strict=True):
            assert (row.replicas, row.leader, row.error, row.offline) == (tuple(replicas), replicas[0], 0, ())
            assert sorted(row.isr) == sorted(replicas)
            assert row.leader_epoch >= 0
        assert [p.partition for p in rows_of(table, topic)] == [0, 1, 2, 3]
        assert list(table.topics) == sorted(table.topics)
        assert [(table.topics[t], p) for t, p in zip(table.topic, table.partition, strict=True)] == [
            (p.topic, p.partition) for p in table
        ]
        assert len(table.topics) == len(table.topic_ids) == len(table.internal)
        assert len(set(table.topic_ids)) == len(table.topics)
        assert len(table.topic_ids[table.topic_index[topic]]) == 32
        assert not table.internal[table.topic_index[topic]]
        assert rows_of(table, "no-such-topic") == []

    def test_a_topic_made_again_has_another_id(self, world: World) -> None:
        world.reader.pulse()
        topic = world.name("again")

        def known() -> bool:
            return topic in world.reader.partitions().topics

        def topic_id() -> str:
            world.until(known, "the topic is known")
            table = world.reader.partitions()
            return table.topic_ids[table.topic_index[topic]]

        world.create_topic(topic, [[1, 2, 3]])
        first = topic_id()
        world.delete_topic(topic)
        world.until(lambda: not known(), "the topic is gone")
        world.create_topic(topic, [[1, 2, 3]])
        assert topic_id() != first

    def test_min_insync_replicas_with_the_topics_own(self, world: World) -> None:
        world.reader.pulse()
        own, plain, missing = world.name("own"), world.name("plain"), world.name("missing")
        world.create_topic(own, [[1, 2, 3]], {"min.insync.replicas": "3"})
        world.create_topic(plain, [[1, 2, 3]])
        world.until(lambda: {own, plain} <= set(world.reader.partitions().topics), "the topics are known")
        told = world.reader.min_insync_replicas([own, plain, missing])
        assert told == {own: 3, plain: 2}
        assert world.reader.min_insync_replicas([]) == {}

    # --- offsets

    def test_offsets_are_what_was_produced(self, world: World) -> None:
        world.reader.pulse()
        topic = world.name("counted")
        world.create_topic(topic, [[1, 2, 3], [2, 3, 1], [3, 1, 2]])
        world.produce(topic, 0, 7)
        world.produce(topic, 2, 300)
        world.until(lambda: len(offsets_of(world.reader, topic, END)) == 3, "all leaders answer")
        assert offsets_of(world.reader, topic, END) == {0: 7, 1: 0, 2: 300}
        assert offsets_of(world.reader, topic, START) == {0: 0, 1: 0, 2: 0}
        table = world.reader.partitions()
        answers = world.reader.offsets(table, END)
        assert set(answers) == set(table.leader[table.leader >= 0].tolist())
        rows = np.concatenate([a.value.rows for a in answers.values() if a.value is not None])
        assert sorted(rows.tolist()) == np.flatnonzero(table.leader >= 0).tolist(), "every led partition once"

    def test_a_topic_that_went_away_spoils_no_other_offset(self, world: World) -> None:
        world.reader.pulse()
        kept, gone = world.name("kept"), world.name("gone")
        world.create_topic(kept, [[1, 2, 3]])
        world.create_topic(gone, [[1, 2, 3]])
        world.produce(kept, 0, 5)
        world.until(lambda: len(offsets_of(world.reader, gone, END)) == 1, "both topics are known")
        old = world.reader.partitions()
        world.delete_topic(gone)
        world.until(lambda: gone not in world.reader.partitions().topics, "the topic is gone")

        def told() -> Mapping[str, tuple[int, int]]:
            """Topic -> offset and error, by the old table."""
            rows = world.reader.offsets(old, END)[1].value
            assert rows is not None
            assert rows.partitions is old
            names = [old.row(int(r)).topic for r in rows.rows]
            return dict(zip(names, zip(rows.offset.tolist(), rows.error.tolist(), strict=True), strict=True))

        world.until(lambda: told()[gone][1] != 0, "its former leader has deleted it")
        assert told()[gone][0] == -1
        assert told()[kept] == (5, 0)

    def test_the_last_stable_offset_is_the_end_without_open_transactions(self, world: World) -> None:
        world.reader.pulse()
        topic = world.name("stable")
        world.create_topic(topic, [[1, 2, 3], [2, 3, 1]])
        world.produce(topic, 0, 7)
        world.until(lambda: offsets_of(world.reader, topic, LAST_STABLE) == {0: 7, 1: 0}, "all leaders answer")

    def test_records_by_their_time(self, world: World) -> None:
        """The newest record, and the first one at or after a moment of each partition's own: none where nothing is so young."""
        world.reader.pulse()
        topic = world.name("timed")
        world.create_topic(topic, [[1, 2, 3], [2, 3, 1], [3, 1, 2]])
        begun = world.now() - 5
        world.produce(topic, 0, 3)
        world.produce(topic, 1, 4)
        world.until(lambda: offsets_of(world.reader, topic, END) == {0: 3, 1: 4, 2: 0}, "all leaders answer")
        table = world.reader.partitions()
        newest = _by_partition(world.reader.offsets(table, NEWEST), topic)
        assert newest[2] == (-1, -1)
        assert all(newest[p][0] >= 0 and begun * 1000 <= newest[p][1] <= world.now() * 1000 + 5000 for p in (0, 1))
        rows = np.arange(table.rows_of(topic).start, table.rows_of(topic).stop)
        moments = np.array([0, newest[1][1] + 60_000, 0], dtype=np.int64)
        before = Counter(world.reader.requests())
        answers = world.reader.first_after(TimeQuestions(table, rows, moments))
        assert Counter(world.reader.requests()) - before == Counter({("ListOffsets", n): 1 for n in (1, 2, 3)})
        found = _by_partition(answers, topic)
        assert (found[0][0], found[1], found[2]) == (0, (-1, -1), (-1, -1))
        assert begun * 1000 <= found[0][1] <= newest[0][1]

    # --- groups

    @pytest.mark.parametrize("type", ["classic", "consumer"])
    def test_a_group_with_members(self, world: World, type: str) -> None:
        if type == "consumer" and world.version < (4, 0):
            pytest.skip("KIP-848 groups are production-ready from Kafka 4.0 on")
        world.reader.pulse()
        topic, group = world.name("read"), world.name(type)
        world.create_topic(topic, [[1, 2, 3], [2, 3, 1], [3, 1, 2], [1, 2, 3]])
        world.produce(topic, 1, 5)
        with world.members(group, type, topic):
            world.commit(group, {})

            def stable() -> bool:
                told = described(world, group)
                assigned = [len(m.assignment.get(topic, ())) for m in told.members]
                # The first one to come has all partitions until the second one is there.
                return told.state == "Stable" and len(assigned) == 2 and sum(assigned) == 4

            world.until(stable, "the group is stable and fully assigned")
            node, listing = find_group(world, group)
            told = described(world, group)
            assert node in world.brokers
            assert (listing.protocol_type, listing.state, listing.type) == ("consumer", "Stable", type)
            assert (told.group, told.type, told.error) == (group, type, 0)
            assert told.protocol
            assert len(told.members) == len({m.member_id for m in told.members}) == 2
            assert sorted(p for m in told.members for p in m.assignment[topic]) == [0, 1, 2, 3]
            assert all(m.client_id for m in told.members)
            assert {m.host for m in told.members} == {"127.0.0.1"}
            epochs = (told.group_epoch, told.assignment_epoch)
            assert all(e is not None and e > 0 for e in epochs) if type == "consumer" else epochs == (None, None)

        def empty() -> bool:
            return described(world, group).state == "Empty"

        world.until(empty, "the members have left")
        assert described(world, group).members == ()

    def test_commits_with_and_without_metadata(self, world: World) -> None:
        world.reader.pulse()
        topic, other, group = world.name("a"), world.name("b"), world.name("committed")
        world.create_topic(topic, [[1, 2, 3]] * 3)
        world.create_topic(other, [[2, 3, 1]])
        # A commit beyond the end of a topic is accepted by Kafka.
        wanted = {
            (topic, 0): (3, ""),
            (topic, 1): (11, "from the batch of 07:00 – größer"),
            (topic, 2): (2**40, "x" * 300),
            (other, 0): (0, ""),
        }
        world.commit(group, wanted)
        table = committed(world, group)
        assert commits_of(table, group) == {tp: offset for tp, (offset, _) in wanted.items()}
        assert not table.error.any()
        assert table.group_errors.get(group, 0) == 0
        order = list(zip(table.group, table.topic, table.partition, strict=True))
        assert order == sorted(order)
        assert list(table.groups) == sorted(table.groups)
        assert list(table.topics) == sorted(table.topics)
        told = described(world, group)
        assert (told.state, told.members, told.error) == ("Empty", (), 0)

    def test_the_keys_of_commits_stay_the_same_objects_while_only_offsets_move(self, world: World) -> None:
        world.reader.pulse()
        topic, group = world.name("moving"), world.name("keys")
        world.create_topic(topic, [[1, 2, 3]] * 2)
        world.commit(group, {(topic, 0): (1, ""), (topic, 1): (1, "note")})
        first = committed(world, group)
        world.commit(group, {(topic, 0): (5, ""), (topic, 1): (6, "longer note")})
        second = committed(world, group)
        assert commits_of(first, group) == {(topic, 0): 1, (topic, 1): 1}
        assert commits_of(second, group) == {(topic, 0): 5, (topic, 1): 6}
        for column in ("groups", "topics", "group", "topic", "partition"):
            assert getattr(first, column) is getattr(second, column), column

    def test_many_groups_of_a_coordinator_in_one_request(self, world: World) -> None:
        world.reader.pulse()
        topic = world.name("shared")
        world.create_topic(topic, [[1, 2, 3]] * 2)
        groups = [world.name(f"many-{i}") for i in range(6)]
        for i, group in enumerate(groups):
            world.commit(group, {(topic, i % 2): (10 + i, "m" * (i % 3))})
        where = {group: find_group(world, group)[0] for group in groups}
        asked = {n: [g for g in groups if where[g] == n] for n in set(where.values())}
        before = Counter(world.reader.requests())
        answers = world.reader.committed_offsets(asked)
        assert Counter(world.reader.requests()) - before == Counter({("OffsetFetch", n): 1 for n in asked})
        for i, group in enumerate(groups):
            table = answers[where[group]].value
            assert table is not None
            assert commits_of(table, group) == {(topic, i % 2): 10 + i}

    def test_a_broker_that_does_not_coordinate_a_group_says_so(self, world: World) -> None:
        world.reader.pulse()
        topic, group = world.name("elsewhere"), world.name("elsewhere")
        world.create_topic(topic, [[1, 2, 3]])
        world.commit(group, {(topic, 0): (1, "")})
        node, listing = find_group(world, group)
        wrong = next(n for n in world.brokers if n != node)
        table = world.reader.committed_offsets({wrong: [group]})[wrong].value
        assert table is not None
        assert table.group_errors == {group: NOT_COORDINATOR}
        assert commits_of(table, group) == {}
        descriptions = world.reader.describe_groups({wrong: [listing]})[wrong].value
        assert descriptions is not None
        assert descriptions[group].error == NOT_COORDINATOR

    def test_a_group_that_is_gone_is_an_answer_not_a_failure(self, world: World) -> None:
        world.reader.pulse()
        topic, group = world.name("known"), world.name("known")
        world.create_topic(topic, [[1, 2, 3]])
        world.commit(group, {(topic, 0): (4, "")})
        node, listing = find_group(world, group)
        # A name that hashes to the same partition of __consumer_offsets: "Aa" and "BB" have one hash code.
        twin = [group + "Aa", group + "BB"]
        world.commit(twin[0], {(topic, 0): (4, "")})
        node, listing = find_group(world, twin[0])
        gone = GroupListing(twin[1], listing.protocol_type, "Empty", "classic")
        table = world.reader.committed_offsets({node: twin})[node].value
        assert table is not None
        assert commits_of(table, twin[0]) == {(topic, 0): 4}
        assert commits_of(table, twin[1]) == {}
        told = world.reader.describe_groups({node: [listing, gone]})[node].value
        assert told is not None
        assert told[twin[0]].state == "Empty"
        assert told[twin[1]].state == "Dead" or told[twin[1]].error == GROUP_ID_NOT_FOUND

    # --- log dirs and quorum

    def test_log_dirs_have_totals_and_every_replica(self, world: World) -> None:
        world.reader.pulse()
        topic = world.name("stored")
        world.create_topic(topic, [[1, 2], [3, 1]])
        world.produce(topic, 0, 50)
        world.produce(topic, 1, 50)
        holders = {1: {0, 1}, 2: {0}, 3: {1}}

        def sizes(node: int) -> Mapping[int, int]:
            table = world.reader.log_dirs([node])[node].value
            assert table is not None
            mine = [i for i in range(len(table.partition)) if table.topics[table.topic[i]] == topic]
            assert not table.is_future[mine].any()
            assert all(0 <= table.dir[i] < len(table.dirs) for i in mine)
            return {int(table.partition[i]): int(table.size[i]) for i in mine}

        def complete() -> bool:
            return all(set(sizes(n)) == held and min(sizes(n).values()) > 0 for n, held in holders.items())

        world.until(complete, "every replica has a size")
        for node in world.brokers:
            table = world.reader.log_dirs([node])[node].value
            assert table is not None
            assert table.dirs
            for directory in table.dirs:
                assert directory.error == 0
                assert directory.path
                assert directory.total_bytes is not None
                assert directory.usable_bytes is not None
                assert 0 < directory.usable_bytes <= directory.total_bytes

    def test_the_quorum_has_a_leader_whom_the_voters_follow(self, world: World) -> None:
        world.reader.pulse()
        told = world.reader.quorum()
        voters = {v.node: v for v in told.voters}
        assert set(voters) == set(world.controllers)
        assert told.leader in voters
        assert told.epoch > 0
        assert told.high_watermark > 0
        assert told.lag(voters[told.leader]) == 0
        for voter in voters.values():
            lag = told.lag(voter)
            assert lag is not None
            assert 0 <= lag < 1000
            assert voter.last_fetch_at is not None
            assert abs(world.now() - voter.last_fetch_at) < 30
            assert voter.last_caught_up_at is not None
        again = world.reader.quorum()
        assert (again.leader, again.epoch) == (told.leader, told.epoch)
        if world.version >= (4, 0):
            assert set(told.endpoints) == set(voters)

    # --- what it costs

    def test_requests_grow_with_brokers_not_with_topics_or_groups(self, world: World) -> None:
        def cycle() -> Counter[tuple[str, int]]:
            """One poll of everything, as (API, node) -> requests."""
            before = Counter(world.reader.requests())
            world.reader.pulse()
            table = world.reader.partitions()
            world.reader.min_insync_replicas(table.topics)
            listed = world.reader.list_groups(world.brokers)
            groups = {n: a.value for n, a in listed.items() if a.value}
            world.reader.describe_groups({n: [g for g in rows if g.type == "classic"] for n, rows in groups.items()})
            world.reader.committed_offsets({n: [g.group for g in rows] for n, rows in groups.items()})
            world.reader.offsets(table, END)
            world.reader.offsets(table, LAST_STABLE)
            world.reader.offsets(table, START)
            world.reader.log_dirs(world.brokers)
            world.reader.quorum()
            return Counter(world.reader.requests()) - before

        def add(count: int) -> None:
            for i in range(count):
                topic = world.name(f"cost-{i}")
                world.create_topic(topic, [[n] for n in world.brokers])
                world.commit(world.name(f"cost-{i}"), {(topic, 0): (1, "")})

        world.reader.pulse()
        add(6)
        cycle()
        few = cycle()
        add(6)
        many = cycle()
        assert few.total() >= 6
        assert max(many.values()) <= 3, "of no API more than three requests to one node"
        assert set(many) <= set(few) | {(api, n) for api in ("DescribeGroups", "OffsetFetch") for n in world.brokers}
        # Two are of the pulse, and one asks for the quorum.
        assert many.total() <= (8 + 2) * len(world.brokers) + 4 + 1

    # --- brokers that fail

    def test_a_dead_broker(self, fragile_world: World) -> None:
        """It is refused, hides nothing of the others, is fenced, and its leaders, coordinators and ISR move."""
        world = fragile_world
        world.reader.pulse()
        kept = world.name("kept")
        world.create_topic(kept, [[1, 2, 3]])
        groups = [world.name(f"survives-{i}") for i in range(12)]
        for group in groups:
            world.commit(group, {(kept, 0): (2, "before")})
        coordinated = {g: find_group(world, g)[0] for g in groups}
        dead = max(self._not_the_controller(world), key=list(coordinated.values()).count)
        victim = next(g for g, n in coordinated.items() if n == dead)
        others = [n for n in world.brokers if n != dead]
        topic, single = world.name("survives"), world.name("single")
        world.create_topic(topic, [[dead, *others]], {"min.insync.replicas": "3"})
        world.create_topic(single, [[dead], [others[0]]])
        world.produce(kept, 0, 5)
        world.until(lambda: {dead} <= set(world.reader.offsets(world.reader.partitions(), END)), "it leads")
        world.until(lambda: offsets_of(world.reader, kept, END) == {0: 5}, "all is well")
        table = world.reader.partitions()

        world.kill(dead)
        world.until(lambda: states(pulses(world.reader)[dead]) == REFUSED, "the port refuses")
        told = pulses(world.reader)
        assert all(states(told[n]) == ALL_OK for n in others)
        assert told[dead].view is None
        answers = world.reader.offsets(table, END)
        assert isinstance(answers[dead].error, Refused), answers[dead].error
        assert answers[dead].value is None
        assert all(a.error is None for n, a in answers.items() if n != dead)
        assert isinstance(world.reader.log_dirs(world.brokers)[dead].error, Refused)
        assert world.reader.list_groups([dead])[dead].error is not None

        def leader_moved() -> bool:
            rows = rows_of(world.reader.partitions(), topic)
            return rows[0].leader in others and dead not in rows[0].isr

        world.until(leader_moved, "another replica leads")
        (row,) = rows_of(world.reader.partitions(), topic)
        assert (row.offline, sorted(row.isr), row.error) == ((dead,), sorted(others), 0)
        leaderless, led = rows_of(world.reader.partitions(), single)
        assert (leaderless.leader, leaderless.error, led.leader) == (-1, 5, others[0])
        assert dead not in world.reader.offsets(world.reader.partitions(), END)
        # A new leader does not tell the end before its followers have fetched (OFFSET_NOT_AVAILABLE); below min ISR it may not tell it at all.
        world.until(lambda: offsets_of(world.reader, kept, END) == {0: 5}, "the new leader tells the end")
        self._dead_in_views(world, dead, others)
        self._elr_names(world, topic, dead)
        # The broker that was asked may be the dead one: then one call fails, and the next goes through another.
        left = set(world.controllers) - {dead}
        world.until(lambda: quorum_leader(world.reader) in left, "another broker tells of the quorum")

        def moved() -> bool:
            node, _ = find_group(world, victim)
            return node != dead and commits_of(committed(world, victim), victim) == {(kept, 0): 2}

        world.until(moved, "another coordinator has the group and its commits")

        world.start(dead)
        world.until(lambda: states(pulses(world.reader)[dead]) == ALL_OK, "it answers again")
        world.until(
            lambda: dead in rows_of(world.reader.partitions(), topic)[0].isr, "it is back in the in-sync replicas"
        )
        assert all(a.error is None for a in world.reader.log_dirs(world.brokers).values())

    def _not_the_controller(self, world: World) -> Sequence[int]:
        """Brokers whose death needs no election before metadata moves."""
        leader = world.reader.quorum().leader
        return [n for n in world.brokers if n != leader]

    def _dead_in_views(self, world: World, dead: int, others: Sequence[int]) -> None:
        expected: dict[int, bool | None] = dict.fromkeys(others, False) | {dead: True}
        if world.version < (4, 0):
            expected = dict.fromkeys(others)

        def seen() -> bool:
            views = [p.view for n, p in pulses(world.reader).items() if n in others]
            return all(view is not None and {n.id: n.fenced for n in view.brokers} == expected for view in views)

        # Before Kafka 4.1 (KIP-1166) a broker may learn half a second after another that the quorum has committed something.
        world.until(seen, f"every view says {expected}")

    def _elr_names(self, world: World, topic: str, dead: int) -> None:
        told = [(r.topic, r.partition, r.eligible_leader_replicas) for r in world.reader.elr([topic])]
        # Kafka 3.8 and 3.9 have the request, and no eligible leader replicas yet.
        assert told == ([(topic, 0, (dead,))] if world.version >= (4, 0) else [])

    def test_a_hung_broker(self, fragile_world: World) -> None:
        """It costs one bounded time-out, then it is skipped at once; the others answer meanwhile, and it comes back."""
        world = fragile_world
        world.reader.pulse()
        hung = self._not_the_controller(world)[-1]
        others = [n for n in world.brokers if n != hung]
        world.create_topic(world.name("led"), [[n] for n in world.brokers])
        assert all(a.error is None for a in world.reader.list_groups(world.brokers).values())

        world.hang(hung)
        told = pulses(world.reader)
        # The stop may come between the two answers.
        assert states(told[hung]) in {HUNG, HUNG_AFTER_API_VERSIONS}
        assert told[hung].view is None
        assert all(states(told[n]) == ALL_OK for n in others)
        told = pulses(world.reader)
        assert states(told[hung]) == SKIPPED
        assert all(states(told[n]) == ALL_OK for n in others)
        before = Counter(world.reader.requests())
        for answers in (
            world.reader.list_groups(world.brokers),
            world.reader.log_dirs(world.brokers),
            world.reader.committed_offsets({n: ["nobody"] for n in world.brokers}),
        ):
            assert isinstance(answers[hung].error, Skipped | TimedOut)
            assert all(answers[n].error is None and answers[n].value is not None for n in others)
        sent = Counter(world.reader.requests()) - before
        assert not [key for key in sent if key[1] == hung], "nothing is sent to a node that is skipped"
        assert world.name("led") in world.reader.partitions().topics

        world.resume(hung)
        world.until(lambda: states(pulses(world.reader)[hung]) == ALL_OK, "it is tried again and answers")
        world.until(lambda: world.reader.list_groups([hung])[hung].error is None, "its other connection works again")
