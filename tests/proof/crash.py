"""Kill -9 of Klaxon while an alert is pending, while it fires, and around the moment of sending; Alertmanager away for five minutes: nothing is lost or said twice."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from typing import Any

from demo import faults
from tests.klaxon_process import wait_until
from tests.proof.report import Row
from tests.proof.stage import Stage, attempted, stage

FAULT = "broker-killed"
ALERT = "KafkaBrokerDown"
AWAY = 300.0


def prove(only: str | None) -> Iterator[list[Row]]:
    parts = {
        "pending": killed_while_pending,
        "firing": killed_while_firing,
        "sending": killed_while_sending,
        "away": alertmanager_away,
    }
    with stage(incidents={"close_after": 5}) as on_stage:
        for name, part in parts.items():
            if only is None or only in name:
                on_stage.wait_calm()
                on_stage.say(f"{name}: begins")
                begun = time.time()
                yield attempted(name, partial(part, on_stage, begun)) + attempted(
                    name, partial(healed, on_stage, begun)
                )


def healed(on_stage: Stage, begun: float) -> list[Row]:
    heal(on_stage, begun)
    return []


def heal(on_stage: Stage, begun: float) -> None:
    """The cluster is well again, and the end was told: an Alertmanager that is stopped before it told an end never tells the next beginning."""
    faults.heal(on_stage.cluster)
    wait_until(lambda: not on_stage.open_incidents(), 400, "the incident is closed", every=1)
    if told(on_stage, begun)[0]:
        wait_until(lambda: told(on_stage, begun)[1], 60, "the resolve is told", every=1)


def alert(on_stage: Stage, state: str) -> dict[str, Any] | None:
    found = on_stage.klaxon.query(f'ALERTS{{alertname="{ALERT}", alertstate="{state}"}}')
    return found[0] if found else None


def posted(on_stage: Stage) -> list[tuple[str, str]]:
    """(alertname, startsAt) of what Alertmanager holds at warning or above."""
    held = [a for a in on_stage.alertmanager.alerts() if a["labels"].get("severity") in ("warning", "critical")]
    return sorted((a["labels"]["alertname"], a["startsAt"]) for a in held)


def told(on_stage: Stage, since: float) -> tuple[int, int]:
    """Notifications that said firing, and that said resolved."""
    sent = on_stage.paged(since)
    return sum(n.status == "firing" for n in sent), sum(n.status == "resolved" for n in sent)


def restart(on_stage: Stage) -> None:
    on_stage.klaxon.kill()
    on_stage.klaxon.start()


def killed_while_pending(on_stage: Stage, begun: float) -> list[Row]:
    faults.break_(on_stage.cluster, FAULT)
    wait_until(lambda: alert(on_stage, "pending"), 60, "the alert is pending")
    on_stage.say("pending: kill -9")
    at = time.time()
    restart(on_stage)
    wait_until(lambda: told(on_stage, begun)[0], 120, "a notification", every=0.5)
    waited = time.time() - at
    wait_quiet(on_stage, 60)
    firing, _ = told(on_stage, begun)
    return [
        Row(
            "killed while pending: the alert fires, told once",
            firing == 1,
            f"{firing} notification, {waited:.0f} s after the kill",
        )
    ]


def killed_while_firing(on_stage: Stage, begun: float) -> list[Row]:
    faults.break_(on_stage.cluster, FAULT)
    wait_until(lambda: told(on_stage, begun)[0], 120, "a notification", every=0.5)
    before = posted(on_stage)
    on_stage.say("firing: kill -9, twice")
    restart(on_stage)
    wait_quiet(on_stage, 45)
    restart(on_stage)
    wait_quiet(on_stage, 90)
    after, (firing, resolved) = posted(on_stage), told(on_stage, begun)
    return [
        Row(
            "killed while firing: same alert, same startsAt", before == after and len(after) == 1, f"{before} → {after}"
        ),
        Row(
            "killed while firing: no second notification, no false resolve",
            (firing, resolved) == (1, 0),
            f"{firing} firing, {resolved} resolved",
        ),
    ]


def killed_while_sending(on_stage: Stage, begun: float) -> list[Row]:
    """Alertmanager is down when the incident opens: it is in the book and not sent when Klaxon is killed."""
    on_stage.alertmanager.stop()
    faults.break_(on_stage.cluster, FAULT)
    wait_until(on_stage.open_incidents, 120, "the incident is open", every=0.1)
    opened = on_stage.open_incidents()[0]["opened_at"]
    on_stage.say("sending: kill -9 between writing and sending")
    on_stage.klaxon.kill()
    on_stage.alertmanager.start()
    on_stage.klaxon.start()
    wait_until(lambda: told(on_stage, begun)[0], 120, "a notification", every=0.5)
    wait_quiet(on_stage, 75)
    (incident,), (firing, resolved) = on_stage.open_incidents(), told(on_stage, begun)
    return [
        Row(
            "killed between writing and sending: sent after the restart, once",
            (firing, resolved) == (1, 0),
            f"{firing} firing, {resolved} resolved",
        ),
        Row(
            "killed between writing and sending: same opening",
            incident["opened_at"] == opened,
            f"{opened:.3f} → {incident['opened_at']:.3f}",
        ),
    ]


def alertmanager_away(on_stage: Stage, begun: float) -> list[Row]:
    faults.break_(on_stage.cluster, FAULT)
    wait_until(lambda: told(on_stage, begun)[0], 120, "a notification", every=0.5)
    on_stage.say(f"away: Alertmanager is down for {AWAY:.0f} s, and the broker comes back meanwhile")
    on_stage.alertmanager.stop()
    faults.heal(on_stage.cluster)
    time.sleep(AWAY)
    on_stage.alertmanager.start()
    back = time.time()
    wait_until(lambda: told(on_stage, begun)[1], 120, "the resolve is told", every=0.5)
    late = time.time() - back
    wait_quiet(on_stage, 60)
    firing, resolved = told(on_stage, begun)
    return [
        Row(
            f"Alertmanager away for {AWAY:.0f} s: the resolve is not lost, told once",
            (firing, resolved) == (1, 1),
            f"{firing} firing, {resolved} resolved, {late:.0f} s after it was back",
        )
    ]


def wait_quiet(on_stage: Stage, seconds: float) -> None:
    """Let time pass in which nothing more may be told: longer than a re-send."""
    on_stage.say(f"watching for {seconds:.0f} s")
    time.sleep(seconds)
