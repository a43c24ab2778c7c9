"""Incidents: who joins whom, what is sent when, and what must hold whatever alerts, findings, restarts and gaps do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerts.diagnosis.incidents import STORM, Settings, State, step
from alerts.diagnosis.postings import Schedule, postings
from alerts.diagnosis.tree import load
from alerts.diagnosis.walk import diagnose
from alerts.model import Alert, AlertState, Confidence, Finding, Incident, Severity, incident_id
from tests.alerts.diagnosis import scenes
from tests.alerts.diagnosis.scenes import NOW, Scene, alert, broker_down

TREES = load()
MIN_ISR = alert("KafkaUnderMinIsr", problem="KafkaUnderMinIsr", severity="critical")
LEADERLESS = alert("KafkaLeaderless", problem="KafkaLeaderless", severity="critical")
NO_CONTROLLER = alert("KafkaNoController", problem="KafkaNoController", severity="critical", tree="quorum")
BROKER_2 = incident_id("orders", "KafkaBrokerUnavailable", "broker/2")


class Run:
    """Drives the state machine second by second; ``restart`` goes through what the book would hold."""

    def __init__(self) -> None:
        self.state = State()
        self.book: dict[tuple[str, float], Incident] = {}
        self.now = NOW
        self.alerts: list[Alert] = []
        self.findings: dict[str, Sequence[Finding]] = {}
        self.answered: set[str] = set()
        """Fingerprints of alerts whose early polls are there."""

    def has(self, *alerts: Alert, scene: Scene | None = None, findings: Sequence[Finding] | None = None) -> Run:
        self.alerts = [*self.alerts, *alerts]
        for one in alerts:
            if scene is not None:
                self.findings[one.fingerprint] = diagnose(TREES, one, scene.world())
            elif findings is not None:
                self.findings[one.fingerprint] = findings
        return self

    def ends(self, *alerts: Alert) -> Run:
        gone = {a.fingerprint for a in alerts}
        self.alerts = [a for a in self.alerts if a.fingerprint not in gone]
        return self

    def step(self, seconds: float = 0.0) -> Run:
        self.now += seconds
        self.state, changes = step(self.state, self.alerts, self.findings, self.now, answered=self.answered)
        for incident in changes.changed:
            self.book[incident.id, incident.opened_at] = incident
        return self

    def run(self, seconds: int) -> Run:
        for _ in range(seconds):
            self.step(1)
        return self

    def restart(self) -> Run:
        self.state = State.restored(self.book.values())
        return self

    @property
    def sent(self) -> list[Incident]:
        return [i for i in self.state.open if i.settled_at is not None]


def found(problem: str, subject: str, cause: str, **more: object) -> Finding:
    base = diagnose(TREES, broker_down(), scenes.killed().world())[0]
    return replace(base, problem=problem, subject=subject, cause=cause, **more)  # type: ignore[arg-type]


# --- one page per fault


def test_kill_is_one_warning_incident() -> None:
    run = Run().has(broker_down(), scene=scenes.killed()).run(15)
    (incident,) = run.sent
    assert (incident.problem, incident.subject, incident.severity) == ("KafkaBrokerUnavailable", "broker/2", "warning")
    assert incident.summary == "orders: broker 2 down, 6 partitions on fewer copies"
    assert incident.postings == ((Severity.WARNING, NOW + 1),)
    assert incident.opened_at == NOW + 1


@pytest.mark.parametrize(
    ("complete", "answered", "after"), [(True, True, 2), (True, False, 10), (False, True, 10), (False, False, 10)]
)
def test_what_fresh_polls_left_unknown_is_not_waited_for(complete: bool, answered: bool, after: int) -> None:
    unsure = found("KafkaBrokerUnavailable", "broker/2", "broker-hung", confidence=Confidence.LOW, complete=complete)
    run = Run().has(broker_down(), findings=[unsure])
    run.answered = {broker_down().fingerprint} if answered else set()
    assert not run.run(after).sent and run.run(1).sent


def test_missing_copies_join_the_broker_that_is_their_cause() -> None:
    under = alert("KafkaUnderReplicated", problem="KafkaUnderReplicated")
    run = Run().has(broker_down(), scene=scenes.killed()).run(15).has(under, scene=scenes.killed()).run(15)
    (incident,) = run.sent
    assert incident.rules == ("KafkaBrokerDown", "KafkaUnderReplicated")
    assert incident.severity is Severity.WARNING


def test_single_copy_topic_is_one_critical_incident_of_the_broker() -> None:
    run = Run().has(LEADERLESS, scene=scenes.single_copy()).run(15)
    run.has(broker_down(), scene=scenes.single_copy()).run(15)
    (incident,) = run.sent
    assert (incident.problem, incident.subject) == ("KafkaBrokerUnavailable", "broker/2")
    assert [s for s, _ in incident.postings] == [Severity.CRITICAL]
    assert "1 partition stopped" in incident.summary


def test_lost_quorum_is_one_critical_incident_and_absorbs_brokers() -> None:
    run = Run().has(NO_CONTROLLER, scene=scenes.quorum_lost()).run(15)
    run.has(broker_down(2), broker_down(3), findings=()).run(30)
    assert [(i.problem, i.subject, i.severity) for i in run.sent] == [("KafkaNoController", "cluster", "critical")]
    assert {i.parent for i in run.state.open if i.settled_at is None} == {run.sent[0].id}


def test_absorbed_incident_that_outlives_its_parent_is_sent() -> None:
    run = Run().has(NO_CONTROLLER, scene=scenes.quorum_lost()).run(15)
    run.has(broker_down(3), findings=()).run(30).ends(NO_CONTROLLER).run(130)
    assert [i.subject for i in run.sent] == ["broker/3"]


def test_sent_incident_that_is_absorbed_stays_firing() -> None:
    run = Run().has(broker_down(2), scene=scenes.killed()).run(15)
    run.has(NO_CONTROLLER, scene=scenes.quorum_lost()).run(15)
    assert len(run.sent) == 2
    assert run.state.incidents[BROKER_2].parent is not None
    assert len(postings(run.state.incidents.values(), [])) == 2


def test_alert_whose_cause_is_found_later_under_another_name_is_the_same_incident() -> None:
    unknown = found("KafkaUnderMinIsr", "cluster", "unknown", confidence=Confidence.LOW)
    run = Run().has(MIN_ISR, findings=[unknown]).run(15)
    assert [i.subject for i in run.sent] == ["cluster"]
    cause = found("KafkaBrokerUnavailable", "broker/2", "broker-process-dead")
    run.findings[MIN_ISR.fingerprint] = [cause]
    run.run(2).has(broker_down(), findings=[cause]).run(15)
    (incident,) = run.sent
    assert incident.finding is not None and incident.finding.cause == "broker-process-dead"
    assert any("cause: broker-process-dead" in what for _, what in incident.history)


# --- waiting


def test_an_alert_is_never_withheld_for_want_of_a_diagnosis() -> None:
    run = Run().has(MIN_ISR).step()
    assert not run.state.open
    assert run.run(9).sent == []
    (incident,) = run.run(1).sent
    assert (incident.problem, incident.subject) == ("KafkaUnderMinIsr", "cluster")
    assert incident.summary == "orders: KafkaUnderMinIsr of cluster"


def test_a_sure_cause_is_not_waited_for() -> None:
    assert Run().has(broker_down(), scene=scenes.killed()).step().run(2).sent


def test_an_unsure_cause_waits_for_better_data() -> None:
    scene = scenes.gone(scenes.healthy(), 2, controlled=None)
    run = Run().has(broker_down(), scene=scene).step().run(9)
    assert not run.sent
    assert run.run(1).sent


def test_what_ends_before_it_is_sent_is_not_sent() -> None:
    run = Run().has(MIN_ISR).run(5).ends(MIN_ISR).run(300)
    assert not run.book


# --- severity, end and return


def test_rise_to_critical_is_a_second_posting_and_both_resolve_together() -> None:
    run = Run().has(broker_down(), scene=scenes.killed()).run(15)
    run.has(LEADERLESS, scene=scenes.single_copy()).run(15)
    (incident,) = run.sent
    assert [s for s, _ in incident.postings] == [Severity.WARNING, Severity.CRITICAL]
    assert incident.postings[1][1] > incident.opened_at
    run.ends(LEADERLESS).run(5)
    assert [s for s, _ in run.sent[0].postings] == [Severity.WARNING, Severity.CRITICAL]
    run.ends(broker_down()).run(125)
    said = postings(run.state.incidents.values(), [])
    assert len(said) == 2
    assert len({p.resolved_at for p in said}) == 1 and None not in {p.resolved_at for p in said}


def test_incident_closes_two_minutes_after_its_last_alert() -> None:
    run = Run().has(broker_down(), scene=scenes.killed()).run(15).ends(broker_down()).step()
    assert run.run(119).state.open
    assert not run.run(1).state.open


def test_return_within_two_minutes_is_the_same_incident() -> None:
    run = Run().has(broker_down(), scene=scenes.killed()).run(15).ends(broker_down()).run(100)
    run.has(broker_down(), scene=scenes.killed()).run(300)
    (incident,) = run.sent
    assert incident.opened_at == NOW + 1
    assert len(run.book) == 1


def test_return_after_the_end_is_a_new_incident() -> None:
    run = Run().has(broker_down(), scene=scenes.killed()).run(15).ends(broker_down()).run(200)
    run.has(broker_down(), scene=scenes.killed()).run(15)
    assert run.sent[0].opened_at > NOW + 200
    assert len(run.book) == 2


def test_held_alert_keeps_its_incident() -> None:
    run = Run().has(broker_down(), scene=scenes.killed()).run(15)
    run.alerts = [replace(a, held_since=run.now, held_inputs=("JMX",)) for a in run.alerts]
    assert run.run(1800).sent


def test_known_cause_is_kept_when_the_world_has_healed() -> None:
    run = Run().has(broker_down(), scene=scenes.killed()).run(15)
    run.findings[broker_down().fingerprint] = diagnose(TREES, broker_down(), scenes.healthy().world())
    finding = run.run(5).sent[0].finding
    assert finding is not None and finding.cause == "broker-process-dead"


def test_storm_is_one_summary() -> None:
    many = [
        alert("KafkaGroupStopped", problem="KafkaGroupStopped", subject=f"group/g{i}", consumergroup=f"g{i}")
        for i in range(50)
    ]
    run = Run().has(*many).run(15)
    assert len(run.sent) == Settings().storm_limit + 1
    (storm,) = [i for i in run.sent if i.problem == STORM]
    assert "30 more incidents" in storm.summary
    run.ends(*many).run(130)
    assert not run.state.open
    assert all(i.closed_at is not None for i in run.book.values())


def test_ten_storms_long_nothing_is_written_while_nothing_changes() -> None:
    many = [
        alert("KafkaGroupStopped", problem="KafkaGroupStopped", subject=f"group/g{i}", consumergroup=f"g{i}")
        for i in range(30)
    ]
    run = Run().has(*many).run(15)
    before = dict(run.book)
    run.run(60)
    assert run.book == before


# --- restart


def test_restart_sends_the_same_alert_again() -> None:
    run = Run().has(broker_down(), scene=scenes.killed()).run(15)
    before = postings(run.state.incidents.values(), [])
    run.restart().run(5)
    after = postings(run.state.incidents.values(), [])
    assert [(p.labels, p.starts_at) for p in before] == [(p.labels, p.starts_at) for p in after]


def test_schedule_sends_at_once_then_each_minute_and_the_end() -> None:
    run = Run().has(broker_down(), scene=scenes.killed()).run(15)
    schedule = Schedule()

    def due() -> int:
        return len(schedule.due(postings(run.state.incidents.values(), run.alerts), run.now))

    assert due() == 1
    assert sum(due() for _ in range(59) if run.step(1)) == 0
    run.step(1)
    assert due() == 1
    run.ends(broker_down()).run(121)
    assert due() == 1
    assert due() == 0


def test_watchdog_is_sent_as_it_is() -> None:
    watchdog = replace(
        alert("Watchdog", problem="Watchdog", severity="none"), labels={"alertname": "Watchdog", "severity": "none"}
    )
    run = Run().has(watchdog).run(20)
    assert not run.state.incidents
    (posting,) = postings([], run.alerts)
    assert posting.labels == {"alertname": "Watchdog", "severity": "none"}
    assert posting.resolved_at is None


# --- whatever happens

CAUSES = [
    ("KafkaBrokerUnavailable", "broker/2", "broker-process-dead"),
    ("KafkaBrokerUnavailable", "broker/3", "broker-hung"),
    ("KafkaNoController", "cluster", "quorum-lost"),
    ("KafkaUnderReplicated", "broker/2", "replicas-behind"),
    ("KafkaX", "cluster", "unknown"),
    ("KafkaX", "cluster", "already-healed"),
]
POOL = [
    broker_down(2),
    broker_down(3),
    NO_CONTROLLER,
    MIN_ISR,
    LEADERLESS,
    alert("KafkaUnderReplicated", problem="KafkaUnderReplicated"),
    alert("KafkaGroupStopped", problem="KafkaGroupStopped", subject="group/g", consumergroup="g", severity="info"),
]
FOUND = [
    found(p, s, c, explains=("KafkaBrokerDown", "KafkaUnderMinIsr") if c == "quorum-lost" else ()) for p, s, c in CAUSES
]

EVENT = st.tuples(
    st.frozensets(st.integers(0, len(POOL) - 1)),
    st.dictionaries(st.integers(0, len(POOL) - 1), st.lists(st.integers(0, len(FOUND) - 1), max_size=2), max_size=4),
    st.sampled_from([0.0, 1.0, 5.0, 12.0, 60.0, 119.0, 121.0, 400.0, 1000.0, -30.0]),
    st.booleans(),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(EVENT, max_size=25), st.integers(1, 20))
def test_no_double_no_lost_end_whatever_happens(
    events: list[tuple[frozenset[int], Mapping[int, list[int]], float, bool]], limit: int
) -> None:
    run = Run()
    firing: dict[tuple[str, str], float] = {}
    """What Alertmanager holds as firing: (incident, severity) -> startsAt."""
    resolved: set[tuple[str, str, float]] = set()
    events = [*events, (frozenset(), {}, 5.0, False), (frozenset(), {}, 500.0, False), (frozenset(), {}, 500.0, False)]
    for active, findings, seconds, restart in events:
        if restart:
            run.restart()
        run.alerts = [POOL[i] for i in sorted(active)]
        run.findings = {POOL[i].fingerprint: [FOUND[f] for f in fs] for i, fs in findings.items()}
        run.now += seconds
        run.state, changes = step(run.state, run.alerts, run.findings, run.now, Settings(storm_limit=limit))
        for incident in changes.changed:
            run.book[incident.id, incident.opened_at] = incident
        assert len({(i.cluster, i.problem, i.subject) for i in run.state.open}) == len(run.state.open)
        for incident in run.state.incidents.values():
            for severity, starts_at in incident.postings:
                one = (incident.id, str(severity))
                if incident.closed_at is None:
                    assert firing.setdefault(one, starts_at) == starts_at, "a second notification of one incident"
                elif (*one, starts_at) not in resolved:
                    resolved.add((*one, starts_at))
                    assert firing.pop(one, None) == starts_at, "the end of what was never sent"
        for incident in run.state.open:
            if incident.settled_at is None and incident.ended_at is None:
                assert incident.parent is not None, "withheld without a parent"
    assert not firing, "never resolved"
    assert not run.state.open
    for alert_ in POOL:
        assert alert_.state is AlertState.FIRING


@pytest.mark.parametrize("restart_at", range(0, 200, 7))
def test_restart_at_any_point_gives_the_same_notifications(restart_at: int) -> None:
    def notifications(restart: int | None) -> list[tuple[str, str, float]]:
        run, seen = Run(), []
        for second in range(400):
            if second == 5:
                run.has(broker_down(), scene=scenes.killed())
            if second == 60:
                run.has(LEADERLESS, scene=scenes.single_copy())
            if second == 150:
                run.ends(LEADERLESS, broker_down())
            if second == restart:
                run.restart()
            run.step(1)
            for p in postings(run.state.incidents.values(), []):
                told = (p.labels["severity"], "resolved" if p.resolved_at else "firing", p.starts_at)
                if told not in seen:
                    seen.append(told)
        return seen

    without = notifications(None)
    with_ = notifications(restart_at)
    assert [w[:2] for w in with_] == [w[:2] for w in without]
