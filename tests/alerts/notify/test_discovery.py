"""Peers by DNS: a name server on loopback that changes its mind, and dies."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator

import dns.message
import dns.rcode
import dns.resolver
import dns.rrset
import pytest
from prometheus_client import CollectorRegistry

from alerts.notify.config import AlertmanagerPeer
from alerts.notify.delivery import Delivery
from alerts.notify.discovery import look_up
from tests.alertmanager import wait_until

NAME = "_alertmanager._tcp.example.org"


class NameServer:
    """Answers every question for SRV with ``targets``; NXDOMAIN where they are None."""

    def __init__(self) -> None:
        self.targets: list[tuple[str, int]] | None = []
        self.asked = 0
        outer = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                data, socket = self.request
                outer.asked += 1
                socket.sendto(outer._answer(dns.message.from_wire(data)).to_wire(), self.client_address)

        self._server = socketserver.ThreadingUDPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        self.port: int = self._server.server_address[1]

    def _answer(self, query: dns.message.Message) -> dns.message.Message:
        answer = dns.message.make_response(query)
        if self.targets is None:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        else:
            records = [f"0 0 {port} {host}." for host, port in self.targets]
            answer.answer = [dns.rrset.from_text(query.question[0].name, 0, "IN", "SRV", *records)] if records else []
        return answer

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[NameServer]:
    one = NameServer()
    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers = ["127.0.0.1"]
    resolver.port = one.port
    monkeypatch.setattr(dns.resolver, "default_resolver", resolver)
    yield one
    one.close()


def test_look_up(server: NameServer) -> None:
    server.targets = [("am-2.example.org", 9093), ("am-1.example.org", 9094)]
    assert look_up(NAME) == [("am-1.example.org", 9094), ("am-2.example.org", 9093)]
    server.targets = None
    with pytest.raises(OSError, match=NAME):
        look_up(NAME)


def test_peers_follow_the_record_and_stay_while_dns_fails(server: NameServer) -> None:
    server.targets = [("am-1", 9093), ("am-2", 9093)]
    box = Delivery(CollectorRegistry(), lambda: 0.0)
    record = AlertmanagerPeer.model_validate({"srv": NAME, "refresh": 1, "path_prefix": "/am"})
    box.use([record, AlertmanagerPeer(url="http://am-2:9093/am"), AlertmanagerPeer(url="http://other")])
    box.start()
    try:
        wait_until("both are there", lambda: set(box.pending()) == {"am-1:9093/am", "am-2:9093/am", "other"}, 10)
        server.targets = [("am-3", 9093)]
        wait_until(
            "the record has changed", lambda: set(box.pending()) == {"am-3:9093/am", "am-2:9093/am", "other"}, 10
        )
        server.targets = None
        asked = server.asked
        wait_until("it was asked again", lambda: server.asked > asked + 1, 10)
        assert "am-3:9093/am" in box.pending()
        box.use([AlertmanagerPeer(url="http://other")])
        assert set(box.pending()) == {"other"}
    finally:
        box.stop(0.2)
