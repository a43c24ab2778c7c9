"""The history gives back what was appended, for as long as it was asked to keep it."""

from __future__ import annotations

import gc
import json
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from exporter.blocks import NO_LABELS, Block, LabelSets
from exporter.history import History, NotKept, checkpoint
from exporter.history.columns import Columns
from exporter.history.register import Register
from exporter.label_table import LatestStore
from exporter.series import STALE_NAN, Labels, Matcher, is_stale

UP, LAG = "kafka_broker_up", "kafka_consumergroup_lag"


def name(metric: str, *more: Matcher) -> tuple[Matcher, ...]:
    return (Matcher("__name__", "=", metric), *more)


def block(metric: str, rows: dict[str, float]) -> Block:
    return Block(metric, LabelSets(("broker",), [(row,) for row in rows]), np.array(list(rows.values()), dtype=float))


def history(retention_s: float = 600) -> History:
    made = History()
    made.keep({UP: retention_s, LAG: retention_s})
    return made


def samples(store: History, metric: str, start_ms: int = 0, end_ms: int = 10**15) -> dict[str, list[tuple[int, str]]]:
    """Broker -> (time, value or "stale")."""
    return {
        series.labels.get("broker", ""): [
            (t, "stale" if stale else f"{v:g}")
            for t, v, stale in zip(
                series.timestamps.tolist(), series.values.tolist(), is_stale(series.values), strict=True
            )
        ]
        for series in store.select(name(metric), start_ms, end_ms)
    }


def newest(store: History, at_ms: int, *matchers: Matcher, metric: str = UP) -> dict[str, float]:
    labels, values, times = store.select_latest(name(metric, *matchers), at_ms, 300_000)
    assert len(labels) == len(values) == len(times)
    return {str(one.get("broker")): value for one, value in zip(labels, values.tolist(), strict=True)}


def test_is_a_store_that_answers_instant_selectors() -> None:
    assert isinstance(history(), LatestStore)


def test_a_series_that_vanishes_gets_a_stale_marker_and_continues_when_it_comes_back() -> None:
    store = history()
    store.append("c", [block(UP, {"1": 1, "2": 1})], 1_000)
    store.append("c", [block(UP, {"1": 1})], 2_000)
    store.append("c", [block(UP, {"1": 1})], 3_000)
    store.append("c", [block(UP, {"2": 0, "1": 1})], 4_000)
    assert samples(store, UP)["2"] == [(1_000, "1"), (2_000, "stale"), (4_000, "0")]
    assert newest(store, 1_500) == {"1": 1, "2": 1}
    assert newest(store, 3_999) == {"1": 1}
    assert newest(store, 4_000) == {"1": 1, "2": 0}
    assert newest(store, 304_000) == {}


def test_a_family_without_any_block_ends_only_if_the_call_speaks_for_it() -> None:
    store = history()
    store.append("c", [block(UP, {"1": 1}), block(LAG, {"1": 7})], 1_000)
    store.append("c", [block(LAG, {"1": 8})], 2_000)
    assert samples(store, UP) == {"1": [(1_000, "1")]}
    store.append("c", [], 3_000, speaks_for=(UP, LAG))
    assert samples(store, UP) == {"1": [(1_000, "1"), (3_000, "stale")]}
    store.append("c", [], 4_000, speaks_for=(UP, LAG))
    assert samples(store, LAG) == {"1": [(1_000, "7"), (2_000, "8"), (3_000, "stale")]}


def test_clusters_do_not_end_each_others_series() -> None:
    store = history()
    store.append("a", [block(UP, {"1": 1})], 1_000)
    store.append("b", [block(UP, {"1": 0})], 2_000)
    found = store.select(name(UP, Matcher("cluster", "=~", "a|b")), 0, 9_000)
    assert {(s.labels["cluster"], tuple(s.values.tolist())) for s in found} == {("a", (1.0,)), ("b", (0.0,))}
    assert len(store.select(name(UP, Matcher("cluster", "=", "b")), 0, 9_000)) == 1
    assert newest(store, 3_000, Matcher("cluster", "!=", "a")) == {"1": 0}


@pytest.mark.parametrize(
    ("matcher", "brokers"),
    [
        (Matcher("broker", "=", "2"), {"2"}),
        (Matcher("broker", "!=", "2"), {"1", "10"}),
        (Matcher("broker", "=~", "1.?"), {"1", "10"}),
        (Matcher("broker", "!~", "1.+"), {"1", "2"}),
        (Matcher("rack", "=", ""), {"1", "2", "10"}),
        (Matcher("rack", "=~", ".+"), set()),
        (Matcher("broker", "=", "3"), set()),
    ],
)
def test_matchers(matcher: Matcher, brokers: set[str]) -> None:
    store = history()
    store.append("c", [block(UP, {"1": 1, "2": 1, "10": 1})], 1_000)
    assert set(newest(store, 1_000, matcher)) == brokers
    assert {s.labels["broker"] for s in store.select(name(UP, matcher), 0, 1_000)} == brokers
    store.append("c", [block(UP, {"1": 1, "3": 1})], 2_000)
    assert set(newest(store, 2_000, matcher)) == (brokers - {"2", "10"}) | (
        {"3"} if matcher.matches({"broker": "3"}.get(matcher.name, "")) else set()
    )


def test_names_can_be_matched_and_what_nobody_asked_for_is_an_error() -> None:
    store = history()
    store.append("c", [block(UP, {"1": 1}), block("kafka_brokers", {"1": 3})], 1_000)
    assert len(store.select([Matcher("__name__", "=~", "kafka_.*")], 0, 2_000)) == 1
    assert len(store.select([Matcher("broker", "=", "1")], 0, 2_000)) == 1
    for ask in (
        lambda: store.select(name("kafka_brokers"), 0, 2_000),
        lambda: store.select_latest(name("kafka_brokers"), 2_000, 300_000),
    ):
        with pytest.raises(NotKept, match=r"kafka_brokers is not kept.*history\.keep") as caught:
            ask()
        assert caught.value.metric == "kafka_brokers"
    assert store.select(name(LAG), 0, 2_000) == []


def test_what_comes_before_the_newest_is_refused_and_counted() -> None:
    store = history()
    store.append("c", [block(UP, {"1": 1, "2": 1})], 10_000)
    store.append("c", [block(UP, {"1": 0, "2": 0})], 9_999)
    assert samples(store, UP) == {"1": [(10_000, "1")], "2": [(10_000, "1")]}
    assert store.stats().refused == 2


def test_a_clock_that_was_far_ahead_does_not_blind_the_history() -> None:
    store = history(3600)
    store.append("c", [block(UP, {"1": 1})], 1_000)
    store.append("c", [block(UP, {"1": 0, "2": 0})], 900_000)
    store.append("c", [block(UP, {"1": 1})], 16_000)
    assert samples(store, UP) == {"1": [(1_000, "1"), (16_000, "1")]}


def test_the_first_of_two_samples_at_one_time_wins() -> None:
    store = history()
    twice = Block(UP, LabelSets(("broker",), [("1",), ("1",)]), np.array([4, 5]))
    store.append("c", [twice], 1_000)
    store.append("c", [block(UP, {"1": 6, "2": 7})], 1_000)
    assert samples(store, UP) == {"1": [(1_000, "4")], "2": [(1_000, "7")]}
    store.append("c", [block(UP, {"2": 7})], 2_000)
    store.append("c", [block(UP, {"1": 8, "2": 7})], 2_000)
    assert samples(store, UP)["1"] == [(1_000, "4"), (2_000, "stale")]


def test_what_is_added_to_the_newest_moment_does_not_change_the_one_before() -> None:
    store = history()
    store.append("c", [block(UP, {"1": 1, "2": 1})], 1_000)
    store.append("c", [block(UP, {"1": 1})], 2_000)
    store.append("c", [block(UP, {"1": 1})], 3_000)
    store.append("c", [block(UP, {"1": 1})], 4_000)
    store.append("c", [block(UP, {"2": 5})], 4_000)
    store.append("c", [block(UP, {"3": 6})], 4_000)
    assert samples(store, UP) == {
        "1": [(1_000, "1"), (2_000, "1"), (3_000, "1"), (4_000, "1")],
        "2": [(1_000, "1"), (2_000, "stale"), (4_000, "5")],
        "3": [(4_000, "6")],
    }


def test_a_writer_may_end_a_series_itself() -> None:
    store = history()
    store.append("c", [block(UP, {"1": 1})], 1_000)
    store.append("c", [block(UP, {"1": STALE_NAN})], 2_000)
    assert newest(store, 2_000) == {}
    assert store.stats().live == 0
    store.append("c", [], 3_000, speaks_for=[UP])
    assert samples(store, UP) == {"1": [(1_000, "1"), (2_000, "stale")]}


def test_label_sets_that_come_back_after_they_were_forgotten() -> None:
    store = history(300)
    first, second = block(UP, {"1": 1}), block(UP, {"2": 2})
    store.append("c", [first], 1_000)
    for step in range(60):
        store.append("c", [second], 16_000 + 15_000 * step)
    assert store.stats().series == 1
    store.append("c", [block(UP, {"3": 3, "2": 2})], 1_000_000)
    store.append("c", [first, block(UP, {"3": 3})], 1_015_000)
    assert newest(store, 1_015_000) == {"1": 1, "3": 3}


def test_a_freed_column_is_selected_no_more_and_given_to_the_next_series() -> None:
    columns = Columns((("__name__", UP), ("cluster", "c")), Register())
    one, two, three = (LabelSets(("broker",), [(b,)]) for b in "123")
    assert [columns.of_sets(sets).tolist() for sets in (one, two)] == [[0], [1]]
    everything = columns.select(())
    assert columns.select(()) is everything
    columns.free(np.array([0]))
    assert [labels["broker"] for labels in columns.select(()).rows] == ["2"]
    assert columns.of_sets(three).tolist() == [0]
    assert columns.of_sets(one).tolist() == [2]
    assert [labels["broker"] for labels in columns.select((Matcher("broker", "!=", "2"),)).rows] == ["3", "1"]


def test_an_answer_stays_what_it_is_when_its_columns_are_freed_and_given_to_others() -> None:
    store = history(330)
    first, second = block(UP, {"1": 1, "2": 2, "3": 3}), block(UP, {"3": 3})
    store.append("c", [first], 1_000)
    everything, some = (
        store.select_latest(name(UP, *more), 1_000, 300_000)[0] for more in ((), (Matcher("broker", "!=", "2"),))
    )
    for step in range(60):
        store.append("c", [second], 16_000 + 15_000 * step)
    held = store.select_latest(name(UP), 1_000_000, 300_000)[0]
    store.append("c", [block(UP, {"new": 4, "3": 3, "newer": 5})], 1_000_000)
    assert [one["broker"] for one in store.select_latest(name(UP), 1_000_000, 300_000)[0]] == ["newer", "new", "3"]
    assert [one["broker"] for one in everything] == ["1", "2", "3"]
    assert [one["broker"] for one in some] == ["1", "3"]
    assert [one["broker"] for one in held] == ["3"]


def test_label_sets_that_somebody_looks_at_stay_what_they_are_when_their_columns_are_given_away() -> None:
    columns = Columns((("__name__", UP), ("cluster", "c")), Register())
    columns.of_sets(LabelSets(("broker",), [(b,) for b in "1234"]))
    before = columns.select(()).rows
    columns.free(np.array([1, 2]))
    columns.of_sets(LabelSets(("broker", "rack"), [("5", "x"), ("6", "y")]))
    after = columns.select(()).rows
    assert [one["broker"] for one in before] == ["1", "2", "3", "4"]
    assert [(one["broker"], one.get("rack")) for one in after] == [("1", None), ("6", "y"), ("5", "x"), ("4", None)]


def test_families_of_one_cluster_share_their_label_sets_and_those_that_none_has_are_forgotten() -> None:
    register = Register()
    up, lag = (Columns((("__name__", metric), ("cluster", "c")), register) for metric in (UP, LAG))
    whole = LabelSets(("broker",), [(b,) for b in "1234"])
    some = whole.where(np.array([False, True, False, True]))
    assert lag.of_sets(some).tolist() == [0, 1] and up.of_sets(whole).tolist() == [0, 1, 2, 3]
    assert lag.of_sets(LabelSets(("broker",), [("3",), ("2",), ("3",)])).tolist() == [2, 0, 2]
    assert len(register) == 4
    of_up, of_lag = (columns.select((Matcher("broker", "=~", "2|3"),)).rows for columns in (up, lag))
    assert of_up.table.columns["broker"].vocabulary is of_lag.table.columns["broker"].vocabulary
    assert [(one["__name__"], one["broker"]) for one in of_lag] == [(LAG, "2"), (LAG, "3")]
    up.free(np.array([0, 1, 2, 3]))
    del whole, some
    gc.collect()
    register.retain((up.numbers[up.taken], lag.numbers[lag.taken]))
    assert register.used == 3 and up.select(()).rows.table.size == 0
    assert up.of_sets(LabelSets(("rack",), [("x",)])).tolist() == [3] and len(register) == 4
    assert [dict(one) for one in up.select(()).rows] == [{"__name__": UP, "cluster": "c", "rack": "x"}]
    assert [one["broker"] for one in lag.select(()).rows] == ["2", "4", "3"]


def test_values_of_label_sets_that_are_gone_are_forgotten() -> None:
    register = Register()
    columns = Columns((("__name__", UP), ("cluster", "c")), register)
    for topic in range(100):
        places = columns.of_sets(LabelSets(("topic",), [(f"orders-{topic}",), ("payments",)]))
        assert [one["topic"] for one in columns.select((Matcher("topic", "!=", ""),)).rows][places[0]]
        columns.free(places[:1])
        register.retain((columns.numbers[columns.taken],))
        assert len(register.coded("topic").words) < 30
    assert [one["topic"] for one in columns.select(()).rows] == ["payments"] and len(register) <= 2


def test_label_sets_that_somebody_still_holds_keep_their_numbers() -> None:
    register = Register()
    held = LabelSets(("broker",), [("1",), ("2",)])
    numbers = register.of_sets(held)
    register.retain(())
    assert register.used == 2 and register.of_sets(held) is numbers
    del held
    gc.collect()
    register.retain(())
    assert register.used == 0


def test_a_cluster_whose_families_have_all_gone_leaves_nothing() -> None:
    store = history(300)
    store.append("c", [block(UP, {"1": 1})], 1_000)
    store.append("d", [block(UP, {"1": 1})], 700_000)
    assert list(store._registers) == ["d"]


def test_the_rows_are_of_one_table_as_long_as_the_same_series_can_answer() -> None:
    store = history()
    for at, rows in ((1_000, {"1": 1, "2": 2}), (2_000, {"1": 1}), (3_000, {"1": 1})):
        store.append("c", [block(UP, rows)], at)
    both, one, again = (store.select_latest(name(UP), at, 300_000)[0] for at in (1_000, 2_000, 3_000))
    assert both.table is one.table and again is one and (len(both), len(one)) == (2, 1)
    for at in (1_000, 2_000):
        store.append("d", [block(UP, {"7": 1, "8": 1}), block(LAG, {"7": 1})], at)
    together, fewer = (store.select_latest(name(UP), at, 300_000)[0] for at in (1_000, 2_000))
    assert together.table is fewer.table
    assert [(labels["cluster"], labels["broker"]) for labels in fewer] == [("c", "1"), ("d", "7"), ("d", "8")]
    store.append("d", [block(UP, {"7": 1, "9": 1})], 3_000)
    assert [labels["broker"] for labels in store.select_latest(name(UP), 3_000, 300_000)[0]] == ["1", "7", "9"]
    assert [labels["broker"] for labels in fewer] == ["1", "7", "8"]


def test_of_several_rules_that_write_one_series_the_newest_sample_counts_in_the_first_one_s_place() -> None:
    store = History()
    store.keep({"x:rate": 600})
    a, b, c = (Labels.of({"__name__": "x:rate", "cluster": cluster}) for cluster in "abc")
    store.append_series("x:rate", [(a, 1), (b, 2)], 1_000, source="old")
    store.append_series("x:rate", [(c, 3), (a, 4)], 2_000, source="new")
    store.append_series("x:rate", [(b, 5), (c, 6)], 1_500, source="third")
    labels, values, times = store.select_latest(name("x:rate"), 2_000, 300_000)
    assert (list(labels), values.tolist(), times.tolist()) == ([a, b, c], [4, 5, 3], [2_000, 1_500, 2_000])
    store.append_series("x:rate", [(b, 7)], 3_000, source="new")
    labels, values, _ = store.select_latest(name("x:rate"), 3_000, 300_000)
    assert (list(labels), values.tolist()) == ([a, b, c], [1, 7, 6])


def test_several_blocks_of_a_family_are_one_moment() -> None:
    store = history()
    for at in (1_000, 2_000):
        store.append("c", [block(UP, {"1": 1}), block(UP, {"2": 2}), Block(UP, NO_LABELS, np.array([3]))], at)
    assert newest(store, 2_000) == {"1": 1, "2": 2, "None": 3}
    assert samples(store, UP)["2"] == [(1_000, "2"), (2_000, "2")]


def test_rules_that_write_one_metric_do_not_end_each_others_series() -> None:
    store = History()
    store.keep({"ALERTS": 600})
    down, behind = Labels.of({"__name__": "ALERTS", "alertname": "Down"}), Labels.of({"alertname": "Behind"})
    store.append_series("ALERTS", [(down, 1)], 1_000, source="down")
    store.append_series("ALERTS", [(behind, 1)], 1_000, source="behind")
    store.append_series("ALERTS", [], 2_000, source="down")
    labels, values, times = store.select_latest(name("ALERTS"), 2_000, 300_000)
    assert [one["alertname"] for one in labels] == ["Behind"]
    assert labels[0].name == "ALERTS"
    assert (values.tolist(), times.tolist()) == ([1.0], [1_000])
    assert len(store.select(name("ALERTS", Matcher("alertname", "=", "Down")), 0, 2_000)[0]) == 2


def test_no_label_set_comes_twice_when_another_rule_goes_on_writing_it() -> None:
    store = History()
    store.keep({"x:rate": 600})
    one = Labels.of({"__name__": "x:rate", "cluster": "c"})
    store.append_series("x:rate", [(one, 1)], 1_000, source="old")
    store.append_series("x:rate", [(one, 3)], 1_000, source="new")
    store.append_series("x:rate", [(one, 2)], 2_000, source="new")
    (series,) = store.select(name("x:rate"), 0, 9_000)
    assert (series.timestamps.tolist(), series.values.tolist()) == ([1_000, 2_000], [1.0, 2.0])
    labels, values, _ = store.select_latest(name("x:rate"), 2_000, 300_000)
    assert (list(labels), values.tolist()) == ([one], [2.0])


def test_the_process_has_no_cluster() -> None:
    store = History()
    store.keep({"klaxon_alerts": 600})
    store.append("", [Block("klaxon_alerts", LabelSets(("state",), [("firing",)]), np.array([2]))], 1_000)
    assert store.select(name("klaxon_alerts"), 0, 1_000)[0].labels == {"__name__": "klaxon_alerts", "state": "firing"}


def test_keep_drops_what_is_no_longer_asked_for_and_begins_new_families_empty() -> None:
    store = history()
    store.append("c", [block(UP, {"1": 1}), block(LAG, {"1": 1})], 1_000)
    store.keep({UP: 900})
    assert samples(store, UP) == {"1": [(1_000, "1")]}
    assert store.kept == {UP: 900}
    store.keep({UP: 900, LAG: 60})
    assert samples(store, LAG) == {}
    assert store.kept[LAG] == 300  # never less than an instant selector looks back


def test_memory_stays_flat_while_series_come_and_go_for_days() -> None:
    store = history(300)
    sizes: list[tuple[int, int]] = []
    for step in range(2_000):
        rows = {f"pod-{step + i}": float(i) for i in range(20)}
        store.append("c", [block(UP, rows)], 15_000 * (step + 1))
        if step >= 200:
            stats = store.stats()
            sizes.append((stats.series, stats.bytes))
    assert max(series for series, _ in sizes) < 100
    assert max(size for _, size in sizes[900:]) <= 1.5 * max(size for _, size in sizes[:900])
    table = next(iter(store._tables[UP].values()))
    assert len(table.columns) < 200
    assert newest(store, 15_000 * 2_000) == {f"pod-{1999 + i}": float(i) for i in range(20)}


def test_room_of_many_series_that_left_is_given_back() -> None:
    store = history(300)
    store.append("c", [block(UP, {str(i): i for i in range(5_000)})], 1_000)
    full = store.stats().bytes
    for step in range(1, 60):
        store.append("c", [block(UP, {"7": step, "8": 1})], 1_000 + 15_000 * step)
    stats = store.stats()
    assert stats.series == 2
    assert stats.bytes < full / 4
    assert newest(store, 1_000 + 15_000 * 59) == {"7": 59, "8": 1}


def test_a_family_that_nobody_writes_any_more_is_forgotten() -> None:
    store = history(300)
    store.append("gone", [block(UP, {"1": 1})], 1_000)
    store.append("c", [block(LAG, {"1": 1})], 1_000)
    store.append("c", [block(LAG, {"1": 1})], 400_000)
    assert store.select(name(UP), 0, 10**9) == []
    assert store.stats().series == 1


def test_values_that_stand_still_take_no_room() -> None:
    labels = LabelSets(("broker",), [(str(i),) for i in range(1_000)])
    sizes = []
    for change in (0, 1):
        store = history(3_600)
        for step in range(200):
            values = np.ones(1_000) + step * change * 0.1  # fractions, which cannot be kept narrow
            store.append("c", [Block(UP, labels, values)], 15_000 * (step + 1))
        sizes.append(store.stats().bytes)
    assert sizes[0] < sizes[1] / 10


def test_an_answer_never_holds_half_of_an_append() -> None:
    store = history()
    labels = LabelSets(("broker",), [(str(i),) for i in range(300)])
    faults: list[str] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            up = store.select_latest(name(UP), 10**9, 10**9)[1]
            lag = store.select_latest(name(LAG), 10**9, 10**9)[1]
            if len(set(up.tolist())) > 1:
                faults.append(f"{set(up.tolist())} in one family")
            if len(up) and len(lag) and lag[0] < up[0]:
                faults.append("the later read is older")
            for series in store.select(name(UP), 0, 10**9):
                rising = (np.diff(series.timestamps) > 0).all() and (np.diff(series.values) > 0).all()
                faults.extend([] if rising else ["a series is out of order"])

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for step in range(1, 300):
        values = np.full(300, float(step))
        store.append("c", [Block(UP, labels, values), Block(LAG, labels, values)], step * 1_000)
    done.set()
    for reader in readers:
        reader.join()
    assert faults == []


# --- checkpoints


def saved(tmp_path: Path, store: History) -> Path:
    path = tmp_path / "history"
    store.save(path)
    return path


def test_a_checkpoint_ends_every_series_where_it_was_saved(tmp_path: Path) -> None:
    store = history()
    store.append("c", [block(UP, {"1": 1, "2": 1}), block(LAG, {"1": 5})], 1_000)
    store.append("c", [block(UP, {"1": float("nan")}), block(LAG, {"1": 5})], 2_000)
    again = history()
    loaded = again.load(saved(tmp_path, store), 10.0)
    assert (loaded.series, loaded.warning) == (3, None)
    assert samples(again, UP) == {
        "1": [(1_000, "1"), (2_000, "nan"), (2_001, "stale")],
        "2": [(1_000, "1"), (2_000, "stale")],
    }
    assert newest(again, 10_000) == {}
    again.append("c", [block(UP, {"1": 3, "3": 1})], 10_000)
    assert samples(again, UP)["1"][-1] == (10_000, "3")
    assert newest(again, 10_000) == {"1": 3, "3": 1}


def test_a_checkpoint_is_loaded_as_far_as_it_is_asked_for_and_in_time(tmp_path: Path) -> None:
    store = history()
    store.append("c", [block(UP, {"1": 1}), block(LAG, {"1": 5})], 1_000)
    store.append("c", [block(UP, {"1": 2})], 500_000)
    path = saved(tmp_path, store)
    only = History()
    only.keep({UP: 600})
    only.load(path, 100.0)  # the clock was ahead when the second sample was taken
    assert samples(only, UP) == {"1": [(1_000, "1"), (1_001, "stale")]}
    assert list(only._tables) == [UP]
    late = history(600)
    assert late.load(path, 5_000.0).series == 0


def test_rule_made_series_are_saved_too(tmp_path: Path) -> None:
    store, again = History(), History()
    for one in (store, again):
        one.keep({"ALERTS": 600})
    labels = Labels.of({"__name__": "ALERTS", "alertname": 'é"\n\ud800'})
    store.append_series("ALERTS", [(labels, 1)], 1_000, source="g")
    again.load(saved(tmp_path, store), 2.0)
    again.append_series("ALERTS", [(labels, 2)], 2_000, source="g")
    (series,) = again.select(name("ALERTS"), 0, 9_000)
    assert series.labels is labels
    assert series.timestamps.tolist() == [1_000, 1_001, 2_000]


def test_no_checkpoint_is_no_fault(tmp_path: Path) -> None:
    loaded = history().load(tmp_path / "none", 1.0)
    assert (loaded.series, loaded.warning) == (0, None)


def checkpoint_bytes(tmp_path: Path) -> bytes:
    store = history()
    for step in range(1, 50):
        store.append("c", [block(UP, {"1": step, "2": step / 7})], step * 15_000)
    return saved(tmp_path, store).read_bytes()


def spoiled(good: bytes) -> Sequence[tuple[bytes, str]]:
    head = good.index(b"\n") + 1
    return [
        (b"", "not a checkpoint"),
        (b"SQLite format 3\0" + good, "not a checkpoint"),
        (good.replace(b"klaxon-history 2\n", b"klaxon-history 3\n"), "format is 3"),
        (good[: len(good) // 2], "too early"),
        (good[:-20], "too early"),
        (good[: head + 60] + b"#" + good[head + 61 :], "checksum"),
        (good[:-60] + bytes([good[-60] ^ 1]) + good[-59:], "checksum"),
        (good[:head] + b"\xff" * 20 + good[head + 20 :], "too early"),
    ]


@pytest.mark.parametrize("fault", range(8))
def test_a_checkpoint_that_cannot_be_used_is_set_aside_and_named(tmp_path: Path, fault: int) -> None:
    content, reason = spoiled(checkpoint_bytes(tmp_path))[fault]
    path = tmp_path / "history"
    path.write_bytes(content)
    store = history()
    loaded = store.load(path, 800.0)
    assert loaded.series == store.stats().series == 0
    assert loaded.warning is not None
    assert str(path) in loaded.warning and reason in loaded.warning and "history.unreadable" in loaded.warning
    assert not path.exists()
    assert (tmp_path / "history.unreadable").read_bytes() == content


def test_any_bit_that_flips_is_noticed_or_harmless(tmp_path: Path) -> None:
    good = checkpoint_bytes(tmp_path)
    path = tmp_path / "history"
    want = history()
    path.write_bytes(good)
    want.load(path, 800.0)
    for place in range(0, len(good), 7):
        path.write_bytes(good[:place] + bytes([good[place] ^ 0x10]) + good[place + 1 :])
        store = history()
        if store.load(path, 800.0).warning is None:
            assert samples(store, UP) == samples(want, UP)


def test_a_save_that_fails_leaves_the_file_before(tmp_path: Path) -> None:
    store = history()
    store.append("c", [block(UP, {"1": 1})], 1_000)
    path = saved(tmp_path, store)
    before = path.read_bytes()
    (tmp_path / "history.tmp").mkdir()
    with pytest.raises(OSError):
        store.save(path)
    assert path.read_bytes() == before


def test_saving_while_others_append_saves_one_moment(tmp_path: Path) -> None:
    store = history(300)
    labels = LabelSets(("broker",), [(str(i),) for i in range(20)])
    done = threading.Event()

    def write() -> None:
        step = 0
        while not done.is_set() and step < 8_000:
            step += 1
            values = np.full(20, float(step))
            store.append("c", [Block(UP, labels, values), Block(LAG, labels, values)], step * 5)

    writer = threading.Thread(target=write)
    writer.start()
    while not store.stats().series:
        pass
    try:
        for _ in range(5):
            again = history(300)
            assert again.load(saved(tmp_path, store), 300).warning is None
            up, lag = samples(again, UP), samples(again, LAG)
            assert up == lag and len(up) == 20
            assert all(one == up["0"] for one in up.values())
    finally:
        done.set()
        writer.join()


def test_of_a_chunk_only_the_series_with_a_sample_in_it_are_written(tmp_path: Path) -> None:
    store = history(7_200)
    for step in range(600):
        alive = range(1, 64, 2) if step >= 300 else range(64)
        store.append("c", [block(UP, {str(n): step * n for n in alive})], step * 15_000)
    path = saved(tmp_path, store)
    with path.open("rb") as file:
        file.readline()
        record = checkpoint._read_record(file)
    assert record is not None
    columns = [columns for _, _, columns in json.loads(record[0])["chunks"]]
    assert columns[0] == 64 and columns[-1] == 32
    again = history(7_200)
    assert again.load(path, 9_000.0).series == store.stats().series
    want, got = (one.select(name(UP), 2_000_000, 8_985_000) for one in (store, again))
    assert [(s.labels, s.timestamps.tolist(), s.values.tobytes()) for s in want] == [
        (s.labels, s.timestamps.tolist(), s.values.tobytes()) for s in got
    ]
