"""Share and streams groups, share offsets and offsets by time: bytes as Kafka's message definitions lay them out, and every cut of them refused."""

from __future__ import annotations

import struct
from collections.abc import Callable

import numpy as np
import pytest

from exporter.facts.partitions import Partition, PartitionTable
from exporter.kafka import share_groups, streams_groups, timed_offsets
from exporter.kafka.errors import BadAnswer
from exporter.kafka.fields import compact_length, compact_string

NULL, NONE, TAGS = b"\0", b"\1", b"\0"
"""A compact string that is null, an empty compact array, no tagged fields."""


def i16(value: int) -> bytes:
    return struct.pack(">h", value)


def i32(value: int) -> bytes:
    return struct.pack(">i", value)


def i64(value: int) -> bytes:
    return struct.pack(">q", value)


def array(*items: bytes) -> bytes:
    return compact_length(len(items)) + b"".join(items)


def strings(*texts: str) -> bytes:
    return array(*(compact_string(t) for t in texts))


def ints(*values: int) -> bytes:
    return array(*(i32(v) for v in values))


def share_describe() -> bytes:
    topic = bytes(16) + compact_string("orders") + ints(0, 2) + TAGS
    member = compact_string("m1") + NULL + i32(4) + compact_string("c1") + compact_string("/10.0.0.1")
    member += strings("orders") + array(topic) + TAGS + TAGS
    group = i16(0) + NULL + compact_string("dispatch") + compact_string("Stable") + i32(4) + i32(3)
    group += compact_string("simple") + array(member) + i32(-(2**31)) + TAGS
    return i32(0) + array(group) + TAGS


def share_offsets(version: int) -> bytes:
    def partition(index: int, start: int, lag: int, error: int = 0) -> bytes:
        told = i64(lag) if version else b""
        return i32(index) + i64(start) + i32(0) + told + i16(error) + NULL + TAGS

    topic = compact_string("orders") + bytes(16)
    topic += array(partition(1, 90, 10), partition(0, -1, -1), partition(2, 5, 6, 29)) + TAGS
    good = compact_string("dispatch") + array(topic) + i16(0) + NULL + TAGS
    bad = compact_string("absent") + NONE + i16(69) + compact_string("no such group") + TAGS
    return i32(0) + array(good, bad) + TAGS


def streams_describe() -> bytes:
    info = compact_string("joined") + i32(2) + i16(3) + array(compact_string("k") + compact_string("v") + TAGS) + TAGS
    sub = compact_string("0") + strings("orders", "payments") + strings("joined") + NONE + NONE + TAGS
    last = compact_string("1") + NONE + NONE + array(info) + array(info) + TAGS
    topology = b"\1" + i32(1) + array(sub, last) + TAGS
    tasks = array(compact_string("0") + ints(1, 0) + TAGS, compact_string("1") + ints(3) + TAGS)
    assignment = tasks + array(compact_string("1") + ints(0) + TAGS) + NONE + TAGS
    member = compact_string("m1") + i32(2) + compact_string("static") + NULL + compact_string("c1")
    member += compact_string("/10.0.0.1") + i32(1) + compact_string("process")
    member += b"\1" + compact_string("host") + struct.pack(">H", 8080) + TAGS
    member += array(compact_string("zone") + compact_string("a") + TAGS)
    member += array(compact_string("1") + i32(0) + i64(7) + TAGS) + NONE + assignment + assignment + b"\0" + TAGS
    group = i16(0) + NULL + compact_string("app") + compact_string("Stable") + i32(5) + i32(5)
    group += topology + array(member) + i32(0) + TAGS
    broken = i16(16) + NULL + compact_string("gone") + compact_string("") + i32(0) + i32(0) + b"\xff" + NONE
    return i32(0) + array(group, broken + i32(0) + TAGS) + TAGS


TABLE = PartitionTable.of([Partition(t, p, 1, 0, 0, (1,), (1,), ()) for t in ("orders", "payments") for p in range(3)])
ROWS = np.array([1, 2, 4], dtype=np.int64)
ASKED = np.array([10, 20, 30], dtype=np.int64)


def timed() -> bytes:
    def partition(index: int, error: int, stamp: int, offset: int) -> bytes:
        return i32(index) + i16(error) + i64(stamp) + i64(offset) + i32(7) + TAGS

    payments = compact_string("payments") + array(partition(1, 0, -1, -1)) + TAGS
    orders = compact_string("orders") + array(partition(2, 6, -1, -1), partition(1, 0, 11, 5)) + TAGS
    return i32(0) + array(payments, orders) + TAGS


def test_share_groups() -> None:
    told = share_groups.share_groups(share_describe())["dispatch"]
    assert (told.state, told.type, told.protocol, told.group_epoch, told.assignment_epoch) == (
        "Stable",
        "share",
        "simple",
        4,
        3,
    )
    (member,) = told.members
    assert (member.member_id, member.client_id, member.host, member.assignment) == (
        "m1",
        "c1",
        "10.0.0.1",
        {"orders": (0, 2)},
    )


@pytest.mark.parametrize("api", [share_groups.SHARE_OFFSETS_V0, share_groups.SHARE_OFFSETS_V1])
def test_share_offsets(api: share_groups.Api) -> None:
    told = share_groups.share_offsets(share_offsets(api.version), api)
    assert (told.groups, told.topics, told.group_errors) == (("absent", "dispatch"), ("orders",), {"absent": 69})
    assert told.partition.tolist() == [0, 1, 2]
    assert told.start_offset.tolist() == [-1, 90, -1]
    assert told.lag.tolist() == ([-1, 10, -1] if api.version else [-1, -1, -1])
    assert told.error.tolist() == [0, 0, 29]


def test_streams_groups_read_the_partitions_of_their_active_tasks() -> None:
    told = streams_groups.streams_groups(streams_describe())
    assert told["gone"].error == 16
    (member,) = told["app"].members
    assert member.assignment == {"joined": (3,), "orders": (0, 1), "payments": (0, 1)}
    assert (member.instance_id, member.host) == ("static", "10.0.0.1")


def test_offsets_by_time() -> None:
    told = timed_offsets.timed_offsets(timed(), TABLE, ROWS, ASKED)
    assert told.timestamp is not None and told.asked is not None
    assert told.rows.tolist() == [1, 2, 4]
    assert told.offset.tolist() == [5, -1, -1]
    assert told.timestamp.tolist() == [11, -1, -1]
    assert told.error.tolist() == [0, 6, 0]
    assert told.asked.tolist() == [10, 20, 30]
    with pytest.raises(BadAnswer, match="other partitions"):
        timed_offsets.timed_offsets(timed(), TABLE, ROWS[:2], ASKED[:2])


READERS: list[tuple[bytes, Callable[[bytes], object]]] = [
    (share_describe(), share_groups.share_groups),
    (share_offsets(1), lambda body: share_groups.share_offsets(body, share_groups.SHARE_OFFSETS_V1)),
    (streams_describe(), streams_groups.streams_groups),
    (timed(), lambda body: timed_offsets.timed_offsets(body, TABLE, ROWS, ASKED)),
]


@pytest.mark.parametrize(("body", "read"), READERS, ids=["share", "share offsets", "streams", "timed"])
def test_every_cut_and_every_surplus_is_a_bad_answer(body: bytes, read: Callable[[bytes], object]) -> None:
    read(body)
    for size in range(len(body)):
        with pytest.raises(BadAnswer):
            read(body[:size])
    with pytest.raises(BadAnswer):
        read(body + b"\0")
