"""What a listener shows is read whether it would be accepted or not, within a deadline, beside listeners that show nothing."""

from __future__ import annotations

import datetime as dt
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from exporter.facts.certificates import Chain, Listener, Shown
from exporter.kafka.reader import Reader, Timeouts
from exporter.kafka.security import SecurityConfig
from tests.exporter.kafka.hostile import HOST, Peer

TIMEOUTS = Timeouts(pulse=1.0, bulk=1.0, forwarded=1.0)
DAY = dt.timedelta(days=1)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA(organization_name="Klaxon tests")


@pytest.fixture(scope="module")
def ca_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("certificates") / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return path


@pytest.fixture
def reader(ca_file: Path) -> Iterator[Reader]:
    made = Reader("test", ["127.0.0.1:1"], SecurityConfig(protocol="SSL", ca_file=str(ca_file)), timeouts=TIMEOUTS)
    yield made
    made.close()


def server(authority: trustme.CA, host: str = HOST, starts: dt.timedelta = -DAY, ends: dt.timedelta = DAY) -> Peer:
    now = dt.datetime.now(dt.UTC)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(host, common_name="broker", not_before=now + starts, not_after=now + ends).configure_cert(
        context
    )
    return Peer(1, context)


def look(reader: Reader, peer: Peer) -> Shown:
    (shown,) = reader.certificates([Listener(1, "SSL", HOST, peer.port)])
    return shown


def chain(reader: Reader, peer: Peer) -> Chain:
    shown = look(reader, peer)
    peer.close()
    assert shown.chain is not None, shown
    return shown.chain


def test_a_chain_that_is_accepted(reader: Reader, authority: trustme.CA) -> None:
    told = chain(reader, server(authority))
    assert (told.verified, told.problem) == (True, "")
    assert "CN=broker" in told.certificates[0].subject
    assert "Klaxon tests" in told.certificates[0].issuer
    assert told.certificates[0].not_after == pytest.approx(time.time() + DAY.total_seconds(), abs=60)


def test_every_certificate_that_is_sent(reader: Reader, authority: trustme.CA) -> None:
    told = chain(reader, server(authority.create_child_ca()))
    assert told.verified
    assert len(told.certificates) == 2
    assert told.certificates[0].issuer == told.certificates[1].subject


@pytest.mark.parametrize(
    ("host", "starts", "ends", "problem"),
    [
        (HOST, -2 * DAY, -DAY, "certificate has expired"),
        (HOST, DAY, 2 * DAY, "certificate is not yet valid"),
        ("other.example.org", -DAY, DAY, "IP address mismatch, certificate is not valid for '127.0.0.1'."),
    ],
)
def test_one_that_is_not_accepted_is_read_all_the_same(
    reader: Reader, authority: trustme.CA, host: str, starts: dt.timedelta, ends: dt.timedelta, problem: str
) -> None:
    told = chain(reader, server(authority, host, starts, ends))
    assert (told.verified, told.problem) == (False, problem)
    assert told.certificates[0].not_after == pytest.approx(time.time() + ends.total_seconds(), abs=60)


def test_an_authority_that_is_not_trusted(reader: Reader) -> None:
    told = chain(reader, server(trustme.CA()))
    assert told.verified is False
    assert "unable to get local issuer certificate" in told.problem


def test_without_tls_of_our_own_nobody_says_whom_to_trust(authority: trustme.CA) -> None:
    reader = Reader("test", ["127.0.0.1:1"], timeouts=TIMEOUTS)
    try:
        told = chain(reader, server(authority))
        assert told.verified is None
        assert told.certificates
        assert reader.own_certificates() == ()
    finally:
        reader.close()


def test_listeners_that_show_nothing_say_why_and_delay_no_other(reader: Reader, authority: trustme.CA) -> None:
    good, silent, plain = server(authority), Peer(2), Peer(3)
    silent.before_tls = lambda stream: stream.stall()
    plain.before_tls = lambda _stream: None
    begun = time.monotonic()
    ports = {1: good.port, 2: silent.port, 3: plain.port, 4: 1}
    told = reader.certificates([Listener(n, "", HOST, port) for n, port in ports.items()])
    assert time.monotonic() - begun < 3 * TIMEOUTS.pulse
    assert told[0].chain is not None
    assert [s.chain for s in told[1:]] == [None, None, None]
    assert (told[1].kind, told[3].kind) == ("timeout", "refused")
    assert told[2].kind in ("authentication", "disconnected")
    assert all(s.problem for s in told[1:])
    for peer in (good, silent, plain):
        peer.close()


def test_our_own_files(reader: Reader, ca_file: Path, tmp_path: Path) -> None:
    (own,) = reader.own_certificates()
    assert (own.path, len(own.certificates), own.problem) == (str(ca_file), 1, "")
    lost = tmp_path / "ca.pem"
    lost.write_bytes(ca_file.read_bytes())
    other = Reader("test", ["127.0.0.1:1"], SecurityConfig(protocol="SSL", ca_file=str(lost)), timeouts=TIMEOUTS)
    try:
        lost.write_text("nothing", encoding="utf-8")
        (broken,) = other.own_certificates()
        assert (broken.certificates, bool(broken.problem)) == ((), True)
        lost.unlink()
        assert other.own_certificates()[0].problem == "No such file or directory"
    finally:
        other.close()
