"""Streams groups (KIP-1071): their members and tasks as partitions of the topics that they read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from exporter.facts.groups import GroupDescription, Member
from exporter.kafka.api import Api
from exporter.kafka.fields import FieldReader, read_all

STREAMS_GROUP_DESCRIBE = Api("StreamsGroupDescribe", 89, 0, True)

_Sources = Mapping[str, Sequence[str]]
"""Subtopology -> topics that it reads."""


def streams_groups(body: memoryview | bytes) -> Mapping[str, GroupDescription]:
    """StreamsGroupDescribe v0. An active task n of a subtopology reads partition n of each of its topics. Raises BadAnswer."""

    def read(reader: FieldReader) -> Mapping[str, GroupDescription]:
        reader.int32()
        found = [_group(reader) for _ in range(reader.length())]
        reader.tags()
        return {g.group: g for g in found}

    return read_all(body, STREAMS_GROUP_DESCRIBE.name, read)


def _group(reader: FieldReader) -> GroupDescription:
    error = reader.int16()
    reader.nullable()
    group, state, epoch, assigned = reader.string(), reader.string(), reader.int32(), reader.int32()
    sources = _topology(reader)
    members = tuple(_member(reader, sources) for _ in range(reader.length()))
    reader.int32()
    reader.tags()
    return GroupDescription(group, state, "streams", "", members, epoch, assigned, error)


def _topology(reader: FieldReader) -> _Sources:
    """Of a nullable struct: a byte says whether it is there."""
    if reader.take(1) == b"\xff":
        return {}
    reader.int32()
    sources = dict(_subtopology(reader) for _ in range(reader.length()))
    reader.tags()
    return sources


def _subtopology(reader: FieldReader) -> tuple[str, Sequence[str]]:
    name = reader.string()
    topics = [reader.string() for _ in range(reader.length())]
    for _ in range(reader.length()):
        reader.string()
    for _ in range(reader.length()):
        _topic_info(reader)
    topics += [_topic_info(reader) for _ in range(reader.length())]
    reader.tags()
    return name, topics


def _topic_info(reader: FieldReader) -> str:
    name = reader.string()
    reader.skip(6)
    _skip_pairs(reader)
    reader.tags()
    return name


def _skip_pairs(reader: FieldReader) -> None:
    for _ in range(reader.length()):
        reader.string()
        reader.string()
        reader.tags()


def _member(reader: FieldReader, sources: _Sources) -> Member:
    member = reader.string()
    reader.int32()
    instance = reader.nullable()
    reader.nullable()
    client, host = reader.string(), reader.string()
    reader.int32()
    reader.string()
    if reader.take(1) != b"\xff":
        reader.string()
        reader.skip(2)
        reader.tags()
    _skip_pairs(reader)
    for _ in range(2):
        for _ in range(reader.length()):
            reader.string()
            reader.skip(12)
            reader.tags()
    tasks = _assignment(reader)
    _assignment(reader)
    reader.skip(1)
    reader.tags()
    return Member(member, client, host.lstrip("/"), instance, _partitions(tasks, sources))


def _assignment(reader: FieldReader) -> Mapping[str, Sequence[int]]:
    """The active tasks; standby and warm-up tasks read no source."""
    active, _, _ = (_tasks(reader) for _ in range(3))
    reader.tags()
    return active


def _tasks(reader: FieldReader) -> Mapping[str, Sequence[int]]:
    tasks: dict[str, Sequence[int]] = {}
    for _ in range(reader.length()):
        name = reader.string()
        tasks[name] = [reader.int32() for _ in range(reader.length(4))]
        reader.tags()
    return tasks


def _partitions(tasks: Mapping[str, Sequence[int]], sources: _Sources) -> Mapping[str, tuple[int, ...]]:
    read: dict[str, set[int]] = {}
    for subtopology, numbers in tasks.items():
        for topic in sources.get(subtopology, ()):
            read.setdefault(topic, set()).update(numbers)
    return {topic: tuple(sorted(numbers)) for topic, numbers in sorted(read.items())}
