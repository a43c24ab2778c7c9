"""Families of the collector ``configs``: settings of brokers and topics, drift between brokers, quotas."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from exporter.derive.drift import Drift
from exporter.facts.configs import Quota, Settings, TopicSettings
from exporter.metrics.families.lasting import Blocks, Lasting, Row, trusted
from exporter.snapshot import Snapshot

BROKER_VALUES: Final = (
    "auto.create.topics.enable",
    "auto.leader.rebalance.enable",
    "background.threads",
    "controlled.shutdown.enable",
    "default.replication.factor",
    "delete.topic.enable",
    "group.consumer.session.timeout.ms",
    "group.max.session.timeout.ms",
    "group.max.size",
    "group.min.session.timeout.ms",
    "log.flush.interval.messages",
    "log.retention.bytes",
    "log.retention.check.interval.ms",
    "log.retention.ms",
    "log.segment.bytes",
    "max.connection.creation.rate",
    "max.connections",
    "max.connections.per.ip",
    "message.max.bytes",
    "min.insync.replicas",
    "num.io.threads",
    "num.network.threads",
    "num.partitions",
    "num.recovery.threads.per.data.dir",
    "num.replica.fetchers",
    "offsets.retention.minutes",
    "offsets.topic.replication.factor",
    "queued.max.requests",
    "replica.fetch.max.bytes",
    "replica.lag.time.max.ms",
    "socket.request.max.bytes",
    "transaction.max.timeout.ms",
    "transaction.state.log.min.isr",
    "transaction.state.log.replication.factor",
    "transactional.id.expiration.ms",
    "unclean.leader.election.enable",
)
"""The broker settings that are shown as numbers: what rules, capacity and audits ask for."""

_HOURS_AND_MINUTES: Final = (("log.retention.minutes", 60_000), ("log.retention.hours", 3_600_000))
_LONGEST: Final = 80
_POLICY: Final = "cleanup.policy"


def blocks(keep: Lasting, snapshot: Snapshot) -> Blocks:
    brokers = {b: p.value for b, p in sorted(snapshot.configs.fresh(snapshot.at).items())}
    drift = snapshot.derived.drift
    return keep.once("configs", (*brokers.values(), drift), lambda: _broker_blocks(keep, brokers, drift))


def _broker_blocks(keep: Lasting, brokers: Mapping[int, Settings], drift: Drift | None) -> Blocks:
    if not brokers:
        return []
    sources = {b: Counter(s.source.value for s in settings.values()) for b, settings in brokers.items()}
    made = [
        keep.block("kafka_broker_config_value", ("broker", "name"), _broker_values(brokers)),
        keep.block(
            "kafka_broker_config_settings",
            ("broker", "source"),
            (((str(b), source), count) for b, counts in sources.items() for source, count in sorted(counts.items())),
        ),
    ]
    if drift is None:
        return made
    return [
        *made,
        keep.block("kafka_config_drift", ("name",), (((n,), len(set(v.values()))) for n, v in drift.items())),
        keep.ones(
            "kafka_config_drift_info",
            ("broker", "name", "value"),
            [(str(b), name, _cut(value)) for name, values in drift.items() for b, value in values.items()],
        ),
    ]


def _broker_values(brokers: Mapping[int, Settings]) -> Iterable[tuple[Row, float]]:
    for broker, settings in brokers.items():
        for name in BROKER_VALUES:
            value = log_retention_ms(settings) if name == "log.retention.ms" else _number(settings, name)
            if value is not None:
                yield (str(broker), name), value


def log_retention_ms(settings: Settings) -> float | None:
    """``log.retention.ms``, which stands before the minutes, which stand before the hours (Kafka's broker configuration); -1 keeps forever."""
    value = _number(settings, "log.retention.ms")
    for name, factor in _HOURS_AND_MINUTES:
        coarse = _number(settings, name) if value is None else None
        value = value if coarse is None else coarse * factor if coarse >= 0 else coarse
    return value


def topic_blocks(keep: Lasting, snapshot: Snapshot) -> Blocks:
    topics = snapshot.topic_configs.value(snapshot.at)
    if topics is None:
        return []
    facts = trusted(snapshot, "topics", snapshot.topics)
    there = facts.partitions.topics if facts is not None else None
    return keep.once("topic configs", (topics, there), lambda: _topic_blocks(keep, _those(topics, there)))


def _those(topics: TopicSettings, there: Sequence[str] | None) -> TopicSettings:
    """Without topics that are gone: settings are asked for less often than topics."""
    return topics if there is None else {t: topics[t] for t in there if t in topics}


def _topic_blocks(keep: Lasting, topics: TopicSettings) -> Blocks:
    return [
        keep.block("kafka_topic_config_value", ("topic", "name"), _topic_values(topics)),
        keep.ones(
            "kafka_topic_cleanup_policy_info",
            ("topic", "policy"),
            [(t, settings[_POLICY].value or "") for t, settings in sorted(topics.items()) if _POLICY in settings],
        ),
    ]


def _topic_values(topics: TopicSettings) -> Iterable[tuple[Row, float]]:
    numbers: dict[int, list[tuple[str, float]]] = {}
    for topic, settings in sorted(topics.items()):
        # Topics that are alike share one object.
        if id(settings) not in numbers:
            found = ((name, _number(settings, name)) for name in sorted(settings))
            numbers[id(settings)] = [(name, value) for name, value in found if value is not None]
        for name, value in numbers[id(settings)]:
            yield (topic, name), value


def quota_blocks(keep: Lasting, snapshot: Snapshot) -> Blocks:
    quotas = snapshot.quotas.value(snapshot.at)
    return keep.once("quotas", (quotas,), lambda: _quota_blocks(keep, quotas)) if quotas is not None else []


def _quota_blocks(keep: Lasting, quotas: Sequence[Quota]) -> Blocks:
    rows = (((q.user or "", q.client_id or "", q.ip or "", q.key), q.value) for q in quotas)
    return [keep.block("kafka_quota", ("user", "client_id", "ip", "key"), rows)]


def _number(settings: Settings, name: str) -> float | None:
    setting = settings.get(name)
    return setting.number() if setting is not None else None


def _cut(value: str) -> str:
    return value if len(value) <= _LONGEST else value[: _LONGEST - 1] + "…"
