"""Bulk decoders for the four answers that come in thousands (Metadata, ListOffsets, OffsetFetch, DescribeLogDirs), and their requests.

Pure functions of bytes, big-endian as on the wire. Entries of one size are read with one ``numpy.frombuffer``; Python runs per topic, and per partition only
where entries differ in size. Layouts are those of Kafka's message definitions (``clients/src/main/resources/common/message``) in the versions named below.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from exporter.facts.groups import CommitTable
from exporter.facts.log_dirs import LogDir, LogDirTable
from exporter.facts.partitions import I32, I64, Bool, OffsetKind, OffsetRows, PartitionTable, Ragged
from exporter.kafka.fields import FieldReader, compact_length, compact_string, read_all
from exporter.kafka.messages import raise_for

Body = memoryview | bytes
Rows = npt.NDArray[Any]
"""A structured array, a record per entry."""

_NO_TAGS = b"\0"
_NULL_ARRAY = b"\0"

# --- Metadata v12: partitions and topic ids of every topic ------------------------------------------------------------


def metadata_request() -> bytes:
    """Metadata v12 of all topics, creating none and without authorized operations."""
    return _NULL_ARRAY + b"\0" + b"\0" + _NO_TAGS


_PARTITION_FIXED = 14
"""Bytes before a partition's three lists: error i16, partition i32, leader i32, leader epoch i32."""

Shape = tuple[int, int, int]
"""How many replicas, in-sync replicas and offline replicas a partition's entry has."""


def _partition_dtype(shape: Shape) -> np.dtype[Any]:
    replicas, isr, offline = shape
    return np.dtype(
        [
            ("error", ">i2"),
            ("partition", ">i4"),
            ("leader", ">i4"),
            ("leader_epoch", ">i4"),
            ("replicas_length", "u1"),
            ("replicas", ">i4", (replicas,)),
            ("isr_length", "u1"),
            ("isr", ">i4", (isr,)),
            ("offline_length", "u1"),
            ("offline", ">i4", (offline,)),
            ("tags", "u1"),
        ]
    )


class MetadataDecoder:
    """Decodes Metadata v12; hands out the same table as long as the topics in the answer are the same, whatever brokers and controller id it names."""

    def __init__(self) -> None:
        self._topics_bytes = b""
        self._table: PartitionTable | None = None
        self.topic_errors: Mapping[str, int] = {}
        """Topic -> Kafka's error code, of the topics in the newest answer that the broker could not or would not describe; they have no partitions."""

    def decode(self, body: Body) -> PartitionTable:
        """Raises BadAnswer, which leaves what is remembered as it was."""
        return read_all(body, "Metadata", self._read)

    def _read(self, reader: FieldReader) -> PartitionTable:
        _skip_brokers(reader)
        topics_bytes = reader.body[reader.at :]
        if self._table is not None and topics_bytes == self._topics_bytes:
            reader.at = reader.size
            return self._table
        table, topic_errors = _read_topics(reader)
        reader.end()
        # Another broker may list the same topics in another order.
        if self._table is None or not _same_partitions(table, self._table):
            self._table = table
        self._topics_bytes, self.topic_errors = topics_bytes, topic_errors
        return self._table


def _skip_brokers(reader: FieldReader) -> None:
    """Everything before the topics: throttle time, brokers, cluster id, controller id."""
    reader.skip(4)
    for _ in range(reader.length(11)):
        reader.skip(4)
        reader.nullable()
        reader.skip(4)
        reader.nullable()
        reader.tags()
    reader.nullable()
    reader.skip(4)


class _Topics:
    """What is gathered while the topics of one answer are walked."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.ids: list[str] = []
        self.internal: list[bool] = []
        self.errors: dict[str, int] = {}
        self.runs: dict[Shape, list[tuple[int, bytes]]] = {}
        """Shape -> (number of the topic, bytes of some of its partitions, all of this shape)."""


def _read_topics(reader: FieldReader) -> tuple[PartitionTable, Mapping[str, int]]:
    """The partitions, and the topics' own errors."""
    found = _Topics()
    for _ in range(reader.length(26)):
        error = reader.int16()
        name = reader.nullable()
        topic_id = reader.take(16)
        internal = reader.take(1) != b"\0"
        if name is None:
            raise reader.bad(f"a topic without a name before byte {reader.at}")
        _read_partitions(reader, len(found.names), found.runs)
        reader.skip(4)
        reader.tags()
        found.names.append(name)
        found.ids.append(topic_id.hex() if any(topic_id) else "")
        found.internal.append(internal)
        if error:
            found.errors[name] = error
    reader.tags()
    return _partition_table(found), found.errors


def _read_partitions(reader: FieldReader, topic: int, runs: dict[Shape, list[tuple[int, bytes]]]) -> None:
    count = reader.length(_PARTITION_FIXED + 4)
    if count == 0:
        return
    begin = reader.at
    shape, entry = _read_partition(reader)
    reader.at = begin
    if _uniform(reader, shape, len(entry), count):
        runs.setdefault(shape, []).append((topic, reader.take(count * len(entry))))
        return
    for _ in range(count):
        shape, entry = _read_partition(reader)
        runs.setdefault(shape, []).append((topic, entry))


def _read_partition(reader: FieldReader) -> tuple[Shape, bytes]:
    """Any partition: its shape, and its record as if its lengths took one byte each (their values are in the shape) and it had no tagged fields."""
    plain = _plain_shape(reader.body, reader.at)
    if plain is not None:
        return plain[0], reader.take(plain[1])
    fixed = reader.take(_PARTITION_FIXED)
    replicas, isr, offline = (reader.take(4 * reader.length(4)) for _ in range(3))
    reader.tags()
    shape = (len(replicas) // 4, len(isr) // 4, len(offline) // 4)
    return shape, b"".join((fixed, b"\0", replicas, b"\0", isr, b"\0", offline, _NO_TAGS))


def _plain_shape(body: bytes, at: int) -> tuple[Shape, int] | None:
    """Shape and size of the partition at ``at`` if its lengths take one byte each and it has no tagged fields, as nearly always.

    When a broker leaves, the partitions of every topic differ in shape, so this runs once per partition just then. Raises IndexError.
    """
    replicas = body[at + _PARTITION_FIXED]
    if not 0 < replicas < 0x80:
        return None
    # A length is one more than it counts, four bytes each.
    end = at + _PARTITION_FIXED + 4 * replicas - 3
    isr = body[end]
    if not 0 < isr < 0x80:
        return None
    end += 4 * isr - 3
    offline = body[end]
    if not 0 < offline < 0x80:
        return None
    end += 4 * offline - 3
    return ((replicas - 1, isr - 1, offline - 1), end + 1 - at) if body[end] == 0 else None


def _uniform(reader: FieldReader, shape: Shape, size: int, count: int) -> bool:
    """Whether ``count`` entries of this one shape follow: if every entry has the lengths of the first at their places, it also begins where we think."""
    body, begin, end = reader.body, reader.at, reader.at + count * size
    if end > reader.size:
        return False
    at = begin + _PARTITION_FIXED
    for length in shape:
        if body[at] > 0x7F or body[at:end:size].count(body[at]) != count:
            return False
        at += 1 + 4 * length
    return body[at:end:size].count(0) == count


def _partition_table(found: _Topics) -> PartitionTable:
    order = sorted(range(len(found.names)), key=found.names.__getitem__)
    names = tuple(found.names[i] for i in order)
    rank = np.empty(len(order), dtype=np.int32)
    rank[order] = np.arange(len(order), dtype=np.int32)
    blocks = [_block(shape, run, rank) for shape, run in found.runs.items()]
    topic = _joined([t for t, _ in blocks], np.int32)
    rows = [r for _, r in blocks]
    partition = _joined([r["partition"] for r in rows], np.int32)
    sorting = np.lexsort((partition, topic))
    topic = topic[sorting]
    return PartitionTable(
        names,
        tuple(found.ids[i] for i in order),
        np.array([found.internal[i] for i in order], dtype=np.bool_),
        topic,
        partition[sorting],
        _joined([r["leader"] for r in rows], np.int32)[sorting],
        _joined([r["leader_epoch"] for r in rows], np.int32)[sorting],
        _joined([r["error"] for r in rows], np.int16)[sorting],
        _ragged([r["replicas"] for r in rows], sorting),
        _ragged([r["isr"] for r in rows], sorting),
        _ragged([r["offline"] for r in rows], sorting),
        np.searchsorted(topic, np.arange(len(names) + 1)).astype(np.int64),
        {name: i for i, name in enumerate(names)},
    )


def _block(shape: Shape, run: Sequence[tuple[int, bytes]], rank: I32) -> tuple[I32, Rows]:
    """All partitions of one shape: their topics' ranks, and their records."""
    dtype = _partition_dtype(shape)
    counts = [len(raw) // dtype.itemsize for _, raw in run]
    rows = np.frombuffer(b"".join([raw for _, raw in run]), dtype)
    return np.repeat(rank[[t for t, _ in run]], counts), rows


def _joined(columns: Sequence[npt.NDArray[Any]], dtype: type[np.generic]) -> npt.NDArray[Any]:
    """Columns behind each other, in the machine's byte order."""
    return np.concatenate([np.empty(0, dtype), *columns]).astype(dtype, copy=False)


def _ragged(columns: Sequence[npt.NDArray[Any]], sorting: I64) -> Ragged:
    """Lists of one length per block, in the order ``sorting``."""
    counts = np.repeat(np.array([c.shape[1] for c in columns], np.int64), [c.shape[0] for c in columns])
    begins = np.cumsum(counts) - counts
    starts = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts[sorting], out=starts[1:])
    values = _joined([c.reshape(-1) for c in columns], np.int32)
    source = np.repeat(begins[sorting] - starts[:-1], counts[sorting]) + np.arange(len(values))
    return Ragged(values[source], starts)


def _same_partitions(new: PartitionTable, old: PartitionTable) -> bool:
    columns = ("internal", "topic", "partition", "leader", "leader_epoch", "error")
    lists = ("replicas", "isr", "offline")
    return (
        (new.topics, new.topic_ids) == (old.topics, old.topic_ids)
        and all(np.array_equal(getattr(new, c), getattr(old, c)) for c in columns)
        and all(np.array_equal(getattr(new, c).starts, getattr(old, c).starts) for c in lists)
        and all(np.array_equal(getattr(new, c).values, getattr(old, c).values) for c in lists)
    )


# --- answers whose entries keep their places while only numbers move --------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Skeleton:
    """Where the entries of an answer are: ``blocks`` of entries of one size, and the bytes between them (names, counts, errors).

    An answer of the same size with the same bytes between the blocks has its entries at the same places, since the counts of the blocks are among them.
    The first four bytes, the throttle time, are left out.
    """

    size: int
    blocks: tuple[tuple[int, int], ...]
    between: bytes

    @classmethod
    def of(cls, body: bytes, blocks: Sequence[tuple[int, int]]) -> _Skeleton:
        return cls(len(body), tuple(blocks), _between(body, blocks))

    def fits(self, body: bytes) -> bool:
        return len(body) == self.size and _between(body, self.blocks) == self.between

    def entries(self, body: bytes, dtype: np.dtype[Any]) -> Rows:
        """The records in all blocks."""
        return np.frombuffer(b"".join([body[begin:end] for begin, end in self.blocks]), dtype)


def _between(body: bytes, blocks: Sequence[tuple[int, int]]) -> bytes:
    ends = [4, *(end for _, end in blocks)]
    begins = [*(begin for begin, _ in blocks), len(body)]
    return b"".join([body[end:begin] for end, begin in zip(ends, begins, strict=True)])


# --- ListOffsets v5 ---------------------------------------------------------------------------------------------------

_ASKED = np.dtype([("partition", ">i4"), ("leader_epoch", ">i4"), ("timestamp", ">i8")])
_OFFSET = np.dtype(
    [("partition", ">i4"), ("error", ">i2"), ("timestamp", ">i8"), ("offset", ">i8"), ("leader_epoch", ">i4")]
)


def list_offsets_request(table: PartitionTable, rows: I64, kind: OffsetKind) -> bytes:
    """ListOffsets v5 for these rows of the table (in their order)."""
    asked = np.empty(len(rows), _ASKED)
    asked["partition"] = table.partition[rows]
    asked["leader_epoch"] = -1
    asked["timestamp"] = kind.timestamp
    topic = table.topic[rows]
    bounds = [*np.flatnonzero(np.diff(topic, prepend=-1)).tolist(), len(rows)]
    parts = [struct.pack(">ibi", -1, kind.isolation, len(bounds) - 1)]
    for begin, end in pairwise(bounds):
        name = table.topics[topic[begin]].encode()
        parts += [struct.pack(">h", len(name)), name, struct.pack(">i", end - begin), asked[begin:end].tobytes()]
    return b"".join(parts)


class ListOffsetsDecoder:
    """Decodes one broker's answers of ListOffsets v5; where entries keep their places, rows are not looked up again."""

    def __init__(self) -> None:
        self._table: PartitionTable | None = None
        self._skeleton = _Skeleton(0, (), b"")
        self._partition: Rows = np.empty(0, ">i4")
        self._rows: I64 = np.empty(0, np.int64)

    def decode(self, body: Body, table: PartitionTable) -> OffsetRows:
        """The offsets of the table's rows that the answer holds; ``rows`` is the same object while table and answer keep their order. Raises BadAnswer."""
        raw = bytes(body)
        if table is self._table and self._skeleton.fits(raw):
            entries = self._skeleton.entries(raw, _OFFSET)
            if np.array_equal(entries["partition"], self._partition):
                return _offset_rows(table, self._rows, entries)
        return read_all(raw, "ListOffsets", lambda reader: self._read(reader, table))

    def _read(self, reader: FieldReader, table: PartitionTable) -> OffsetRows:
        reader.skip(4)
        topics: list[int] = []
        blocks: list[tuple[int, int]] = []
        for _ in range(reader.bounded(reader.int32(), 6)):
            name = reader.text(reader.int16())
            if name not in table.topic_index:
                raise reader.bad(f"topic {name} was not asked for")
            count = reader.bounded(reader.int32(), _OFFSET.itemsize)
            begin = reader.skip(count * _OFFSET.itemsize)
            topics.append(table.topic_index[name])
            blocks.append((begin, reader.at))
        skeleton = _Skeleton.of(reader.body, blocks)
        entries = skeleton.entries(reader.body, _OFFSET)
        counts = [(end - begin) // _OFFSET.itemsize for begin, end in blocks]
        topic = np.repeat(np.array(topics, np.int64), counts)
        rows = _rows_of(reader, table, topic, entries["partition"].astype(np.int64))
        reader.end()
        self._table, self._skeleton, self._rows = table, skeleton, rows
        self._partition = entries["partition"]
        return _offset_rows(table, rows, entries)


def _rows_of(reader: FieldReader, table: PartitionTable, topic: I64, partition: I64) -> I64:
    """Row numbers in the table, which is sorted by topic and partition."""
    if len(topic) == 0:
        return np.empty(0, np.int64)
    keys = table.topic.astype(np.int64) << 32 | table.partition
    wanted = topic << 32 | partition
    rows = np.searchsorted(keys, wanted)
    found = rows < len(keys)
    found[found] = keys[rows[found]] == wanted[found]
    if not found.all():
        at = int(np.flatnonzero(~found)[0])
        raise reader.bad(f"partition {table.topics[topic[at]]}-{partition[at]} was not asked for")
    return rows.astype(np.int64, copy=False)


def _offset_rows(table: PartitionTable, rows: I64, entries: Rows) -> OffsetRows:
    error = entries["error"].astype(np.int16)
    return OffsetRows(table, rows, np.where(error == 0, entries["offset"], -1).astype(np.int64), error)


# --- OffsetFetch v8: all groups of a coordinator (KIP-709) ------------------------------------------------------------

_COMMIT = np.dtype(
    [
        ("partition", ">i4"),
        ("offset", ">i8"),
        ("leader_epoch", ">i4"),
        ("metadata_length", "u1"),
        ("error", ">i2"),
        ("tags", "u1"),
    ]
)
_COMMIT_METADATA_AT = 16
_EMPTY_METADATA = 1
_NO_METADATA = bytes((_EMPTY_METADATA,))


def offset_fetch_request(groups: Sequence[str]) -> bytes:
    """OffsetFetch v8 for every committed partition of these groups, unstable offsets (KIP-447) included."""
    parts = [compact_string(g) + _NULL_ARRAY + _NO_TAGS for g in groups]
    return compact_length(len(groups)) + b"".join(parts) + b"\0" + _NO_TAGS


class OffsetFetchDecoder:
    """Decodes one coordinator's answers of OffsetFetch v8; the columns that say which group, topic and partition are the same objects while only offsets move."""

    def __init__(self) -> None:
        self._last: CommitTable | None = None
        self._skeleton: _Skeleton | None = None
        self._entries: Rows = np.empty(0, _COMMIT)
        self._sorting: I64 = np.empty(0, np.int64)

    def decode(self, body: Body) -> CommitTable:
        """Raises BadAnswer."""
        raw = bytes(body)
        if self._last is not None and self._skeleton is not None and self._skeleton.fits(raw):
            entries = self._skeleton.entries(raw, _COMMIT)
            if self._same_keys(entries):
                return replace(self._last, offset=entries["offset"][self._sorting].astype(np.int64))
        return read_all(raw, "OffsetFetch", self._read)

    def _same_keys(self, entries: Rows) -> bool:
        fixed = ("partition", "metadata_length", "error", "tags")
        return all(np.array_equal(entries[name], self._entries[name]) for name in fixed)

    def _read(self, reader: FieldReader) -> CommitTable:
        found = _Commits()
        reader.skip(4)
        for _ in range(reader.length(4)):
            _read_group(reader, found)
        reader.tags()
        reader.end()
        raw = b"".join(found.runs)
        entries = np.frombuffer(raw, _COMMIT)
        table, self._sorting = _commit_table(found, entries)
        self._skeleton = _Skeleton.of(reader.body, found.blocks) if found.uniform else None
        self._entries = entries
        self._last = _with_known_keys(table, self._last)
        return self._last


class _Commits:
    """What is gathered while the groups of one answer are walked."""

    def __init__(self) -> None:
        self.groups: list[str] = []
        self.errors: dict[str, int] = {}
        self.topics: dict[str, int] = {}
        self.owners: list[tuple[int, int]] = []
        """Number of the group and of the topic, for each of ``runs``."""
        self.runs: list[bytes] = []
        """Entries as if no commit had metadata."""
        self.blocks: list[tuple[int, int]] = []
        self.uniform = True
        """Whether no commit has metadata, so that ``blocks`` covers all entries."""


def _read_group(reader: FieldReader, found: _Commits) -> None:
    name = reader.string()
    group = len(found.groups)
    found.groups.append(name)
    for _ in range(reader.length(3)):
        topic = found.topics.setdefault(reader.string(), len(found.topics))
        found.owners.append((group, topic))
        found.runs.append(_read_commits(reader, found))
        reader.tags()
    error = reader.int16()
    if error:
        found.errors[name] = error
    reader.tags()


def _read_commits(reader: FieldReader, found: _Commits) -> bytes:
    count = reader.length(_COMMIT.itemsize)
    begin, end = reader.at, reader.at + count * _COMMIT.itemsize
    lengths = reader.body[begin + _COMMIT_METADATA_AT : end : _COMMIT.itemsize]
    tags = reader.body[begin + _COMMIT.itemsize - 1 : end : _COMMIT.itemsize]
    # If every entry says at its place that its metadata is empty, the next one begins where we think.
    if end <= reader.size and lengths.count(_EMPTY_METADATA) == count and tags.count(0) == count:
        found.blocks.append((begin, end))
        return reader.take(end - begin)
    found.uniform = False
    return b"".join([_read_commit(reader) for _ in range(count)])


def _read_commit(reader: FieldReader) -> bytes:
    """Any commit, as the bytes of an entry without metadata and tagged fields."""
    body, begin = reader.body, reader.at
    length = body[begin + _COMMIT_METADATA_AT]
    end = begin + _COMMIT_METADATA_AT + length
    # Kafka Streams puts a few bytes of metadata on every commit: a length of one byte is read without a call.
    if 0 < length < 0x80 and end + 3 <= reader.size and body[end + 2] == 0:
        reader.at = end + 3
        return body[begin : begin + _COMMIT_METADATA_AT] + _NO_METADATA + body[end : end + 2] + _NO_TAGS
    fixed = reader.take(_COMMIT_METADATA_AT)
    reader.bytes_()
    error = reader.take(2)
    reader.tags()
    return fixed + _NO_METADATA + error + _NO_TAGS


def _commit_table(found: _Commits, entries: Rows) -> tuple[CommitTable, I64]:
    """The table, and the order of the entries in it."""
    groups, group_rank = _ranked(found.groups)
    topics, topic_rank = _ranked(list(found.topics))
    counts = [len(raw) // _COMMIT.itemsize for raw in found.runs]
    owners = np.array(found.owners, np.int64).reshape(-1, 2)
    group = np.repeat(group_rank[owners[:, 0]], counts)
    topic = np.repeat(topic_rank[owners[:, 1]], counts)
    partition = entries["partition"].astype(np.int32)
    sorting = np.lexsort((partition, topic, group)).astype(np.int64)
    table = CommitTable(
        groups,
        topics,
        group[sorting],
        topic[sorting],
        partition[sorting],
        entries["offset"].astype(np.int64)[sorting],
        entries["error"].astype(np.int16)[sorting],
        found.errors,
    )
    return table, sorting


def _ranked(names: Sequence[str]) -> tuple[tuple[str, ...], I32]:
    """The names sorted, and for each name as given its place among them."""
    order = sorted(range(len(names)), key=names.__getitem__)
    rank = np.empty(len(names), np.int32)
    rank[order] = np.arange(len(names), dtype=np.int32)
    return tuple(names[i] for i in order), rank


def _with_known_keys(new: CommitTable, old: CommitTable | None) -> CommitTable:
    """``new`` with the key columns of ``old`` where they say the same."""
    if (
        old is None
        or (new.groups, new.topics) != (old.groups, old.topics)
        or not all(np.array_equal(getattr(new, c), getattr(old, c)) for c in ("group", "topic", "partition"))
    ):
        return new
    return replace(new, groups=old.groups, topics=old.topics, group=old.group, topic=old.topic, partition=old.partition)


# --- DescribeLogDirs v4 -----------------------------------------------------------------------------------------------

_REPLICA = np.dtype([("partition", ">i4"), ("size", ">i8"), ("offset_lag", ">i8"), ("is_future", "u1"), ("tags", "u1")])


def log_dirs_request() -> bytes:
    """DescribeLogDirs v4 of every topic."""
    return _NULL_ARRAY + _NO_TAGS


class LogDirsDecoder:
    """Decodes one broker's answers of DescribeLogDirs v4 (KIP-113; totals KIP-827), rows sorted by dir, topic and partition.

    While replicas keep their places, only sizes and totals are read; ``topics`` and the columns that say which replica it is are the same objects then.
    """

    def __init__(self) -> None:
        self._last: LogDirTable | None = None
        self._skeleton = _Skeleton(0, (), b"")
        self._replicas: Sequence[tuple[int, int]] = ()
        self._totals: Sequence[int] = ()
        self._entries: Rows = np.empty(0, _REPLICA)
        self._sorting: I64 = np.empty(0, np.int64)

    def decode(self, body: Body) -> LogDirTable:
        """Raises BadAnswer, BrokerError."""
        raw = bytes(body)
        if self._last is not None and self._skeleton.fits(raw):
            entries = np.frombuffer(b"".join([raw[begin:end] for begin, end in self._replicas]), _REPLICA)
            if all(np.array_equal(entries[name], self._entries[name]) for name in ("partition", "is_future", "tags")):
                return self._moved(self._last, raw, entries)
        return read_all(raw, "DescribeLogDirs", self._read)

    def _moved(self, last: LogDirTable, raw: bytes, entries: Rows) -> LogDirTable:
        """The last table with the sizes and totals of this answer."""
        totals = [struct.unpack_from(">qq", raw, at) for at in self._totals]
        return replace(
            last,
            dirs=tuple(
                [
                    LogDir(d.path, d.error, _known(total), _known(usable))
                    for d, (total, usable) in zip(last.dirs, totals, strict=True)
                ]
            ),
            size=entries["size"][self._sorting].astype(np.int64),
            offset_lag=entries["offset_lag"][self._sorting].astype(np.int64),
        )

    def _read(self, reader: FieldReader) -> LogDirTable:
        found = _read_log_dirs(reader)
        reader.end()
        entries = np.frombuffer(b"".join(found.runs), _REPLICA)
        table, sorting = _log_dir_table(found, entries)
        self._last = None
        if found.uniform:
            self._last, self._sorting, self._entries = table, sorting, entries
            self._replicas, self._totals = found.blocks, found.totals
            self._skeleton = _Skeleton.of(reader.body, sorted([*found.blocks, *((at, at + 16) for at in found.totals)]))
        return table


class _Replicas:
    """What is gathered while the dirs of one answer are walked."""

    def __init__(self) -> None:
        self.dirs: list[LogDir] = []
        self.totals: list[int] = []
        """Where each dir's total and usable bytes begin."""
        self.topics: dict[str, int] = {}
        self.owners: list[tuple[int, int, int]] = []
        """Number of the dir, of the topic, and of entries, for each of ``runs``."""
        self.runs: list[bytes] = []
        """Entries as if none had tagged fields."""
        self.blocks: list[tuple[int, int]] = []
        self.uniform = True
        """Whether no entry has tagged fields, so that ``blocks`` covers all entries."""


def _read_log_dirs(reader: FieldReader) -> _Replicas:
    found = _Replicas()
    reader.skip(4)
    raise_for(reader.int16(), "DescribeLogDirs")
    for _ in range(reader.length(21)):
        code, path = reader.int16(), reader.string()
        for _ in range(reader.length(3)):
            topic = found.topics.setdefault(reader.string(), len(found.topics))
            raw = _read_replicas(reader, found)
            reader.tags()
            found.owners.append((len(found.dirs), topic, len(raw) // _REPLICA.itemsize))
            found.runs.append(raw)
        found.totals.append(reader.at)
        total, usable = reader.int64(), reader.int64()
        reader.tags()
        found.dirs.append(LogDir(path, code, _known(total), _known(usable)))
    reader.tags()
    return found


def _read_replicas(reader: FieldReader, found: _Replicas) -> bytes:
    count = reader.length(_REPLICA.itemsize)
    size = _REPLICA.itemsize
    begin, end = reader.at, reader.at + count * size
    if reader.body[begin + size - 1 : end : size].count(0) == count:
        found.blocks.append((begin, end))
        return reader.take(end - begin)
    found.uniform = False
    entries = []
    for _ in range(count):
        entries.append(reader.take(size - 1) + _NO_TAGS)
        reader.tags()
    return b"".join(entries)


def _known(size: int) -> int | None:
    return size if size >= 0 else None


def _log_dir_table(found: _Replicas, rows: Rows) -> tuple[LogDirTable, I64]:
    """The table, and the order of the entries in it."""
    topics, rank = _ranked(list(found.topics))
    owners = np.array(found.owners, np.int64).reshape(-1, 3)
    directory = np.repeat(owners[:, 0], owners[:, 2]).astype(np.int32)
    topic = np.repeat(rank[owners[:, 1]], owners[:, 2])
    partition = rows["partition"].astype(np.int32)
    sorting = np.lexsort((partition, topic, directory)).astype(np.int64)
    is_future: Bool = rows["is_future"][sorting] != 0
    table = LogDirTable(
        tuple(found.dirs),
        topics,
        directory[sorting],
        topic[sorting],
        partition[sorting],
        rows["size"].astype(np.int64)[sorting],
        rows["offset_lag"].astype(np.int64)[sorting],
        is_future,
    )
    return table, sorting
