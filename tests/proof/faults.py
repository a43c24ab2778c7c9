"""Each fault on real brokers: one incident with the right cause, subject and severity, exactly the listed notifications, in time, resolved after heal."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import demo
from demo import faults, kafka
from tests.alertmanager import Notification
from tests.klaxon_process import wait_until
from tests.proof.report import Row
from tests.proof.stage import Stage, attempted, stage

POLL, SETTLE, MARGIN = 5.0, 10.0, 2.0
NOTICED_WITHIN = 60.0


@dataclass(frozen=True, slots=True)
class Expected:
    """What one fault must come to. ``detection`` is Kafka's own (seconds, from the fault), None where it is measured; ``hold`` the rule's `for`, ``interval`` its collector's."""

    fault: str
    problem: str
    subject: str
    severity: str
    causes: tuple[str, ...]
    detection: float | None
    hold: float
    interval: float = POLL

    def deadline(self, detected: float) -> float:
        """Seconds from the fault by which it must be notified, given when Kafka itself noticed."""
        return detected + self.hold + self.interval + SETTLE + MARGIN


EXPECTED = (
    Expected("broker-killed", "KafkaBrokerUnavailable", "broker/{node}", "warning", ("broker-process-dead",), None, 30),
    Expected("broker-hung", "KafkaBrokerUnavailable", "broker/{node}", "warning", ("broker-hung",), None, 30),
    Expected(
        "controller-killed", "KafkaBrokerUnavailable", "broker/{node}", "warning", ("broker-process-dead",), None, 30
    ),
    Expected(
        "single-replica-topic",
        "KafkaBrokerUnavailable",
        "broker/{node}",
        "critical",
        ("broker-process-dead",),
        None,
        10,
    ),
    Expected("log-dir-failed", "KafkaLogDirFailed", "broker/{node}", "warning", ("log-dir-failed",), 10, 30, 30),
    Expected("quorum-lost", "KafkaNoController", "cluster", "critical", ("quorum-lost",), 12, 10),
    Expected(
        "broker-stopped", "KafkaBrokerUnavailable", "broker/{node}", "warning", ("stopped-on-purpose",), None, 300
    ),
)
FRESH = ("topics", "cluster", "quorum")


def prove(only: str | None) -> Iterator[list[Row]]:
    # Faults follow one another on the same brokers; with the shipped quiet period each would stay open for 15 minutes.
    with stage(incidents={"quiet_period": 0}) as on_stage:
        for expected in EXPECTED:
            if only is None or only in expected.fault:
                yield attempted(expected.fault, partial(prove_one, on_stage, expected))


def prove_one(on_stage: Stage, expected: Expected) -> list[Row]:
    name = expected.fault
    on_stage.wait_calm()
    before = time.time()
    on_stage.say(f"{name}: breaking")
    details = faults.break_(on_stage.cluster, name)
    broken = float(details["at"])
    subject = expected.subject.format(node=details["nodes"][0])
    noticing = Noticing(on_stage.cluster, details["nodes"][0], broken)
    if expected.detection is None:
        noticing.start()
    try:
        longest = expected.deadline(expected.detection or NOTICED_WITHIN) + 60
        notified = wait_until(lambda: on_stage.paged(before), longest, f"{name} is notified", every=0.5)
        incident = on_stage.open_incidents()
        watch = watch_for(on_stage, 60)
        causes = {
            i["cause"]
            for i in on_stage.klaxon.incidents()
            if (i["problem"], i["subject"]) == (expected.problem, subject)
        }
    finally:
        on_stage.say(f"{name}: healing")
        healed = time.time()
        faults.heal(on_stage.cluster)
    wait_until(lambda: not on_stage.open_incidents(), 400, f"{name} is resolved", every=1)
    wait_until(
        lambda: any(n.status == "resolved" for n in on_stage.paged(before)), 60, "the resolve is notified", every=1
    )
    sent = on_stage.paged(before)
    first = notified[0].at - broken
    detected = expected.detection if expected.detection is not None else noticing.after
    deadline = expected.deadline(detected)
    all_open = {(i["problem"], i["subject"], i["severity"]) for i in incident if not i["parent"]}
    firing = [n for n in sent if n.status == "firing"]
    resolved = [n for n in sent if n.status == "resolved"]
    return [
        Row(
            f"{name}: exactly one incident",
            all_open == {(expected.problem, subject, expected.severity)},
            describe(all_open),
        ),
        Row(f"{name}: the cause", bool(causes & set(expected.causes)), ", ".join(sorted(map(str, causes)))),
        Row(
            f"{name}: one notification, then its resolve",
            len(firing) == 1 and len(resolved) == 1,
            f"{len(firing)} firing, {len(resolved)} resolved: {summaries(sent)}",
        ),
        Row(
            f"{name}: notified within {deadline - detected:.0f} s of Kafka's own detection",
            first <= deadline,
            f"{first:.1f} s after the fault, {first - detected:.1f} s after Kafka had noticed it",
        ),
        Row(
            f"{name}: other series stay fresh",
            not watch,
            "; ".join(sorted(watch)) or "ages below three intervals for 60 s",
        ),
        Row(f"{name}: resolved after heal", True, f"{resolved[0].at - healed:.0f} s after heal began"),
    ]


class Noticing(threading.Thread):
    """Asks the living brokers, as any client would, until they no longer name the broker."""

    def __init__(self, cluster: demo.Cluster, node: int, broken: float) -> None:
        super().__init__(daemon=True)
        self._cluster = cluster
        self._node = node
        self._broken = broken
        self.after = NOTICED_WITHIN
        """Seconds from the fault to when they had noticed."""

    def run(self) -> None:
        while time.time() - self._broken < NOTICED_WITHIN:
            with contextlib.suppress(*kafka.NO_ANSWER):
                if self._node not in kafka.unfenced_brokers(self._cluster.live):
                    self.after = time.time() - self._broken
                    return
            time.sleep(0.5)


def watch_for(on_stage: Stage, seconds: float) -> set[str]:
    """What was stale or looked healthy although it must not, during some seconds of the fault."""
    seen: set[str] = set()
    end = time.monotonic() + seconds
    quorum_lost = "quorum-lost" in on_stage.cluster.state.broken
    while time.monotonic() < end:
        page = on_stage.klaxon.page()
        if quorum_lost:
            if page.value("klaxon_facts_trusted", collector="topics") == 0:
                seen |= {
                    f"{m} is shown while untrusted"
                    for m in ("kafka_brokers", "kafka_partitions_under_replicated")
                    if page.value(m) is not None
                }
        else:
            seen |= {
                f"{c} is not covered"
                for c in FRESH
                if page.value("klaxon_collector_covered", collector=c, source="cluster") != 1
            }
        time.sleep(1)
    return seen


def describe(incidents: set[tuple[str, str, str]]) -> str:
    return "; ".join(f"{problem} {subject} {severity}" for problem, subject, severity in sorted(incidents)) or "none"


def summaries(sent: list[Notification]) -> str:
    return " / ".join(
        f"{n.status}: " + ", ".join(f"{a['labels']['alertname']} {a['labels'].get('subject', '')}" for a in n.alerts)
        for n in sent
    )
