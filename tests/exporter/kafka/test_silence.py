"""Peers that are silent, slow or insane: each costs one bounded time-out, is named, and harms no other broker."""

from __future__ import annotations

import contextlib
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from exporter.facts.cluster import Leg, LegName, LegState, Node, Pulse, Role
from exporter.kafka.errors import (
    BadAnswer,
    BrokerError,
    ConnectionLost,
    KafkaError,
    NameLookupFailed,
    Refused,
    Skipped,
    TimedOut,
)
from exporter.kafka.reader import Reader, Timeouts
from exporter.kafka.security import PLAINTEXT, SecurityConfig
from tests.exporter.kafka import hostile
from tests.exporter.kafka.hostile import DESCRIBE_CLUSTER, HOST, LIST_GROUPS, METADATA, Misbehaviour, Peer

TIMEOUTS = Timeouts(pulse=0.6, bulk=0.8, forwarded=0.7)
SLACK = 2.0
"""Seconds by which a loaded machine may be late."""

OK, REFUSED, TIMEOUT, ERROR, SKIPPED = (
    LegState.OK,
    LegState.REFUSED,
    LegState.TIMEOUT,
    LegState.ERROR,
    LegState.SKIPPED,
)

GOOD, BAD = 1, 2


class Clocks:
    """Real time and an offset that a test moves."""

    def __init__(self) -> None:
        self.offset = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.offset


class Stage:
    """One healthy broker (node 1), one that may be hostile (node 2), and a reader that has been told of both by the first."""

    def __init__(self, security: SecurityConfig = PLAINTEXT, tls: ssl.SSLContext | None = None) -> None:
        self.good, self.bad = Peer(GOOD, tls), Peer(BAD, tls)
        self.clocks = Clocks()
        self.good.topics = ("orders",)
        self._security = security
        self._readers: list[Reader] = []
        self.name_the_bad_one(HOST, self.bad.port)

    def name_the_bad_one(self, host: str, port: int) -> None:
        """What both brokers say about where node 2 is."""
        self.good.view = self.bad.view = ((GOOD, HOST, self.good.port), (BAD, host, port))

    def reader(self, resolve: Callable[..., list[Any]] = socket.getaddrinfo) -> Reader:
        reader = Reader(
            "hostile",
            [self.good.address],
            self._security,
            timeouts=TIMEOUTS,
            monotonic=self.clocks.monotonic,
            resolve=resolve,
        )
        self._readers.append(reader)
        return reader

    def close(self) -> None:
        for reader in self._readers:
            reader.close()
        self.good.close()
        self.bad.close()


@pytest.fixture
def stage() -> Iterator[Stage]:
    stage = Stage()
    yield stage
    stage.close()


@contextlib.contextmanager
def within(seconds: float) -> Iterator[None]:
    """The block ends within its time-out and the slack of a loaded machine."""
    begun = time.monotonic()
    yield
    assert time.monotonic() - begun < seconds + SLACK


def pulse_of(reader: Reader) -> dict[int, Pulse]:
    return {p.node: p for p in reader.pulse()}


def legs(pulse: Pulse) -> tuple[LegState, LegState, LegState]:
    return tuple(pulse.legs[n].state for n in (LegName.TCP, LegName.API_VERSIONS, LegName.METADATA))  # type: ignore[return-value]


def failed_leg(pulse: Pulse) -> Leg:
    return next(leg for leg in pulse.legs.values() if leg.state not in (OK, SKIPPED))


def assert_healthy(pulse: Pulse) -> None:
    assert legs(pulse) == (OK, OK, OK), pulse
    assert pulse.view is not None


def until(condition: Callable[[], bool], limit: float = 10.0) -> None:
    end = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


# --- in the place of the first answer


ANSWERS = [
    pytest.param(hostile.silent, TIMEOUT, id="silent"),
    pytest.param(hostile.half_then_stall, TIMEOUT, id="half an answer, then nothing"),
    pytest.param(hostile.length_then_stall, TIMEOUT, id="200 MB announced, then nothing"),
    pytest.param(hostile.byte_by_byte, TIMEOUT, id="byte by byte"),
    pytest.param(hostile.hangs_up, ERROR, id="hangs up"),
    pytest.param(hostile.half_then_close, ERROR, id="half an answer, then closed"),
    pytest.param(hostile.not_kafka, ERROR, id="an HTTP server"),
    pytest.param(hostile.garbage, ERROR, id="garbage"),
    pytest.param(hostile.cut_short, ERROR, id="cut short"),
    pytest.param(hostile.wrong_correlation, ERROR, id="wrong correlation id"),
    pytest.param(hostile.negative_length, ERROR, id="negative length"),
    pytest.param(hostile.giant_length, ERROR, id="2 GB announced"),
    pytest.param(hostile.empty_frame, ERROR, id="empty frame"),
]


def test_fifty_megabytes_of_zeros_cost_no_more_than_a_time_out(stage: Stage) -> None:
    """On a busy machine the deadline may come before the last byte: then it is a time-out, never longer."""
    stage.bad.misbehave(hostile.fifty_megabytes_of_zeros)
    with within(2 * TIMEOUTS.pulse):
        told = pulse_of(stage.reader())
    assert_healthy(told[GOOD])
    assert legs(told[BAD]) in {(OK, ERROR, SKIPPED), (OK, TIMEOUT, SKIPPED)}


@pytest.mark.parametrize(("how", "state"), ANSWERS)
def test_api_versions_answered_badly(stage: Stage, how: Misbehaviour, state: LegState) -> None:
    stage.bad.misbehave(how)
    reader = stage.reader()
    with within(2 * TIMEOUTS.pulse):
        told = pulse_of(reader)
    assert_healthy(told[GOOD])
    assert legs(told[BAD]) == (OK, state, SKIPPED)
    assert told[BAD].legs[LegName.API_VERSIONS].detail
    assert told[BAD].view is None
    assert reader.list_groups([GOOD])[GOOD].error is None
    stage.bad.behave()
    stage.clocks.offset += 6
    assert_healthy(pulse_of(reader)[BAD])


@pytest.mark.parametrize(("how", "state"), ANSWERS)
def test_the_view_answered_badly(stage: Stage, how: Misbehaviour, state: LegState) -> None:
    reader = stage.reader()
    assert_healthy(pulse_of(reader)[BAD])
    stage.bad.misbehave(how, DESCRIBE_CLUSTER)
    with within(TIMEOUTS.pulse):
        told = pulse_of(reader)
    assert_healthy(told[GOOD])
    assert legs(told[BAD]) == (OK, OK, state)
    assert told[BAD].view is None
    assert reader.partitions().topics == ("orders",)
    stage.bad.behave()
    stage.clocks.offset += 6
    assert_healthy(pulse_of(reader)[BAD])


# --- on the second connection, while the first one answers


BULK = [
    (hostile.silent, TimedOut),
    (hostile.half_then_stall, TimedOut),
    (hostile.length_then_stall, TimedOut),
    (hostile.byte_by_byte, TimedOut),
    (hostile.hangs_up, ConnectionLost),
    (hostile.half_then_close, ConnectionLost),
    (hostile.not_kafka, BadAnswer),
    (hostile.garbage, BadAnswer),
    (hostile.cut_short, BadAnswer),
    (hostile.wrong_correlation, BadAnswer),
    (hostile.negative_length, BadAnswer),
    (hostile.giant_length, BadAnswer),
    (hostile.empty_frame, BadAnswer),
]


@pytest.mark.parametrize(("how", "error"), BULK, ids=[how.__name__ for how, _ in BULK])
def test_a_bulk_answer_that_is_bad(stage: Stage, how: Misbehaviour, error: type[KafkaError]) -> None:
    """The other broker answers meanwhile, the pulse goes on, and the next call starts on a new connection."""
    reader = stage.reader()
    reader.pulse()
    stage.bad.misbehave(how, LIST_GROUPS)
    with within(TIMEOUTS.bulk):
        answers = reader.list_groups([GOOD, BAD])
    assert answers[GOOD].error is None
    assert answers[GOOD].value == ()
    failure = answers[BAD].error
    assert type(failure) is error, failure
    assert failure.node == BAD
    assert failure.address == stage.bad.address
    assert answers[BAD].value is None
    if isinstance(failure, TimedOut):
        assert failure.phase == "answer"
    assert_healthy(pulse_of(reader)[BAD])
    stage.bad.behave()
    assert reader.list_groups([BAD])[BAD].error is None


def test_fifty_megabytes_are_read_when_they_are_an_answer(stage: Stage) -> None:
    stage.bad.misbehave(hostile.fifty_megabytes_of_groups, LIST_GROUPS)
    reader = Reader("hostile", [stage.good.address], timeouts=Timeouts(pulse=3, bulk=60, forwarded=3))
    try:
        reader.pulse()
        answer = reader.list_groups([BAD])[BAD]
        assert answer.error is None
        assert answer.value is not None
        assert sum(len(g.group) for g in answer.value) > 50_000_000
    finally:
        reader.close()


@pytest.mark.parametrize(("code", "name"), [(14, "COORDINATOR_LOAD_IN_PROGRESS"), (31, "CLUSTER_AUTHORIZATION_FAILED")])
def test_an_error_code_is_an_answer_with_kafkas_name(stage: Stage, code: int, name: str) -> None:
    """Collectors tell a coordinator that loads from one that is broken; the connection is kept."""
    reader = stage.reader()
    reader.pulse()
    stage.bad.groups_error = code
    failure = reader.list_groups([GOOD, BAD])[BAD].error
    assert isinstance(failure, BrokerError)
    assert (failure.code, failure.name, failure.node, failure.kind) == (code, name, BAD, "broker")
    stage.bad.groups_error = 0
    accepted = stage.bad.accepted
    assert reader.list_groups([BAD])[BAD].error is None
    assert stage.bad.accepted == accepted


def test_a_silent_broker_keeps_nobody_waiting(stage: Stage) -> None:
    """While one thread waits for the hostile broker, others are answered by the healthy one again and again."""
    reader = stage.reader()
    reader.pulse()
    stage.bad.misbehave(hostile.silent)
    waiting = threading.Thread(target=lambda: (reader.pulse(), reader.list_groups([BAD])))
    waiting.start()
    answered = 0
    while waiting.is_alive():
        assert reader.list_groups([GOOD])[GOOD].error is None
        assert reader.partitions().topics == ("orders",)
        answered += 1
    waiting.join()
    assert answered > 3


@pytest.mark.parametrize("how", [hostile.silent, hostile.garbage, hostile.hangs_up], ids=lambda how: how.__name__)
def test_metadata_is_asked_of_another_broker_when_one_fails(stage: Stage, how: Misbehaviour) -> None:
    reader = stage.reader()
    stage.bad.topics = ("orders",)
    reader.pulse()
    assert reader.partitions().topics == ("orders",)
    stage.good.misbehave(how, METADATA)
    with within(TIMEOUTS.bulk):
        assert reader.partitions().topics == ("orders",)
    assert METADATA in stage.bad.requests


# --- before any answer


def test_a_refused_port(stage: Stage) -> None:
    with hostile.refusing_port() as port:
        stage.name_the_bad_one(HOST, port)
        reader = stage.reader()
        for _ in range(3):
            told = pulse_of(reader)
            assert_healthy(told[GOOD])
            assert legs(told[BAD]) == (REFUSED, SKIPPED, SKIPPED)
        failure = reader.list_groups([BAD])[BAD].error
        assert isinstance(failure, Refused), "refusals are cheap: no circuit breaker"
        assert (failure.node, failure.address) == (BAD, f"{HOST}:{port}")


def test_a_full_backlog(stage: Stage) -> None:
    with hostile.full_backlog() as port:
        stage.name_the_bad_one(HOST, port)
        reader = stage.reader()
        with within(2 * TIMEOUTS.pulse):
            told = pulse_of(reader)
        assert_healthy(told[GOOD])
        assert legs(told[BAD]) == (TIMEOUT, SKIPPED, SKIPPED)
        assert "connect" in failed_leg(told[BAD]).detail
        again = pulse_of(reader)
        assert legs(again[BAD]) == (SKIPPED, SKIPPED, SKIPPED)
        assert isinstance(reader.list_groups([BAD])[BAD].error, Skipped)


def test_a_name_that_takes_for_ever(stage: Stage) -> None:
    """A look-up cannot be interrupted; it is left behind, and there is never a second one of the same name."""
    released, running, most = threading.Event(), [0], [0]

    def resolve(host: str, port: int, **options: Any) -> list[Any]:
        if host != "slow.example":
            return socket.getaddrinfo(host, port, **options)
        running[0] += 1
        most[0] = max(most[0], running[0])
        released.wait(30)
        running[0] -= 1
        return socket.getaddrinfo(HOST, port, **options)

    stage.name_the_bad_one("slow.example", stage.bad.port)
    reader = stage.reader(resolve)
    with within(2 * TIMEOUTS.pulse):
        told = pulse_of(reader)
    assert_healthy(told[GOOD])
    assert legs(told[BAD]) == (TIMEOUT, SKIPPED, SKIPPED)
    assert "name look-up" in failed_leg(told[BAD]).detail
    for _ in range(3):
        stage.clocks.offset += 60
        with within(TIMEOUTS.pulse):
            told = pulse_of(reader)
        assert_healthy(told[GOOD])
        assert legs(told[BAD]) == (TIMEOUT, SKIPPED, SKIPPED)
    assert most[0] == 1
    released.set()
    until(lambda: running[0] == 0)
    stage.clocks.offset += 60
    assert_healthy(pulse_of(reader)[BAD])


def test_a_name_that_is_not_known(stage: Stage) -> None:
    def resolve(host: str, port: int, **options: Any) -> list[Any]:
        if host == "gone.example":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return socket.getaddrinfo(host, port, **options)

    stage.name_the_bad_one("gone.example", 9092)
    reader = stage.reader(resolve)
    told = pulse_of(reader)
    assert_healthy(told[GOOD])
    assert legs(told[BAD]) == (ERROR, SKIPPED, SKIPPED)
    assert "gone.example" in failed_leg(told[BAD]).detail
    failure = reader.list_groups([BAD])[BAD].error
    assert isinstance(failure, NameLookupFailed)
    assert failure.kind == "name"


def test_a_name_whose_first_address_refuses(stage: Stage) -> None:
    """localhost is ::1 first on many machines, where a broker may not listen."""

    def resolve(host: str, port: int, **options: Any) -> list[Any]:
        if host != "two.example":
            return socket.getaddrinfo(host, port, **options)
        refusing = socket.getaddrinfo(HOST, nobody, **options)
        return refusing + socket.getaddrinfo(HOST, port, **options)

    with hostile.refusing_port() as nobody:
        stage.name_the_bad_one("two.example", stage.bad.port)
        assert_healthy(pulse_of(stage.reader(resolve))[BAD])


def test_a_node_whose_address_nobody_knows(stage: Stage) -> None:
    """A replica's broker that is not registered has no host: it must not be looked for on this machine."""
    reader = stage.reader()
    reader.expect([Node(7, "", 0, None, frozenset({Role.BROKER}), False, None)])
    told = pulse_of(reader)
    assert_healthy(told[GOOD])
    assert 7 not in told or LegState.OK not in legs(told[7])
    assert reader.list_groups([7])[7].error is not None


# --- TLS


def test_silence_in_the_tls_handshake() -> None:
    """kafka-python's own time-outs do not bound this one."""
    peer = Peer(BAD)
    peer.before_tls = lambda stream: stream.stall()
    reader = Reader("hostile", [peer.address], SecurityConfig(protocol="SSL"), timeouts=TIMEOUTS)
    try:
        with within(TIMEOUTS.pulse):
            assert list(reader.pulse()) == []
        error = reader.bootstrap_errors()[peer.address]
        assert isinstance(error, TimedOut)
        assert "TLS handshake" in str(error)
        reader.expect([Node(BAD, HOST, peer.port, None, frozenset({Role.BROKER}), False, None)])
        with within(TIMEOUTS.pulse):
            told = pulse_of(reader)
        assert legs(told[BAD]) == (OK, TIMEOUT, SKIPPED)
        assert "TLS handshake" in failed_leg(told[BAD]).detail
    finally:
        reader.close()
        peer.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for the loopback address and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl makes the certificate, and it is not on the path")
    folder = tmp_path_factory.mktemp("tls")
    made, key = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", made],
        check=True, capture_output=True,
    )  # fmt: skip
    return made, key


def plain_text_answer(stream: hostile.Stream) -> None:
    stream.send(b"\0\0\0\4oops")
    stream.stall()


@pytest.mark.parametrize(
    ("before_tls", "state", "detail"),
    [(hostile.Stream.stall, TIMEOUT, "TLS handshake"), (plain_text_answer, ERROR, "TLS")],
    ids=["silent", "plain text"],
)
def test_a_bad_tls_handshake_beside_a_good_broker(
    certificate: tuple[Path, Path], before_tls: Callable[[hostile.Stream], None], state: LegState, detail: str
) -> None:
    made, key = certificate
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made, key)
    stage = Stage(SecurityConfig(protocol="SSL", ca_file=str(made)), context)
    stage.bad.before_tls = before_tls
    try:
        reader = stage.reader()
        with within(2 * TIMEOUTS.pulse):
            told = pulse_of(reader)
        assert_healthy(told[GOOD])
        assert legs(told[BAD]) == (OK, state, SKIPPED)
        assert detail in failed_leg(told[BAD]).detail
        assert reader.list_groups([GOOD])[GOOD].error is None
    finally:
        stage.close()


def test_a_certificate_of_another_authority_is_refused_by_name(certificate: tuple[Path, Path]) -> None:
    made, key = certificate
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made, key)
    stage = Stage(SecurityConfig(protocol="SSL"), context)
    try:
        reader = stage.reader()
        assert list(reader.pulse()) == []
        assert "certificate" in str(reader.bootstrap_errors()[stage.good.address]).lower()
    finally:
        stage.close()


# --- for long


def paused(stage: Stage, reader: Reader, seconds: float, interval: float = 5.0) -> Sequence[Pulse]:
    """Pulse as the collector does for so long, on a clock that runs ahead."""
    seen = []
    for _ in range(int(seconds / interval)):
        told = pulse_of(reader)
        assert_healthy(told[GOOD])
        seen.append(told[BAD])
        reader.list_groups([GOOD, BAD])
        stage.clocks.offset += interval
    return seen


def test_a_broker_paused_for_five_minutes_is_probed_sparsely(stage: Stage) -> None:
    """One new connection a second fills a hung broker's backlog of 50 and changes the symptom: we stay far below."""
    reader = stage.reader()
    reader.pulse()
    reader.list_groups([BAD])
    before = stage.bad.accepted
    assert before <= 2
    stage.bad.misbehave(hostile.silent)
    seen = paused(stage, reader, 300)
    tried = [p for p in seen if legs(p) != (SKIPPED, SKIPPED, SKIPPED)]
    assert {legs(p) for p in tried} == {(OK, TIMEOUT, SKIPPED)}
    assert 5 <= len(tried) <= 15, "it is tried again, after growing pauses"
    assert stage.bad.accepted - before <= 20
    until(lambda: stage.bad.open <= 2)
    stage.bad.behave()
    stage.clocks.offset += 60
    assert_healthy(pulse_of(reader)[BAD])
    assert reader.list_groups([BAD])[BAD].error is None


def test_healthy_brokers_keep_their_connections(stage: Stage) -> None:
    reader = stage.reader()
    for _ in range(20):
        reader.pulse()
        assert all(a.error is None for a in reader.list_groups([GOOD, BAD]).values())
        reader.partitions()
    # Bootstrap, pulse and bulk.
    assert stage.good.accepted <= 3
    assert stage.bad.accepted <= 2


def test_connections_that_a_broker_closed_while_idle_are_no_failure(stage: Stage) -> None:
    """connections.max.idle.ms, or a quick restart between two polls."""
    reader = stage.reader()
    reader.pulse()
    assert reader.list_groups([GOOD, BAD])[BAD].error is None
    stage.bad.drop_connections()
    until(lambda: stage.bad.open == 0)
    assert reader.list_groups([GOOD, BAD])[BAD].error is None
    assert_healthy(pulse_of(reader)[BAD])


def test_a_bootstrap_server_that_is_silent_delays_the_others_only_once(stage: Stage) -> None:
    silent = Peer(9)
    silent.misbehave(hostile.silent)
    reader = Reader("hostile", [silent.address, stage.good.address], timeouts=TIMEOUTS)
    try:
        with within(2 * TIMEOUTS.pulse):
            told = pulse_of(reader)
        assert set(told) == {GOOD, BAD}
        assert_healthy(told[GOOD])
        assert silent.accepted == 1
    finally:
        reader.close()
        silent.close()


def test_close_ends_calls_that_wait(stage: Stage) -> None:
    reader = Reader("hostile", [stage.good.address], timeouts=Timeouts(pulse=1, bulk=60, forwarded=60))
    reader.pulse()
    stage.bad.misbehave(hostile.silent)
    failures: list[KafkaError | None] = []
    waiting = threading.Thread(target=lambda: failures.append(reader.list_groups([BAD])[BAD].error), daemon=True)
    waiting.start()
    until(lambda: LIST_GROUPS in stage.bad.requests)
    reader.close()
    waiting.join(10)
    assert not waiting.is_alive()
    assert len(failures) == 1
    assert isinstance(failures[0], KafkaError)


def test_no_thread_is_left_after_close(stage: Stage) -> None:
    def ours() -> list[str]:
        return [t.name for t in threading.enumerate() if t.name.startswith(("pulse", "bulk", "forwarded", "bootstrap"))]

    before = set(ours())
    reader = stage.reader()
    reader.pulse()
    reader.list_groups([GOOD, BAD])
    assert set(ours()) - before
    reader.close()
    until(lambda: not set(ours()) - before)
