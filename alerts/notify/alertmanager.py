"""Alertmanager's API v2: posting alerts on its clock, and asking which it shows."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

import requests
import structlog

from alerts.diagnosis.postings import OUTLIVES, Posting
from alerts.diagnosis.shown import ShownAlert
from alerts.diagnosis.text import rfc3339
from alerts.notify.config import AlertmanagerPeer
from alerts.notify.http import Http
from alerts.notify.metrics import PeerMetrics
from alerts.notify.sender import DeliveryError

log = structlog.get_logger(__name__)

BATCH: Final = 64
"""Alerts in one request."""

SKEW_COUNTS: Final = 2.0
"""Seconds below which a difference of clocks is the header's rounding."""

SKEW_TOLD: Final = 30.0
"""Seconds from which a difference of clocks is told."""


class Alertmanager:
    """One peer as a ``Destination`` of postings. ``shown`` is for another thread, with an instance of its own."""

    batch = BATCH

    def __init__(self, config: AlertmanagerPeer, metrics: PeerMetrics | None, clock: Callable[[], float]) -> None:
        self.name = config.name
        self._url = f"{config.url}/api/v2/alerts"
        self._metrics = metrics
        self._clock = clock
        self._http = Http(self.name, config, metrics.seconds.set if metrics is not None else lambda _: None)
        self._skew = 0.0
        self._skew_told = False

    def close(self) -> None:
        self._http.close()

    def send(self, items: Sequence[Posting]) -> None:
        now = self._clock() - self._skew
        body = json.dumps([as_json(p, now) for p in items]).encode()
        asked = self._clock(), time.monotonic()
        answer = self._http.request("POST", self._url, body=body)
        self._learn_clock(answer, asked[0] + (time.monotonic() - asked[1]) / 2)

    def shown(self, clusters: Sequence[str] = (), **labels: str) -> list[ShownAlert]:
        """The alerts of these clusters (all if none is named) and with these labels that it holds as firing, silenced and inhibited ones included.
        Raises DeliveryError."""
        filters = [f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in labels.items()]
        if clusters:
            filters.append(f"cluster=~{json.dumps('|'.join(map(re.escape, clusters)))}")
        params: dict[str, str | list[str]] = {
            "active": "true",
            "silenced": "true",
            "inhibited": "true",
            "unprocessed": "true",
            "filter": filters,
        }
        answer = self._http.request("GET", self._url, params=params)
        try:
            return [_shown(alert) for alert in answer.json()]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DeliveryError(self.name, "answer", f"its answer is no list of alerts: {error!r}") from error

    def _learn_clock(self, answer: requests.Response, ours: float) -> None:
        """By the answer's Date: its second has half passed on average."""
        try:
            theirs = parsedate_to_datetime(answer.headers["Date"]).timestamp() + 0.5
        except (KeyError, ValueError, TypeError):
            return
        skew = ours - theirs
        self._skew = skew if abs(skew) >= SKEW_COUNTS else 0.0
        if self._metrics is not None:
            self._metrics.skewed(round(skew))
        if abs(skew) >= SKEW_TOLD and not self._skew_told:
            log.warning(
                "the clocks of Klaxon and an Alertmanager differ; set both by NTP",
                peer=self.name,
                ahead_seconds=round(skew),
            )
        elif abs(skew) < SKEW_TOLD and self._skew_told:
            log.info("the clocks of Klaxon and an Alertmanager agree again", peer=self.name)
        self._skew_told = abs(skew) >= SKEW_TOLD


def _shown(alert: Any) -> ShownAlert:
    return ShownAlert(
        {str(k): str(v) for k, v in alert["labels"].items()},
        datetime.fromisoformat(alert["startsAt"]).timestamp(),
        frozenset(str(alert.get("annotations", {}).get("alerts", "")).split()),
    )


def as_json(posting: Posting, now: float) -> dict[str, Any]:
    """One alert as API v2 wants it; ``now`` is the peer's, and nothing has begun or ended later than that. ``endsAt`` is in the future while it fires."""
    starts_at = min(posting.starts_at, now)
    ends_at = min(posting.resolved_at, now) if posting.resolved_at is not None else now + OUTLIVES
    body: dict[str, Any] = {
        "labels": dict(posting.labels),
        "annotations": dict(posting.annotations),
        "startsAt": rfc3339(starts_at),
        "endsAt": rfc3339(max(ends_at, starts_at)),
    }
    if posting.url:
        body["generatorURL"] = posting.url
    return body
