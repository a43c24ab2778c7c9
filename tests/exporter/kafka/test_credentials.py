"""Secrets and certificates that change under kept connections: a new connection takes the old one's place, and what cannot be used leaves it alone."""

from __future__ import annotations

import ssl
import subprocess
import sys
import threading
import types
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from exporter.facts.cluster import LegState
from exporter.kafka.credentials import LOOK_S, Credentials
from exporter.kafka.reader import Reader, Timeouts
from exporter.kafka.security import Mechanism, SecurityConfig
from exporter.quiet_log import QuietLog
from tests.exporter.kafka.hostile import HOST, Peer
from tests.exporter.kafka.sasl_server import PASSWORD, USER, Server

NODE = 1
TIMEOUTS = Timeouts(pulse=2.0, bulk=2.0, forwarded=2.0)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Told:
    """A logger that keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def warning(self, event: str, **fields: Any) -> None:
        self.lines.append(f"{event} {fields}")

    info = warning


@pytest.fixture
def peer() -> Iterator[Peer]:
    peer = Peer(NODE)
    peer.view = [(NODE, HOST, peer.port)]
    yield peer
    peer.close()


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    told = Told()
    monkeypatch.setattr("exporter.kafka.credentials.QuietLog", lambda _: QuietLog(told))
    return told


def reader_of(peer: Peer, clock: Clock, **section: Any) -> Reader:
    return Reader("c", [peer.address], SecurityConfig.model_validate(section), timeouts=TIMEOUTS, monotonic=clock)


def healthy(reader: Reader) -> bool:
    (pulse,) = reader.pulse()
    return {leg.state for leg in pulse.legs.values()} == {LegState.OK}


# --- SASL


@pytest.fixture
def password(tmp_path: Path) -> Path:
    file = tmp_path / "password"
    file.write_text(PASSWORD, encoding="utf-8")
    return file


def scram(password: Path) -> dict[str, str]:
    return {
        "protocol": "SASL_PLAINTEXT",
        "mechanism": "SCRAM-SHA-256",
        "username": USER,
        "password_file": str(password),
    }


def test_a_changed_password_is_taken_up_without_waiting_for_the_connection_to_end(peer: Peer, password: Path) -> None:
    peer.gate = server = Server()
    reader = reader_of(peer, clock := Clock(), **scram(password))
    try:
        assert healthy(reader)
        before = server.handed_in
        server.password = "another"
        clock.now += LOOK_S
        assert healthy(reader), "the kept connection goes on"
        assert server.handed_in == before
        password.write_text("another")
        assert healthy(reader), "not looked at again yet"
        assert server.handed_in == before
        clock.now += LOOK_S
        assert healthy(reader)
        assert server.handed_in == before + 1
        clock.now += LOOK_S
        assert healthy(reader)
        assert server.handed_in == before + 1
    finally:
        reader.close()


@pytest.mark.parametrize("broken", ["", "two\nlines", None])
def test_a_changed_file_that_cannot_be_used_is_told_once_and_changes_nothing(
    peer: Peer, password: Path, told: Told, broken: str | None
) -> None:
    peer.gate = server = Server()
    reader = reader_of(peer, clock := Clock(), **scram(password))
    try:
        assert healthy(reader)
        before = server.handed_in
        password.unlink() if broken is None else password.write_text(broken)
        for _ in range(5):
            clock.now += LOOK_S
            assert healthy(reader)
        assert server.handed_in == before
        (line,) = told.lines
        assert "a changed file cannot be used; what it held before goes on" in line
        assert str(password) in line
        assert reader.list_groups([NODE])[NODE].error is None, "a new connection too uses what was there"
        password.write_text(PASSWORD, encoding="utf-8")
        clock.now += LOOK_S
        assert healthy(reader)
        assert "the changed files can be used" in told.lines[1]
    finally:
        reader.close()


def test_a_kept_connection_goes_on_when_the_changed_password_is_refused(peer: Peer, password: Path, told: Told) -> None:
    peer.gate = server = Server()
    reader = reader_of(peer, clock := Clock(), **scram(password))
    try:
        assert healthy(reader)
        before = server.handed_in
        password.write_text("wrong")
        for _ in range(3):
            clock.now += LOOK_S
            assert healthy(reader)
        assert server.handed_in == before
        (line,) = told.lines
        assert "a new connection with them fails; the old one goes on" in line
        assert "Authentication failed" in line
        password.write_text(server.password, encoding="utf-8")
        clock.now += LOOK_S
        assert healthy(reader)
        assert "new connections are taken again" in told.lines[1]
    finally:
        reader.close()


# --- KIP-368: every mechanism comes again before its session ends


def gssapi_of_the_test() -> types.ModuleType:
    """As much of the package as kafka-python uses, with the tokens of ``sasl_server``."""

    class Name:
        def __init__(self, text: str, name_type: object = None) -> None:
            self.text = text

        def canonicalize(self, _: object) -> Name:
            return self

    class SecurityContext:
        def __init__(self, name: Name, usage: str) -> None:
            assert name.text == f"kafka@{HOST}"
            self.complete = False

        def step(self, token: bytes | None) -> bytes | None:
            if token is None:
                return b"AP-REQ"
            assert token == b"AP-REP"
            self.complete = True
            return None

        def unwrap(self, message: bytes) -> Any:
            return types.SimpleNamespace(message=message.removeprefix(b"wrapped:"))

        def wrap(self, message: bytes, _: bool) -> Any:
            return types.SimpleNamespace(message=b"wrapped:" + message)

    module: Any = types.ModuleType("gssapi")
    module.Name, module.SecurityContext = Name, SecurityContext
    module.NameType = types.SimpleNamespace(hostbased_service=None)
    module.MechType = types.SimpleNamespace(kerberos=None)
    found: types.ModuleType = module
    return found


def section_of(mechanism: Mechanism, folder: Path) -> dict[str, Any]:
    secret = folder / "secret"
    if mechanism == "OAUTHBEARER":
        secret.write_text("a-token")
        extensions = {"pool": "p-1", "logicalCluster": "lkc-1"}
        return {"mechanism": mechanism, "token_file": str(secret), "extensions": extensions}
    if mechanism in ("GSSAPI", "AWS_MSK_IAM"):
        return {"mechanism": mechanism}
    secret.write_text(PASSWORD, encoding="utf-8")
    return {"mechanism": mechanism, "username": USER, "password_file": str(secret)}


@pytest.fixture
def kerberos(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gssapi", gssapi_of_the_test())
    monkeypatch.setattr("exporter.kafka.security.find_spec", lambda _: object())


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-512", "OAUTHBEARER", "GSSAPI"])
@pytest.mark.usefixtures("kerberos")
def test_each_mechanism_comes_again_before_its_session_ends(peer: Peer, tmp_path: Path, mechanism: Mechanism) -> None:
    peer.gate = server = Server()
    server.token = "a-token"
    server.session_lifetime_ms = 60_000
    reader = reader_of(peer, clock := Clock(), protocol="SASL_PLAINTEXT", **section_of(mechanism, tmp_path))
    try:
        assert healthy(reader)
        before = server.handed_in
        clock.now += 40
        assert healthy(reader)
        assert server.handed_in == before
        clock.now += 15
        assert healthy(reader)
        assert server.handed_in == before + 1
    finally:
        reader.close()


def test_the_first_message_of_oauthbearer(peer: Peer, tmp_path: Path) -> None:
    """RFC 7628, 3.1, with extensions (KIP-342)."""
    peer.gate = server = Server()
    server.token = "a-token"
    reader = reader_of(peer, Clock(), protocol="SASL_PLAINTEXT", **section_of("OAUTHBEARER", tmp_path))
    try:
        assert healthy(reader)
        assert server.tokens[0] == b"n,,\x01auth=Bearer a-token\x01pool=p-1\x01logicalCluster=lkc-1\x01\x01"
        server.token = "another"
        failure = reader.list_groups([NODE])[NODE].error
        assert failure is not None
        assert "invalid_token" in str(failure)
        assert "a-token" not in str(failure)
    finally:
        reader.close()


@pytest.mark.usefixtures("kerberos")
def test_the_last_message_of_gssapi_chooses_no_protection_layer(peer: Peer) -> None:
    """RFC 4752, 3.1: one byte of the layer (1: none), three of the largest message."""
    peer.gate = server = Server()
    reader = reader_of(peer, Clock(), protocol="SASL_PLAINTEXT", mechanism="GSSAPI")
    try:
        assert healthy(reader)
        assert server.tokens[:2] == [b"AP-REQ", b""]
        assert server.tokens[2].startswith(b"wrapped:\x01\x00\x10\x00")
    finally:
        reader.close()


@pytest.mark.usefixtures("kerberos")
def test_a_kerberos_that_does_not_answer_is_bounded_and_named(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    ended, gssapi = threading.Event(), sys.modules["gssapi"]
    monkeypatch.setattr(gssapi, "SecurityContext", lambda **_: ended.wait(60))
    peer.gate = Server()
    security = SecurityConfig.model_validate({"protocol": "SASL_PLAINTEXT", "mechanism": "GSSAPI"})
    reader = Reader("c", [peer.address], security, timeouts=Timeouts(pulse=0.5, bulk=0.5, forwarded=0.5))
    try:
        assert list(reader.pulse()) == []
        assert "SASL GSSAPI: Kerberos did not answer in time" in str(reader.bootstrap_errors()[peer.address])
    finally:
        ended.set()
        reader.close()


# --- TLS


def authority(folder: Path, name: str) -> None:
    """A self-signed certificate for loopback, which signs itself: certificate, key and CA in one."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", f"/CN={name}", "-addext", f"subjectAltName=IP:{HOST}", "-keyout", f"{name}.key", "-out", f"{name}.pem"],
        check=True, capture_output=True, cwd=folder,
    )  # fmt: skip


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates")
    for name in ("broker", "new-broker", "client", "new-client"):
        authority(folder, name)
    return folder


def served(folder: Path, broker: str, clients: str) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / f"{broker}.pem", folder / f"{broker}.key")
    context.load_verify_locations(folder / f"{clients}.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    # With 1.3 a refused client learns of it with the first answer only.
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context


class Rotating:
    """A broker that asks for client certificates, and the files that a client was given."""

    def __init__(self, certificates: Path, folder: Path) -> None:
        self._made, self._folder = certificates, folder
        self.peer = Peer(NODE, served(certificates, "broker", "client"))
        self.peer.view = [(NODE, HOST, self.peer.port)]
        for name, source in (("ca.pem", "broker.pem"), ("own.pem", "client.pem"), ("own.key", "client.key")):
            self.give(name, source)

    def give(self, name: str, source: str) -> None:
        (self._folder / name).write_bytes((self._made / source).read_bytes())

    def serve(self, broker: str, clients: str) -> None:
        self.peer._tls = served(self._made, broker, clients)

    @property
    def section(self) -> Mapping[str, str]:
        files = {"ca_file": "ca.pem", "certificate_file": "own.pem", "key_file": "own.key"}
        return {"protocol": "SSL", **{key: str(self._folder / name) for key, name in files.items()}}


@pytest.fixture
def rotating(certificates: Path, tmp_path: Path) -> Iterator[Rotating]:
    rotating = Rotating(certificates, tmp_path)
    yield rotating
    rotating.peer.close()


def test_a_certificate_changed_in_two_steps_is_taken_up_when_both_files_are_there(
    rotating: Rotating, told: Told
) -> None:
    reader = reader_of(rotating.peer, clock := Clock(), **rotating.section)
    try:
        assert healthy(reader)
        before = rotating.peer.accepted
        rotating.serve("broker", "new-client")
        rotating.give("own.pem", "new-client.pem")
        clock.now += LOOK_S
        assert healthy(reader)
        assert rotating.peer.accepted == before
        assert "the key does not belong to the certificate" in told.lines[0]
        rotating.give("own.key", "new-client.key")
        clock.now += LOOK_S
        assert healthy(reader)
        assert rotating.peer.accepted == before + 1
    finally:
        reader.close()


def test_a_broker_with_a_certificate_of_a_new_authority(rotating: Rotating) -> None:
    reader = reader_of(rotating.peer, Clock(), **rotating.section)
    try:
        assert healthy(reader)
        rotating.serve("new-broker", "client")
        assert healthy(reader), "the connection that stands goes on"
        failure = reader.list_groups([NODE])[NODE].error
        assert failure is not None
        assert failure.kind == "authentication", "nobody vouches for what a new connection meets"
        rotating.give("ca.pem", "new-broker.pem")
        assert reader.list_groups([NODE])[NODE].error is None
    finally:
        reader.close()


def test_files_are_looked_at_no_more_often_than_that(monkeypatch: pytest.MonkeyPatch, password: Path) -> None:
    looks = 0
    look: Callable[[SecurityConfig], str] = SecurityConfig.fingerprint

    def counted(security: SecurityConfig) -> str:
        nonlocal looks
        looks += 1
        return look(security)

    monkeypatch.setattr(SecurityConfig, "fingerprint", counted)
    credentials = Credentials(SecurityConfig.model_validate(scram(password)), monotonic=(clock := Clock()))
    credentials.proof()
    for _ in range(100):
        clock.now += LOOK_S / 10
        assert credentials.version == 1
    assert looks <= 11
