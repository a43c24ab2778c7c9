"""TCP peers for tests: one that speaks enough Kafka to be a broker, and everything that a broker's port has been seen to do instead."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from kafka.protocol.admin import DescribeClusterResponse, ListGroupsResponse
from kafka.protocol.metadata import ApiVersionsResponse, MetadataResponse

METADATA, LIST_GROUPS, API_VERSIONS, DESCRIBE_CLUSTER = 3, 16, 18, 60
FLEXIBLE_FROM = {METADATA: 9, LIST_GROUPS: 3, DESCRIBE_CLUSTER: 0}
OFFERED = {METADATA: (0, 13), LIST_GROUPS: (0, 5), API_VERSIONS: (0, 4), DESCRIBE_CLUSTER: (0, 2)}
BIG = 50 * 1024 * 1024
HOST = "127.0.0.1"


@dataclass(frozen=True)
class Request:
    """What a client asked; ``answer`` is the whole proper answer: length, header, body."""

    key: int
    version: int
    correlation: int
    answer: bytes


Misbehaviour = Callable[["Stream", Request], None]


class Stream:
    """One accepted connection, whose waits end when the client or the peer goes."""

    def __init__(self, connection: socket.socket, ended: threading.Event) -> None:
        self._connection = connection
        self._ended = ended

    def send(self, data: bytes) -> None:
        self._connection.sendall(data)

    def receive(self, size: int) -> bytes | None:
        """None when the client has gone."""
        data = b""
        while len(data) < size:
            more = self._connection.recv(size - len(data))
            if not more:
                return None
            data += more
        return data

    def wait(self, seconds: float) -> None:
        """Do nothing for a while; raises OSError when the peer is closed meanwhile."""
        if self._ended.wait(seconds):
            raise OSError("the peer is closed")

    def stall(self) -> None:
        """Keep the connection open without a word until the client leaves."""
        self._connection.settimeout(60)
        while self._connection.recv(4096):
            pass


class Peer:
    """A broker's port. Well-behaved, but for the APIs in ``misbehaviours``, and it may answer for several nodes' addresses.

    ``accepted`` counts connections since the start, ``open`` those that the client has not closed.
    """

    def __init__(self, node: int, tls: ssl.SSLContext | None = None) -> None:
        self.node = node
        self.cluster_id = "hostile-test"
        self.misbehaviours: dict[int, Misbehaviour] = {}
        self.before_tls: Callable[[Stream], None] | None = None
        self.gate: Callable[[Stream], bool] | None = None
        """What a connection must pass before it is served."""
        self.view: Sequence[tuple[int, str, int]] = ()
        """(node id, host, port) of the brokers in its answers."""
        self.topics: Sequence[str] = ()
        """Topics with one partition each, led by this node."""
        self.groups_error = 0
        """Kafka's error code in its ListGroups answers."""
        self.accepted = 0
        self.open = 0
        self.requests: list[int] = []
        self._tls = tls
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._connections: set[socket.socket] = set()
        self._listener = socket.create_server((HOST, 0), backlog=128)
        self.port = int(self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._accept, name=f"peer {node}", daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    def misbehave(self, how: Misbehaviour, *keys: int) -> None:
        """From the next request on, of these APIs or of all."""
        self.misbehaviours = dict.fromkeys(keys or OFFERED, how)

    def behave(self) -> None:
        self.misbehaviours = {}

    def close(self) -> None:
        self._ended.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.drop_connections()

    def drop_connections(self) -> None:
        """Close what is open, as a broker does with idle connections."""
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while not self._ended.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self.accepted += 1
                self.open += 1
                self._connections.add(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with contextlib.suppress(OSError, ssl.SSLError), connection:
                self._talk(connection)
        finally:
            with self._lock:
                self.open -= 1
                self._connections.discard(connection)

    def _talk(self, connection: socket.socket) -> None:
        if self.before_tls is not None:
            self.before_tls(Stream(connection, self._ended))
            return
        if self._tls is not None:
            connection = self._tls.wrap_socket(connection, server_side=True)
        stream = Stream(connection, self._ended)
        if self.gate is not None and not self.gate(stream):
            return
        while (request := self._request(stream)) is not None:
            self.requests.append(request.key)
            how = self.misbehaviours.get(request.key)
            if how is None:
                stream.send(request.answer)
            else:
                how(stream, request)

    def _request(self, stream: Stream) -> Request | None:
        size = stream.receive(4)
        frame = stream.receive(struct.unpack(">i", size)[0]) if size else None
        if frame is None:
            return None
        key, version, correlation = struct.unpack_from(">hhi", frame)
        return Request(key, version, correlation, framed(key, version, correlation, self._body(key, version)))

    def _body(self, key: int, version: int) -> bytes:
        answers: dict[int, Callable[[], Any]] = {
            API_VERSIONS: self._api_versions,
            DESCRIBE_CLUSTER: self._cluster,
            METADATA: self._metadata,
            LIST_GROUPS: lambda: ListGroupsResponse(throttle_time_ms=0, error_code=self.groups_error, groups=[]),
        }
        return bytes(answers[key]().encode(version=version))

    def _api_versions(self) -> Any:
        ranges = [
            ApiVersionsResponse.ApiVersion(api_key=key, min_version=low, max_version=high)
            for key, (low, high) in OFFERED.items()
        ]
        return ApiVersionsResponse(error_code=0, api_keys=ranges, throttle_time_ms=0)

    def _cluster(self) -> Any:
        brokers = [
            DescribeClusterResponse.DescribeClusterBroker(broker_id=i, host=h, port=p, rack=None, is_fenced=False)
            for i, h, p in self.view
        ]
        return DescribeClusterResponse(
            throttle_time_ms=0, error_code=0, error_message=None, endpoint_type=1, cluster_id=self.cluster_id,
            controller_id=1, brokers=brokers,
        )  # fmt: skip

    def _metadata(self) -> Any:
        parts = MetadataResponse.MetadataResponseTopic.MetadataResponsePartition
        topics = [
            MetadataResponse.MetadataResponseTopic(
                error_code=0, name=name, topic_id="00000000-0000-0000-0000-000000000001", is_internal=False,
                partitions=[
                    parts(error_code=0, partition_index=0, leader_id=self.node, leader_epoch=0,
                          replica_nodes=[self.node], isr_nodes=[self.node], offline_replicas=[])
                ],
            )
            for name in self.topics
        ]  # fmt: skip
        brokers = [
            MetadataResponse.MetadataResponseBroker(node_id=i, host=h, port=p, rack=None) for i, h, p in self.view
        ]
        return MetadataResponse(
            throttle_time_ms=0, brokers=brokers, cluster_id=self.cluster_id, controller_id=1, topics=topics
        )


def framed(key: int, version: int, correlation: int, body: bytes) -> bytes:
    """Length, response header v0 or (flexible, KIP-482) v1, body."""
    flexible = version >= FLEXIBLE_FROM.get(key, 1 << 15)
    header = struct.pack(">i", correlation) + (b"\0" if flexible else b"")
    return struct.pack(">i", len(header) + len(body)) + header + body


# --- what is done instead of answering


def silent(stream: Stream, _request: Request) -> None:
    stream.stall()


def hangs_up(_stream: Stream, _request: Request) -> None:
    raise OSError("closed on purpose")


def not_kafka(stream: Stream, _request: Request) -> None:
    stream.send(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
    stream.stall()


def garbage(stream: Stream, request: Request) -> None:
    """A proper frame for this request, with a body of rubbish."""
    stream.send(framed(request.key, request.version, request.correlation, b"\xfe\x03\xff\x7f\x11" * 40))
    stream.stall()


def cut_short(stream: Stream, request: Request) -> None:
    """A proper frame whose body ends too early: the announced length is that of the half."""
    body = request.answer[4 : 4 + (len(request.answer) - 4) // 2]
    stream.send(struct.pack(">i", len(body)) + body)
    stream.stall()


def half_then_stall(stream: Stream, request: Request) -> None:
    stream.send(request.answer[: len(request.answer) // 2])
    stream.stall()


def half_then_close(stream: Stream, request: Request) -> None:
    stream.send(request.answer[: len(request.answer) // 2])
    raise OSError("closed on purpose")


def length_then_stall(stream: Stream, _request: Request) -> None:
    stream.send(struct.pack(">i", 200 * 1024 * 1024))
    stream.stall()


def wrong_correlation(stream: Stream, request: Request) -> None:
    stream.send(request.answer[:4] + struct.pack(">i", request.correlation + 1) + request.answer[8:])
    stream.stall()


def negative_length(stream: Stream, _request: Request) -> None:
    stream.send(struct.pack(">i", -5))
    stream.stall()


def giant_length(stream: Stream, request: Request) -> None:
    stream.send(struct.pack(">ii", 2**31 - 1, request.correlation))
    stream.stall()


def empty_frame(stream: Stream, _request: Request) -> None:
    stream.send(struct.pack(">i", 0))
    stream.stall()


def fifty_megabytes_of_zeros(stream: Stream, request: Request) -> None:
    stream.send(framed(request.key, request.version, request.correlation, bytes(BIG)))
    stream.stall()


def byte_by_byte(stream: Stream, request: Request) -> None:
    """Never silent for long, and never done: the answer is padded so that it would take a minute."""
    stream.send(struct.pack(">i", len(request.answer) + 2000))
    for byte in request.answer[4:] + bytes(2000):
        stream.send(bytes([byte]))
        stream.wait(0.03)


def fifty_megabytes_of_groups(stream: Stream, request: Request) -> None:
    """A proper ListGroups answer of 50 MB."""
    name = "g" * (BIG // 2000)
    listed = [
        ListGroupsResponse.ListedGroup(
            group_id=f"{i:04d}{name}", protocol_type="consumer", group_state="Stable", group_type="classic"
        )
        for i in range(2000)
    ]
    body = ListGroupsResponse(throttle_time_ms=0, error_code=0, groups=listed).encode(version=request.version)
    stream.send(framed(request.key, request.version, request.correlation, bytes(body)))


# --- ports that do not even get so far


@contextlib.contextmanager
def refusing_port() -> Iterator[int]:
    """A port that stays ours and refuses: bound, not listening."""
    with socket.socket() as holder:
        holder.bind((HOST, 0))
        yield int(holder.getsockname()[1])


@contextlib.contextmanager
def full_backlog() -> Iterator[int]:
    """A port whose accept queue is full, like that of a process that has hung for long: the kernel drops further attempts."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind((HOST, 0))
        listener.listen(0)
        port = int(listener.getsockname()[1])
        for _ in range(16):
            filler = stack.enter_context(socket.socket())
            filler.settimeout(0.3)
            try:
                filler.connect((HOST, port))
            except TimeoutError:
                break
        else:
            raise RuntimeError("the accept queue does not fill up on this system")
        yield port
