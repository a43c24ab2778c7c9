"""Incidents of several Klaxons, of storms, of what returns again and again, and the labels that routing gives."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pydantic import ValidationError

from alerts.diagnosis.incidents import SHOWN_LASTS, STEP, STORM, Settings, State, step
from alerts.diagnosis.postings import Posting, Schedule, postings
from alerts.diagnosis.routing import Route, routed
from alerts.diagnosis.shown import Shown, ShownAlert
from alerts.model import Alert, Incident, Severity, incident_id
from tests.alerts.diagnosis.scenes import NOW, alert


def group(number: int, severity: str = "warning") -> Alert:
    return alert(
        "KafkaGroupStopped",
        problem="KafkaGroupStopped",
        subject=f"group/g{number}",
        consumergroup=f"g{number}",
        severity=severity,
    )


class Run:
    """Second by second, with settings of one's own."""

    def __init__(self, **settings: object) -> None:
        self.settings = Settings(**settings)  # type: ignore[arg-type]
        self.state = State()
        self.now = NOW
        self.alerts: list[Alert] = []
        self.shown: list[ShownAlert] | None = None

    def run(self, seconds: int) -> Run:
        for _ in range(seconds):
            self.now += 1
            shown = None if self.shown is None else Shown(self.now, self.shown)
            self.state, _ = step(self.state, self.alerts, {}, self.now, self.settings, shown=shown)
        return self

    @property
    def sent(self) -> set[str]:
        return {i.subject for i in self.state.open if i.settled_at is not None}

    def of(self, problem: str, subject: str) -> Incident:
        return self.state.incidents[incident_id("orders", problem, subject)]


# --- storms


def test_a_summary_lists_what_it_stands_for_and_ends_at_half_the_limit() -> None:
    run = Run(storm_limit=10)
    run.alerts = [group(n) for n in range(30)]
    run.run(15)
    storm = run.of(STORM, "cluster")
    assert len(run.sent) == 11 and len(storm.stands_for) == 20
    assert all(line.startswith("KafkaGroupStopped of group/g") for line in storm.stands_for)
    told = set(run.sent)
    # It heals one by one: nobody is paged for that.
    while len(run.alerts) > 6:
        run.alerts.pop(0)
        run.run(3)
        assert run.sent <= told
    assert len(run.of(STORM, "cluster").stands_for) == len({a.subject for a in run.alerts} - told)
    run.alerts.pop(0)
    run.run(5)
    assert {a.subject for a in run.alerts} <= run.sent, "what is left stands on its own"
    run.run(125)
    assert run.of(STORM, "cluster").closed_at is not None


def test_what_becomes_critical_in_a_storm_takes_a_place_of_its_own_where_there_is_one() -> None:
    run = Run(storm_limit=10)
    run.alerts = [group(n) for n in range(30)]
    run.run(15)
    drowned = next(i for i in run.state.open if i.parent is not None)
    run.alerts = [a for a in run.alerts if a.subject not in sorted(run.sent - {"cluster"})[:1]]
    run.alerts = [group(int(a.subject[7:]), "critical") if a.subject == drowned.subject else a for a in run.alerts]
    run.run(3)
    assert drowned.subject in run.sent or run.of(STORM, "cluster").severity is Severity.CRITICAL


# --- what returns


def test_what_returns_soon_closes_only_after_the_quiet_period() -> None:
    run = Run(quiet_period=900.0)
    told = []

    def cycle(on: int, off: int) -> None:
        run.alerts = [group(1)]
        run.run(on)
        run.alerts = []
        run.run(off)
        told.append(run.of("KafkaGroupStopped", "group/g1").opened_at)

    cycle(60, 180)
    cycle(60, 300)
    assert run.of("KafkaGroupStopped", "group/g1").closed_at is None
    cycle(60, 300)
    cycle(60, 300)
    assert len(set(told)) == 2, "the third and fourth return were no news"
    run.run(700)
    assert run.of("KafkaGroupStopped", "group/g1").closed_at is not None
    run.run(1000)
    cycle(60, 180)
    closed = run.of("KafkaGroupStopped", "group/g1")
    assert not closed.returned and closed.closed_at is not None


# --- routing

ROUTES = tuple(
    Route.model_validate(r)
    for r in (
        {"topic": "payments-.*", "labels": {"team": "payments"}},
        {"group": "g1", "labels": {"team": "billing", "owner": "jo"}},
        {"cluster": "ord.*", "problem": "KafkaGroup.*", "labels": {"team": "platform", "tier": "1"}},
    )
)


@pytest.mark.parametrize(
    ("subject", "problem", "labels"),
    [
        ("topic/payments-eu", "KafkaX", {"team": "payments"}),
        ("topic/my-payments-eu", "KafkaX", {}),
        ("group/payments-eu", "KafkaX", {}),
        ("group/g1", "KafkaGroupStopped", {"team": "billing", "owner": "jo", "tier": "1"}),
        ("group/g2", "KafkaGroupStopped", {"team": "platform", "tier": "1"}),
        ("cluster", "KafkaX", {}),
    ],
)
def test_labels_by_subject_and_problem(subject: str, problem: str, labels: dict[str, str]) -> None:
    assert routed(ROUTES, "orders", problem, subject) == labels


def test_labels_stay_while_the_incident_is_open() -> None:
    run = Run(routes=ROUTES)
    run.alerts = [group(1)]
    run.run(15)
    before = {p.key for p in postings(run.state.incidents.values(), [])}
    run.settings = Settings()
    run.run(15)
    assert {p.key for p in postings(run.state.incidents.values(), [])} == before
    assert {dict(key)["team"] for key in before} == {"billing"}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"topic": "(", "labels": {"a": "b"}}, "is no regular expression"),
        ({"topic": "a", "group": "b", "labels": {"a": "b"}}, "give topic or group"),
        ({"labels": {"severity": "none"}}, "severity is a label of every incident"),
        ({"labels": {"1": "none"}}, "cannot name a label"),
        ({"labels": {}}, "at least 1"),
        ({"labels": {"a": ""}}, "at least 1"),
    ],
)
def test_bad_routes_say_what_would_be_right(given: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Route.model_validate(given)


# --- several Klaxons


def shown(one: Alert, starts_at: float = NOW - 5, severity: str = "warning", **labels: str) -> ShownAlert:
    named = {"alertname": one.problem, "cluster": "orders", "subject": one.subject, "severity": severity, **labels}
    return ShownAlert(named, starts_at, frozenset({one.fingerprint}))


@pytest.mark.parametrize("instance", [0, 1, 3])
def test_each_waits_its_turn(instance: int) -> None:
    run = Run(instance=instance)
    run.shown, run.alerts = [], [group(1)]
    turn = int(10 + STEP * instance)
    assert not run.run(turn).sent
    assert run.run(1).sent


def test_without_alertmanagers_word_it_waits_little_longer() -> None:
    run = Run(instance=0)
    run.alerts = [group(1)]
    assert not run.run(10 + int(SHOWN_LASTS)).sent
    assert run.run(1).sent


def test_one_that_is_alone_asks_nobody() -> None:
    run = Run()
    run.alerts, run.shown = [group(1)], [shown(group(1), NOW - 500)]
    assert not run.run(10).sent
    assert run.run(1).of("KafkaGroupStopped", "group/g1").postings == ((Severity.WARNING, NOW + 1),)


def test_what_another_one_sent_is_adopted_as_it_is() -> None:
    """Its start, its labels and its severities, at once; also where the own walk would have named another subject."""
    run = Run(instance=1, routes=ROUTES)
    one = group(1)
    other = replace(one, labels={**one.labels, "subject": "broker/2", "problem": "KafkaBrokerUnavailable"})
    run.alerts = [one]
    stands = shown(other, team="theirs")
    run.shown = [replace(stands, alerts=frozenset({one.fingerprint})), shown(group(2))]
    run.run(2)
    incident = run.of("KafkaBrokerUnavailable", "broker/2")
    assert incident.postings == ((Severity.WARNING, NOW - 5),)
    assert incident.labels == {"team": "theirs"}
    assert run.sent == {"broker/2"}


def test_another_ones_rise_is_taken_over() -> None:
    run = Run(instance=1)
    one = group(1)
    run.alerts, run.shown = [one], [shown(one)]
    run.run(2)
    run.shown = [shown(one), shown(one, NOW + 1, "critical")]
    run.run(1)
    assert run.of("KafkaGroupStopped", "group/g1").postings == (
        (Severity.WARNING, NOW - 5),
        (Severity.CRITICAL, NOW + 1),
    )


def test_what_was_just_ended_here_is_not_adopted_from_an_old_answer() -> None:
    run = Run(instance=0)
    one = group(1)
    run.alerts, run.shown = [one], []
    run.run(15)
    run.shown = [shown(one), shown(one, NOW + 20, "critical")]
    run.alerts = []
    run.run(121)
    assert run.of("KafkaGroupStopped", "group/g1").closed_at is not None
    run.alerts = [one]
    run.run(1)
    assert not run.state.open


def test_alerts_of_klaxon_itself_belong_to_one_klaxon() -> None:
    own = alert("KlaxonBlind", problem="KlaxonBlind", subject="cluster")
    run = Run(instance=1)
    run.alerts, run.shown = [own], [shown(own, instance="0")]
    run.run(30)
    (posting,) = postings(run.state.incidents.values(), [])
    assert posting.labels["instance"] == "1"
    assert posting.starts_at > NOW, "not the other one's"
    watchdog = replace(own, labels={"alertname": "Watchdog", "severity": "none"})
    (posting,) = postings([], [watchdog], instance="1")
    assert posting.labels == {"alertname": "Watchdog", "severity": "none", "instance": "1"}


def test_what_is_left_to_others_is_not_sent_again_and_its_end_is() -> None:
    firing = Posting({"alertname": "A"}, {}, NOW, incident="a")
    schedule = Schedule()
    assert schedule.due([firing], NOW, {"a"}) == [firing], "the first word is always said"
    assert not schedule.due([firing], NOW + 61, {"a"})
    assert schedule.due([firing], NOW + 62) == [firing]
    ended = replace(firing, resolved_at=NOW + 63)
    assert schedule.due([ended], NOW + 63, {"a"}) == [ended]
