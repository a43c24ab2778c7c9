"""Collector ``jmx``: the beans of every configured target, brokers and controllers."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence

from exporter.collectors.base import Clock, Known, Polls
from exporter.facts.cluster import LegState
from exporter.jmx.access import OPEN, Access
from exporter.jmx.catalogue import Catalogue, key_properties
from exporter.jmx.facts import JmxNode
from exporter.jmx.gate import observe, plan_for
from exporter.jmx.transport import JmxAnswer, JmxTransport, Target
from exporter.reading import Failure, Part, Poll

APP_INFO = "kafka.server:type=app-info,id="
LONGEST_READ_S = 5.0
FIRST_READ_S = 10.0
"""For the first of all: the Java process has just started and every connection is new, which takes some seconds on a busy machine."""
SHORT_READ_S = 1.0
"""For a node that does not answer Kafka's requests in time either: the others' evidence, which tells why it is gone, must not wait for it."""
WHOLE_READ_EVERY_S = 60.0
"""Such a node still gets the whole time so often: one that only collects garbage answers late, and that is a fact about it."""


class JmxCollector:
    """Node ids come from the configuration; a target where another node answers is a failure that names both."""

    def __init__(
        self,
        transport: JmxTransport,
        catalogue: Catalogue,
        targets: Mapping[int, str],
        interval: float,
        access: Access = OPEN,
        clock: Clock = time.time,
    ) -> None:
        self._transport = transport
        self._catalogue = catalogue
        self._targets = dict(targets)
        self._access = access
        self._deadline_s = min(LONGEST_READ_S, max(1.0, interval / 2))
        self._previous: dict[int, JmxNode] = {}
        self._clock = clock
        self._whole_read_at: dict[int, float] = {}

    def poll(self, known: Known) -> Polls:
        """See Collector."""
        targets = [
            Target(node, address, plan_for(self._catalogue, self._previous.get(node)), self._access)
            for node, address in sorted(self._targets.items())
        ]
        parts: dict[int, Part[JmxNode]] = {}
        failures: dict[int, Failure] = {}
        for node, answer in self._read(targets, _silent(known)).items():
            problem = _problem(answer)
            if problem is not None:
                failures[node] = problem
                continue
            previous = self._previous.get(node)
            facts = observe(self._catalogue, answer, previous, known_broker=node in known.brokers)
            self._previous[node] = facts
            parts[node] = Part(facts, answer.taken_at)
        return Polls(jmx=Poll(parts, failures, frozenset(self._targets)))

    def _read(self, targets: Sequence[Target], silent: Collection[int]) -> dict[int, JmxAnswer]:
        now = self._clock()
        short = [
            t for t in targets if t.node in silent and now - self._whole_read_at.get(t.node, 0.0) < WHOLE_READ_EVERY_S
        ]
        whole = [t for t in targets if t not in short]
        deadline_s = self._deadline_s if self._whole_read_at else FIRST_READ_S
        self._whole_read_at |= dict.fromkeys((t.node for t in whole), now)
        answers = dict(self._transport.read(whole, deadline_s)) if whole else {}
        return answers | dict(self._transport.read(short, SHORT_READ_S)) if short else answers


def _silent(known: Known) -> frozenset[int]:
    """Nodes whose newest pulse ended in a time-out, or was skipped for an earlier one."""
    pulses = known.cluster.pulses if known.cluster is not None else {}
    states = {node: {leg.state for leg in pulse.legs.values()} for node, pulse in pulses.items()}
    return frozenset(n for n, seen in states.items() if LegState.TIMEOUT in seen or seen == {LegState.SKIPPED})


def _problem(answer: JmxAnswer) -> Failure | None:
    if answer.error is not None:
        return Failure(answer.error.kind, str(answer.error), answer.taken_at, answer.seconds)
    node = own_id(answer)
    if node is not None and node != answer.node:
        message = f"the JMX target of node {answer.node} ({answer.address}) is node {node}"
        return Failure("wrong_node", message, answer.taken_at, answer.seconds)
    return None


def own_id(answer: JmxAnswer) -> int | None:
    """The node id in the name of the node's app-info bean, None where it has none."""
    ids = (key_properties(b.bean).get("id", "") for b in answer.beans if b.bean.startswith(APP_INFO))
    return next((int(i) for i in ids if i.isdigit()), None)
