"""Families of the collector ``cluster``: who is registered, who should be there, and the legs by which each node is reached."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from exporter.facts.cluster import LegName, LegState, Role
from exporter.metrics.families import features
from exporter.metrics.families.lasting import Blocks, Lasting, trusted
from exporter.snapshot import Snapshot

LEG_STATES = tuple(LegState)


def blocks(keep: Lasting, snapshot: Snapshot) -> Blocks:
    facts = trusted(snapshot, "cluster", snapshot.cluster_facts)
    if facts is None:
        return []
    brokers = sorted(facts.brokers, key=lambda n: n.id)
    up = [n for n in brokers if n.registered and not n.fenced]
    made = [
        *features.blocks(keep, facts),
        keep.scalar("kafka_brokers", len(up)),
        keep.block(
            "kafka_broker_info", ("id", "address"), (((str(n.id), n.address), 1) for n in brokers if n.registered)
        ),
        keep.block("kafka_broker_up", ("broker",), (((str(n.id),), n.registered and not n.fenced) for n in brokers)),
        keep.block(
            "kafka_broker_fenced", ("broker",), (((str(n.id),), n.fenced) for n in brokers if n.fenced is not None)
        ),
        keep.block(
            "kafka_broker_departure_controlled",
            ("broker",),
            (((str(b),), controlled) for b, controlled in sorted(snapshot.derived.departures.items())),
        ),
    ]
    if facts.cluster_id is not None:
        made.append(keep.block("kafka_cluster_info", ("cluster_id",), [((facts.cluster_id,), 1)]))
    return made


def legs_blocks(keep: Lasting, snapshot: Snapshot) -> Blocks:
    """What we saw with our own eyes: needs no trust in the brokers' word."""
    legs = snapshot.derived.legs
    facts = snapshot.cluster_facts.value(snapshot.at)
    made: Blocks = []
    if snapshot.derived.controller_alive is not None:
        made.append(keep.scalar("kafka_controller_alive", snapshot.derived.controller_alive))
    if facts is None or not facts.nodes:
        return made
    nodes = sorted(facts.nodes.values(), key=lambda n: n.id)
    brokers = [n.id for n in nodes if Role.BROKER in n.roles]
    tries = [(str(n), name, leg) for n in sorted(legs) for name, leg in sorted(legs[n].items())]
    return [
        *made,
        keep.scalar("kafka_brokers_expected", len(brokers)),
        keep.scalar("kafka_brokers_answering", sum(_answers(legs.get(b, {})) for b in brokers)),
        keep.block(
            "kafka_node_info",
            ("broker", "address", "rack", "roles"),
            (((str(n.id), n.address, n.rack or "", ",".join(sorted(n.roles))), 1) for n in nodes),
        ),
        keep.block(
            "kafka_broker_leg",
            ("broker", "leg", "state"),
            (((node, name, state), leg.state is state) for node, name, leg in tries for state in LEG_STATES),
        ),
        keep.block(
            "kafka_broker_leg_seconds",
            ("broker", "leg"),
            (((node, name), leg.seconds) for node, name, leg in tries if leg.state is not LegState.SKIPPED),
        ),
    ]


def _answers(legs: Mapping[str, Any]) -> bool:
    leg = legs.get(LegName.API_VERSIONS)
    return leg is not None and leg.state is LegState.OK
