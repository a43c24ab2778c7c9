"""What goes into the book comes out equal."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerts.codec import CodecError, dumps, loads
from alerts.engine.lifecycle import RuleState, Tracked
from alerts.model import Action, Alert, AlertState, Confidence, Evidence, Finding, Incident, Severity, Verdict
from exporter.facts.cluster import Node, Role
from exporter.series import Labels

TEXT = st.text(max_size=8)
FLOAT = st.floats(allow_nan=False)
LABELS = st.dictionaries(TEXT, TEXT, max_size=3)
ALERT = st.builds(
    Alert,
    rule=TEXT,
    labels=LABELS,
    annotations=LABELS,
    state=st.sampled_from(AlertState),
    active_at=FLOAT,
    value=FLOAT,
    fired_at=st.none() | FLOAT,
    resolved_at=st.none() | FLOAT,
    last_true_at=st.none() | FLOAT,
    held_since=st.none() | FLOAT,
    held_inputs=st.lists(TEXT, max_size=2).map(tuple),
    unknown=st.booleans(),
)
EVIDENCE = st.builds(
    Evidence,
    step=TEXT,
    ask=TEXT,
    expr=TEXT,
    verdict=st.sampled_from(Verdict),
    answer=TEXT,
    rows=st.lists(st.tuples(LABELS, FLOAT), max_size=2).map(tuple),
    total=st.integers(0, 9),
    age=st.none() | FLOAT,
    missing=st.lists(TEXT, max_size=2).map(tuple),
    by_hand=TEXT,
)
FINDING = st.builds(
    Finding,
    tree=TEXT,
    cause=TEXT,
    says=TEXT,
    impact=TEXT,
    problem=TEXT,
    cluster=TEXT,
    subject=TEXT,
    severity=st.none() | st.sampled_from(Severity),
    confidence=st.sampled_from(Confidence),
    evidence=st.lists(EVIDENCE, max_size=2).map(tuple),
    refuted=st.lists(TEXT, max_size=2).map(tuple),
    unknowns=st.lists(TEXT, max_size=2).map(tuple),
    do=st.lists(st.builds(Action, title=TEXT, command=TEXT, risk=TEXT), max_size=2).map(tuple),
    explains=st.lists(TEXT, max_size=2).map(tuple),
    verify=TEXT,
    walked_at=FLOAT,
    complete=st.booleans(),
)
INCIDENT = st.builds(
    Incident,
    id=TEXT,
    cluster=TEXT,
    problem=TEXT,
    subject=TEXT,
    severity=st.sampled_from(Severity),
    opened_at=FLOAT,
    alerts=st.lists(TEXT, max_size=2).map(tuple),
    finding=st.none() | FINDING,
    summary=TEXT,
    closed_at=st.none() | FLOAT,
    parent=st.none() | TEXT,
    history=st.lists(st.tuples(FLOAT, TEXT), max_size=2).map(tuple),
)
NODE = st.builds(
    Node,
    id=st.integers(0, 9),
    host=TEXT,
    port=st.integers(0, 65535),
    rack=st.none() | TEXT,
    roles=st.frozensets(st.sampled_from(Role)),
    registered=st.booleans(),
    fenced=st.none() | st.booleans(),
)
STATE = st.builds(
    RuleState,
    evaluated_at=st.none() | FLOAT,
    alerts=st.dictionaries(TEXT, st.builds(Tracked, alert=ALERT, kept_since=st.none() | FLOAT), max_size=2),
)


@settings(max_examples=150, deadline=None)
@given(st.one_of(ALERT, FINDING, INCIDENT, NODE, STATE))
def test_round_trip(value: Any) -> None:
    text = dumps(value)
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert loads(type(value), text) == value


def test_nan_comes_back_as_nan() -> None:
    alert = Alert("R", Labels.of({"a": "b"}), {}, AlertState.FIRING, 1.0, float("nan"))
    back = loads(Alert, dumps(alert))
    assert back.value != back.value
    assert back.labels == alert.labels


def test_what_an_older_version_wrote_takes_the_defaults_and_what_a_newer_one_added_is_passed_over() -> None:
    text = '{"rule":"R","labels":{},"annotations":{},"state":"firing","active_at":1,"value":2.0,"colour":"red"}'
    assert loads(Alert, text) == Alert("R", {}, {}, AlertState.FIRING, 1.0, 2.0)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"rule":1}',
        "null",
        '{"rule":"R","labels":[],"annotations":{},"state":"up","active_at":1,"value":2}',
    ],
)
def test_what_is_no_alert_is_an_error(text: str) -> None:
    with pytest.raises(CodecError) as error:
        loads(Alert, text)
    assert error.value.type_name == "Alert"
