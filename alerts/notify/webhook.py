"""Webhooks: one POST of JSON for each event, with an idempotency key and, if wanted, a signature."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Sequence

from alerts.diagnosis.events import Event, as_json
from alerts.notify.config import Webhook as WebhookConfig
from alerts.notify.http import Http, SecretError, from_file
from alerts.notify.sender import DeliveryError
from exporter.files import read_secret


class Webhook:
    """One receiver as a ``Destination`` of events. ``timed`` is told the seconds that each request took."""

    batch = 1

    def __init__(self, config: WebhookConfig, timed: Callable[[float], None] = lambda seconds: None) -> None:
        self.name = config.shown_name
        self._config = config
        self._http = Http(self.name, config, timed)

    def close(self) -> None:
        self._http.close()

    def send(self, items: Sequence[Event]) -> None:
        for event in items:
            body = json.dumps(as_json(event), ensure_ascii=False).encode()
            self._http.request(
                "POST",
                self._config.url,
                body=body,
                headers={
                    "Idempotency-Key": event.idempotency_key,
                    "X-Klaxon-Event": event.what,
                    **self._signature(body),
                },
            )

    def _signature(self, body: bytes) -> dict[str, str]:
        if self._config.secret_file is None:
            return {}
        try:
            secret = from_file(read_secret, self._config.secret_file)
        except SecretError as error:
            raise DeliveryError(self.name, "secret", str(error)) from error
        return {"X-Klaxon-Signature": f"sha256={hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}"}
