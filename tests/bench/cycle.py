"""A full cycle in this process, step by step: every collector polled once in order, one Snapshot, its page and its history, wired as the daemon wires them."""

from __future__ import annotations

import cProfile
import io
import pstats
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from unittest.mock import patch

import psutil

from demo import Cluster
from exporter.blocks import Block
from exporter.collectors import COLLECTORS, Tools
from exporter.history.history import History
from exporter.jmx.catalogue import shipped
from exporter.jmx.jpype_transport import JpypeTransport
from exporter.kafka.reader import Lane, Reader
from exporter.metrics.catalogue import complete
from exporter.metrics.page import Page
from exporter.reading import Coverage
from exporter.runner.builder import Builder, changes
from exporter.runner.readings import Readings
from exporter.snapshot import Snapshot
from klaxon.config import Loaded, build
from klaxon.daemon import requirements
from klaxon.lines import Line
from klaxon.memory import share_one_arena
from tests.bench.cluster_m import ROOT, Mover
from tests.bench.costs import Meter, Samples, cpu_seconds, megabytes

CLUSTER = "m"
STEP_S = 15.0
"""How far the clock goes on with each cycle: what is asked each minute is asked in every fourth."""

SETTLED_S = 1.5
"""After offsets were moved the brokers replicate, on the same cores."""

BUDGETED_COLLECTORS = ("topics", "groups", "log_dirs")
KAFKA_COLLECTORS = ("cluster", "quorum", *BUDGETED_COLLECTORS, "reassignments")
PUBLICATION = ("snapshot", "families", "page", "history")
KAFKA_CYCLE = (*KAFKA_COLLECTORS, *PUBLICATION)
EACH_CYCLE = (*KAFKA_COLLECTORS, "jmx")
TITLES: Mapping[str, str] = {
    "cluster": "poll: cluster",
    "quorum": "poll: quorum",
    "topics": "poll: topics",
    "groups": "poll: groups and offsets",
    "log_dirs": "poll: log dirs",
    "reassignments": "poll: reassignments",
    "jmx": "poll: JMX (our process)",
    "transactions": "poll: transactions (in every fourth cycle)",
    "configs": "poll: configs (in every twentieth cycle)",
    "snapshot": "derive, Snapshot",
    "families": "families",
    "page": "page: render and compress",
    "history": "history",
}


class Clock(Protocol):
    """Unix time that can be moved on to the next cycle."""

    def __call__(self) -> float: ...

    def step(self) -> None: ...


class SteppingClock:
    """Unix time that jumps on by 15 seconds with each cycle, so that a minute's habits show in four."""

    def __init__(self) -> None:
        self._ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self._ahead

    def step(self) -> None:
        self._ahead += STEP_S


class MeteredPage(Page):
    """Counts what publishing costs."""

    meter: Meter

    def publish(self, cluster: str, blocks: Mapping[str, Sequence[Block]]) -> None:
        with self.meter.step("page"):
            super().publish(cluster, blocks)


class MeteredHistory(History):
    """Counts what an append costs."""

    meter: Meter

    def append(self, cluster: str, blocks: Any, at_ms: int, speaks_for: Collection[str] = ()) -> None:
        with self.meter.step("history"):
            super().append(cluster, blocks, at_ms, speaks_for)


@dataclass(slots=True)
class Rounds:
    """What some cycles in a row cost: steps, requests of each cycle by collector and API, and CPU seconds of the Java process per cycle."""

    meter: Meter = field(default_factory=Meter)
    requests: list[Counter[tuple[str, str]]] = field(default_factory=list)
    child_cpu: float = 0.0

    def asked(self, collectors: Collection[str]) -> int:
        """The most requests that these collectors sent in one cycle."""
        return max(sum(n for (collector, _), n in r.items() if collector in collectors) for r in self.requests)

    def jmx_cpu(self) -> float:
        """Median of our process plus the mean of the child, seconds."""
        return sorted(self.meter.steps["jmx"].cpu)[len(self.requests) // 2] + self.child_cpu

    def kafka_cycle(self) -> Samples:
        return self.meter.total(KAFKA_CYCLE)


class Cycle:
    """Everything between Kafka and the page, for one cluster."""

    def __init__(self, reader: Any, jmx: JpypeTransport | None, targets: Mapping[int, str], clock: Clock) -> None:
        share_one_arena()
        self.clock = clock
        self.reader = reader
        self._jmx = jmx
        loaded = configuration()
        self.page, self.history = MeteredPage(complete()), MeteredHistory()
        self.history.keep(requirements(loaded))
        self._line = Line(CLUSTER, self.page, self.history, loaded.config.thresholds)
        wanted = [c for c in COLLECTORS if c.name != "jmx" or jmx is not None]
        self._intervals = {c.name: c.interval for c in wanted}
        self._collectors = {c.name: c.make(Tools(reader, clock, c.interval, jmx, targets, shipped())) for c in wanted}
        self._builder = Builder(CLUSTER, (), {"jmx"} if jmx is None else ())
        self._due: dict[str, float] = {}
        self._readings = Readings.none(self._intervals)
        self.snapshot: Snapshot | None = None
        self._use(Rounds())
        self._first()

    def _use(self, rounds: Rounds) -> None:
        self._rounds = rounds
        self.page.meter = self.history.meter = rounds.meter

    def _first(self) -> None:
        """Polls until each collector knows what it needs."""
        for _ in range(2):
            for name in self._collectors:
                self._poll(name)
                self._builder.build(self._readings, {}, self.clock())
            self._publish()
        for name, reading in self._readings.by_owner().items():
            if any(failure.kind != "unsupported" for failure in reading.failures.values()):
                raise RuntimeError(f"collector {name} fails: {reading.failures}")

    def begin(self) -> Rounds:
        """From here on what cycles cost is counted anew."""
        rounds = Rounds()
        self._use(rounds)
        return rounds

    def coverage(self) -> Coverage:
        """Of the Snapshot that is in the history."""
        return self._line.coverage()

    # --- one cycle

    def run(self) -> None:
        """Poll what a cycle holds, and of the rest what is due; then publish once."""
        self.clock.step()
        requests: Counter[tuple[str, str]] = Counter()
        for name in self._collectors:
            if name not in EACH_CYCLE and self.clock() < self._due[name]:
                continue
            before = self.reader.requests()
            self._poll(name)
            for (api, node), count in self.reader.requests().items():
                if count != before.get((api, node), 0):
                    requests[name, api] += count - before.get((api, node), 0)
        self._publish()
        self._rounds.requests.append(requests)
        self._rounds.meter.end()

    def _poll(self, name: str) -> None:
        self._due[name] = self.clock() + self._intervals[name]
        with self._rounds.meter.step(name):
            polls = self._collectors[name].poll(self._builder.known)
        self._readings = self._readings.merged(polls, self.clock(), 0.0)

    def _publish(self) -> None:
        meter = self._rounds.meter
        before = self.snapshot
        with meter.step("snapshot"):
            self.snapshot = self._builder.build(self._readings, self.reader.requests(), self.clock())
            changed = changes(before, self.snapshot)
        with meter.step("taken"):
            self._line.take(self.snapshot, changed)
        # What take does beyond page and history is making the families.
        taken, page, history = (meter._open.get(name, (0.0, 0.0)) for name in ("taken", "page", "history"))
        meter.add("families", taken[0] - page[0] - history[0], taken[1] - page[1] - history[1])
        meter._open.pop("taken")

    # --- many

    def rounds(self, count: int, between: Callable[[], None] = lambda: None, pause: float = 0.2) -> Rounds:
        """``count`` cycles with ``between`` before each."""
        rounds = self.begin()
        child = psutil.Process(self._jmx.child_pid) if self._jmx is not None and self._jmx.child_pid else None
        before = cpu_seconds(child) if child is not None else 0.0
        for _ in range(count):
            between()
            time.sleep(pause)
            self.run()
        rounds.child_cpu = (cpu_seconds(child) - before) / count if child is not None else 0.0
        self.begin()
        return rounds

    def series(self) -> int:
        """Samples on the page."""
        body = b"".join(self.page.render("")[1])
        return sum(not line.startswith(b"#") for line in body.splitlines())

    def profile(self, count: int, between: Callable[[], None], top: int = 12) -> str:
        """Where the time of our Python goes: functions by their own share over some cycles, JMX aside. The lanes work in the caller's thread meanwhile."""
        profiler = cProfile.Profile()
        polled = {name: c for name, c in self._collectors.items() if name != "jmx"}
        with patch.object(self, "_collectors", polled), inline_lanes(self.reader):
            for _ in range(count):
                between()
                profiler.enable()
                self.run()
                profiler.disable()
        return top_functions(profiler, count, top)


def configuration(folder: Path = ROOT) -> Loaded:
    """Shipped rules, trees and defaults."""
    return build({"clusters": {CLUSTER: {"bootstrap_servers": ["127.0.0.1:9092"]}}}, folder)


@contextmanager
def inline_lanes(reader: Any) -> Iterator[None]:
    """A lane's calls run at once in the thread that asks, since a profiler sees only its own; so what guards the reader must let that thread in twice."""

    def at_once(_: Lane, call: Callable[[], Any]) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(call())
        return future

    with patch.object(Lane, "submit", at_once), patch.object(reader, "_lock", threading.RLock(), create=True):
        yield


def top_functions(profiler: cProfile.Profile, rounds: int, top: int) -> str:
    """Milliseconds per round of the functions with the largest own time, waiting left out."""
    stats = pstats.Stats(profiler, stream=io.StringIO())
    rows = []
    for (file, _, name), (_, calls, own, cumulated, _) in stats.stats.items():  # type: ignore[attr-defined]
        if any(word in name for word in ("recv_into", "acquire", "poll' of 'select", "sleep", "sendall")):
            continue
        where = f"{Path(file).parent.name}/{Path(file).name}" if file.endswith(".py") else ""
        rows.append((own / rounds * 1e3, cumulated / rounds * 1e3, calls / rounds, f"{where} {name}".strip()))
    rows.sort(reverse=True)
    lines = [f"{'own ms':>8} {'with callees':>13} {'calls':>8}  function"]
    lines += [f"{own:8.2f} {cumulated:13.2f} {calls:8.0f}  {name}" for own, cumulated, calls, name in rows[:top]]
    return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class CycleResult:
    """``still``: nothing moved between cycles. ``live``: every end offset and every commit moved."""

    first_s: float
    still: Rounds
    live: Rounds
    series: int
    memory_mb: float
    child_mb: float
    profile: str
    jmx_beans: int


def measure(cluster: Cluster, mover: Mover, count: int) -> CycleResult:
    """Cycles on a real cluster: first with nothing moving, then with everything moving."""
    clock = SteppingClock()
    reader = Reader(CLUSTER, cluster.bootstrap_servers.split(","), clock=clock)
    jmx = JpypeTransport(clock=clock)
    try:
        begun = time.perf_counter()
        cycle = Cycle(reader, jmx, cluster.jmx_targets, clock)
        first_s = time.perf_counter() - begun
        cycle.rounds(3, mover.step)
        still = cycle.rounds(count)
        live = cycle.rounds(max(count // 2, 6), mover.step, SETTLED_S)
        assert jmx.child_pid is not None and cycle.snapshot is not None
        nodes = [part.value for part in cycle.snapshot.jmx.fresh(clock()).values()]
        return CycleResult(
            first_s,
            still,
            live,
            cycle.series(),
            megabytes(psutil.Process()),
            megabytes(psutil.Process(jmx.child_pid)),
            cycle.profile(min(count, 5), mover.step),
            sum(len(n.values) for n in nodes),
        )
    finally:
        jmx.close()
        reader.close()
