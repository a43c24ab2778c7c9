"""ListOffsets v7: offsets with the timestamps of their records, asked for by a moment of each partition's own or as the largest timestamp (KIP-734)."""

from __future__ import annotations

import struct
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from exporter.facts.partitions import I64, OffsetRows, PartitionTable
from exporter.kafka.api import Api
from exporter.kafka.fields import FieldReader, compact_length, compact_string, read_all

TIMED_OFFSETS = Api("ListOffsets", 2, 7, True)

_ASKED = np.dtype([("partition", ">i4"), ("leader_epoch", ">i4"), ("timestamp", ">i8"), ("tags", "u1")])
_FOUND = np.dtype(
    [
        ("partition", ">i4"),
        ("error", ">i2"),
        ("timestamp", ">i8"),
        ("offset", ">i8"),
        ("leader_epoch", ">i4"),
        ("tags", "u1"),
    ]
)
_READ_UNCOMMITTED = 0


def timed_offsets_request(table: PartitionTable, rows: I64, timestamp: I64) -> bytes:
    """The body for these rows of the table (in their order), each with its own timestamp in Unix milliseconds."""
    asked = np.zeros(len(rows), _ASKED)
    asked["partition"] = table.partition[rows]
    asked["leader_epoch"] = -1
    asked["timestamp"] = timestamp
    topic = table.topic[rows]
    bounds = [*np.flatnonzero(np.diff(topic, prepend=-1)).tolist(), len(rows)]
    parts = [struct.pack(">ib", -1, _READ_UNCOMMITTED), compact_length(len(bounds) - 1)]
    for begin, end in pairwise(bounds):
        name = compact_string(table.topics[topic[begin]])
        parts += [name, compact_length(end - begin), asked[begin:end].tobytes(), b"\0"]
    return b"".join([*parts, b"\0"])


def timed_offsets(body: memoryview | bytes, table: PartitionTable, rows: I64, timestamp: I64) -> OffsetRows:
    """What the leader answered to exactly this question, in its order. Raises BadAnswer."""
    return read_all(body, TIMED_OFFSETS.name, lambda reader: _read(reader, table, rows, timestamp))


def _read(reader: FieldReader, table: PartitionTable, rows: I64, timestamp: I64) -> OffsetRows:
    reader.skip(4)
    firsts: list[int] = []
    counts: list[int] = []
    runs: list[bytes] = []
    for _ in range(reader.length(3)):
        name = reader.string()
        if name not in table.topic_index:
            raise reader.bad(f"topic {name} was not asked for")
        run = _read_partitions(reader)
        reader.tags()
        firsts.append(int(table.topic_starts[table.topic_index[name]]))
        counts.append(len(run) // _FOUND.itemsize)
        runs.append(run)
    reader.tags()
    found: npt.NDArray[Any] = np.frombuffer(b"".join(runs), _FOUND)
    answered = np.repeat(np.array(firsts, np.int64), counts) + found["partition"]
    place = np.argsort(answered, kind="stable")
    order = np.argsort(rows, kind="stable")
    if not np.array_equal(answered[place], rows[order]):
        raise reader.bad("other partitions than those that were asked for")
    good = found["error"][place] == 0
    return OffsetRows(
        table,
        rows[order],
        np.where(good, found["offset"][place], -1).astype(np.int64),
        found["error"][place].astype(np.int16),
        np.where(good, found["timestamp"][place], -1).astype(np.int64),
        timestamp[order],
    )


def _read_partitions(reader: FieldReader) -> bytes:
    """The entries of one topic as if none had tagged fields."""
    size = _FOUND.itemsize
    count = reader.length(size)
    begin, end = reader.at, reader.at + count * size
    if reader.body[begin + size - 1 : end : size].count(0) == count:
        return reader.take(end - begin)
    entries = []
    for _ in range(count):
        entries.append(reader.take(size - 1) + b"\0")
        reader.tags()
    return b"".join(entries)
