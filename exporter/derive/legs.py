"""The four legs of every node as they were last tried: three from the pulse, one from JMX."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from exporter.derive.witnesses import OUR_OWN_KINDS
from exporter.facts.cluster import Leg, LegName, LegState, Pulse
from exporter.jmx.facts import JmxNode
from exporter.reading import Failure, Reading

Legs = Mapping[int, Mapping[str, Leg]]

_BY_KIND = {"refused": LegState.REFUSED, "timeout": LegState.TIMEOUT}


def latest_legs(previous: Legs, pulses: Mapping[int, Pulse], jmx: Reading[JmxNode], nodes: Iterable[int]) -> Legs:
    """The last tried legs of these nodes.

    While the circuit breaker skips a node its Kafka legs stay as they were last tried; within a try, legs after one that failed are ``skipped``.
    """
    legs: dict[int, Mapping[str, Leg]] = {}
    for node in sorted(nodes):
        before = previous.get(node, {})
        kafka = _kafka_legs(pulses.get(node), before)
        by_jmx = _jmx_leg(jmx, node) or before.get(LegName.JMX)
        found = {**kafka, LegName.JMX: by_jmx} if by_jmx is not None else kafka
        if found:
            legs[node] = before if found == before else found
    return previous if legs == previous else legs


def _kafka_legs(pulse: Pulse | None, before: Mapping[str, Leg]) -> dict[str, Leg]:
    kept = {name: leg for name, leg in before.items() if name != LegName.JMX}
    if pulse is None:
        return kept
    tcp = pulse.legs.get(LegName.TCP)
    skipped = tcp is None or tcp.state is LegState.SKIPPED
    return kept if skipped and kept else {str(name): leg for name, leg in pulse.legs.items()}


def _jmx_leg(jmx: Reading[JmxNode], node: int) -> Leg | None:
    """The end of the newest read; a failure that is ours says nothing about the node."""
    failure = jmx.failures.get(node)
    if failure is not None:
        return _failed(failure) if failure.kind not in OUR_OWN_KINDS else None
    part = jmx.parts.get(node)
    return Leg(LegState.OK, part.value.seconds, part.taken_at) if part is not None else None


def _failed(failure: Failure) -> Leg:
    return Leg(_BY_KIND.get(failure.kind, LegState.ERROR), failure.seconds, failure.at, failure.message)
