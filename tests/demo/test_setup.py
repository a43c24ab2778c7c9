"""What a new cluster is to be: ids, roles, racks, heaps and ports of each topology, and what cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest

from demo import DemoError, settings, setup
from demo.security import Security
from demo.setup import Wanted
from demo.state import Node, State


def described(folder: Path, wanted: Wanted) -> State:
    wanted.check()
    return setup.describe(folder, wanted)


def properties(state: State, node: Node) -> dict[str, str]:
    return settings.server_properties(node, state.nodes, state.security)


def test_combined_is_the_default(tmp_path: Path) -> None:
    state = described(tmp_path, Wanted())
    assert [(n.id, n.roles) for n in state.nodes] == [(i, ("broker", "controller")) for i in (1, 2, 3)]
    assert all(set(n.ports) == {"PLAINTEXT", "CONTROLLER", "jmx"} and len(n.log_dirs) == 2 for n in state.nodes)


def test_separate_controllers_listen_apart_and_hold_no_topics(tmp_path: Path) -> None:
    state = described(tmp_path, Wanted(nodes=2, controllers=3, security=Security("SASL_SSL", also=("TLS",))))
    assert [n.id for n in state.nodes] == [1, 2, 101, 102, 103]
    broker, controller = state.nodes[0], state.nodes[2]
    assert (broker.roles, controller.roles) == (("broker",), ("controller",))
    assert (set(broker.ports), set(controller.ports)) == ({"SASL_SSL", "TLS", "jmx"}, {"CONTROLLER", "jmx"})
    assert (len(broker.log_dirs), len(controller.log_dirs)) == (2, 1)
    ports = [port for n in state.nodes for port in n.ports.values()]
    assert len(set(ports)) == len(ports)
    told = properties(state, broker)
    assert told["controller.quorum.voters"].count("@") == 3
    assert told["inter.broker.listener.name"] == "SASL_SSL"
    assert "CONTROLLER:SASL_SSL" in told["listener.security.protocol.map"].split(",")
    assert told["default.replication.factor"] == properties(state, controller)["default.replication.factor"] == "2"
    assert "inter.broker.listener.name" not in properties(state, controller)


def test_racks_are_dealt_in_turn_and_heaps_given_by_node(tmp_path: Path) -> None:
    state = described(tmp_path, Wanted(controllers=1, racks=("a", "b"), heap_mb=400, node_heap_mb={2: 155, 101: 200}))
    assert [n.rack for n in state.nodes] == ["a", "b", "a", None]
    assert [n.heap_mb for n in state.nodes] == [400, 155, 400, 200]
    assert properties(state, state.nodes[1])["broker.rack"] == "b"


def test_a_further_broker_is_like_the_others_and_no_controller(tmp_path: Path) -> None:
    state = described(tmp_path, Wanted(controllers=1, racks=("a", "b", "c"), heap_mb=300, jmx_exporter=True))
    node = setup.further_broker(tmp_path, state)
    assert (node.id, node.roles, node.rack, node.heap_mb) == (4, ("broker",), "a", 300)
    assert node.ports.keys() == state.nodes[0].ports.keys()
    setup.write_node(tmp_path, node, state, {"num.io.threads": "2"})
    told = setup.properties_path(tmp_path, node).read_text().splitlines()
    voters = properties(state, state.nodes[0])["controller.quorum.voters"]
    assert {"node.id=4", "process.roles=broker", "num.io.threads=2"} <= set(told)
    assert f"controller.quorum.voters={voters}" in told and voters.startswith("101@")
    assert all(Path(log_dir).is_dir() for log_dir in node.log_dirs)


def test_no_broker_is_added_to_a_secured_cluster(tmp_path: Path) -> None:
    state = described(tmp_path, Wanted(security=Security("SASL_SSL")))
    with pytest.raises(DemoError, match="no broker can be added"):
        setup.further_broker(tmp_path, state)


@pytest.mark.parametrize(
    ("wanted", "complaint"),
    [
        (Wanted(nodes=0), "at least one node"),
        (Wanted(controllers=-1), "cannot be -1 controllers"),
        (Wanted(node_overrides={101: {}}), r"node_overrides names nodes \[101\]; there are \[1, 2, 3\]"),
        (Wanted(node_heap_mb={4: 155}), r"node_heap_mb names nodes \[4\]"),
    ],
)
def test_what_cannot_be_is_refused(wanted: Wanted, complaint: str) -> None:
    with pytest.raises(DemoError, match=complaint):
        wanted.check()
