"""A pass of all shipped rules over a history of 100,000 synthetic series, most of them the offsets and lags of groups: those are what rules read by the thousand."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

import numpy as np

from alerts.engine.engine import Engine, NoBook
from alerts.model import AlertState
from alerts.promql.evaluate import Evaluator
from exporter.blocks import NO_LABELS, Block, LabelSets
from exporter.collectors import COLLECTORS
from exporter.history.history import History
from exporter.metrics.catalogue import complete
from exporter.reading import WHOLE_CLUSTER, Coverage
from klaxon.daemon import requirements
from tests.bench.costs import spent
from tests.bench.cycle import CLUSTER, configuration

STEP_S = 15.0
BEFORE = 72
"""Samples of each series before the first measured pass: eighteen minutes, more than the longest window of a partition's series."""
BROKERS = ("1", "2", "3")


@dataclass(frozen=True, slots=True)
class RulesResult:
    """Seconds of CPU and wall for each pass of all rules, appends left out; ``active`` alerts at the end."""

    rules: int
    series: int
    cpu: list[float]
    wall: list[float]
    first_cpu: float
    active: int
    slowest: list[tuple[str, float]]


class World:
    """A cluster as numbers: ``groups`` groups on 40 partitions each, of which one in ``behind`` does not commit any more (0: none)."""

    def __init__(self, groups: int, topics: int, behind: int) -> None:
        self._random = np.random.default_rng(1)
        names = [f"billing-{g:04d}" for g in range(groups)]
        topic_names = [f"orders-{t:04d}" for t in range(topics)]
        held = [(g, topic_names[(i * 4 + t) % topics]) for i, g in enumerate(names) for t in range(4)]
        by_partition = [(g, t, str(p)) for g, t in held for p in range(10)]
        self._stuck = np.repeat(np.arange(groups) % behind == 0 if behind else np.zeros(groups, dtype=np.bool_), 40)
        self._committed = np.zeros(len(by_partition), dtype=np.int64)
        self._lag = np.zeros(len(by_partition), dtype=np.int64)
        self._labels = {
            "partition": LabelSets(("consumergroup", "topic", "partition"), by_partition),
            "sum": LabelSets(("consumergroup", "topic"), held),
            "state": LabelSets(("consumergroup", "state", "type"), [(g, "Stable", "classic") for g in names]),
            "group": LabelSets(("consumergroup",), [(g,) for g in names]),
            "topic": LabelSets(("topic",), [(t,) for t in topic_names]),
            "size": LabelSets(("broker", "topic"), [(b, t) for b in BROKERS for t in topic_names]),
            "threshold": LabelSets(
                ("name", "topic", "consumergroup"),
                [("disk_used_ratio", "", ""), *(("group_lag", "", g) for g in names)],
            ),
        }
        self._small = dict(small_families())

    def blocks(self) -> list[Block]:
        """The next moment."""
        moved = self._random.integers(0, 100, len(self._committed))
        self._committed += np.where(self._stuck, 0, moved)
        self._lag = np.where(self._stuck, self._lag + moved, moved)
        per_topic = self._lag.reshape(-1, 10).sum(axis=1)
        lab = self._labels
        wide = [
            Block("kafka_consumergroup_lag", lab["partition"], self._lag.copy()),
            Block("kafka_consumergroup_current_offset", lab["partition"], self._committed.copy()),
            Block("kafka_consumergroup_lag_sum", lab["sum"], per_topic),
            Block("kafka_consumergroup_current_offset_sum", lab["sum"], self._committed.reshape(-1, 10).sum(axis=1)),
            Block("kafka_consumergroup_state", lab["state"], np.ones(len(lab["state"]), dtype=np.int64)),
            Block("kafka_consumergroup_members", lab["group"], np.full(len(lab["group"]), 3)),
            Block("kafka_topic_min_insync_replicas", lab["topic"], np.ones(len(lab["topic"]), dtype=np.int64)),
            Block("kafka_topic_replication_factor", lab["topic"], np.full(len(lab["topic"]), 3)),
            Block("kafka_broker_topic_size_bytes", lab["size"], np.full(len(lab["size"]), 10**9)),
            Block(
                "klaxon_threshold",
                lab["threshold"],
                np.array([0.8, *[100_000.0] * (len(lab["threshold"]) - 1)]),
            ),
        ]
        return [*wide, *(Block(n, labels, np.full(len(labels), v)) for n, (labels, v) in self._small.items())]


def small_families() -> Iterable[tuple[str, tuple[LabelSets, float]]]:
    """What a healthy cluster of three brokers says beside its topics and groups."""
    brokers = LabelSets(("broker",), [(b,) for b in BROKERS])
    dirs = LabelSets(("broker", "dir"), [(b, "/data") for b in BROKERS])
    for name, value in {
        "kafka_broker_up": 1.0,
        "kafka_broker_replicas": 1000.0,
        "kafka_broker_replicas_missing": 0.0,
        "kafka_server_kafkaserver_brokerstate": 3.0,
        "kafka_server_replicamanager_reassigningpartitions": 0.0,
    }.items():
        yield name, (brokers, value)
    for name, value in {
        "kafka_log_dir_size_bytes": 1e9,
        "kafka_log_dir_usable_bytes": 9e9,
        "kafka_log_dir_total_bytes": 1e10,
        "kafka_log_dir_online": 1.0,
        "kafka_log_logmanager_remaininglogstorecover": 0.0,
    }.items():
        yield name, (dirs, value)
    for name, value in {
        "kafka_brokers_expected": 3.0,
        "kafka_brokers_answering": 3.0,
        "klaxon_cluster_reachable": 1.0,
        "kafka_partitions_leaderless": 0.0,
        "kafka_partitions_at_min_isr": 0.0,
        "kafka_controller_alive": 1.0,
    }.items():
        yield name, (NO_LABELS, value)
    yield (
        "kafka_broker_leg",
        (LabelSets(("broker", "leg", "state"), [(b, "api_versions", "ok") for b in BROKERS]), 1.0),
    )
    for name, value in {"jvm_memory_used_bytes": 3e8, "jvm_memory_max_bytes": 1e9}.items():
        yield name, (LabelSets(("broker", "area"), [(b, "heap") for b in BROKERS]), value)
    collectors = [(c.name,) for c in COLLECTORS]
    yield "klaxon_facts_trusted", (LabelSets(("collector",), collectors), 1.0)
    yield (
        "klaxon_collector_covered",
        (LabelSets(("collector", "source"), [(c, b) for (c,) in collectors for b in BROKERS]), 1.0),
    )


def measure(passes: int, groups: int = 1_100, topics: int = 1_000, behind: int = 0) -> RulesResult:
    """Evaluate all shipped rules ``passes`` times, each after a new sample of every series."""
    loaded, world, history = configuration(), World(groups, topics, behind), History()
    history.keep(requirements(loaded))
    now = 1_800_000_000.0
    for _ in range(BEFORE):
        now += STEP_S
        history.append(CLUSTER, world.blocks(), round(now * 1000))
    engine = Engine(
        loaded.rules, Evaluator(history), lambda: {CLUSTER: covered(now)}, NoBook(), lambda: now, sink=history
    )
    costs: list[tuple[float, float]] = []
    for _ in range(passes + 1):
        now += STEP_S
        history.append(CLUSTER, world.blocks(), round(now * 1000))
        _, cpu, wall = spent(partial(engine.evaluate_due, now))
        costs.append((cpu, wall))
    status = [rule for group in engine.status() for rule in group.rules]
    for rule in status:
        if rule.error:
            raise RuntimeError(f"rule {rule.rule.name}: {rule.error}")
    slowest = sorted(((r.rule.name, r.seconds) for r in status), key=lambda pair: -pair[1])[:6]
    active = sum(a.state in (AlertState.PENDING, AlertState.FIRING) for a in engine.alerts())
    return RulesResult(
        len(status),
        history.stats().series,
        [cpu for cpu, _ in costs[1:]],
        [wall for _, wall in costs[1:]],
        costs[0][0],
        active,
        slowest,
    )


def covered(at: float) -> Coverage:
    """Every collector has just answered, for every broker."""
    sources = {WHOLE_CLUSTER: at, **{int(b): at for b in BROKERS}}
    names = {row.owner.value for row in complete().values()}
    expected = frozenset(sources)
    return Coverage(CLUSTER, at, dict.fromkeys(names, sources), dict.fromkeys(names, expected))
