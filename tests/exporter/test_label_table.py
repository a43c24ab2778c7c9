"""Label sets as columns are the label sets that they were made of, however they are put together."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter import label_table
from exporter.label_table import Column, LabelRows, LabelTable, Vocabulary, combined, joined
from exporter.series import NO_LABELS, Labels

SETS = st.lists(
    st.dictionaries(st.sampled_from("abcd"), st.sampled_from(["", "1", "2", "3"]), max_size=4).map(Labels.of),
    unique=True,
)


def columnar(labels: list[Labels]) -> LabelTable:
    """A table that was given no label sets, but columns."""
    table = LabelTable.of(labels)
    return LabelTable(table.columns, len(table))


@given(SETS, st.data())
def test_rows_are_the_label_sets_that_they_were_made_of(sets: list[Labels], data: st.DataObject) -> None:
    for table in (LabelTable.of(sets), columnar(sets)):
        rows = data.draw(st.lists(st.integers(0, len(sets) - 1) if sets else st.nothing()))
        assert all(got is sets[row] for got, row in zip(table.labels(np.array(rows, np.intp)), rows, strict=True))
        assert all(got is want for got, want in zip(table.labels(), sets, strict=True))
        some = LabelRows(table, np.array(rows, np.intp))
        assert list(some) == [sets[row] for row in rows] == [some[i] for i in range(len(some))]


@given(st.lists(st.tuples(SETS, st.booleans()), max_size=4))
def test_joined_rows_come_one_after_the_other(parts: list[tuple[list[Labels], bool]]) -> None:
    """With a vocabulary for each part, or with another part's."""
    tables = [columnar(sets) for sets, _ in parts]
    rows = [
        LabelRows(table, np.arange(len(table))[::-1]) if reverse else LabelRows(table)
        for table, (_, reverse) in zip(tables, parts, strict=True)
    ]
    want = [one for sets, reverse in parts for one in (reversed(sets) if reverse else sets)]
    assert joined(rows).labels() == want
    assert joined([*rows, *rows]).labels() == want + want


@pytest.mark.parametrize("largest", [2**62, 4])
@given(sets=SETS, names=st.sets(st.sampled_from("abcd")))
def test_rows_are_numbered_in_order_of_their_first(largest: int, sets: list[Labels], names: set[str]) -> None:
    """Also where the product of the radixes is too large for one number."""
    table = columnar(sets)
    reduced = [tuple(one.get(name, "") for name in sorted(names)) for one in sets]
    distinct = list(dict.fromkeys(reduced))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(label_table, "_LARGEST_KEY", largest)
        ids, first = table.numbered(names.intersection(table.names))
    assert ids.tolist() == [distinct.index(one) for one in reduced]
    assert first.tolist() == [reduced.index(one) for one in distinct]


@given(st.lists(st.lists(st.sampled_from([0, 1, 2**30, 2**31 - 2, 2**31 - 1]), min_size=5, max_size=5), max_size=9))
def test_a_key_is_the_same_only_where_all_codes_are(rows: list[list[int]]) -> None:
    codes = np.array(rows, dtype=np.int32).reshape(-1, 5)
    keys = combined(list(codes.T), len(codes)).tolist()
    assert all((keys[i] == keys[j]) == (rows[i] == rows[j]) for i in range(len(rows)) for j in range(len(rows)))


def test_each_distinct_value_is_looked_at_once() -> None:
    seen: list[str] = []
    column = Column.of(["b", "a", "", "b", "a"])
    assert column.each(lambda value: seen.append(value) or len(value), np.int32).tolist() == [1, 1, 0, 1, 1]  # type: ignore[func-returns-value]
    assert sorted(seen) == ["", "a", "b"]
    assert column.take(np.array([1, 2])).each(len, np.float64).tolist() == [1.0, 0.0]


def test_a_constant_column_takes_no_room_and_stays_one() -> None:
    words = Vocabulary()
    column = Column.constant(words.add("x"), words, 100_000)
    assert column.is_constant and column.take(np.arange(5)).is_constant and not Column.of(["a", "b"]).is_constant
    assert column.take(np.array([7, 7])).values == ["x", "x"] and column.take(np.arange(0)).values == []
    assert Column.of([]).is_constant and Column.of(["a", "a"]).is_constant


def test_equal_tables_have_the_same_codes_of_the_same_vocabularies() -> None:
    table = LabelTable.of([Labels.of({"a": "1"}), Labels.of({"a": "2"})])
    assert table.same(table) and table.same(LabelTable(table.columns, 2))
    assert not table.same(columnar(table.labels()))
    assert not table.same(table.take(np.array([1, 0]), table.names)) and not table.same(table.only(()))
    assert LabelTable({}, 1).labels() == [NO_LABELS]
