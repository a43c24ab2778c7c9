"""Collector ``cluster``: probes every node, and takes the view of the brokers that most of them share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from exporter.collectors.base import Clock, Known, Polls
from exporter.facts.cluster import ClusterFacts, ClusterView, Node, Pulse
from exporter.kafka.client import KafkaReader
from exporter.kafka.errors import KafkaError
from exporter.reading import WHOLE_CLUSTER, Failure, Part, Poll


class ClusterCollector:
    """Its facts hold the nodes of the shared view; none where no broker gave a view, and the pulses say why."""

    def __init__(self, reader: KafkaReader, clock: Clock) -> None:
        self._reader = reader
        self._clock = clock
        self._previous: ClusterView | None = None

    def poll(self, known: Known) -> Polls:
        """See Collector."""
        pulses = self._reader.pulse()
        now = self._clock()
        view = shared_view(pulses, self._previous)
        self._previous = view or self._previous
        if view is not None:
            return Polls(cluster=Poll({WHOLE_CLUSTER: Part(_facts(view, pulses), now)}, _strangers(view, pulses, now)))
        failures = {WHOLE_CLUSTER: _no_view(pulses, self._reader.bootstrap_errors(), now)}
        parts = {WHOLE_CLUSTER: Part(ClusterFacts(None, {}, _by_node(pulses)), now)} if pulses else {}
        return Polls(cluster=Poll(parts, failures))


def shared_view(pulses: Sequence[Pulse], previous: ClusterView | None) -> ClusterView | None:
    """The view that most answering brokers share; between equals the one that was shared before, else that of the lowest node.

    A broker that slept serves its old view for a moment after it wakes.
    """
    views = [p.view for p in sorted(pulses, key=lambda p: p.node) if p.view is not None]
    if not views:
        return None
    votes = Counter(map(_essence, views))
    before = _essence(previous) if previous is not None else None
    best = max(views, key=lambda v: (votes[_essence(v)], _essence(v) == before))
    return previous if previous is not None and previous == best else best


def _essence(view: ClusterView) -> tuple[str, frozenset[Node]]:
    return view.cluster_id, frozenset(view.brokers)


def _facts(view: ClusterView, pulses: Sequence[Pulse]) -> ClusterFacts:
    return ClusterFacts(view.cluster_id, {n.id: n for n in view.brokers}, _by_node(pulses))


def _by_node(pulses: Sequence[Pulse]) -> dict[int, Pulse]:
    return {p.node: p for p in pulses}


def _strangers(view: ClusterView, pulses: Sequence[Pulse], now: float) -> dict[int, Failure]:
    """Nodes of another cluster: a bootstrap server or address that belongs elsewhere."""
    others = sorted((p.node, p.view.cluster_id) for p in pulses if p.view and p.view.cluster_id != view.cluster_id)
    if not others:
        return {}
    named = ", ".join(f"node {node} says {cluster_id}" for node, cluster_id in others)
    return {WHOLE_CLUSTER: Failure("other_cluster", f"most brokers say cluster id {view.cluster_id}, but {named}", now)}


def _no_view(pulses: Sequence[Pulse], bootstrap: Mapping[str, KafkaError], now: float) -> Failure:
    if not pulses:
        why = "; ".join(f"{address}: {error.args[0]}" for address, error in sorted(bootstrap.items()))
        return Failure("unreachable", f"no bootstrap server answered ({why or 'none was tried'})", now)
    nodes = ", ".join(str(p.node) for p in sorted(pulses, key=lambda p: p.node))
    return Failure("no_view", f"no broker gave its view of the cluster (asked: {nodes})", now)
