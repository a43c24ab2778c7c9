"""TLS and passwords: who is let in, what is told where it fails, changed files, and that no secret is seen in the list of processes."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import trustme

from exporter.jmx.access import Access, TlsFiles
from exporter.jmx.catalogue import shipped
from exporter.jmx.errors import JmxConnectError, JmxDenied, JmxTimeout
from exporter.jmx.jmxquery_transport import JmxQueryTransport
from exporter.jmx.jpype_transport import JpypeTransport
from exporter.jmx.prometheus_transport import PrometheusTransport
from exporter.jmx.transport import JmxAnswer, JmxTransport, Target
from exporter.jmx.transports import Transports
from tests.exporter.jmx.agent import FakeAgent, running
from tests.exporter.jmx.contract import PLAN
from tests.exporter.jmx.java import LIMIT_S, free_port, java_with_jmx, own_files, under_tls, wait_for, with_password

SECRET = "s3cret-of-klaxon"


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def strict_java(ca: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """JMX that wants everything: a password, TLS, and a client's certificate."""
    folder = tmp_path_factory.mktemp("strict")
    flags = (*with_password(folder, "klaxon", SECRET), *under_tls(folder, ca, clients=True))
    with java_with_jmx(flags=flags) as (_, port):
        yield f"127.0.0.1:{port}"


@pytest.fixture
def files(tmp_path: Path, ca: trustme.CA) -> Access:
    """A Klaxon that may come in."""
    return access(tmp_path, ca)


def access(folder: Path, ca: trustme.CA) -> Access:
    own = [str(p) for p in own_files(folder / "own", ca)]
    (folder / "password").write_text(f"{SECRET}\n")
    return Access("klaxon", str(folder / "password"), TlsFiles(*own))


def first_answer(transport: JmxTransport, address: str, who: Access) -> JmxAnswer:
    """The first answer that is no sign of a machine that starts."""
    end = time.monotonic() + LIMIT_S
    while True:
        answer = transport.read([Target(1, address, PLAN, who)], LIMIT_S)[1]
        if answer.error is None or isinstance(answer.error, JmxDenied) or time.monotonic() > end:
            return answer
        time.sleep(0.1)


def test_password_and_tls_with_a_certificate_of_our_own(strict_java: str, files: Access) -> None:
    transport = JpypeTransport(files.tls)
    try:
        answer = first_answer(transport, strict_java, files)
        assert answer.error is None and answer.beans and answer.warnings == ()
        child = transport.child_pid
        assert transport.read([Target(1, strict_java, PLAN, files)], LIMIT_S)[1].error is None
        assert transport.child_pid == child
    finally:
        transport.close()


def test_changed_files_are_taken_up(strict_java: str, tmp_path: Path, ca: trustme.CA) -> None:
    stranger = access(tmp_path, trustme.CA())
    transport = JpypeTransport(stranger.tls)
    try:
        error = first_answer(transport, strict_java, stranger).error
        assert isinstance(error, JmxDenied) and SECRET not in str(error)
        friend = access(tmp_path, ca)
        assert friend == stranger, "the same files"
        assert first_answer(transport, strict_java, friend).error is None
        assert friend.tls is not None and friend.tls.key_file is not None
        Path(friend.tls.key_file).write_text("-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n")
        error = first_answer(transport, strict_java, friend).error
        assert isinstance(error, JmxDenied) and "must be an unencrypted PKCS #8 key" in str(error)
        Path(friend.tls.key_file).unlink()
        error = first_answer(transport, strict_java, friend).error
        assert isinstance(error, JmxDenied) and f"jmx.tls.key_file ({friend.tls.key_file}) cannot be used" in str(error)
        access(tmp_path, ca)
        assert first_answer(transport, strict_java, friend).error is None
    finally:
        transport.close()


def test_a_registry_without_tls(tmp_path: Path, ca: trustme.CA) -> None:
    flags = (
        "-Dcom.sun.management.jmxremote.authenticate=false",
        # One port cannot speak both.
        f"-Dcom.sun.management.jmxremote.rmi.port={free_port()}",
        *under_tls(tmp_path / "java", ca, registry=False),
    )
    own = [str(p) for p in own_files(tmp_path / "own", ca)]
    with java_with_jmx(flags=flags) as (_, port):
        plain = TlsFiles(own[0], registry=False)
        transport = JpypeTransport(plain)
        try:
            assert first_answer(transport, f"127.0.0.1:{port}", Access(tls=plain)).error is None
        finally:
            transport.close()
        without = JpypeTransport()
        try:
            error = first_answer(without, f"127.0.0.1:{port}", Access()).error
            assert isinstance(error, JmxDenied) and "wants TLS: set jmx.tls" in str(error)
        finally:
            without.close()


def test_a_node_without_tls_is_not_trusted(tmp_path: Path, ca: trustme.CA) -> None:
    own = [str(p) for p in own_files(tmp_path / "own", ca)]
    tls = TlsFiles(own[0], registry=False)
    transport = JpypeTransport(tls)
    try:
        with java_with_jmx() as (_, port):
            said: list[str] = []

            def says() -> bool:
                error = transport.read([Target(1, f"127.0.0.1:{port}", PLAN, Access(tls=tls))], LIMIT_S)[1].error
                said.append(str(error))
                return isinstance(error, JmxConnectError) and "does not use TLS" in str(error)

            wait_for(says, "the reason")
    finally:
        transport.close()


def test_https_to_an_agent(tmp_path: Path, ca: trustme.CA) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    context.verify_mode = ssl.CERT_REQUIRED
    ca.configure_trust(context)
    transport = PrometheusTransport(shipped())
    with running(FakeAgent(), context) as agent:
        address = f"127.0.0.1:{agent.port}"
        assert first_answer(transport, address, access(tmp_path, ca)).error is None
    with running(FakeAgent(), context) as agent:
        address = f"127.0.0.1:{agent.port}"
        error = first_answer(transport, address, access(tmp_path, trustme.CA())).error
        assert isinstance(error, JmxDenied) and "TLS with" in str(error)
    transport.close()


def test_no_secret_in_the_list_of_processes(tmp_path: Path) -> None:
    flags = (*with_password(tmp_path, "klaxon", SECRET), "-Dcom.sun.management.jmxremote.ssl=false")
    (tmp_path / "password").write_text(SECRET)
    who = Access("klaxon", str(tmp_path / "password"))
    seen: set[str] = set()
    over = threading.Event()

    def watch() -> None:
        while not over.is_set():
            for process in psutil.Process().children(recursive=True):
                try:
                    seen.add(" ".join(process.cmdline()) + str(process.environ()))
                except psutil.Error:
                    continue

    with java_with_jmx(flags=flags) as (_, port):
        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            for transport in (JpypeTransport(), JmxQueryTransport()):
                assert first_answer(transport, f"127.0.0.1:{port}", who).error is None
                transport.close()
        finally:
            over.set()
            watcher.join()
    assert any("@/dev/stdin" in text for text in seen) and any("jpype_child" in text for text in seen)
    assert not any(SECRET in text for text in seen)


def test_a_process_of_jmxquery_that_is_late_is_ended() -> None:
    transport = JmxQueryTransport()
    before = {p.pid for p in psutil.Process().children()}
    with java_with_jmx() as (node, port):
        target = Target(1, f"127.0.0.1:{port}", PLAN)
        wait_for(lambda: transport.read([target], LIMIT_S)[1].error is None, "an answer")
        assert isinstance(transport.read([target], 0.15)[1].error, JmxTimeout), "no Java starts that fast"
        wait_for(lambda: {p.pid for p in psutil.Process().children()} <= before | {node.pid}, "no process is left")


def test_clusters_share_a_transport_unless_their_tls_differs(files: Access) -> None:
    transports = Transports(shipped())
    plain = transports.get("jpype", Access())
    assert transports.get("jpype", Access("klaxon", "file")) is plain
    secured = transports.get("jpype", files)
    assert secured is not plain and transports.get("jpype", files) is secured
    assert transports.get("prometheus", Access()) is transports.get("prometheus", files)
    kinds = [type(transports.get(name, Access())) for name in ("jpype", "jmxquery", "prometheus")]  # type: ignore[arg-type]
    assert kinds == [JpypeTransport, JmxQueryTransport, PrometheusTransport]
    transports.close()
