"""A real Prometheus that scrapes a Klaxon and loads its rules, for tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import requests
import yaml

from tests.klaxon_process import free_port, wait_until

NO_BINARY = "no Prometheus: install prometheus or give PROMETHEUS=/path/to/prometheus"


def binary() -> str | None:
    """The Prometheus to use: ``PROMETHEUS=``, or the one on the path; None if there is none."""
    return os.environ.get("PROMETHEUS") or shutil.which("prometheus")


class RealPrometheus:
    """One Prometheus process on loopback; scrapes each second, evaluates the rules at their own intervals."""

    def __init__(self, folder: Path, targets: Sequence[str], rules: Sequence[Path] = ()) -> None:
        program = binary()
        if program is None:
            raise FileNotFoundError(NO_BINARY)
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        config = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "5s"},
            "rule_files": [str(path) for path in rules],
            "scrape_configs": [{"job_name": "klaxon", "static_configs": [{"targets": list(targets)}]}],
        }
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        self._command = [
            program,
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with (self._folder / "prometheus.log").open("wb") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        wait_until(self._ready, 60, "Prometheus answers")
        return self

    def _ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._folder / "prometheus.log").read_text()[-2000:]
        try:
            return requests.get(f"{self.url}/-/ready", timeout=2).ok
        except requests.RequestException:
            return False

    def query(self, expr: str) -> list[dict[str, Any]]:
        """The series of an instant query; AssertionError with the error's text when it is refused."""
        return self._ask("query", {"query": expr})

    def query_range(self, expr: str, seconds: float, step: float = 15) -> list[dict[str, Any]]:
        """The series of the last seconds."""
        now = time.time()
        return self._ask("query_range", {"query": expr, "start": now - seconds, "end": now, "step": step})

    def label_values(self, metric: str, label: str) -> list[str]:
        """What Grafana's label_values gives for a variable."""
        answer = requests.get(f"{self.url}/api/v1/label/{label}/values", params={"match[]": metric}, timeout=20)
        return list(answer.json()["data"])

    def _ask(self, what: str, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
        answer = requests.post(f"{self.url}/api/v1/{what}", data=dict(parameters), timeout=60).json()
        assert answer["status"] == "success", f"{answer['error']}: {parameters['query']}"
        return list(answer["data"]["result"])

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(20)
