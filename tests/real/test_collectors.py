"""Collectors, trust and departures on real brokers: every fault shows the facts that were observed, and nothing looks healthy without a quorum."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

import demo
from demo import faults
from exporter.config import ClusterConfig
from exporter.facts.cluster import LegName, LegState, Node
from exporter.jmx.jpype_transport import JpypeTransport
from exporter.runner import Runner
from exporter.snapshot import Snapshot
from tests.on_cluster import cluster_section, reader_for

pytestmark = pytest.mark.real

EVERYTHING = ("cluster", "topics", "groups", "offsets", "log_dirs", "quorum", "jmx", "legs")


class Book:
    def __init__(self) -> None:
        self.nodes: list[Node] = []

    def load_nodes(self, cluster: str) -> list[Node]:
        return self.nodes

    def save_nodes(self, cluster: str, nodes: Iterable[Node]) -> None:
        self.nodes = list(nodes)


class Watched:
    """A runner on the real cluster, and all that it published."""

    def __init__(self, cluster: demo.Cluster, book: Book | None = None) -> None:
        self.book = book or Book()
        self.published: list[Snapshot] = []
        config = ClusterConfig.model_validate(cluster_section(cluster))
        self.brokers = set(cluster.broker_ids)
        self.reader = reader_for(cluster)
        self.jmx = JpypeTransport()
        self.runner = Runner(config, self.reader, self.jmx, time.time, lambda s, _: self.published.append(s), self.book)
        self.runner.start()

    def close(self) -> None:
        self.runner.stop()
        self.reader.close()
        self.jmx.close()

    @property
    def now(self) -> Snapshot:
        return self.runner.snapshot()

    def until(self, condition: Callable[[Snapshot], Any], limit: float, what: str) -> Snapshot:
        end = time.monotonic() + limit
        while not condition(snapshot := self.now):
            assert time.monotonic() < end, f"waited {limit:g} s in vain until {what}; {told(snapshot)}"
            time.sleep(0.1)
        return snapshot

    def whole(self) -> Snapshot:
        def whole(s: Snapshot) -> bool:
            return all(s.coverage.covers(name) for name in EVERYTHING) and up(s) == self.brokers

        return self.until(whole, 90, "everything is covered and all brokers are up")

    def since(self, at: float) -> list[Snapshot]:
        return [s for s in self.published if s.at >= at]


def told(s: Snapshot) -> str:
    covered = [name for name in EVERYTHING if s.coverage.covers(name)]
    d = s.derived
    return (
        f"trust {d.trust}, alive {d.controller_alive}, up {up(s)}, departures {dict(d.departures)}, covered {covered}"
    )


def up(s: Snapshot) -> set[int]:
    """Brokers that the page shows as up; empty while cluster facts are withdrawn."""
    facts = s.cluster_facts.value(s.at)
    if facts is None or "cluster" in s.derived.withdrawn:
        return set()
    return {n.id for n in facts.brokers if n.registered and not n.fenced}


def leg(s: Snapshot, node: int, name: LegName) -> LegState | None:
    tried = s.derived.legs.get(node, {}).get(name)
    return tried.state if tried is not None else None


@pytest.fixture
def watched(healthy_cluster: demo.Cluster) -> Iterator[Watched]:
    w = Watched(healthy_cluster)
    try:
        w.whole()
        yield w
    finally:
        w.close()


def ordinary(cluster: demo.Cluster) -> int:
    """A broker that is not the active controller."""
    return next(b for b in cluster.broker_ids if b != faults.active_controller(cluster))


def never_doubted(snapshots: Iterable[Snapshot]) -> None:
    doubts = [told(s) for s in snapshots if not s.derived.trust.trusted or s.derived.controller_alive is False]
    assert not doubts, doubts[:3]


def test_first_page_and_restart_of_klaxon(healthy_cluster: demo.Cluster) -> None:
    started = time.monotonic()
    w = Watched(healthy_cluster)
    try:
        w.whole()
        print(f"first whole Snapshot after {time.monotonic() - started:.1f} s")
        assert w.now.derived.health is not None and len(w.now.derived.health.table) > 0
        assert {n.id for n in w.book.nodes} == set(healthy_cluster.node_ids)
        assert not w.now.derived.departures
    finally:
        w.close()


@pytest.mark.proof
def test_kill_one_broker(healthy_cluster: demo.Cluster, watched: Watched) -> None:
    victim = ordinary(healthy_cluster)
    at = time.time()
    healthy_cluster.kill_node(victim)
    watched.until(lambda s: leg(s, victim, LegName.TCP) is LegState.REFUSED, 15, "its port refuses")
    gone = watched.until(lambda s: victim not in up(s) and up(s), 30, "it is no longer up")
    print(f"down after {gone.at - at:.1f} s")
    decided = watched.until(lambda s: victim in s.derived.departures, 30, "its departure is told")
    print(f"departure after {decided.at - at:.1f} s")
    assert decided.derived.departures == {victim: False}
    dead = watched.until(lambda s: not s.coverage.covers("jmx", victim), 70, "its own facts age")
    assert leg(dead, victim, LegName.JMX) is LegState.REFUSED
    others = [b for b in healthy_cluster.broker_ids if b != victim]
    assert all(dead.coverage.covers(c, b) for c in ("jmx", "log_dirs") for b in others)
    assert all(dead.coverage.covers(c) for c in ("cluster", "topics", "groups", "offsets", "quorum", "legs"))
    assert dead.derived.health is not None and dead.derived.health.under_replicated.any()
    never_doubted(watched.since(at))
    healthy_cluster.start_node(victim)
    back = watched.whole()
    assert not back.derived.departures


@pytest.mark.proof
def test_stop_one_broker_cleanly(healthy_cluster: demo.Cluster, watched: Watched) -> None:
    victim = ordinary(healthy_cluster)
    at = time.time()
    healthy_cluster.stop_node(victim)
    decided = watched.until(lambda s: victim in s.derived.departures, 40, "its departure is told")
    print(f"departure after {decided.at - at:.1f} s")
    assert decided.derived.departures == {victim: True}
    never_doubted(watched.since(at))
    # A Klaxon that starts while it is away comes to the same conclusion.
    other = Watched(healthy_cluster)
    try:
        fresh = other.until(lambda s: victim in s.derived.departures, 40, "a new Klaxon tells the departure")
        assert fresh.derived.departures == {victim: True}
    finally:
        other.close()
    healthy_cluster.start_node(victim)
    watched.whole()


@pytest.mark.proof
@pytest.mark.parametrize("how", ["kill", "hang"])
def test_lose_the_controller(healthy_cluster: demo.Cluster, watched: Watched, how: str) -> None:
    victim = faults.active_controller(healthy_cluster)
    at = time.time()
    (healthy_cluster.kill_node if how == "kill" else healthy_cluster.pause_node)(victim)
    gone = watched.until(lambda s: up(s) and victim not in up(s), 40, "the controller's broker is no longer up")
    print(f"{how}: down after {gone.at - at:.1f} s")
    decided = watched.until(lambda s: victim in s.derived.departures, 40, "its departure is told")
    assert decided.derived.departures == {victim: False}
    watched.until(lambda s: s.at > at + 40, 60, "DescribeQuorum answers again")
    seen = watched.since(at)
    if how == "hang":
        assert leg(seen[-1], victim, LegName.TCP) is LegState.OK and seen[-1].coverage.covers("legs")
        assert leg(seen[-1], victim, LegName.API_VERSIONS) is LegState.TIMEOUT, "also while it is skipped"
    never_doubted(seen)
    assert all(s.derived.controller_alive is True for s in seen)
    (healthy_cluster.start_node if how == "kill" else healthy_cluster.resume_node)(victim)
    watched.whole()


@pytest.mark.proof
def test_lose_the_quorum(healthy_cluster: demo.Cluster, watched: Watched) -> None:
    controller = faults.active_controller(healthy_cluster)
    other = ordinary(healthy_cluster)
    at = time.time()
    for victim in (controller, other):
        healthy_cluster.kill_node(victim)
    dead = watched.until(lambda s: s.derived.controller_alive is False, 60, "the controller is known to be gone")
    print(f"controller gone after {dead.at - at:.1f} s")
    lost = watched.until(lambda s: not s.derived.trust.trusted, 60, "metadata is not trusted")
    print(f"not trusted after {lost.at - at:.1f} s")
    later = watched.until(lambda s: s.at > at + 40, 90, "frozen metadata had time to deceive")
    for s in (s for s in watched.since(lost.at) if s.at >= lost.at):
        assert not s.derived.trust.trusted and s.derived.controller_alive is False, told(s)
        assert s.derived.health is None and not s.derived.lags and s.derived.end_offsets is None
        assert not any(s.coverage.covers(c) for c in ("cluster", "topics", "groups", "offsets")), told(s)
        assert not s.derived.departures
    assert not later.coverage.covers("quorum") and later.coverage.covers("legs")
    assert later.reachable, "the survivor answers"
    # A Klaxon that starts now believes nothing either.
    fresh = Watched(healthy_cluster)
    try:
        fresh.until(lambda s: s.derived.controller_alive is False, 60, "a new Klaxon knows that there is no controller")
        assert not any(s.derived.trust.trusted or s.derived.health is not None for s in fresh.published)
    finally:
        fresh.close()
    began = time.time()
    healthy_cluster.start_node(other, wait=False)
    trusted = watched.until(lambda s: s.derived.trust.trusted, 120, "a controller leads and had time to look around")
    print(f"trusted {trusted.at - began:.1f} s after the second node began to start")
    assert controller not in up(trusted), "the third is still missing, and nothing said otherwise"
    healthy_cluster.start_node(controller)
    watched.whole()
