"""The nodes of one cluster and the connections to them: two per broker (*pulse*, *bulk*), one more for each kind of question that brokers forward to the controller; every call is bounded."""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as StillWaiting
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from exporter.facts.cluster import ClusterView, Leg, LegName, LegState, Node, Pulse
from exporter.facts.partitions import OffsetKind
from exporter.kafka import messages, wire
from exporter.kafka.api import Api
from exporter.kafka.bounded import Deadline, Monotonic, Resolve, Resolver
from exporter.kafka.breaker import Breaker
from exporter.kafka.client import Answer, Answers
from exporter.kafka.connection import Connection
from exporter.kafka.credentials import Credentials
from exporter.kafka.errors import BrokerError, ConnectionLost, KafkaError, Refused, Skipped, TimedOut, Unsupported
from exporter.kafka.probe import Probe
from exporter.kafka.security import PLAINTEXT, SecurityConfig

T = TypeVar("T")

GRACE = 1.0
"""Seconds that a lane may be late with giving up before it is left behind."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds for one probe of a node, one bulk answer, and one answer that the controller gives through a broker."""

    pulse: float = 3.0
    bulk: float = 10.0
    forwarded: float = 5.0


class Lane:
    """One connection with the thread that uses it."""

    def __init__(self, name: str, connection: Connection) -> None:
        self.connection = connection
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=name)

    def submit(self, call: Callable[[], T]) -> Future[T]:
        return self._pool.submit(call)

    def close(self) -> None:
        """End a call that waits, then the thread."""
        self.connection.abort()
        self._pool.shutdown(wait=False, cancel_futures=True)
        self.connection.close()


class Peer:
    """One node: its lanes, its breaker, and what was remembered of its answers."""

    def __init__(self, node: Node, make: Callable[[Node], Connection], probe: Callable[[Connection], Probe]) -> None:
        self.node = node
        self.pulse_lane = Lane(f"pulse {node.id}", make(node))
        self.bulk_lane = Lane(f"bulk {node.id}", make(node))
        self.probe = probe(self.pulse_lane.connection)
        self.breaker = Breaker()
        self.answering = False
        self.stranger = ""
        """Who answers at the node's address instead of it, in words; empty when nobody does."""
        self.commits = wire.OffsetFetchDecoder()
        self.offsets: dict[OffsetKind, wire.ListOffsetsDecoder] = {}
        self.log_dirs = wire.LogDirsDecoder()
        self.remembered: dict[str, tuple[bytes, object]] = {}

    def close(self) -> None:
        self.pulse_lane.close()
        self.bulk_lane.close()


class Way:
    """How one kind of question gets to the controller: the broker that carries it, and the connection to that."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.turn = -1
        self.held: tuple[int, Lane] | None = None

    def close(self) -> None:
        """The next question goes another way."""
        taken, self.held = self.held, None
        if taken is not None:
            taken[1].close()


class Peers:
    """Every node of one cluster with its connections. Thread-safe: collectors ask side by side."""

    def __init__(
        self,
        cluster: str,
        bootstrap_servers: Sequence[str],
        security: SecurityConfig = PLAINTEXT,
        *,
        timeouts: Timeouts | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Monotonic = time.monotonic,
        resolve: Resolve = socket.getaddrinfo,
    ) -> None:
        self._cluster = cluster
        self._bootstrap = tuple(bootstrap_servers)
        self._credentials = Credentials(security, cluster, monotonic=monotonic)
        self._timeouts = timeouts or Timeouts()
        self._clock = clock
        self._monotonic = monotonic
        self._resolver = Resolver(resolve)
        self._lock = threading.Lock()
        self._cluster_id: str | None = None
        self._peers: dict[int, Peer] = {}
        self._bootstrap_errors: dict[str, KafkaError] = {}
        self._bootstrap_breakers = {server: Breaker() for server in self._bootstrap}
        self._bootstrap_pool = ThreadPoolExecutor(max(1, min(len(self._bootstrap), 8)), thread_name_prefix="bootstrap")
        self._requests: Counter[tuple[str, int]] = Counter()
        self._served_by: int | None = None
        self._forwarded: defaultdict[str, Way] = defaultdict(Way)
        """By API: a question that hangs with the controller must not keep another one waiting."""

    # --- who is known

    @property
    def cluster(self) -> str:
        return self._cluster

    def expect(self, nodes: Iterable[Node]) -> None:
        with self._lock:
            for node in nodes:
                if node.id not in self._peers:
                    self._peers[node.id] = self._peer(node)

    def forget(self, node: int) -> None:
        with self._lock:
            peer = self._peers.pop(node, None)
        if peer is not None:
            peer.close()

    def nodes(self) -> Mapping[int, Node]:
        with self._lock:
            return {i: p.node for i, p in self._peers.items()}

    def bootstrap_errors(self) -> Mapping[str, KafkaError]:
        with self._lock:
            return dict(self._bootstrap_errors)

    def requests(self) -> Mapping[tuple[str, int], int]:
        with self._lock:
            return dict(self._requests)

    def close(self) -> None:
        with self._lock:
            peers = list(self._peers.values())
            self._peers.clear()
            ways = list(self._forwarded.values())
        for peer in peers:
            peer.close()
        for way in ways:
            way.close()
        self._bootstrap_pool.shutdown(wait=False, cancel_futures=True)

    # --- pulse

    def pulse(self) -> Sequence[Pulse]:
        # Whose cluster it is, the configured servers say; nodes from the book may have gone to another one.
        first = self._cluster_id is None
        if first:
            self._bootstrap_once()
        pulses = self._pulse_known(frozenset())
        if not first and not any(p.view for p in pulses.values()):
            self._bootstrap_once()
        while True:
            # Brokers that a view has just named are probed within the same call.
            more = self._pulse_known(frozenset(pulses))
            if not more:
                return [pulses[i] for i in sorted(pulses)]
            pulses |= more

    def _pulse_known(self, done: frozenset[int]) -> dict[int, Pulse]:
        with self._lock:
            # Nobody knows where a node without a host is: it cannot be probed.
            peers = {i: p for i, p in self._peers.items() if i not in done and p.node.host}
            now = self._monotonic()
            running = {
                i: p.pulse_lane.submit(partial(p.probe.run, self._timeouts.pulse))
                for i, p in peers.items()
                if p.breaker.allows(now)
            }
        pulses = {i: p.probe.skipped() for i, p in peers.items() if i not in running}
        for node, future in running.items():
            pulses[node] = self._probed(peers[node], future)
        self._learn_cluster_id([p.view for p in pulses.values() if p.view is not None])
        for node in running:
            pulses[node] = self._judged(peers[node], pulses[node])
        for pulse in pulses.values():
            if pulse.view is not None:
                self._join(pulse.view.brokers)
        return pulses

    def _probed(self, peer: Peer, future: Future[Pulse]) -> Pulse:
        try:
            pulse = future.result(self._timeouts.pulse + 2 * GRACE)
        except CancelledError:
            return peer.probe.skipped()
        except StillWaiting:
            peer.pulse_lane.connection.abort()
            leg = Leg(LegState.TIMEOUT, self._timeouts.pulse, self._clock(), "the probe did not end in time")
            pulse = Pulse(peer.node.id, dict.fromkeys(peer.probe.skipped().legs, leg))
        if any(leg.state is LegState.TIMEOUT for leg in pulse.legs.values()):
            peer.breaker.timed_out(self._monotonic())
            # What waits on the other connection would only wait for its own time-out.
            peer.bulk_lane.connection.abort()
        else:
            peer.breaker.answered()
        return pulse

    def _learn_cluster_id(self, views: Sequence[ClusterView]) -> None:
        """The first id that is heard stays; between several at once that of the most brokers."""
        if self._cluster_id is None and views:
            ((self._cluster_id, _),) = Counter(v.cluster_id for v in views).most_common(1)

    def _judged(self, peer: Peer, pulse: Pulse) -> Pulse:
        """A view counts only if the node itself gave it: neither another cluster's broker nor another node at its old address."""
        if pulse.view is not None:
            peer.stranger = self._stranger(peer.node, pulse.view)
        peer.answering = pulse.view is not None and not peer.stranger
        if pulse.view is None or not peer.stranger:
            return pulse
        leg = replace(pulse.legs[LegName.METADATA], state=LegState.ERROR, detail=peer.stranger)
        return replace(pulse, legs={**pulse.legs, LegName.METADATA: leg}, view=None)

    def _stranger(self, node: Node, view: ClusterView) -> str:
        """Who answered instead of the node, in words; empty when it was the node."""
        if view.cluster_id != self._cluster_id:
            return (
                f"{node.address} belongs to cluster {view.cluster_id}, not to {self._cluster_id}; "
                "if the cluster was made anew, restart Klaxon"
            )
        there = {b.id for b in view.brokers if b.address == node.address and not b.fenced}
        if there and node.id not in there:
            return f"{node.address} is now the address of node {min(there)}"
        return ""

    def _join(self, brokers: Sequence[Node]) -> None:
        """Add brokers that a view names, and follow those whose address changed."""
        with self._lock:
            for node in brokers:
                peer = self._peers.get(node.id)
                found = replace(node, roles=node.roles | peer.node.roles) if peer is not None else node
                if peer is not None and peer.node.address == node.address:
                    peer.node = found
                    continue
                if peer is not None:
                    peer.close()
                self._peers[node.id] = self._peer(found)

    def _peer(self, node: Node) -> Peer:
        return Peer(
            node,
            self._connection,
            lambda c: Probe(node.id, c, self._clock, self._monotonic, lambda api: self._count(api, node.id)),
        )

    def _connection(self, node: Node) -> Connection:
        return Connection(node.host, node.port, self._credentials, self._resolver, self._monotonic, node.id)

    def _count(self, api: Api, node: int) -> None:
        with self._lock:
            self._requests[api.name, node] += 1

    # --- bootstrap

    def _bootstrap_once(self) -> None:
        """Ask the bootstrap servers that have not just been probed as nodes for the brokers; each is bounded and tried after growing pauses."""
        known = {n.address for n in self.nodes().values()} if self._cluster_id is not None else set()
        now = self._monotonic()
        due = [s for s in self._bootstrap if s not in known and self._bootstrap_breakers[s].allows(now)]
        running = {server: self._bootstrap_pool.submit(self._ask_bootstrap, server) for server in due}
        for server, future in running.items():
            error = future.exception()
            with self._lock:
                if isinstance(error, KafkaError):
                    self._bootstrap_errors[server] = error
                else:
                    self._bootstrap_errors.pop(server, None)
            if isinstance(error, TimedOut):
                self._bootstrap_breakers[server].timed_out(self._monotonic())
            else:
                self._bootstrap_breakers[server].answered()
            if error is not None and not isinstance(error, KafkaError):
                raise error
        views = {server: future.result() for server, future in running.items() if future.exception() is None}
        self._learn_cluster_id(list(views.values()))
        for server, view in views.items():
            if view.cluster_id == self._cluster_id:
                self._join(view.brokers)
                continue
            message = f"it belongs to cluster {view.cluster_id}, not to {self._cluster_id}"
            with self._lock:
                self._bootstrap_errors[server] = KafkaError(message, address=server)

    def _ask_bootstrap(self, server: str) -> ClusterView:
        host, _, port = server.rpartition(":")
        connection = Connection(host.strip("[]"), int(port), self._credentials, self._resolver, self._monotonic)
        probe = Probe(-1, connection, self._clock, self._monotonic, lambda api: self._count(api, -1))
        try:
            pulse = probe.run(self._timeouts.pulse)
        finally:
            connection.close()
        if pulse.view is not None:
            return pulse.view
        raise _worst(pulse, server)

    # --- one node or many

    def _ask(
        self, node: int, api: Api, make: Callable[[], bytes], read: Callable[[memoryview], T]
    ) -> Future[Answer[T]]:
        """Queue one request on a node's bulk lane; the future's answer holds a value or an error, it never raises KafkaError."""
        with self._lock:
            peer = self._peers.get(node)
        if peer is None:
            return self._failed(Skipped("the node is not known", node=node, request=api.name))
        if not peer.node.host:
            return self._failed(Skipped("nobody knows its address", node=node, request=api.name))
        if peer.stranger:
            return self._failed(KafkaError(peer.stranger, node=node, address=peer.node.address, request=api.name))
        if not peer.breaker.closed:
            return self._failed(
                Skipped(
                    "it timed out before and is tried again later",
                    node=node,
                    address=peer.node.address,
                    request=api.name,
                )
            )
        if not messages.offers(peer.probe.versions, api):
            return self._failed(
                Unsupported(
                    f"version {api.version} is not offered", node=node, address=peer.node.address, request=api.name
                )
            )
        deadline = peer.bulk_lane.connection.deadline(self._timeouts.bulk)
        lane = peer.bulk_lane
        try:
            return lane.submit(lambda: self._answer(node, lane.connection, api, make, read, deadline))
        except RuntimeError:
            return self._failed(Skipped("the node was forgotten", node=node, request=api.name))

    def _answer(
        self,
        node: int,
        connection: Connection,
        api: Api,
        make: Callable[[], bytes],
        read: Callable[[memoryview], T],
        deadline: Deadline,
    ) -> Answer[T]:
        begun = self._monotonic()
        try:
            value = read(self._call(node, connection, api, make(), deadline))
        except KafkaError as error:
            if not isinstance(error, BrokerError):
                connection.close()
            return Answer(self._clock(), self._monotonic() - begun, error=_named(error, node, connection))
        return Answer(self._clock(), self._monotonic() - begun, value)

    def _call(self, node: int, connection: Connection, api: Api, body: bytes, deadline: Deadline) -> memoryview:
        """One request; a kept connection that has ended since its last call is replaced, since a broker closes idle ones, and all of them when it restarts."""
        kept = connection.open
        self._count(api, node)
        try:
            return connection.call(api, body, deadline)
        except ConnectionLost:
            if not kept:
                raise
        self._count(api, node)
        return connection.call(api, body, deadline)

    def _failed(self, error: KafkaError) -> Future[Answer[T]]:
        future: Future[Answer[T]] = Future()
        future.set_result(Answer(self._clock(), 0.0, error=error))
        return future

    def _gathered(self, running: Mapping[int, Future[Answer[T]]]) -> Answers[T]:
        end = self._monotonic() + self._timeouts.bulk + GRACE
        return {node: self._waited(node, future, end) for node, future in running.items()}

    def _waited(self, node: int, future: Future[Answer[T]], end: float) -> Answer[T]:
        try:
            return future.result(max(0.0, end - self._monotonic()))
        except StillWaiting:
            with self._lock:
                peer = self._peers.get(node)
            if peer is not None:
                peer.bulk_lane.connection.abort()
            return Answer(
                self._clock(),
                self._timeouts.bulk,
                error=TimedOut("the call did not end in time", phase="answer", node=node),
            )

    def _one(self, node: int, api: Api, make: Callable[[], bytes], read: Callable[[memoryview], T]) -> T:
        answer = self._gathered({node: self._ask(node, api, make, read)})[node]
        if answer.error is not None:
            raise answer.error
        assert answer.value is not None
        return answer.value

    def _any(self, api: Api, make: Callable[[], bytes], read: Callable[[memoryview], T]) -> T:
        """Ask the broker that served us last; when it fails the next healthy one, and so on. Raises the last error."""
        failure: KafkaError = Skipped("no broker answers", request=api.name)
        for node in self._healthy():
            try:
                value = self._one(node, api, make, read)
            except KafkaError as error:
                failure = error
                if isinstance(error, BrokerError | Unsupported):
                    raise
                continue
            self._served_by = node
            return value
        raise failure

    def _healthy(self) -> list[int]:
        """Brokers that answered their last pulse, the one that served us last first."""
        with self._lock:
            nodes = [i for i, p in self._peers.items() if p.answering]
        return sorted(nodes, key=lambda i: (i != self._served_by, i))

    # --- forwarded to the controller

    def _forward(self, apis: Sequence[Api], make: Callable[[Api], bytes], read: Callable[[memoryview, Api], T]) -> T:
        """Ask something that brokers pass on to the controller, by the first of these versions that is offered; it may hang with the controller."""
        with self._lock:
            way = self._forwarded[apis[0].name]
        with way.lock:
            answer = self._ask_forwarded(way, apis, make, read)
            if isinstance(answer.error, Refused | ConnectionLost):
                # The broker that carried our question is gone, which says nothing about the controller: ask through another at once.
                answer = self._ask_forwarded(way, apis, make, read)
        if answer.error is not None or answer.value is None:
            raise answer.error or KafkaError("no answer", request=apis[0].name)
        return answer.value

    def _ask_forwarded(
        self, way: Way, apis: Sequence[Api], make: Callable[[Api], bytes], read: Callable[[memoryview, Api], T]
    ) -> Answer[T]:
        """Ask through the broker that carried the last question; after an error the next one goes through another."""
        node, lane = self._lane_of(way, apis[0])
        api = self._offered(node, apis)
        deadline = lane.connection.deadline(self._timeouts.forwarded)
        future = lane.submit(
            lambda: self._answer(node, lane.connection, api, lambda: make(api), lambda body: read(body, api), deadline)
        )
        try:
            answer = future.result(self._timeouts.forwarded + GRACE)
        except StillWaiting:
            error = TimedOut("the call did not end in time", phase="answer", node=node, request=api.name)
            answer = Answer(self._clock(), self._timeouts.forwarded, error=error)
        if answer.error is not None:
            way.close()
        return answer

    def _offered(self, node: int, apis: Sequence[Api]) -> Api:
        with self._lock:
            peer = self._peers.get(node)
        versions = peer.probe.versions if peer is not None else None
        for api in apis:
            if messages.offers(versions, api):
                return api
        wanted = " or ".join(str(api.version) for api in apis)
        raise Unsupported(f"version {wanted} is not offered", node=node, request=apis[0].name)

    def _lane_of(self, way: Way, api: Api) -> tuple[int, Lane]:
        if way.held is not None:
            return way.held
        healthy = self._healthy()
        if not healthy:
            raise Skipped("no broker answers", request=api.name)
        way.turn += 1
        node = healthy[way.turn % len(healthy)]
        way.held = node, Lane(f"{api.name} {self._cluster}", self._connection(self.nodes()[node]))
        return way.held


def _named(error: KafkaError, node: int, connection: Connection) -> KafkaError:
    """Errors of decoders learn where they happened."""
    if error.node is None:
        error.node = node
        error.address = f"{connection.host}:{connection.port}"
    return error


def _worst(pulse: Pulse, server: str) -> KafkaError:
    """The failed leg of a bootstrap server as an error."""
    name, leg = next((n, leg) for n, leg in pulse.legs.items() if leg.state not in (LegState.OK, LegState.SKIPPED))
    if leg.state is LegState.TIMEOUT:
        return TimedOut(leg.detail, phase=name, address=server)
    return KafkaError(leg.detail, address=server, request=name)
