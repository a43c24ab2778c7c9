"""Settings, drift, quotas and certificates as series: bounded, numeric, and nothing where nothing is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from exporter.collectors.base import Polls
from exporter.facts.certificates import Certificate, CertificateFile, Chain, Listener, Shown
from exporter.facts.cluster import ClusterFacts, Leg, LegName, LegState, Pulse
from exporter.facts.configs import DEFAULT_ENTITY, ConfigSource, Features, Quota, Setting, Settings
from exporter.facts.partitions import PartitionTable, TopicFacts
from exporter.metrics.families import Families, features
from exporter.metrics.families.configs import log_retention_ms, topic_blocks
from exporter.metrics.families.lasting import Blocks, Lasting
from exporter.reading import WHOLE_CLUSTER, Part, Poll
from exporter.runner.builder import Builder
from exporter.runner.readings import Readings
from tests.exporter.scripted import legs, node, partition

NOW = 1000.0
Series = dict[tuple[str, ...], float]


def told(**values: str | None) -> Settings:
    return {n.replace("_", "."): Setting(v, ConfigSource.STATIC) for n, v in values.items()}


def series(blocks: Blocks) -> dict[str, Series]:
    return {b.metric: dict(zip(map(tuple, b.labels.rows), b.values.tolist(), strict=True)) for b in blocks}


def of(owner: str, polls: Polls) -> dict[str, Series]:
    snapshot = Builder("test", (), ()).build(Readings.none({}).merged(polls, NOW, 0.1), {}, NOW)
    return series(Families().blocks(snapshot)[owner])


def test_broker_settings_and_drift() -> None:
    common = {"auto_create_topics_enable": "false", "log_retention_hours": "2", "log_retention_ms": None}
    brokers = {1: told(num_io_threads="8", **common), 2: told(num_io_threads="x" * 100, **common)}
    made = of("configs", Polls(configs=Poll({n: Part(s, NOW) for n, s in brokers.items()}, {}, frozenset(brokers))))
    assert made["kafka_broker_config_value"] == {
        ("1", "auto.create.topics.enable"): 0.0,
        ("1", "log.retention.ms"): 7_200_000.0,
        ("1", "num.io.threads"): 8.0,
        ("2", "auto.create.topics.enable"): 0.0,
        ("2", "log.retention.ms"): 7_200_000.0,
    }
    assert made["kafka_broker_config_settings"] == {("1", "static"): 4.0, ("2", "static"): 4.0}
    assert made["kafka_config_drift"] == {("num.io.threads",): 2.0}
    assert made["kafka_config_drift_info"] == {
        ("1", "num.io.threads", "8"): 1,
        ("2", "num.io.threads", "x" * 79 + "…"): 1,
    }


def test_one_broker_alone_says_nothing_of_drift() -> None:
    made = of("configs", Polls(configs=Poll({1: Part(told(num_io_threads="8"), NOW)})))
    assert "kafka_config_drift" not in made
    assert of("configs", Polls()) == {}


@pytest.mark.parametrize(
    ("settings", "value"),
    [
        (told(log_retention_ms="5", log_retention_minutes="1", log_retention_hours="168"), 5.0),
        (told(log_retention_ms=None, log_retention_minutes="1", log_retention_hours="168"), 60_000.0),
        (told(log_retention_ms=None, log_retention_minutes=None, log_retention_hours="-1"), -1.0),
        (told(), None),
    ],
)
def test_the_finest_retention_counts(settings: Settings, value: float | None) -> None:
    assert log_retention_ms(settings) == value


def test_topic_settings() -> None:
    topics = {"a": told(retention_ms="-1", cleanup_policy="compact"), "b": told(segment_bytes="100")}
    made = of("topic_configs", Polls(topic_configs=Poll({WHOLE_CLUSTER: Part(topics, NOW)})))
    assert made["kafka_topic_config_value"] == {("a", "retention.ms"): -1.0, ("b", "segment.bytes"): 100.0}
    assert made["kafka_topic_cleanup_policy_info"] == {("a", "compact"): 1}


def test_settings_of_a_topic_that_is_gone_go_with_it() -> None:
    settings = {"a": told(retention_ms="-1", cleanup_policy="compact"), "b": told(segment_bytes="100")}
    table = PartitionTable.of([partition(topic, 0, 1, [1]) for topic in ("b", "c")])
    facts = TopicFacts(table, np.ones(2, dtype=np.int32))
    polls = Polls(
        topic_configs=Poll({WHOLE_CLUSTER: Part(settings, NOW)}), topics=Poll({WHOLE_CLUSTER: Part(facts, NOW)})
    )
    snapshot = Builder("test", (), ()).build(Readings.none({}).merged(polls, NOW, 0.1), {}, NOW)
    assert "topics" in snapshot.derived.withdrawn, "no broker vouches for them here"
    assert len(series(topic_blocks(Lasting(), snapshot))["kafka_topic_config_value"]) == 2
    trusted = replace(snapshot, derived=replace(snapshot.derived, withdrawn=frozenset()))
    made = series(topic_blocks(Lasting(), trusted))
    assert made["kafka_topic_config_value"] == {("b", "segment.bytes"): 100.0}
    assert made["kafka_topic_cleanup_policy_info"] == {}


def test_quotas() -> None:
    quotas = (Quota("ann", DEFAULT_ENTITY, None, "producer_byte_rate", 1.5), Quota(None, None, "::1", "rate", 2.0))
    made = of("quotas", Polls(quotas=Poll({WHOLE_CLUSTER: Part(quotas, NOW)})))
    assert made["kafka_quota"] == {
        ("ann", "<default>", "", "producer_byte_rate"): 1.5,
        ("", "", "::1", "rate"): 2.0,
    }


def test_certificates() -> None:
    at = [Listener(n, "SSL", "kafka", 9000 + n) for n in (1, 2, 3)]
    mine, authority = Certificate("CN=b", "CN=ca", 0.0, 50.0), Certificate("CN=ca", "CN=ca", 0.0, 70.0)
    shown = [
        Shown(at[0], Chain((mine, authority, Certificate("CN=ca", "CN=old", 0.0, 60.0)), True)),
        Shown(at[1], Chain((mine,), False, "certificate has expired")),
        Shown(at[2], None, "refused", "connection refused"),
    ]
    made = of("certificates", Polls(certificates=Poll({s.listener.node: Part((s,), NOW) for s in shown})))
    assert made["kafka_certificate_expiry_timestamp_seconds"] == {
        ("1", "SSL", "kafka:9001", "CN=b"): 50.0,
        ("1", "SSL", "kafka:9001", "CN=ca"): 60.0,
        ("2", "SSL", "kafka:9002", "CN=b"): 50.0,
    }
    assert made["kafka_certificate_verified"] == {("1", "SSL", "kafka:9001"): 1.0, ("2", "SSL", "kafka:9002"): 0.0}
    assert set(made["kafka_certificate_problem"]) == {
        ("2", "SSL", "kafka:9002", "unverified", "certificate has expired"),
        ("3", "SSL", "kafka:9003", "refused", "connection refused"),
    }
    files = (CertificateFile("/ca.pem", (authority,)), CertificateFile("/mine.pem", (), "No such file or directory"))
    made = of("certificate_files", Polls(certificate_files=Poll({WHOLE_CLUSTER: Part(files, NOW)})))
    assert made["klaxon_certificate_expiry_timestamp_seconds"] == {("/ca.pem", "CN=ca"): 70.0}
    assert set(made["klaxon_certificate_file_problem"]) == {("/mine.pem", "No such file or directory")}


def test_features_of_those_that_answer_and_the_levels_of_the_one_that_read_furthest() -> None:
    def pulse(id: int, highest: int, level: int, epoch: int, state: LegState = LegState.OK) -> Pulse:
        tried: dict[LegName, Leg] = {LegName(name): leg for name, leg in legs(state).items()}
        return Pulse(
            id, tried, None, None, Features({"metadata.version": (7, highest)}, {"metadata.version": level}, epoch)
        )

    pulses = {1: pulse(1, 29, 25, 10), 2: pulse(2, 27, 26, 11), 3: pulse(3, 20, 20, 99, LegState.REFUSED)}
    made = series(features.blocks(Lasting(), ClusterFacts("id", {n: node(n) for n in pulses}, pulses)))
    assert made["kafka_feature_finalized_level"] == {("metadata.version",): 26.0}
    assert made["kafka_broker_feature_max_level"] == {
        ("1", "metadata.version"): 29.0,
        ("2", "metadata.version"): 27.0,
    }
