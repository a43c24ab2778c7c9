"""Every way into a real broker that can be tried here: TLS, TLS with client certificates, SASL PLAIN, SCRAM and OAUTHBEARER; and what changes on the way."""

from __future__ import annotations

import http.server
import json
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import ResourceType

import demo
from demo import access, kafka, security
from demo.security import Security
from exporter.facts.cluster import LegState
from exporter.facts.partitions import END
from exporter.facts.transactions import ProducerAnswer
from exporter.kafka.credentials import LOOK_S
from exporter.kafka.errors import BrokerError
from exporter.kafka.reader import Reader, Timeouts
from exporter.kafka.security import SecurityConfig
from tests.klaxon_process import wait_until

pytestmark = pytest.mark.real

LIMIT_S = 60.0
MAX_TIMEOUT = "transaction.max.timeout.ms"
SESSION_S = 2.0
SASL = ("PLAIN", "SCRAM-SHA-512", "OAUTHBEARER")
EVERY_WAY = Security("SASL_PLAINTEXT", also=("SASL_SSL", "TLS", "SSL"), users=("klaxon", "changing"))


@pytest.fixture(scope="module")
def secured() -> Iterator[demo.Cluster]:
    """A one-node cluster with a listener of each kind."""
    try:
        cluster = demo.start(
            nodes=1,
            security=EVERY_WAY,
            overrides={
                f"listener.name.sasl_ssl.{m.lower()}.connections.max.reauth.ms": f"{SESSION_S * 1000:.0f}" for m in SASL
            },
        )
    except demo.DemoUnavailable as reason:
        pytest.skip(f"no brokers can be had: {reason}")
    with cluster:
        kafka.create_topic(cluster.client_settings(), "orders", assignment=[[1]])
        yield cluster


def reader_with(cluster: demo.Cluster, listener: str, section: Mapping[str, Any]) -> Reader:
    return Reader(
        "secured",
        [cluster.address(1, listener)],
        SecurityConfig.model_validate(section),
        timeouts=Timeouts(pulse=5, bulk=10, forwarded=10),
    )


def assert_everything_answers(reader: Reader) -> None:
    """All three connections: pulse, bulk, and the one for what is forwarded."""
    (pulse,) = reader.pulse()
    assert {leg.state for leg in pulse.legs.values()} == {LegState.OK}, pulse.legs
    table = reader.partitions()
    assert "orders" in table.topics
    assert reader.offsets(table, END)[1].error is None
    assert reader.list_groups([1])[1].error is None
    assert reader.log_dirs([1])[1].error is None
    assert reader.quorum().leader == 1


WAYS = {
    "TLS": ("TLS", None),
    "TLS with a client certificate": ("SSL", None),
    **{f"{m} in the clear": ("SASL_PLAINTEXT", m) for m in ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER")},
    **{f"{m} on TLS": ("SASL_SSL", m) for m in SASL},
}


@pytest.mark.parametrize("way", WAYS)
def test_a_way_in(secured: demo.Cluster, way: str) -> None:
    listener, mechanism = WAYS[way]
    reader = reader_with(secured, listener, secured.klaxon_security(listener=listener, mechanism=mechanism))
    try:
        reach(reader)
        assert_everything_answers(reader)
    finally:
        reader.close()


def reach(reader: Reader) -> None:
    """Until the broker lets it in: a new password reaches its authenticator a moment after its creation."""
    end = time.monotonic() + LIMIT_S
    while not reader.pulse():
        assert time.monotonic() < end, reader.bootstrap_errors()
        time.sleep(0.3)


def test_a_changed_password_lets_in_and_the_old_one_does_not(secured: demo.Cluster) -> None:
    old = secured.secrets / "old"
    old.write_text((secured.secrets / "changing.password").read_text())
    access.set_password(secured, "changing")
    section = secured.klaxon_security("changing", mechanism="SCRAM-SHA-512")
    reader = reader_with(secured, "SASL_PLAINTEXT", section)
    try:
        reach(reader)
    finally:
        reader.close()
    outdated = reader_with(secured, "SASL_PLAINTEXT", {**section, "password_file": str(old)})
    assert "Authentication failed" in refusal(outdated)


def test_sessions_are_renewed_before_the_broker_ends_them(secured: demo.Cluster) -> None:
    """For three sessions (KIP-368), by every mechanism: a broker ends a connection that asks on behind its own."""
    readers = {
        m: reader_with(secured, "SASL_SSL", secured.klaxon_security(listener="SASL_SSL", mechanism=m)) for m in SASL
    }
    try:
        for reader in readers.values():
            reach(reader)
        until = time.monotonic() + 3 * SESSION_S
        while time.monotonic() < until:
            for mechanism, reader in readers.items():
                (pulse,) = reader.pulse()
                assert {leg.state for leg in pulse.legs.values()} == {LegState.OK}, (mechanism, pulse.legs)
                failure = reader.list_groups([1])[1].error
                assert failure is None, (mechanism, failure)
    finally:
        for reader in readers.values():
            reader.close()


def test_a_running_reader_takes_up_a_changed_password_and_authority(secured: demo.Cluster, tmp_path: Path) -> None:
    """Its connections are made anew with the new files; those that are broken meanwhile change nothing."""
    section = secured.klaxon_security("changing", listener="SASL_SSL", mechanism="SCRAM-SHA-512")
    for key in ("ca_file", "password_file"):
        copy = tmp_path / key
        copy.write_bytes(Path(section[key]).read_bytes())
        section[key] = str(copy)
    reader = reader_with(secured, "SASL_SSL", section)
    try:
        reach(reader)
        proper = (tmp_path / "ca_file").read_bytes()
        (tmp_path / "ca_file").write_text("half a certi")
        until = time.monotonic() + LOOK_S + 2 * SESSION_S
        while time.monotonic() < until:
            assert healthy(reader)
        new = access.set_password(secured, "changing")
        (tmp_path / "password_file").write_text(new)
        (tmp_path / "ca_file").write_bytes(proper)
        end = time.monotonic() + LIMIT_S
        # Within a session's life the old password is refused, so only the new one holds on.
        since = time.monotonic()
        while time.monotonic() - since < LOOK_S + 2 * SESSION_S:
            assert time.monotonic() < end
            if not healthy(reader):
                since = time.monotonic()
    finally:
        reader.close()


def healthy(reader: Reader) -> bool:
    pulses = reader.pulse()
    return bool(pulses) and all(leg.state is LegState.OK for pulse in pulses for leg in pulse.legs.values())


def test_tokens_from_an_endpoint(secured: demo.Cluster, tmp_path: Path) -> None:
    """Client credentials are changed for a token that the broker takes."""
    (tmp_path / "secret").write_text("of the client\n")

    class Endpoint(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            token = security.unsecured_token("klaxon", time.time(), 300)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"access_token": token, "expires_in": 300}).encode())

        def log_message(self, *_: Any) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    reader = reader_with(
        secured,
        "SASL_PLAINTEXT",
        {
            "protocol": "SASL_PLAINTEXT",
            "mechanism": "OAUTHBEARER",
            "token_url": f"http://127.0.0.1:{server.server_address[1]}/token",
            "client_id": "klaxon",
            "client_secret_file": str(tmp_path / "secret"),
            "extensions": {"traceId": "123"},
        },
    )
    try:
        reach(reader)
        assert_everything_answers(reader)
    finally:
        reader.close()
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256"])
def test_a_wrong_password_is_named(secured: demo.Cluster, mechanism: str) -> None:
    section = secured.klaxon_security(mechanism=mechanism)
    wrong = {**section, "password_file": str(secured.secrets / "admin.password")}
    assert "Authentication failed" in refusal(reader_with(secured, "SASL_PLAINTEXT", wrong))


def test_an_authority_that_is_not_ours_is_named(secured: demo.Cluster) -> None:
    told = refusal(reader_with(secured, "TLS", {"protocol": "SSL"}))
    assert "certificate verify failed" in told.replace("_", " ").lower()


def test_a_missing_client_certificate_is_an_error(secured: demo.Cluster) -> None:
    """TLS 1.3 tells it with the first answer, not in the handshake."""
    assert refusal(reader_with(secured, "SSL", secured.klaxon_security(listener="TLS")))


def refusal(reader: Reader) -> str:
    """Why the broker was not reached."""
    try:
        assert list(reader.pulse()) == []
        (error,) = reader.bootstrap_errors().values()
        return str(error)
    finally:
        reader.close()


@pytest.mark.proof
def test_the_rights_that_the_guide_names_are_enough() -> None:
    """docs/security.md: Describe on cluster, topics, groups and transactional ids, DescribeConfigs on cluster and topics, Read on topics for producers; without them nothing is told."""
    try:
        cluster = demo.start(nodes=1, security=Security("SASL_PLAINTEXT", authorizer=True))
    except demo.DemoUnavailable as reason:
        pytest.skip(f"no brokers can be had: {reason}")
    with cluster:
        kafka.create_topic(cluster.client_settings(), "orders", assignment=[[1]])
        reader = reader_with(cluster, "SASL_PLAINTEXT", cluster.klaxon_security())
        try:
            reach(reader)
            assert reader.partitions().topics == ()
            assert isinstance(reader.log_dirs([1])[1].error, BrokerError)
            assert isinstance(reader.broker_values([1], [MAX_TIMEOUT])[1].error, BrokerError)
            with pytest.raises(BrokerError):
                reader.reassignments()
            access.allow(cluster, "klaxon", ["DESCRIBE"])
            access.allow(cluster, "klaxon", ["DESCRIBE_CONFIGS"], [ResourceType.BROKER, ResourceType.TOPIC])
            end = time.monotonic() + LIMIT_S
            while reader.partitions().topics == () and time.monotonic() < end:
                time.sleep(0.1)
            assert_everything_answers(reader)
            assert reader.min_insync_replicas(["orders"]) == {"orders": 1}
            assert reader.reassignments() == ()
            assert reader.broker_values([1], [MAX_TIMEOUT])[1].value == {MAX_TIMEOUT: "900000"}
            assert reader.list_transactions([1])[1].value == ()
            assert reader.open_producers({1: [("orders", 0)]})[1].value == ProducerAnswer((), {("orders", 0): 29})
            access.allow(cluster, "klaxon", ["READ"], [ResourceType.TOPIC])
            told = ProducerAnswer((), {})
            wait_until(lambda: reader.open_producers({1: [("orders", 0)]})[1].value == told, LIMIT_S, "it may read")
        finally:
            reader.close()
