"""A pass of all shipped rules over a history of 100,000 series: those of a recorded cluster, with its topics and groups many times."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from itertools import islice

import numpy as np

from alerts.engine.engine import Engine, NoBook
from alerts.model import AlertState
from alerts.promql.evaluate import Evaluator
from exporter.blocks import Block, LabelSets
from exporter.history.history import History
from exporter.reading import Coverage
from klaxon.daemon import requirements
from tests.bench.costs import spent
from tests.bench.cycle import CLUSTER, configuration
from tests.replay import TRACES, joined, read_trace

STEP_S = 15.0
BEFORE = 72
"""Samples of each series before the first measured pass: eighteen minutes, more than the longest window of a partition's series."""
BEFORE_FAULT = 12
"""Frames of the trace before its fault: all families have been in one of them."""
OFFSETS = ("kafka_consumergroup_current_offset", "kafka_consumergroup_current_offset_sum")
LAGS = ("kafka_consumergroup_lag", "kafka_consumergroup_lag_sum", "kafka_consumergroup_group_lag")


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
    """A recorded healthy cluster whose topics and groups stand there ``copies`` times; one group in ``behind`` does not commit any more (0: none)."""

    def __init__(self, copies: int, behind: int) -> None:
        self._random = np.random.default_rng(1)
        self._frame = joined(list(islice(read_trace(TRACES / "broker-killed.jsonl.gz"), BEFORE_FAULT)))
        self.at = self._frame.at
        self._copies = copies
        self._blocks = [self._many(block) for block in self._frame.blocks]
        self._stuck = {
            b.metric: np.array([behind > 0 and _copy(row[0]) % behind == 0 for row in b.labels.rows])
            for b in self._blocks
            if b.metric in (*OFFSETS, *LAGS)
        }

    def _many(self, block: Block) -> Block:
        """Rows that name a topic or a group once per copy; what is the cluster's or a broker's stays as it is."""
        places = [i for i, name in enumerate(block.labels.names) if name in ("topic", "consumergroup")]
        rows: list[tuple[str, ...]] = []
        values: list[float] = []
        for row, value in zip(block.labels.rows, block.values.tolist(), strict=True):
            named = any(row[i] for i in places)
            for copy in range(self._copies if named else 1):
                rows.append(tuple(f"{v}-{copy:04d}" if i in places and v else v for i, v in enumerate(row)))
                values.append(value)
        return Block(block.metric, LabelSets(block.labels.names, rows), np.array(values))

    def blocks(self) -> list[Block]:
        """The next moment: offsets go on and lags come and go, except those of groups that are stuck, whose lags grow."""
        self._blocks = [self._next(block) for block in self._blocks]
        return self._blocks

    def _next(self, block: Block) -> Block:
        if block.metric not in self._stuck:
            return block
        stuck, moved = self._stuck[block.metric], self._random.integers(1, 100, len(block.values))
        if block.metric in OFFSETS:
            return replace(block, values=block.values + np.where(stuck, 0, moved))
        return replace(block, values=np.where(stuck, block.values + moved, moved))

    def coverage(self, at: float) -> Coverage:
        """Every collector has just answered, for every source."""
        sources = {name: dict.fromkeys(told, at) for name, told in self._frame.coverage.expected.items()}
        return replace(self._frame.coverage, cluster=CLUSTER, at=at, taken_at=sources)


def _copy(name: str) -> int:
    return int(name.rpartition("-")[2])


def measure(passes: int, copies: int = 420, behind: int = 0) -> RulesResult:
    """Evaluate all shipped rules ``passes`` times, each after a new sample of every series."""
    loaded, world, history = configuration(), World(copies, behind), History()
    history.keep(requirements(loaded))
    now = world.at
    for _ in range(BEFORE):
        now += STEP_S
        history.append(CLUSTER, world.blocks(), round(now * 1000))
    engine = Engine(
        loaded.rules, Evaluator(history), lambda: {CLUSTER: world.coverage(now)}, NoBook(), lambda: now, sink=history
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
