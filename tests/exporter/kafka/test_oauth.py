"""Tokens from an endpoint of our own on loopback: asked once for all, kept until shortly before their end, and every refusal named without the secret."""

from __future__ import annotations

import base64
import http.server
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from pydantic import SecretStr

from exporter.kafka.errors import AuthenticationFailed
from exporter.kafka.oauth import PAUSE_S, TokenEndpoint, read_answer
from exporter.kafka.reader import Reader, Timeouts
from exporter.kafka.security import SecurityConfig
from tests.exporter.kafka.hostile import HOST, Peer
from tests.exporter.kafka.sasl_server import Server

SECRET = SecretStr("s3cret:ü")


class Endpoint:
    """Gives ``answer``, after ``delay``; keeps what it was asked."""

    def __init__(self) -> None:
        self.status, self.answer = 200, json.dumps({"access_token": "a-token", "expires_in": 100})
        self.delay = threading.Event()
        self.delay.set()
        self.asked: list[tuple[str, dict[str, list[str]]]] = []
        endpoint = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                form = self.rfile.read(int(self.headers["content-length"])).decode()
                endpoint.asked.append((self.headers["authorization"], parse_qs(form)))
                endpoint.delay.wait(30)
                self.send_response(endpoint.status)
                self.send_header("location", "http://elsewhere.example/")
                self.end_headers()
                self.wfile.write(endpoint.answer.encode())

            def log_message(self, *_: Any) -> None: ...

        self._server = http.server.ThreadingHTTPServer((HOST, 0), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self._server.server_address[1]}/token"

    def close(self) -> None:
        self.delay.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    endpoint = Endpoint()
    yield endpoint
    endpoint.close()


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def section(endpoint: Endpoint, secret_file: str = "secret", **more: Any) -> dict[str, Any]:
    return {
        "protocol": "SASL_PLAINTEXT",
        "mechanism": "OAUTHBEARER",
        "token_url": endpoint.url,
        "client_id": "klaxon",
        "client_secret_file": secret_file,
        **more,
    }


def tokens_of(endpoint: Endpoint, clock: Clock, **more: Any) -> TokenEndpoint:
    return TokenEndpoint(SecurityConfig.model_validate(section(endpoint, **more)), clock)


def test_what_is_asked(endpoint: Endpoint) -> None:
    """RFC 6749, 4.4.2: the client's name and secret in the header, the grant and the scope in the form."""
    tokens = tokens_of(endpoint, Clock(), scope="kafka read")
    assert tokens.token(SECRET, 5).get_secret_value() == "a-token"
    ((header, form),) = endpoint.asked
    assert base64.b64decode(header.removeprefix("Basic ")).decode() == f"klaxon:{SECRET.get_secret_value()}"
    assert form == {"grant_type": ["client_credentials"], "scope": ["kafka read"]}


def test_a_token_is_kept_until_shortly_before_its_end(endpoint: Endpoint) -> None:
    tokens = tokens_of(endpoint, clock := Clock())
    for now, asked in ((100.0, 1), (179.0, 1), (181.0, 2)):
        clock.now = now
        tokens.token(SECRET, 5)
        assert len(endpoint.asked) == asked
    tokens.token(SecretStr("another"), 5)
    assert len(endpoint.asked) == 3, "the secret has changed"
    tokens.forget()
    tokens.token(SecretStr("another"), 5)
    assert len(endpoint.asked) == 4, "the broker refused it"


def test_many_connections_ask_once(endpoint: Endpoint) -> None:
    tokens = tokens_of(endpoint, Clock())
    endpoint.delay.clear()
    found: list[str] = []
    waiting = [
        threading.Thread(target=lambda: found.append(tokens.token(SECRET, 20).get_secret_value())) for _ in range(20)
    ]
    for thread in waiting:
        thread.start()
    end = time.monotonic() + 10
    while not endpoint.asked and time.monotonic() < end:
        time.sleep(0.01)
    endpoint.delay.set()
    for thread in waiting:
        thread.join(20)
    assert found == ["a-token"] * 20
    assert len(endpoint.asked) == 1


def test_silence_is_bounded_and_a_late_token_is_used(endpoint: Endpoint) -> None:
    tokens = tokens_of(endpoint, Clock())
    endpoint.delay.clear()
    begun = time.monotonic()
    with pytest.raises(AuthenticationFailed, match=r"the token endpoint http.*token did not answer in time"):
        tokens.token(SECRET, 0.3)
    assert time.monotonic() - begun < 5
    endpoint.delay.set()
    assert tokens.token(SECRET, 10).get_secret_value() == "a-token"
    assert len(endpoint.asked) == 1


@pytest.mark.parametrize(
    ("status", "answer", "says"),
    [
        (401, '{"error":"invalid_client","error_description":"no such client"}', "HTTP 401 invalid_client no such"),
        (302, "", "HTTP 302, and the answer is no JSON object"),
        (200, "<html>", "HTTP 200, and the answer is no JSON object"),
        (200, '{"token":"x"}', "its answer holds no access_token"),
        (200, '{"access_token":"a b"}', "its answer holds no access_token"),
        (200, '{"access_token":"ab","expires_in":0}', "has ended already"),
    ],
)
def test_a_refusal_is_named_and_not_asked_for_again_at_once(
    endpoint: Endpoint, status: int, answer: str, says: str
) -> None:
    tokens = tokens_of(endpoint, clock := Clock())
    endpoint.status, endpoint.answer = status, answer
    for _ in range(3):
        with pytest.raises(AuthenticationFailed, match=says) as failed:
            tokens.token(SECRET, 5)
        assert "s3cret" not in str(failed.value)
    assert len(endpoint.asked) == 1
    clock.now += PAUSE_S
    endpoint.status, endpoint.answer = 200, '{"access_token":"ab"}'
    assert tokens.token(SECRET, 5).get_secret_value() == "ab"


def test_an_endpoint_that_is_away_is_named_in_one_line(endpoint: Endpoint) -> None:
    endpoint.close()
    with pytest.raises(AuthenticationFailed, match=r"gave no token: .*refused") as failed:
        tokens_of(endpoint, Clock()).token(SECRET, 5)
    assert len(str(failed.value)) < 300


def jwt(**claims: Any) -> str:
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"e30.{payload}.c2ln"


@pytest.mark.parametrize(
    ("told", "lifetime"),
    [
        ({"access_token": "t", "expires_in": 300}, 300.0),
        ({"access_token": "t", "expires_in": "300"}, 300.0),
        ({"access_token": jwt(exp=1600)}, 600.0),
        ({"access_token": jwt(exp=1600), "expires_in": 60}, 60.0),
        ({"access_token": jwt(sub="me")}, None),
        ({"access_token": "a.!.c"}, None),
    ],
)
def test_how_long_a_token_lives(told: dict[str, Any], lifetime: float | None) -> None:
    assert read_answer(200, json.dumps(told).encode(), 1000.0).lifetime == lifetime


def test_the_whole_way_in(endpoint: Endpoint, tmp_path: Path) -> None:
    """A refused token is asked for anew, and the changed secret with it."""
    secret = tmp_path / "secret"
    secret.write_text("first\n")
    peer = Peer(1)
    peer.view = [(1, HOST, peer.port)]
    peer.gate = server = Server()
    server.token = "a-token"
    security = SecurityConfig.model_validate(section(endpoint, str(secret)))
    reader = Reader("c", [peer.address], security, timeouts=Timeouts(pulse=3, bulk=3, forwarded=3))
    try:
        assert len(reader.pulse()) == 1
        assert len(endpoint.asked) == 1
        server.token = "another"
        assert "invalid_token" in str(reader.list_groups([1])[1].error)
        endpoint.answer = '{"access_token":"another"}'
        assert reader.list_groups([1])[1].error is None
        assert len(endpoint.asked) == 2
    finally:
        reader.close()
        peer.close()
