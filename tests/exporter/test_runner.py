"""The runner: first page, isolation of hanging, raising, slow and senseless collectors, early polls, stop, and what ages."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from exporter.config import ClusterConfig
from exporter.facts.cluster import LegName, LegState, Node
from exporter.kafka.errors import TimedOut
from exporter.runner import Runner
from exporter.snapshot import Snapshot
from tests.exporter.scripted import Cluster, node


def until(condition: Callable[[], Any], limit: float = 10.0) -> Any:
    end = time.monotonic() + limit
    while not (value := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)
    return value


class Book:
    def __init__(self, nodes: Iterable[Node] = ()) -> None:
        self.nodes = list(nodes)

    def load_nodes(self, cluster: str) -> list[Node]:
        return self.nodes

    def save_nodes(self, cluster: str, nodes: Iterable[Node]) -> None:
        self.nodes = list(nodes)


class Watched:
    """A runner on a scripted cluster, with everything it published."""

    def __init__(self, cluster: Cluster, book: Book | None = None, **options: Any) -> None:
        self.cluster = cluster
        self.book = book or Book()
        self.published: list[tuple[Snapshot, frozenset[str]]] = []
        config = ClusterConfig(
            bootstrap_servers=["127.0.0.1:9092"],
            **({"collectors": options.pop("collectors")} if "collectors" in options else {}),
        )
        options = {"tick_s": 0.2, "early_gap_s": 0.05, **options}
        self.runner = Runner(config, cluster, None, time.time, self._take, self.book, **options)

    def _take(self, snapshot: Snapshot, changed: frozenset[str]) -> None:
        self.published.append((snapshot, changed))

    @property
    def now(self) -> Snapshot:
        return self.runner.snapshot()


@pytest.fixture
def watch() -> Iterator[Callable[..., Watched]]:
    started: list[Watched] = []

    def start(cluster: Cluster | None = None, book: Book | None = None, **options: Any) -> Watched:
        watched = Watched(cluster or Cluster(time.time), book, **options)
        started.append(watched)
        watched.runner.start()
        return watched

    yield start
    for watched in started:
        watched.runner.stop()


EVERYTHING = ("cluster", "topics", "groups", "offsets", "log_dirs", "quorum", "legs")


def test_first_full_snapshot(watch: Callable[..., Watched]) -> None:
    w = watch()
    until(lambda: all(w.now.coverage.covers(name) for name in EVERYTHING))
    until(lambda: w.now.coverage.unsupported == {"jmx", "certificates", "certificate_files"})
    assert w.now.derived.trust.trusted and w.now.derived.controller_alive is True and w.runner.reachable
    assert w.now.derived.lags[1].lag.tolist() == [3]
    assert w.now.derived.start_offsets is not None and set(w.now.derived.start_offsets.tolist()) == {1}
    assert not w.now.coverage.covers("jmx")
    assert {n.id for n in w.book.nodes} == {1, 2, 3}


def test_kafka_down_at_start_and_then_there(watch: Callable[..., Watched]) -> None:
    cluster = Cluster(time.time)
    cluster.replies["pulse"] = []
    w = watch(cluster, collectors={"cluster": {"interval": 1}})
    until(lambda: w.now.cluster_facts.failures)
    assert w.now.cluster_facts.failures[-1].kind == "unreachable" and not w.runner.reachable
    assert not any(w.now.coverage.covers(name) for name in EVERYTHING)
    assert cluster.count("partitions") == 0
    del cluster.replies["pulse"]
    until(lambda: all(w.now.coverage.covers(name) for name in EVERYTHING))


def test_all_dead_after_a_restart_of_klaxon_shows_the_legs_of_the_book(watch: Callable[..., Watched]) -> None:
    cluster = Cluster(time.time, brokers={}, dead={1, 2})
    w = watch(cluster, Book([node(1), node(2)]))
    until(lambda: w.now.derived.legs)
    assert {n: tried[LegName.TCP].state for n, tried in w.now.derived.legs.items()} == {
        1: LegState.REFUSED,
        2: LegState.REFUSED,
    }
    assert w.now.coverage.covers("legs") and not w.now.coverage.covers("cluster")
    facts = w.now.cluster_facts.value(w.now.at)
    assert facts is not None and {b.id for b in facts.brokers} == {1, 2}
    assert not w.now.derived.trust.trusted


def never_ends(_: Any) -> Any:
    threading.Event().wait()


def raises(_: Any) -> Any:
    raise RuntimeError("a bug")


def times_out(_: Any) -> Any:
    raise TimedOut("no answer", phase="answer")


def slow(_: Any) -> Any:
    time.sleep(0.5)
    return {}


@pytest.mark.parametrize("broken", [never_ends, raises, times_out, slow, lambda _: 17, lambda _: None])
@pytest.mark.parametrize("call", ["log_dirs", "list_groups", "quorum"])
def test_one_broken_collector_stops_no_other(watch: Callable[..., Watched], call: str, broken: Any) -> None:
    cluster = Cluster(time.time)
    cluster.replies[call] = broken
    w = watch(cluster, collectors={name: {"interval": 1} for name in ("cluster", "topics", "log_dirs", "quorum")})
    until(lambda: cluster.count("pulse") > 2 and cluster.count("partitions") > 1)
    mine = {"log_dirs": {"log_dirs"}, "list_groups": {"groups", "offsets"}, "quorum": {"quorum"}}[call]
    for other in {"log_dirs", "quorum", "legs"} - mine:
        until(lambda other=other: w.now.coverage.covers(other))
    if broken is not slow:
        assert not any(w.now.coverage.covers(m) for m in mine)
    started = time.monotonic()
    w.runner.stop()
    assert time.monotonic() - started < 3


def test_a_poll_that_hangs_is_given_up_and_the_next_one_counts(
    watch: Callable[..., Watched], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exporter.runner.job.SHORTEST_LIMIT_S", 0.3)
    cluster = Cluster(time.time)
    first = threading.Event()

    def hangs_once(_: Any) -> Any:
        if not first.is_set():
            first.set()
            never_ends(_)
        return cluster._answers({})

    cluster.replies["log_dirs"] = hangs_once
    w = watch(cluster, collectors={"log_dirs": {"interval": 1}})
    failure = until(lambda: w.now.log_dirs.failures)
    assert {f.kind for f in failure.values()} == {"hung"}
    until(lambda: not w.now.log_dirs.failures and w.now.log_dirs.polled_at)


def test_what_the_receiver_raises_stops_nothing() -> None:
    cluster = Cluster(time.time)
    seen: list[Snapshot] = []

    def broken(snapshot: Snapshot, changed: frozenset[str]) -> None:
        seen.append(snapshot)
        raise RuntimeError("a bug")

    runner = Runner(ClusterConfig(bootstrap_servers=["a:1"]), cluster, None, time.time, broken, Book(), tick_s=0.1)
    runner.start()
    try:
        until(lambda: len(seen) > 5)
    finally:
        runner.stop()


def test_early_polls_start_after_the_request(watch: Callable[..., Watched]) -> None:
    w = watch()
    until(lambda: w.now.coverage.covers("log_dirs"))
    before = w.cluster.count("log_dirs")
    asked = time.time()
    assert w.runner.wait_for(["log_dirs"], asked, 0.2) == frozenset(), "the poll before the request does not count"
    w.runner.request_early(["log_dirs", "offsets", "jmx", "self"])
    assert w.runner.wait_for(["log_dirs", "offsets"], asked, 10) == {"log_dirs", "offsets"}
    assert w.cluster.count("log_dirs") == before + 1
    assert w.now.log_dirs.polled_at >= asked


def test_a_request_during_a_poll_is_followed_by_another_poll(watch: Callable[..., Watched]) -> None:
    cluster = Cluster(time.time)
    inside, go = threading.Event(), threading.Event()

    def held(wanted: Any) -> Any:
        inside.set()
        go.wait(10)
        return cluster._answers({})

    cluster.replies["log_dirs"] = held
    w = watch(cluster)
    assert inside.wait(10)
    asked = time.time()
    for _ in range(20):
        w.runner.request_early(["log_dirs"])
    go.set()
    assert w.runner.wait_for(["log_dirs"], asked, 10) == {"log_dirs"}
    assert cluster.count("log_dirs") == 2


def test_what_a_broker_that_comes_back_can_give_is_asked_at_once(watch: Callable[..., Watched]) -> None:
    cluster = Cluster(time.time, dead={3})
    cluster.fence(3)
    w = watch(cluster, collectors={"cluster": {"interval": 1}, "configs": {"interval": 3600}})
    until(lambda: 3 in w.now.configs.failures and 1 in w.now.configs.parts)
    cluster.dead.clear()
    cluster.brokers[3] = node(3)
    until(lambda: w.now.coverage.covers("configs") and w.now.configs.success)
    assert cluster.count("broker_settings") == 2


def test_facts_vanish_though_no_poll_ends(watch: Callable[..., Watched]) -> None:
    cluster = Cluster(time.time)
    w = watch(cluster, collectors={name: {"interval": 1} for name in ("cluster", "topics", "quorum", "log_dirs")})
    until(lambda: w.now.coverage.covers("topics") and w.now.coverage.covers("log_dirs"))
    cluster.replies.update(dict.fromkeys(("pulse", "partitions", "quorum", "log_dirs"), never_ends))
    until(lambda: not any(w.now.coverage.covers(n) for n in ("cluster", "topics", "log_dirs", "quorum", "legs")))
    assert w.now.derived.health is None


def config(**collectors: Any) -> ClusterConfig:
    return ClusterConfig.model_validate({"bootstrap_servers": ["127.0.0.1:9092"], "collectors": collectors})


def test_other_intervals_keep_every_fact(watch: Callable[..., Watched]) -> None:
    w = watch()
    until(lambda: all(w.now.coverage.covers(name) for name in EVERYTHING))
    seen, health = len(w.published), w.now.derived.health
    w.runner.use(config(topics={"interval": 600}, groups={"interval": 1}, quorum={"interval": 1}), None)
    until(lambda: w.now.topics.interval == 600 and w.now.groups.interval == w.now.quorum.interval == 1)
    until(lambda: w.cluster.count("list_groups") >= 3)
    assert all(s.coverage.covers(name) for s, _ in w.published[seen:] for name in EVERYTHING)
    assert all(s.derived.trust.trusted for s, _ in w.published[seen:])
    assert w.now.start_offsets.interval == 60 and health is not None


def test_a_collector_that_is_switched_off_is_gone_and_comes_back(watch: Callable[..., Watched]) -> None:
    w = watch()
    until(lambda: all(w.now.coverage.covers(name) for name in EVERYTHING))
    w.runner.use(config(groups={"enabled": False}, quorum={"enabled": False}), None)
    until(lambda: {"groups", "offsets", "quorum"} <= w.now.coverage.unsupported and not w.now.groups.parts)
    asked, seen = w.cluster.count("list_groups"), len(w.published)
    w.runner.use(config(), None)
    until(lambda: all(w.now.coverage.covers(name) for name in EVERYTHING) and w.now.quorum.success)
    assert w.cluster.count("list_groups") > asked
    assert all(s.derived.trust.trusted for s, _ in w.published[seen:]), "nothing was lost in between"


def test_a_poll_that_hangs_does_not_hold_up_its_successor(watch: Callable[..., Watched]) -> None:
    cluster = Cluster(time.time)
    cluster.replies["log_dirs"] = never_ends
    w = watch(cluster)
    until(lambda: cluster.count("log_dirs") == 1)
    del cluster.replies["log_dirs"]
    w.runner.use(config(log_dirs={"interval": 3600}), None)
    until(lambda: w.now.coverage.covers("log_dirs"), 5.0)


def test_changed_names_follow_what_changed(watch: Callable[..., Watched]) -> None:
    w = watch()
    until(lambda: w.now.coverage.covers("log_dirs") and w.now.coverage.covers("groups"))
    until(lambda: w.published[-1][1] == {"self"})
    seen = len(w.published)
    w.runner.request_early(["log_dirs"])
    until(lambda: any(changed == {"self", "log_dirs"} for _, changed in w.published[seen:]))


def test_a_dead_node_of_the_book_stays_until_it_is_forgotten_where_fencing_is_not_told(
    watch: Callable[..., Watched],
) -> None:
    old = {i: node(i, fenced=None) for i in (1, 2, 3)}
    w = watch(Cluster(time.time, brokers=old, dead={9}), Book([node(9)]))
    until(lambda: 9 in w.now.derived.legs and w.now.derived.trust.trusted and w.now.derived.health)
    assert 9 in {n.id for n in w.book.nodes} and not w.runner.forget(77)
    assert w.runner.forget(9)
    assert 9 in w.cluster.forgotten and 9 not in {n.id for n in w.book.nodes}
    until(lambda: 9 not in w.now.derived.legs)


def test_a_node_of_the_book_that_was_unregistered_meanwhile_leaves(watch: Callable[..., Watched]) -> None:
    w = watch(Cluster(time.time, dead={9}), Book([node(9)]))
    until(lambda: {n.id for n in w.book.nodes} == {1, 2, 3})
    assert 9 in w.cluster.forgotten


def test_switched_off_collectors_are_not_asked(watch: Callable[..., Watched]) -> None:
    w = watch(collectors={"groups": {"enabled": False}, "quorum": {"enabled": False}})
    until(lambda: w.now.coverage.covers("log_dirs") and w.now.coverage.covers("topics"))
    assert w.now.derived.trust.reason.startswith("cannot tell") and w.now.derived.controller_alive is None
    assert w.now.coverage.unsupported >= {"groups", "offsets", "quorum", "jmx"}
    assert w.cluster.count("list_groups") == 0 and w.cluster.count("quorum") == 0


def test_stop_ends_the_threads(watch: Callable[..., Watched]) -> None:
    w = watch()
    until(lambda: w.published)
    w.runner.stop()
    until(lambda: not any(t.name.endswith("-test") for t in threading.enumerate()))
