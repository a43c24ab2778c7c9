"""What the model's brokers and topics were told to do, in Kafka's words: a few settings each, as DescribeConfigs gives them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from exporter.facts.configs import ConfigSource, Features, Setting, Settings
from exporter.kafka.configs import TOPIC_KEYS

if TYPE_CHECKING:
    from tests.fakes.cluster import Broker, FakeCluster

BROKER_DEFAULTS: Mapping[str, str | None] = {
    "auto.create.topics.enable": "true",
    "log.retention.hours": "168",
    "log.retention.ms": None,
    "max.connections": "2147483647",
    "num.io.threads": "8",
    "num.network.threads": "3",
    "transaction.max.timeout.ms": "900000",
}
TOPIC_DEFAULTS: Mapping[str, str] = {
    "cleanup.policy": "delete",
    "max.message.bytes": "1048588",
    "retention.bytes": "-1",
    "retention.ms": "604800000",
    "segment.bytes": "1073741824",
    "segment.ms": "604800000",
    "unclean.leader.election.enable": "false",
}


def broker_settings(model: FakeCluster, broker: Broker) -> Settings:
    static = {"node.id": str(broker.id), "min.insync.replicas": str(model.min_isr)}
    found = {name: Setting(value, ConfigSource.DEFAULT) for name, value in BROKER_DEFAULTS.items()}
    found |= {name: Setting(value, ConfigSource.STATIC) for name, value in static.items()}
    for source, node in ((ConfigSource.DYNAMIC_DEFAULT, None), (ConfigSource.DYNAMIC_BROKER, broker.id)):
        found |= {n: Setting(v, source) for n, v in model.broker_configs.get(node, {}).items()}
    return {**found, "ssl.keystore.password": Setting(None, ConfigSource.DEFAULT, sensitive=True)}


def topic_settings(config: Mapping[str, str]) -> Settings:
    own = {name: Setting(config[name], ConfigSource.DYNAMIC_TOPIC) for name in TOPIC_KEYS if name in config}
    return {**{n: Setting(v, ConfigSource.DEFAULT) for n, v in TOPIC_DEFAULTS.items()}, **own}


def features(version: tuple[int, int]) -> Features:
    """As Kafka 4.3 and 3.9 have them."""
    level = 29 if version >= (4, 0) else 21
    supported = {"metadata.version": (7, level), "kraft.version": (0, 1)}
    return Features(supported, {"metadata.version": level}, 1000)
