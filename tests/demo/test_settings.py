"""Ports and settings of the nodes."""

from __future__ import annotations

import random
import socket

import pytest

from demo import DemoError, settings
from demo.state import Node


def node(node_id: int, roles: tuple[str, ...] = ("broker", "controller")) -> Node:
    ports = {"PLAINTEXT": 20000 + node_id, "CONTROLLER": 21000 + node_id, "jmx": 22000 + node_id}
    return Node(node_id, roles, ports, (f"n{node_id}/d1", f"n{node_id}/d2"))


def test_ports_are_distinct_and_below_those_of_outgoing_connections() -> None:
    found = settings.free_ports(9)
    assert len(set(found)) == 9
    assert max(found) < 32768


def test_a_port_in_use_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as busy:
        busy.bind((settings.HOST, 0))
        busy.listen()
        taken = busy.getsockname()[1]
        monkeypatch.setattr(settings, "PORT_RANGE", range(taken, taken + 1))
        with pytest.raises(DemoError, match=r"1 free ports wanted .* found 0"):
            settings.free_ports(1, random.Random(1))


def test_three_brokers_replicate_three_times_with_room_for_one_to_fail() -> None:
    nodes = (node(1), node(2), node(3))
    properties = settings.server_properties(nodes[1], nodes)
    assert properties["node.id"] == "2"
    assert properties["controller.quorum.voters"] == "1@127.0.0.1:21001,2@127.0.0.1:21002,3@127.0.0.1:21003"
    assert properties["listeners"] == "PLAINTEXT://127.0.0.1:20002,CONTROLLER://127.0.0.1:21002"
    assert (properties["offsets.topic.replication.factor"], properties["min.insync.replicas"]) == ("3", "2")
    assert properties["metadata.log.dir"] == "n2/d1"


def test_a_single_broker_can_hold_every_topic() -> None:
    properties = settings.server_properties(node(1), (node(1),))
    assert {
        properties[f"{prefix}.replication.factor"] for prefix in ("default", "offsets.topic", "transaction.state.log")
    } == {"1"}
    assert properties["min.insync.replicas"] == "1"


def test_backslashes_survive_javas_properties_format() -> None:
    assert settings.render({"a": "C:\\x"}) == "a=C:\\\\x\n"
