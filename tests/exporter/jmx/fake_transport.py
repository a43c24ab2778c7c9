"""A JMX transport without Java: nodes are dicts of beans, and may refuse, hang or break at will."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from exporter.jmx.catalogue import key_properties
from exporter.jmx.errors import JmxError
from exporter.jmx.transport import Attribute, BeanRequest, BeanValues, JmxAnswer, Kind, Target, Value

AttributeValues = Mapping[str, "Value | Mapping[str, float]"]
"""Attribute -> number, word or the numbers of a composite."""


@dataclass
class FakeJmx:
    """Answers what ``nodes`` holds (node -> bean -> attribute -> value); a node in ``errors`` fails so, one that is in neither refuses."""

    nodes: dict[int, dict[str, AttributeValues]] = field(default_factory=dict)
    errors: dict[int, JmxError] = field(default_factory=dict)
    clock: Callable[[], float] = lambda: 0.0
    reads: list[tuple[int, ...]] = field(default_factory=list)
    closed: bool = False

    def read(self, targets: Sequence[Target], deadline_s: float) -> Mapping[int, JmxAnswer]:
        self.reads.append(tuple(t.node for t in targets))
        return {t.node: self._answer(t) for t in targets}

    def close(self) -> None:
        self.closed = True

    def _answer(self, target: Target) -> JmxAnswer:
        error = self.errors.get(target.node)
        if error is not None:
            return JmxAnswer(target.node, target.address, self.clock(), 0.0, error=error)
        beans = self.nodes[target.node]
        found: list[BeanValues] = []
        missing: list[str] = []
        for request in target.plan.beans:
            names = [b for b in beans if matches(request, b)]
            for name in names:
                shown = canonical(name) if request.is_pattern else request.bean
                found.append(BeanValues(request.bean, shown, values(request.attributes, beans[name])))
            if not names and not request.is_pattern:
                missing.append(request.bean)
        return JmxAnswer(target.node, target.address, self.clock(), 0.01, tuple(found), tuple(missing))


@dataclass
class FakeTransports:
    """Hands out one transport whatever is configured."""

    jmx: FakeJmx

    def get(self, *_: object) -> FakeJmx:
        return self.jmx

    def close(self) -> None:
        self.jmx.close()


def canonical(bean: str) -> str:
    """The name under which a real node's pattern query gives the bean: keys sorted (values without commas)."""
    domain, _, keys = bean.partition(":")
    return f"{domain}:{','.join(sorted(keys.split(',')))}"


def matches(request: BeanRequest, bean: str) -> bool:
    """Whether a bean is the one asked for, or has the keys of the pattern and no others."""
    if request.bean.partition(":")[0] != bean.partition(":")[0]:
        return False
    wanted, given = key_properties(request.bean), key_properties(bean)
    return wanted.keys() == given.keys() and all(v in ("*", given[k]) for k, v in wanted.items())


def values(attributes: Sequence[Attribute], given: AttributeValues) -> tuple[Value, ...]:
    """The values of a bean in the order in which they were asked for."""
    found: list[Value] = []
    for attribute in attributes:
        value = given.get(attribute.name)
        if attribute.kind is Kind.COMPOSITE:
            items = value if isinstance(value, Mapping) else {}
            found += [items.get(item) for item in attribute.items]
        else:
            found.append(None if isinstance(value, Mapping) else value)
    return tuple(found)


def broker_beans(
    node: int = 1, state: float = 3.0, version: str = "4.3.1", leader: bool = False
) -> dict[str, AttributeValues]:
    """A small healthy combined node; add or change beans as a test needs."""
    return {
        "kafka.server:type=KafkaServer,name=BrokerState": {"Value": state},
        f"kafka.server:type=app-info,id={node}": {"Version": version, "StartTimeMs": 0.0},
        "kafka.controller:type=KafkaController,name=ActiveControllerCount": {"Value": float(leader)},
        "kafka.controller:type=KafkaController,name=OfflinePartitionsCount": {"Value": 0.0},
        "kafka.controller:type=KafkaController,name=ControlledShutdownBrokerCount": {"Value": 0.0},
        "kafka.controller:type=KafkaController,name=GlobalTopicCount": {"Value": 1.0},
        "kafka.controller:type=KafkaController,name=LastAppliedRecordLagMs": {"Value": 0.0 if leader else 200.0},
        "kafka.server:type=raft-metrics": {
            "current-state": "leader" if leader else "follower",
            "current-leader": float(node if leader else node + 1),
            "current-epoch": 1.0,
        },
        "kafka.server:type=ReplicaManager,name=UnderReplicatedPartitions": {"Value": 0.0},
        "java.lang:type=Runtime": {"StartTime": 0.0, "Uptime": 1e6},
        "java.lang:type=Memory": {"HeapMemoryUsage": {"used": 1e8, "committed": 2e8, "max": 4e8}},
    }
