"""A real Alertmanager and a webhook that counts what it is told, for tests and proofs."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import requests
import yaml

SHIPPED_CONFIG = Path(__file__).parent.parent / "deploy" / "alertmanager.yml"


def binary() -> str | None:
    """The Alertmanager to use: ``ALERTMANAGER=``, or Debian's or the usual name on the path; None if there is none."""
    named = os.environ.get("ALERTMANAGER")
    if named is not None:
        return named if Path(named).is_file() else None
    return shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")


NO_BINARY = "no Alertmanager: install prometheus-alertmanager or give ALERTMANAGER=/path/to/alertmanager"


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port: int = s.getsockname()[1]
        return port


def wait_until(what: str, holds: Callable[[], bool], limit: float = 60.0) -> None:
    """Poll until it holds; fails with ``what`` after ``limit`` seconds."""
    deadline = time.monotonic() + limit
    while not holds():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {limit:g} s in vain: {what}")
        time.sleep(0.05)


@dataclass(frozen=True)
class Notification:
    """One call of the webhook: which receiver (the path), firing or resolved, and the alerts in it."""

    receiver: str
    status: str
    group: Mapping[str, str]
    alerts: tuple[Mapping[str, Any], ...]
    at: float

    def of(self, alertname: str) -> list[Mapping[str, Any]]:
        return [a for a in self.alerts if a["labels"].get("alertname") == alertname]


@dataclass
class CountingWebhook:
    """Listens on loopback and keeps every notification."""

    notifications: list[Notification] = field(default_factory=list)

    def __enter__(self) -> Self:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.notifications.append(
                    Notification(
                        self.path.strip("/"), body["status"], body["groupLabels"], tuple(body["alerts"]), time.time()
                    )
                )
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def pages(self, receiver: str | None = None, status: str | None = None) -> list[Notification]:
        """What came, without the watchdog."""
        return [
            n
            for n in list(self.notifications)
            if n.receiver != "watchdog"
            and (receiver is None or n.receiver == receiver)
            and (status is None or n.status == status)
        ]

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class RealAlertmanager:
    """One Alertmanager process on loopback with the shipped configuration, its receivers led to ``webhook``; may be stopped and started again.

    ``change`` edits the parsed configuration before it is written.
    """

    def __init__(
        self, folder: Path, webhook: CountingWebhook, change: Callable[[dict[str, Any]], None] | None = None
    ) -> None:
        program = binary()
        if program is None:
            raise FileNotFoundError(NO_BINARY)
        self._program = program
        self._folder = folder
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        config = yaml.safe_load(SHIPPED_CONFIG.read_text(encoding="utf-8"))
        for receiver in config["receivers"]:
            for hook in receiver.get("webhook_configs", []):
                hook["url"] = f"{webhook.url}/{receiver['name']}"
        if change is not None:
            change(config)
        folder.mkdir(parents=True, exist_ok=True)
        self._config = folder / "alertmanager.yml"
        self._config.write_text(yaml.safe_dump(config), encoding="utf-8")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> Self:
        with (self._folder / "alertmanager.log").open("ab") as out:
            self._process = subprocess.Popen(
                [
                    self._program,
                    f"--config.file={self._config}",
                    f"--storage.path={self._folder / 'data'}",
                    f"--web.listen-address=127.0.0.1:{self._port}",
                    "--cluster.listen-address=",
                ],
                stdout=out,
                stderr=out,
            )
        wait_until("Alertmanager answers", self._ready)
        return self

    def _ready(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError((self._folder / "alertmanager.log").read_text(encoding="utf-8")[-2000:])
        try:
            return requests.get(f"{self.url}/-/ready", timeout=2).ok
        except requests.RequestException:
            return False

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(20)
            self._process = None

    def alerts(self) -> list[dict[str, Any]]:
        """What it holds as firing, inhibited ones included."""
        answer = requests.get(f"{self.url}/api/v2/alerts", timeout=5)
        answer.raise_for_status()
        found: list[dict[str, Any]] = answer.json()
        return found

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()
