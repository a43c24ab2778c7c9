"""Whoever answers at a node's address must be that node of that cluster; addresses follow the newest view."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from exporter.facts.cluster import LegName, LegState, Node, Pulse, Role
from exporter.kafka.errors import KafkaError
from exporter.kafka.reader import Reader, Timeouts
from tests.exporter.kafka.hostile import HOST, Peer, refusing_port

TIMEOUTS = Timeouts(pulse=2.0, bulk=2.0, forwarded=2.0)
BROKER = frozenset({Role.BROKER})


def node(number: int, port: int, roles: frozenset[Role] = BROKER) -> Node:
    return Node(number, HOST, port, None, roles, False, None)


def pulses(reader: Reader) -> dict[int, Pulse]:
    return {p.node: p for p in reader.pulse()}


def metadata_leg(pulse: Pulse) -> tuple[LegState, str]:
    leg = pulse.legs[LegName.METADATA]
    return leg.state, leg.detail


@pytest.fixture
def peers() -> Iterator[list[Peer]]:
    """Three well-behaved brokers that name themselves with the node ids 1, 2 and 3."""
    peers = [Peer(i) for i in (1, 2, 3)]
    for peer in peers:
        peer.view = [(p.node, HOST, p.port) for p in peers]
    yield peers
    for peer in peers:
        peer.close()


def reader_of(*peers: Peer) -> Reader:
    return Reader("identity", [p.address for p in peers], timeouts=TIMEOUTS)


def test_a_node_of_another_cluster_is_an_error_and_its_brokers_are_no_nodes_of_ours(peers: list[Peer]) -> None:
    stranger = Peer(7)
    stranger.cluster_id = "another-cluster"
    stranger.view = [(7, HOST, stranger.port), (1, HOST, 1), (8, HOST, 1)]
    reader = reader_of(*peers)
    try:
        reader.expect([node(7, stranger.port)])
        reader.pulse()
        told = pulses(reader)
        assert set(told) == {1, 2, 3, 7}
        assert told[7].view is None
        state, detail = metadata_leg(told[7])
        assert state is LegState.ERROR
        assert "another-cluster" in detail
        assert "hostile-test" in detail
        assert told[7].legs[LegName.TCP].state is told[7].legs[LegName.API_VERSIONS].state is LegState.OK
        assert metadata_leg(told[1]) == (LegState.OK, "")
        assert reader.nodes()[1].port == peers[0].port
        failure = reader.list_groups([7])[7].error
        assert isinstance(failure, KafkaError)
        assert "another-cluster" in str(failure)
    finally:
        reader.close()
        stranger.close()


def test_what_most_brokers_say_decides_which_cluster_it_is(peers: list[Peer]) -> None:
    """The node from the book that now belongs elsewhere is asked first, and does not win."""
    stranger = Peer(0)
    stranger.cluster_id = "another-cluster"
    stranger.view = [(0, HOST, stranger.port)]
    reader = Reader("identity", [peers[0].address], timeouts=TIMEOUTS)
    try:
        reader.expect([node(0, stranger.port), *(node(p.node, p.port) for p in peers)])
        told = pulses(reader)
        assert metadata_leg(told[0])[0] is LegState.ERROR
        assert all(metadata_leg(told[i])[0] is LegState.OK for i in (1, 2, 3))
    finally:
        reader.close()
        stranger.close()


def test_a_bootstrap_server_of_another_cluster_is_named(peers: list[Peer]) -> None:
    stranger = Peer(1)
    stranger.cluster_id = "another-cluster"
    stranger.view = [(1, HOST, stranger.port)]
    reader = reader_of(peers[0], peers[1], stranger)
    try:
        told = pulses(reader)
        assert set(told) == {1, 2, 3}
        assert reader.nodes()[1].port == peers[0].port
        assert "another-cluster" in str(reader.bootstrap_errors()[stranger.address])
    finally:
        reader.close()
        stranger.close()


def test_another_node_at_the_old_address(peers: list[Peer]) -> None:
    """Node 9 is known from before; its address belongs to node 3 now, and answers as node 3."""
    reader = reader_of(*peers)
    try:
        reader.expect([node(9, peers[2].port)])
        reader.pulse()
        told = pulses(reader)
        assert metadata_leg(told[9]) == (LegState.ERROR, f"{peers[2].address} is now the address of node 3")
        assert told[9].view is None
        assert metadata_leg(told[3])[0] is LegState.OK
        assert reader.list_groups([9])[9].error is not None
        assert reader.list_groups([3])[3].error is None
    finally:
        reader.close()


def test_a_node_that_comes_back_at_another_port_is_followed(peers: list[Peer]) -> None:
    reader = reader_of(*peers)
    moved = Peer(3)
    try:
        reader.pulse()
        assert reader.list_groups([3])[3].error is None
        peers[2].close()
        for peer in (*peers[:2], moved):
            peer.view = [(1, HOST, peers[0].port), (2, HOST, peers[1].port), (3, HOST, moved.port)]
        reader.pulse()
        told = pulses(reader)
        assert metadata_leg(told[3])[0] is LegState.OK
        assert reader.nodes()[3].port == moved.port
        assert reader.list_groups([3])[3].error is None
    finally:
        reader.close()
        moved.close()


def test_what_is_known_of_a_node_is_kept_when_a_view_names_it(peers: list[Peer]) -> None:
    """A voter that also is a broker stays a controller though views speak of brokers only."""
    reader = reader_of(*peers)
    try:
        reader.expect([node(2, peers[1].port, frozenset({Role.CONTROLLER}))])
        reader.pulse()
        assert reader.nodes()[2].roles == {Role.BROKER, Role.CONTROLLER}
        assert reader.nodes()[1].roles == {Role.BROKER}
    finally:
        reader.close()


def test_when_no_known_node_answers_the_bootstrap_servers_are_asked_again(peers: list[Peer]) -> None:
    with refusing_port() as nobody:
        reader = reader_of(*peers)
        try:
            reader.expect([node(1, nobody)])
            told = pulses(reader)
            assert set(told) == {1, 2, 3}
            assert reader.nodes()[1].port == peers[0].port
        finally:
            reader.close()
