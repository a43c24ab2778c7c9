"""The rule loop on a real history and a real book: grid, coverage, windows, restarts, failures."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from alerts.book import Book
from alerts.engine.engine import Engine, StoredAlert
from alerts.engine.lifecycle import Change, Happened
from alerts.engine.rules import RuleFile, RuleSet, load_rules, phase
from alerts.model import Alert, AlertState
from alerts.promql.evaluate import Evaluator
from alerts.promql.parse import parse
from alerts.promql.store import MemoryStore
from alerts.promql.syntax import Expr
from alerts.promql.values import Value
from exporter.blocks import Block, LabelSets
from exporter.metrics.catalogue import KAFKA_ROWS, PROCESS_ROWS, MetricRow, MetricType, Owner, by_name
from exporter.reading import WHOLE_CLUSTER, Coverage
from exporter.series import Labels
from tests.replay import Frame, Recorder, Replay, read_trace, silenced, with_gaps

CATALOGUE: Mapping[str, MetricRow] = {
    **by_name([*KAFKA_ROWS, *PROCESS_ROWS]),
    "jmx_heap": MetricRow("jmx_heap", "", MetricType.GAUGE, ("broker",), (Owner.JMX,)),
    "jmx_bytes_total": MetricRow("jmx_bytes_total", "", MetricType.COUNTER, ("broker",), (Owner.JMX,)),
}
T0 = 1_700_000_010.0 + phase("r.yaml", "g", 15.0)  # on the group's grid of 15 s
BROKERS = (1, 2, 3)


def rules(*rule: str, interval: str = "15s") -> RuleSet:
    body = "\n".join("  - " + "\n    ".join(one.strip().splitlines()) for one in rule)
    return load_rules(
        [RuleFile("r.yaml", f"groups:\n- name: g\n  interval: {interval}\n  rules:\n{body}\n")], CATALOGUE
    )


def block(metric: str, values: Mapping[int, float]) -> Block:
    return Block(
        metric, LabelSets(("broker",), [(str(b),) for b in values]), np.array(list(values.values()), dtype=np.float64)
    )


def frame(at: float, heap: Mapping[int, float], *, brokers: int | None = None, age: float = 1.0) -> Frame:
    """A moment: the heap of the brokers whose JMX answered, all of them expected."""
    coverage = Coverage(
        "c",
        at,
        {"jmx": dict.fromkeys(heap, at - age), "cluster": {WHOLE_CLUSTER: at - age}, "self": {WHOLE_CLUSTER: at}},
        {"jmx": frozenset(BROKERS), "cluster": frozenset({WHOLE_CLUSTER})},
    )
    count = LabelSets((), ((),))
    covered = Block(
        "klaxon_collector_covered",
        LabelSets(("collector", "source"), [("jmx", str(b)) for b in BROKERS]),
        np.array([float(b in heap) for b in BROKERS]),
    )
    blocks = [block("jmx_heap", heap), block("jmx_bytes_total", {b: (at - T0) * v for b, v in heap.items()}), covered]
    blocks.append(Block("kafka_brokers", count, np.array([float(len(BROKERS) if brokers is None else brokers)])))
    return Frame(at, "c", tuple(blocks), coverage)


HEAP = """alert: Heap
expr: jmx_heap > 0.9
for: 30s
labels: {severity: warning, subject: "broker/{{ $labels.broker }}"}
annotations: {summary: "{{ $value | humanizePercentage }} of {{ $labels.broker }}"}"""


class Run:
    """A replay that is driven frame by frame."""

    def __init__(self, rule_set: RuleSet, folder: Path) -> None:
        self.folder = folder
        self.books: list[Book] = []
        self.at = T0 - 15
        self.replay = Replay(rule_set, self._book, now=self.at)

    def _book(self) -> Book:
        for book in self.books:
            book.close()
        self.books.append(Book(self.folder, lambda: self.at))
        return self.books[-1]

    def step(self, heap: Mapping[int, float], steps: int = 1, **more: float) -> None:
        for _ in range(steps):
            self.at += 15
            self.replay.feed(frame(self.at, heap, **more))  # type: ignore[arg-type]

    @property
    def happened(self) -> list[tuple[str, str]]:
        return [(c.happened.value, c.alert.labels.get("broker", "")) for _, c in self.replay.changes]

    def alert(self, broker: str) -> Alert:
        (found,) = [a for a in self.replay.engine.alerts() if a.labels.get("broker", "") == broker]
        return found


WELL = {1: 0.5, 2: 0.5, 3: 0.5}


def test_an_alert_from_pending_to_resolved_with_its_labels_and_series(tmp_path: Path) -> None:
    run = Run(rules(HEAP), tmp_path)
    run.step(WELL)
    run.step({**WELL, 2: 0.95}, 3)
    alert = run.alert("2")
    assert dict(alert.labels) == {
        "alertname": "Heap",
        "broker": "2",
        "cluster": "c",
        "severity": "warning",
        "subject": "broker/2",
    }
    assert alert.annotations == {"summary": "95% of 2"}
    assert (alert.state, alert.active_at, alert.fired_at) == (AlertState.FIRING, T0 + 15, T0 + 45)
    shown = Evaluator(run.replay.history).evaluate(_expr("ALERTS"), run.at)
    assert [(dict(s.labels)["alertstate"], s.value) for s in shown] == [("firing", 1.0)]  # type: ignore[union-attr]
    run.step(WELL)
    assert run.happened == [("pending", "2"), ("firing", "2"), ("resolved", "2")]
    assert not len(Evaluator(run.replay.history).evaluate(_expr("ALERTS"), run.at))  # type: ignore[arg-type]


def test_only_the_silent_brokers_alert_is_held(tmp_path: Path) -> None:
    run = Run(rules(HEAP), tmp_path)
    run.step({**WELL, 1: 0.95, 2: 0.95}, 4)
    run.step({1: 0.5, 3: 0.5}, 3)
    assert run.happened[-2:] == [("held", "2"), ("resolved", "1")] or run.happened[-2:] == [
        ("resolved", "1"),
        ("held", "2"),
    ]
    held = run.alert("2")
    assert (held.state, held.held_inputs, held.held_since) == (
        AlertState.FIRING,
        ("jmx of broker 2 (cluster c)",),
        T0 + 60,
    )
    run.step(WELL)
    assert run.happened[-1] == ("resolved", "2")


def test_a_rule_over_all_brokers_is_held_by_any_of_them(tmp_path: Path) -> None:
    run = Run(rules("alert: All\nexpr: max by (cluster) (jmx_heap) > 0.9"), tmp_path)
    run.step({**WELL, 1: 0.95})
    run.step({1: 0.5, 3: 0.5})
    assert run.happened[-1] == ("held", "")


def test_an_alert_of_one_broker_that_asks_all_of_them_is_held_by_any(tmp_path: Path) -> None:
    run = Run(
        rules("alert: Most\nexpr: jmx_heap > 0.9 and on (cluster) min by (cluster) (jmx_bytes_total) >= 0"), tmp_path
    )
    run.step({**WELL, 1: 0.95}, 2)
    run.step({1: 0.5, 3: 0.5})
    assert run.happened[-1] == ("held", "1")


def test_nothing_fires_from_absence_without_coverage(tmp_path: Path) -> None:
    run = Run(rules("alert: Few\nexpr: count by (cluster) (jmx_heap) < 3"), tmp_path)
    run.step({1: 0.5, 3: 0.5}, 5)
    assert run.happened == []
    run.replay.run(
        [
            replace(f, blocks=(*(b for b in f.blocks if b.metric != "jmx_heap"), block("jmx_heap", {1: 1.0})))
            for f in _frames(5, run.at)
        ]
    )
    assert run.happened == [("pending", ""), ("firing", "")]


def _frames(count: int, after: float, heap: Mapping[int, float] = WELL) -> list[Frame]:
    return [frame(after + 15 * (i + 1), heap) for i in range(count)]


def _expr(text: str) -> Expr:

    return parse(text)


def test_a_rule_over_a_window_waits_until_half_of_it_is_covered(tmp_path: Path) -> None:
    run = Run(rules("alert: Busy\nexpr: rate(jmx_bytes_total[4m]) > 0.9"), tmp_path)
    run.step({**WELL, 2: 5.0}, 7)
    assert run.alert("2").state is AlertState.PENDING
    assert run.alert("2").held_inputs == ("half of 4m of jmx (cluster c)",)
    run.step({**WELL, 2: 5.0}, 2)
    assert run.alert("2").state is AlertState.FIRING


def test_a_stopped_publisher_covers_nothing(tmp_path: Path) -> None:
    run = Run(rules(HEAP, "alert: Gone\nexpr: absent(jmx_heap)"), tmp_path)
    run.step({**WELL, 2: 0.95}, 4)
    engine = run.replay.engine
    for at in range(15, 1200, 15):
        engine.evaluate_due(run.at + at)
    alert = run.alert("2")
    assert (alert.active, alert.held_since is not None) == (True, True)
    assert {a.rule for a in engine.alerts()} == {"Heap"}


def test_recorded_series_are_seen_by_later_rules_at_the_same_time_and_end(tmp_path: Path) -> None:
    run = Run(
        rules(
            "record: hot:brokers\nexpr: count by (cluster) (jmx_heap > 0.9)\nlabels: {kind: heap}",
            "alert: Hot\nexpr: hot:brokers >= 2",
        ),
        tmp_path,
    )
    run.step({**WELL, 1: 0.95, 2: 0.95})
    assert run.happened == [("pending", ""), ("firing", "")]
    assert run.alert("").labels["kind"] == "heap"
    run.step(WELL)
    assert run.happened[-1] == ("resolved", "")


class Failing:
    """A querier that fails for one metric."""

    def __init__(self, inner: Evaluator, metric: str) -> None:
        self.inner, self.metric, self.on = inner, metric, True

    def evaluate(self, expr: Expr, at: float) -> Value:
        if self.on and self.metric in repr(expr):
            raise ZeroDivisionError("broken")
        return self.inner.evaluate(expr, at)


def test_a_rule_that_fails_holds_its_alerts_and_harms_no_other(tmp_path: Path) -> None:
    rule_set = rules(HEAP, "alert: Down\nexpr: kafka_brokers < 3")
    run = Run(rule_set, tmp_path)
    run.step({**WELL, 2: 0.95}, 4)
    querier = Failing(Evaluator(run.replay.history), "jmx_heap")
    engine = Engine(
        rule_set,
        querier,
        lambda: dict(run.replay.coverage),
        Book(tmp_path / "other", lambda: run.at),
        lambda: run.at,
        sink=run.replay.history,
    )
    querier.on = False
    engine.evaluate_due(run.at)
    run.replay.engine = engine
    run.step({**WELL, 2: 0.95}, 2)
    querier.on = True
    run.step(WELL, 3, brokers=2)
    heap, down = engine.status()[0].rules
    assert (heap.failures, heap.error, heap.alerts[0].active) == (3, "ZeroDivisionError: broken", True)
    assert heap.alerts[0].held_inputs == ("the rule's evaluation failed: ZeroDivisionError: broken",)
    assert (down.error, [a.state for a in down.alerts]) == ("", [AlertState.FIRING])
    querier.on = False
    run.step(WELL)
    assert {a.rule: a.state for a in engine.alerts()}["Heap"] is AlertState.RESOLVED


def test_two_results_that_become_one_fail_the_rule_and_a_limit_does(tmp_path: Path) -> None:
    same = load_rules(
        [
            RuleFile(
                "r.yaml",
                "groups:\n- name: g\n  limit: 1\n  rules:\n  - {alert: Same, expr: jmx_heap, labels: {broker: all}}\n  - {alert: Many, expr: jmx_heap}\n",
            )
        ],
        CATALOGUE,
    )
    run = Run(same, tmp_path)
    run.step(WELL)
    first, second = run.replay.engine.status()[0].rules
    assert "the same labels" in first.error
    assert second.error == "the rule gives 3 alerts, its group's limit is 1"
    assert run.happened == []


def test_groups_run_on_their_own_grid_and_missed_ticks_are_skipped(tmp_path: Path) -> None:
    rule_set = load_rules(
        [
            RuleFile(
                "r.yaml",
                "groups:\n- {name: a, interval: 5s, rules: [{record: a, expr: vector(1)}]}\n- {name: b, interval: 15s, rules: [{record: b, expr: vector(1)}]}\n",
            )
        ],
        CATALOGUE,
    )
    first, second = rule_set.groups
    assert (first.phase, second.phase) == (phase("r.yaml", "a", 5.0), phase("r.yaml", "b", 15.0))
    rule_set = RuleSet((replace(first, phase=0.0), replace(second, phase=4.0)))
    seen: list[tuple[str, int]] = []
    start = 1_700_000_010.0

    class Sink:
        def append_series(self, name: str, rows: Iterable[tuple[Labels, float]], at_ms: int, source: str = "") -> None:
            seen.append((name, at_ms // 1000 - int(start)))

    engine = Engine(rule_set, Evaluator(MemoryStore()), dict, Book(tmp_path), lambda: start, sink=Sink())
    assert engine.next_due(start + 1) == start + 1
    for at in (0.0, 0.5, 4.9, 5.2, 14.9, 15.0, 61.0, 61.1):
        engine.evaluate_due(start + at)
    assert seen == [("a", 0), ("b", -11), ("b", 4), ("a", 5), ("a", 10), ("a", 15), ("a", 60), ("b", 49)]
    assert engine.next_due(start + 61.1) == start + 64
    engine.evaluate_due(start - 3600)
    assert seen[-2:] == [("a", -3600), ("b", -3611)]


def test_the_phases_of_groups_spread_over_the_interval() -> None:
    phases = [phase("r.yaml", f"group {i}", 15.0) for i in range(300)]
    assert set(phases) == {float(second) for second in range(15)}
    assert {phase("r.yaml", "g", 0.5), phase("r.yaml", "g", 1.0)} == {0.0}


def test_since_when_an_alert_is_active_is_a_series_too_and_ends_with_it(tmp_path: Path) -> None:
    run = Run(rules(HEAP), tmp_path)
    run.replay.history.keep({**run.replay.history.kept, "ALERTS_FOR_STATE": 3600.0})
    run.step({**WELL, 2: 0.95}, 2)
    (since,) = Evaluator(run.replay.history).evaluate(_expr("ALERTS_FOR_STATE"), run.at)  # type: ignore[misc]
    assert dict(since.labels) == {**run.alert("2").labels, "__name__": "ALERTS_FOR_STATE"}
    assert since.value == run.alert("2").active_at == T0
    run.replay.now = run.at + 1
    run.replay.engine.reload(RuleSet())
    assert not len(Evaluator(run.replay.history).evaluate(_expr("ALERTS_FOR_STATE"), run.at + 1))  # type: ignore[arg-type]


def test_a_recorded_series_ends_when_its_element_vanishes_and_when_its_rule_is_removed(tmp_path: Path) -> None:
    recording = rules("record: heap:max\nexpr: max by (broker) (jmx_heap)")
    run = Run(recording, tmp_path)
    run.replay.history.keep({**run.replay.history.kept, "heap:max": 3600.0})

    def brokers() -> list[str]:
        found = Evaluator(run.replay.history).evaluate(_expr("heap:max"), run.at + 1)
        return [s.labels["broker"] for s in found]  # type: ignore[union-attr]

    run.step(WELL)
    assert brokers() == ["1", "2", "3"]
    run.step({1: 0.5, 3: 0.5})
    assert brokers() == ["1", "3"]
    run.replay.now = run.at + 1
    run.replay.engine.reload(RuleSet())
    assert brokers() == []


@pytest.mark.parametrize("rule", ["record: a\nexpr: jmx_heap", "alert: A\nexpr: jmx_heap"])
def test_more_than_the_limit_is_a_failed_rule(rule: str, tmp_path: Path) -> None:
    limited = RuleSet(tuple(replace(g, limit=2) for g in rules(rule).groups))
    run = Run(limited, tmp_path)
    run.step(WELL)
    ((group,),) = [run.replay.engine.status()]
    assert "its group's limit is 2" in group.rules[0].error
    run.step({1: 0.5, 2: 0.5})
    assert run.replay.engine.status()[0].rules[0].error == ""


def test_a_reload_keeps_alerts_of_rules_that_stay_and_ends_the_others(tmp_path: Path) -> None:
    run = Run(rules(HEAP, "alert: Down\nexpr: kafka_brokers < 3"), tmp_path)
    run.step({**WELL, 2: 0.95}, 4, brokers=2)
    fired = run.alert("2").fired_at
    changes = run.replay.engine.reload(rules(HEAP.replace("0.9", "0.8")))
    assert [(c.happened, c.alert.rule) for c in changes] == [(Happened.RESOLVED, "Down")]
    run.step({**WELL, 2: 0.85})
    assert (run.alert("2").fired_at, run.alert("2").state) == (fired, AlertState.FIRING)
    assert {a.rule: a.state.value for a in run.replay.engine.alerts()} == {"Heap": "firing", "Down": "resolved"}
    run.step(WELL, 70)
    assert run.replay.engine.alerts() == ()
    assert run.books[-1].load_alerts() == []


def test_the_alerts_of_a_cluster_that_is_no_longer_configured_end(tmp_path: Path) -> None:
    run = Run(rules(HEAP), tmp_path)
    run.step({**WELL, 2: 0.95}, 4)
    assert [c.happened for c in run.replay.engine.keep_clusters({"c"})] == []
    assert [c.happened for c in run.replay.engine.keep_clusters({"d"})] == [Happened.RESOLVED]


# --- the book ---------------------------------------------------------------------------------------------------------------------------------


def identity(alerts: Iterable[Alert]) -> set[tuple[str, float, float | None, str]]:
    return {(a.fingerprint, a.active_at, a.fired_at, a.state.value) for a in alerts}


def test_whatever_was_told_is_in_the_book_already(tmp_path: Path) -> None:
    """Killed at any point between the book and the sending, the next process says the same of every alert."""
    run = Run(rules(HEAP), tmp_path)
    rng = random.Random(7)
    for _ in range(120):
        run.step({b: rng.choice((0.5, 0.95, 0.95)) for b in BROKERS if rng.random() < 0.9})
        before = identity(run.replay.engine.alerts())
        run.replay.start()
        assert identity(run.replay.engine.alerts()) == before


def test_the_book_is_written_before_changes_are_given(tmp_path: Path) -> None:
    run = Run(rules(HEAP), tmp_path)
    told: list[Sequence[Change]] = []
    for heap in [{**WELL, 2: 0.95}] * 4 + [WELL]:
        run.at += 15
        one = frame(run.at, heap)
        run.replay.coverage["c"] = one.coverage
        run.replay.history.append("c", one.blocks, round(one.at * 1000))
        changes = run.replay.engine.evaluate_due(run.at)
        told.append(changes)
        stored = {s.tracked.alert.fingerprint: s.tracked.alert.state for s in run.books[-1].load_alerts()}
        assert all(
            stored[c.alert.fingerprint] is c.alert.state
            for c in changes
            if c.happened in (Happened.FIRING, Happened.RESOLVED)
        )
    assert [c.happened.value for cs in told for c in cs] == ["pending", "firing", "resolved"]


def test_an_outage_of_klaxon(tmp_path: Path) -> None:
    for outage, moved in ((240.0, 0.0), (1000.0, 1000.0 - 10.0)):
        run = Run(rules(HEAP.replace("30s", "10m")), tmp_path / str(outage))
        run.step({**WELL, 2: 0.95}, 4)
        begun = run.alert("2").active_at
        run.at = run.at + outage - 15
        run.replay.now = run.at
        run.replay.start()
        run.replay.start()  # killed again before it evaluated anything
        run.step({**WELL, 2: 0.95})
        assert run.alert("2").active_at - begun == pytest.approx(moved, abs=15)


def test_alerts_of_rules_that_are_gone_at_the_start_end(tmp_path: Path) -> None:
    run = Run(rules(HEAP), tmp_path)
    run.step({**WELL, 2: 0.95}, 4)
    other = Replay(rules("alert: Down\nexpr: kafka_brokers < 3"), lambda: Book(tmp_path), now=run.at)
    assert [(c.happened.value, c.alert.rule) for _, c in other.changes] == [("resolved", "Heap")]


class Broken:
    """A book that cannot be written."""

    def __init__(self) -> None:
        self.tries = 0

    def load_alerts(self) -> list[StoredAlert]:
        return []

    def load_evaluations(self) -> dict[str, float]:
        return {}

    def save_alerts(self, written: Sequence[StoredAlert], removed: object, evaluations: object) -> None:
        self.tries += 1
        raise OSError("disk full")


def test_without_a_book_it_goes_on(tmp_path: Path) -> None:
    book = Broken()
    replay = Replay(rules(HEAP), lambda: book)
    replay.run(frame(T0 + 15 * i, {**WELL, 2: 0.95}) for i in range(4))
    assert [c.happened.value for _, c in replay.changes] == ["pending", "firing"]
    assert book.tries == 5


# --- traces -----------------------------------------------------------------------------------------------------------------------------------


def fault(rng: random.Random) -> Iterator[Frame]:
    """Two brokers whose heap fills and is well again, at random."""
    level = {1: 0.5, 2: 0.5, 3: 0.5}
    for i in range(240):
        for broker in (1, 2):
            if rng.random() < 0.06:
                level[broker] = 0.95 if level[broker] == 0.5 else 0.5
        yield frame(T0 + 15 * i, dict(level), age=rng.choice((1.0, 10.0, 20.0, 40.0)))


def test_a_trace_is_read_as_it_was_written(tmp_path: Path) -> None:
    frames = list(fault(random.Random(1)))[:20]
    recorder = Recorder(tmp_path / "t.jsonl.gz", {"jmx_heap", "kafka_brokers"})
    for one in frames:
        recorder.frame(one)
    recorder.close()
    for one, again in zip(frames, read_trace(tmp_path / "t.jsonl.gz"), strict=True):
        assert (again.at, again.cluster, again.coverage) == (one.at, one.cluster, one.coverage)
        kept = [b for b in one.blocks if b.metric in ("jmx_heap", "kafka_brokers")]
        for a, b in zip(kept, again.blocks, strict=True):
            assert (a.metric, a.labels.names, list(a.labels.rows), a.values.tolist()) == (
                b.metric,
                b.labels.names,
                list(b.labels.rows),
                b.values.tolist(),
            )


@pytest.mark.parametrize("seed", range(12))
def test_replayed_with_gaps_restarts_and_silence_nothing_false_is_said(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    frames: Iterable[Frame] = list(fault(rng))
    for source in (1, 2):
        start = T0 + rng.randrange(0, 3000)
        frames = silenced(frames, "jmx", start, start + rng.randrange(60, 900), ("jmx_heap", "jmx_bytes_total"), source)
    frames = list(with_gaps(frames, rng, share=0.3))
    truth = {f.at: dict(zip(*_heap(f), strict=True)) for f in frames}
    taken = {f.at: f.coverage.taken_at["jmx"] for f in frames}
    books: list[Book] = []

    def book() -> Book:
        for old in books:
            old.close()
        books.append(Book(tmp_path))
        return books[-1]

    replay = Replay(rules(HEAP), book, restart_at=lambda at: rng.random() < 0.1)
    replay.run(frames)
    firing: dict[str, bool] = {}
    for at, change in replay.changes:
        broker = change.alert.labels["broker"]
        if change.happened is Happened.FIRING:
            assert not firing.get(broker), "two firings without a resolve"
            assert truth[at][broker] > 0.9
            firing[broker] = True
        if change.happened is Happened.RESOLVED:
            assert truth[at][broker] <= 0.9, "resolved without evidence"
            last_true = max(t for t in truth if t < at and truth[t].get(broker, 0) > 0.9)
            assert taken[at][int(broker)] > last_true
            firing[broker] = False
    assert any(c.happened is Happened.FIRING for _, c in replay.changes)


def _heap(one: Frame) -> tuple[list[str], list[float]]:
    (found,) = [b for b in one.blocks if b.metric == "jmx_heap"]
    return [row[0] for row in found.labels.rows], found.values.tolist()


# --- against Prometheus -----------------------------------------------------------------------------------------------------------------------

PROMTOOL = os.environ.get("PROMTOOL") or shutil.which("promtool")


@pytest.mark.prometheus
@pytest.mark.skipif(PROMTOOL is None, reason="no promtool")
@pytest.mark.parametrize("seed", range(6))
def test_without_gaps_the_same_alerts_fire_as_in_prometheus(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    steps = 60
    levels = {b: [rng.choice((0.5, 0.95)) if i % 3 == 0 else -1.0 for i in range(steps)] for b in BROKERS}
    for values in levels.values():
        for i in range(1, steps):
            values[i] = values[i - 1] if values[i] < 0 or rng.random() < 0.5 else values[i]
        values[0] = abs(values[0])
    waits = rng.choice(("0s", "15s", "45s"))
    keeps = rng.choice(("0s", "30s", "1m"))
    text = {
        "alert": "Heap",
        "expr": "jmx_heap > 0.9",
        "for": waits,
        "keep_firing_for": keeps,
        "labels": {"subject": "b/{{ $labels.broker }}"},
    }
    if keeps == "0s":
        del text["keep_firing_for"]
    content = yaml.safe_dump({"groups": [{"name": "g", "interval": "15s", "rules": [text]}]})
    (tmp_path / "rules.yml").write_text(content)
    replay = Replay(load_rules([RuleFile("rules.yml", content)], CATALOGUE), lambda: Book(tmp_path))
    tests = []
    for i in range(steps):
        replay.feed(frame(T0 + 15 * i, {b: levels[b][i] for b in BROKERS}))
        firing = [
            {"exp_labels": {k: v for k, v in a.labels.items() if k != "alertname"}}
            for a in replay.engine.alerts()
            if a.active
        ]
        tests.append({"eval_time": f"{15 * i}s", "alertname": "Heap", "exp_alerts": firing})
    series = [
        {"series": f'jmx_heap{{broker="{b}",cluster="c"}}', "values": " ".join(map(str, values))}
        for b, values in levels.items()
    ]
    case = {"interval": "15s", "input_series": series, "alert_rule_test": tests}
    (tmp_path / "test.yml").write_text(
        yaml.safe_dump({"rule_files": ["rules.yml"], "evaluation_interval": "15s", "tests": [case]}, width=100_000)
    )
    done = subprocess.run(
        [str(PROMTOOL), "test", "rules", "test.yml"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    assert any(t["exp_alerts"] for t in tests)
