"""Every way into a real broker that the configuration offers: TLS, TLS with client certificates, SASL PLAIN and SCRAM, on plain and on TLS connections."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion

import demo
from demo import kafka, settings
from demo.state import Node
from exporter.facts.cluster import LegState
from exporter.facts.partitions import END
from exporter.kafka.reader import Reader, Timeouts
from exporter.kafka.security import SecurityConfig

pytestmark = pytest.mark.real

USER, PASSWORD = "klaxon", "correct horse, battery = staple"
LISTENERS = {"TLS": "SSL", "MTLS": "SSL", "SASL": "SASL_PLAINTEXT", "SASLTLS": "SASL_SSL"}
LIMIT_S = 60.0


@dataclass(frozen=True)
class Secured:
    """A one-node cluster with a listener of each kind, and the files that a client needs."""

    ports: Mapping[str, int]
    files: Path

    def reader(self, listener: str, **section: Any) -> Reader:
        security = SecurityConfig.model_validate({"protocol": LISTENERS[listener], **section})
        server = f"{settings.HOST}:{self.ports[listener]}"
        return Reader("secured", [server], security, timeouts=Timeouts(pulse=5, bulk=10, forwarded=10))

    def file(self, name: str) -> str:
        return str(self.files / name)

    def sasl(self, mechanism: str, password: str = "password") -> dict[str, str]:
        return {"mechanism": mechanism, "username": USER, "password_file": self.file(password)}


def make_certificates(files: Path) -> None:
    """An authority, a broker's and a client's certificate; the broker's key and certificate in one PEM file, as Kafka wants it."""

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], check=True, capture_output=True, cwd=files)

    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=authority",
            "-keyout", "ca.key", "-out", "ca.pem")  # fmt: skip
    (files / "broker.ext").write_text("subjectAltName=IP:127.0.0.1\n")
    (files / "client.ext").write_text("extendedKeyUsage=clientAuth\n")
    for name in ("broker", "client"):
        openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", "csr")
        openssl("x509", "-req", "-in", "csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
                "-extfile", f"{name}.ext", "-out", f"{name}.pem")  # fmt: skip
    (files / "keystore.pem").write_text((files / "broker.key").read_text() + (files / "broker.pem").read_text())
    (files / "password").write_text(PASSWORD + "\n", encoding="utf-8")
    (files / "wrong").write_text("wrong\n")


def listener_settings(ports: Mapping[str, int], files: Path) -> dict[str, str]:
    """What a broker needs for the listeners, besides their addresses."""
    plain = "org.apache.kafka.common.security.plain.PlainLoginModule required"
    scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
    made = {
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(files / "keystore.pem"),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(files / "ca.pem"),
        "listener.name.mtls.ssl.client.auth": "required",
    }
    for name in ("sasl", "sasltls"):
        prefix = f"listener.name.{name}"
        made[f"{prefix}.sasl.enabled.mechanisms"] = "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512"
        made[f"{prefix}.plain.sasl.jaas.config"] = f'{plain} user_{USER}="{PASSWORD}";'
        for mechanism in ("scram-sha-256", "scram-sha-512"):
            made[f"{prefix}.{mechanism}.sasl.jaas.config"] = scram
    return made


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    if shutil.which("openssl") is None:
        pytest.skip("openssl makes the certificates, and it is not on the path")
    files = tmp_path_factory.mktemp("security")
    make_certificates(files)
    ports = dict(zip(LISTENERS, settings.free_ports(len(LISTENERS)), strict=True))
    proper = settings.server_properties

    def with_listeners(node: Node, nodes: tuple[Node, ...], overrides: Mapping[str, str]) -> dict[str, str]:
        made = proper(node, nodes, overrides)
        made["listeners"] += "".join(f",{name}://{settings.HOST}:{port}" for name, port in ports.items())
        made["listener.security.protocol.map"] += "".join(f",{name}:{kind}" for name, kind in LISTENERS.items())
        return made

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(settings, "server_properties", with_listeners)
        try:
            cluster = demo.start(nodes=1, overrides=listener_settings(ports, files))
        except demo.DemoUnavailable as reason:
            pytest.skip(f"no brokers can be had: {reason}")
    with cluster:
        kafka.create_topic(cluster.bootstrap_servers, "orders", assignment=[[1]])
        create_scram_user(cluster)
        yield Secured(ports, files)


def create_scram_user(cluster: demo.Cluster) -> None:
    admin = kafka.admin(cluster.bootstrap_servers)
    for mechanism in (ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512):
        credential = ScramCredentialInfo(mechanism, 4096)
        wanted = UserScramCredentialUpsertion(USER, credential, PASSWORD.encode())
        for future in admin.alter_user_scram_credentials([wanted]).values():
            future.result()


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
    "TLS": ("TLS", {"ca_file": "ca.pem"}),
    "TLS with a client certificate": (
        "MTLS",
        {"ca_file": "ca.pem", "certificate_file": "client.pem", "key_file": "client.key"},
    ),
    **{f"{m} in the clear": ("SASL", {"mechanism": m}) for m in ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")},
    **{f"{m} on TLS": ("SASLTLS", {"mechanism": m, "ca_file": "ca.pem"}) for m in ("PLAIN", "SCRAM-SHA-512")},
}


@pytest.mark.parametrize("way", WAYS)
def test_a_way_in(secured: Secured, way: str) -> None:
    listener, given = WAYS[way]
    section = {key: secured.file(value) if key.endswith("_file") else value for key, value in given.items()}
    reader = secured.reader(listener, **(secured.sasl(given["mechanism"]) if "mechanism" in given else {}), **{
        key: value for key, value in section.items() if key != "mechanism"
    })  # fmt: skip
    try:
        end = time.monotonic() + LIMIT_S
        # A new user reaches the broker's authenticator a moment after its creation.
        while not reader.pulse():
            assert time.monotonic() < end, reader.bootstrap_errors()
            time.sleep(0.3)
        assert_everything_answers(reader)
    finally:
        reader.close()


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256"])
def test_a_wrong_password_is_named(secured: Secured, mechanism: str) -> None:
    assert "Authentication failed" in refusal(secured.reader("SASL", **secured.sasl(mechanism, "wrong")))


def test_an_authority_that_is_not_ours_is_named(secured: Secured) -> None:
    assert "certificate verify failed" in refusal(secured.reader("TLS")).replace("_", " ").lower()


def test_a_missing_client_certificate_is_an_error(secured: Secured) -> None:
    """TLS 1.3 tells it with the first answer, not in the handshake."""
    assert refusal(secured.reader("MTLS", ca_file=secured.file("ca.pem")))


def refusal(reader: Reader) -> str:
    """Why the broker was not reached."""
    try:
        assert list(reader.pulse()) == []
        (error,) = reader.bootstrap_errors().values()
        return str(error)
    finally:
        reader.close()
