"""A Klaxon of its own for a test: the real daemon as a process, its page parsed, killed and started again at will."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil
import requests
import yaml
from prometheus_client.parser import text_string_to_metric_families

LabelSet = frozenset[tuple[str, str]]
ROOT = Path(__file__).parent.parent


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def wait_until(condition: Callable[[], Any], limit: float, what: str, every: float = 0.2) -> Any:
    """The condition's first true value; AssertionError when it stays false for ``limit`` seconds."""
    end = time.monotonic() + limit
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"waited {limit:.0f} s in vain until {what}"
        time.sleep(every)


class Page:
    """One scrape: metric -> label set -> value."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.samples: dict[str, dict[LabelSet, float]] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                self.samples.setdefault(sample.name, {})[frozenset(sample.labels.items())] = sample.value

    def value(self, metric: str, **labels: str) -> float | None:
        """The one value whose labels contain these; None if there is none; AssertionError if there are several."""
        found = list(self.select(metric, **labels).values())
        assert len(found) <= 1, f"{metric}{labels} is {len(found)} series"
        return found[0] if found else None

    def select(self, metric: str, **labels: str) -> Mapping[LabelSet, float]:
        wanted = labels.items()
        return {key: v for key, v in self.samples.get(metric, {}).items() if wanted <= key}

    def by(self, metric: str, *names: str, **labels: str) -> dict[tuple[str, ...], float]:
        """Values by the values of some labels."""
        return {tuple(dict(key)[n] for n in names): v for key, v in self.select(metric, **labels).items()}


class Klaxon:
    """The daemon on a configuration; ``start``, ``stop`` (SIGTERM), ``kill`` (SIGKILL), and start again on the same data_dir."""

    def __init__(self, folder: Path, configuration: Mapping[str, Any]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.folder = folder
        self.config = folder / "config.yaml"
        self.log = folder / "klaxon.log"
        whole = {"data_dir": str(folder / "data"), "web": {"listen": f"127.0.0.1:{self.port}"}, **configuration}
        self.config.write_text(yaml.safe_dump(whole))
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, ready: bool = True, limit: float = 40) -> Klaxon:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "klaxon", "run", "--config", str(self.config)], stdout=log, stderr=log, cwd=ROOT
            )
        if ready:
            wait_until(self.ready, limit, f"Klaxon is ready; its log ends:\n{self.log_tail()}")
        return self

    def ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"Klaxon ended with {self.process.returncode}:\n{self.log_tail()}"
        try:
            return requests.get(f"{self.url}/-/ready", timeout=2).ok
        except requests.RequestException:
            return False

    def page(self) -> Page:
        answer = requests.get(f"{self.url}/metrics", timeout=20)
        answer.raise_for_status()
        return Page(answer.text)

    def incidents(self) -> list[dict[str, Any]]:
        return requests.get(f"{self.url}/api/klaxon/incidents", timeout=20).json()  # type: ignore[no-any-return]

    def query(self, expr: str) -> list[dict[str, Any]]:
        answer = requests.get(f"{self.url}/api/v1/query", params={"query": expr}, timeout=20).json()
        assert answer["status"] == "success", answer
        return answer["data"]["result"]  # type: ignore[no-any-return]

    def log_tail(self, lines: int = 40) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) if self.log.exists() else ""

    def cpu_seconds(self) -> float:
        """CPU time of the process and its children so far."""
        assert self.process is not None
        processes = [psutil.Process(self.process.pid), *psutil.Process(self.process.pid).children(recursive=True)]
        return sum(t.user + t.system for t in (p.cpu_times() for p in processes))

    def stop(self, limit: float = 10) -> float:
        """SIGTERM; how long it took, seconds."""
        assert self.process is not None
        begun = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(limit)
        return time.monotonic() - begun

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()


def watching(
    bootstrap_servers: str, jmx_targets: Mapping[int, str], alertmanagers: list[str] | None = None, **extra: Any
) -> dict[str, Any]:
    """The configuration of a Klaxon that watches one cluster named demo."""
    cluster = {
        "bootstrap_servers": bootstrap_servers.split(","),
        "jmx": {"transport": "jpype", "targets": dict(jmx_targets)},
    }
    return {"clusters": {"demo": cluster}, "alertmanagers": [{"url": u} for u in alertmanagers or []], **extra}
