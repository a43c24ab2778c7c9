"""The page of an incident, word for word; the golden files lie beside this one (KLAXON_GOLDEN=write renews them)."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from alerts.diagnosis.incidents import State, step
from alerts.diagnosis.postings import Links, postings
from alerts.diagnosis.text import deliveries, page
from alerts.diagnosis.tree import load
from alerts.diagnosis.walk import diagnose
from alerts.model import Alert, Incident, Sent
from tests.alerts.diagnosis import scenes
from tests.alerts.diagnosis.scenes import NOW, Scene, alert, broker_down

GOLDEN = Path(__file__).parent / "golden"
TREES = load()


def unseen() -> Scene:
    scene = scenes.dir_failed()
    scene.silence("log_dirs", 2)
    return scene


PAGES: dict[str, tuple[Scene, Alert]] = {
    "broker-killed": (scenes.killed(), broker_down()),
    "single-copy": (scenes.single_copy(), alert("KafkaLeaderless", problem="KafkaLeaderless", severity="critical")),
    "quorum-lost": (
        scenes.quorum_lost(),
        alert("KafkaNoController", problem="KafkaNoController", severity="critical", tree="quorum"),
    ),
    "log-dir-full": (
        scenes.dir_failed(free=1024.0**2),
        alert("KafkaLogDirFailed", problem="KafkaLogDirFailed", subject="broker/2", broker=2, dir="/d2"),
    ),
    "log-dirs-unknown": (
        unseen(),
        alert("KafkaLogDirFailed", problem="KafkaLogDirFailed", subject="broker/2", broker=2, dir="/d2"),
    ),
    "group-stuck": (
        scenes.group(stands=[4]),
        alert("KafkaGroupStopped", problem="KafkaGroupStopped", subject="group/billing", consumergroup="billing"),
    ),
}


def incident(scene: Scene, of: Alert) -> Incident:
    state, findings = State(), {of.fingerprint: diagnose(TREES, of, scene.world())}
    for later in (0, 10):
        state, _ = step(state, [of], findings, NOW + later)
    (opened,) = state.open
    return opened


@pytest.mark.parametrize("name", PAGES)
def test_page_reads_as_written(name: str) -> None:
    text = page(incident(*PAGES[name]), NOW + 120)
    file = GOLDEN / f"{name}.txt"
    if os.environ.get("KLAXON_GOLDEN") == "write":
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8")


def test_closed_incident_says_so() -> None:
    closed = replace(incident(*PAGES["broker-killed"]), closed_at=NOW + 600)
    assert page(closed, NOW + 9000).startswith("RESOLVED · cluster orders · broker 2 · since 22:13:20 (10 min)")


def test_incident_without_a_tree_still_reads() -> None:
    plain = alert("MyRule", problem="MyRule", subject="topic/orders")
    state, _ = step(State(), [plain], {}, NOW)
    state, _ = step(state, [plain], {}, NOW + 10)
    text = page(state.open[0], NOW + 20)
    assert "orders: MyRule of topic/orders" in text
    assert "No cause is known" in text


def test_notification_carries_the_diagnosis() -> None:
    links = Links("https://klaxon.example/", lambda i: f"https://grafana.example/d/kafka?var-cluster={i.cluster}")
    (posting,) = postings([incident(*PAGES["broker-killed"])], [], links)
    assert posting.labels == {
        "alertname": "KafkaBrokerUnavailable",
        "cluster": "orders",
        "subject": "broker/2",
        "severity": "warning",
    }
    said = posting.annotations
    assert said["summary"] == "orders: broker 2 down, 6 partitions on fewer copies"
    assert said["first_command"] == "ssh kafka-2 journalctl -u kafka -n 100"
    assert said["confidence"] == "high confidence · nothing unknown"
    assert said["explains"] == "KafkaBrokerDown"
    assert said["runbook_url"].startswith("https://klaxon.example/incidents/")
    assert said["dashboard_url"] == "https://grafana.example/d/kafka?var-cluster=orders"
    assert "unknowns" not in said
    assert len(said["summary"]) <= 80


@pytest.mark.parametrize("name", PAGES)
def test_subject_line_fits_a_phone(name: str) -> None:
    assert len(incident(*PAGES[name]).summary) <= 80


def test_who_took_it_is_told_of_this_opening_alone() -> None:
    told = replace(incident(*PAGES["broker-killed"]), settled_at=NOW)
    sent = [
        Sent(told.id, "am-1:9093", f"resolved warning {NOW - 900}", NOW - 600),
        Sent(told.id, "am-1:9093", f"firing warning {NOW}", NOW + 1),
        Sent(told.id, "https://hook", f"opened/0 {NOW}", NOW + 2),
    ]
    assert deliveries(told, sent, ["am-2:9093", "am-1:9093", "https://hook"]) == [
        "22:13:21 firing warning taken by am-1:9093",
        "22:13:22 opened taken by https://hook",
        "nothing taken yet by am-2:9093",
    ]
    assert deliveries(told, sent[:1], []) == ["to nobody: no Alertmanager and no webhook is configured"]
    assert deliveries(replace(told, settled_at=None), sent, ["am-1:9093"]) == []
    assert page(told, NOW, delivered=["one", "two"]).endswith("\nDelivered  one · two\n")
