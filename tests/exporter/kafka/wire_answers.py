"""The four large answers as kafka-python's own response objects, drawn by hypothesis, and their bytes with and without tagged fields."""

from __future__ import annotations

import struct
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hypothesis import strategies as st
from kafka.protocol.admin import DescribeLogDirsResponse
from kafka.protocol.consumer import ListOffsetsResponse, OffsetFetchResponse
from kafka.protocol.metadata import MetadataResponse

from exporter.facts.partitions import Partition, PartitionTable
from exporter.kafka.fields import compact_length

METADATA, LIST_OFFSETS, OFFSET_FETCH, LOG_DIRS = 12, 5, 8, 4
"""Versions."""

Broker = MetadataResponse.MetadataResponseBroker
Topic = MetadataResponse.MetadataResponseTopic
TopicPartition = Topic.MetadataResponsePartition
OffsetTopic = ListOffsetsResponse.ListOffsetsTopicResponse
PartitionOffset = OffsetTopic.ListOffsetsPartitionResponse
Group = OffsetFetchResponse.OffsetFetchResponseGroup
GroupTopic = Group.OffsetFetchResponseTopics
Commit = GroupTopic.OffsetFetchResponsePartitions
Dir = DescribeLogDirsResponse.DescribeLogDirsResult
DirTopic = Dir.DescribeLogDirsTopic
Replica = DirTopic.DescribeLogDirsPartition

INT16 = st.integers(-(2**15), 2**15 - 1)
INT32 = st.integers(-(2**31), 2**31 - 1)
INT64 = st.integers(-(2**63), 2**63 - 1)
NAMES = st.one_of(
    st.sampled_from(["orders", "orders.dlq", "billing", "__consumer_offsets", "größe", "話題", "🙂"]),
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=12),
)
PARTITIONS = st.integers(0, 2**31 - 1) | st.integers(0, 12)
ERRORS = st.sampled_from([0, 0, 0, 3, 5, 29, 56, -1]) | INT16


def few(of: st.SearchStrategy[Any], most: int = 6) -> st.SearchStrategy[list[Any]]:
    return st.lists(of, max_size=most)


def unlike(numbers: st.SearchStrategy[int], most: int = 8) -> st.SearchStrategy[list[int]]:
    return st.lists(numbers, max_size=most, unique=True)


# --- Metadata


@st.composite
def _topic_partitions(draw: st.DrawFn) -> list[Any]:
    """Now all of one shape, as nearly always, now of any."""
    replicas = st.lists(INT32, max_size=4)
    shapes = st.tuples(replicas, replicas, replicas)
    if draw(st.booleans()):
        one = draw(shapes)
        same = [st.lists(INT32, min_size=len(s), max_size=len(s)) for s in one]
        shapes = st.tuples(*same)
    rows = []
    for number in draw(unlike(PARTITIONS)):
        assigned, isr, offline = draw(shapes)
        rows.append(
            TopicPartition(
                version=METADATA,
                error_code=draw(ERRORS),
                partition_index=number,
                leader_id=draw(INT32),
                leader_epoch=draw(INT32),
                replica_nodes=assigned,
                isr_nodes=isr,
                offline_replicas=offline,
            )
        )
    return rows


@st.composite
def metadata(draw: st.DrawFn) -> Any:
    brokers = [
        Broker(
            version=METADATA,
            node_id=draw(INT32),
            host=draw(NAMES),
            port=draw(INT32),
            rack=draw(st.none() | st.just("") | NAMES),
        )
        for _ in range(draw(st.integers(0, 4)))
    ]
    topics = [
        Topic(
            version=METADATA,
            error_code=draw(ERRORS),
            name=name,
            topic_id=draw(st.just(uuid.UUID(int=0)) | st.uuids()),
            is_internal=draw(st.booleans()),
            partitions=draw(_topic_partitions()),
        )
        for name in draw(st.lists(NAMES, max_size=6, unique=True))
    ]
    return MetadataResponse(
        version=METADATA,
        throttle_time_ms=draw(INT32),
        brokers=brokers,
        cluster_id=draw(st.none() | NAMES),
        controller_id=draw(INT32),
        topics=topics,
    )


# --- ListOffsets


def table_of(partitions: Mapping[str, Sequence[int]]) -> PartitionTable:
    """A table of these partitions, all led by node 1."""
    return PartitionTable.of(
        [Partition(t, p, 1, 0, 0, (1,), (1,), ()) for t, numbers in partitions.items() for p in numbers]
    )


TABLES = st.dictionaries(NAMES, unlike(PARTITIONS).filter(bool), max_size=6).map(table_of)


@st.composite
def list_offsets(draw: st.DrawFn, table: PartitionTable) -> Any:
    """An answer for some partitions of the table, in any order."""
    topics = []
    for name in draw(st.permutations(table.topics)):
        numbers = draw(st.permutations(table.partition[table.rows_of(name)].tolist()))
        entries = [
            PartitionOffset(
                version=LIST_OFFSETS,
                partition_index=p,
                error_code=draw(ERRORS),
                timestamp=draw(INT64),
                offset=draw(INT64),
                leader_epoch=draw(INT32),
            )
            for p in numbers[: draw(st.integers(0, len(numbers)))]
        ]
        topics.append(OffsetTopic(version=LIST_OFFSETS, name=name, partitions=entries))
    return ListOffsetsResponse(version=LIST_OFFSETS, throttle_time_ms=draw(INT32), topics=topics)


# --- OffsetFetch


@st.composite
def offset_fetch(draw: st.DrawFn) -> Any:
    plain = draw(st.booleans())
    comments = st.just("") if plain else st.none() | st.just("") | NAMES | st.just("x" * 300)
    groups = [
        Group(
            version=OFFSET_FETCH,
            group_id=group,
            topics=[
                GroupTopic(
                    version=OFFSET_FETCH,
                    name=topic,
                    partitions=[
                        Commit(
                            version=OFFSET_FETCH,
                            partition_index=p,
                            committed_offset=draw(INT64),
                            committed_leader_epoch=draw(INT32),
                            metadata=draw(comments),
                            error_code=draw(ERRORS),
                        )
                        for p in draw(unlike(PARTITIONS))
                    ],
                )
                for topic in draw(st.lists(NAMES, max_size=4, unique=True))
            ],
            error_code=draw(ERRORS),
        )
        for group in draw(st.lists(st.just("") | NAMES, max_size=4, unique=True))
    ]
    return OffsetFetchResponse(version=OFFSET_FETCH, throttle_time_ms=draw(INT32), groups=groups)


# --- DescribeLogDirs


@st.composite
def log_dirs(draw: st.DrawFn) -> Any:
    sizes = st.just(-1) | INT64
    results = [
        Dir(
            version=LOG_DIRS,
            error_code=draw(ERRORS),
            log_dir=path,
            topics=[
                DirTopic(
                    version=LOG_DIRS,
                    name=topic,
                    partitions=[
                        Replica(
                            version=LOG_DIRS,
                            partition_index=p,
                            partition_size=draw(INT64),
                            offset_lag=draw(INT64),
                            is_future_key=draw(st.booleans()),
                        )
                        for p in draw(unlike(PARTITIONS))
                    ],
                )
                for topic in draw(st.lists(NAMES, max_size=4, unique=True))
            ],
            total_bytes=draw(sizes),
            usable_bytes=draw(sizes),
        )
        for path in draw(st.lists(NAMES, max_size=4, unique=True))
    ]
    return DescribeLogDirsResponse(version=LOG_DIRS, throttle_time_ms=draw(INT32), error_code=0, results=results)


# --- bytes


def encoded(message: Any) -> bytes:
    """By kafka-python's own encoder, which writes no tagged field that it does not know."""
    return bytes(message.encode())


def tagged(message: Any, draw_tags: Callable[[], Sequence[bytes]]) -> bytes:
    """A flexible message (KIP-482) with unknown tagged fields wherever the schema allows them."""
    return _tagged_struct(message._struct, message, message.version, draw_tags)


def _tagged_struct(schema: Any, item: Any, version: int, draw_tags: Callable[[], Sequence[bytes]]) -> bytes:
    parts = []
    for field in schema.untagged_fields(version):
        value = getattr(item, field.name)
        if field.is_struct_array():
            parts.append(compact_length(len(value)))
            parts += [_tagged_struct(field, entry, version, draw_tags) for entry in value]
        else:
            parts.append(bytes(field.encode(value, version=version, compact=True)))
    tags = draw_tags()
    parts.append(compact_length(len(tags) - 1))
    parts += [compact_length(number - 1) + compact_length(len(t) - 1) + t for number, t in enumerate(tags, 100)]
    return b"".join(parts)


TAGS = few(st.binary(max_size=4) | st.just(b"t" * 200), 2)


def big_endian(*numbers: tuple[str, int]) -> bytes:
    """Numbers by their struct codes."""
    return b"".join(struct.pack(">" + code, number) for code, number in numbers)
