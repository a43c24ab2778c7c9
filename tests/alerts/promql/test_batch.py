"""Groups, matches and unions of batches are those of plain dicts, whatever vocabularies the label sets are written in."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.promql.batch import WITHOUT_NAME, Batch, LabelRule, grouped, union
from exporter import label_table
from exporter.label_table import Column, LabelTable, Vocabulary
from exporter.series import Labels

NAMES = ("__name__", "a", "b", "c")
WORDS = {name: Vocabulary() for name in NAMES}
"""What tables of one store share; it knows more values than any of them, and grows while they are used."""
PAIRS = st.dictionaries(st.sampled_from(NAMES), st.sampled_from(["", "1", "2", "3", "4"]), max_size=4)
RULES = st.builds(LabelRule, st.booleans(), st.frozensets(st.sampled_from((*NAMES, "d"))))


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    """A root, or some rows of one; label sets are distinct, columns with no value at all may be there."""
    sets = draw(st.lists(PAIRS.map(Labels.of), unique=True, max_size=8))
    names = {name for one in sets for name in one} | draw(st.sets(st.sampled_from(NAMES)))
    columns = {}
    for name in names:
        values = [one.get(name, "") for one in sets]
        words = WORDS[name] if draw(st.booleans()) else Vocabulary()
        columns[name] = Column(np.array([words.add(value) for value in values], dtype=np.int32), words)
    root = Batch(LabelTable(columns, len(sets)))
    if draw(st.booleans()):
        return root
    rows = draw(st.permutations(range(len(sets))))
    return root.take(np.array(rows[: draw(st.integers(0, len(rows)))], dtype=np.intp))


def reduced(labels: Labels, rule: LabelRule) -> Labels:
    return Labels.of({name: value for name, value in labels.items() if (name in rule.names) == rule.keep})


@pytest.mark.parametrize("largest", [2**62, 4])
@given(batch=batches(), rule=RULES)
def test_groups_are_those_of_dicts(largest: int, batch: Batch, rule: LabelRule) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(label_table, "_LARGEST_KEY", largest)
        grouping = batch.group(rule)
    want = [reduced(one, rule) for one in batch.labels]
    assert [grouping.keys.labels[i] for i in grouping.ids.tolist()] == want
    assert len(set(grouping.keys.labels)) == len(grouping.keys)
    assert not grouping.distinct or len(set(want)) == len(want)
    of_root = dict.fromkeys(reduced(one, rule) for one in batch.root.labels)
    assert grouping.keys.labels == list(of_root), "keys are in the order of their first rows"
    keys, ids = grouping.compact()
    assert [keys.labels[i] for i in ids.tolist()] == want and set(keys.labels) == set(want)


@pytest.mark.parametrize("largest", [2**62, 4])
@given(one=batches(), other=batches(), rule=RULES)
def test_matches_are_those_of_dicts(largest: int, one: Batch, other: Batch, rule: LabelRule) -> None:
    mine, others = one.group(rule), other.group(rule)
    places = {key: i for i, key in enumerate(others.keys.labels)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(label_table, "_LARGEST_KEY", largest)
        found = mine.match(others)
    assert found.tolist() == [places.get(key, -1) for key in mine.keys.labels]
    assert mine.match(others) is found or mine.keys is others.keys


@given(batches(), batches())
def test_a_union_has_the_rows_of_both_and_is_remembered(left: Batch, right: Batch) -> None:
    both = union(left, right, "or")
    assert both.labels == left.labels + right.labels
    assert union(left, right.take(np.arange(len(right))), "or").labels == both.labels
    assert union(left, right, "or") is union(left, right, "or")
    if len(left):
        assert (
            union(left.take(np.arange(len(left) - 1)), right, "or").labels
            == both.labels[: len(left) - 1] + right.labels
        )


@given(st.lists(PAIRS.map(Labels.of)))
def test_equal_rows_go_to_one_key(sets: list[Labels]) -> None:
    grouping = grouped(LabelTable.of(sets))
    assert grouping.keys.labels == list(dict.fromkeys(sets)) and grouping.rows().labels == sets
    assert grouping.distinct == (len(set(sets)) == len(sets))


def test_a_rule_that_keeps_everything_costs_nothing() -> None:
    batch = Batch.of([Labels.of({"a": str(i)}) for i in range(5)])
    grouping = batch.group(LabelRule.without(("b",)))
    assert grouping.keys is batch and grouping.batch() is batch and not batch.memo
    assert batch.take(np.array([3, 1])).group(WITHOUT_NAME).batch().labels == [{"a": "3"}, {"a": "1"}]


def test_the_name_of_one_family_goes_without_looking_at_the_rest() -> None:
    batch = Batch.of([Labels.of({"__name__": "x", "a": str(i)}) for i in range(5)])
    grouping = batch.group(WITHOUT_NAME)
    assert grouping.keys.table.columns["a"] is batch.table.columns["a"]
    assert grouping.keys.labels == [{"a": str(i)} for i in range(5)]


def test_what_is_remembered_of_another_batch_does_not_keep_it() -> None:
    one, other = (Batch.of([Labels.of({"a": a}) for a in values]) for values in ("12", "23"))
    one.group(WITHOUT_NAME).match(other.group(WITHOUT_NAME))
    other.group(WITHOUT_NAME).match(one.group(WITHOUT_NAME))
    union(one, other, "or")
    gone = weakref.ref(other)
    gc.disable()
    try:
        del other
        assert gone() is None
    finally:
        gc.enable()
