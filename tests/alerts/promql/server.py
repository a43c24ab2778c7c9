"""A Prometheus of our own on loopback that holds the series it is given, through remote write."""

from __future__ import annotations

import http.client
import json
import struct
import subprocess
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from exporter.series import Series
from tests.klaxon_process import free_port, wait_until


class Server:
    """Its HTTP API."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        self.version = ""

    def ready(self) -> bool:
        try:
            self._connection.request("GET", "/-/ready")
            return self._read()[0] == 200
        except OSError:
            self._connection.close()
            return False

    def read_version(self) -> None:
        self._connection.request("GET", "/api/v1/status/buildinfo")
        self.version = str(json.loads(self._read()[1])["data"]["version"])

    @property
    def is_old(self) -> bool:
        return self.version.startswith("2.")

    def write(self, series: list[Series]) -> None:
        headers = {
            "Content-Encoding": "snappy",
            "Content-Type": "application/x-protobuf",
            "X-Prometheus-Remote-Write-Version": "0.1.0",
        }
        self._connection.request("POST", "/api/v1/write", snappy_literal(write_request(series)), headers)
        status, body = self._read()
        assert status in (200, 204), body

    def query(self, path: str, **parameters: Any) -> dict[str, Any]:
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        self._connection.request("POST", f"/api/v1/{path}", urllib.parse.urlencode(parameters), headers)
        return json.loads(self._read()[1])

    def _read(self) -> tuple[int, bytes]:
        response = self._connection.getresponse()
        return response.status, response.read()


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*out, number))


def field(number: int, payload: bytes) -> bytes:
    """A length-delimited protobuf field."""
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def write_request(series: list[Series]) -> bytes:
    """prometheus.WriteRequest: series (1) of labels (1: name 1, value 2) and samples (2: value 1 double, timestamp 2 int64)."""
    out = []
    for one in series:
        labels = [field(1, field(1, name.encode()) + field(2, value.encode())) for name, value in one.labels.items()]
        bits = one.values.view(np.uint64).tolist()
        samples = [
            field(2, b"\x09" + struct.pack("<Q", value) + b"\x10" + varint(at))
            for at, value in zip(one.timestamps.tolist(), bits, strict=True)
        ]
        out.append(field(1, b"".join(labels + samples)))
    return b"".join(out)


def snappy_literal(data: bytes) -> bytes:
    """Snappy's block format with nothing but literals of up to 64 KiB."""
    parts = [varint(len(data))]
    for start in range(0, len(data), 65536):
        chunk = data[start : start + 65536]
        parts.append(bytes([61 << 2]) + struct.pack("<H", len(chunk) - 1) + chunk)
    return b"".join(parts)


@contextmanager
def running(binary: str, home: Path) -> Iterator[Server]:
    """A server without series, with its files in ``home``."""
    (home / "prometheus.yml").write_text("global: {}\n")
    port = free_port()
    command = [
        binary,
        f"--config.file={home / 'prometheus.yml'}",
        f"--storage.tsdb.path={home / 'data'}",
        "--storage.tsdb.retention.time=100y",
        f"--web.listen-address=127.0.0.1:{port}",
        "--web.enable-remote-write-receiver",
    ]
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        server = Server(port)

        def answers() -> bool:
            assert process.poll() is None, (home / "log").read_text()
            return server.ready()

        wait_until(answers, 30, "Prometheus answers")
        server.read_version()
        yield server
    finally:
        process.terminate()
        process.wait(10)
