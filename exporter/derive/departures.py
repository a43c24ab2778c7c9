"""Whether a broker that is gone left by a controlled shutdown: told by the controllers' count of such brokers, or by the state that it was last seen in.

ControlledShutdownBrokerCount (KIP-1131, from 4.0) counts brokers in controlled shutdown until they register again; after a crash it does not rise. The number comes out
of the metadata log, so every controller has the same.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from exporter.facts.cluster import Node
from exporter.jmx.aggregate import aggregate
from exporter.jmx.catalogue import shipped
from exporter.jmx.facts import JmxNode
from exporter.reading import Part

CONTROLLED = "kafka_controller_kafkacontroller_controlledshutdownbrokercount"
REGISTRATION = "kafka_controller_kafkacontroller_brokerregistrationstate"
IN_CONTROLLED_SHUTDOWN = 20.0
STOPPING_STATES = frozenset({6, 7})
"""BrokerState: pending controlled shutdown, shutting down."""
SHORTLY_BEFORE_S = 60.0
"""How long before a departure such a state counts as its reason: a controlled shutdown may have to move many leaders."""


@dataclass(frozen=True, slots=True)
class Departures:
    """The brokers that are gone: ``pending`` with the time when that was first seen, ``verdicts`` for those that are decided."""

    away: frozenset[int] | None = None
    """None before the first trusted view."""
    pending: Mapping[int, float] = field(default_factory=dict)
    verdicts: Mapping[int, bool] = field(default_factory=dict)
    stopping_at: Mapping[int, float] = field(default_factory=dict)
    """When a node was last seen in a stopping state over its own JMX."""


def fold(state: Departures, brokers: Iterable[Node] | None, jmx: Mapping[int, Part[JmxNode]], now: float) -> Departures:
    """The state after a view of the cluster and the JMX answers that count; ``brokers`` is None while metadata is not trusted: then nobody leaves or returns."""
    state = replace(state, stopping_at=_stopping(state.stopping_at, jmx, now))
    if brokers is not None:
        state = _seen(state, tuple(brokers), now)
    return _decided(state, jmx)


def _seen(state: Departures, brokers: tuple[Node, ...], now: float) -> Departures:
    away = frozenset(b.id for b in brokers if not b.registered or b.fenced)
    return replace(
        state,
        away=away,
        pending={b: state.pending.get(b, now) for b in sorted(away) if b not in state.verdicts},
        verdicts={b: controlled for b, controlled in state.verdicts.items() if b in away},
    )


def _stopping(before: Mapping[int, float], jmx: Mapping[int, Part[JmxNode]], now: float) -> Mapping[int, float]:
    seen = {n: p.taken_at for n, p in jmx.items() if p.value.broker_state in STOPPING_STATES}
    # A node that runs again has not stopped; one that is silent keeps what was last seen of it.
    runs = {n for n, p in jmx.items() if p.value.broker_state not in STOPPING_STATES and not p.value.bean_lost}
    return {**{n: at for n, at in before.items() if n not in runs}, **seen}


def _decided(state: Departures, jmx: Mapping[int, Part[JmxNode]]) -> Departures:
    if not state.pending:
        return state
    verdicts = _by_count(state, jmx)
    for broker, gone_at in state.pending.items():
        if broker not in verdicts and _was_stopping(state, broker, gone_at) and not _has_count(jmx):
            verdicts[broker] = True
    if not verdicts:
        return state
    return replace(
        state,
        pending={b: at for b, at in state.pending.items() if b not in verdicts},
        verdicts={**state.verdicts, **verdicts},
    )


def _by_count(state: Departures, jmx: Mapping[int, Part[JmxNode]]) -> dict[int, bool]:
    """All, none, or those that were seen stopping when they are as many as the count says.

    A broker that starts again may or may not have registered, which takes it off the count: what then could be both is not decided.
    """
    back = _starting(jmx)
    pending = {b: at for b, at in state.pending.items() if b not in back}
    if not pending:
        return {}
    after = {n: p for n, p in jmx.items() if p.taken_at - p.value.seconds >= max(pending.values())}
    count = controlled_count(after, state.away or frozenset())
    if count is None:
        return {}
    settled = {b for b, controlled in state.verdicts.items() if controlled}
    least, most = count - len(settled), count - len(settled - back)
    if least >= len(pending):
        return dict.fromkeys(pending, True)
    if most <= 0:
        return dict.fromkeys(pending, False)
    stopping = {b for b, at in pending.items() if _was_stopping(state, b, at)}
    return {b: b in stopping for b in pending} if least == most == len(stopping) else {}


def _starting(jmx: Mapping[int, Part[JmxNode]]) -> frozenset[int]:
    """Nodes that answer again and are not on their way out."""
    return frozenset(
        n for n, p in jmx.items() if p.value.broker_state is not None and p.value.broker_state not in STOPPING_STATES
    )


def _was_stopping(state: Departures, broker: int, gone_at: float) -> bool:
    seen = state.stopping_at.get(broker)
    return seen is not None and gone_at - seen <= SHORTLY_BEFORE_S


def _has_count(jmx: Mapping[int, Part[JmxNode]]) -> bool:
    return any(p.value.value(CONTROLLED) is not None for p in jmx.values())


def controlled_count(jmx: Mapping[int, Part[JmxNode]], away: Collection[int]) -> int | None:
    """Brokers of ``away`` that left by a controlled shutdown, by the controllers' count; None where no controller that can be believed has it.

    A broker that is still shutting down is counted as well: it is taken off.
    """
    nodes = [p.value for p in jmx.values()]
    count = aggregate(nodes, shipped().families()[CONTROLLED])
    if count is None:
        return None
    registrations = (sample for node in nodes for sample in node.samples(REGISTRATION))
    stopping = {labels["of_broker"] for labels, value in registrations if value == IN_CONTROLLED_SHUTDOWN}
    return max(0, int(count) - len(stopping - {str(b) for b in away}))
