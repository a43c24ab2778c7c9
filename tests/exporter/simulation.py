"""A Klaxon without threads on the cluster in memory: time moves by hand, collectors run when they are due, each second gives a Snapshot."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from exporter.collectors import BY_NAME, COLLECTORS, Tools
from exporter.collectors.base import Known, Polls, failure
from exporter.facts.cluster import Node, Role
from exporter.jmx.facts import JmxNode
from exporter.kafka.errors import KafkaError
from exporter.reading import Failure, Part, Poll
from exporter.runner.builder import Builder, missed
from exporter.runner.readings import Readings
from exporter.runner.runner import EARLY_GAP_S, JOB_OF
from exporter.snapshot import Snapshot
from tests.exporter.scripted import controller_values, jmx_node
from tests.fakes.kafka import BrokerState, FakeCluster, FakeReader

INTERVALS = {c.name: c.interval for c in COLLECTORS}
BROKER_STATES = {BrokerState.UP: 3, BrokerState.STARTING: 1}


class Simulation:
    """``jmx`` are the nodes with a JMX target; ``gauge`` False is a Kafka without ControlledShutdownBrokerCount."""

    def __init__(
        self, model: FakeCluster, *, jmx: Iterable[int] | None = None, gauge: bool = True, book: Iterable[Node] = ()
    ) -> None:
        self.model = model
        self.reader = FakeReader(model)
        self.reader.expect(book)
        clock = model.clock
        self.collectors = {c.name: c.make(Tools(self.reader, clock, c.interval)) for c in COLLECTORS if c.name != "jmx"}
        self.targets = frozenset(model.brokers if jmx is None else jmx)
        self.gauge = gauge
        self.stopping: dict[int, int] = {}
        """Node -> BrokerState while it shuts down."""
        self.readings = Readings.none(INTERVALS)
        self.builder = Builder("test", book, () if self.targets else ("jmx",))
        self.due = dict.fromkeys(INTERVALS, clock())
        self.controlled: set[int] = set()
        self._lag_since = clock() if model.quorum_leader is not None else model.clock() - 30.0
        self.snapshots: list[Snapshot] = []
        self.started = clock()
        self.step()

    # --- time

    def step(self) -> Snapshot:
        """Run what is due, and build a Snapshot."""
        now = self.model.clock()
        self._controlled()
        for name in INTERVALS:
            if now >= self.due[name]:
                self.poll(name)
        snapshot = self._build()
        if self.targets and (self.builder.departures.pending or self.readings.quorum.failures):
            self.poll("jmx")
            snapshot = self._build()
        if self.snapshots:
            self.due |= {JOB_OF.get(name, name): now + EARLY_GAP_S for name in missed(self.snapshots[-1], snapshot)}
        for node in self.reader.nodes().keys() - self.builder.nodes.keys():
            self.reader.forget(node)
        self.reader.expect(n for n in self.builder.nodes.values() if n.host)
        self.snapshots.append(snapshot)
        return snapshot

    def run(self, seconds: int) -> list[Snapshot]:
        """A Snapshot for each second."""
        seen: list[Snapshot] = []
        for _ in range(seconds):
            self.model.advance(1.0)
            seen.append(self.step())
        return seen

    def run_until(self, condition: Callable[[Snapshot], bool], limit: int) -> tuple[int, Snapshot]:
        """Seconds until the condition holds."""
        for second in range(1, limit + 1):
            snapshot = self.run(1)[0]
            if condition(snapshot):
                return second, snapshot
        raise AssertionError(f"not within {limit} s")

    # --- polls

    def poll(self, name: str) -> None:
        now = self.model.clock()
        self.due[name] = now + INTERVALS[name]
        known = self.builder.known
        if name == "jmx":
            polls = self._jmx()
        elif any(getattr(known, need) is None for need in BY_NAME[name].needs):
            self.due[name] = now
            return
        else:
            polls = self._ask(name, known)
            if polls is None:
                return
        self.readings = self.readings.merged(polls, now, 0.0)
        if name in ("cluster", "topics"):
            self._build()

    def _ask(self, name: str, known: Known) -> Polls | None:
        now = self.model.clock()
        try:
            return self.collectors[name].poll(known)
        except KafkaError as error:
            self.readings = self.readings.failed(BY_NAME[name].feeds, failure(error, now), now, 0.0)
            return None

    def _build(self) -> Snapshot:
        return self.builder.build(self.readings, self.reader.requests(), self.model.clock())

    # --- JMX of the model

    def _controlled(self) -> None:
        """A broker in controlled shutdown counts until it registers again."""
        stopped = {b.id for b in self.model.brokers.values() if b.state is BrokerState.STOPPED and b.fenced}
        back = {b for b in self.controlled if not self.model.brokers[b].fenced}
        self.controlled = (self.controlled | stopped) - back

    def _jmx(self) -> Polls:
        parts: dict[int, Part[JmxNode]] = {}
        failures: dict[int, Failure] = {}
        now = self.model.clock()
        self.model.log_end()
        if self.model.quorum_leader is not None:
            self._lag_since = now
        for node in sorted(self.targets):
            state = self.model.brokers[node].state
            if state in (BrokerState.UP, BrokerState.STARTING):
                parts[node] = Part(self._bean_values(node, now), now)
            else:
                kind = "timeout" if state in (BrokerState.HUNG, BrokerState.UNREACHABLE) else "refused"
                failures[node] = Failure(kind, kind, now)
        return Polls(jmx=Poll(parts, failures, self.targets))

    def _bean_values(self, node: int, now: float) -> JmxNode:
        broker = self.model.brokers[node]
        values: Mapping[str, float] = {}
        if broker.state is BrokerState.UP and Role.CONTROLLER in broker.roles:
            values = controller_values(
                float(node == self.model.quorum_leader),
                self.model.quorum_epoch,
                0.3 + now - self._lag_since,
                float(len(self.controlled)) if self.gauge else None,
            )
        state = self.stopping.get(node, BROKER_STATES[broker.state]) if Role.BROKER in broker.roles else None
        return jmx_node(node, now, values, state=state, seconds=0.0)


def up(snapshot: Snapshot) -> set[int]:
    """Brokers that are shown as up; empty while cluster facts are withdrawn or gone."""
    facts = snapshot.cluster_facts.value(snapshot.at)
    if facts is None or "cluster" in snapshot.derived.withdrawn:
        return set()
    return {n.id for n in facts.brokers if n.registered and not n.fenced}
