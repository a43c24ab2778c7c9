"""Recorded faults through engine, desk and delivery to real Alertmanagers: what people are told of each, by one Klaxon or by two that poll at different moments."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from alerts.diagnosis.desk import Desk, Surroundings
from alerts.diagnosis.incidents import Settings
from alerts.diagnosis.shown import Shown
from alerts.diagnosis.walk import World
from alerts.model import Incident
from alerts.notify.alertmanager import Alertmanager
from alerts.notify.config import AlertmanagerPeer
from alerts.notify.delivery import Delivery
from alerts.promql.evaluate import Evaluator
from klaxon.config import Loaded, build
from klaxon.daemon import requirements
from tests.alertmanager import NO_BINARY, CountingWebhook, RealAlertmanager, binary, wait_until
from tests.alerts.engine.test_traces import owned_by
from tests.alerts.engine.test_traces import recorded as as_recorded
from tests.alerts.rules.test_rules import NoBook
from tests.replay import TRACES, Frame, Replay, every, joined, silenced, with_gaps

pytestmark = [pytest.mark.prometheus, pytest.mark.skipif(binary() is None, reason=NO_BINARY)]

FAULTS = sorted(path.name.removesuffix(".jsonl.gz") for path in TRACES.glob("*.jsonl.gz"))
LOADED: Loaded = build({"clusters": {"orders": {"bootstrap_servers": ["kafka-1:9092"]}}}, Path.cwd())


QUIET_STEP_S = 5.0


class Incidents:
    """A book in memory."""

    def load_incidents(self) -> Sequence[Incident]:
        return ()

    def save_incidents(self, incidents: Sequence[Incident]) -> None: ...


class Klaxon:
    """Engine, desk and delivery on the clock of the frames; ``instance`` is None for one alone."""

    def __init__(self, instance: int | None, *alertmanagers: RealAlertmanager) -> None:
        peers = [AlertmanagerPeer(url=one.url) for one in alertmanagers]
        self.delivery = Delivery(CollectorRegistry(), time.time)
        self.delivery.use(peers)
        self.delivery.start()
        self._asks = Alertmanager(peers[0], None, time.time)
        self.replay = Replay(LOADED.rules, NoBook)  # type: ignore[arg-type]
        self.replay.history.keep(requirements(LOADED))
        evaluator = Evaluator(self.replay.history)
        surroundings = Surroundings(
            lambda cluster, at: World(evaluator, at, self.replay.coverage.get(cluster), "kafka-1:9092"),
            lambda cluster, names: None,
            lambda cluster, names, since: True,
            lambda: self.replay.now,
            lambda wanted: Shown(self.replay.now, self._asks.shown()) if wanted else None,
        )
        self.desk = Desk(LOADED.trees, Incidents(), self.delivery, surroundings, Settings(instance=instance))

    def takes(self, frame: Frame, *away: RealAlertmanager) -> None:
        """One moment, until the Alertmanagers that are there have what there is to say about it."""
        self.replay.feed(frame)
        self.desk.tick(self.replay.engine.alerts())
        gone = {one.url.removeprefix("http://") for one in away}
        wait_until(
            "what is said is taken", lambda: not any(n for p, n in self.delivery.pending().items() if p not in gone)
        )

    def stop(self) -> None:
        self.delivery.stop(1.0)
        self._asks.close()


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Callable[[], tuple[RealAlertmanager, CountingWebhook]]]:
    running: list[tuple[RealAlertmanager, CountingWebhook]] = []

    def begin() -> tuple[RealAlertmanager, CountingWebhook]:
        webhook = CountingWebhook()
        webhook.__enter__()

        def quick(config: dict[str, object]) -> None:
            route = config["route"]
            assert isinstance(route, dict)
            route["group_interval"] = "1s"

        alertmanager = RealAlertmanager(tmp_path / f"alertmanager-{len(running)}", webhook, quick).start()
        running.append((alertmanager, webhook))
        return alertmanager, webhook

    yield begin
    for alertmanager, webhook in running:
        alertmanager.stop()
        webhook.__exit__(None, None, None)


def recorded(fault: str, quiet_for: float = 150.0) -> list[Frame]:
    """The trace, as if it had ended a while ago, and quiet afterwards for as long as an incident needs to close."""
    frames = as_recorded(TRACES / f"{fault}.jsonl.gz")
    shift = time.time() - 3600 - frames[-1].at
    end = joined(frames)
    quiet = [moved(end, shift + QUIET_STEP_S * (i + 1)) for i in range(int(quiet_for / QUIET_STEP_S))]
    return [*(moved(frame, shift) for frame in frames), *quiet]


def moved(frame: Frame, seconds: float) -> Frame:
    taken = {c: {s: at + seconds for s, at in sources.items()} for c, sources in frame.coverage.taken_at.items()}
    coverage = replace(frame.coverage, at=frame.coverage.at + seconds, taken_at=taken)
    return replace(frame, at=frame.at + seconds, coverage=coverage)


def told(
    stage: Callable[[], tuple[RealAlertmanager, CountingWebhook]],
    watched: Sequence[tuple[int | None, Iterable[Frame]]],
) -> list[tuple[str, str, str, str]]:
    """(receiver, firing or resolved, problem, subject) of every notification; fails if an alert vanishes and returns."""
    alertmanager, webhook = stage()
    klaxons = [(Klaxon(instance, alertmanager), list(frames)) for instance, frames in watched]
    turns = sorted(
        ((frame.at, number, frame) for number, (_, frames) in enumerate(klaxons) for frame in frames),
        key=lambda turn: turn[:2],
    )
    seen: set[str] = set()
    ended: set[str] = set()
    try:
        for _, number, frame in turns:
            klaxons[number][0].takes(frame)
            firing = {a["fingerprint"] for a in alertmanager.alerts() if a["labels"]["alertname"] != "Watchdog"}
            assert not firing & ended, "it ended, and fires again"
            ended |= seen - firing
            seen |= firing
        wait_until("all that fires is told", lambda: settled(alertmanager, webhook, seen, ended), 30)
    finally:
        for klaxon, _ in klaxons:
            klaxon.stop()
    return notified(webhook)


def notified(webhook: CountingWebhook) -> list[tuple[str, str, str, str]]:
    return sorted(
        (n.receiver, n.status, a["labels"]["alertname"], a["labels"]["subject"])
        for n in webhook.pages()
        for a in n.alerts
    )


def settled(alertmanager: RealAlertmanager, webhook: CountingWebhook, seen: set[str], ended: set[str]) -> bool:
    quiet = {a["fingerprint"] for a in alertmanager.alerts() if a["status"]["state"] != "active"}
    firing = {a["fingerprint"] for n in webhook.pages(status="firing") for a in n.alerts}
    resolved = {a["fingerprint"] for n in webhook.pages(status="resolved") for a in n.alerts}
    return seen - ended - quiet <= firing and firing & ended <= resolved


def shares(frames: Sequence[Frame], rng: random.Random) -> list[tuple[int | None, Iterable[Frame]]]:
    """Each Klaxon polls at its own moments and stands still now and then."""
    return [(n, with_gaps(every(frames, 2, n), rng, share=0.05, longest=3)) for n in (0, 1)]


LISTED = {
    "broker-hung": ("tickets", "KafkaBrokerUnavailable", "broker/1"),
    "broker-killed": ("tickets", "KafkaBrokerUnavailable", "broker/1"),
    "broker-stopped": ("tickets", "KafkaBrokerUnavailable", "broker/2"),
    "controller-killed": ("tickets", "KafkaBrokerUnavailable", "broker/2"),
    "log-dir-failed": ("tickets", "KafkaLogDirFailed", "broker/1"),
    "quorum-lost": ("pager", "KafkaNoController", "cluster"),
    "single-replica-topic": ("pager", "KafkaBrokerUnavailable", "broker/1"),
}
"""Behind the shipped configuration each fault is told to one receiver, once when it begins and once when it is over."""


@pytest.mark.parametrize("fault", FAULTS)
def test_exactly_what_is_listed_is_told(
    stage: Callable[[], tuple[RealAlertmanager, CountingWebhook]], fault: str
) -> None:
    assert told(stage, [(None, recorded(fault))]) == listed(fault)


def listed(fault: str) -> list[tuple[str, str, str, str]]:
    receiver, problem, subject = LISTED[fault]
    return [(receiver, status, problem, subject) for status in ("firing", "resolved")]


@pytest.mark.parametrize(
    ("goes", "returns"), [(0, 120), (110, 10_000), pytest.param(0, 10_000, marks=pytest.mark.proof)]
)
def test_two_peers_get_all_though_one_is_away_for_minutes(
    stage: Callable[[], tuple[RealAlertmanager, CountingWebhook]], goes: int, returns: int
) -> None:
    """Away from ``goes`` to ``returns`` seconds, over the beginning of the fault, its end, or both: what is still of interest is told when it is back."""
    frames = recorded("broker-killed")
    (stays, webhook), (leaves, other) = stage(), stage()
    klaxon = Klaxon(None, stays, leaves)
    away: list[RealAlertmanager] = []
    try:
        for frame in frames:
            passed = frame.at - frames[0].at
            if not away and goes <= passed < returns:
                leaves.stop()
                away.append(leaves)
            if away and passed >= returns:
                leaves.start()
                away.clear()
            klaxon.takes(frame, *away)
        if away:
            leaves.start()
        wait_until("the queues are empty", lambda: not any(klaxon.delivery.pending().values()))
        wait_until("the one that stayed told all", lambda: len(notified(webhook)) == 2, 30)
        if goes == 0 and returns > 1000:
            # It never knew of the fault: its end is no news.
            assert not notified(other)
        else:
            wait_until("the other one told all", lambda: notified(other) == notified(webhook), 30)
        assert not [a for a in leaves.alerts() if a["labels"]["alertname"] != "Watchdog"]
    finally:
        klaxon.stop()


def test_two_tell_what_one_tells(stage: Callable[[], tuple[RealAlertmanager, CountingWebhook]]) -> None:
    fault = "single-replica-topic"
    assert told(stage, shares(recorded(fault), random.Random(fault))) == listed(fault)


def blind(frames: Sequence[Frame], start: float) -> Iterator[Frame]:
    """From then on no collector gets an answer, so alerts that fire are held."""
    for collector in frames[-1].coverage.expected.keys() - {"self"}:
        frames = list(silenced(frames, collector, start, float("inf"), owned_by(collector)))
    yield from frames


def test_one_that_is_blind_when_it_heals_does_not_hold_what_the_other_has_ended(
    stage: Callable[[], tuple[RealAlertmanager, CountingWebhook]],
) -> None:
    frames = recorded("broker-killed", quiet_for=300)
    began = frames[0].at
    both = told(stage, [(0, every(frames, 2)), (1, blind(list(every(frames, 2, 1)), began + 100))])
    assert [one for one in both if not one[2].startswith("Klaxon")] == listed("broker-killed")


@pytest.mark.proof
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("seed", range(4))
def test_two_tell_what_one_tells_however_they_poll(
    stage: Callable[[], tuple[RealAlertmanager, CountingWebhook]], fault: str, seed: int
) -> None:
    assert told(stage, shares(recorded(fault), random.Random(f"{fault} {seed}"))) == listed(fault)
