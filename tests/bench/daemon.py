"""The daemon as a process on a real cluster: CPU per second at its default intervals, memory, start to the first full page, and scrapes while polls run."""

from __future__ import annotations

import gzip
import http.client
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from demo import Cluster
from tests.bench.cluster_m import Mover, Size
from tests.bench.costs import cpu_seconds, megabytes, proportional_megabytes
from tests.klaxon_process import Klaxon, wait_until, watching

START_LIMIT_S = 120.0
STEP_EVERY_S = 10.0
SCRAPE_EVERY_S = 0.05
ENCODINGS: Mapping[str, str] = {"gzip": "gzip", "plain": "identity"}


@dataclass(frozen=True, slots=True)
class Scrapes:
    """Seconds of each scrape to its last byte, as a client on this machine sees them, and the bytes of one."""

    seconds: list[float]
    size: int


@dataclass(frozen=True, slots=True)
class DaemonResult:
    """CPU in seconds per second, resident memory in MB (``shared_mb``: of both, PSS); ``child`` is the process with the Java machine."""

    first_page_s: float
    own_cpu: float
    child_cpu: float
    own_mb: float
    child_mb: float
    shared_mb: float
    series: int
    scrapes: Mapping[str, Scrapes]


def measure(cluster: Cluster, size: Size, mover: Mover, seconds: float, scrapes: int) -> DaemonResult:
    """Watch the cluster for ``seconds``, in which offsets move every ten, then scrape."""
    with tempfile.TemporaryDirectory() as folder:
        klaxon = Klaxon(Path(folder), watching(cluster.bootstrap_servers, cluster.jmx_targets))
        begun = time.monotonic()
        klaxon.start(ready=False)
        try:
            wait_until(lambda: full(klaxon, size), START_LIMIT_S, "the page is full", every=0.1)
            first_page_s = time.monotonic() - begun
            own, child = processes(klaxon)
            own_cpu, child_cpu = per_second(own, child, mover, seconds)
            taken = {name: scraped(klaxon.port, accept, scrapes, mover) for name, accept in ENCODINGS.items()}
            body = fetch(http.client.HTTPConnection("127.0.0.1", klaxon.port), "identity")
            return DaemonResult(
                first_page_s,
                own_cpu,
                child_cpu,
                megabytes(own),
                megabytes(child),
                proportional_megabytes(own, child),
                samples(body),
                taken,
            )
        finally:
            klaxon.close()


def full(klaxon: Klaxon, size: Size, *, jmx: bool = True) -> bool:
    """Whether something of every collector is on the page, and all partitions and group-partitions."""
    named = [b"\nkafka_log_dir_size_bytes{", b"\nkafka_quorum_epoch{", *([b"\njvm_memory_used_bytes{"] if jmx else [])]
    assert klaxon.process is not None
    if klaxon.process.poll() is not None:
        raise RuntimeError(f"Klaxon ended with {klaxon.process.returncode}:\n{klaxon.log_tail()}")
    try:
        packed = fetch(http.client.HTTPConnection("127.0.0.1", klaxon.port, timeout=20), "gzip")
    except OSError:
        return False
    body = gzip.decompress(packed)
    return (
        body.count(b"\nkafka_topic_partition_current_offset{") >= size.all_partitions
        and body.count(b"\nkafka_consumergroup_lag{") >= size.group_partitions
        and all(name in body for name in named)
    )


def processes(klaxon: Klaxon) -> tuple[psutil.Process, psutil.Process]:
    """The daemon and its child with the Java machine."""
    assert klaxon.process is not None
    own = psutil.Process(klaxon.process.pid)
    (child,) = own.children()
    return own, child


def per_second(own: psutil.Process, child: psutil.Process, mover: Mover, seconds: float) -> tuple[float, float]:
    """CPU seconds per second of both while nobody scrapes."""
    begun, before = time.monotonic(), (cpu_seconds(own), cpu_seconds(child))
    while (left := begun + seconds - time.monotonic()) > 0:
        mover.step()
        time.sleep(max(0.0, min(STEP_EVERY_S, left)))
    passed = time.monotonic() - begun
    return (cpu_seconds(own) - before[0]) / passed, (cpu_seconds(child) - before[1]) / passed


def scraped(port: int, accept: str, count: int, mover: Mover | None = None) -> Scrapes:
    """Scrapes on one kept connection, spread over time so that every collector polls meanwhile."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    seconds: list[float] = []
    size = 0
    for number in range(count):
        if mover is not None and number % 100 == 0:
            mover.step()
            # A server ends idle connections after some seconds; the next request opens a new one.
            connection.close()
        time.sleep(SCRAPE_EVERY_S)
        begun = time.perf_counter()
        size = len(fetch(connection, accept))
        seconds.append(time.perf_counter() - begun)
    connection.close()
    return Scrapes(seconds, size)


def fetch(connection: http.client.HTTPConnection, accept: str) -> bytes:
    connection.request("GET", "/metrics", headers={"Accept-Encoding": accept})
    answer = connection.getresponse()
    body = answer.read()
    if answer.status != 200:
        raise RuntimeError(f"/metrics answered {answer.status}: {body[:200]!r}")
    return body


def samples(body: bytes) -> int:
    """Series on a page."""
    return sum(bool(line) and not line.startswith(b"#") for line in body.splitlines())
