"""Lag against a plain definition, over Metadata answers that changed between commits and offsets."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from exporter.derive.lag import UNKNOWN, end_by_row, group_lag
from exporter.facts.groups import CommitTable
from exporter.facts.partitions import OffsetRows, Partition, PartitionTable

Layout = dict[str, tuple[str, int]]
LAYOUTS = st.dictionaries(st.sampled_from("abcd"), st.tuples(st.sampled_from(["id1", "id2"]), st.integers(1, 3)))


def table_of(layout: Layout) -> PartitionTable:
    rows = [Partition(t, p, 1, 0, 0, (1,), (1,), ()) for t, (_, n) in layout.items() for p in range(n)]
    return PartitionTable.of(rows, ids={t: topic_id for t, (topic_id, _) in layout.items()})


def commits_of(rows: list[tuple[str, str, int, int]]) -> CommitTable:
    rows = sorted(rows)
    groups, topics = sorted({r[0] for r in rows}), sorted({r[1] for r in rows})
    column = lambda values, kind: np.array(values, dtype=kind)  # noqa: E731
    return CommitTable(
        tuple(groups),
        tuple(topics),
        column([groups.index(r[0]) for r in rows], np.int32),
        column([topics.index(r[1]) for r in rows], np.int32),
        column([r[2] for r in rows], np.int32),
        column([r[3] for r in rows], np.int64),
        column([0] * len(rows), np.int16),
        {},
    )


@given(LAYOUTS, LAYOUTS, st.data())
def test_offsets_follow_the_topic_not_the_row(old: Layout, new: Layout, data: st.DataObject) -> None:
    before, now = table_of(old), table_of(new)
    offsets = np.array(
        data.draw(st.lists(st.integers(0, 99), min_size=len(before), max_size=len(before))), dtype=np.int64
    )
    errors = np.array(
        data.draw(st.lists(st.sampled_from([0, 6]), min_size=len(before), max_size=len(before))), dtype=np.int16
    )
    part = OffsetRows(before, np.arange(len(before), dtype=np.int64), offsets, errors)
    ends = end_by_row(now, [part])
    known = {
        (before.topics[t], p): (o, e)
        for t, p, o, e in zip(before.topic, before.partition, offsets, errors, strict=True)
    }
    for i, p in enumerate(now):
        offset, error = known.get((p.topic, p.partition), (UNKNOWN, 0))
        same_topic = old.get(p.topic, ("gone", 0))[0] == new[p.topic][0]
        assert ends[i] == (offset if same_topic and error == 0 else UNKNOWN)


COMMITS = st.dictionaries(
    st.tuples(st.sampled_from(["g", "h"]), st.sampled_from("abcd"), st.integers(0, 3)), st.integers(-1, 60)
)


@given(LAYOUTS, COMMITS, st.data())
def test_lag_is_end_minus_committed(
    layout: Layout, commits: dict[tuple[str, str, int], int], data: st.DataObject
) -> None:
    table = table_of(layout)
    end = np.array(data.draw(st.lists(st.integers(-1, 50), min_size=len(table), max_size=len(table))), dtype=np.int64)
    made = commits_of([(*key, offset) for key, offset in commits.items()])
    lag = group_lag(made, table, end)
    ends = {(p.topic, p.partition): int(end[i]) for i, p in enumerate(table)}
    for i, (g, t, p, offset) in enumerate(sorted((*key, o) for key, o in commits.items())):
        at_end = ends.get((t, p), UNKNOWN)
        known = offset >= 0 and at_end >= 0
        assert made.groups[made.group[i]] == g
        assert lag.lag[i] == (max(0, at_end - offset) if known else UNKNOWN)
        assert lag.beyond[i] == (max(0, offset - at_end) if known else UNKNOWN)
