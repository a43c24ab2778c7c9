"""Recorded faults and healthy operations of real clusters, replayed through the shipped rules as they were, and with gaps, restarts and silent collectors.

``python -m tests.record`` makes the traces.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from alerts.book.book import Book
from alerts.engine.engine import NoBook
from alerts.engine.lifecycle import Change, Happened
from alerts.engine.rules import RuleSet
from alerts.model import Severity
from alerts.promql.evaluate import Evaluator
from alerts.promql.parse import parse
from alerts.promql.values import Vector
from exporter.metrics.catalogue import KAFKA_ROWS, Owner, jmx_rows
from exporter.reading import Coverage
from klaxon.config import build
from tests.replay import TRACES, Frame, Replay, read_trace, silenced, with_gaps, with_limits

PAGING = ("warning", "critical")
EXPECTED = {
    "broker-killed": {"KafkaBrokerDown"},
    "broker-hung": {"KafkaBrokerDown"},
    "controller-killed": {"KafkaBrokerDown"},
    "single-replica-topic": {"KafkaBrokerDown", "KafkaLeaderless"},
    "log-dir-failed": {"KafkaLogDirFailed"},
    "quorum-lost": {"KafkaNoController"},
    "broker-stopped": {"KafkaBrokerStopped"},
}
"""Alerts at warning or above that must fire when a fault is replayed as it was; further ones are explained by the same incident."""

WHOLE = {"broker-killed", "broker-stopped"}
"""Traces that hold every metric: exactly the expected alerts fire. The others were recorded when there were few."""

OPERATIONS = TRACES / "operations"
IMBALANCE = "kafka_controller_kafkacontroller_preferredreplicaimbalancecount"
BYTES_IN = "sum by (cluster) (rate(kafka_server_brokertopicmetrics_bytesin_total[1m]))"
HAPPENED = {
    "rolling-clean-restart": "count by (cluster) (changes(process_start_time_seconds[10m]) == 1) == 3",
    "creation-and-deletion-of-ten-topics": "max_over_time(kafka_partitions[10m]) >= kafka_partitions + 60",
    "preferred-election": f"max_over_time({IMBALANCE}[10m]) > 0 and {IMBALANCE} == 0",
    "reassignment-with-a-throttle": "max_over_time(kafka_reassigning_partitions[10m]) == 3 and kafka_reassigning_partitions == 0",
    "deploy-of-consumers": """
        max_over_time(kafka_consumergroup_epoch{consumergroup="warehouse"}[10m])
        >= min_over_time(kafka_consumergroup_epoch{consumergroup="warehouse"}[10m]) + 4
        and on (cluster) max_over_time(kafka_consumergroup_state{consumergroup="billing", state!="Stable"}[10m]) == 1
    """,
    "scale-out-of-groups": 'max_over_time(kafka_consumergroup_members{consumergroup="warehouse"}[10m]) == 3',
    "compaction": 'resets(kafka_broker_topic_size_bytes{topic="compacted"}[10m]) > 0',
    "burst-of-produce-traffic": f"max_over_time({BYTES_IN}[10m:15s]) > 5 * {BYTES_IN}",
    "scale-out-by-a-broker": "count by (cluster) (kafka_broker_up == 1) == 4",
}
"""What is true at the end of an operation's trace because it took place: a trace in which nothing happened would prove nothing."""


def owned_by(collector: str) -> tuple[str, ...]:
    return tuple(r.name for r in (*KAFKA_ROWS, *jmx_rows()) if Owner(collector) in r.inputs)


@pytest.fixture(scope="module")
def rules() -> RuleSet:
    return build({"clusters": {"demo": {"bootstrap_servers": ["kafka:9092"]}}}, Path.cwd()).rules


def traces() -> list[Path]:
    return sorted(TRACES.glob("*.jsonl.gz"))


def recorded(path: Path) -> list[Frame]:
    """A trace's frames. The first ones were recorded before verdicts on departures had a coverage of their own: it is that of the brokers' view."""
    return [replace(f, coverage=_with_departures(f.coverage)) for f in with_limits(read_trace(path))]


def _with_departures(coverage: Coverage) -> Coverage:
    if "departures" in coverage.expected:
        return coverage
    return replace(
        coverage,
        taken_at={**coverage.taken_at, "departures": coverage.taken_at.get("cluster", {})},
        expected={**coverage.expected, "departures": coverage.expected["cluster"]},
    )


SEEDS = st.integers(0, 2**32 - 1).map(random.randrange(2**32).__xor__)
"""Hypothesis begins with the smallest number, which is another one in each run of the tests."""


class Books:
    """A new book on the same file at each restart, as a new process has it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: Book | None = None

    def __call__(self) -> Book:
        if self._open is not None:
            self._open.close()
        self._open = Book(self._folder)
        return self._open


def paged(changes: Sequence[tuple[float, Change]]) -> Iterator[tuple[float, Change]]:
    return ((at, change) for at, change in changes if change.alert.severity in PAGING)


def values(frame: Frame, metric: str, **labels: str) -> Iterator[float]:
    """Of the series that have these labels."""
    for block in frame.blocks:
        if block.metric == metric:
            for row, value in zip(block.labels.rows, block.values.tolist(), strict=True):
                if labels.items() <= dict(zip(block.labels.names, row, strict=True)).items():
                    yield value


def healed_at(frames: Sequence[Frame], change: Change) -> float | None:
    """The last moment at which the broker that an alert speaks of was away; one that starts (its JMX answers) is no longer stopped."""
    broker = change.alert.labels.get("broker", "")
    starts, away = False, None
    for frame in frames:
        for answers in values(frame, "kafka_broker_leg", broker=broker, leg="jmx", state="ok"):
            starts = change.alert.rule == "KafkaBrokerStopped" and answers == 1
        if not starts and 0 in values(frame, "kafka_broker_up", broker=broker):
            away = frame.at
    return away


def faults() -> list[Any]:
    return [pytest.param(p, id=p.name.partition(".")[0]) for p in traces()]


@pytest.mark.parametrize("path", faults())
def test_as_it_was_the_right_alerts_fire_once_and_resolve(path: Path, rules: RuleSet, tmp_path: Path) -> None:
    name = path.name.partition(".")[0]
    replay = Replay(rules, Books(tmp_path))
    changes = list(paged(replay.run(recorded(path))))
    fired = Counter(c.alert.fingerprint for _, c in changes if c.happened is Happened.FIRING)
    fired_rules = {c.alert.rule for _, c in changes if c.happened is Happened.FIRING}
    assert fired_rules >= EXPECTED[name]
    assert set(fired.values()) <= {1}, "an alert fired twice"
    if name in WHOLE:
        assert fired_rules == EXPECTED[name]
        assert not [a for a in replay.engine.alerts() if a.active and a.severity in PAGING], "something did not resolve"


def operations() -> list[Any]:
    return [pytest.param(p, id=p.name.partition(".")[0]) for p in sorted(OPERATIONS.glob("*.jsonl.gz"))]


def test_each_healthy_operation_is_recorded() -> None:
    assert {path.name.partition(".")[0] for path in OPERATIONS.glob("*.jsonl.gz")} == HAPPENED.keys()


def whole_history(replay: Replay) -> Replay:
    """So that the end of a trace can be asked about all of it."""
    replay.history.keep(dict.fromkeys(replay.history.kept, 3600.0))
    return replay


@pytest.mark.parametrize("path", operations())
def test_a_healthy_operation_fires_nothing(path: Path, rules: RuleSet) -> None:
    frames = recorded(path)
    replay = whole_history(Replay(rules, NoBook))
    changes = replay.run(frames)
    happened = Evaluator(replay.history).evaluate(parse(HAPPENED[path.name.partition(".")[0]]), frames[-1].at)
    assert isinstance(happened, Vector) and len(happened), "the operation does not show in its trace"
    firing = [(at, change.alert) for at, change in changes if change.happened is Happened.FIRING]
    print("info:", sorted({a.rule for _, a in firing if a.severity is Severity.INFO}) or "nothing")
    told = [f"{at - frames[0].at:.0f} s: {a.rule} {a.subject} ({a.value})" for at, a in firing if a.severity in PAGING]
    assert not told
    assert not [status.rule.name for group in replay.engine.status() for status in group.rules if status.error]


def some(paths: Iterable[Any], *often: str) -> list[Any]:
    """All of them for ``make proof``, and those that are named in every run."""
    return [pytest.param(*p.values, id=p.id, marks=() if p.id in often else pytest.mark.proof) for p in paths]


@pytest.mark.parametrize("path", some(operations(), "rolling-clean-restart", "compaction", "scale-out-by-a-broker"))
@settings(max_examples=1, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=SEEDS)
@example(seed=9)  # After a restart that hides in a gap one counter is reset and another one is not.
def test_a_healthy_operation_fires_nothing_with_gaps_and_restarts_either(
    path: Path, rules: RuleSet, tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    rng = random.Random(seed)
    replay = Replay(rules, Books(tmp_path_factory.mktemp("book")), restart_at=lambda _: rng.random() < 0.02)
    changes = paged(replay.run(with_gaps(recorded(path), rng, share=0.2)))
    assert not [(at, change.alert.rule) for at, change in changes if change.happened is Happened.FIRING]


@pytest.mark.parametrize("path", some(faults(), "broker-killed", "broker-hung", "quorum-lost"))
@settings(max_examples=1, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=SEEDS)
@example(seed=2_147_483_647)  # A collector that is silent, and answers before its next samples come.
def test_with_gaps_restarts_and_silence_nothing_false_is_said(
    path: Path, rules: RuleSet, tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    rng = random.Random(seed)
    whole = recorded(path)
    begin = rng.uniform(whole[0].at, whole[-1].at)
    collector = rng.choice(["cluster", "topics"])
    end = begin + rng.uniform(10, 120)
    frames = silenced(whole, collector, begin, end, owned_by(collector))
    if collector == "cluster":
        frames = silenced(frames, "departures", begin, end, ())
    replay = Replay(rules, Books(tmp_path_factory.mktemp("book")), restart_at=lambda _: rng.random() < 0.02)
    replay.run(list(with_gaps(frames, rng, share=0.2)))
    firing: set[str] = set()
    for at, change in paged(replay.changes):
        key, alert = change.alert.fingerprint, change.alert
        if change.happened is Happened.FIRING:
            assert key not in firing, "two firings without a resolve"
            firing.add(key)
            hold = next(r.for_ for r in rules.alerting if r.name == alert.rule)
            assert alert.fired_at is not None
            assert alert.fired_at - alert.active_at >= hold - 1e-6, "fired before its `for`"
        if change.happened is Happened.RESOLVED and key in firing:
            firing.discard(key)
            down_until = healed_at(whole, change) if alert.rule in ("KafkaBrokerDown", "KafkaBrokerStopped") else None
            assert down_until is None or at > down_until, "resolved while the broker was still away"
