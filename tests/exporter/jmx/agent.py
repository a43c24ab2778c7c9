"""A jmx_exporter without Java: serves a page that an agent of a Kafka 4.3.1 node gave, with a password or under TLS where a test wants that."""

from __future__ import annotations

import base64
import contextlib
import gzip
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PLAIN = "text/plain; version=0.0.4; charset=utf-8"
_FILE = Path(__file__).with_name("samples") / "jmx_exporter-4.3.1.txt.gz"


def recorded_page() -> str:
    """The page of a running combined node with the demo's rules."""
    return gzip.decompress(_FILE.read_bytes()).decode()


class FakeAgent(ThreadingHTTPServer):
    """``page`` gives each answer's text; ``user`` is (name, password) where one is asked for; ``zipped`` compresses whatever the client says."""

    daemon_threads = True

    def __init__(self, page: Callable[[], str] = recorded_page) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.page = page
        self.content_type = PLAIN
        self.user: tuple[str, str] | None = None
        self.zipped = True
        self.status = 200

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class _Handler(BaseHTTPRequestHandler):
    server: FakeAgent
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        user = self.server.user
        wanted = base64.b64encode(":".join(user).encode()).decode() if user is not None else ""
        if user is not None and self.headers.get("Authorization") != f"Basic {wanted}":
            self._answer(401, b"")
            return
        body = self.server.page().encode()
        self._answer(self.server.status, gzip.compress(body, 1) if self.server.zipped else body)

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", self.server.content_type)
        if self.server.zipped and body:
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Tests print nothing."""


@contextlib.contextmanager
def running(agent: FakeAgent, context: ssl.SSLContext | None = None) -> Iterator[FakeAgent]:
    """Serve until the end of the block; with ``context`` under TLS."""
    if context is not None:
        agent.socket = context.wrap_socket(agent.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=agent.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield agent
    finally:
        agent.shutdown()
        agent.server_close()
        thread.join(5)
