"""Other exporters on the same cluster in the same run: kafka_exporter and kminion when KAFKA_EXPORTER= and KMINION= name their binaries, and jmxquery."""

from __future__ import annotations

import http.client
import os
import resource
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import yaml

from demo import Cluster
from exporter.facts.cluster import Role
from exporter.jmx.catalogue import shipped
from exporter.jmx.jmxquery_transport import JmxQueryTransport
from exporter.jmx.transport import JmxAnswer, Target
from tests.bench.cluster_m import Mover
from tests.bench.costs import cpu_seconds, peak_megabytes
from tests.bench.daemon import samples
from tests.klaxon_process import free_port

START_LIMIT_S = 60.0
SCRAPE_LIMIT_S = 120.0
JMX_QUERY_LIMIT_S = 60.0


@dataclass(frozen=True, slots=True)
class PeerResult:
    """Wall and CPU seconds of each scrape; peak memory in MB; series and bytes of the last page."""

    name: str
    wall: list[float]
    cpu: list[float]
    peak_mb: float
    series: int
    size: int


@dataclass(frozen=True, slots=True)
class JmxQueryResult:
    """CPU (children's, the Java start included) and wall seconds of reading the same attributes from all nodes, a call per node."""

    cpu: list[float]
    wall: list[float]
    values: int


def measure(cluster: Cluster, mover: Mover, scrapes: int) -> list[PeerResult]:
    """Every peer whose binary is named."""
    found: list[PeerResult] = []
    for name, start in (("KAFKA_EXPORTER", kafka_exporter), ("KMINION", kminion)):
        if binary := os.environ.get(name):
            with tempfile.TemporaryDirectory() as folder, start(binary, cluster, Path(folder)) as (process, port):
                found.append(scraped(name.lower(), process, port, mover, scrapes))
    return found


@contextmanager
def kafka_exporter(binary: str, cluster: Cluster, folder: Path) -> Iterator[tuple[psutil.Popen, int]]:
    port = free_port()
    servers = [f"--kafka.server={s}" for s in cluster.bootstrap_servers.split(",")]
    with ended([binary, *servers, f"--web.listen-address=127.0.0.1:{port}"], folder, {}) as process:
        yield process, port


@contextmanager
def kminion(binary: str, cluster: Cluster, folder: Path) -> Iterator[tuple[psutil.Popen, int]]:
    port = free_port()
    config = folder / "kminion.yaml"
    everything = {"enabled": True, "scrapeMode": "adminApi", "granularity": "partition", "allowedGroups": [".*"]}
    config.write_text(
        yaml.safe_dump(
            {
                "kafka": {"brokers": cluster.bootstrap_servers.split(",")},
                "minion": {
                    "consumerGroups": everything,
                    "topics": {"granularity": "partition", "allowedTopics": [".*"]},
                    "logDirs": {"enabled": True},
                },
                "exporter": {"host": "127.0.0.1", "port": port},
            }
        )
    )
    with ended([binary], folder, {"CONFIG_FILEPATH": str(config)}) as process:
        yield process, port


@contextmanager
def ended(argv: list[str], folder: Path, environment: Mapping[str, str]) -> Iterator[psutil.Popen]:
    with (folder / "log").open("wb") as log:
        process = psutil.Popen(argv, stdout=log, stderr=log, cwd=folder, env={**os.environ, **environment})
    try:
        yield process
    finally:
        process.terminate()
        process.wait(20)


def scraped(name: str, process: psutil.Popen, port: int, mover: Mover, count: int) -> PeerResult:
    """The first scrape only warms up."""
    wall: list[float] = []
    cpu: list[float] = []
    body = first(port)
    for _ in range(count):
        mover.step()
        before, begun = cpu_seconds(process), time.perf_counter()
        body = page(port)
        wall.append(time.perf_counter() - begun)
        cpu.append(cpu_seconds(process) - before)
    return PeerResult(name, wall, cpu, peak_megabytes(process.pid), samples(body), len(body))


def first(port: int) -> bytes:
    deadline = time.monotonic() + START_LIMIT_S
    while True:
        try:
            return page(port)
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def page(port: int) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SCRAPE_LIMIT_S)
    connection.request("GET", "/metrics")
    return connection.getresponse().read()


# --- jmxquery


def jmx_query(cluster: Cluster, rounds: int) -> JmxQueryResult:
    """The attributes of our own catalogue over the transport of that name."""
    plan = shipped().plan(cluster.version, frozenset({Role.BROKER, Role.CONTROLLER}))
    targets = [Target(node, address, plan) for node, address in cluster.jmx_targets.items()]
    transport = JmxQueryTransport()
    cpu: list[float] = []
    wall: list[float] = []
    values = 0
    for _ in range(rounds):
        before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        values = sum(asked(answer) for answer in transport.read(targets, JMX_QUERY_LIMIT_S).values())
        wall.append(time.perf_counter() - begun)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    transport.close()
    return JmxQueryResult(cpu, wall, values)


def asked(answer: JmxAnswer) -> int:
    """How many values came."""
    if answer.error is not None:
        raise answer.error
    return sum(value is not None for bean in answer.beans for value in bean.values)
