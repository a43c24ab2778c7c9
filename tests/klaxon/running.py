"""A daemon in this process on clusters and JMX in memory: the real wiring, web server included, without a Kafka."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from exporter.facts.cluster import Node
from klaxon import daemon as wiring
from klaxon.config import load
from klaxon.daemon import Daemon
from tests.exporter.jmx.fake_transport import FakeJmx, FakeTransports, broker_beans
from tests.exporter.scripted import Cluster
from tests.klaxon_process import Page


class Running:
    """``configuration`` is the file's content; ``clusters`` are made when the daemon first asks for their reader."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch, configuration: Mapping[str, Any]) -> None:
        self._file = folder / "config.yaml"
        self._data = folder / "data"
        self.readers: list[Cluster] = []
        self.down: set[str] = set()
        nodes = {n: broker_beans(n, leader=n == 1) for n in (1, 2, 3)}
        self.jmx = FakeJmx(nodes, clock=time.time)
        patch.setattr(wiring, "Reader", self._reader)
        patch.setattr(wiring, "Transports", lambda _: FakeTransports(self.jmx))
        self.write(configuration)
        self.daemon = Daemon(load(self._file, {}), lambda: load(self._file, {}))
        self.url = self.daemon.url
        self.daemon.start()

    def _reader(self, name: str, *_: Any, **__: Any) -> Cluster:
        made = Cluster(time.time, cluster=name)
        if name in self.down:
            made.dead = {1, 2, 3}
        self.readers.append(made)
        return made

    def write(self, configuration: Mapping[str, Any]) -> None:
        self._file.write_text(
            yaml.safe_dump({"data_dir": str(self._data), "web": {"listen": "127.0.0.1:0"}, **configuration})
        )

    def reload(self) -> requests.Response:
        return requests.post(f"{self.url}/-/reload", timeout=40)

    def get(self, path: str, **headers: str) -> requests.Response:
        return requests.get(f"{self.url}{path}", headers=headers, timeout=10)

    def page(self, path: str = "/metrics") -> Page:
        return Page(self.get(path).text)

    def nodes(self, cluster: str) -> list[Node]:
        return list(self.daemon.nodes(cluster))


Run = Callable[[Mapping[str, Any]], Running]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Starts daemons that end with the test."""
    started: list[Running] = []

    def start(configuration: Mapping[str, Any]) -> Running:
        started.append(Running(tmp_path, monkeypatch, configuration))
        return started[-1]

    yield start
    for one in started:
        one.daemon.stop()


def cluster(name: str = "kafka", **more: Any) -> dict[str, Any]:
    """The section of a cluster with JMX on every node."""
    targets = {n: f"{name}-{n}:9999" for n in (1, 2, 3)}
    return {"bootstrap_servers": [f"{name}-1:9092"], "jmx": {"targets": targets}, **more}
