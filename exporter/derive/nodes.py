"""Which nodes should be there: registered, holding replicas, voting, or seen before, until they are unregistered or forgotten."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from exporter.facts.cluster import ClusterFacts, Node, Role
from exporter.facts.partitions import PartitionTable
from exporter.facts.quorum import Quorum

UNKNOWN_HOST = ""
"""Host of a node that nobody has told the address of; it cannot be probed."""

Nodes = Mapping[int, Node]


@dataclass(frozen=True, slots=True)
class Sightings:
    """What names nodes at one moment, None where it is not known. Only while it is ``trusted`` does anybody leave by not being named."""

    view: ClusterFacts | None
    partitions: PartitionTable | None
    quorum: Quorum | None
    trusted: bool


def expected_nodes(known: Nodes, seen: Sightings) -> Nodes:
    """The nodes that should be there after ``seen``; the same object when nothing changed.

    A broker leaves only where the cluster lists fenced brokers too (DescribeCluster v2, KIP-1073): there one that is not listed has been unregistered. Elsewhere a
    broker that is not listed may just be dead.
    """
    voters = {v.node for v in seen.quorum.voters} if seen.quorum is not None else None
    holders = _holders(seen.partitions)
    nodes: dict[int, Node] = {}
    named = {*known, *(seen.view.nodes if seen.view else ()), *(holders or ()), *(voters or ())}
    for node in sorted(named):
        merged = _merged(node, known.get(node), seen, voters, holders)
        if merged is not None:
            nodes[node] = merged
    return known if nodes == known else nodes


def _merged(
    node: int, before: Node | None, seen: Sightings, voters: Iterable[int] | None, holders: Iterable[int] | None
) -> Node | None:
    registered = seen.view.nodes.get(node) if seen.view is not None else None
    roles = set(before.roles) if before is not None else set()
    if voters is not None:
        roles = roles | {Role.CONTROLLER} if node in voters else roles - {Role.CONTROLLER}
    if registered is not None or (holders is not None and node in holders):
        roles.add(Role.BROKER)
    elif _unregistered(seen, holders):
        roles.discard(Role.BROKER)
    if not roles:
        return None
    found = registered or before or _nowhere(node)
    if registered is None and seen.view is not None:
        found = replace(found, registered=False, fenced=None)
    if found.host == UNKNOWN_HOST and seen.quorum is not None and node in seen.quorum.endpoints:
        host, port = seen.quorum.endpoints[node]
        found = replace(found, host=host, port=port)
    return replace(found, roles=frozenset(roles))


def _unregistered(seen: Sightings, holders: Iterable[int] | None) -> bool:
    """Whether a broker that neither the view nor any partition names is gone for good."""
    if not seen.trusted or seen.view is None or holders is None:
        return False
    return any(n.fenced is not None for n in seen.view.nodes.values())


def _nowhere(node: int) -> Node:
    return Node(node, UNKNOWN_HOST, 0, None, frozenset(), False, None)


def _holders(table: PartitionTable | None) -> frozenset[int] | None:
    return frozenset(np.unique(table.replicas.values).tolist()) if table is not None else None
