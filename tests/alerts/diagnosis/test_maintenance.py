"""Maintenance: what is worked on is diagnosed and shown and not sent; what is still there at the end is."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.diagnosis.incidents import Settings, State, step
from alerts.engine.maintenance import DAYS, Weekly, Window, window_of
from alerts.model import Alert, Incident
from tests.alerts.diagnosis.scenes import NOW, alert

EMPTY = State()
DOWN = alert("KafkaBrokerDown", problem="KafkaBrokerUnavailable", subject="broker/2", severity="warning")
BEHIND = alert("KafkaGroupBehind", problem="KafkaGroupBehind", subject="group/billing", severity="warning")


def once(seconds: float = 300.0, **about: str) -> Window:
    start, end = (datetime.fromtimestamp(NOW + s, UTC) for s in (-60.0, seconds))
    return Window.model_validate({"name": "patching", "from": start, "until": end, **about})


def run(seconds: int, alerts: Sequence[Alert], *windows: Window, state: State = EMPTY, begin: float = 0.0) -> State:
    for second in range(seconds):
        state, _ = step(state, alerts, {}, NOW + begin + second, Settings(windows=windows))
    return state


def only(state: State) -> Incident:
    (incident,) = state.open
    return incident


def test_an_incident_of_what_is_worked_on_is_shown_and_not_sent() -> None:
    incident = only(run(200, [DOWN], once(broker="2")))
    assert (incident.subject, incident.maintenance, incident.settled_at, incident.postings) == (
        "broker/2",
        "patching",
        None,
        (),
    )
    assert [said for _, said in incident.history] == ["opened", "not sent during maintenance patching"]


def test_what_is_still_there_at_the_end_is_sent_then_and_once() -> None:
    incident = only(run(400, [DOWN], once(broker="2")))
    assert (incident.maintenance, incident.settled_at, len(incident.postings)) == ("", NOW + 300, 1)
    assert [said for _, said in incident.history][-2:] == ["maintenance patching is over", "raised as warning"]


def test_what_ended_inside_the_window_was_never_sent() -> None:
    state = run(100, [DOWN], once(broker="2"))
    state = run(300, [], once(broker="2"), state=state, begin=100)
    assert not state.open
    assert [i.postings for i in state.incidents.values()] == [()]


def test_a_window_that_is_ended_by_hand_lets_the_page_go() -> None:
    state = run(100, [DOWN], once(broker="2"))
    assert only(run(1, [DOWN], state=state, begin=100)).settled_at == NOW + 100


def test_others_are_paged_as_ever() -> None:
    state = run(60, [DOWN, BEHIND], once(broker="2"))
    assert {i.subject: i.settled_at is not None for i in state.open} == {"broker/2": False, "group/billing": True}


def test_what_was_sent_before_the_window_stays_sent() -> None:
    state = run(60, [DOWN])
    sent = only(state)
    after = only(run(60, [DOWN], once(broker="2"), state=state, begin=60))
    assert (after.postings, after.settled_at, after.maintenance) == (sent.postings, sent.settled_at, "patching")


@pytest.mark.parametrize(
    ("about", "subject", "covered"),
    [
        ({}, "cluster", True),
        ({}, "broker/2", True),
        ({"cluster": "ord*"}, "topic/x", True),
        ({"cluster": "pay*"}, "topic/x", False),
        ({"broker": "2"}, "broker/2", True),
        ({"broker": "2"}, "broker/22", False),
        ({"broker": "2"}, "cluster", False),
        ({"broker": "2", "topic": "batch-*"}, "topic/batch-1", True),
        ({"group": "billing"}, "topic/billing", False),
        ({"group": "b*"}, "group/billing", True),
    ],
)
def test_what_a_window_is_about(about: dict[str, str], subject: str, covered: bool) -> None:
    assert (window_of([once(**about)], "orders", subject, NOW) is not None) is covered


def test_a_weekly_window_goes_by_its_own_clock_and_over_midnight() -> None:
    weekly = Weekly.model_validate({"days": ["sat"], "from": "23:00", "until": "01:30", "zone": "Europe/Berlin"})

    def active(text: str) -> bool:
        return weekly.active(datetime.fromisoformat(text).timestamp())

    assert [active(f"2026-07-{day}:00+02:00") for day in ("04T22:59", "04T23:00", "05T01:29", "05T01:30", "05T23:30")] == [
        False, True, True, False, False,
    ]  # fmt: skip
    assert [active("2026-01-03T22:30:00+00:00"), active("2026-01-03T21:30:00+00:00")] == [True, False]


@given(st.datetimes(datetime(2026, 1, 1), datetime(2026, 12, 31)), st.sampled_from(DAYS), st.integers(0, 23))
def test_a_weekly_window_in_utc_is_what_the_clock_says(at: datetime, day: str, hour: int) -> None:
    weekly = Weekly.model_validate({"days": [day], "from": f"{hour:02d}:00", "until": f"{hour:02d}:30"})
    expected = DAYS[at.weekday()] == day and at.hour == hour and at.minute < 30
    assert weekly.active(at.replace(tzinfo=UTC).timestamp()) is expected
    assert not weekly.active((at.replace(tzinfo=UTC) + timedelta(days=1)).timestamp()) or not expected
