"""Secrets planted wherever one may stand, under a daemon that nobody lets in and that logs all it can: none may be found in anything that it tells."""

from __future__ import annotations

import base64
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
import requests
import structlog

from klaxon.cli import _log_as
from klaxon.config import LogConfig
from tests.exporter.kafka.hostile import HOST, Peer
from tests.exporter.kafka.sasl_server import Server

PLANTED = "pl4nted"
"""In every secret, each with a word of its own behind it."""
LIMIT_S = 60.0
RULE = """\
groups:
  - name: own
    interval: 5s
    rules:
      - alert: Always
        expr: vector(1)
        labels: {severity: critical, problem: Always, subject: cluster, cluster: env}
        annotations: {summary: always}
"""


def secret(word: str) -> str:
    return f"{PLANTED}-{word}"


class Refusing:
    """An HTTP server that takes nobody: a token endpoint, Alertmanagers, a webhook, and a node's JMX agent."""

    def __init__(self) -> None:
        self.asked: set[str] = set()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.do_POST()

            def do_POST(self) -> None:
                outer.asked.add(self.path.split("/")[1])
                self.rfile.read(int(self.headers.get("content-length", 0)))
                self.send_response(401)
                self.end_headers()
                self.wfile.write(b'{"error":"invalid_client","error_description":"nobody is let in"}')

            def log_message(self, *_: Any) -> None: ...

        self._server = http.server.ThreadingHTTPServer((HOST, 0), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def address(self) -> str:
        return f"{HOST}:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class World:
    """The peers, the files, and the daemon's configuration."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self.http = stack.enter_context(closing(Refusing()))
        self.peers = {name: stack.enter_context(closing(Peer(1))) for name in ("file", "env", "token", "client", "key")}
        for peer in self.peers.values():
            peer.gate = Server()
        self._encrypted_key()
        self.written = {
            word: self._write(word) for word in ("file", "token", "client", "basic", "bearer", "signature", "jmx")
        }
        # As somebody pastes it: no header can carry this one.
        (folder / "pasted").write_text(f"{secret('pasted')}\nsecond line\n")
        (folder / "rules.yaml").write_text(RULE)
        self.config = folder / "klaxon.yaml"
        # A node's id is a number, which no key of JSON can be.
        self.config.write_text(json.dumps(self._config()).replace('{"1": ', "{1: "))

    def _write(self, word: str) -> str:
        (self.folder / word).write_text(secret(word) + "\n")
        return word

    def _encrypted_key(self) -> None:
        (self.folder / "key-password").write_text(secret("key") + "\n")
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-days", "2",
             "-subj", "/CN=klaxon", "-passout", "file:key-password", "-keyout", "own.key", "-out", "own.pem"],
            check=True, capture_output=True, cwd=self.folder,
        )  # fmt: skip

    def _config(self) -> dict[str, Any]:
        sasl, oauth = {"protocol": "SASL_PLAINTEXT"}, {"protocol": "SASL_PLAINTEXT", "mechanism": "OAUTHBEARER"}
        sections: dict[str, dict[str, str]] = {
            "file": {**sasl, "mechanism": "PLAIN", "username": "k", "password_file": "file"},
            "env": {**sasl, "mechanism": "SCRAM-SHA-256", "username": "k", "password": "${PLANTED_ENV}"},
            "token": {**oauth, "token_file": "token"},
            "client": {
                **oauth,
                "token_url": f"{self.http.url}/token",
                "client_id": "k",
                "client_secret_file": "client",
            },
            "key": {
                "protocol": "SSL",
                "ca_file": "own.pem",
                "certificate_file": "own.pem",
                "key_file": "own.key",
                "key_password_file": "key-password",
            },
        }
        jmx = {
            "transport": "prometheus",
            "targets": {1: self.http.address},
            "username": "k",
            "password_file": "jmx",
        }
        return {
            "clusters": {
                name: {"bootstrap_servers": [self.peers[name].address], "security": section, "jmx": jmx}
                for name, section in sections.items()
            },
            "alertmanagers": [
                {"url": f"{self.http.url}/basic", "basic_auth": {"username": "k", "password_file": "basic"}},
                {"url": f"{self.http.url}/bearer", "bearer_token_file": "bearer"},
                {"url": f"{self.http.url}/pasted", "bearer_token_file": "pasted"},
                {"url": f"{self.http.url}/header", "headers": {"X-Key": "${PLANTED_ENV}"}},
            ],
            "webhooks": [
                {
                    "url": f"{self.http.url}/hook/{secret('url')}",
                    "secret_file": "signature",
                    "headers": {"X-Key": secret("header")},
                },
                # Nobody listens there: the library's own words name the address.
                {"url": f"http://{HOST}:1/{secret('url')}", "name": "away"},
            ],
            "instance": 0,
            "web": {"listen": f"{HOST}:0"},
            "data_dir": str(self.folder / "data"),
            "rules": {"shipped": False, "files": ["rules.yaml"]},
            "incidents": {"settle": 0},
            "log": {"level": "debug"},
        }

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "PLANTED_ENV": secret("env"), "PYTHONUNBUFFERED": "1"}

    def everybody_was_asked(self) -> bool:
        tried = all(p.accepted for p in self.peers.values())
        return tried and {"token", "basic", "bearer", "header", "hook", "metrics"} <= self.http.asked

    def mend_files(self) -> None:
        """As they were."""
        for word in self.written:
            self._write(word)
        (self.folder / "key-password").write_text(secret("key") + "\n")

    def break_files(self) -> None:
        """As they look in the middle of a careless change."""
        (self.folder / "file").write_bytes(f"{secret('file')}\n{secret('file')}".encode())
        (self.folder / "token").write_bytes(secret("token").encode() + b"\xff")
        (self.folder / "bearer").write_text(f"{secret('bearer')} {secret('bearer')}")
        (self.folder / "basic").write_bytes(b"\xff" + secret("basic").encode())
        (self.folder / "key-password").write_text(secret("another"))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with ExitStack() as stack:
        yield World(tmp_path, stack)


def wait(what: str, condition: Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.05)


def run(*arguments: str, world: World) -> str:
    """What a command prints."""
    done = subprocess.run(
        [sys.executable, "-m", "klaxon", *arguments], env=world.environment, capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr


PAGES = (
    "/",
    "/metrics",
    "/-/healthy",
    "/-/ready",
    "/api/klaxon/incidents",
    "/api/klaxon/diagnose",
    "/api/v1/query?query=ALERTS",
)


def pages(url: str) -> list[str]:
    found = [requests.get(url + page, timeout=30).text for page in PAGES]
    for incident in requests.get(f"{url}/api/klaxon/incidents", timeout=30).json():
        found += [requests.get(f"{url}/incidents/{incident['id']}{end}", timeout=30).text for end in ("", ".txt")]
    return found


def test_no_secret_is_told(world: World) -> None:
    log = world.folder / "log"
    with log.open("wb") as out:
        daemon = subprocess.Popen(
            [sys.executable, "-m", "klaxon", "run", "--config", str(world.config)],
            env=world.environment,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        wait("it started", lambda: "Klaxon is at " in log.read_text())
        url = log.read_text().split("Klaxon is at ")[1].split()[0]
        wait("everybody was asked", world.everybody_was_asked)
        told = pages(url)
        world.break_files()
        told.append(requests.post(f"{url}/-/reload", timeout=30).text)
        wait("a broken file was named", lambda: "what it held before goes on" in log.read_text())
        # A reload that is refused, with a secret where it cannot stand.
        before = world.config.read_text()
        world.config.write_text(
            before.replace('"debug"', '"${PLANTED_ENV}"').replace('"settle": 0', '"settle": "${PLANTED_ENV}"')
        )
        told.append(requests.post(f"{url}/-/reload", timeout=30).text)
        told.append(run("check-config", str(world.config), world=world))
        world.config.write_text(before)
        world.mend_files()
        tried = run("send-test-page", "--config", str(world.config), "--hold", "0", world=world)
        assert "away" in tried and "refused" in tried and "HTTP 401" in tried
        told.append(tried)
        told += pages(url)
        told.append(Path(f"/proc/{daemon.pid}/cmdline").read_text())
    finally:
        daemon.send_signal(signal.SIGTERM)
        daemon.wait(30)
    told.append(log.read_text())
    assert "Authentication failed" in told[-1] or "authentication" in told[-1]
    assert "must be" in told[-1], "the refused reload is in the log"
    kept = [path.read_bytes() for path in (world.folder / "data").rglob("*") if path.is_file()]
    assert kept
    for text in told:
        assert_clean(text.encode())
    for content in kept:
        assert_clean(content)


def assert_clean(content: bytes) -> None:
    """Neither as it is nor as a header would carry it."""
    at = content.find(PLANTED.encode())
    assert at < 0, content[max(0, at - 300) : at + 100].decode(errors="replace")
    assert base64.b64encode(f"k:{secret('basic')}".encode()) not in content
    assert base64.b64encode(f"k:{secret('jmx')}".encode()) not in content
    assert base64.b64encode(f"k:{secret('client')}".encode()) not in content


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_traceback_in_the_log_shows_no_variables(capsys: pytest.CaptureFixture[str], log_format: str) -> None:
    _log_as(LogConfig.model_validate({"format": log_format}))
    try:
        _fail(secret("argument"))
    except ValueError:
        structlog.get_logger("test").exception("it failed")
    finally:
        structlog.reset_defaults()
    told = capsys.readouterr().err
    assert "in _fail" in told
    assert PLANTED not in told


def _fail(password: str) -> None:
    kept = [password]
    raise ValueError(len(kept))
