"""What is asked about settings and client quotas, and what the answers mean; read by hand, since a library's object per setting of every topic costs too much."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from exporter.facts.configs import DEFAULT_ENTITY, ConfigSource, Quota, Setting, Settings, TopicSettings
from exporter.kafka.api import Api
from exporter.kafka.errors import BadAnswer
from exporter.kafka.fields import FieldReader, compact_length, compact_string, read_all
from exporter.kafka.messages import raise_for

DESCRIBE_CONFIGS = Api("DescribeConfigs", 32, 4, True)
DESCRIBE_CLIENT_QUOTAS = Api("DescribeClientQuotas", 48, 1, True)

TOPIC_KEYS: Final = (
    "cleanup.policy",
    "max.message.bytes",
    "retention.bytes",
    "retention.ms",
    "segment.bytes",
    "segment.ms",
    "unclean.leader.election.enable",
)
"""The topic settings that are asked for: all of them would be 30 for each topic. min.insync.replicas is the collector ``topics``' own question."""

_TOPIC, _BROKER = 2, 4
_SOURCES: Final[Mapping[int, ConfigSource]] = {
    1: ConfigSource.DYNAMIC_TOPIC,
    2: ConfigSource.DYNAMIC_BROKER,
    3: ConfigSource.DYNAMIC_DEFAULT,
    4: ConfigSource.STATIC,
    5: ConfigSource.DEFAULT,
}
"""DescribeConfigsResponse.ConfigSource's ids."""
_ALIKE: Final = 16
"""So many different kinds of settings are remembered while an answer is read: most topics are like another one."""


def broker_settings_request(node: int, keys: Sequence[str] | None = None) -> bytes:
    """These settings of the broker that is asked, or all; no other knows what stands in its file."""
    return _request([(_BROKER, str(node))], keys)


def topic_settings_request(topics: Sequence[str], keys: Sequence[str] = TOPIC_KEYS) -> bytes:
    return _request([(_TOPIC, t) for t in topics], keys)


def _request(resources: Sequence[tuple[int, str]], keys: Sequence[str] | None) -> bytes:
    """DescribeConfigs v4: resources, then "without synonyms, without documentation"."""
    wanted = b"\0" if keys is None else compact_length(len(keys)) + b"".join(map(compact_string, keys))
    rows = (struct.pack(">b", kind) + compact_string(name) + wanted + b"\0" for kind, name in resources)
    return compact_length(len(resources)) + b"".join(rows) + b"\0\0\0"


def broker_settings(body: memoryview) -> Settings:
    """The settings of the one broker that was asked for. Raises BadAnswer, BrokerError."""
    rows = read_all(body, DESCRIBE_CONFIGS.name, lambda r: list(_resources(r)))
    if len(rows) != 1:
        raise BadAnswer(f"one broker was asked for, {len(rows)} came", request=DESCRIBE_CONFIGS.name)
    error, _, settings = rows[0]
    raise_for(error, DESCRIBE_CONFIGS.name)
    return settings


def topic_settings(body: memoryview) -> TopicSettings:
    """Raises BadAnswer; BrokerError where no topic at all may be described."""
    rows = read_all(body, DESCRIBE_CONFIGS.name, lambda r: list(_resources(r)))
    if rows and all(error for error, _, _ in rows):
        raise_for(rows[0][0], DESCRIBE_CONFIGS.name)
    return {name: settings for error, name, settings in rows if not error}


def broker_values(body: memoryview) -> Mapping[str, str]:
    """Those settings of the one broker that have a value, as text. Raises BadAnswer, BrokerError."""
    return _values(broker_settings(body))


def topic_values(body: memoryview) -> Mapping[str, Mapping[str, str]]:
    """Topic -> the settings that have a value, as text; topics with an error are left out. Raises BadAnswer."""
    rows = read_all(body, DESCRIBE_CONFIGS.name, lambda r: list(_resources(r)))
    return {name: _values(settings) for error, name, settings in rows if not error}


def _values(settings: Settings) -> Mapping[str, str]:
    return {name: setting.value for name, setting in settings.items() if setting.value is not None}


def _resources(reader: FieldReader) -> Iterable[tuple[int, str, Settings]]:
    """Error code, name and settings of each resource."""
    reader.int32()
    seen: list[tuple[bytes, Settings]] = []
    for _ in range(reader.length()):
        error = reader.int16()
        reader.nullable()
        reader.int8()
        name = reader.string()
        yield error, name, _settings(reader, seen)
        reader.tags()
    reader.tags()


def _settings(reader: FieldReader, seen: list[tuple[bytes, Settings]]) -> Settings:
    """The settings at the reader's place; the same bytes as before are the same object, and are stepped over."""
    begin = reader.at
    for raw, settings in seen:
        if reader.body.startswith(raw, begin):
            reader.skip(len(raw))
            return settings
    settings = dict(_setting(reader) for _ in range(reader.length()))
    if len(seen) < _ALIKE:
        seen.append((reader.body[begin : reader.at], settings))
    return settings


def _setting(reader: FieldReader) -> tuple[str, Setting]:
    name, value = reader.string(), reader.nullable()
    reader.int8()
    source = _SOURCES.get(reader.int8(), ConfigSource.OTHER)
    sensitive = bool(reader.int8())
    for _ in range(reader.length()):
        reader.string()
        reader.nullable()
        reader.int8()
        reader.tags()
    reader.int8()
    reader.nullable()
    reader.tags()
    return name, Setting(None if sensitive else value, source, sensitive)


def client_quotas_request() -> bytes:
    """DescribeClientQuotas v1 without a filter: no components, not strict."""
    return b"\x01\0\0"


def client_quotas(body: memoryview) -> tuple[Quota, ...]:
    """Every quota, sorted. Raises BadAnswer, BrokerError."""

    def read(reader: FieldReader) -> tuple[int, list[Quota]]:
        reader.int32()
        error = reader.int16()
        reader.nullable()
        found = [q for _ in range(reader.length()) for q in _quotas(reader)]
        reader.tags()
        return error, found

    error, found = read_all(body, DESCRIBE_CLIENT_QUOTAS.name, read)
    raise_for(error, DESCRIBE_CLIENT_QUOTAS.name)
    return tuple(sorted(found, key=lambda q: (q.user or "", q.client_id or "", q.ip or "", q.key)))


def _quotas(reader: FieldReader) -> list[Quota]:
    """The limits of one entity."""
    entity: dict[str, str] = {}
    for _ in range(reader.length()):
        kind, name = reader.string(), reader.nullable()
        entity[kind] = DEFAULT_ENTITY if name is None else name
        reader.tags()
    values: list[tuple[str, float]] = []
    for _ in range(reader.length()):
        values.append((reader.string(), reader.float64()))
        reader.tags()
    reader.tags()
    return [Quota(entity.get("user"), entity.get("client-id"), entity.get("ip"), k, v) for k, v in values]
