"""Three brokers that answer with bytes: real sockets, so that the real reader and the whole daemon can be measured at a size that no cluster here has.

``python -m tests.bench.stub TOPICS GROUPS`` is the process that plays them: it prints its bootstrap servers, then goes on to other offsets with each line of
standard input.
"""

from __future__ import annotations

import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

from exporter.kafka import messages
from exporter.kafka.api import Api
from exporter.kafka.configs import DESCRIBE_CONFIGS
from exporter.kafka.fields import FieldReader, compact_length, compact_string
from tests.bench.canned import VARIANTS, Canned
from tests.bench.cluster_m import ROOT

BROKERS = 3
MIN_ISR = "2"
START_TIMESTAMP = -2


class Stub:
    """The process with the brokers. ``step``: every end offset, commit and size is another one from now on."""

    def __init__(self, topics: int, groups: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.stub", str(topics), str(groups)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        self.bootstrap_servers = self._told()

    def step(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("step\n")
        self._process.stdin.flush()
        self._told()

    def _told(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        if not line:
            raise RuntimeError(f"the stub brokers ended with {self._process.wait(10)}")
        return line

    def __enter__(self) -> Stub:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()


# --- what runs in that process


class Brokers:
    """Answers what the reader asks, in just the versions that it asks in."""

    def __init__(self, canned: Canned) -> None:
        self.turn = 0
        self._canned = canned
        self._apis: Mapping[Api, Callable[[int, bytes], bytes]] = {
            messages.API_VERSIONS: lambda node, body: self._versions,
            messages.METADATA: lambda node, body: canned.metadata,
            messages.DESCRIBE_CLUSTER: lambda node, body: canned.cluster,
            DESCRIBE_CONFIGS: lambda node, body: described_configs(body),
            messages.DESCRIBE_QUORUM_V2: lambda node, body: canned.quorum(time.time()),
            messages.LIST_GROUPS: lambda node, body: canned.listings[node],
            messages.DESCRIBE_GROUPS: lambda node, body: canned.descriptions[node],
            messages.LIST_OFFSETS: self._offsets,
            messages.OFFSET_FETCH: lambda node, body: canned.commits[self.turn][node],
            messages.DESCRIBE_LOG_DIRS: lambda node, body: canned.log_dirs[self.turn][node],
        }
        self._by_key = {(api.key, api.version): api for api in self._apis}
        self._versions = api_versions(self._apis)

    def answer(self, node: int, request: bytes) -> bytes:
        """Header and body of the answer. Raises KeyError for what was not offered."""
        key, version, correlation, client = struct.unpack_from(">hhih", request)
        api = self._by_key[key, version]
        body = request[10 + max(client, 0) + api.flexible :]
        tags = b"\0" if api.flexible and api is not messages.API_VERSIONS else b""
        return struct.pack(">i", correlation) + tags + self._apis[api](node, body)

    def _offsets(self, node: int, body: bytes) -> bytes:
        (name_size,) = struct.unpack_from(">h", body, 9)
        (timestamp,) = struct.unpack_from(">q", body, 9 + 2 + name_size + 4 + 8)
        return self._canned.starts[node] if timestamp == START_TIMESTAMP else self._canned.ends[self.turn][node]


def api_versions(apis: Mapping[Api, object]) -> bytes:
    rows = b"".join(struct.pack(">hhh", api.key, api.version, api.version) + b"\0" for api in apis)
    return b"\0\0" + compact_length(len(apis)) + rows + b"\0" * 4 + b"\0"


def described_configs(body: bytes) -> bytes:
    """min.insync.replicas of the topics that are asked for."""
    reader = FieldReader(body, "DescribeConfigs")
    asked: list[str] = []
    for _ in range(reader.length()):
        reader.skip(1)
        asked.append(reader.string())
        for _ in range(reader.length()):
            reader.string()
        reader.tags()
    value = compact_string("min.insync.replicas") + compact_string(MIN_ISR) + b"\0\1\0" + compact_length(0) + b"\3\0\0"
    configs = compact_length(1) + value + b"\0"
    rows = b"".join(b"\0\0\0\2" + compact_string(topic) + configs for topic in asked)
    return b"\0" * 4 + compact_length(len(asked)) + rows + b"\0"


def serve(brokers: Brokers, node: int, listener: socket.socket) -> None:
    while True:
        connection, _ = listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=converse, args=(brokers, node, connection), daemon=True).start()


def converse(brokers: Brokers, node: int, connection: socket.socket) -> None:
    """Requests of one connection, in order, until it ends or asks for what was not offered."""
    with suppress(ConnectionError), connection, connection.makefile("rb") as requests:
        while size := requests.read(4):
            answer = brokers.answer(node, requests.read(struct.unpack(">i", size)[0]))
            connection.sendall(struct.pack(">i", len(answer)))
            connection.sendall(answer)


def main(topics: int, groups: int) -> None:
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(BROKERS)]
    addresses = [("127.0.0.1", int(listener.getsockname()[1])) for listener in listeners]
    brokers = Brokers(Canned(topics, groups, addresses))
    for node, listener in enumerate(listeners, 1):
        threading.Thread(target=serve, args=(brokers, node, listener), daemon=True).start()
    print(",".join(f"{host}:{port}" for host, port in addresses), flush=True)
    for _ in sys.stdin:
        brokers.turn = (brokers.turn + 1) % VARIANTS
        print("done", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
