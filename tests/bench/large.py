"""100,000 partitions and 1,000 groups on stub brokers: a cycle in a process of its own, and the daemon for some minutes, its memory told each half of one."""

from __future__ import annotations

import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psutil

from exporter.kafka.reader import Reader
from tests.bench.canned import PER_TOPIC, TOPICS_PER_GROUP
from tests.bench.cluster_m import Size
from tests.bench.costs import cpu_seconds, megabytes, peak_megabytes
from tests.bench.cycle import BUDGETED_COLLECTORS, CLUSTER, Cycle, Rounds, SteppingClock
from tests.bench.daemon import Scrapes, full, scraped
from tests.bench.stub import BROKERS, Stub
from tests.klaxon_process import Klaxon, wait_until

FILLED = 66
"""Cycles, 15 seconds apart, after which the history holds all it keeps of partitions: 15 minutes and some."""
START_LIMIT_S = 120.0
STEP_EVERY_S = 10.0
SAMPLE_EVERY_S = 30.0


@dataclass(frozen=True, slots=True)
class LargeDaemon:
    """The daemon on the stub: ``memory`` in MB, every half minute since its page was full; CPU in seconds per second."""

    first_page_s: float
    cpu: float
    memory: Sequence[float]
    peak_mb: float
    scrapes: Scrapes


@dataclass(frozen=True, slots=True)
class LargeResult:
    """``half_cpu``: the median CPU of a cycle with half of everything."""

    rounds: Rounds
    group_partitions: int
    series: int
    memory_mb: float
    half_cpu: float
    profile: str
    asked: int
    limit: int
    daemon: LargeDaemon


def measure(cycles: int, seconds: float, topics: int = 10_000, groups: int = 1_000) -> LargeResult:
    half = apart(cycles, topics // 2, groups // 2, full=False)
    rounds, series, memory, profile = apart(cycles, topics, groups, full=True)
    return LargeResult(
        rounds,
        groups * TOPICS_PER_GROUP * PER_TOPIC,
        series,
        memory,
        statistics.median(half[0].kafka_cycle().cpu),
        profile,
        rounds.asked(BUDGETED_COLLECTORS),
        8 * BROKERS + 4,
        daemon(seconds, topics, groups),
    )


def apart(cycles: int, topics: int, groups: int, full: bool) -> tuple[Rounds, int, float, str]:
    with (
        Stub(topics, groups) as stub,
        ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("forkserver")) as pool,
    ):
        running = pool.submit(in_process, cycles, stub.bootstrap_servers, full)
        while not running.done():
            stub.step()
            time.sleep(0.05)
        return running.result()


def in_process(cycles: int, bootstrap_servers: str, full: bool) -> tuple[Rounds, int, float, str]:
    """Rounds, series on the page, memory in MB (with ``full`` once the history holds all that it keeps of partitions), and a profile."""
    clock = SteppingClock()
    reader = Reader(CLUSTER, bootstrap_servers.split(","), clock=clock)
    try:
        cycle = Cycle(reader, None, {}, clock)
        cycle.rounds(2)
        rounds = cycle.rounds(cycles)
        cycle.rounds(FILLED - cycles if full else 0, pause=0.1)
        memory = megabytes(psutil.Process())
        return rounds, cycle.series(), memory, cycle.profile(min(cycles, 4), lambda: time.sleep(0.2))
    finally:
        reader.close()


def daemon(seconds: float, topics: int, groups: int) -> LargeDaemon:
    """Offsets move each ten seconds; scraped at the end."""
    size = Size("large", topics, PER_TOPIC, groups, TOPICS_PER_GROUP, 0)
    with tempfile.TemporaryDirectory() as folder, Stub(topics, groups) as stub:
        klaxon = Klaxon(Path(folder), {"clusters": {"demo": {"bootstrap_servers": stub.bootstrap_servers.split(",")}}})
        begun = time.monotonic()
        klaxon.start(ready=False)
        try:
            wait_until(lambda: full(klaxon, size, jmx=False), START_LIMIT_S, "the page is full", every=0.5)
            first_page_s = time.monotonic() - begun
            assert klaxon.process is not None
            process = psutil.Process(klaxon.process.pid)
            cpu, begun = cpu_seconds(process), time.monotonic()
            memory = watched(process, stub, seconds)
            cpu = (cpu_seconds(process) - cpu) / (time.monotonic() - begun)
            scrapes = scraped(klaxon.port, "gzip", 60)
            return LargeDaemon(first_page_s, cpu, memory, peak_megabytes(process.pid), scrapes)
        finally:
            klaxon.close()


def watched(process: psutil.Process, stub: Stub, seconds: float) -> list[float]:
    begun = time.monotonic()
    memory = [megabytes(process)]
    while (passed := time.monotonic() - begun) < seconds:
        stub.step()
        time.sleep(STEP_EVERY_S)
        if passed >= SAMPLE_EVERY_S * len(memory):
            memory.append(megabytes(process))
    return memory
