"""Records traces of what really happens to a running demo cluster: of faults that are caused and healed on it, or of healthy operations.

    python -m tests.record DEMO_FOLDER [--out FOLDER] [--operation NAME]

Without an operation it watches: start it beside a demo (or a proof), break and heal, end it by Ctrl-C; each fault becomes a file. With ``--operation`` it performs those of the
proof whose name contains NAME, one after the other, and ends. A trace begins at least 20 s before and ends when everything has been covered again for 90 s. It holds what the
history of a Klaxon would have been given.
"""

from __future__ import annotations

import argparse
import gzip
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

import demo
from alerts.engine.thresholds import Thresholds
from exporter.blocks import Block
from exporter.config import ClusterConfig, JmxConfig
from exporter.jmx.jpype_transport import JpypeTransport
from exporter.kafka.reader import Reader
from exporter.metrics.catalogue import complete
from exporter.metrics.page import Page
from exporter.runner import Runner
from exporter.snapshot import Snapshot
from klaxon.config import build
from klaxon.daemon import requirements
from klaxon.lines import Line
from klaxon.once import NoBook
from tests.klaxon_process import wait_until
from tests.proof.operations import OPERATIONS
from tests.replay import TRACES, Frame, Recorder

CLUSTER = "demo"
BEFORE_S = 20.0
AFTER_S = 90.0
CALM_LIMIT_S = 600.0


class Tape:
    """Stands where a line has its history, and keeps what the line gave it last."""

    def __init__(self) -> None:
        self._given: tuple[tuple[Block, ...], Collection[str]] | None = None

    def append(self, cluster: str, blocks: Iterable[Block], at_ms: int, speaks_for: Collection[str] = ()) -> None:
        self._given = (tuple(blocks), speaks_for)

    def frame(self, snapshot: Snapshot) -> Frame | None:
        """What was given since the last call; None if nothing was."""
        given, self._given = self._given, None
        if given is None:
            return None
        blocks, speaks_for = given
        silent = frozenset(speaks_for) - {block.metric for block in blocks}
        return Frame(snapshot.at, snapshot.cluster, blocks, snapshot.coverage, silent)


class Cutter:
    """Takes every Snapshot; cuts traces by what goes on: ``ongoing`` names it, or is None."""

    def __init__(
        self, cluster: demo.Cluster, out: Path, metrics: Iterable[str], ongoing: Callable[[], str | None]
    ) -> None:
        self._cluster = cluster
        self._out = out
        self._metrics = frozenset(metrics)
        self._ongoing = ongoing
        self._tape = Tape()
        self._line = Line(CLUSTER, Page(complete()), self._tape, Thresholds())  # type: ignore[arg-type]
        self._recent: deque[Frame] = deque()
        self._recorder: Recorder | None = None
        self._name = ""
        self._calm_since: float | None = None
        self._lock = threading.Lock()

    @property
    def ready(self) -> bool:
        """Whether no trace is open and what comes before the next one is there, everything covered."""
        with self._lock:
            recent = list(self._recent)
        return (
            self._recorder is None
            and len(recent) > 1
            and recent[-1].at - recent[0].at > BEFORE_S
            and covered(recent[0])
        )

    def __call__(self, snapshot: Snapshot, changed: frozenset[str]) -> None:
        self._line.take(snapshot, changed)
        frame = self._tape.frame(snapshot)
        if frame is None:
            return
        name = self._ongoing()
        with self._lock:
            if self._recorder is not None:
                self._take(self._recorder, frame, name)
                return
            self._recent.append(frame)
            while len(self._recent) > 1 and frame.at - self._recent[1].at > BEFORE_S:
                self._recent.popleft()
            if name is not None:
                self._begin(name)

    def _take(self, recorder: Recorder, frame: Frame, name: str | None) -> None:
        recorder.frame(frame)
        if name is not None or not covered(frame):
            self._calm_since = None
        elif self._calm_since is None:
            self._calm_since = frame.at
        elif frame.at - self._calm_since > AFTER_S:
            self._end(recorder)

    def _begin(self, name: str) -> None:
        self._name = name.replace(" ", "-")
        self._recorder = Recorder(self._out / f"{self._name}.partial", self._metrics)
        for frame in self._recent:
            self._recorder.frame(frame)
        self._recent.clear()
        print(f"{name}: recording", flush=True)

    def _end(self, recorder: Recorder) -> None:
        recorder.close()
        partial, whole = self._out / f"{self._name}.partial", self._out / f"{self._name}.jsonl.gz"
        with gzip.open(partial) as source, gzip.GzipFile(whole, "wb", 9, mtime=0) as target:
            # Log dirs under a name of their own: where the demo ran is nobody's business.
            target.write(source.read().replace(str(self._cluster.folder).encode(), b"/var/lib/kafka"))
        partial.unlink()
        self._recorder, self._calm_since = None, None
        print(f"{self._name}: {whole.stat().st_size} bytes", flush=True)


def covered(frame: Frame) -> bool:
    """Whether every collector has an answer of every source that it expects."""
    taken = frame.coverage.taken_at
    return all(want <= taken.get(name, {}).keys() for name, want in frame.coverage.expected.items())


class Operations:
    """Performs operations; ``ongoing`` is the one that is being performed."""

    def __init__(self) -> None:
        self.ongoing: str | None = None

    def perform(self, cluster: demo.Cluster, part: str, cutter: Cutter) -> None:
        for name, act in OPERATIONS.items():
            if part in name:
                cluster.wait_healthy()
                wait_until(lambda: cutter.ready, CALM_LIMIT_S, "what comes before the operation is there")
                self.ongoing = name
                try:
                    act(cluster)
                finally:
                    self.ongoing = None
        wait_until(lambda: cutter.ready, CALM_LIMIT_S, "the last trace is written")


def watch(folder: Path) -> None:
    """Until the demo ends or Ctrl-C."""
    while True:
        time.sleep(1)
        demo.load(folder)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.record", description="Record traces of a demo cluster.")
    parser.add_argument("folder", type=Path, help="of the running demo cluster")
    parser.add_argument("--out", type=Path, help="where the traces go (tests/traces, or operations in it)")
    parser.add_argument("--operation", metavar="NAME", help="perform the operations whose name contains this")
    given = parser.parse_args()
    operations = Operations()
    cluster = demo.load(given.folder)
    if given.operation is None:
        out, ongoing = TRACES, lambda: next(iter(cluster.state.broken), None)
    else:
        out, ongoing = TRACES / "operations", lambda: operations.ongoing
    out = given.out or out
    out.mkdir(parents=True, exist_ok=True)
    servers = cluster.bootstrap_servers.split(",")
    config = ClusterConfig(bootstrap_servers=servers, jmx=JmxConfig(targets=cluster.jmx_targets))
    loaded = build({"clusters": {CLUSTER: {"bootstrap_servers": servers}}}, given.folder)
    cutter = Cutter(cluster, out, requirements(loaded), ongoing)
    reader, jmx = Reader(CLUSTER, servers), JpypeTransport()
    runner = Runner(config, reader, jmx, time.time, cutter, NoBook())
    runner.start()
    try:
        if given.operation is None:
            watch(given.folder)
        else:
            operations.perform(cluster, given.operation, cutter)
    except (KeyboardInterrupt, demo.ClusterGone):
        pass
    finally:
        runner.stop()
        reader.close()
        jmx.close()


if __name__ == "__main__":
    main()
