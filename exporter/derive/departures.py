"""Whether a broker that is gone left by a controlled shutdown: told by the controllers' count of such brokers, and by what came first, its silence or its fencing.

ControlledShutdownBrokerCount (KIP-1131, from 4.0) counts brokers in controlled shutdown until they register again; after a crash it does not rise. The number comes out
of the metadata log, so every controller has the same. But a broker that leads nothing is let go at once and never counted: a count that did not rise is no proof of a crash.
What came first tells: a controlled shutdown is fenced by the controller before its port closes, a crash or hang falls silent and is fenced only when its session
(broker.session.timeout.ms, 9 s by default) has ended.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from exporter.facts.cluster import Leg, LegName, LegState, Node
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
"""How long before a departure such a state, or a lead, counts for it: a controlled shutdown may have to move many leaders."""
WITHIN_SESSION_S = 8.0
"""A broker that answered so shortly before it was fenced was not fenced for the end of its session."""
DECIDED_WITHIN_S = 60.0
"""A departure that is not decided by then counts as one of which nobody can tell."""
BEANS_LATE_S = 1.0
"""A controller's beans may be so much older than the brokers' views."""

SILENT = frozenset({LegState.REFUSED, LegState.TIMEOUT, LegState.ERROR})

Times = Mapping[int, float]
Legs = Mapping[int, Mapping[str, Leg]]
JmxParts = Mapping[int, Part[JmxNode]]


@dataclass(frozen=True, slots=True)
class Sight:
    """What was seen of the cluster at one moment: a trusted view, the legs as last tried, and who leads partitions (None where it is not known)."""

    at: float
    brokers: Iterable[Node]
    legs: Legs
    leaders: Collection[int] | None


@dataclass(frozen=True, slots=True)
class Departures:
    """The brokers that are gone: ``pending`` with the time when that was first seen, ``verdicts`` for those that are decided. The rest is what was last seen of each."""

    pending: Times = field(default_factory=dict)
    verdicts: Mapping[int, bool] = field(default_factory=dict)
    stopping_at: Times = field(default_factory=dict)
    """In a stopping state over its own JMX."""
    answered_at: Times = field(default_factory=dict)
    """Answering, while it was registered and unfenced."""
    silent_since: Times = field(default_factory=dict)
    """Not answering, while it was registered and unfenced."""
    led_at: Times = field(default_factory=dict)
    """Leading partitions."""
    counted: bool = False
    """The controllers have ControlledShutdownBrokerCount."""
    base: int = 0
    """That count while every departure was decided: it is more by those that have been counted since."""
    base_since: float = 0.0
    """When a broker last left or returned: only a later count is a new base."""
    returned: int = 0
    """Brokers that may have been counted in ``base`` and have returned since."""
    refused: frozenset[int] = frozenset()
    """Gone, and nothing listens on their port any more."""

    @property
    def away(self) -> frozenset[int]:
        return frozenset({*self.pending, *self.verdicts})

    def undecided(self, now: float) -> frozenset[int]:
        """Brokers on which a verdict is still to be reached, after a restart of ours too: nothing may be concluded from its absence."""
        return frozenset(b for b, since in self.pending.items() if now - since < DECIDED_WITHIN_S)


def fold(state: Departures, sight: Sight | None, jmx: JmxParts) -> Departures:
    """The state after what was seen and the JMX answers that count; ``sight`` is None while metadata is not trusted: then nobody leaves or returns."""
    counted = state.counted or any(p.value.value(CONTROLLED) is not None for p in jmx.values())
    state = replace(state, stopping_at=_stopping(state.stopping_at, jmx), counted=counted)
    if sight is not None:
        state = _seen(state, sight)
    return _decided(state, jmx) if state.pending else _settled(state, jmx)


def _seen(state: Departures, sight: Sight) -> Departures:
    brokers = tuple(sight.brokers)
    away = frozenset(b.id for b in brokers if not b.registered or b.fenced)
    here = frozenset(b.id for b in brokers) - away
    states = {b: _reached(sight.legs.get(b, {})) for b in here}
    answering = {b for b, leg in states.items() if leg is LegState.OK}
    silent = {b for b, leg in states.items() if leg in SILENT}
    before = state.silent_since
    back = [b for b, controlled in state.verdicts.items() if controlled and b not in away]
    return replace(
        state,
        pending={b: state.pending.get(b, sight.at) for b in sorted(away) if b not in state.verdicts},
        verdicts={b: controlled for b, controlled in state.verdicts.items() if b in away},
        answered_at={**state.answered_at, **dict.fromkeys(answering, sight.at)},
        silent_since={b: before.get(b, sight.at) for b in (before.keys() & away) | silent},
        led_at={**state.led_at, **dict.fromkeys(here.intersection(sight.leaders or ()), sight.at)},
        refused=frozenset(b for b in away if _tcp(sight.legs.get(b, {})) is LegState.REFUSED),
        base_since=sight.at if away != state.away else state.base_since,
        returned=state.returned + len(back),
    )


def _settled(state: Departures, jmx: JmxParts) -> Departures:
    """While nobody's departure is open, the count is what the next one is compared with."""
    count = controlled_count(_since(jmx, state.base_since), state.away) if state.counted else None
    return state if count is None else replace(state, base=count, returned=0)


def _reached(legs: Mapping[str, Leg]) -> LegState | None:
    """How a node answers as a Kafka broker: the worst of connecting and ApiVersions, None where it was not tried."""
    api = legs.get(LegName.API_VERSIONS)
    tcp = _tcp(legs)
    return tcp if tcp is not LegState.OK or api is None else api.state


def _tcp(legs: Mapping[str, Leg]) -> LegState | None:
    tcp = legs.get(LegName.TCP)
    return tcp.state if tcp is not None else None


def _stopping(before: Times, jmx: JmxParts) -> Times:
    seen = {n: p.taken_at for n, p in jmx.items() if p.value.broker_state in STOPPING_STATES}
    # A node that runs again has not stopped; one that is silent keeps what was last seen of it.
    return {**{n: at for n, at in before.items() if n not in _starting(jmx)}, **seen}


def _starting(jmx: JmxParts) -> frozenset[int]:
    """Nodes that answer and are not on their way out."""
    states = {n: p.value.broker_state for n, p in jmx.items()}
    return frozenset(n for n, state in states.items() if state is not None and state not in STOPPING_STATES)


# --- verdicts ------------------------------------------------------------------------------------------------------------------------------


def _decided(state: Departures, jmx: JmxParts) -> Departures:
    since = max(state.pending.values())
    count = controlled_count(_since(jmx, since), state.away) if state.counted else None
    if count is not None:
        verdicts = _by_count(state, jmx, count)
    else:
        verdicts = {} if state.counted else _without_count(state)
    if not verdicts:
        return state
    left = {b: at for b, at in state.pending.items() if b not in verdicts}
    state = replace(state, pending=left, verdicts={**state.verdicts, **verdicts})
    return replace(state, base=count, returned=0) if count is not None and not left else state


def _by_count(state: Departures, jmx: JmxParts, count: int) -> dict[int, bool]:
    """As many as the count rose by left by a controlled shutdown; who was not counted may have led nothing.

    A broker that starts again may or may not have registered, which takes it off the count: what then could be both is not decided.
    """
    back = _starting(jmx)
    pending = [b for b in state.pending if b not in back]
    if not pending:
        return {}
    maybe_off = state.returned + sum(1 for b, controlled in state.verdicts.items() if controlled and b in back)
    least, most = count - state.base, count - max(0, state.base - maybe_off)
    if least >= len(pending):
        return dict.fromkeys(pending, True)
    if most <= 0:
        return _known({b: _uncounted(state, b) for b in pending})
    orders = _known({b: _order(state, b) for b in pending})
    if len(orders) == len(pending) and sum(orders.values()) >= least:
        return orders
    stopping = {b for b in pending if _was_stopping(state, b)}
    return {b: b in stopping for b in pending} if least == most == len(stopping) else {}


def _since(jmx: JmxParts, at: float) -> JmxParts:
    """The answers to reads that began after ``at``, and late enough for the beans to show it."""
    return {n: p for n, p in jmx.items() if p.taken_at - p.value.seconds >= at + BEANS_LATE_S}


def _uncounted(state: Departures, broker: int) -> bool | None:
    """A broker whose leaving did not raise the count: a crash if it led partitions, or if Klaxon has never seen it up and cannot know better."""
    order = _order(state, broker)
    if order is not None:
        return order
    gone_at = state.pending[broker]
    led_at = state.led_at.get(broker)
    never_seen = broker not in state.answered_at and broker not in state.silent_since
    led = led_at is not None and gone_at - led_at <= SHORTLY_BEFORE_S
    return False if led or never_seen else None


def _without_count(state: Departures) -> dict[int, bool]:
    """Kafka before 4.0, or no JMX: its own last state, or what came first."""
    return _known({b: True if _was_stopping(state, b) else _order(state, b) for b in state.pending})


def _order(state: Departures, broker: int) -> bool | None:
    """True: fenced first, and then its port closed. False: silent first, and fenced later. None where that was not seen."""
    if broker in state.silent_since:
        return False
    answered_at = state.answered_at.get(broker)
    in_session = answered_at is not None and state.pending[broker] - answered_at <= WITHIN_SESSION_S
    return True if in_session and broker in state.refused else None


def _known(verdicts: Mapping[int, bool | None]) -> dict[int, bool]:
    return {b: verdict for b, verdict in verdicts.items() if verdict is not None}


def _was_stopping(state: Departures, broker: int) -> bool:
    seen = state.stopping_at.get(broker)
    return seen is not None and state.pending[broker] - seen <= SHORTLY_BEFORE_S


def controlled_count(jmx: JmxParts, away: Collection[int]) -> int | None:
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
