"""Proves who we are by SASL (KIP-43, KIP-152) over an open connection; the mechanisms' own exchanges are kafka-python's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kafka.net.sasl import get_sasl_mechanism
from kafka.protocol.sasl import (
    SaslAuthenticateRequest,
    SaslAuthenticateResponse,
    SaslHandshakeRequest,
    SaslHandshakeResponse,
)

from exporter.kafka.api import Api
from exporter.kafka.errors import AuthenticationFailed, BadAnswer
from exporter.kafka.security import SecurityConfig

HANDSHAKE = Api("SaslHandshake", 17, 1, False)
AUTHENTICATE = Api("SaslAuthenticate", 36, 2, True)

Exchange = Callable[[Api, bytes], memoryview]
"""Sends one request and gives the body of its answer."""


def authenticate(exchange: Exchange, security: SecurityConfig, host: str) -> float | None:
    """Authenticate; returns for how many seconds the broker takes it (KIP-368), None for ever. Raises AuthenticationFailed, BadAnswer."""
    _agree(exchange, security)
    mechanism = _mechanism(security, host)
    lifetime_ms = 0
    while not mechanism.is_done():
        answer = _decoded(
            SaslAuthenticateResponse,
            exchange(AUTHENTICATE, _encoded(SaslAuthenticateRequest, AUTHENTICATE, auth_bytes=mechanism.auth_bytes())),
            AUTHENTICATE,
        )
        if answer.error_code:
            raise AuthenticationFailed(f"SASL {security.mechanism}: {answer.error_message or answer.error_code}")
        _receive(mechanism, answer.auth_bytes, security)
        lifetime_ms = answer.session_lifetime_ms
    if not mechanism.is_authenticated():
        raise AuthenticationFailed(f"SASL {security.mechanism}: the broker did not confirm {security.username}")
    return lifetime_ms / 1000 if lifetime_ms > 0 else None


def _agree(exchange: Exchange, security: SecurityConfig) -> None:
    """Name the mechanism; a broker without it says which it has."""
    body = exchange(HANDSHAKE, _encoded(SaslHandshakeRequest, HANDSHAKE, mechanism=security.mechanism))
    answer = _decoded(SaslHandshakeResponse, body, HANDSHAKE)
    if answer.error_code or security.mechanism not in answer.mechanisms:
        offered = ", ".join(answer.mechanisms) or "none"
        raise AuthenticationFailed(f"SASL {security.mechanism} is not enabled on this listener; it offers: {offered}")


def _mechanism(security: SecurityConfig, host: str) -> Any:
    assert security.mechanism is not None
    assert security.username is not None
    username = security.username
    if security.mechanism.startswith("SCRAM"):
        # RFC 5802: these two separate the fields of a message; kafka-python leaves them as they are.
        username = username.replace("=", "=3D").replace(",", "=2C")
    return get_sasl_mechanism(security.mechanism)(
        host=host,
        sasl_mechanism=security.mechanism,
        sasl_plain_username=username,
        sasl_plain_password=security.password(),
    )


def _receive(mechanism: Any, token: bytes, security: SecurityConfig) -> None:
    """The mechanism's next step; what it raises when the broker's side does not fit is a failed authentication."""
    try:
        mechanism.receive(token)
    except (ValueError, KeyError) as error:
        raise AuthenticationFailed(f"SASL {security.mechanism}: the broker's answer does not fit: {error}") from error


def _encoded(request: Any, api: Api, **fields: object) -> bytes:
    return bytes(request(version=api.version, **fields).encode())


def _decoded(response: Any, body: memoryview, api: Api) -> Any:
    try:
        return response.decode(bytes(body), version=api.version)
    except Exception as error:
        raise BadAnswer(f"the answer cannot be decoded: {error}", request=api.name) from error
