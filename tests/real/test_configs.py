"""Settings, features, drift, certificates and hidden topics on real brokers equal what Kafka's own tools and the demo's authority say."""

from __future__ import annotations

import datetime as dt
import re
import time
from collections.abc import Callable, Iterator

import pytest
from confluent_kafka.admin import ConfigResource, ResourceType

import demo
from demo import access, kafka, security
from exporter.collectors.base import Known
from exporter.collectors.certificates import CertificatesCollector, tls_listeners
from exporter.collectors.configs import ConfigsCollector
from exporter.config import ClusterConfig, JmxConfig
from exporter.derive.drift import drift
from exporter.facts.cluster import ClusterFacts
from exporter.facts.configs import Settings
from exporter.kafka.reader import Reader
from tests.on_cluster import reader_for
from tests.real.test_collectors import Watched

pytestmark = pytest.mark.real


@pytest.fixture
def reader(cluster: demo.Cluster) -> Iterator[Reader]:
    made = reader_for(cluster)
    made.pulse()
    yield made
    made.close()


def settings_of(reader: Reader, brokers: tuple[int, ...]) -> dict[int, Settings]:
    answers = reader.broker_settings(brokers)
    return {n: a.value for n, a in answers.items() if a.value is not None}


def wait_until(condition: Callable[[], object], what: str, limit: float = 60.0) -> None:
    end = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < end, f"not within {limit:g} s: {what}"
        time.sleep(0.2)


def test_settings_are_what_kafka_configs_tells(cluster: demo.Cluster, reader: Reader) -> None:
    broker = cluster.broker_ids[0]
    told = cluster.kafka_tool(
        "kafka.admin.ConfigCommand", "--bootstrap-server", cluster.bootstrap_servers,
        "--entity-type", "brokers", "--entity-name", str(broker), "--describe", "--all",
    )  # fmt: skip
    rows = re.findall(r"^  (\S+?)=(.*) sensitive=(true|false) synonyms=", told, re.MULTILINE)
    assert len(rows) > 200, told[:500]
    settings = settings_of(reader, (broker,))[broker]
    assert {name: s.value or "null" for name, s in settings.items() if not s.sensitive} == {
        name: value or "null" for name, value, secret in rows if secret == "false"
    }
    assert {name for name, s in settings.items() if s.sensitive} == {n for n, _, secret in rows if secret == "true"}
    assert all(s.value is None for s in settings.values() if s.sensitive)


def test_features_are_what_kafka_features_tells(cluster: demo.Cluster, reader: Reader) -> None:
    told = cluster.kafka_tool(
        "org.apache.kafka.tools.FeatureCommand", "--bootstrap-server", cluster.bootstrap_servers, "describe"
    )
    rows = re.findall(
        r"Feature: (\S+)\s+SupportedMinVersion: (\S+)\s+SupportedMaxVersion: (\S+)\s+FinalizedVersionLevel: (\S+)", told
    )
    assert rows, told
    features = {p.node: p.features for p in reader.pulse()}
    assert set(features) == set(cluster.broker_ids)
    for found in features.values():
        assert found is not None
        assert set(found.supported) == {name for name, _, _, _ in rows}
        for name, low, high, level in rows:
            if name != "metadata.version":  # which the tool tells by its name, not its number
                assert found.supported[name] == (int(low), int(high))
                assert found.finalized.get(name, 0) == int(level)
        assert found.finalized["metadata.version"] == found.supported["metadata.version"][1]


def test_drift_is_what_was_set_on_one_broker(cluster: demo.Cluster, reader: Reader) -> None:
    assert drift(settings_of(reader, cluster.broker_ids)) == {}
    broker = cluster.broker_ids[-1]
    kafka.alter_config(cluster.live, ConfigResource.Type.BROKER, str(broker), {"num.io.threads": "5"})
    try:
        wait_until(lambda: drift(settings_of(reader, cluster.broker_ids)), "the broker has its setting")
        values = drift(settings_of(reader, cluster.broker_ids))
        assert set(values) == {"num.io.threads"}
        assert values["num.io.threads"][broker] == "5"
        assert len(set(values["num.io.threads"].values())) == 2
    finally:
        kafka.alter_config(cluster.live, ConfigResource.Type.BROKER, str(broker), {"num.io.threads": None})


def test_a_poll_costs_a_request_per_broker_and_two(cluster: demo.Cluster, reader: Reader) -> None:
    nodes = reader.nodes()
    before = sum(reader.requests().values())
    polls = ConfigsCollector(reader, time.time).poll(Known(ClusterFacts(cluster.cluster_id, nodes, {})))
    assert polls.configs is not None
    assert set(polls.configs.parts) == set(cluster.broker_ids)
    assert sum(reader.requests().values()) - before == len(cluster.broker_ids) + 2


@pytest.mark.proof
def test_certificates_of_every_listener_accepted_or_not() -> None:
    """Node 2's certificate has expired: its listener is read all the same, and says why it is not accepted."""
    with demo.start(nodes=2, security=security.Security(also=("TLS",), jmx_tls=True)) as cluster:
        ended = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
        access.reissue(cluster, 2, valid_from=ended - dt.timedelta(days=30), valid_for=dt.timedelta(days=30))
        cluster.restart_node(2)
        section = cluster.klaxon_security(listener="TLS")
        servers = [cluster.address(n, "TLS") for n in cluster.broker_ids]
        config = ClusterConfig.model_validate({"bootstrap_servers": servers, "security": section})
        plain = Reader("demo", cluster.bootstrap_servers.split(","))
        tls = Reader("demo", config.bootstrap_servers, config.security)
        try:
            plain.pulse()
            settings = settings_of(plain, cluster.broker_ids)
            known = Known(ClusterFacts(cluster.cluster_id, plain.nodes(), {}), settings=settings)
            listeners = tls_listeners(known, entered_by_tls=False)
            assert [(at.node, at.name, at.address) for at in listeners] == [
                (n, "TLS", cluster.address(n, "TLS")) for n in cluster.broker_ids
            ]
            good, bad = tls.certificates(listeners)
            assert good.chain is not None
            assert bad.chain is not None
            assert (good.chain.verified, bad.chain.verified, bad.chain.problem) == (
                True,
                False,
                "certificate has expired",
            )
            assert good.chain.certificates[0].not_after > time.time()
            assert bad.chain.certificates[0].not_after == pytest.approx(ended.timestamp(), abs=2)
            assert all(s.chain is not None and s.chain.verified is None for s in plain.certificates(listeners))
            jmx = JmxConfig.model_validate({"transport": "jpype", **cluster.klaxon_jmx})
            polls = CertificatesCollector(tls, time.time, jmx.targets, jmx.access.tls).poll(known)
            assert polls.certificates is not None
            by_jmx = [
                s.chain
                for _, p in sorted(polls.certificates.parts.items())
                for s in p.value
                if s.listener.name == "JMX"
            ]
            assert [c.verified for c in by_jmx if c is not None] == [True, False]
            (own,) = tls.own_certificates()
            assert own.path == config.security.ca_file
            assert own.certificates[0].not_after > time.time()
        finally:
            plain.close()
            tls.close()


@pytest.mark.proof
def test_topics_that_may_not_be_seen_are_counted_and_rights_are_named() -> None:
    """A user with DESCRIBE on the cluster only sees no topic; JMX tells how many there are."""
    with demo.start(security=security.Security("SASL_PLAINTEXT", authorizer=True)) as cluster:
        for name in ("seen", "secret-1", "secret-2"):
            kafka.create_topic(cluster.live, name, assignment=[[1, 2, 3]])
        access.allow(cluster, "klaxon", resources=(ResourceType.BROKER,))
        watched = Watched(cluster)
        try:
            hidden = watched.until(lambda s: s.derived.hidden_topics, 90, "hidden topics are counted")
            assert hidden.derived.hidden_topics == 3
            failures = watched.until(lambda s: s.configs.failures, 30, "settings are asked for").configs.failures
            assert {f.kind for f in failures.values()} == {"denied"}
            assert "--operation DescribeConfigs --cluster" in next(iter(failures.values())).message
            access.allow(cluster, "klaxon", ("DESCRIBE",), (ResourceType.TOPIC,))
            watched.until(lambda s: s.derived.hidden_topics == 0, 90, "nothing is hidden any more")
        finally:
            watched.close()
