"""Delivery against a small HTTP server: what is tried again, what is dropped, and what is never lost."""

from __future__ import annotations

import base64
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import structlog
import trustme
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from pydantic import ValidationError

from alerts.diagnosis.postings import Posting
from alerts.notify.alertmanager import as_json
from alerts.notify.config import AlertmanagerPeer
from alerts.notify.delivery import Delivery
from alerts.notify.http import is_refusal
from alerts.notify.sender import Queue
from exporter.metrics.catalogue import PROCESS_ROWS
from tests.alertmanager import wait_until

NOW = 1_700_000_000.0


def posting(name: str, *, resolved_at: float | None = None, starts_at: float = NOW - 60) -> Posting:
    return Posting({"alertname": name, "cluster": "orders"}, {"summary": name}, starts_at, resolved_at)


class Server:
    """Answers with what ``answer`` says about the alerts of a request; keeps what it took."""

    def __init__(self) -> None:
        self.answer: Callable[[list[str]], int] = lambda _: 200
        self.clock: Callable[[], float] = lambda: NOW
        self.retry_after = ""
        self.requests: list[tuple[str, dict[str, str], list[dict[str, Any]]]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.requests.append((self.path, dict(self.headers), body))
                status = outer.answer([a["labels"]["alertname"] for a in body if isinstance(a, dict)])
                self.send_response_only(status)
                self.send_header("Date", formatdate(outer.clock(), usegmt=True))
                if outer.retry_after:
                    self.send_header("Retry-After", outer.retry_after)
                if status // 100 == 3:
                    self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def do_GET(self) -> None:
                """It shows nothing."""
                self.send_response(200)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"[]")

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    one = Server()
    yield one
    one.close()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("alerts.notify.sender.FIRST_PAUSE", 0.05)
    monkeypatch.setattr("alerts.notify.sender.LONGEST_PAUSE", 0.1)


Start = Callable[..., tuple[Delivery, CollectorRegistry]]


@pytest.fixture
def start() -> Iterator[Start]:
    running = []

    def begin(*peers: AlertmanagerPeer) -> tuple[Delivery, CollectorRegistry]:
        registry = CollectorRegistry()
        box = Delivery(registry, lambda: NOW)
        box.use(peers)
        box.start()
        running.append(box)
        return box, registry

    yield begin
    for box in running:
        box.stop(0.2)


def emptied(box: Delivery) -> None:
    wait_until("the queues are empty", lambda: not any(box.pending().values()), 10)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("status", [500, 503, 429, 401, 404, 302])
def test_what_speaks_of_the_way_is_tried_again(server: Server, start: Start, status: int) -> None:
    answers = [status, status, 200]
    server.answer = lambda _: answers.pop(0) if answers else 200
    box, registry = start(AlertmanagerPeer(url=server.url))
    box.post([posting("A")])
    emptied(box)
    assert len(server.requests) == 3
    peer = {"peer": server.url[7:]}
    assert registry.get_sample_value("klaxon_notifications_total", peer) == 1
    failed = registry.get_sample_value("klaxon_notifications_failed_total", {**peer, "reason": f"http_{status}"})
    assert failed == 2
    assert registry.get_sample_value("klaxon_notifications_dropped_total", peer) == 0
    assert registry.get_sample_value("klaxon_notify_up", peer) == 1
    assert registry.get_sample_value("klaxon_notify_last_success_timestamp_seconds", peer) == NOW


@pytest.mark.parametrize("bad", [["B0"], ["B7"], ["B0", "B3", "B9"], [f"B{i}" for i in range(10)]])
def test_refused_alerts_are_split_off_and_never_sent_again(server: Server, start: Start, bad: list[str]) -> None:
    server.answer = lambda names: 400 if set(names) & set(bad) else 200
    box, registry = start(AlertmanagerPeer(url=server.url))
    box.post([posting(f"B{i}") for i in range(10)])
    emptied(box)
    alone = [b[0]["labels"]["alertname"] for _, _, b in server.requests if len(b) == 1]
    assert all(alone.count(name) == 1 for name in bad)
    assert registry.get_sample_value("klaxon_notifications_dropped_total", {"peer": server.url[7:]}) == len(bad)
    assert registry.get_sample_value("klaxon_notifications_total", {"peer": server.url[7:]}) == 10 - len(bad)
    before = len(server.requests)
    box.post([posting("C")])
    emptied(box)
    assert len(server.requests) == before + 1


@pytest.mark.usefixtures("quick")
def test_one_peer_that_is_away_holds_up_no_other(server: Server, start: Start) -> None:
    away = AlertmanagerPeer(url="http://127.0.0.1:1", timeout=1)
    box, registry = start(away, AlertmanagerPeer(url=server.url))
    box.post([posting("A")])
    wait_until("the living peer has it", lambda: box.pending()[server.url[7:]] == 0, 10)
    wait_until(
        "the other is down",
        lambda: failed(registry, away.name, "connection") > 0,
    )
    assert box.pending()[away.name] == 1
    assert registry.get_sample_value("klaxon_notify_up", {"peer": away.name}) == 0


@pytest.mark.usefixtures("quick")
def test_latest_word_wins_and_ends_wait_for_the_peer(server: Server, start: Start) -> None:
    server.answer = lambda _: 503
    box, _ = start(AlertmanagerPeer(url=server.url))
    box.post([posting("A"), posting("B")])
    wait_until("tried", lambda: bool(server.requests))
    box.post([posting("A", resolved_at=NOW)])
    server.answer = lambda _: 200
    emptied(box)
    last = {a["labels"]["alertname"]: a["endsAt"] for _, _, body in server.requests for a in body}
    assert last["A"] == "2023-11-14T22:13:20.000Z"
    assert last["B"] == "2023-11-14T22:28:20.000Z"


def test_prefix_and_login(server: Server, start: Start, tmp_path: Path) -> None:
    password, token = tmp_path / "password", tmp_path / "token"
    password.write_text("geheim\n")
    token.write_text("abc\n")
    basic = AlertmanagerPeer.model_validate(
        {"url": f"{server.url}/am/", "basic_auth": {"username": "k", "password_file": str(password)}}
    )
    bearer = AlertmanagerPeer.model_validate({"url": f"{server.url}/b", "bearer_token_file": str(token)})
    plain = AlertmanagerPeer(url=f"{server.url}/c")
    box, _ = start(basic, bearer, plain)
    box.post([posting("A")])
    emptied(box)
    assert {path for path, _, _ in server.requests} == {f"/{p}/api/v2/alerts" for p in ("am", "b", "c")}
    sent = {path: headers.get("Authorization") for path, headers, _ in server.requests}
    assert sent == {
        "/am/api/v2/alerts": "Basic " + base64.b64encode(b"k:geheim").decode(),
        "/b/api/v2/alerts": "Bearer abc",
        "/c/api/v2/alerts": None,
    }
    token.write_text("def\n")
    box.post([posting("B")])
    emptied(box)
    assert "Bearer def" in {h.get("Authorization") for _, h, _ in server.requests}


@pytest.mark.usefixtures("quick")
def test_a_token_that_no_header_can_carry_is_not_told(server: Server, start: Start, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("s3cret\ns3cret\n")
    with structlog.testing.capture_logs() as told:
        box, _ = start(AlertmanagerPeer.model_validate({"url": server.url, "bearer_token_file": str(token)}))
        box.post([posting("A")])
        wait_until("it was told", lambda: bool(told))
    assert "token cannot be used" in told[0]["reason"]
    assert "s3cret" not in str(told)
    assert server.requests == []


def test_changed_tls_files_are_taken_up(start: Start, tmp_path: Path) -> None:
    """By a new connection; a broken one leaves the kept connection alone, and is told."""
    first, second = trustme.CA(), trustme.CA()
    server = TlsServer(first)
    ca = tmp_path / "ca.pem"
    first.cert_pem.write_to_path(ca)
    try:
        box, _ = start(AlertmanagerPeer.model_validate({"url": server.url, "tls": {"ca_file": str(ca)}}))
        for name in ("A", "B"):
            box.post([posting(name)])
            emptied(box)
        assert server.connections == 1
        with structlog.testing.capture_logs() as told:
            ca.write_text("half a certi")
            box.post([posting("C")])
            emptied(box)
        assert server.connections == 1
        assert [line["event"] for line in told] == [
            "a TLS file of a peer has changed and cannot be used; a kept connection goes on"
        ]
        server.use(second)
        second.cert_pem.write_to_path(ca)
        box.post([posting("D")])
        emptied(box)
        assert server.connections == 2
    finally:
        server.close()


class TlsServer(Server):
    """With certificates of an authority that can be changed; counts connections."""

    def __init__(self, authority: trustme.CA) -> None:
        super().__init__()
        self.connections = 0
        self.url = self.url.replace("http:", "https:")
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.use(authority)
        accept = self._server.get_request

        def accept_tls() -> tuple[ssl.SSLSocket, Any]:
            raw, address = accept()
            self.connections += 1
            return self._context.wrap_socket(raw, server_side=True), address

        self._server.get_request = accept_tls  # type: ignore[method-assign]

    def use(self, authority: trustme.CA) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(self._context)


@pytest.mark.usefixtures("quick")
def test_secret_that_cannot_be_read_is_tried_again(server: Server, start: Start, tmp_path: Path) -> None:
    token = tmp_path / "token"
    box, registry = start(AlertmanagerPeer.model_validate({"url": server.url, "bearer_token_file": str(token)}))
    box.post([posting("A")])
    wait_until(
        "it failed",
        lambda: failed(registry, server.url[7:], "secret") > 0,
    )
    written = tmp_path / "written"
    written.write_text("abc")
    written.replace(token)
    emptied(box)
    assert server.requests[-1][1]["Authorization"] == "Bearer abc"


def test_stop_sends_what_is_left(server: Server) -> None:
    box = Delivery(CollectorRegistry(), lambda: NOW)
    box.use([AlertmanagerPeer(url=server.url)])
    box.post([posting(f"A{i}") for i in range(200)])
    box.start()
    box.stop()
    assert sum(len(b) for _, _, b in server.requests) == 200


def failed(registry: CollectorRegistry, peer: str, reason: str) -> float:
    return registry.get_sample_value("klaxon_notifications_failed_total", {"peer": peer, "reason": reason}) or 0.0


def up(registry: CollectorRegistry, peer: AlertmanagerPeer) -> float | None:
    return registry.get_sample_value("klaxon_notify_up", {"peer": peer.name})


@pytest.mark.usefixtures("quick")
def test_peers_come_and_go_and_the_others_keep_their_queue(server: Server, start: Start) -> None:
    stays, goes = AlertmanagerPeer(url="http://127.0.0.1:9"), AlertmanagerPeer(url="http://127.0.0.1:9/gone")
    box, registry = start(stays, goes)
    box.post([posting("A")])
    comes = AlertmanagerPeer(url=server.url)
    box.use([comes, stays, comes])
    box.post([posting("B")])
    wait_until("the new peer has it", lambda: len(server.requests) == 1, 10)
    assert [a["labels"]["alertname"] for a in server.requests[0][2]] == ["B"]
    assert dict(box.pending())[stays.name] == 2
    assert up(registry, goes) is None and up(registry, stays) == 0
    wait_until("it is up", lambda: up(registry, comes) == 1, 10)


@pytest.mark.usefixtures("quick")
def test_a_peer_that_is_reached_another_way_is_the_same_series(server: Server, start: Start) -> None:
    box, registry = start(AlertmanagerPeer(url=server.url))
    box.use([AlertmanagerPeer(url=server.url, timeout=3)])
    box.post([posting("A")])
    wait_until("it is up", lambda: up(registry, AlertmanagerPeer(url=server.url)) == 1, 10)


def test_firing_ends_later_than_the_next_word() -> None:
    body = as_json(posting("A"), NOW)
    assert body["startsAt"] == "2023-11-14T22:12:20.000Z"
    assert body["endsAt"] == "2023-11-14T22:28:20.000Z"
    assert "generatorURL" not in body


def test_refusals() -> None:
    assert [s for s in (400, 401, 403, 404, 413, 422, 429, 500) if is_refusal(s)] == [400, 413, 422]


@given(
    st.lists(st.tuples(st.integers(0, 9), st.booleans(), st.integers(0, 3)), max_size=60),
    st.integers(1, 8),
)
def test_queue_keeps_the_latest_and_loses_firing_ones_first(events: list[tuple[int, bool, int]], capacity: int) -> None:
    queue, latest = Queue(capacity), dict[str, Posting]()
    for name, ended, taken in events:
        one = posting(str(name), resolved_at=NOW if ended else None)
        latest[str(name)] = one
        queue.put(one)
        assert len(queue) <= capacity
        held = {p.labels["alertname"]: p for p in queue.head(100)}
        assert all(held[n] is latest[n] for n in held)
        ends = [n for n, p in latest.items() if p.resolved_at is not None]
        if len(ends) < capacity:
            assert set(ends) <= held.keys()
        done = queue.head(taken)
        queue.done(done)
        for p in done:
            latest.pop(p.labels["alertname"], None)
        latest = {n: p for n, p in latest.items() if n in {q.labels["alertname"] for q in queue.head(100)}}


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"url": "127.0.0.1:9093"}, "must be an address like"),
        ({"url": "http://a:9093/api/v2/alerts"}, "must end before /api/v2"),
        ({"url": "http://u:p@a:9093"}, "use basic_auth.password_file"),
        ({"url": "http://a", "tls": {"cert_file": "x"}}, "cert_file and key_file belong together"),
        ({"url": "http://a", "basic_auth": {"username": "u", "password_file": "x"}, "bearer_token_file": "y"}, "not both"),
        ({"url": "http://a", "timeout": 0}, "timeout"),
        ({"url": "http://a", "colour": 1}, "colour"),
    ],
)  # fmt: skip
def test_bad_configuration_says_what_would_be_right(section: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        AlertmanagerPeer.model_validate(section)


def test_metrics_stand_in_the_catalogue() -> None:
    registry = CollectorRegistry()
    Delivery(registry, lambda: NOW).use([AlertmanagerPeer(url="http://a:9093")])
    rows = {row.name: row for row in PROCESS_ROWS}
    for family in registry.collect():
        name = family.name + ("_total" if family.type == "counter" else "")
        assert rows[name].help == family.documentation
        assert rows[name].type == family.type


# --- the way to it


@pytest.mark.usefixtures("quick")
def test_a_peer_that_asks_to_wait_is_left_alone_so_long(
    server: Server, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alerts.notify.sender.LONGEST_PAUSE", 1.0)
    answers = [429]
    server.retry_after = "1"
    server.answer = lambda _: answers.pop(0) if answers else 200
    box, _ = start(AlertmanagerPeer(url=server.url))
    began = time.monotonic()
    box.post([posting("A")])
    emptied(box)
    assert time.monotonic() - began >= 1.0


def test_headers_go_with_each_request_and_are_never_shown(server: Server, start: Start) -> None:
    peer = AlertmanagerPeer.model_validate(
        {"url": server.url, "headers": {"X-Scope-OrgID": "kafka", "X-Key": "s3cret"}}
    )
    box, _ = start(peer)
    box.post([posting("A")])
    emptied(box)
    headers = server.requests[0][1]
    assert (headers["X-Scope-OrgID"], headers["X-Key"]) == ("kafka", "s3cret")
    assert "s3cret" not in repr(peer) + str(peer) + peer.model_dump_json()


def test_a_proxy_is_used_where_it_is_configured(server: Server, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Never the environment's, unless that is asked for."""
    by_proxy = AlertmanagerPeer(url="http://am.invalid:9093/one", proxy_url=server.url)
    by_environment = AlertmanagerPeer(url="http://am.invalid:9093/two", proxy_from_environment=True)
    straight = AlertmanagerPeer(url=f"{server.url}/three")
    elsewhere = "http://127.0.0.1:9"
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("http_proxy", server.url)
    box, _ = start(by_proxy, by_environment)
    box.post([posting("A")])
    emptied(box)
    monkeypatch.setenv("http_proxy", elsewhere)
    box, _ = start(straight)
    box.post([posting("A")])
    emptied(box)
    assert [path for path, _, _ in sorted(server.requests, key=lambda r: r[0])] == [
        "/three/api/v2/alerts",
        "http://am.invalid:9093/one/api/v2/alerts",
        "http://am.invalid:9093/two/api/v2/alerts",
    ]


@pytest.mark.parametrize("ahead", [0.0, 1.0, 90.0, -90.0, 7200.0, -7200.0])
def test_everything_is_said_by_the_peers_clock(server: Server, start: Start, ahead: float) -> None:
    """Nothing begins or ends in its future, and what fires outlives the next word; ``ahead`` is our clock."""
    server.clock = lambda: NOW - ahead
    with structlog.testing.capture_logs() as told:
        box, registry = start(AlertmanagerPeer(url=server.url))
        box.post([posting("A")])
        emptied(box)
        box.post([posting("A", starts_at=NOW - 1), posting("B", starts_at=NOW - 1, resolved_at=NOW)])
        emptied(box)
    skew = registry.get_sample_value("klaxon_notify_clock_skew_seconds", {"peer": server.url[7:]})
    assert skew == pytest.approx(ahead, abs=1)
    theirs = NOW - ahead + 1.5
    for alert in server.requests[-1][2]:
        begins, ends = (datetime.fromisoformat(alert[key]).timestamp() for key in ("startsAt", "endsAt"))
        assert begins <= theirs
        if alert["labels"]["alertname"] == "A":
            assert ends - theirs == pytest.approx(900, abs=3)
        else:
            assert begins <= ends <= theirs
    assert bool([line for line in told if "clocks" in line["event"]]) == (abs(ahead) > 30)
