"""Partition health against a plain definition, one partition at a time."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from exporter.derive.health import partition_health
from exporter.facts.partitions import Partition, PartitionTable, TopicFacts

NODES = st.lists(st.integers(0, 5), unique=True, max_size=4)


@st.composite
def partitions(draw: st.DrawFn) -> list[Partition]:
    rows = []
    for topic in draw(st.lists(st.sampled_from(["a", "b", "orders", "__x"]), unique=True)):
        for number in range(draw(st.integers(1, 4))):
            replicas = tuple(draw(NODES))
            isr = tuple(draw(st.lists(st.sampled_from(replicas), unique=True))) if replicas else ()
            leader = draw(st.sampled_from([-1, *isr]))
            rows.append(Partition(topic, number, leader, 0, 0 if leader >= 0 else 5, replicas, isr, ()))
    return rows


@given(partitions(), st.integers(1, 3))
def test_health_is_what_each_partition_says(rows: list[Partition], min_isr: int) -> None:
    table = PartitionTable.of(rows)
    health = partition_health(TopicFacts(table, np.full(len(table.topics), min_isr, dtype=np.int32)))
    missing = sorted(zip(health.missing_row.tolist(), health.missing_broker.tolist(), strict=True))
    for i, p in enumerate(sorted(rows, key=lambda p: (p.topic, p.partition))):
        assert table.row(i) == p
        assert health.leaderless[i] == (p.leader == -1)
        assert health.under_replicated[i] == (len(p.isr) < len(p.replicas))
        needed = min(min_isr, len(p.replicas))
        assert health.under_min_isr[i] == (len(p.isr) < needed)
        assert health.at_min_isr[i] == (needed > 0 and len(p.isr) == needed and len(p.isr) < len(p.replicas))
        assert health.preferred[i] == (bool(p.replicas) and p.leader == p.replicas[0])
        assert [b for r, b in missing if r == i] == sorted(set(p.replicas) - set(p.isr))


def test_an_unknown_min_isr_is_never_a_verdict() -> None:
    """0 stands for "not known yet": nothing is below it, and a leaderless partition is not "at" it."""
    table = PartitionTable.of(
        [Partition("a", 0, 1, 0, 0, (1, 2), (1,), ()), Partition("a", 1, -1, 0, 5, (1, 2), (), ())]
    )
    health = partition_health(TopicFacts(table, np.zeros(1, dtype=np.int32)))
    assert not health.under_min_isr.any()
    assert not health.at_min_isr.any()
