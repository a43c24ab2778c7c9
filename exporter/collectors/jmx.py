"""Collector ``jmx``: the beans of every configured target, brokers and controllers."""

from __future__ import annotations

from collections.abc import Mapping

from exporter.collectors.base import Known, Polls
from exporter.jmx.access import OPEN, Access
from exporter.jmx.catalogue import Catalogue, key_properties
from exporter.jmx.facts import JmxNode
from exporter.jmx.gate import observe, plan_for
from exporter.jmx.transport import JmxAnswer, JmxTransport, Target
from exporter.reading import Failure, Part, Poll

APP_INFO = "kafka.server:type=app-info,id="
LONGEST_READ_S = 5.0


class JmxCollector:
    """Node ids come from the configuration; a target where another node answers is a failure that names both."""

    def __init__(
        self,
        transport: JmxTransport,
        catalogue: Catalogue,
        targets: Mapping[int, str],
        interval: float,
        access: Access = OPEN,
    ) -> None:
        self._transport = transport
        self._catalogue = catalogue
        self._targets = dict(targets)
        self._access = access
        self._deadline_s = min(LONGEST_READ_S, max(1.0, interval / 2))
        self._previous: dict[int, JmxNode] = {}

    def poll(self, known: Known) -> Polls:
        """See Collector."""
        targets = [
            Target(node, address, plan_for(self._catalogue, self._previous.get(node)), self._access)
            for node, address in sorted(self._targets.items())
        ]
        parts: dict[int, Part[JmxNode]] = {}
        failures: dict[int, Failure] = {}
        for node, answer in self._transport.read(targets, self._deadline_s).items():
            problem = _problem(answer)
            if problem is not None:
                failures[node] = problem
                continue
            previous = self._previous.get(node)
            facts = observe(self._catalogue, answer, previous, known_broker=node in known.brokers)
            self._previous[node] = facts
            parts[node] = Part(facts, answer.taken_at)
        return Polls(jmx=Poll(parts, failures, frozenset(self._targets)))


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
