"""What every KafkaReader promises about settings, quotas and features; runs on the cluster in memory and on real brokers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from exporter.facts.configs import DEFAULT_ENTITY, ConfigSource, Quota, Settings
from exporter.kafka.client import KafkaReader
from tests.exporter.kafka.contract import World


class ConfigsWorld(World, Protocol):
    """A world whose settings can be changed; what a test sets on a broker is taken back after it."""

    def set_broker_config(self, node: int | None, changes: Mapping[str, str]) -> None: ...
    def set_quota(self, quota: Quota) -> None: ...


def settings_of(reader: KafkaReader, node: int) -> Settings:
    answer = reader.broker_settings([node])[node]
    assert answer.error is None, answer.error
    assert answer.value is not None
    return answer.value


class ConfigsContract:
    """Beside the ReaderContract, whose fixture ``world`` gives a :class:`ConfigsWorld` here."""

    def test_broker_settings_with_their_sources(self, world: ConfigsWorld) -> None:
        world.reader.pulse()
        told = {n: settings_of(world.reader, n) for n in world.brokers}
        for node, settings in told.items():
            assert settings["node.id"].value == str(node)
            assert settings["node.id"].source is ConfigSource.STATIC
            assert settings["min.insync.replicas"].number() == 2
            assert settings["max.connections"].source is ConfigSource.DEFAULT
            assert settings["auto.create.topics.enable"].number() in (0, 1)
            password = settings["ssl.keystore.password"]
            assert (password.sensitive, password.value) == (True, None)

    def test_dynamic_settings_of_one_broker_and_of_all(self, world: ConfigsWorld) -> None:
        world.reader.pulse()
        first, second = world.brokers[:2]
        changes = {"max.connections": "1234"}
        world.set_broker_config(None, {"max.connections": "999"})
        world.set_broker_config(first, changes)

        def seen() -> bool:
            own, others = (settings_of(world.reader, n)["max.connections"] for n in (first, second))
            return (own.value, own.source, others.value, others.source) == (
                "1234", ConfigSource.DYNAMIC_BROKER, "999", ConfigSource.DYNAMIC_DEFAULT,
            )  # fmt: skip

        world.until(seen, "both brokers have their setting")
        assert settings_of(world.reader, first) is settings_of(world.reader, first)

    def test_topic_settings_in_force(self, world: ConfigsWorld) -> None:
        world.reader.pulse()
        own, plain, missing = world.name("kept-short"), world.name("kept"), world.name("missing")
        world.create_topic(own, [[1, 2, 3]], {"retention.ms": "3600000", "cleanup.policy": "compact,delete"})
        world.create_topic(plain, [[1, 2, 3]])
        world.until(lambda: {own, plain} <= set(world.reader.partitions().topics), "the topics are known")
        told = world.reader.topic_settings([own, plain, missing])
        assert set(told) == {own, plain}
        assert (told[own]["retention.ms"].value, told[own]["retention.ms"].source) == (
            "3600000",
            ConfigSource.DYNAMIC_TOPIC,
        )
        assert told[own]["cleanup.policy"].value == "compact,delete"
        assert told[plain]["retention.ms"].source is not ConfigSource.DYNAMIC_TOPIC
        assert told[plain]["unclean.leader.election.enable"].number() == 0
        assert world.reader.topic_settings([own, plain, missing]) is told, "the same object while nothing changed"
        assert world.reader.topic_settings([]) == {}

    def test_client_quotas(self, world: ConfigsWorld) -> None:
        world.reader.pulse()
        user = world.name("user")
        wanted = [
            Quota(user, None, None, "producer_byte_rate", 1_048_576.0),
            Quota(user, DEFAULT_ENTITY, None, "consumer_byte_rate", 2_000_000.0),
        ]
        for quota in wanted:
            world.set_quota(quota)
        world.until(
            lambda: (
                sorted(map(str, (q for q in world.reader.client_quotas() if q.user == user)))
                == sorted(map(str, wanted))
            ),
            "both quotas are told",
        )

    def test_features_of_every_broker(self, world: ConfigsWorld) -> None:
        for pulse in world.reader.pulse():
            features = pulse.features
            assert features is not None
            assert features.epoch >= 0
            lowest, highest = features.supported["metadata.version"]
            assert lowest <= features.finalized["metadata.version"] <= highest
            assert features.supported["kraft.version"][0] == 0, "what begins at level 0 is told too"
