"""What Klaxon tells about its own delivery and book: from its registry through history, rules and trees to incidents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Gauge

from alerts.diagnosis.desk import Desk, Surroundings
from alerts.diagnosis.incidents import Settings
from alerts.diagnosis.postings import Posting
from alerts.diagnosis.walk import World
from alerts.engine.engine import Engine
from alerts.model import Incident
from alerts.notify.metrics import DeliveryMetrics
from alerts.promql.evaluate import Evaluator
from exporter.history.history import History
from klaxon.config import build
from klaxon.daemon import requirements
from klaxon.own_series import OwnSeries
from tests.alerts.rules.test_rules import NoBook

LOADED = build({"clusters": {"orders": {"bootstrap_servers": ["kafka-1:9092"]}}}, Path.cwd())
BEGIN = 1_700_000_000.0


@dataclass
class Klaxon:
    """Time passes by hand; ``sent`` is what Alertmanager would be told."""

    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    now: float = BEGIN
    sent: list[Posting] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.metrics = DeliveryMetrics(self.registry)
        self.book = Gauge("klaxon_book_healthy", "", registry=self.registry)
        self.book.set(1)
        self.peer = self.metrics.of("am:9093")
        self.peer.up.set(1)
        history = History()
        history.keep(requirements(LOADED))
        self._own = OwnSeries(self.registry, history)
        evaluator = Evaluator(history)
        self._engine = Engine(LOADED.rules, evaluator, dict, NoBook(), lambda: self.now, sink=history)  # type: ignore[arg-type]
        surroundings = Surroundings(
            lambda cluster, at: World(evaluator, at, None),
            lambda cluster, names: None,
            lambda cluster, names, since: True,
            lambda: self.now,
        )
        self._desk = Desk(LOADED.trees, self, self, surroundings, Settings(instance=1))

    def load_incidents(self) -> Sequence[Incident]:
        return ()

    def save_incidents(self, incidents: Sequence[Incident]) -> None: ...

    def post(self, batch: Sequence[Posting]) -> None:
        self.sent += [p for p in batch if p.labels["alertname"] != "Watchdog"]

    def tell(self, incidents: Sequence[Incident]) -> None: ...

    def passes(self, seconds: int) -> Klaxon:
        for _ in range(seconds):
            self.now += 1
            self._own.sample(self.now)
            self._engine.evaluate_due(self.now)
            self._desk.tick(self._engine.alerts())
        return self

    @property
    def causes(self) -> dict[tuple[str, str], str]:
        """Problem and subject -> cause, of what was sent."""
        sent = [i for i in self._desk.incidents if i.settled_at is not None]
        return {(i.problem, i.subject): i.finding.cause if i.finding is not None else "" for i in sent}


NOTIFY = ("KlaxonNotifyFailing", "peer/am:9093")


def test_all_is_well() -> None:
    assert Klaxon().passes(600).causes == {}


def test_a_peer_that_takes_nothing_is_told_after_two_minutes_and_resolved() -> None:
    klaxon = Klaxon().passes(60)
    klaxon.peer.up.set(0)
    klaxon.peer.failed("connection")
    klaxon.peer.queued.set(3)
    assert klaxon.passes(119).causes == {}
    assert klaxon.passes(61).causes == {NOTIFY: "peer-takes-nothing"}
    labels = klaxon.sent[0].labels
    assert labels == {
        "alertname": NOTIFY[0],
        "subject": NOTIFY[1],
        "severity": "warning",
        "instance": "1",
    }
    assert "3 notifications wait for it. Requests failed by connection." in klaxon.sent[0].annotations["cause"]
    klaxon.peer.up.set(1)
    klaxon.passes(300)
    assert klaxon.sent[-1].resolved_at is not None


@pytest.mark.parametrize("ahead", [31, -45])
def test_different_clocks_are_told(ahead: float) -> None:
    klaxon = Klaxon()
    klaxon.peer.skewed(ahead)
    assert klaxon.passes(200).causes == {NOTIFY: "clocks-differ"}
    assert f"{ahead} s ahead" in klaxon.sent[0].annotations["cause"]


def test_what_was_refused_is_told() -> None:
    klaxon = Klaxon().passes(600)
    klaxon.peer.dropped.inc()
    assert klaxon.passes(60).causes == {NOTIFY: "notifications-refused"}


def test_a_book_that_cannot_be_written_is_told() -> None:
    klaxon = Klaxon().passes(30)
    klaxon.book.set(0)
    assert klaxon.passes(75).causes == {("KlaxonBookFailing", "klaxon"): "book-cannot-be-written"}
