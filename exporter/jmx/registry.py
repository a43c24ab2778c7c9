"""Looks a node's JMX stub up in its RMI registry without Java: one question in the wire form of Java RMI, with a deadline that holds."""

from __future__ import annotations

import re
import socket
import time
from typing import BinaryIO

from exporter.jmx.errors import JmxBadAnswer, JmxConnectError, JmxRefused, JmxTimeout

# Java RMI Specification, chapter 10 "RMI Wire Protocol"; Java Object Serialization Specification, chapter 6 "Object Serialization Stream Protocol".
_HEADER = b"JRMI\x00\x02\x4b"
_ACKNOWLEDGED = b"\x4e"
_CALL = b"\x50"
_RETURN = b"\x51"
_STREAM = b"\xac\xed\x00\x05"
_RECEIVED = b"\x54"
"""DgcAck: the server need not hold on to what it returned for our sake."""
_BLOCK_DATA = 0x77
_STRING = b"\x74"
_REGISTRY_ID = bytes(22)
"""The ObjID of every registry: number, UID (int, long, short), all zero."""
_LOOKUP = (2).to_bytes(4, "big") + (4905912898345647071).to_bytes(8, "big")
"""Operation and interface hash of java.rmi.registry.Registry.lookup in RegistryImpl_Stub."""
_NAME = b"jmxrmi"
_NORMAL = b"\x01"
_LARGEST = 64 * 1024
_EXCEPTION = re.compile(rb"java\.rmi\.[A-Za-z.]+Exception")


def jmx_stub(host: str, port: int, deadline: float) -> bytes:
    """The stub of the node's RMIServer as a serialized Java object, until a monotonic deadline. Raises JmxRefused, JmxTimeout, JmxConnectError, JmxBadAnswer."""
    try:
        with socket.create_connection((host, port), _left(deadline)) as connection:
            return _lookup(connection, deadline)
    except ConnectionRefusedError as error:
        raise JmxRefused(f"{host}:{port} refuses connections") from error
    except TimeoutError as error:
        raise JmxTimeout(f"no RMI registry answers at {host}:{port}") from error
    except socket.gaierror as error:
        raise JmxConnectError(f"host name {host!r} cannot be resolved: {error.strerror}") from error
    except OSError as error:
        raise JmxConnectError(f"connecting to {host}:{port}: {error.strerror or error}") from error


def _lookup(connection: socket.socket, deadline: float) -> bytes:
    connection.settimeout(_left(deadline))
    connection.sendall(_HEADER)
    with connection.makefile("rb") as answers:
        if answers.read(1) != _ACKNOWLEDGED:
            raise JmxConnectError("what answers there is no RMI registry: not a JMX port, or one that wants TLS")
        _exactly(answers, int.from_bytes(_exactly(answers, 2), "big") + 4)
        own = connection.getsockname()[0].encode()
        call = _REGISTRY_ID + _LOOKUP
        connection.sendall(
            # Our own endpoint, as the protocol wants it; nobody connects to it.
            len(own).to_bytes(2, "big")
            + own
            + bytes(4)
            + _CALL
            + _STREAM
            + bytes([_BLOCK_DATA, len(call)])
            + call
            + _STRING
            + len(_NAME).to_bytes(2, "big")
            + _NAME
        )
        return _returned(connection, answers, deadline)


def _returned(connection: socket.socket, answers: BinaryIO, deadline: float) -> bytes:
    """The object of a return: the stream's header, a block with the kind of return and a UID, then the object up to the end of what came."""
    if _exactly(answers, 5) != _RETURN + _STREAM:
        raise JmxBadAnswer("the RMI registry's answer is no return of a call")
    block = _exactly(answers, 2)
    kind_and_uid = _exactly(answers, block[1]) if block[0] == _BLOCK_DATA else b""
    connection.sendall(_RECEIVED + kind_and_uid[1:])
    body = _rest(connection, answers, deadline)
    if kind_and_uid[:1] != _NORMAL:
        raised = ", ".join(name.decode() for name in _EXCEPTION.findall(body))
        raise JmxConnectError(
            f"an RMI registry without jmxrmi answers, so it is no JMX port yet: {raised or 'no reason given'}"
        )
    return _STREAM + body


def _rest(connection: socket.socket, answers: BinaryIO, deadline: float) -> bytes:
    """What is left of the answer: its length stands nowhere, so we hang up our side and read until the registry does."""
    connection.shutdown(socket.SHUT_WR)
    body = b""
    while len(body) < _LARGEST:
        connection.settimeout(_left(deadline))
        chunk = answers.read(_LARGEST)
        if not chunk:
            return body
        body += chunk
    raise JmxBadAnswer("the RMI registry's answer has no end")


def _exactly(answers: BinaryIO, size: int) -> bytes:
    data = answers.read(size)
    if len(data) != size:
        raise JmxBadAnswer("the RMI registry hung up in its answer")
    return data


def _left(deadline: float) -> float:
    return max(0.01, deadline - time.monotonic())
