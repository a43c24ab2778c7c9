"""Engine, walks and incidents together on every fault: one page per fault, whatever alerts it raises."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from structlog.testing import capture_logs

from alerts.diagnosis import desk as desk_module
from alerts.diagnosis.desk import Desk, Surroundings, collectors
from alerts.diagnosis.postings import Posting
from alerts.diagnosis.tree import load
from alerts.diagnosis.walk import World
from alerts.engine.engine import Engine
from alerts.model import Incident
from alerts.promql.evaluate import Evaluator
from tests.alerts.diagnosis import scenes
from tests.alerts.diagnosis.scenes import FAULT, Scene
from tests.alerts.rules.test_rules import RULE_SET, NoBook, back, covered

TREES = load()


@dataclass
class Book:
    """Keeps incidents and what was in it when something was sent."""

    incidents: dict[tuple[str, float], Incident] = field(default_factory=dict)

    def load_incidents(self) -> Sequence[Incident]:
        return list(self.incidents.values())

    def save_incidents(self, incidents: Sequence[Incident]) -> None:
        for incident in incidents:
            self.incidents[incident.id, incident.opened_at] = incident


@dataclass
class Out:
    book: Book
    sent: list[Posting] = field(default_factory=list)
    told: list[Incident] = field(default_factory=list)

    def post(self, batch: Sequence[Posting]) -> None:
        for posting in batch:
            if posting.labels["alertname"] != "Watchdog":
                written = [p for i in self.book.incidents.values() for p in i.postings]
                assert posting.starts_at in {at for _, at in written}, "sent before it was written down"
        self.sent += batch

    def tell(self, incidents: Sequence[Incident]) -> None:
        self.told = list(incidents)


@dataclass
class Play:
    """Plays a scene through engine and desk, a second at a time."""

    scene: Scene
    seconds: int
    book: Book = field(default_factory=Book)
    early: list[tuple[str, frozenset[str]]] = field(default_factory=list)
    restart_at: float | None = None
    asked: list[tuple[str, frozenset[str]]] = field(default_factory=list)

    def run(self) -> Play:
        self.scene = covered(self.scene)
        now = [FAULT - 10]
        evaluator = Evaluator(self.scene.store(FAULT + self.seconds, 5.0))
        engine = Engine(
            RULE_SET, evaluator, lambda: {"orders": self.scene.coverage(at=now[0])}, NoBook(), lambda: now[0]
        )  # type: ignore[arg-type]
        surroundings = Surroundings(
            lambda _, at: World(evaluator, at, self.scene.coverage(at=at), "kafka-1:9092"),
            lambda cluster, names: self.early.append((cluster, names)),
            lambda cluster, names, since: bool(self.asked.append((cluster, names))),  # type: ignore[func-returns-value]
            lambda: now[0],
        )
        self.out = Out(self.book)
        desk = Desk(TREES, self.book, self.out, surroundings)
        while now[0] <= FAULT + self.seconds:
            engine.evaluate_due(now[0])
            if self.restart_at is not None and now[0] >= FAULT + self.restart_at:
                desk = Desk(TREES, self.book, self.out, surroundings)
                desk.restore()
                self.restart_at = None
            desk.tick(engine.alerts())
            now[0] += 2.5
        self.desk = desk
        return self

    @property
    def sent(self) -> list[tuple[str, str, str]]:
        """What Alertmanager was told to be firing, each once, in order."""
        firing = [p for p in self.out.sent if p.resolved_at is None and p.labels["alertname"] != "Watchdog"]
        return list(dict.fromkeys((p.labels["alertname"], p.labels["subject"], p.labels["severity"]) for p in firing))

    @property
    def causes(self) -> set[str]:
        return {i.finding.cause if i.finding else "" for i in self.desk.incidents if i.settled_at is not None}

    def first(self) -> float:
        return min(i.settled_at - FAULT for i in self.desk.incidents if i.settled_at is not None)


BROKER = ("KafkaBrokerUnavailable", "broker/2")


@pytest.mark.parametrize(
    ("scene", "seconds", "sent", "cause"),
    [
        (scenes.killed, 700, [(*BROKER, "warning")], "broker-process-dead"),
        (scenes.hung, 90, [(*BROKER, "warning")], "broker-hung"),
        (scenes.zombie, 90, [(*BROKER, "warning")], "broker-out-of-memory"),
        (scenes.stopped, 700, [(*BROKER, "warning")], "stopped-on-purpose"),
        (scenes.single_copy, 90, [(*BROKER, "critical")], "broker-process-dead"),
        (scenes.needs_all_copies, 90, [(*BROKER, "critical")], "broker-process-dead"),
        (scenes.quorum_lost, 300, [("KafkaNoController", "cluster", "critical")], "quorum-lost"),
        (scenes.dir_failed, 700, [("KafkaLogDirFailed", "broker/2", "warning")], "log-dir-failed"),
    ],
)
def test_one_page_per_fault(scene: object, seconds: int, sent: list[tuple[str, str, str]], cause: str) -> None:
    assert callable(scene)
    play = Play(scene(), seconds).run()
    assert play.sent == sent
    assert play.causes == {cause}


def test_all_brokers_gone_is_one_page() -> None:
    play = Play(scenes.all_down(), 120).run()
    assert len(play.sent) == 1 and play.sent[0][1:] == ("cluster", "critical")
    assert play.causes == {"all-brokers-down"}


@pytest.mark.parametrize("scene", [scenes.single_copy, scenes.needs_all_copies, scenes.quorum_lost, scenes.all_down])
def test_what_stops_clients_is_told_within_half_a_minute(scene: object) -> None:
    assert callable(scene)
    assert Play(scene(), 60).run().first() <= 30


def test_end_is_told_once() -> None:
    play = Play(back(scenes.killed(), 120, FAULT + 400), 400).run()
    ends = {(p.key, p.resolved_at) for p in play.out.sent if p.resolved_at is not None}
    assert len(ends) == 1
    assert not [i for i in play.desk.incidents if i.closed_at is None]


@pytest.mark.parametrize("restart", [25, 45, 100, 260])
def test_restart_tells_nobody_twice(restart: float) -> None:
    play = Play(back(scenes.killed(), 120, FAULT + 400), 400, restart_at=restart).run()
    assert play.sent == [(*BROKER, "warning")]
    assert len({p.starts_at for p in play.out.sent if p.labels["alertname"] != "Watchdog"}) == 1


def test_asks_for_fresh_data_of_what_the_tree_reads() -> None:
    play = Play(scenes.killed(), 60).run()
    assert ("orders", collectors(TREES, TREES.by_name["broker-unavailable"])) in play.early
    assert {"cluster", "legs", "jmx"} <= play.early[0][1]
    assert ("orders", play.early[0][1]) in play.asked, "and whether it is there"


def test_watchdog_goes_out_from_the_first_tick() -> None:
    play = Play(scenes.healthy(), 10).run()
    assert [dict(p.labels)["alertname"] for p in play.out.sent] == ["Watchdog"]
    assert not play.desk.incidents


def test_a_walk_that_fails_holds_nothing_back(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("a fault of ours")

    monkeypatch.setattr(desk_module, "diagnose", broken)
    with capture_logs() as logs:
        assert Play(scenes.killed(), 90).run().sent == [(*BROKER, "warning")]
    assert [line["event"] for line in logs] == ["walk failed"]
