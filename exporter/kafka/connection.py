"""One connection to one broker: a blocking socket on which every step, from name look-up to the last byte, ends at the call's deadline.

kafka-python's own connections do not bound name look-up and TLS handshake, so only its messages are used; the socket is ours. Kafka answers a
connection strictly in order, so there is one request at a time, and after any error the connection is thrown away.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
from collections.abc import Callable
from typing import Any, TypeVar

from exporter.kafka import sasl
from exporter.kafka.api import Api
from exporter.kafka.bounded import Deadline, Monotonic, Resolver
from exporter.kafka.credentials import NONE, Credentials, Proof
from exporter.kafka.errors import (
    AuthenticationFailed,
    BadAnswer,
    ConnectionLost,
    KafkaError,
    NameLookupFailed,
    Refused,
    TimedOut,
)

MAX_ANSWER = 256 * 1024 * 1024
"""Bytes of the largest answer that is read: metadata of a very large cluster stays far below."""

CLIENT_ID = "klaxon"
_CHUNK = 1 << 20
_RENEW_AT = 0.85
"""Part of a SASL session's lifetime after which a new connection is made: a broker ends one that goes on for longer (KIP-368)."""

T = TypeVar("T")


class Connection:
    """A connection to ``host:port``, opened at the first call. Not for two threads at once; ``abort`` may come from any."""

    def __init__(
        self,
        host: str,
        port: int,
        credentials: Credentials,
        resolver: Resolver,
        monotonic: Monotonic,
        node: int | None = None,
    ) -> None:
        self.host = host
        self.port = port
        self._credentials = credentials
        self._resolver = resolver
        self._monotonic = monotonic
        self._node = node
        self._socket: socket.socket | None = None
        self._correlation = 0
        self._renew_at: float | None = None
        self._version = 0
        """Of the credentials with which it was opened, or with which a new one came to nothing."""

    @property
    def open(self) -> bool:
        """Whether the next call rides on a kept connection: its session has not ended, and no security file has changed since."""
        return self._alive and self._version == self._credentials.version

    @property
    def _alive(self) -> bool:
        expired = self._renew_at is not None and self._monotonic() >= self._renew_at
        return self._socket is not None and not expired

    def plain(self) -> Connection:
        """Another connection to the same address that only ever opens TCP."""
        return Connection(self.host, self.port, NONE, self._resolver, self._monotonic, self._node)

    def deadline(self, seconds: float) -> Deadline:
        return Deadline(seconds, self._monotonic)

    def connect(self, deadline: Deadline) -> None:
        """Open the connection unless it is open; raises KafkaError."""
        if self.open:
            return
        if self._alive:
            self._renew(deadline)
            return
        self.close()
        self._guarded("connect", deadline, lambda: self._open(deadline))

    def call(self, api: Api, body: bytes, deadline: Deadline) -> memoryview:
        """Send one request and return the body of its answer; raises KafkaError, and then the connection is closed."""
        self.connect(deadline)
        return self._guarded(api.name, deadline, lambda: self._exchange(api, body, deadline))

    def close(self) -> None:
        """Close the socket; harmless when there is none."""
        taken, self._socket = self._socket, None
        self._renew_at = None
        if taken is not None:
            taken.close()

    def abort(self) -> None:
        """From another thread: make a call that waits end now."""
        taken = self._socket
        if taken is not None:
            with contextlib.suppress(OSError):
                taken.shutdown(socket.SHUT_RDWR)

    def _renew(self, deadline: Deadline) -> None:
        """Security files have changed: replace the connection, or go on with it where a new one comes to nothing."""
        kept = self._socket, self._renew_at
        self._socket = self._renew_at = None
        address = f"{self.host}:{self.port}"
        try:
            self._guarded("connect", deadline, lambda: self._open(deadline))
        except KafkaError as error:
            self._socket, self._renew_at = kept
            self._version = self._credentials.version
            self._credentials.kept(address, error)
            return
        if kept[0] is not None:
            kept[0].close()
        self._credentials.renewed(address)

    # --- one table from what the operating system and TLS say to our errors

    def _guarded(self, request: str, deadline: Deadline, step: Callable[[], T]) -> T:
        try:
            return step()
        except OSError as error:
            self.close()
            raise self._translated(error, request, deadline) from error
        except AuthenticationFailed as error:
            self.close()
            error.node, error.address, error.request = self._node, f"{self.host}:{self.port}", request
            raise
        except BaseException:
            self.close()
            raise

    def _translated(self, error: OSError, request: str, deadline: Deadline) -> KafkaError:
        where: dict[str, Any] = {"node": self._node, "address": f"{self.host}:{self.port}", "request": request}
        if isinstance(error, TimeoutError):
            return TimedOut(f"no answer in time ({deadline.phase})", phase=deadline.phase, **where)
        if isinstance(error, ConnectionRefusedError):
            return Refused("connection refused", **where)
        if isinstance(error, socket.gaierror):
            return NameLookupFailed(f"{self.host} cannot be resolved: {error.strerror}", **where)
        if isinstance(error, ssl.SSLError):
            return AuthenticationFailed(f"TLS: {error.reason or error}", **where)
        return ConnectionLost(error.strerror or str(error) or type(error).__name__, **where)

    # --- steps, each bounded by what is left

    def _open(self, deadline: Deadline) -> None:
        deadline.phase = "name look-up"
        addresses = self._resolver.addresses(self.host, self.port, deadline.left())
        deadline.phase = "connect"
        plain = self._connected(addresses, deadline)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        proof = self._credentials.proof()
        if proof.context is not None:
            deadline.phase = "TLS handshake"
            wrapped = proof.context.wrap_socket(plain, server_hostname=self.host, do_handshake_on_connect=False)
            self._socket = wrapped
            wrapped.settimeout(deadline.left())
            wrapped.do_handshake()
        if self._credentials.security.sasl:
            self._authenticate(proof, deadline)
        self._version = proof.version

    def _authenticate(self, proof: Proof, deadline: Deadline) -> None:
        lifetime = sasl.authenticate(
            lambda api, body: self._exchange(api, body, deadline, "SASL"),
            self._credentials,
            proof,
            self.host,
            deadline.left,
        )
        self._renew_at = self._monotonic() + lifetime * _RENEW_AT if lifetime is not None else None

    def _connected(self, addresses: list[Any], deadline: Deadline) -> socket.socket:
        """The first address that takes us, each of which gets its share of the time; the last one's error when none does."""
        failure: OSError = OSError("the name has no address")
        for i, (family, kind, protocol, _, address) in enumerate(addresses):
            made = self._socket = socket.socket(family, kind, protocol)
            try:
                made.settimeout(deadline.left() / (len(addresses) - i))
                made.connect(address)
            except OSError as error:
                self.close()
                failure = error
            else:
                return made
        raise failure

    def _exchange(self, api: Api, body: bytes, deadline: Deadline, phase: str = "answer") -> memoryview:
        assert self._socket is not None
        self._correlation = (self._correlation + 1) & 0x7FFFFFFF
        deadline.phase = phase
        self._socket.settimeout(deadline.left())
        self._socket.sendall(_framed(api, self._correlation, body))
        (size,) = struct.unpack(">i", self._receive(4, deadline))
        if not 4 <= size <= MAX_ANSWER:
            raise self._bad(api, f"an answer of {size} bytes was announced")
        answer = self._receive(size, deadline)
        (correlation,) = struct.unpack_from(">i", answer)
        if correlation != self._correlation:
            raise self._bad(api, f"the answer belongs to request {correlation}, not to {self._correlation}")
        return self._without_tags(api, answer)

    def _without_tags(self, api: Api, answer: memoryview) -> memoryview:
        """The body behind the response header; ApiVersions keeps the old header in every version (KIP-511)."""
        if not api.flexible or api.key == 18:
            return answer[4:]
        if len(answer) < 5 or answer[4] != 0:
            raise self._bad(api, "the answer's header carries unknown tagged fields")
        return answer[5:]

    def _receive(self, size: int, deadline: Deadline) -> memoryview:
        assert self._socket is not None
        buffer = bytearray(min(size, _CHUNK))
        got = 0
        while got < size:
            # Grown as bytes come, so that an announced length alone takes no memory.
            if got == len(buffer):
                buffer.extend(bytes(min(len(buffer), size - got)))
            self._socket.settimeout(deadline.left())
            count = self._socket.recv_into(memoryview(buffer)[got:])
            if count == 0:
                raise ConnectionLost(
                    f"closed after {got} of {size} bytes",
                    node=self._node,
                    address=f"{self.host}:{self.port}",
                    request="answer",
                )
            got += count
        return memoryview(buffer)

    def _bad(self, api: Api, message: str) -> BadAnswer:
        return BadAnswer(message, node=self._node, address=f"{self.host}:{self.port}", request=api.name)


def _framed(api: Api, correlation: int, body: bytes) -> bytes:
    """Size, request header v1 or (flexible) v2, body."""
    client = CLIENT_ID.encode()
    header = struct.pack(f">hhih{len(client)}s", api.key, api.version, correlation, len(client), client) + (
        b"\0" if api.flexible else b""
    )
    return struct.pack(">i", len(header) + len(body)) + header + body
