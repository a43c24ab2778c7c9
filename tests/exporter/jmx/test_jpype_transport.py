"""The transport and its child process against real JMX ports of small Java machines, silent and refusing ports, and the child's death."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from types import SimpleNamespace

import psutil
import pytest

from exporter.jmx import jpype_child, jpype_transport
from exporter.jmx.attributes import parser
from exporter.jmx.errors import JmxChildDied, JmxConnectError, JmxHung, JmxRefused, JmxTimeout
from exporter.jmx.jpype_child import CHANGING_S, Connection, PlannedBean, endpoint
from exporter.jmx.jpype_transport import JpypeTransport
from exporter.jmx.transport import Attribute, BeanRequest, JmxAnswer, Kind, Plan, Target
from tests.exporter.jmx.java import LIMIT_S, free_port, java_with_jmx, wait_for

MEMORY = BeanRequest(
    "java.lang:type=Memory",
    (Attribute("Verbose"), Attribute("HeapMemoryUsage", Kind.COMPOSITE, ("used", "max"))),
)
RUNTIME = BeanRequest(
    "java.lang:type=Runtime", (Attribute("StartTime"), Attribute("NoSuch"), Attribute("VmName", Kind.TEXT))
)
POOLS = BeanRequest("java.lang:type=MemoryPool,name=*", (Attribute("Usage", Kind.COMPOSITE, ("used",)),), refresh_s=60)
GONE = BeanRequest("kafka.server:type=KafkaServer,name=BrokerState", (Attribute("Value"),))
PLAN = Plan((MEMORY, RUNTIME, POOLS, GONE))


@pytest.fixture(scope="module")
def java() -> Iterator[int]:
    with java_with_jmx() as (_, port):
        yield port


@pytest.fixture
def transport() -> Iterator[JpypeTransport]:
    made = JpypeTransport()
    yield made
    made.close()


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that accepts connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as server:
        yield int(server.getsockname()[1])


def target(node: int, port: int, plan: Plan = PLAN) -> Target:
    return Target(node, f"127.0.0.1:{port}", plan)


def timed(transport: JpypeTransport, *targets: Target, deadline: float) -> tuple[dict[int, JmxAnswer], float]:
    started = time.monotonic()
    answers = transport.read(targets, deadline)
    return dict(answers), time.monotonic() - started


def test_values_composites_texts_patterns_and_missing_beans(transport: JpypeTransport, java: int) -> None:
    answer = transport.read([target(1, java)], LIMIT_S)[1]
    assert answer.error is None and answer.warnings == () and answer.failed == {}
    assert answer.missing == (GONE.bean,)
    beans = {b.bean: b for b in answer.beans}
    verbose, used, most = beans[MEMORY.bean].values
    assert verbose == 0.0 and isinstance(used, float) and isinstance(most, float) and 0 < used < most < 64e6
    start, none, name = beans[RUNTIME.bean].values
    assert isinstance(start, float) and abs(start / 1000 - time.time()) < 600
    assert none is None and isinstance(name, str) and "VM" in name
    pools = [b for b in answer.beans if b.request == POOLS.bean]
    assert {"java.lang:name=Tenured Gen,type=MemoryPool", "java.lang:name=Metaspace,type=MemoryPool"} <= {
        b.bean for b in pools
    }
    assert answer.taken_at == pytest.approx(time.time(), abs=60)


class Beans:
    """An MBean server of one value per bean, which counts how often it is asked."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.missing: set[str] = set()

    def getAttributes(self, name: str, _attributes: object) -> Beans:  # noqa: N802 (Java's name)
        if name in self.missing:
            raise LookupError(name)
        self.asked[name] += 1
        return self

    def toString(self) -> str:  # noqa: N802 (Java's name)
        return "[Value = 7]"


def test_values_that_may_be_old_are_used_again_unless_beans_come_or_go(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(jpype_child.time, "monotonic", lambda: now)
    errors = dict.fromkeys(("InstanceNotFound", "Throwable"), LookupError)
    java = SimpleNamespace(**errors, ServerError=ArithmeticError, ServerException=ArithmeticError, IO=OSError)
    reader = jpype_child.Target(java, {}, lambda _frame: None)  # type: ignore[arg-type]
    server = Beans()
    connection = Connection(server, None, [], None)
    plan = [
        PlannedBean(bean, bean, None, parser([Attribute("Value")]), None, every)
        for bean, every in (("fast", 0.0), ("slow", 60.0))
    ]

    def poll() -> tuple[int, int]:
        """How often each has been asked by now."""
        frame = reader._read_beans(connection, plan, now + 5)
        assert ("slow", "slow", (7.0,)) in frame["beans"]
        return server.asked["fast"], server.asked["slow"]

    assert poll() == (1, 1)
    now += CHANGING_S / 2
    assert poll() == (2, 2), "a new connection: all is read"
    now += CHANGING_S
    assert poll() == (3, 2), "half of its time has not passed"
    now += CHANGING_S + 1
    assert poll() == (4, 3), "its time has passed"
    server.missing.add("fast")
    now += 1
    assert poll() == (4, 3)
    now += 1
    assert poll() == (4, 4), "a bean has gone: all is read"


def test_refused_silent_and_unknown_hosts_are_named_and_harm_nobody(
    transport: JpypeTransport, java: int, silent_port: int
) -> None:
    transport.read([target(1, java)], LIMIT_S)
    refused = free_port()
    answers, seconds = timed(
        transport,
        target(1, java),
        target(2, refused),
        target(3, silent_port),
        Target(4, "no-such-host.invalid:1", PLAN),
        deadline=2.0,
    )
    assert answers[1].error is None and answers[1].beans
    assert isinstance(answers[2].error, JmxRefused)
    assert f"node 2 (127.0.0.1:{refused}) JMX: 127.0.0.1:{refused} refuses connections" in str(answers[2].error)
    assert isinstance(answers[3].error, JmxTimeout) and (answers[3].error.node, answers[3].error.kind) == (3, "timeout")
    assert isinstance(answers[4].error, (JmxConnectError, JmxTimeout))
    assert seconds < 2.5
    assert answers[1].seconds < 1.5


def test_a_port_that_is_no_jmx_is_an_error(transport: JpypeTransport) -> None:
    transport.read([target(1, free_port())], LIMIT_S)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    with connection, contextlib.suppress(OSError):
                        connection.sendall(b"220 mail.example.org ESMTP\r\n")

        threading.Thread(target=greet, daemon=True).start()
        answers, seconds = timed(transport, target(1, server.getsockname()[1]), deadline=3.0)
    assert isinstance(answers[1].error, (JmxConnectError, JmxTimeout))
    assert "RMI registry" in str(answers[1].error) and seconds < 3.5


def test_a_node_that_hangs_is_answered_at_once_until_it_wakes(transport: JpypeTransport, java: int) -> None:
    with java_with_jmx() as (process, port):
        assert transport.read([target(1, java), target(2, port)], LIMIT_S)[2].error is None
        process.send_signal(signal.SIGSTOP)
        answers, seconds = timed(transport, target(1, java), target(2, port), deadline=1.0)
        assert isinstance(answers[2].error, JmxTimeout) and answers[1].error is None and seconds < 1.5
        answers, seconds = timed(transport, target(1, java), target(2, port), deadline=10.0)
        assert isinstance(answers[2].error, JmxHung) and answers[2].error.seconds > 0.5
        assert answers[1].error is None and seconds < 2
        child = transport.child_pid
        process.send_signal(signal.SIGCONT)
        wait_for(lambda: transport.read([target(2, port)], 2.0)[2].error is None, "the node that woke")
        assert transport.child_pid == child


def test_a_node_that_restarts_is_connected_anew_in_the_same_read(transport: JpypeTransport) -> None:
    with java_with_jmx() as (_, port):
        first = transport.read([target(1, port)], LIMIT_S)[1]
    assert isinstance(transport.read([target(1, port)], 5.0)[1].error, JmxRefused)
    with java_with_jmx(port=port):
        assert transport.read([target(1, port)], 5.0)[1].error is None
    with java_with_jmx(port=port):
        again = transport.read([target(1, port)], 5.0)[1]
    assert first.error is None and again.error is None


def test_a_stub_that_names_another_host(transport: JpypeTransport) -> None:
    with java_with_jmx(hostname="127.0.0.2") as (_, port):
        error = transport.read([target(1, port)], LIMIT_S)[1].error
    assert isinstance(error, JmxRefused)
    assert f"at 127.0.0.2:{port} (java.rmi.server.hostname)" in str(error)


@pytest.mark.parametrize(
    ("stub", "expected"),
    [
        (
            "RMIServerImpl_Stub[UnicastRef [liveRef: [endpoint:[kafka-1:9999](remote),objID:[4:a:1, 5]]]]",
            ("kafka-1", 9999),
        ),
        ("Proxy[RMIServer,[endpoint:[0:0:0:0:0:0:0:1:9999](remote),objID:[1]]", ("0:0:0:0:0:0:0:1", 9999)),
        ("[endpoint:[10.0.0.1:9999,SslRMIClientSocketFactory@5](remote),objID:[1:2]]", ("10.0.0.1", 9999)),
        ("RMIServerImpl_Stub[nothing]", None),
    ],
)
def test_the_host_that_a_stub_names(stub: str, expected: tuple[str, int] | None) -> None:
    assert endpoint(stub) == expected


def test_an_address_that_is_none(transport: JpypeTransport, java: int) -> None:
    with pytest.raises(ValueError, match="'kafka-1' must be host:port"):
        transport.read([target(1, java), Target(2, "kafka-1", PLAN)], LIMIT_S)
    assert transport.read([target(1, java)], LIMIT_S)[1].error is None
    assert transport.read([Target(1, f"[::1]:{java}", PLAN)], 5.0)[1].error is not None


def test_a_killed_child_is_an_error_in_time_and_then_works_again(
    transport: JpypeTransport, java: int, silent_port: int
) -> None:
    transport.read([target(1, java)], LIMIT_S)
    first = transport.child_pid
    assert first is not None
    results: list[JmxAnswer] = []
    reader = threading.Thread(target=lambda: results.append(transport.read([target(2, silent_port)], 20.0)[2]))
    reader.start()
    wait_for(lambda: bool(psutil.Process(first).net_connections()), "the read of the silent port")
    os.kill(first, signal.SIGKILL)
    reader.join(5)
    assert not reader.is_alive() and isinstance(results[0].error, JmxChildDied)
    assert "signal 9" in str(results[0].error)
    wait_for(lambda: transport.read([target(1, java)], 5.0)[1].error is None, "a new child")
    assert transport.child_pid not in (None, first)


def test_a_child_that_hangs_as_a_whole_is_replaced(transport: JpypeTransport, java: int) -> None:
    transport.read([target(1, java)], LIMIT_S)
    first = transport.child_pid
    assert first is not None
    os.kill(first, signal.SIGSTOP)
    answers, seconds = timed(transport, target(1, java), deadline=0.5)
    assert isinstance(answers[1].error, JmxTimeout) and seconds < 1
    wait_for(lambda: transport.read([target(1, java)], 2.0)[1].error is None, "a new child")
    assert transport.child_pid != first and not psutil.pid_exists(first)


def test_too_many_hung_reads_replace_the_child(
    transport: JpypeTransport, java: int, silent_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    transport.read([target(1, java)], LIMIT_S)
    first = transport.child_pid
    monkeypatch.setattr("exporter.jmx.jpype_transport.HUNG_S", 0.2)
    monkeypatch.setattr("exporter.jmx.jpype_transport.MOST_HUNG", 2)
    with java_with_jmx() as (one, port), java_with_jmx() as (two, other):
        both = [target(2, port), target(3, other)]
        transport.read(both, LIMIT_S)
        for process in (one, two):
            process.send_signal(signal.SIGSTOP)
        wait_for(lambda: bool(transport.read(both, 0.5)) and transport.child_pid not in (None, first), "a new child")
    assert transport.read([target(1, java)], LIMIT_S)[1].error is None


def test_reads_of_several_threads_at_once(transport: JpypeTransport, java: int) -> None:
    results: list[JmxAnswer] = []
    with java_with_jmx() as (_, other):
        threads = [
            threading.Thread(target=lambda n=n, p=p: results.append(transport.read([target(n, p)], LIMIT_S)[n]))
            for n, p in ((1, java), (2, other))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LIMIT_S)
    assert {r.node for r in results} == {1, 2} and all(r.error is None for r in results)


def test_close_ends_the_child(java: int) -> None:
    transport = JpypeTransport()
    transport.read([target(1, java)], LIMIT_S)
    pid = transport.child_pid
    assert pid is not None
    transport.close()
    assert not psutil.pid_exists(pid)
    answers, seconds = timed(transport, target(1, java), deadline=5.0)
    assert isinstance(answers[1].error, JmxChildDied) and "closed" in str(answers[1].error) and seconds < 1


def test_signals_of_the_terminal_do_not_reach_the_child_and_sigterm_ends_it(
    transport: JpypeTransport, java: int
) -> None:
    transport.read([target(1, java)], LIMIT_S)
    pid = transport.child_pid
    assert pid is not None and os.getsid(pid) != os.getsid(0)
    os.kill(pid, signal.SIGINT)
    assert transport.read([target(1, java)], 5.0)[1].error is None
    assert transport.child_pid == pid
    os.kill(pid, signal.SIGTERM)
    wait_for(lambda: not psutil.pid_exists(pid), "the end of the child")


PARENT = """
import sys, time
from exporter.jmx.jpype_transport import JpypeTransport
from exporter.jmx.transport import Plan, Target
transport = JpypeTransport()
transport.read([Target(1, "127.0.0.1:1", Plan(()))], 30.0)
print(transport.child_pid, flush=True)
time.sleep(600)
"""


def test_the_child_dies_with_its_parent() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    try:
        assert select.select([parent.stdout], [], [], LIMIT_S)[0]
        pid = int(parent.stdout.readline())
        assert psutil.pid_exists(pid)
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()
    wait_for(lambda: not psutil.pid_exists(pid), "the end of the child")


@pytest.mark.proof
def test_first_reads_at_once_do_not_crash_the_machine(java: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python would interrupt a thread after each microsecond, if the child let it: then one child in five died."""
    eager = f"import sys; sys.setswitchinterval(1e-6); {jpype_transport._STARTER}"
    monkeypatch.setattr(jpype_transport, "_STARTER", eager)
    names = ("127.0.0.1", "localhost", "127.1", "127.0.1", "2130706433")
    targets = [Target(node, f"{name}:{java}", PLAN) for node, name in enumerate(names)]
    for _ in range(20):
        with contextlib.closing(JpypeTransport()) as transport:
            answers = transport.read(targets, LIMIT_S)
        assert {node: answer.error for node, answer in answers.items()} == dict.fromkeys(range(len(names)))
