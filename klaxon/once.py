"""A diagnosis without a daemon: collect from the clusters once, walk the trees on that, and leave nothing behind."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence

from alerts.diagnosis.walk import World
from alerts.model import Finding
from alerts.promql.evaluate import Evaluator
from exporter.facts.cluster import Node
from exporter.history.history import History
from exporter.jmx.jpype_transport import JpypeTransport
from exporter.kafka.reader import Reader
from exporter.metrics.catalogue import complete
from exporter.metrics.page import Page
from exporter.runner import Runner
from klaxon.config import Loaded
from klaxon.daemon import diagnose, requirements
from klaxon.lines import Line

LIMIT_S = 45.0
"""How long the first polls may take; what has not answered by then is unknown to the walk."""


class NoBook:
    """Nothing is known from before, and nothing is kept."""

    def load_nodes(self, cluster: str) -> list[Node]:
        return []

    def save_nodes(self, cluster: str, nodes: Iterable[Node]) -> None:
        return None


def diagnose_once(
    loaded: Loaded, cluster: str | None, tree: str | None, names: Mapping[str, str]
) -> Sequence[tuple[Finding, str]]:
    """Findings with their text. Raises LookupError for an unknown cluster or tree."""
    history, page, jmx = History(), Page(complete()), JpypeTransport()
    history.keep(requirements(loaded))
    lines, runners, readers = {}, [], []
    begun = time.time()
    try:
        for name, config in loaded.config.clusters.items():
            if cluster in (None, name):
                line = lines[name] = Line(name, page, history, loaded.config.thresholds)
                reader = Reader(name, config.bootstrap_servers, config.security)
                runner = Runner(config, reader, jmx, time.time, line.take, NoBook())
                runner.start()
                readers.append(reader)
                runners.append(runner)
        for runner in runners:
            wanted = ("cluster", "quorum", "topics", "groups", "log_dirs", "reassignments", "transactions", "jmx")
            runner.wait_for(wanted, begun, max(1.0, begun + LIMIT_S - time.time()))

        def world(name: str, at: float) -> World:
            servers = ",".join(loaded.config.clusters[name].bootstrap_servers)
            return World(Evaluator(history), at, lines[name].coverage(), servers)

        return diagnose(
            loaded, sorted(lines) or sorted(loaded.config.clusters), world, time.time(), cluster, tree, names
        )
    finally:
        for runner in runners:
            runner.stop()
        for reader in readers:
            reader.close()
        jmx.close()
