"""Every way into a real broker that the configuration offers: TLS, TLS with client certificates, SASL PLAIN and SCRAM, on plain and on TLS connections."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

import demo
from demo import access, kafka
from demo.security import Security
from exporter.facts.cluster import LegState
from exporter.facts.partitions import END
from exporter.kafka.reader import Reader, Timeouts
from exporter.kafka.security import SecurityConfig

pytestmark = pytest.mark.real

LIMIT_S = 60.0
EVERY_WAY = Security("SASL_PLAINTEXT", also=("SASL_SSL", "TLS", "SSL"), users=("klaxon", "changing"))


@pytest.fixture(scope="module")
def secured() -> Iterator[demo.Cluster]:
    """A one-node cluster with a listener of each kind."""
    try:
        cluster = demo.start(nodes=1, security=EVERY_WAY)
    except demo.DemoUnavailable as reason:
        pytest.skip(f"no brokers can be had: {reason}")
    with cluster:
        kafka.create_topic(cluster.client_settings(), "orders", assignment=[[1]])
        yield cluster


def reader_with(cluster: demo.Cluster, listener: str, section: Mapping[str, Any]) -> Reader:
    security = SecurityConfig.model_validate(section)
    return Reader(
        "secured", [cluster.address(1, listener)], security, timeouts=Timeouts(pulse=5, bulk=10, forwarded=10)
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
    **{f"{m} in the clear": ("SASL_PLAINTEXT", m) for m in ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")},
    **{f"{m} on TLS": ("SASL_SSL", m) for m in ("PLAIN", "SCRAM-SHA-512")},
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
