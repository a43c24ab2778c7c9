"""Records traces of real faults: watches a running demo cluster and writes one file per fault that is caused and healed on it.

    python -m tests.record DEMO_FOLDER [OUT_FOLDER]

Start it beside a demo (or a proof), break and heal, end it by Ctrl-C. A trace begins 20 s before the fault and ends when everything has been
covered again for 60 s after heal.
"""

from __future__ import annotations

import gzip
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable
from pathlib import Path

import demo
from exporter.config import ClusterConfig, JmxConfig
from exporter.facts.cluster import Node
from exporter.jmx.jpype_transport import JpypeTransport
from exporter.kafka.reader import Reader
from exporter.runner import Runner
from exporter.snapshot import Snapshot
from klaxon.config import build
from tests.replay import TRACES, Recorder

BEFORE_S = 20.0
AFTER_S = 60.0


class NoBook:
    """Nothing is known from before."""

    def load_nodes(self, cluster: str) -> list[Node]:
        return []

    def save_nodes(self, cluster: str, nodes: Iterable[Node]) -> None:
        return None


class FaultRecorder:
    """Takes every Snapshot; cuts traces by what stands broken in the demo's state."""

    def __init__(self, cluster: demo.Cluster, out: Path, metrics: Iterable[str]) -> None:
        self._cluster = cluster
        self._out = out
        self._metrics = frozenset(metrics)
        self._recent: deque[Snapshot] = deque()
        self._recorder: Recorder | None = None
        self._fault = ""
        self._calm_since: float | None = None
        self._lock = threading.Lock()

    def __call__(self, snapshot: Snapshot, _changed: frozenset[str]) -> None:
        broken = list(self._cluster.state.broken)
        with self._lock:
            if self._recorder is None:
                self._recent.append(snapshot)
                while snapshot.at - self._recent[0].at > BEFORE_S:
                    self._recent.popleft()
                if broken:
                    self._begin(broken[0])
                return
            self._recorder(snapshot)
            covered = all(
                want <= snapshot.coverage.taken_at.get(name, {}).keys()
                for name, want in snapshot.coverage.expected.items()
            )
            if broken or not covered:
                self._calm_since = None
            elif self._calm_since is None:
                self._calm_since = snapshot.at
            elif snapshot.at - self._calm_since > AFTER_S:
                self._end()

    def _begin(self, fault: str) -> None:
        self._fault = fault
        self._recorder = Recorder(self._out / f"{fault}.partial", self._metrics)
        for snapshot in self._recent:
            self._recorder(snapshot)
        self._recent.clear()
        print(f"{fault}: recording", flush=True)

    def _end(self) -> None:
        assert self._recorder is not None
        self._recorder.close()
        self._recorder, self._calm_since = None, None
        partial, whole = self._out / f"{self._fault}.partial", self._out / f"{self._fault}.jsonl.gz"
        with gzip.open(partial) as source, gzip.GzipFile(whole, "wb", 9, mtime=0) as target:
            # Log dirs under a name of their own: where the demo ran is nobody's business.
            target.write(source.read().replace(str(self._cluster.folder).encode(), b"/var/lib/kafka"))
        partial.unlink()
        print(f"{self._fault}: {whole.stat().st_size} bytes", flush=True)


def main() -> None:
    folder, out = Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else TRACES
    out.mkdir(parents=True, exist_ok=True)
    cluster = demo.load(folder)
    servers = cluster.bootstrap_servers.split(",")
    config = ClusterConfig(bootstrap_servers=servers, jmx=JmxConfig(targets=cluster.jmx_targets))
    rules = build({"clusters": {"demo": {"bootstrap_servers": servers}}}, folder).rules
    reader, jmx = Reader("demo", servers), JpypeTransport()
    runner = Runner(config, reader, jmx, time.time, FaultRecorder(cluster, out, rules.history_requirements()), NoBook())
    runner.start()
    try:
        while True:
            time.sleep(1)
            demo.load(folder)
    except (KeyboardInterrupt, demo.ClusterGone):
        pass
    finally:
        runner.stop()
        reader.close()
        jmx.close()


if __name__ == "__main__":
    main()
