"""One number for the cluster out of every node's gauge, in the way that the catalogue allows."""

from __future__ import annotations

from collections.abc import Iterable

from exporter.jmx.catalogue import Aggregate, Family
from exporter.jmx.facts import JmxNode

ACTIVE = "kafka_controller_kafkacontroller_activecontrollercount"
APPLIED_LAG = "kafka_controller_kafkacontroller_lastappliedrecordlagms"
EPOCH = "kafka_server_raftmetrics_current_epoch"
MOST_LAG_MS = 10_000.0
"""A controller that is further behind does not know how the cluster is."""


def active_controller(nodes: Iterable[JmxNode]) -> JmxNode | None:
    """The node that says it is the active controller, by the highest epoch where an old one has not noticed yet."""
    active = [n for n in nodes if n.value(ACTIVE) == 1]
    return max(active, key=lambda n: n.value(EPOCH) or 0.0, default=None)


def aggregate(nodes: Iterable[JmxNode], family: Family) -> float | None:
    """The cluster's value of a gauge, None where it is unknown; ValueError for a family that must not be aggregated.

    Controller gauges stand on every controller with equal values, so they are never added up: the active controller's counts, else the largest among controllers whose
    applied lag is below 10 s.
    """
    nodes = list(nodes)
    if family.aggregate is Aggregate.NONE:
        raise ValueError(f"{family.name} must not be aggregated over nodes")
    if family.aggregate is Aggregate.ACTIVE_CONTROLLER:
        active = active_controller(nodes)
        nodes = [active] if active is not None else [n for n in nodes if _up_to_date(n)]
    values = [value for n in nodes for _, value in n.samples(family.name)]
    if family.aggregate is Aggregate.MIN:
        return min(values, default=None)
    return max(values, default=None)


def _up_to_date(node: JmxNode) -> bool:
    lag = node.value(APPLIED_LAG)
    return lag is not None and lag < MOST_LAG_MS
