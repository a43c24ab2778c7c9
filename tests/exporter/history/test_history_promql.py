"""Rules get the same answers from the history as from a store that holds plain series."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerts.promql.errors import PromqlEvaluationError
from alerts.promql.evaluate import Evaluator
from alerts.promql.parse import parse
from alerts.promql.store import MemoryStore
from alerts.promql.syntax import Expr
from alerts.promql.values import Vector
from exporter.blocks import Block, LabelSets
from exporter.history import History, NotKept
from exporter.label_table import LabelTable
from exporter.series import Labels

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


MOMENTS = st.lists(
    st.tuples(
        st.sampled_from("ab"),
        st.dictionaries(st.sampled_from(["1", "2", "3", "4"]), st.sampled_from([0, 1, 2]), max_size=4),
        st.dictionaries(st.sampled_from(["2", "3", "5"]), st.sampled_from([0, 1, 2]), max_size=3),
        st.sampled_from([15, 15, 60, 400]),
    ),
    min_size=1,
    max_size=12,
)
WHILE_SERIES_COME_AND_GO = (
    "x",
    "x > 0",
    "sum by (cluster) (x)",
    "x * on (broker, cluster) group_left (rack) y",
    "x and y",
    "x unless on (cluster) y > 1",
    "x == x offset 15s",
    "-x or y",
    'label_replace(x, "rack", "$1", "broker", "(.*)")',
    'count by (cluster, v) (count_values("v", x))',
    "sum_over_time((x > 0)[2m:15s])",
    'max by (rack) ({__name__=~"x|y"})',
    "sum by (cluster) (x:recorded)",
    "x:recorded - ignoring (rule) x",
)


@settings(max_examples=60, deadline=None)
@given(MOMENTS)
def test_a_kept_evaluator_answers_as_plain_series_do_while_series_come_and_go(
    moments: list[tuple[str, dict[str, int], dict[str, int], int]],
) -> None:
    """Columns are freed and given away, the rows have other racks, and two rules record one metric."""
    history = History()
    history.keep({"x": 300, "y": 300, "x:recorded": 300})
    kept, at = Evaluator(history, lookback_ms=60_000), 1_000_000
    for cluster, xs, ys, step in moments:
        at += step * 1_000
        x = Block("x", LabelSets(("broker",), [(one,) for one in xs]), np.array(list(xs.values()), dtype=float))
        racks = LabelSets(("broker", "rack"), [(one, "r" * value) for one, value in ys.items()])
        history.append(cluster, [x, Block("y", racks, np.array(list(ys.values()), dtype=float))], at)
        recorded = [
            (Labels.of({"cluster": cluster, "broker": one, "rule": one[:value]}), value) for one, value in xs.items()
        ]
        history.append_series("x:recorded", recorded, at, source=cluster)
        plain = MemoryStore([s for name in history.kept for s in history.select(named(name), 0, 10**12)])
        for text in WHILE_SERIES_COME_AND_GO:
            expr = parse(text)
            fresh = Evaluator(plain, lookback_ms=60_000)
            assert answer(kept, expr, at / 1000) == answer(fresh, expr, at / 1000), text


def answer(evaluator: Evaluator, expr: Expr, at: float) -> object:
    try:
        return as_pairs(evaluator.evaluate(expr, at))  # type: ignore[arg-type]
    except PromqlEvaluationError as error:
        return error.reason.partition("{")[0]


def test_filters_that_let_nothing_through_make_no_label_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    history = History()
    history.keep({"x": 900, "y": 900})
    rows = LabelSets(("group", "topic"), [(str(i % 5), str(i)) for i in range(50)])
    for at in (1_000_000, 1_600_000):
        history.append("c", [Block(name, rows, np.full(50, at)) for name in "xy"], at)
    made: list[object] = []
    monkeypatch.setattr(LabelTable, "_make", lambda table, rows: made.extend(rows) or ())
    evaluator = Evaluator(history)
    for text in (
        "count by (cluster, group) (x > 0 and y == y offset 10m and x > x offset 10m) > 0",
        "sum by (cluster, group) (x < 0)",
        "max by (cluster, group) (x < 0) or max by (cluster, group) (y) < 0",
        "x * on (group, topic) group_left () y < 0",
    ):
        for at in (1_600.0, 1_615.0):
            assert not len(evaluator.evaluate(parse(text), at)), text  # type: ignore[arg-type]
    assert made == []


def as_pairs(vector: Vector) -> dict[str, float]:
    return {str(labels): value for labels, value in zip(vector.labels, vector.values.tolist(), strict=True)}


def test_what_is_not_kept_is_said_to_the_asker(stores: tuple[History, MemoryStore]) -> None:
    with pytest.raises(NotKept, match=r"kafka_brokers is not kept.*history\.keep"):
        Evaluator(stores[0]).evaluate(parse("sum(kafka_brokers)"), 1_500.0)
