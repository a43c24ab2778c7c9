"""Share groups (KIP-932): who is in them, and how far they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from exporter.facts.groups import GroupDescription, Member, ShareOffsetTable
from exporter.kafka.api import Api
from exporter.kafka.fields import FieldReader, compact_length, compact_string, read_all
from exporter.kafka.messages import topic_partitions

SHARE_GROUP_DESCRIBE = Api("ShareGroupDescribe", 77, 1, True)
SHARE_OFFSETS_V1 = Api("DescribeShareGroupOffsets", 90, 1, True)
"""With the lag (KIP-1226)."""
SHARE_OFFSETS_V0 = Api("DescribeShareGroupOffsets", 90, 0, True)

_Row = tuple[str, str, int, int, int, int]
"""Group, topic, partition, start offset, lag, error."""


def share_groups(body: memoryview | bytes) -> Mapping[str, GroupDescription]:
    """ShareGroupDescribe v1. Raises BadAnswer."""

    def read(reader: FieldReader) -> Mapping[str, GroupDescription]:
        reader.int32()
        found = [_group(reader) for _ in range(reader.length())]
        reader.tags()
        return {g.group: g for g in found}

    return read_all(body, SHARE_GROUP_DESCRIBE.name, read)


def _group(reader: FieldReader) -> GroupDescription:
    error = reader.int16()
    reader.nullable()
    group, state, epoch, assigned = reader.string(), reader.string(), reader.int32(), reader.int32()
    assignor = reader.string()
    members = tuple(_member(reader) for _ in range(reader.length()))
    reader.int32()
    reader.tags()
    return GroupDescription(group, state, "share", assignor, members, epoch, assigned, error)


def _member(reader: FieldReader) -> Member:
    member = reader.string()
    reader.nullable()
    reader.int32()
    client, host = reader.string(), reader.string()
    for _ in range(reader.length()):
        reader.string()
    assignment = topic_partitions(reader)
    reader.tags()
    return Member(member, client, host.lstrip("/"), None, assignment)


def share_offsets_request(groups: Sequence[str]) -> bytes:
    """DescribeShareGroupOffsets of every partition that these groups read."""
    return compact_length(len(groups)) + b"".join(compact_string(g) + b"\0\0" for g in groups) + b"\0"


def share_offsets(body: memoryview | bytes, api: Api) -> ShareOffsetTable:
    """DescribeShareGroupOffsets v0 or v1. Raises BadAnswer."""

    def read(reader: FieldReader) -> ShareOffsetTable:
        rows: list[_Row] = []
        errors: dict[str, int] = {}
        reader.int32()
        groups = [_offsets_of_group(reader, api.version >= 1, rows, errors) for _ in range(reader.length())]
        reader.tags()
        return share_table(groups, rows, errors)

    return read_all(body, api.name, read)


def _offsets_of_group(reader: FieldReader, with_lag: bool, rows: list[_Row], errors: dict[str, int]) -> str:
    group = reader.string()
    for _ in range(reader.length()):
        topic = reader.string()
        reader.skip(16)
        for _ in range(reader.length(18)):
            partition, start = reader.int32(), reader.int64()
            reader.int32()
            lag = reader.int64() if with_lag else -1
            error = reader.int16()
            reader.nullable()
            reader.tags()
            rows.append((group, topic, partition, start if not error else -1, lag if not error else -1, error))
        reader.tags()
    error = reader.int16()
    reader.nullable()
    reader.tags()
    if error:
        errors[group] = error
    return group


def share_table(groups: Sequence[str], rows: Sequence[_Row], errors: Mapping[str, int]) -> ShareOffsetTable:
    """The rows as columns."""
    names, topics = tuple(sorted(groups)), tuple(sorted({r[1] for r in rows}))
    ordered = sorted(rows)
    group_at = {g: i for i, g in enumerate(names)}
    topic_at = {t: i for i, t in enumerate(topics)}
    return ShareOffsetTable(
        names,
        topics,
        np.array([group_at[r[0]] for r in ordered], dtype=np.int32),
        np.array([topic_at[r[1]] for r in ordered], dtype=np.int32),
        np.array([r[2] for r in ordered], dtype=np.int32),
        np.array([r[3] for r in ordered], dtype=np.int64),
        np.array([r[4] for r in ordered], dtype=np.int64),
        np.array([r[5] for r in ordered], dtype=np.int16),
        dict(errors),
    )
