"""What an expression needs to be answered: collectors, and the node where a matcher names one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from alerts.engine.names import Names
from alerts.promql.questions import selectors
from alerts.promql.syntax import Expr, Selector
from exporter.metrics.catalogue import MetricRow, Owner, complete
from exporter.reading import Coverage

PER_NODE = frozenset({Owner.LEGS, Owner.DEPARTURES, Owner.LOG_DIRS, Owner.JMX, Owner.CONFIGS, Owner.CERTIFICATES})
"""Collectors whose series say in ``broker`` which source they came from."""

_WORDS = {
    Owner.CLUSTER: "the brokers' word on who is there",
    Owner.LEGS: "our own probes",
    Owner.DEPARTURES: "how brokers left",
    Owner.TOPICS: "topics",
    Owner.GROUPS: "groups",
    Owner.OFFSETS: "end offsets",
    Owner.LOG_DIRS: "log dirs",
    Owner.QUORUM: "the metadata quorum",
    Owner.JMX: "JMX",
    Owner.CONFIGS: "broker settings",
    Owner.TOPIC_CONFIGS: "topic settings",
    Owner.QUOTAS: "client quotas",
    Owner.CERTIFICATES: "certificates of listeners",
    Owner.CERTIFICATE_FILES: "Klaxon's own certificates",
}


@dataclass(frozen=True, slots=True, order=True)
class Input:
    """One collector, of one node or (None) of all that it asks."""

    owner: Owner
    broker: int | None = None

    def __str__(self) -> str:
        words = _WORDS.get(self.owner, self.owner.value)
        return words if self.broker is None else f"{words} of broker {self.broker}"


@lru_cache(maxsize=1)
def catalogue() -> Mapping[str, MetricRow]:
    """Every metric that Klaxon exposes, by name."""
    return complete()


def name_faults(expr: Expr) -> list[str]:
    """A sentence for every metric and label in the expression that does not exist."""
    faults: list[str] = []
    Names(catalogue()).check(expr, faults)
    return list(dict.fromkeys(faults))


def inputs_of(expr: Expr) -> frozenset[Input]:
    """The inputs of a bound expression whose metrics are known; Klaxon's own observations about itself (``self``) are always there and left out."""
    return frozenset(i for selector in selectors(expr) for i in _selector_inputs(selector))


def _selector_inputs(selector: Selector) -> Iterator[Input]:
    broker = next((m.value for m in selector.matchers if m.name == "broker" and m.op == "="), "")
    row = catalogue().get(selector.name or "")
    for owner in row.inputs if row is not None else ():
        if owner is not Owner.SELF:
            yield Input(owner, int(broker) if owner in PER_NODE and broker.isdecimal() else None)


def oldest(inputs: frozenset[Input], coverage: Coverage) -> float | None:
    """When the oldest input was taken (Unix seconds), infinity without inputs; None where one has no fresh data."""
    taken = [coverage.oldest(i.owner.value, i.broker) for i in inputs]
    known = [t for t in taken if t is not None]
    return min(known, default=float("inf")) if len(known) == len(taken) else None


def uncovered(inputs: frozenset[Input], coverage: Coverage) -> tuple[Input, ...]:
    return tuple(sorted(i for i in inputs if not coverage.covers(i.owner.value, i.broker)))
