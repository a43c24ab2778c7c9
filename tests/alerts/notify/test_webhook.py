"""Webhooks: what they are told of an incident, once each, over outages and restarts."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import responses
from prometheus_client import CollectorRegistry

from alerts.diagnosis.events import events
from alerts.diagnosis.postings import Links
from alerts.model import Incident, Severity
from alerts.notify.config import Webhook
from alerts.notify.delivery import Delivery
from tests.alertmanager import wait_until
from tests.alerts.notify.test_alertmanager import NOW

URL = "https://hooks.example.org/s3cret/path"
OPENED = Incident(
    "abc",
    "orders",
    "KafkaBrokerUnavailable",
    "broker/2",
    Severity.WARNING,
    NOW,
    ("f1",),
    summary="orders: broker 2 down",
    settled_at=NOW + 2,
    postings=((Severity.WARNING, NOW),),
    labels={"team": "platform"},
)
RAISED = replace(
    OPENED, severity=Severity.CRITICAL, postings=(*OPENED.postings, (Severity.CRITICAL, NOW + 60)), updates=1
)
CLOSED = replace(RAISED, closed_at=NOW + 300, updates=2)


@dataclass
class Ledger:
    """Keeps who took what."""

    rows: list[tuple[str, str, str]] = field(default_factory=list)

    def record_sent(self, incident: str, peer: str, what: str, at: float) -> None:
        self.rows.append((incident, peer, what))

    def sent_to(self, peer: str) -> Iterable[tuple[str, str]]:
        return [(incident, what) for incident, name, what in self.rows if name == peer]


class Receiver:
    """Answers with ``status``; keeps what it took."""

    def __init__(self, mock: responses.RequestsMock) -> None:
        self.status = 200
        self.took: list[tuple[dict[str, str], bytes]] = []
        self.asked = 0
        mock.add_callback(responses.POST, URL, self._answer)

    def _answer(self, request: Any) -> tuple[int, dict[str, str], str]:
        self.asked += 1
        if self.status // 100 == 2:
            self.took.append((dict(request.headers), request.body))
        return self.status, {}, ""

    @property
    def told(self) -> list[str]:
        return [json.loads(body)["event"] for _, body in self.took]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        yield Receiver(mock)


Start = Callable[..., Delivery]


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    monkeypatch.setattr("alerts.notify.sender.FIRST_PAUSE", 0.02)
    monkeypatch.setattr("alerts.notify.sender.LONGEST_PAUSE", 0.05)
    running: list[Delivery] = []

    def begin(ledger: Ledger, **more: Any) -> Delivery:
        registry = CollectorRegistry()
        box = Delivery(registry, lambda: NOW, ledger=ledger, links=Links("https://klaxon"))
        box.registry = registry  # type: ignore[attr-defined]
        box.use([], [Webhook.model_validate({"url": URL, **more})])
        box.start()
        running.append(box)
        return box

    yield begin
    for box in running:
        box.stop(0.5)


def heard(box: Delivery) -> None:
    wait_until("the queue is empty", lambda: not any(box.pending().values()), 10)


def test_each_event_is_told_once_in_its_order(receiver: Receiver, start: Start) -> None:
    box = start(Ledger())
    for incident in (replace(OPENED, settled_at=None), OPENED, OPENED, RAISED, RAISED, CLOSED, CLOSED):
        box.tell([incident])
        heard(box)
    assert receiver.told == ["opened", "raised", "updated", "updated", "resolved"]
    keys = [headers["Idempotency-Key"] for headers, _ in receiver.took]
    assert len(set(keys)) == 5


def test_what_stands_in_an_event(receiver: Receiver, start: Start) -> None:
    box = start(Ledger())
    box.tell([OPENED])
    heard(box)
    headers, body = receiver.took[0]
    event = json.loads(body)
    assert event["idempotency_key"] == headers["Idempotency-Key"]
    assert headers["X-Klaxon-Event"] == "opened"
    assert event["at"] == "2023-11-14T22:13:22.000Z"
    incident = event["incident"]
    assert incident["labels"] == {"team": "platform"}
    assert incident["notes"]["runbook_url"] == "https://klaxon/incidents/abc"
    assert incident["text"].startswith("WARNING · cluster orders · broker 2")
    assert "X-Klaxon-Signature" not in headers


def test_a_signature_is_of_the_body(receiver: Receiver, start: Start, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("geheim\n")
    box = start(Ledger(), secret_file=str(secret))
    box.tell([OPENED])
    heard(box)
    headers, body = receiver.took[0]
    assert headers["X-Klaxon-Signature"] == "sha256=" + hmac.new(b"geheim", body, hashlib.sha256).hexdigest()


def test_while_it_is_away_events_wait_and_the_newest_update_wins(receiver: Receiver, start: Start) -> None:
    receiver.status = 503
    box = start(Ledger())
    for incident in (OPENED, RAISED, CLOSED):
        box.tell([incident])
        asked = receiver.asked
        wait_until("it was tried", lambda asked=asked: receiver.asked > asked)  # type: ignore[misc]
    receiver.status = 204
    heard(box)
    assert sorted(receiver.told) == ["opened", "raised", "resolved", "updated"]
    assert receiver.told[0] == "opened"


def test_a_restart_tells_only_what_was_not_taken(receiver: Receiver, start: Start) -> None:
    ledger = Ledger()
    box = start(ledger)
    box.tell([OPENED])
    heard(box)
    receiver.status = 503
    box.tell([RAISED])
    box.stop(0.2)
    receiver.status = 200
    again = start(ledger)
    again.tell([RAISED])
    heard(again)
    assert receiver.told == ["opened", "raised", "updated"]


def test_a_second_opening_is_another_story(receiver: Receiver, start: Start) -> None:
    box = start(Ledger())
    box.tell([OPENED])
    heard(box)
    box.tell([replace(OPENED, opened_at=NOW + 900, settled_at=NOW + 902, postings=((Severity.WARNING, NOW + 900),))])
    heard(box)
    assert len({headers["Idempotency-Key"] for headers, _ in receiver.took}) == 2


def test_what_is_refused_is_dropped_and_counted(receiver: Receiver, start: Start) -> None:
    receiver.status = 422
    box = start(Ledger())
    box.tell([OPENED])
    heard(box)
    registry: CollectorRegistry = box.registry  # type: ignore[attr-defined]
    assert registry.get_sample_value("klaxon_notifications_dropped_total", {"peer": "hooks.example.org"}) == 1
    assert receiver.asked == 1


def test_its_path_is_in_no_metric_and_no_log(
    receiver: Receiver, start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    receiver.status = 503
    box = start(Ledger())
    box.tell([OPENED])
    wait_until("it was tried", lambda: receiver.asked > 0)
    registry: CollectorRegistry = box.registry  # type: ignore[attr-defined]
    shown = str([(s.name, s.labels) for family in registry.collect() for s in family.samples])
    assert "hooks.example.org" in shown and "s3cret" not in shown
    assert "s3cret" not in capsys.readouterr().out


def test_two_klaxons_give_an_event_the_same_key() -> None:
    """One opened the incident, the other adopted it: it has the first one's start, by the millisecond, and saw it later."""
    began = NOW + 0.1239
    first = replace(OPENED, opened_at=began, postings=((Severity.WARNING, began),))
    second = replace(OPENED, opened_at=NOW + 17, settled_at=NOW + 17, postings=((Severity.WARNING, NOW + 0.123),))
    keys = [[e.idempotency_key for e in events(i, Links())] for i in (first, second)]
    assert keys[0] == keys[1]
