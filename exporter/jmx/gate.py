"""Turns a node's raw answer into facts, and withholds what its state makes a lie.

A starting node reports zeros that are not so (ActiveBrokerCount 0, PartitionCount 0) and an applied lag since 1970; its kafka.* beans count once BrokerState is 3.
A controller-only node has no BrokerState: its beans count once it knows the quorum's leader, and from then on, so that a lost quorum can be seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from exporter.blocks import LabelSets
from exporter.facts.cluster import Role
from exporter.jmx.catalogue import (
    ACTIVE_CONTROLLER,
    BROKER_STATE,
    DERIVED_FAMILIES,
    BeanSpec,
    Catalogue,
    Gate,
    parse_version,
)
from exporter.jmx.facts import F64, RUNNING, STARTING_STATES, JmxColumns, JmxNode
from exporter.jmx.transport import Attribute, BeanValues, JmxAnswer, Plan, Value

FIRST_SECONDS = 30.0
"""JMX opens before a node's beans are there: so long after its start a missing bean only means that it starts."""

_RAFT = "kafka.server:type=raft-metrics"
_RUNTIME = "java.lang:type=Runtime"
_APP_INFO = "kafka.server:type=app-info,id=*"
_SERVING_RAFT_STATES = frozenset({"leader", "follower", "observer"})
_GATES = tuple(Gate)


def plan_for(catalogue: Catalogue, previous: JmxNode | None) -> Plan:
    """What to ask next of a node: what its version and roles have, or everything while they are unknown."""
    if previous is None or previous.version is None:
        return catalogue.plan()
    return catalogue.plan(previous.version, previous.roles)


def observe(
    catalogue: Catalogue, answer: JmxAnswer, previous: JmxNode | None = None, known_broker: bool = False
) -> JmxNode:
    """The facts of an answer without error. ``previous`` is what the node was at its last answer; ``known_broker``: the cluster says that it is a broker."""
    raw = _Raw(catalogue, answer)
    roles = _roles(raw, previous, known_broker)
    raw.keep(roles)
    version = raw.text(_APP_INFO, "Version") or (previous.version if previous else None)
    state = raw.number(BROKER_STATE, "Value")
    started_ms = raw.number(_RUNTIME, "StartTime")
    started_at = started_ms / 1000 if started_ms is not None else None
    young = started_at is not None and answer.taken_at - started_at < FIRST_SECONDS
    lost = Role.BROKER in roles and state is None and not young
    ready = _ready(raw, roles, state, started_at, previous)
    starting = (
        not ready
        and not lost
        and (state in STARTING_STATES if state is not None else young or not roles & {Role.BROKER})
    )
    expected, missing, untold = _beans(catalogue, answer, roles, version)
    derived = [None, None, float(lost), None] if starting else [expected, missing, float(lost), untold]
    columns, values, memory = _columns(answer, raw, derived, _open_gates(raw, ready), previous)
    return JmxNode(
        node_id=answer.node,
        taken_at=answer.taken_at,
        seconds=answer.seconds,
        roles=roles,
        broker_state=int(state) if state is not None else None,
        raft_state=raw.text(_RAFT, "current-state"),
        starting=starting,
        bean_lost=lost,
        ready=ready,
        version=version,
        started_at=started_at,
        beans_expected=expected,
        beans_missing=missing,
        warnings=answer.warnings,
        columns=columns,
        values=values,
        memory=memory,
    )


class _Raw:
    """An answer's values by bean and attribute."""

    def __init__(self, catalogue: Catalogue, answer: JmxAnswer) -> None:
        known = [(catalogue.by_bean.get(b.request), b) for b in answer.beans]
        self.beans: list[tuple[BeanSpec, BeanValues]] = [(spec, b) for spec, b in known if spec is not None]
        self._first: dict[str, tuple[BeanSpec, BeanValues]] = {}
        for spec, bean in self.beans:
            self._first.setdefault(bean.request, (spec, bean))

    def keep(self, roles: frozenset[Role]) -> None:
        """Forget beans that such a node is not asked for once its roles are known: their series would come and go."""
        self.beans = [(spec, bean) for spec, bean in self.beans if spec.belongs_to(roles)]

    def has(self, bean: str) -> bool:
        return bean in self._first

    def number(self, bean: str, attribute: str) -> float | None:
        value = self._value(bean, attribute)
        return value if isinstance(value, float) else None

    def text(self, bean: str, attribute: str) -> str | None:
        value = self._value(bean, attribute)
        return value if isinstance(value, str) else None

    def _value(self, bean: str, attribute: str) -> Value:
        found = self._first.get(bean)
        if found is None:
            return None
        spec, values = found
        position = _position(spec.request.attributes, attribute)
        return values.values[position] if position is not None and position < len(values.values) else None


def _position(attributes: Sequence[Attribute], name: str) -> int | None:
    position = 0
    for attribute in attributes:
        if attribute.name == name:
            return position
        position += attribute.width
    return None


# --- the node's state ---------------------------------------------------------------------------------------------------------------------


def _roles(raw: _Raw, previous: JmxNode | None, known_broker: bool) -> frozenset[Role]:
    roles = set(previous.roles) if previous is not None else set()
    if known_broker or raw.has(BROKER_STATE):
        roles.add(Role.BROKER)
    if raw.has(ACTIVE_CONTROLLER):
        roles.add(Role.CONTROLLER)
    return frozenset(roles)


def _ready(
    raw: _Raw, roles: frozenset[Role], state: float | None, started_at: float | None, previous: JmxNode | None
) -> bool:
    if Role.BROKER in roles:
        return state == RUNNING
    if not raw.has(_RAFT):
        return False
    was_ready = previous is not None and previous.ready and previous.started_at == started_at
    return was_ready or _knows_leader(raw)


def _knows_leader(raw: _Raw) -> bool:
    leader = raw.number(_RAFT, "current-leader")
    return raw.text(_RAFT, "current-state") in _SERVING_RAFT_STATES and leader is not None and leader >= 0


def _open_gates(raw: _Raw, ready: bool) -> frozenset[Gate]:
    """An active controller's beans are right before the broker of the same node runs: it has applied all of the metadata log."""
    gates = {Gate.NEVER}
    if ready:
        gates |= {Gate.RUNNING, Gate.CONTROLLER}
    elif raw.number(ACTIVE_CONTROLLER, "Value") == 1:
        gates.add(Gate.CONTROLLER)
    return frozenset(gates)


def _beans(
    catalogue: Catalogue, answer: JmxAnswer, roles: frozenset[Role], version: str | None
) -> tuple[int, int, int]:
    """How many named beans such a node has, how many of them it did not give, and of how many the way of reading does not tell (these are in neither)."""
    parsed = parse_version(version)

    def counts(bean: str) -> bool:
        spec = catalogue.by_bean.get(bean)
        if spec is None or spec.optional or spec.request.is_pattern or not spec.belongs_to(roles):
            return False
        return spec.exists_in(parsed) and (parsed is not None or (spec.since is None and spec.until is None))

    given = sum(1 for b in answer.beans if b.request == b.bean and counts(b.bean))
    missing = sum(1 for bean in (*answer.missing, *answer.failed) if counts(bean))
    return given + missing, missing, sum(1 for bean in answer.untold if counts(bean))


# --- columns ------------------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class _Layout:
    """Where each possible sample of an answer comes from, as long as the same beans answer: sorted by family."""

    key: tuple[object, ...]
    families: tuple[str, ...]
    names: tuple[tuple[str, ...], ...]
    rows: tuple[tuple[str, ...], ...]
    positions: npt.NDArray[np.int64]
    scales: F64
    gates: npt.NDArray[np.int64]


def _columns(
    answer: JmxAnswer,
    raw: _Raw,
    derived: Sequence[float | None],
    open_gates: frozenset[Gate],
    previous: JmxNode | None,
) -> tuple[JmxColumns, F64, Mapping[str, object]]:
    """Columns and values; the previous columns where the same series are shown."""
    flat = [v for _, bean in raw.beans for v in bean.values]
    key = (tuple([b.bean for _, b in raw.beans]), tuple([v for v in flat if isinstance(v, str)]))
    before = previous.memory if previous is not None else {}
    layout = before.get("layout")
    if not isinstance(layout, _Layout) or layout.key != key:
        layout = _layout(answer.node, raw, key)
    numbers = np.array([1.0 if isinstance(v, str) else v for v in (*flat, *derived)], dtype=np.float64)
    values = numbers[layout.positions] * layout.scales
    shown = ~np.isnan(values) & np.array([g in open_gates for g in _GATES])[layout.gates]
    mask = shown.tobytes()
    if previous is not None and before.get("layout") is layout and before.get("mask") == mask:
        columns = previous.columns
    else:
        columns = _shown_columns(layout, shown)
    return columns, values[shown], {"layout": layout, "mask": mask}


def _layout(node: int, raw: _Raw, key: tuple[object, ...]) -> _Layout:
    order: dict[str, int] = {}
    found: list[tuple[int, str, tuple[str, ...], tuple[str, ...], int, float, int]] = []
    base = 0
    for spec, bean in raw.beans:
        gate = _GATES.index(spec.gate)
        for column, labels in zip(spec.columns, spec.label_rows(bean.bean), strict=True):
            family = column.family
            place = order.setdefault(family.name, len(order))
            value = bean.values[column.index]
            if column.state is not None:
                labels[column.state] = value if isinstance(value, str) else ""
            row = (str(node), *(labels[name] for name in family.labels[1:]))
            found.append((place, family.name, family.labels, row, base + column.index, column.scale, gate))
        base += len(bean.values)
    for offset, family in enumerate(DERIVED_FAMILIES):
        gate = _GATES.index(Gate.NEVER)
        place = order.setdefault(family.name, len(order))
        found.append((place, family.name, family.labels, (str(node),), base + offset, 1.0, gate))
    found.sort(key=lambda row: row[0])
    return _Layout(
        key=key,
        families=tuple(row[1] for row in found),
        names=tuple(row[2] for row in found),
        rows=tuple(row[3] for row in found),
        positions=np.array([row[4] for row in found], dtype=np.int64),
        scales=np.array([row[5] for row in found], dtype=np.float64),
        gates=np.array([row[6] for row in found], dtype=np.int64),
    )


def _shown_columns(layout: _Layout, shown: npt.NDArray[np.bool_]) -> JmxColumns:
    rows: dict[str, list[tuple[str, ...]]] = {}
    names: dict[str, tuple[str, ...]] = {}
    for i in np.flatnonzero(shown).tolist():
        family = layout.families[i]
        rows.setdefault(family, []).append(layout.rows[i])
        names[family] = layout.names[i]
    return JmxColumns(tuple(rows), tuple(LabelSets(names[f], r) for f, r in rows.items()))
