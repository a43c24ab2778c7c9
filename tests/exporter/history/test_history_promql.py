"""Rules get the same answers from the history as from a store that holds plain series."""

from __future__ import annotations

import numpy as np
import pytest

from alerts.promql.evaluate import Evaluator
from alerts.promql.parse import parse
from alerts.promql.store import MemoryStore
from alerts.promql.values import Vector
from exporter.blocks import Block, LabelSets
from exporter.history import History, NotKept

EXPRESSIONS = (
    "kafka_broker_up == 1",
    'sum by (cluster) (kafka_broker_up{broker=~"1|2"})',
    "kafka_topic_partition_current_offset",
    "rate(kafka_topic_partition_current_offset[2m])",
    "sum by (cluster, topic) (increase(kafka_topic_partition_current_offset[5m]))",
    'kafka_broker_up * on (cluster) group_left () count by (cluster) (kafka_broker_up{cluster="a"})',
    'absent(kafka_broker_up{broker="9"})',
    "count_over_time(kafka_broker_up[3m]) > 2",
    "kafka_broker_up offset 1m",
    "changes(kafka_broker_up[10m])",
    "kafka_broker_up offset -1m",
    "sum_over_time(kafka_broker_up[2m] offset -1m)",
    "max_over_time(sum by (cluster) (kafka_broker_up)[10m:1m])",
    "sum_over_time(rate(kafka_topic_partition_current_offset[2m])[5m:30s] offset 3m)",
    "min_over_time((kafka_broker_up @ end())[5m:])",
    "deriv(kafka_topic_partition_current_offset[5m])",
    "timestamp(kafka_broker_up @ end() offset 2m)",
)


@pytest.fixture(scope="module")
def stores() -> tuple[History, MemoryStore]:
    """Twenty minutes of two clusters in which brokers come and go; the plain store gets what the history was told, series by series."""
    random = np.random.default_rng(5)
    history = History()
    history.keep({"kafka_broker_up": 1_800, "kafka_topic_partition_current_offset": 1_800})
    partitions = LabelSets(("topic", "partition"), [(t, str(p)) for t in ("orders", "bills") for p in range(3)])
    offsets = np.zeros(len(partitions), dtype=np.int64)
    for step in range(80):
        for cluster in ("a", "b"):
            there = [(str(b),) for b in range(1, 6) if random.random() < 0.7]
            up = Block("kafka_broker_up", LabelSets(("broker",), there), random.integers(0, 2, len(there)))
            offsets = offsets + random.integers(0, 100, len(partitions))
            ends = Block("kafka_topic_partition_current_offset", partitions, offsets)
            blocks = [up] if random.random() < 0.1 else [up, ends]
            history.append(cluster, blocks, 1_000_000 + 15_000 * step, ("kafka_topic_partition_current_offset",))
    return history, MemoryStore([s for name in history.kept for s in history.select(named(name), 0, 10**9)])


def named(name: str):  # type: ignore[no-untyped-def]
    return parse(name).matchers  # type: ignore[union-attr]


@pytest.mark.parametrize("text", EXPRESSIONS)
def test_the_same_answers(stores: tuple[History, MemoryStore], text: str) -> None:
    expr = parse(text)
    of_history, of_series = (Evaluator(store) for store in stores)
    found = 0
    for at in np.arange(990.0, 2_600.0, 7.5).tolist():
        got, want = of_history.evaluate(expr, at), of_series.evaluate(expr, at)
        assert isinstance(got, Vector) and isinstance(want, Vector)
        assert as_pairs(got) == as_pairs(want), at
        found += len(as_pairs(got))
    assert found > 0


def as_pairs(vector: Vector) -> dict[str, float]:
    return {str(labels): value for labels, value in zip(vector.labels, vector.values.tolist(), strict=True)}


def test_what_is_not_kept_is_said_to_the_asker(stores: tuple[History, MemoryStore]) -> None:
    with pytest.raises(NotKept, match=r"kafka_brokers is not kept.*history\.keep"):
        Evaluator(stores[0]).evaluate(parse("sum(kafka_brokers)"), 1_500.0)
