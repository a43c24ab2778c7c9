"""The bulk decoders say what kafka-python's own decoding says, requests ask for what was meant, and what did not change is the same object."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kafka.protocol.admin import DescribeLogDirsRequest, DescribeLogDirsResponse
from kafka.protocol.consumer import (
    ListOffsetsRequest,
    ListOffsetsResponse,
    OffsetFetchRequest,
    OffsetFetchResponse,
)
from kafka.protocol.metadata import MetadataRequest, MetadataResponse

from exporter.facts.groups import CommitTable
from exporter.facts.log_dirs import LogDir, LogDirTable
from exporter.facts.partitions import END, LAST_STABLE, START, OffsetRows, Partition, PartitionTable
from exporter.kafka import messages, wire
from exporter.kafka.api import Api
from exporter.kafka.errors import BadAnswer, BrokerError
from tests.exporter.kafka import wire_answers as answers
from tests.exporter.kafka.wire_answers import encoded, tagged

NO_LIMIT = settings(deadline=None, max_examples=60)
"""Examples take milliseconds; a busy machine must not fail them."""


def body_of(message: Any, data: st.DataObject) -> bytes:
    """Half of the flexible answers carry tagged fields."""
    if data.draw(st.booleans(), label="tagged"):
        return tagged(message, lambda: data.draw(answers.TAGS))
    return encoded(message)


# --- versions


@pytest.mark.parametrize(
    ("api", "version"),
    [
        (messages.METADATA, answers.METADATA),
        (messages.LIST_OFFSETS, answers.LIST_OFFSETS),
        (messages.OFFSET_FETCH, answers.OFFSET_FETCH),
        (messages.DESCRIBE_LOG_DIRS, answers.LOG_DIRS),
    ],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_the_versions_that_are_sent_are_those_that_are_tested(api: Api, version: int) -> None:
    assert api.version == version


# --- Metadata


def metadata_rows(body: bytes) -> list[Partition]:
    answer = MetadataResponse.decode(body, version=answers.METADATA)
    rows = [
        Partition(
            t.name,
            p.partition_index,
            p.leader_id,
            p.leader_epoch,
            p.error_code,
            tuple(p.replica_nodes),
            tuple(p.isr_nodes),
            tuple(p.offline_replicas),
        )
        for t in answer.topics
        for p in t.partitions
    ]
    return sorted(rows, key=lambda p: (p.topic, p.partition))


def test_metadata_request_asks_for_all_topics_and_creates_none() -> None:
    request = MetadataRequest.decode(wire.metadata_request(), version=answers.METADATA)
    assert request.topics is None
    assert request.allow_auto_topic_creation is False
    assert request.include_topic_authorized_operations is False


@NO_LIMIT
@given(answers.metadata(), st.data())
def test_metadata_is_what_kafka_python_decodes(message: Any, data: st.DataObject) -> None:
    body = body_of(message, data)
    decoder = wire.MetadataDecoder()
    table = decoder.decode(memoryview(body))
    assert list(table) == metadata_rows(body)
    topics = sorted(message.topics, key=lambda t: t.name)
    assert table.topics == tuple(t.name for t in topics)
    assert table.topic_ids == tuple(t.topic_id.hex if t.topic_id.int else "" for t in topics)
    assert table.internal.tolist() == [t.is_internal for t in topics]
    assert table.topic_index == {t.name: i for i, t in enumerate(topics)}
    assert [table.rows_of(t.name) for t in topics] == [
        slice(a, b) for a, b in zip(table.topic_starts[:-1], table.topic_starts[1:], strict=True)
    ]
    assert [len(t.partitions) for t in topics] == np.diff(table.topic_starts).tolist()
    assert decoder.topic_errors == {t.name: t.error_code for t in topics if t.error_code}
    assert_native(table.topic, table.partition, table.leader, table.leader_epoch, table.error, table.replicas.values)


@pytest.mark.parametrize("field", ["replica_nodes", "isr_nodes", "offline_replicas"])
@pytest.mark.parametrize("count", [126, 127, 200])
def test_metadata_takes_more_replicas_than_one_byte_counts(field: str, count: int) -> None:
    message = some_metadata()
    setattr(message.topics[0].partitions[1], field, list(range(count)))
    body = encoded(message)
    assert list(wire.MetadataDecoder().decode(body)) == metadata_rows(body)


def test_a_length_of_two_bytes_is_never_taken_for_one_of_one() -> None:
    """Read as one byte, the length would lead to the last byte of the ISR, taken for a list of one, and from there to a zero: a plausible partition."""
    message = some_metadata()
    partition = message.topics[0].partitions[1]
    partition.isr_nodes = [*range(126), 2]
    partition.offline_replicas = [256]
    body = encoded(message)
    assert list(wire.MetadataDecoder().decode(body)) == metadata_rows(body)


def test_metadata_reads_null_lists_as_empty() -> None:
    body = encoded(some_metadata(offline=0))
    empty_offline = b"\x01\x00"
    nulls = body.replace(b"\x00\x00\x00\x03" + empty_offline, b"\x00\x00\x00\x03\x00\x00")
    assert nulls != body
    assert list(wire.MetadataDecoder().decode(nulls)) == metadata_rows(body)


def some_metadata(topics: int = 3, partitions: int = 4, offline: int = 1) -> Any:
    """Topics of one shape, without errors."""
    listed = [
        answers.Topic(
            version=answers.METADATA,
            error_code=0,
            name=f"topic-{t}",
            is_internal=False,
            partitions=[
                answers.TopicPartition(
                    version=answers.METADATA,
                    error_code=0,
                    partition_index=p,
                    leader_id=1 + p % 3,
                    leader_epoch=7,
                    replica_nodes=[1, 2, 3],
                    isr_nodes=[1, 2, 3],
                    offline_replicas=[9] * offline,
                )
                for p in range(partitions)
            ],
        )
        for t in range(topics)
    ]
    broker = answers.Broker(version=answers.METADATA, node_id=1, host="kafka-1", port=9092, rack=None)
    return MetadataResponse(
        version=answers.METADATA,
        throttle_time_ms=0,
        brokers=[broker],
        cluster_id="cluster",
        controller_id=1,
        topics=listed,
    )


@pytest.mark.parametrize("field", ["throttle_time_ms", "controller_id", "brokers", "cluster_id"])
def test_the_table_stays_when_only_what_stands_before_the_topics_changes(field: str) -> None:
    message, decoder = some_metadata(), wire.MetadataDecoder()
    table = decoder.decode(encoded(message))
    changed = {"throttle_time_ms": 9, "controller_id": 3, "brokers": [], "cluster_id": "another"}
    setattr(message, field, changed[field])
    assert decoder.decode(encoded(message)) is table


def test_the_table_stays_when_another_broker_lists_in_another_order() -> None:
    message, decoder = some_metadata(), wire.MetadataDecoder()
    table = decoder.decode(encoded(message))
    message.topics.reverse()
    for topic in message.topics:
        topic.partitions.reverse()
    assert decoder.decode(encoded(message)) is table
    message.topics.reverse()
    assert decoder.decode(encoded(message)) is table


def changed_name(m: Any) -> None:
    m.topics[1].name = "other"


def changed_id(m: Any) -> None:
    m.topics[1].topic_id = uuid.UUID(int=7)


def changed_internal(m: Any) -> None:
    m.topics[1].is_internal = True


def set_on_partition(field: str, value: object) -> Callable[[Any], None]:
    def change(message: Any) -> None:
        setattr(message.topics[2].partitions[3], field, value)

    change.__name__ = field
    return change


CHANGES = [
    changed_name,
    changed_id,
    changed_internal,
    *(
        set_on_partition(f, v)
        for f, v in {
            "error_code": 5,
            "partition_index": 30,
            "leader_id": -1,
            "leader_epoch": 8,
            "replica_nodes": [1, 2, 4],
            "isr_nodes": [1, 2],
            "offline_replicas": [],
        }.items()
    ),
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda c: c.__name__)
def test_any_changed_fact_makes_a_new_table(change: Callable[[Any], None]) -> None:
    message, decoder = some_metadata(), wire.MetadataDecoder()
    table = decoder.decode(encoded(message))
    change(message)
    body = encoded(message)
    new = decoder.decode(body)
    assert new is not table
    assert list(new) == metadata_rows(body)


def test_topic_errors_are_those_of_the_newest_answer_though_no_partition_changed() -> None:
    message, decoder = some_metadata(), wire.MetadataDecoder()
    message.topics[0].partitions = []
    table = decoder.decode(encoded(message))
    assert decoder.topic_errors == {}
    message.topics[0].error_code = 29
    assert decoder.decode(encoded(message)) is table
    assert decoder.topic_errors == {"topic-0": 29}


# --- ListOffsets


@NO_LIMIT
@given(answers.TABLES, st.data())
def test_list_offsets_request_asks_for_the_rows_of_each_topic(table: PartitionTable, data: st.DataObject) -> None:
    wanted = data.draw(st.lists(st.booleans(), min_size=len(table), max_size=len(table)))
    rows = np.flatnonzero(np.array(wanted, np.bool_)).astype(np.int64)
    kind = data.draw(st.sampled_from([END, START]))
    request = ListOffsetsRequest.decode(wire.list_offsets_request(table, rows, kind), version=answers.LIST_OFFSETS)
    assert (request.replica_id, request.isolation_level) == (-1, int(kind is LAST_STABLE))
    assert [
        (t.name, p.partition_index, p.current_leader_epoch, p.timestamp) for t in request.topics for p in t.partitions
    ] == [(table.row(r).topic, table.row(r).partition, -1, kind.timestamp) for r in rows.tolist()]
    names = [t.name for t in request.topics]
    assert len(names) == len(set(names)), "a topic that is named twice is INVALID_REQUEST for some versions"


def offset_rows(body: bytes, table: PartitionTable) -> list[tuple[str, int, int, int]]:
    answer = ListOffsetsResponse.decode(body, version=answers.LIST_OFFSETS)
    return [
        (t.name, p.partition_index, -1 if p.error_code else p.offset, p.error_code)
        for t in answer.topics
        for p in t.partitions
    ]


def told(rows: OffsetRows) -> list[tuple[str, int, int, int]]:
    found = [rows.partitions.row(r) for r in rows.rows.tolist()]
    return [
        (p.topic, p.partition, o, e) for p, o, e in zip(found, rows.offset.tolist(), rows.error.tolist(), strict=True)
    ]


@NO_LIMIT
@given(answers.TABLES, st.data())
def test_list_offsets_is_what_kafka_python_decodes(table: PartitionTable, data: st.DataObject) -> None:
    decoder = wire.ListOffsetsDecoder()
    for _ in range(3):
        body = encoded(data.draw(answers.list_offsets(table)))
        rows = decoder.decode(memoryview(body), table)
        assert rows.partitions is table
        assert told(rows) == offset_rows(body, table)
        assert_native(rows.rows, rows.offset, rows.error)


ORDERS = answers.table_of({"orders": [0, 1, 2, 3], "billing": [0, 1]})


def some_offsets(*entries: tuple[str, int, int, int]) -> Any:
    """(topic, partition, error, offset) in this order; neighbours of one topic are in one list."""
    topics: list[Any] = []
    for topic, partition, error, offset in entries:
        if not topics or topics[-1].name != topic:
            topics.append(answers.OffsetTopic(version=answers.LIST_OFFSETS, name=topic, partitions=[]))
        topics[-1].partitions.append(
            answers.PartitionOffset(
                version=answers.LIST_OFFSETS,
                partition_index=partition,
                error_code=error,
                timestamp=-1,
                offset=offset,
                leader_epoch=4,
            )
        )
    return ListOffsetsResponse(version=answers.LIST_OFFSETS, throttle_time_ms=0, topics=topics)


def test_rows_of_offsets_stay_while_only_offsets_errors_and_throttling_change() -> None:
    decoder = wire.ListOffsetsDecoder()
    first = decoder.decode(
        encoded(some_offsets(("orders", 3, 0, 10), ("orders", 0, 0, 11), ("billing", 1, 0, 5))), ORDERS
    )
    message = some_offsets(("orders", 3, 6, -1), ("orders", 0, 0, 12), ("billing", 1, 0, 6))
    message.throttle_time_ms = 70
    second = decoder.decode(encoded(message), ORDERS)
    assert second.rows is first.rows
    assert told(second) == [("orders", 3, -1, 6), ("orders", 0, 12, 0), ("billing", 1, 6, 0)]


def test_rows_of_offsets_follow_another_order_and_another_table() -> None:
    decoder = wire.ListOffsetsDecoder()
    decoder.decode(encoded(some_offsets(("orders", 3, 0, 10), ("orders", 0, 0, 11))), ORDERS)
    body = encoded(some_offsets(("orders", 0, 0, 11), ("orders", 3, 0, 10)))
    assert told(decoder.decode(body, ORDERS)) == [("orders", 0, 11, 0), ("orders", 3, 10, 0)]
    grown = answers.table_of({"aaa": [0], "orders": [0, 3]})
    rows = decoder.decode(body, grown)
    assert rows.partitions is grown
    assert told(rows) == [("orders", 0, 11, 0), ("orders", 3, 10, 0)]


def test_rows_of_offsets_follow_names_of_equal_length() -> None:
    table, decoder = answers.table_of({"aaa": [0, 1], "bbb": [0, 1]}), wire.ListOffsetsDecoder()
    decoder.decode(encoded(some_offsets(("aaa", 0, 0, 1), ("bbb", 0, 0, 2))), table)
    body = encoded(some_offsets(("bbb", 0, 0, 1), ("aaa", 0, 0, 2)))
    assert told(decoder.decode(body, table)) == offset_rows(body, table)


@pytest.mark.parametrize("entry", [("gone", 0, 0, 1), ("orders", 9, 0, 1), ("orders", -1, 0, 1)])
def test_an_offset_that_nobody_asked_for_is_a_bad_answer(entry: tuple[str, int, int, int]) -> None:
    body = encoded(some_offsets(("billing", 0, 0, 3), entry))
    with pytest.raises(BadAnswer, match="not asked for"):
        wire.ListOffsetsDecoder().decode(body, ORDERS)


# --- OffsetFetch


@NO_LIMIT
@given(st.lists(answers.NAMES, max_size=200, unique=True))
def test_offset_fetch_request_asks_for_all_topics_of_each_group(groups: list[str]) -> None:
    request = OffsetFetchRequest.decode(wire.offset_fetch_request(groups), version=answers.OFFSET_FETCH)
    assert [g.group_id for g in request.groups] == groups
    assert all(g.topics is None for g in request.groups)
    assert request.require_stable is False


def commit_rows(body: bytes) -> list[tuple[str, str, int, int, int]]:
    answer = OffsetFetchResponse.decode(body, version=answers.OFFSET_FETCH)
    return sorted(
        (g.group_id, t.name, p.partition_index, p.committed_offset, p.error_code)
        for g in answer.groups
        for t in g.topics
        for p in t.partitions
    )


def committed(table: CommitTable) -> list[tuple[str, str, int, int, int]]:
    columns = (c.tolist() for c in (table.group, table.topic, table.partition, table.offset, table.error))
    return [(table.groups[g], table.topics[t], p, o, e) for g, t, p, o, e in zip(*columns, strict=True)]


@NO_LIMIT
@given(st.data())
def test_offset_fetch_is_what_kafka_python_decodes(data: st.DataObject) -> None:
    decoder = wire.OffsetFetchDecoder()
    for message in data.draw(st.lists(answers.offset_fetch(), min_size=1, max_size=3)):
        body = body_of(message, data)
        table = decoder.decode(memoryview(body))
        assert committed(table) == commit_rows(body)
        assert table.groups == tuple(sorted(g.group_id for g in message.groups))
        assert table.topics == tuple(sorted({t.name for g in message.groups for t in g.topics}))
        assert table.group_errors == {g.group_id: g.error_code for g in message.groups if g.error_code}
        assert_native(table.group, table.topic, table.partition, table.offset, table.error)


def some_commits(offset: int = 100, comment: str | None = "") -> Any:
    """Two groups on two topics, listed in no order."""

    def topic(name: str) -> Any:
        commits = [
            answers.Commit(
                version=answers.OFFSET_FETCH,
                partition_index=p,
                committed_offset=offset + p,
                committed_leader_epoch=-1,
                metadata=comment if p == 1 else "",
                error_code=0,
            )
            for p in (2, 0, 1)
        ]
        return answers.GroupTopic(version=answers.OFFSET_FETCH, name=name, partitions=commits)

    groups = [
        answers.Group(
            version=answers.OFFSET_FETCH, group_id=g, topics=[topic("orders"), topic("billing")], error_code=0
        )
        for g in ("shipping", "audit")
    ]
    return OffsetFetchResponse(version=answers.OFFSET_FETCH, throttle_time_ms=0, groups=groups)


KEYS = ("groups", "topics", "group", "topic", "partition")


@pytest.mark.parametrize("comment", ["", "a note", None, "n" * 5000], ids=["empty", "short", "null", "long"])
def test_key_columns_stay_while_only_offsets_move(comment: str | None) -> None:
    decoder = wire.OffsetFetchDecoder()
    first = decoder.decode(encoded(some_commits(100, comment)))
    message = some_commits(2**40, comment)
    message.throttle_time_ms = 3
    body = encoded(message)
    second = decoder.decode(body)
    assert committed(second) == commit_rows(body)
    assert [k for k in KEYS if getattr(second, k) is not getattr(first, k)] == []


def test_key_columns_stay_when_groups_come_in_another_order_or_get_a_note() -> None:
    decoder = wire.OffsetFetchDecoder()
    first = decoder.decode(encoded(some_commits()))
    for message in (some_commits(7), some_commits(8, "a note"), some_commits(9)):
        message.groups.reverse()
        body = encoded(message)
        table = decoder.decode(body)
        assert committed(table) == commit_rows(body)
        assert [k for k in KEYS if getattr(table, k) is not getattr(first, k)] == []


def test_errors_of_groups_and_commits_are_those_of_the_newest_answer() -> None:
    decoder = wire.OffsetFetchDecoder()
    assert decoder.decode(encoded(some_commits())).group_errors == {}
    message = some_commits()
    message.groups[0].error_code = 16
    message.groups[1].topics[0].partitions[0].error_code = 3
    body = encoded(message)
    table = decoder.decode(body)
    assert table.group_errors == {"shipping": 16}
    assert committed(table) == commit_rows(body)
    assert decoder.decode(encoded(some_commits())).group_errors == {}


def renamed_group(m: Any) -> None:
    m.groups[1].group_id = "bills"


def renamed_topic(m: Any) -> None:
    m.groups[1].topics[0].name = "errors"


def failed_group(m: Any) -> None:
    m.groups[1].error_code = 16


def failed_commit(m: Any) -> None:
    m.groups[1].topics[0].partitions[0].error_code = 3


@pytest.mark.parametrize(
    "change", [renamed_group, renamed_topic, failed_group, failed_commit], ids=lambda c: str(c.__name__)
)
def test_what_changes_without_changing_the_size_is_seen(change: Callable[[Any], None]) -> None:
    message, decoder = some_commits(), wire.OffsetFetchDecoder()
    before = encoded(message)
    decoder.decode(before)
    change(message)
    body = encoded(message)
    assert len(body) == len(before)
    table = decoder.decode(body)
    assert committed(table) == commit_rows(body)
    assert table.groups == tuple(sorted(g.group_id for g in message.groups))
    assert table.group_errors == {g.group_id: g.error_code for g in message.groups if g.error_code}


def test_a_new_commit_makes_new_key_columns() -> None:
    decoder = wire.OffsetFetchDecoder()
    first = decoder.decode(encoded(some_commits()))
    message = some_commits()
    message.groups[0].topics[0].partitions[0].partition_index = 8
    body = encoded(message)
    second = decoder.decode(body)
    assert second.partition is not first.partition
    assert committed(second) == commit_rows(body)


# --- DescribeLogDirs


def test_log_dirs_request_asks_for_all_topics() -> None:
    assert DescribeLogDirsRequest.decode(wire.log_dirs_request(), version=answers.LOG_DIRS).topics is None


Replicas = list[tuple[str, str, int, int, int, bool]]


def replica_rows(body: bytes) -> Replicas:
    answer = DescribeLogDirsResponse.decode(body, version=answers.LOG_DIRS)
    return sorted(
        (d.log_dir, t.name, p.partition_index, p.partition_size, p.offset_lag, p.is_future_key)
        for d in answer.results
        for t in d.topics
        for p in t.partitions
    )


def replicas(table: LogDirTable) -> Replicas:
    columns = (table.dir, table.topic, table.partition, table.size, table.offset_lag, table.is_future)
    return [
        (table.dirs[d].path, table.topics[t], p, size, lag, future)
        for d, t, p, size, lag, future in zip(*(c.tolist() for c in columns), strict=True)
    ]


@NO_LIMIT
@given(answers.log_dirs(), st.data())
def test_log_dirs_is_what_kafka_python_decodes(message: Any, data: st.DataObject) -> None:
    body = body_of(message, data)
    table = wire.LogDirsDecoder().decode(memoryview(body))
    assert sorted(replicas(table)) == replica_rows(body)
    assert table.dirs == tuple(
        LogDir(
            d.log_dir,
            d.error_code,
            d.total_bytes if d.total_bytes >= 0 else None,
            d.usable_bytes if d.usable_bytes >= 0 else None,
        )
        for d in message.results
    )
    keys = list(zip(table.dir.tolist(), table.topic.tolist(), table.partition.tolist(), strict=True))
    assert keys == sorted(keys)
    assert_native(table.dir, table.topic, table.partition, table.size, table.offset_lag, table.is_future)


@NO_LIMIT
@given(answers.log_dirs(), st.data())
def test_log_dirs_whose_sizes_move_are_read_as_if_for_the_first_time(message: Any, data: st.DataObject) -> None:
    decoder = wire.LogDirsDecoder()
    first = decoder.decode(encoded(message))
    number = st.integers(-1, 2**62)
    for d in message.results:
        d.total_bytes, d.usable_bytes = data.draw(number), data.draw(number)
        for partition in (p for t in d.topics for p in t.partitions):
            partition.partition_size, partition.offset_lag = data.draw(number), data.draw(number)
            if data.draw(st.integers(0, 9)) == 0:
                partition.is_future_key = not partition.is_future_key
    body = encoded(message)
    again, fresh = decoder.decode(body), wire.LogDirsDecoder().decode(body)
    assert (again.dirs, replicas(again)) == (fresh.dirs, replicas(fresh))
    if np.array_equal(first.is_future, fresh.is_future):
        assert again.topics is first.topics and again.partition is first.partition
    assert_native(again.size, again.offset_lag)


@pytest.mark.parametrize("code", [31, -1, 9999])
def test_an_error_of_the_whole_answer_is_raised_with_kafkas_code(code: int) -> None:
    message = DescribeLogDirsResponse(version=answers.LOG_DIRS, throttle_time_ms=0, error_code=code, results=[])
    with pytest.raises(BrokerError, match=f"error {code}") as raised:
        wire.LogDirsDecoder().decode(encoded(message))
    assert raised.value.code == code


def assert_native(*columns: np.ndarray[Any, Any]) -> None:
    """Columns are in the machine's byte order and of their own: no view keeps an answer alive."""
    for column in columns:
        assert column.dtype.isnative
        assert not isinstance(column.base, bytes | memoryview)
