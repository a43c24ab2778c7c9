"""The page shows what is configured and no more than its ceiling; what is counted before stays right, and what did not change costs nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.blocks import Block, LabelSets
from exporter.metrics.catalogue import complete
from exporter.metrics.config import MetricsConfig
from exporter.metrics.detail import BACK_AFTER_S, Ceiling, Detail, Level, level_of
from exporter.metrics.families import Families
from exporter.metrics.names import Names
from tests.exporter.simulation import Simulation
from tests.fakes.kafka import FakeCluster

PARTITIONS = LabelSets(("topic", "partition"), [(f"t{i // 10}", str(i % 10)) for i in range(30)])
TOPICS = LabelSets(("topic",), [(f"t{i}",) for i in range(3)])
COMMITS = LabelSets(("consumergroup", "topic", "partition"), [(g, *row) for g in ("a", "b") for row in PARTITIONS.rows])
SUMS = LabelSets(("consumergroup", "topic"), [(g, *row) for g in ("a", "b") for row in TOPICS.rows])


def states(a: str, b: str) -> LabelSets:
    return LabelSets(("consumergroup", "state", "type"), [("a", a, "classic"), ("b", b, "classic")])


def block(metric: str, labels: LabelSets) -> Block:
    return Block(metric, labels, np.arange(len(labels)))


STABLE = states("Stable", "Stable")
Blocks = dict[str, list[Block]]


def blocks(of_states: LabelSets = STABLE) -> Blocks:
    return {
        "topics": [block("kafka_topic_partitions", TOPICS), block("kafka_topic_partition_leader", PARTITIONS)],
        "groups": [
            block("kafka_consumergroup_state", of_states),
            block("kafka_consumergroup_lag", COMMITS),
            block("kafka_consumergroup_lag_sum", SUMS),
            block("kafka_consumergroup_commit_beyond_end", COMMITS),
        ],
        "self": [block("klaxon_threshold", LabelSets(("name", "topic", "consumergroup"), [("x", "", ""), ("y", "t0", "")]))],
    }  # fmt: skip


def detail(**config: Any) -> Detail:
    return Detail(MetricsConfig.model_validate(config), complete())


def shown(made: Detail, given: Blocks | None = None, now: float = 0.0) -> dict[str, Sequence[tuple[str, ...]]]:
    page, _ = made.shown(given or blocks(), now)
    return {b.metric: b.labels.rows for some in page.values() for b in some}


def values(made: Detail, metric: str, given: Blocks | None = None, now: float = 0.0) -> dict[str, int]:
    _, told = made.shown(given or blocks(), now)
    (one,) = (b for b in told if b.metric == metric)
    return {row[0]: int(v) for row, v in zip(one.labels.rows, one.values, strict=True)}


def test_by_default_everything_is_shown_as_the_very_same_blocks() -> None:
    given = blocks()
    page, told = detail().shown(given, 0.0)
    assert all(a is b for owner, some in given.items() for a, b in zip(some, page[owner], strict=False))
    assert page["self"][-2:] == told


def test_names_are_matched_whole() -> None:
    page = shown(detail(topics={"include": ["t[01]", "nothing"], "exclude": [".*0"]}))
    assert page["kafka_topic_partitions"] == [("t1",)]
    assert {row[1] for row in page["kafka_consumergroup_lag"]} == {"t1"}
    assert page["klaxon_threshold"] == [("x", "", "")]
    assert shown(detail(topics={"include": ["t"]}))["kafka_topic_partitions"] == []


def test_values_stay_with_their_series() -> None:
    page, _ = detail(groups={"exclude": ["a"]}).shown(blocks(), 0.0)
    (sums,) = (b for b in page["groups"] if b.metric == "kafka_consumergroup_lag_sum")
    assert dict(zip(sums.labels.rows, sums.values.tolist(), strict=True)) == {
        ("b", "t0"): 3,
        ("b", "t1"): 4,
        ("b", "t2"): 5,
    }


def test_levels_leave_totals_and_what_is_wrong() -> None:
    page = shown(detail(topics={"level": "topic"}, groups={"level": "topic"}))
    assert "kafka_topic_partition_leader" not in page and "kafka_consumergroup_lag" not in page
    assert {"kafka_topic_partitions", "kafka_consumergroup_lag_sum", "kafka_consumergroup_commit_beyond_end"} <= set(
        page
    )
    page = shown(detail(groups={"level": "group"}))
    assert "kafka_consumergroup_lag_sum" not in page and "kafka_topic_partition_leader" in page


def test_groups_in_a_state_come_and_go_with_it() -> None:
    made = detail(groups={"exclude_states": ["Empty", "Dead"]})
    for state, seen in (("Stable", {"a", "b"}), ("Empty", {"b"}), ("PreparingRebalance", {"a", "b"})):
        page = shown(made, blocks(states(state, "Stable")))
        assert {row[0] for row in page["kafka_consumergroup_lag"]} == seen
        assert {row[0] for row in page["kafka_consumergroup_state"]} == seen


def test_what_did_not_change_is_neither_asked_nor_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[LabelSets] = []
    plain = Names._rows
    monkeypatch.setattr(Names, "_rows", lambda self, labels: asked.append(labels) or plain(self, labels))
    made, given = detail(topics={"exclude": ["t1"]}), blocks()
    first, _ = made.shown(given, 0.0)
    again, _ = made.shown(given, 1.0)
    for owner in ("topics", "groups"):
        assert all(a is b for a, b in zip(first[owner], again[owner], strict=True))
    number = len(asked)
    assert number == len(set(asked))
    newer = {**given, "topics": [block("kafka_topic_partition_leader", PARTITIONS)]}
    third, _ = made.shown(newer, 2.0)
    assert third["topics"][0].labels is first["topics"][1].labels
    assert len(asked) == number


def test_the_page_tells_how_many_series_it_has() -> None:
    made = detail(topics={"level": "topic"})
    page, _ = made.shown(blocks(), 0.0)
    assert values(made, "klaxon_page_series") == {o: sum(len(b.labels) for b in some) for o, some in page.items()}
    assert values(made, "klaxon_page_detail_dropped") == {"partition": 0, "topic": 0, "group": 0}


def test_totals_of_kafka_exporter_are_counted_before_detail_is_left_out() -> None:
    model = FakeCluster()
    model.create_topic("orders", 3)
    model.create_group("billing")
    for number in range(3):
        model.produce("orders", number, 10 * (number + 1))
        model.commit("billing", "orders", number, 5 * number)
    simulation = Simulation(model)
    simulation.run(60)
    families = Families().blocks(simulation.snapshots[-1])
    made = detail(topics={"level": "topic"}, groups={"level": "topic"})
    page, _ = made.shown(families, 60.0)
    sums = {b.metric: b for b in page["groups"]}
    whole = {b.metric: b for b in families["groups"]}
    for name in ("kafka_consumergroup_lag", "kafka_consumergroup_current_offset"):
        expected: dict[tuple[str, ...], int] = {}
        for row, value in zip(whole[name].labels.rows, whole[name].values.tolist(), strict=True):
            expected[row[:2]] = expected.get(row[:2], 0) + value
        total = sums[f"{name}_sum"]
        assert dict(zip(total.labels.rows, total.values.tolist(), strict=True)) == expected != {}
        assert name not in sums


def test_every_family_of_topics_and_groups_has_a_level() -> None:
    for row in complete().values():
        named = {"topic", "partition", "consumergroup"} & set(row.labels)
        assert (level_of(row) is not None) == (bool(named) and row.owner != "self"), row.name


# --- the ceiling


def sizes(**given: int) -> Mapping[str, int]:
    return given


def test_the_ceiling_drops_the_first_named_until_the_rest_fits() -> None:
    ceiling = Ceiling(1000)
    assert ceiling.dropped(sizes(p=500, q=300, t=100), 1000, 0.0) == set()
    assert ceiling.dropped(sizes(p=500, q=300, t=100), 1001, 1.0) == {"p"}
    assert ceiling.dropped(sizes(p=5000, q=800, t=300), 6700, 2.0) == {"p", "q"}


def test_detail_comes_back_when_it_has_fitted_for_five_minutes() -> None:
    ceiling = Ceiling(1000)
    high, low = (sizes(p=500), 1100), (sizes(p=300), 899)
    assert ceiling.dropped(*high, 0.0) == {"p"}
    assert ceiling.dropped(sizes(p=400), 950, 10.0) == {"p"}
    assert ceiling.dropped(*low, 20.0) == {"p"}
    assert ceiling.dropped(sizes(p=300), 905, 100.0) == {"p"}
    assert ceiling.dropped(*low, 110.0) == {"p"}
    assert ceiling.dropped(*low, 109.0 + BACK_AFTER_S) == {"p"}
    assert ceiling.dropped(*low, 110.0 + BACK_AFTER_S) == set()


@given(st.lists(st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 900)), max_size=40), st.integers(0, 500))
def test_the_page_is_never_above_the_ceiling_and_what_was_dropped_stays_for_a_while(
    rounds: list[dict[str, int]], fixed: int
) -> None:
    ceiling = Ceiling(1000)
    dropped_at: dict[str, float] = {}
    for number, given_sizes in enumerate(rounds):
        now = number * 60.0
        dropped = ceiling.dropped(given_sizes, fixed + sum(given_sizes.values()), now)
        on_the_page = fixed + sum(v for k, v in given_sizes.items() if k not in dropped)
        assert on_the_page <= 1000
        for name in set(dropped_at) - dropped:
            assert now - dropped_at.pop(name) >= BACK_AFTER_S
        for name in dropped - dropped_at.keys():
            dropped_at[name] = now


def test_partitions_go_before_topics_and_faults_last() -> None:
    many = LabelSets(COMMITS.names, [(f"g{i}", "t", str(p)) for i in range(100) for p in range(11)])
    given = blocks()
    given["groups"] += [block("kafka_consumergroup_commit_beyond_end", many)]
    made = detail(ceiling=1000)
    assert values(made, "klaxon_page_detail_dropped", given) == {"partition": 3, "topic": 0, "group": 0}
    page = shown(made, given, 1.0)
    assert {level_of(complete()[m]) for m in page} == {None, Level.TOPIC, Level.GROUP}
    few = blocks()
    few["groups"] += [block("kafka_consumergroup_lag", many)]
    page = shown(detail(ceiling=1000), few)
    assert "kafka_consumergroup_lag" not in page
    assert "kafka_consumergroup_commit_beyond_end" in page and "kafka_topic_partition_leader" in page


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"topics": {"include": ["["]}}, "'[': not a regular expression: unterminated character set"),
        ({"groups": {"exclude": ["(?=a)"]}}, "'(?=a)': '(?=' is not supported"),
        ({"groups": {"exclude_states": ["empty"]}}, "'Empty'"),
        ({"topics": {"level": "group"}}, "'partition' or 'topic'"),
        ({"ceiling": 10}, "greater than or equal to 1000"),
    ],
)
def test_faults(config: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        MetricsConfig.model_validate(config)
