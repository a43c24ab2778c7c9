"""Proves who we are by SASL (KIP-43, KIP-152) over an open connection; the mechanisms' own exchanges are kafka-python's."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from kafka.net.sasl import get_sasl_mechanism
from kafka.net.sasl.oauth import AbstractTokenProvider
from kafka.protocol.sasl import (
    SaslAuthenticateRequest,
    SaslAuthenticateResponse,
    SaslHandshakeRequest,
    SaslHandshakeResponse,
)
from pydantic import SecretStr

from exporter.kafka.api import Api
from exporter.kafka.credentials import Credentials, Proof
from exporter.kafka.errors import AuthenticationFailed, BadAnswer
from exporter.kafka.security import SecurityConfig

HANDSHAKE = Api("SaslHandshake", 17, 1, False)
AUTHENTICATE = Api("SaslAuthenticate", 36, 2, True)

Exchange = Callable[[Api, bytes], memoryview]
"""Sends one request and gives the body of its answer."""

_ELSEWHERE: Final = {"GSSAPI": "Kerberos", "AWS_MSK_IAM": "the source of AWS credentials"}
"""Mechanisms whose beginning asks somebody else, which cannot be interrupted."""


def authenticate(
    exchange: Exchange, credentials: Credentials, proof: Proof, host: str, left: Callable[[], float]
) -> float | None:
    """Authenticate within what is ``left``; returns for how many seconds the broker takes it (KIP-368), None for ever.

    Raises AuthenticationFailed, BadAnswer, and what ``exchange`` and ``left`` raise.
    """
    security = credentials.security
    _agree(exchange, security)
    mechanism, token = _begun(credentials, proof, host, left())
    while True:
        answer = _decoded(
            SaslAuthenticateResponse,
            exchange(AUTHENTICATE, _encoded(SaslAuthenticateRequest, AUTHENTICATE, auth_bytes=token)),
            AUTHENTICATE,
        )
        if answer.error_code:
            credentials.refused()
            raise AuthenticationFailed(f"SASL {security.mechanism}: {answer.error_message or answer.error_code}")
        _step(security, "the broker's answer does not fit", mechanism.receive, answer.auth_bytes)
        if mechanism.is_done():
            break
        token = _step(security, "there is no next step", mechanism.auth_bytes)
    if not mechanism.is_authenticated():
        raise AuthenticationFailed(f"SASL {security.mechanism}: the broker did not confirm who we are")
    return answer.session_lifetime_ms / 1000 if answer.session_lifetime_ms > 0 else None


def _agree(exchange: Exchange, security: SecurityConfig) -> None:
    """Name the mechanism; a broker without it says which it has."""
    body = exchange(HANDSHAKE, _encoded(SaslHandshakeRequest, HANDSHAKE, mechanism=security.mechanism))
    answer = _decoded(SaslHandshakeResponse, body, HANDSHAKE)
    if answer.error_code or security.mechanism not in answer.mechanisms:
        offered = ", ".join(answer.mechanisms) or "none"
        raise AuthenticationFailed(f"SASL {security.mechanism} is not enabled on this listener; it offers: {offered}")


# --- the mechanism and its first token


def _begun(credentials: Credentials, proof: Proof, host: str, seconds: float) -> tuple[Any, bytes]:
    security = credentials.security
    if security.mechanism == "OAUTHBEARER":
        proof = Proof(proof.version, proof.context, credentials.token(proof, seconds))
    begin = partial(_step, security, "it cannot begin", partial(_begin, security, proof.secret, host))
    asked = _ELSEWHERE.get(security.mechanism or "")
    if asked is None:
        return begin()  # type: ignore[no-any-return]
    try:
        # The thread stands for its connection: each needs a beginning of its own.
        found: tuple[Any, bytes] = credentials.elsewhere.run((host, threading.get_ident()), begin, seconds)
    except TimeoutError:
        raise AuthenticationFailed(f"SASL {security.mechanism}: {asked} did not answer in time") from None
    return found


def _begin(security: SecurityConfig, secret: SecretStr, host: str) -> tuple[Any, bytes]:
    assert security.mechanism is not None
    given = {"host": host, "sasl_mechanism": security.mechanism} | _given(security, secret)
    mechanism = get_sasl_mechanism(security.mechanism)(**given)
    if security.mechanism == "AWS_MSK_IAM":
        mechanism._boto_session_cls = partial(_aws_session, security)
    return mechanism, mechanism.auth_bytes()


def _given(security: SecurityConfig, secret: SecretStr) -> dict[str, Any]:
    """kafka-python's settings for the mechanism."""
    match security.mechanism:
        case "OAUTHBEARER":
            return {"sasl_oauth_token_provider": _Token(secret, security.extensions)}
        case "GSSAPI":
            return {
                "sasl_kerberos_service_name": security.kerberos_service_name or "kafka",
                "sasl_kerberos_domain_name": security.kerberos_host or "",
            }
        case "AWS_MSK_IAM":
            return {"security_protocol": security.protocol}
    username = security.username or ""
    if security.mechanism != "PLAIN":
        # RFC 5802: these two separate the fields of a message; kafka-python leaves them as they are.
        username = username.replace("=", "=3D").replace(",", "=2C")
    return {"sasl_plain_username": username, "sasl_plain_password": secret.get_secret_value()}


class _Token(AbstractTokenProvider):  # type: ignore[misc]
    """One token, with the extensions that go with it (KIP-342)."""

    def __init__(self, token: SecretStr, extensions: dict[str, str]) -> None:
        self._token = token
        self._extensions = extensions

    def token(self) -> str:
        return self._token.get_secret_value()

    def extensions(self) -> dict[str, str]:
        return self._extensions


def _aws_session(security: SecurityConfig) -> Any:
    """botocore's session; credentials come from where botocore looks: environment, profile, web identity, container, instance."""
    from botocore.session import Session

    session = Session(profile=security.aws_profile)
    if security.aws_region is not None:
        session.set_config_variable("region", security.aws_region)
    if session.get_credentials() is None:
        raise AuthenticationFailed("no AWS credentials were found in the environment, a profile or the instance")
    return session


def _step(security: SecurityConfig, what: str, step: Callable[..., Any], *arguments: object) -> Any:
    """A step of the mechanism; whatever it and the libraries below it (Kerberos, botocore) raise is a failed authentication."""
    try:
        return step(*arguments)
    except Exception as error:
        said = " ".join(str(error).split()) or type(error).__name__
        raise AuthenticationFailed(f"SASL {security.mechanism}: {what}: {said}") from error


def _encoded(request: Any, api: Api, **fields: object) -> bytes:
    return bytes(request(version=api.version, **fields).encode())


def _decoded(response: Any, body: memoryview, api: Api) -> Any:
    try:
        return response.decode(bytes(body), version=api.version)
    except Exception as error:
        raise BadAnswer(f"the answer cannot be decoded: {error}", request=api.name) from error
