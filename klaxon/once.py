"""One look without a daemon: collect from the clusters once, use what came, and leave nothing behind."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from alerts.diagnosis.walk import World
from alerts.model import Finding
from alerts.promql.evaluate import Evaluator
from exporter.collectors import BY_NAME
from exporter.config import ClusterConfig, CollectorConfig
from exporter.derive.witnesses import OUR_OWN_KINDS
from exporter.facts.cluster import Node
from exporter.history.history import History
from exporter.jmx.catalogue import shipped
from exporter.jmx.transports import Transports
from exporter.kafka.reader import Reader
from exporter.metrics.catalogue import complete
from exporter.metrics.page import Page
from exporter.runner import Runner
from klaxon.config import Loaded
from klaxon.daemon import diagnose, requirements
from klaxon.lines import Line

LIMIT_S = 45.0
"""How long the first polls may take; what has not answered by then is unknown."""


class NoBook:
    """Nothing is known from before, and nothing is kept."""

    def load_nodes(self, cluster: str) -> list[Node]:
        return []

    def save_nodes(self, cluster: str, nodes: Iterable[Node]) -> None:
        return None


@dataclass(frozen=True, slots=True)
class Collected:
    """What one poll of every collector gave: a line with its Snapshot for each cluster, their page, and their history."""

    lines: Mapping[str, Line]
    page: Page
    history: History


def diagnose_once(
    loaded: Loaded, cluster: str | None, tree: str | None, names: Mapping[str, str]
) -> Sequence[tuple[Finding, str]]:
    """Findings with their text. Raises LookupError for an unknown cluster or tree."""
    wanted = {name: config for name, config in loaded.config.clusters.items() if cluster in (None, name)}
    with _collected(loaded, wanted) as found:

        def world(name: str, at: float) -> World:
            servers = ",".join(wanted[name].bootstrap_servers)
            return World(Evaluator(found.history), at, found.lines[name].coverage(), servers)

        known = sorted(found.lines) or sorted(loaded.config.clusters)
        return diagnose(loaded, known, world, time.time(), cluster, tree, names)


def collect_once(loaded: Loaded, collectors: Collection[str]) -> Collected:
    """One poll of these collectors and of those that they build on, or of all when none is named. Raises LookupError for an unknown name."""
    unknown = sorted(set(collectors) - BY_NAME.keys())
    if unknown:
        raise LookupError(f"there is no collector {', '.join(unknown)}; there are: {', '.join(BY_NAME)}")
    asked = frozenset(_with_needs(collectors)) if collectors else frozenset(BY_NAME)
    wanted = {name: _only(config, asked) for name, config in loaded.config.clusters.items()}
    with _collected(loaded, wanted) as found:
        return found


def _with_needs(collectors: Collection[str]) -> Iterator[str]:
    for name in collectors:
        yield name
        yield from _with_needs(BY_NAME[name].needs)


def _only(config: ClusterConfig, collectors: Collection[str]) -> ClusterConfig:
    """The configuration with every other collector switched off."""
    off = {name: CollectorConfig(enabled=False) for name in BY_NAME if name not in collectors and name != "cluster"}
    return config.model_copy(update={"collectors": config.collectors.model_copy(update=off)})


@contextmanager
def _collected(loaded: Loaded, clusters: Mapping[str, ClusterConfig]) -> Iterator[Collected]:
    """Polls every collector that is switched on, and ends all of it afterwards."""
    history, page, jmx = History(), Page(complete()), Transports(shipped())
    history.keep(requirements(loaded))
    lines: dict[str, Line] = {}
    runners: list[Runner] = []
    readers: list[Reader] = []
    begun = time.time()
    try:
        for name, config in clusters.items():
            line = lines[name] = Line(name, page, history, loaded.config.thresholds, config.metrics)
            reader = Reader(name, config.bootstrap_servers, config.security)
            readers.append(reader)
            runners.append(Runner(config, reader, config.jmx_transport(jmx), time.time, line.take, NoBook()))
            runners[-1].start()
        for runner in runners:
            _first_polls(runner, begun, begun + LIMIT_S)
        yield Collected(lines, page, history)
    finally:
        for runner in runners:
            runner.stop()
        for reader in readers:
            reader.close()
        jmx.close()


def _first_polls(runner: Runner, begun: float, end: float) -> None:
    """Wait until every collector has polled; where no node answers only for what can be asked without one."""

    def left() -> float:
        return max(1.0, end - time.time())

    runner.wait_for(("cluster", "jmx"), begun, left())
    if runner.reachable:
        runner.wait_for(BY_NAME, begun, left())
    # The first poll may have come too early for the process that holds the Java machine.
    while time.time() < end and {f.kind for f in runner.snapshot().jmx.failures.values()} == OUR_OWN_KINDS:
        runner.wait_for(("jmx",), time.time(), left())
