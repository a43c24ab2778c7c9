"""The collectors ``configs`` and ``certificates`` on answers set by hand: one question that fails hides nothing of the others."""

from __future__ import annotations

import pytest

from exporter.collectors.base import Known
from exporter.collectors.certificates import CertificatesCollector, tls_listeners
from exporter.collectors.configs import ConfigsCollector
from exporter.facts.certificates import CertificateFile, Listener, Shown
from exporter.facts.cluster import ClusterFacts
from exporter.facts.configs import ConfigSource, Setting, Settings
from exporter.jmx.access import TlsFiles
from exporter.kafka.errors import BrokerError
from exporter.reading import WHOLE_CLUSTER
from tests.exporter.scripted import Cluster
from tests.fakes.clock import FakeClock


@pytest.fixture
def cluster() -> Cluster:
    return Cluster(FakeClock(1000.0))


def known(cluster: Cluster, settings: dict[int, Settings] | None = None) -> Known:
    return Known(ClusterFacts("cluster-id", dict(cluster.brokers), {}), settings=settings)


def told(**settings: str) -> Settings:
    return {n.replace("_", "."): Setting(v, ConfigSource.STATIC) for n, v in settings.items()}


TLS = told(
    advertised_listeners="CLIENTS://kafka-1:9093,PLAINTEXT://kafka-1:9092,SSL://[::1]:9094",
    listener_security_protocol_map="CLIENTS:SASL_SSL,PLAINTEXT:PLAINTEXT,SSL:SSL,CONTROLLER:SSL",
    controller_listener_names="CONTROLLER",
    controller_quorum_voters="101@control-1:9095,102@control-2:9095",
)
VOTERS = [Listener(101, "CONTROLLER", "control-1", 9095), Listener(102, "CONTROLLER", "control-2", 9095)]


def test_a_dead_broker_and_a_missing_right_hide_nothing_else(cluster: Cluster) -> None:
    cluster.dead.add(2)
    cluster.replies["client_quotas"] = BrokerError(31, "CLUSTER_AUTHORIZATION_FAILED", request="DescribeClientQuotas")
    polls = ConfigsCollector(cluster, cluster.clock).poll(known(cluster))
    assert polls.configs is not None and polls.topic_configs is not None and polls.quotas is not None
    assert set(polls.configs.parts) == {1, 3}
    assert polls.configs.expected == {1, 2, 3}
    assert polls.configs.failures[2].kind == "refused"
    assert set(polls.topic_configs.parts) == {WHOLE_CLUSTER}
    denied = polls.quotas.failures[WHOLE_CLUSTER]
    assert denied.kind == "denied"
    assert "kafka-acls.sh" in denied.message
    assert "--operation DescribeConfigs --cluster" in denied.message


def test_listeners_that_speak_tls(cluster: Cluster) -> None:
    assert tls_listeners(known(cluster, {1: TLS}), entered_by_tls=False) == [
        Listener(1, "SSL", "::1", 9094),
        Listener(1, "CLIENTS", "kafka-1", 9093),
        *VOTERS,
    ]
    own = [Listener(n, "", f"kafka-{n}", 9092) for n in (1, 2, 3)]
    assert tls_listeners(known(cluster), entered_by_tls=True) == own
    assert tls_listeners(known(cluster), entered_by_tls=False) == []


def test_listeners_that_are_not_advertised_by_another_name(cluster: Cluster) -> None:
    settings = told(listeners="SSL://:9093,PLAINTEXT://10.0.0.1:9092,SASL_SSL://0.0.0.0:9094")
    assert tls_listeners(known(cluster, {2: settings}), entered_by_tls=False) == [
        Listener(2, "SSL", "kafka-2", 9093),
        Listener(2, "SASL_SSL", "kafka-2", 9094),
    ]


def test_an_address_that_settings_name_is_looked_at_once(cluster: Cluster) -> None:
    named = told(advertised_listeners="SSL://kafka-1:9092")
    listeners = tls_listeners(known(cluster, {1: named}), entered_by_tls=True)
    assert [(at.node, at.name) for at in listeners] == [(1, "SSL"), (2, ""), (3, "")]


def test_a_cluster_without_tls_cannot_have_certificates(cluster: Cluster) -> None:
    polls = CertificatesCollector(cluster, cluster.clock).poll(known(cluster))
    assert polls.certificates is not None and polls.certificate_files is not None
    assert {f.kind for f in polls.certificates.failures.values()} == {"unsupported"}
    assert polls.certificates.expected == polls.certificates.failures.keys() == {1, 2, 3}
    assert polls.certificate_files.failures[WHOLE_CLUSTER].kind == "unsupported"


def test_jmx_ports_that_speak_tls_are_looked_at_as_jmx_trusts(cluster: Cluster) -> None:
    targets, files = {1: "kafka-1:9999", 101: "control-1:9999"}, TlsFiles(ca_file="/jmx-ca.pem")
    cluster.replies["own_certificates"] = lambda security: (CertificateFile(security.ca_file, ()),) if security else ()
    polls = CertificatesCollector(cluster, cluster.clock, targets, files).poll(known(cluster))
    assert polls.certificates is not None and polls.certificate_files is not None
    shown = [s.listener for _, part in sorted(polls.certificates.parts.items()) for s in part.value]
    assert shown == [Listener(1, "JMX", "kafka-1", 9999), Listener(101, "JMX", "control-1", 9999)]
    assert [f.path for f in polls.certificate_files.parts[WHOLE_CLUSTER].value] == ["/jmx-ca.pem"]
    plain_registry = TlsFiles(registry=False)
    without = CertificatesCollector(cluster, cluster.clock, targets, plain_registry).poll(known(cluster))
    assert without.certificates is not None
    assert {f.kind for f in without.certificates.failures.values()} == {"unsupported"}


def test_a_node_of_which_no_listener_can_be_read_has_failed(cluster: Cluster) -> None:
    cluster.tls = True
    cluster.replies["own_certificates"] = (CertificateFile("/ca.pem", ()),)
    cluster.replies["certificates"] = lambda listeners: [
        Shown(at, None, "refused", "connection refused") for at in listeners
    ]
    polls = CertificatesCollector(cluster, cluster.clock).poll(known(cluster))
    assert polls.certificates is not None and polls.certificate_files is not None
    assert {n: f.kind for n, f in polls.certificates.failures.items()} == dict.fromkeys((1, 2, 3), "refused")
    assert polls.certificate_files.parts[WHOLE_CLUSTER].value[0].path == "/ca.pem"
