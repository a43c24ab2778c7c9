"""``klaxon send-test-page``: one page through every configured peer, what each says about it, and its end."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial

from alerts.diagnosis.events import Event
from alerts.diagnosis.postings import Posting, with_external
from alerts.model import Incident, Severity, incident_id
from alerts.notify.alertmanager import Alertmanager
from alerts.notify.config import AlertmanagerPeer
from alerts.notify.config import Webhook as WebhookConfig
from alerts.notify.discovery import look_up
from alerts.notify.sender import DeliveryError
from alerts.notify.webhook import Webhook
from klaxon.config import Config

PROBLEM = "KlaxonTestPage"
LOOK_EVERY_S = 0.2


class Outcome(StrEnum):
    """How it went with one peer."""

    ARRIVED = "arrived"
    FAILED = "failed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Said:
    """What one peer made of the page, in words; the exit code is made of all outcomes."""

    peer: str
    outcome: Outcome
    words: str


@dataclass(frozen=True, slots=True)
class Order:
    """The page to send, how long a peer may take to show it, and how long it stays firing (seconds)."""

    severity: Severity = Severity.WARNING
    limit: float = 15.0
    hold: float = 0.0


def send_everywhere(config: Config, order: Order, clock: Callable[[], float] = time.time) -> list[Said]:
    """Send the page to all peers at once and resolve it; what each said, in the order of the configuration."""
    peers, said = _peers(config)
    page = _page(order, clock())
    external = config.external_labels
    tries = [
        *(partial(_through_alertmanager, peer, page, external, order, clock) for peer in peers),
        *(partial(_through_webhook, hook, page, order, clock) for hook in config.webhooks),
    ]
    with ThreadPoolExecutor(max_workers=max(1, len(tries))) as pool:
        return [*said, *(f.result() for f in [pool.submit(one) for one in tries])]


def _peers(config: Config) -> tuple[Sequence[AlertmanagerPeer], list[Said]]:
    peers: dict[str, AlertmanagerPeer] = {}
    said = []
    for peer in config.alertmanagers:
        try:
            found = [peer] if peer.url else [peer.at(*target) for target in look_up(peer.srv)]
        except OSError as error:
            said.append(Said(peer.name, Outcome.FAILED, f"the SRV record cannot be looked up: {error}"))
            continue
        if not found:
            said.append(Said(peer.name, Outcome.FAILED, "the SRV record names no host"))
        peers |= {p.url: p for p in found}
    return list(peers.values()), said


def _page(order: Order, now: float) -> Incident:
    subject = f"test/{secrets.token_hex(4)}"
    return Incident(
        incident_id("", PROBLEM, subject),
        "",
        PROBLEM,
        subject,
        order.severity,
        now,
        (),
        summary="This is a test of Klaxon's way to you; nothing is wrong.",
        settled_at=now,
        postings=((order.severity, now),),
    )


def _through_alertmanager(
    config: AlertmanagerPeer, page: Incident, external: Mapping[str, str], order: Order, clock: Callable[[], float]
) -> Said:
    labels = {"alertname": page.problem, "subject": page.subject, "severity": str(page.severity)}
    said = Posting(labels, {"summary": page.summary}, page.opened_at, incident=page.id)
    (firing,) = with_external([said], external)
    peer = Alertmanager(config, None, clock)
    try:
        peer.send([firing])
        seen = _shown(peer, page.subject, order.limit)
        _hold(order)
        peer.send([replace(firing, resolved_at=clock())])
    except DeliveryError as error:
        return Said(config.name, Outcome.FAILED, error.reason)
    finally:
        peer.close()
    if not seen:
        return Said(config.name, Outcome.UNKNOWN, f"took the page and did not show it within {order.limit:g} s")
    return Said(config.name, Outcome.ARRIVED, "took the page, showed it, took its end")


def _shown(peer: Alertmanager, subject: str, limit: float) -> bool:
    deadline = time.monotonic() + limit
    while True:
        if peer.shown(alertname=PROBLEM, subject=subject):
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(LOOK_EVERY_S)


def _through_webhook(config: WebhookConfig, page: Incident, order: Order, clock: Callable[[], float]) -> Said:
    hook = Webhook(config)
    try:
        hook.send([Event(page, "opened", 0, page.opened_at)])
        _hold(order)
        hook.send([Event(replace(page, closed_at=clock()), "resolved", 0, clock())])
    except DeliveryError as error:
        return Said(hook.name, Outcome.FAILED, error.reason)
    finally:
        hook.close()
    return Said(hook.name, Outcome.ARRIVED, "took the page and its end")


def _hold(order: Order) -> None:
    if order.hold:
        time.sleep(order.hold)


def told(said: Sequence[Said]) -> Iterator[str]:
    """A line for each peer, and whose turn it is now."""
    width = max((len(one.peer) for one in said), default=0)
    for one in said:
        yield f"{one.peer:<{width}}  {one.outcome:<8} {one.words}"
    if any(one.outcome is Outcome.ARRIVED for one in said):
        yield "Whether somebody was told is up to the receivers behind these peers: ask who is on call."
