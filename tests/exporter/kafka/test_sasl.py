"""Authentication against a server side of its own: what it takes, what it refuses by name, how often it is renewed, and that its silence is bounded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.facts.cluster import LegName, LegState, Pulse
from exporter.kafka.errors import AuthenticationFailed, TimedOut
from exporter.kafka.reader import Reader, Timeouts
from exporter.kafka.security import Mechanism, SecurityConfig
from tests.exporter.kafka.hostile import HOST, Peer, Stream
from tests.exporter.kafka.sasl_server import HANDSHAKE, PASSWORD, USER, Server, request_of

TIMEOUTS = Timeouts(pulse=1.0, bulk=1.0, forwarded=1.0)
NODE = 1


@pytest.fixture
def password_file(tmp_path: Path) -> Path:
    file = tmp_path / "password"
    file.write_text(PASSWORD + "\n", encoding="utf-8")
    return file


@pytest.fixture
def peer() -> Iterator[Peer]:
    peer = Peer(NODE)
    peer.view = [(NODE, HOST, peer.port)]
    yield peer
    peer.close()


class Clocks:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def reader_of(
    peer: Peer,
    password_file: Path,
    mechanism: Mechanism = "SCRAM-SHA-512",
    user: str = USER,
    clock: Clocks | None = None,
) -> Reader:
    security = SecurityConfig(
        protocol="SASL_PLAINTEXT", mechanism=mechanism, username=user, password_file=str(password_file)
    )
    if clock is None:
        return Reader("sasl", [peer.address], security, timeouts=TIMEOUTS)
    return Reader("sasl", [peer.address], security, timeouts=TIMEOUTS, monotonic=clock)


def only(reader: Reader) -> Pulse:
    (pulse,) = reader.pulse()
    return pulse


def healthy(pulse: Pulse) -> bool:
    return all(leg.state is LegState.OK for leg in pulse.legs.values())


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
@pytest.mark.parametrize("user", [USER, "a=b,c"])
def test_each_mechanism(peer: Peer, password_file: Path, mechanism: Mechanism, user: str) -> None:
    peer.gate = server = Server()
    server.user = user
    reader = reader_of(peer, password_file, mechanism, user)
    try:
        assert healthy(only(reader))
        assert reader.list_groups([NODE])[NODE].error is None
        # Bootstrap, pulse and bulk; kept connections do not authenticate again.
        only(reader)
        assert server.handed_in == 3
    finally:
        reader.close()


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256"])
def test_a_wrong_password_is_named_and_a_new_one_is_read_at_the_next_try(
    peer: Peer, password_file: Path, mechanism: Mechanism
) -> None:
    peer.gate = Server()
    password_file.write_text("wrong\n")
    reader = reader_of(peer, password_file, mechanism)
    try:
        assert list(reader.pulse()) == []
        assert "Authentication failed" in str(reader.bootstrap_errors()[peer.address])
        password_file.write_text(PASSWORD, encoding="utf-8")
        assert healthy(only(reader))
        password_file.write_text("wrong again\n")
        failure = reader.list_groups([NODE])[NODE].error
        assert isinstance(failure, AuthenticationFailed)
        assert (failure.node, failure.address, failure.kind) == (NODE, peer.address, "authentication")
    finally:
        reader.close()


def test_a_mechanism_that_the_listener_does_not_have(peer: Peer, password_file: Path) -> None:
    peer.gate = Server(("GSSAPI", "PLAIN"))
    reader = reader_of(peer, password_file, "SCRAM-SHA-256")
    try:
        assert list(reader.pulse()) == []
        said = str(reader.bootstrap_errors()[peer.address])
        assert "SCRAM-SHA-256 is not enabled" in said
        assert "GSSAPI, PLAIN" in said
    finally:
        reader.close()


def test_a_server_that_does_not_know_the_password_is_not_trusted(peer: Peer, password_file: Path) -> None:
    peer.gate = server = Server()
    server.honest = False
    reader = reader_of(peer, password_file)
    try:
        assert list(reader.pulse()) == []
        assert "does not fit" in str(reader.bootstrap_errors()[peer.address])
    finally:
        reader.close()


def test_a_password_file_that_is_not_there_is_named(peer: Peer, password_file: Path) -> None:
    peer.gate = Server()
    password_file.unlink()
    reader = reader_of(peer, password_file)
    try:
        assert list(reader.pulse()) == []
        said = str(reader.bootstrap_errors()[peer.address])
        assert str(password_file) in said
        assert "password_file" in said
    finally:
        reader.close()


def test_silence_in_the_middle_is_bounded(peer: Peer, password_file: Path) -> None:
    def silent(stream: Stream) -> bool:
        request_of(stream, HANDSHAKE)
        stream.stall()
        return False

    reader = reader_of(peer, password_file)
    try:
        peer.gate = Server()
        assert healthy(only(reader))
        peer.gate = silent
        failure = reader.list_groups([NODE])[NODE].error
        assert isinstance(failure, TimedOut)
        assert failure.phase == "SASL"
    finally:
        reader.close()


def test_a_session_is_renewed_before_it_ends(peer: Peer, password_file: Path) -> None:
    """A broker ends a connection that asks on behind its session's lifetime (KIP-368)."""
    peer.gate = server = Server()
    server.session_lifetime_ms = 60_000
    clock = Clocks()
    reader = reader_of(peer, password_file, clock=clock)
    try:
        assert healthy(only(reader))
        before = server.handed_in
        clock.now += 40
        assert healthy(only(reader))
        assert server.handed_in == before
        clock.now += 15
        assert healthy(only(reader))
        assert server.handed_in == before + 1
    finally:
        reader.close()


def test_legs_tell_a_refused_user_from_a_dead_broker(peer: Peer, password_file: Path) -> None:
    peer.gate = server = Server()
    clock = Clocks()
    server.session_lifetime_ms = 10_000
    reader = reader_of(peer, password_file, clock=clock)
    try:
        assert healthy(only(reader))
        server.password = "changed"
        clock.now += 10
        legs = only(reader).legs
        assert legs[LegName.TCP].state is LegState.OK
        assert legs[LegName.API_VERSIONS].state is LegState.ERROR
        assert "SASL" in legs[LegName.API_VERSIONS].detail or "Authentication" in legs[LegName.API_VERSIONS].detail
    finally:
        reader.close()
