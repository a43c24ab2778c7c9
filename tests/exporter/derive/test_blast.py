"""The blast radius against a plain definition: stop the brokers, and look at each partition."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from exporter.derive.blast import UNKNOWN, BlastRadius, Stops, blast_radius
from exporter.derive.health import partition_health
from exporter.facts.cluster import Node
from exporter.facts.partitions import Partition, PartitionTable, TopicFacts
from tests.exporter.derive.test_health import partitions
from tests.exporter.scripted import node, partition

RACKS = st.lists(st.sampled_from(["a", "b", "c", None]), min_size=6, max_size=6)
FENCED = st.sets(st.integers(0, 5))


def in_racks(racks: list[str | None], fenced: set[int] = frozenset()) -> list[Node]:  # type: ignore[assignment]
    return [replace(node(i, fenced=i in fenced), rack=rack) for i, rack in enumerate(racks)]


def by_name(stops: Stops) -> dict[str, tuple[int, int, int]]:
    columns = (stops.offline.tolist(), stops.under_min_isr.tolist(), stops.leaders.tolist())
    return dict(zip(stops.who, zip(*columns, strict=True), strict=True))


def plainly(rows: list[Partition], min_isr: dict[str, int], gone: set[int]) -> tuple[int, int, int]:
    offline = under = leaders = 0
    unknown = False
    for p in rows:
        if p.leader < 0 or not gone & set(p.isr):
            continue
        left = set(p.isr) - gone
        needed = min(min_isr[p.topic], len(p.replicas))
        offline += not left
        leaders += bool(left) and p.leader in gone
        unknown |= bool(left) and needed == 0
        under += bool(left) and len(p.isr) >= needed > len(left)
    return offline, UNKNOWN if unknown else under, leaders


@given(partitions(), st.integers(0, 3), st.integers(0, 3), RACKS, FENCED)
def test_what_stops_is_what_each_partition_says(
    rows: list[Partition], some: int, others: int, racks: list[str | None], fenced: set[int]
) -> None:
    # A fenced broker is in no ISR and leads nothing.
    rows = [p._replace(isr=tuple(b for b in p.isr if b not in fenced)) for p in rows]
    rows = [p._replace(leader=p.leader if p.leader in p.isr else -1) for p in rows]
    table = PartitionTable.of(rows)
    min_isr = {t: some if i % 2 else others for i, t in enumerate(table.topics)}
    facts = TopicFacts(table, np.array([min_isr[t] for t in table.topics], dtype=np.int32))
    nodes = in_racks(racks, fenced)
    blast = blast_radius(partition_health(facts), nodes)
    living = {n.id: n for n in nodes if not n.fenced}
    assert by_name(blast.brokers) == {str(b): plainly(rows, min_isr, {b}) for b in living}
    if None in racks:
        assert blast.racks is None and blast.in_one_rack is None
        return
    assert blast.racks is not None
    of_rack = {n.rack: {b for b, m in living.items() if m.rack == n.rack} for n in living.values()}
    assert by_name(blast.racks) == {r: plainly(rows, min_isr, brokers) for r, brokers in of_rack.items()}
    if len(set(racks)) < 2:
        assert blast.in_one_rack is None
        return
    assert blast.in_one_rack is not None
    ordered = sorted(rows, key=lambda p: (p.topic, p.partition))
    together = [len(p.replicas) > 1 and len({racks[b] for b in p.replicas}) == 1 for p in ordered]
    assert blast.in_one_rack.tolist() == together


def blast_of(rows: list[Partition], min_isr: int = 2, racks: str = "aab") -> BlastRadius:
    table = PartitionTable.of(rows)
    facts = TopicFacts(table, np.full(len(table.topics), min_isr, dtype=np.int32))
    nodes = [replace(node(i + 1), rack=rack) for i, rack in enumerate(racks)]
    return blast_radius(partition_health(facts), nodes)


def test_a_rack_takes_what_no_broker_of_it_would() -> None:
    blast = blast_of([partition("orders", 0, 1, (1, 2, 3))])
    assert by_name(blast.brokers) == {"1": (0, 0, 1), "2": (0, 0, 0), "3": (0, 0, 0)}
    assert blast.racks is not None
    assert by_name(blast.racks) == {"a": (0, 1, 1), "b": (0, 0, 0)}
    assert blast_of([partition("orders", 0, 1, (1, 2))]).in_one_rack.tolist() == [True]  # type: ignore[union-attr]


def test_a_replica_that_is_not_in_sync_saves_nothing() -> None:
    blast = blast_of([partition("orders", 0, 1, (1, 2, 3), (1,))])
    assert by_name(blast.brokers)["1"] == (1, 0, 0)


def test_a_cluster_without_topics_loses_nothing() -> None:
    assert by_name(blast_of([]).brokers) == {"1": (0, 0, 0), "2": (0, 0, 0), "3": (0, 0, 0)}
