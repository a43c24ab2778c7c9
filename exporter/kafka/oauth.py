"""Tokens for OAUTHBEARER (KIP-255, KIP-768) from a token endpoint, by the client's credentials (RFC 6749, 4.4), kept until shortly before they end."""

from __future__ import annotations

import base64
import binascii
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import requests
from pydantic import SecretStr
from requests.auth import HTTPBasicAuth

from exporter.kafka.bounded import Detached, Monotonic
from exporter.kafka.errors import AuthenticationFailed
from exporter.kafka.security import SecurityConfig

USED_FOR: Final = 0.8
"""Part of a token's life for which new connections are made with it."""
UNTOLD_S: Final = 60.0
"""Seconds for which a token is used whose end is told neither by the endpoint nor by itself."""
PAUSE_S: Final = 5.0
"""Seconds after a failure before the endpoint is asked again: every connection of a large cluster wants a token at once."""
_WAIT_S: Final = 10.0
_WHOLE_S: Final = 30.0
_MAX_ANSWER: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Token:
    """``lifetime`` in seconds from when it was given, None where nobody says."""

    value: SecretStr
    lifetime: float | None


class TokenEndpoint:
    """Shared by all connections of a cluster; asked by one thread at a time, which can be left behind."""

    def __init__(
        self,
        security: SecurityConfig,
        monotonic: Monotonic = time.monotonic,
        clock: Callable[[], float] = time.time,
    ) -> None:
        assert security.token_url is not None
        assert security.client_id is not None
        self._url = security.token_url
        self._client_id = security.client_id
        self._scope = security.scope
        self._verify: bool | str = security.token_ca_file or True
        self._monotonic = monotonic
        self._clock = clock
        self._lock = threading.Lock()
        self._held: tuple[SecretStr, SecretStr, float] | None = None
        """Client's secret, token, and until when it is used."""
        self._failed: tuple[str, float] | None = None
        self._asking: Detached[SecretStr] = Detached("token endpoint")

    def token(self, secret: SecretStr, timeout: float) -> SecretStr:
        """A token that is still good for a while; raises AuthenticationFailed."""
        with self._lock:
            now = self._monotonic()
            if self._held is not None and self._held[0] == secret and now < self._held[2]:
                return self._held[1]
            if self._failed is not None and now < self._failed[1]:
                raise AuthenticationFailed(self._failed[0])
        try:
            return self._asking.run(secret.get_secret_value(), lambda: self._fetch(secret), timeout)
        except TimeoutError:
            raise AuthenticationFailed(f"the token endpoint {self._url} did not answer in time") from None
        except AuthenticationFailed as error:
            # One of its own for each connection that shares the outcome: it is told whose it is.
            raise AuthenticationFailed(*error.args) from error

    def forget(self) -> None:
        """Ask for another token next time: this one was refused."""
        with self._lock:
            self._held = None

    def _fetch(self, secret: SecretStr) -> SecretStr:
        try:
            status, body = self._ask(secret)
            token = read_answer(status, body, self._clock())
        except (requests.RequestException, OSError, ValueError) as error:
            said = f"the token endpoint {self._url} gave no token: {_short(error)}"
            with self._lock:
                self._failed = (said, self._monotonic() + PAUSE_S)
            raise AuthenticationFailed(said) from error
        used_for = token.lifetime * USED_FOR if token.lifetime is not None else UNTOLD_S
        with self._lock:
            self._failed = None
            self._held = (secret, token.value, self._monotonic() + used_for)
        return token.value

    def _ask(self, secret: SecretStr) -> tuple[int, bytes]:
        """Status and body of the endpoint's answer. Raises requests.RequestException, OSError, ValueError."""
        form = {"grant_type": "client_credentials"} | ({"scope": self._scope} if self._scope else {})
        begun = time.monotonic()
        with requests.post(
            self._url,
            data=form,
            # As bytes, since requests would take text for Latin-1.
            auth=HTTPBasicAuth(self._client_id.encode(), secret.get_secret_value().encode()),
            verify=self._verify,
            timeout=_WAIT_S,
            # Whoever is redirected to would be given the secret.
            allow_redirects=False,
            stream=True,
            headers={"Accept": "application/json"},
        ) as answer:
            body = bytearray()
            for chunk in answer.iter_content(4096):
                body += chunk
                if len(body) > _MAX_ANSWER or time.monotonic() - begun > _WHOLE_S:
                    raise ValueError("its answer does not end")
            return answer.status_code, bytes(body)


def read_answer(status: int, body: bytes, now: float) -> Token:
    """The token in an endpoint's answer (RFC 6749, 5.1 and 5.2); raises ValueError with what the endpoint says instead. ``now`` in Unix seconds."""
    try:
        told = json.loads(body)
    except ValueError:
        told = None
    if not isinstance(told, dict):
        raise ValueError(f"HTTP {status}, and the answer is no JSON object")
    if status != 200:
        said = " ".join(str(told[key])[:200] for key in ("error", "error_description") if key in told)
        raise ValueError(f"HTTP {status} {said}".rstrip())
    value = told.get("access_token")
    if not isinstance(value, str) or not value or not all("!" <= char <= "~" for char in value):
        raise ValueError("its answer holds no access_token")
    lifetime = _number(told.get("expires_in"))
    if lifetime is None and (end := _number(_claims(value).get("exp"))) is not None:
        lifetime = end - now
    if lifetime is not None and lifetime <= 0:
        raise ValueError("the token has ended already; compare the clocks")
    return Token(SecretStr(value), lifetime)


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _claims(token: str) -> dict[str, Any]:
    """What a JWT (RFC 7519) says of itself, unproven; nothing for other tokens."""
    parts = token.split(".")
    if len(parts) != 3:
        return {}
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError):
        return {}
    return claims if isinstance(claims, dict) else {}


def _short(error: BaseException) -> str:
    """The innermost reason: requests wraps what the operating system and TLS say several times."""
    inner = error
    while (
        below := getattr(inner, "reason", None) or next((a for a in inner.args if isinstance(a, Exception)), None)
    ) and isinstance(below, BaseException):
        inner = below
    return str(inner)
