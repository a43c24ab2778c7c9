"""Recorded faults of real clusters, replayed through the shipped rules as they were, and with gaps, restarts and silent collectors.

``python -m tests.record`` makes the traces.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alerts.book.book import Book
from alerts.engine.lifecycle import Change, Happened
from alerts.engine.rules import RuleSet
from exporter.metrics.catalogue import KAFKA_ROWS, Owner
from exporter.reading import Coverage
from klaxon.config import build
from tests.replay import TRACES, Frame, Replay, read_trace, silenced, with_gaps

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


def owned_by(collector: str) -> tuple[str, ...]:
    return tuple(r.name for r in KAFKA_ROWS if Owner(collector) in r.inputs)


@pytest.fixture(scope="module")
def rules() -> RuleSet:
    return build({"clusters": {"demo": {"bootstrap_servers": ["kafka:9092"]}}}, Path.cwd()).rules


def traces() -> list[Path]:
    return sorted(TRACES.glob("*.jsonl.gz"))


def recorded(path: Path) -> list[Frame]:
    """A trace's frames. The first ones were recorded before verdicts on departures had a coverage of their own: it is that of the brokers' view."""
    return [replace(f, coverage=_with_departures(f.coverage)) for f in read_trace(path)]


def _with_departures(coverage: Coverage) -> Coverage:
    if "departures" in coverage.expected:
        return coverage
    return replace(
        coverage,
        taken_at={**coverage.taken_at, "departures": coverage.taken_at.get("cluster", {})},
        expected={**coverage.expected, "departures": coverage.expected["cluster"]},
    )


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


def healed_at(frames: Sequence[Frame], change: Change) -> float | None:
    """When the broker that an alert speaks of was up again for good."""
    broker = change.alert.labels.get("broker")
    downs = [
        f.at
        for f in frames
        for b in f.blocks
        if b.metric == "kafka_broker_up"
        for row, v in zip(b.labels.rows, b.values, strict=True)
        if row == (broker,) and v == 0
    ]
    return max(downs, default=None)


@pytest.mark.parametrize("path", [pytest.param(p, id=p.name.partition(".")[0]) for p in traces()])
def test_as_it_was_the_right_alerts_fire_once_and_resolve(path: Path, rules: RuleSet, tmp_path: Path) -> None:
    replay = Replay(rules, Books(tmp_path))
    changes = list(paged(replay.run(recorded(path))))
    fired = Counter(c.alert.fingerprint for _, c in changes if c.happened is Happened.FIRING)
    assert {c.alert.rule for _, c in changes if c.happened is Happened.FIRING} >= EXPECTED[path.name.partition(".")[0]]
    assert set(fired.values()) <= {1}, "an alert fired twice"


@pytest.mark.parametrize("path", [pytest.param(p, id=p.name.partition(".")[0]) for p in traces()])
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32))
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
