"""A cluster whose every answer a test sets by hand, broken ones included; what it is asked is written down."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from exporter.blocks import LabelSets
from exporter.facts.certificates import Certificate, CertificateFile, Chain, Listener, Shown
from exporter.facts.cluster import ClusterView, Leg, LegName, LegState, Node, Pulse, Role
from exporter.facts.configs import ConfigSource, Quota, Setting, TopicSettings
from exporter.facts.groups import CommitTable, CoordinatorFacts, GroupDescription, GroupListing, Member
from exporter.facts.log_dirs import LogDir, LogDirTable
from exporter.facts.partitions import START, ElrRow, OffsetKind, OffsetRows, Partition, PartitionTable, TimeQuestions
from exporter.facts.quorum import Quorum, QuorumReplica
from exporter.facts.transactions import ProducerAnswer
from exporter.jmx.aggregate import ACTIVE, APPLIED_LAG, EPOCH
from exporter.jmx.facts import JmxColumns, JmxNode
from exporter.kafka.client import Answer
from exporter.kafka.errors import KafkaError, Refused
from exporter.kafka.security import SecurityConfig
from exporter.kafka.share_groups import share_table
from exporter.reading import WHOLE_CLUSTER, Failure, Part, Reading

BROKER, CONTROLLER = frozenset({Role.BROKER}), frozenset({Role.CONTROLLER})
CONTROLLED = "kafka_controller_kafkacontroller_controlledshutdownbrokercount"
REGISTRATION = "kafka_controller_kafkacontroller_brokerregistrationstate"


def node(id: int, *, registered: bool = True, fenced: bool | None = False, roles: frozenset[Role] = BROKER) -> Node:
    return Node(id, f"kafka-{id}", 9092, None, roles, registered, fenced)


def legs(state: LegState = LegState.OK, at: float = 0.0) -> dict[str, Leg]:
    """All three Kafka legs as a process in this state shows them: a refused port stops at TCP, a hung process accepts."""
    skipped = Leg(LegState.SKIPPED, 0.0, at)
    if state is LegState.TIMEOUT:
        return {
            LegName.TCP: Leg(LegState.OK, 0.0, at),
            LegName.API_VERSIONS: Leg(state, 3.0, at),
            LegName.METADATA: skipped,
        }
    first = Leg(state, 0.001, at)
    rest = first if state is LegState.OK else skipped
    return {LegName.TCP: first, LegName.API_VERSIONS: rest, LegName.METADATA: rest}


def pulse(id: int, view: ClusterView | None = None, state: LegState = LegState.OK, at: float = 0.0) -> Pulse:
    return Pulse(id, {LegName(k): v for k, v in legs(state, at).items()}, view)


def partition(
    topic: str, number: int, leader: int, replicas: Sequence[int], isr: Sequence[int] | None = None
) -> Partition:
    return Partition(topic, number, leader, 1, 0, tuple(replicas), tuple(replicas if isr is None else isr), ())


def quorum(leader: int | None = 1, voters: Sequence[int] = (1, 2, 3), epoch: int = 5) -> Quorum:
    return Quorum(leader, epoch, 100, tuple(QuorumReplica(v, 100, None, None) for v in voters), (), {})


def jmx_node(
    id: int,
    at: float,
    values: Mapping[str, float] | None = None,
    *,
    state: int | None = 3,
    registrations: Mapping[int, float] | None = None,
    seconds: float = 0.1,
) -> JmxNode:
    """A node that gave these metrics; ``registrations`` is broker -> BrokerRegistrationState."""
    rows = [(name, ("broker",), (str(id),), value) for name, value in (values or {}).items()]
    columns = JmxColumns(
        tuple(r[0] for r in rows) + ((REGISTRATION,) if registrations else ()),
        tuple(LabelSets(r[1], [r[2]]) for r in rows)
        + ((LabelSets(("broker", "of_broker"), [(str(id), str(b)) for b in registrations]),) if registrations else ()),
    )
    numbers = np.array([r[3] for r in rows] + list((registrations or {}).values()), dtype=np.float64)
    return JmxNode(
        id,
        at,
        seconds,
        BROKER | CONTROLLER,
        state,
        "follower",
        False,
        False,
        True,
        "4.3.1",
        0.0,
        90,
        0,
        (),
        columns,
        numbers,
    )


def controller_values(
    active: float, epoch: float = 5, applied_lag_s: float = 0.5, controlled: float | None = 0
) -> dict[str, float]:
    values = {ACTIVE: active, EPOCH: epoch, APPLIED_LAG: 0.0 if active else applied_lag_s * 1000}
    return values if controlled is None else {**values, CONTROLLED: controlled}


def reading(
    collector: str,
    parts: Mapping[int, tuple[Any, float]] | None = None,
    failures: Mapping[int, tuple[str, float]] | None = None,
    *,
    interval: float = 5.0,
    at: float | None = None,
    expected: Iterable[int] | None = None,
) -> Reading[Any]:
    """A reading with parts (value, taken at) and failures (kind, at)."""
    given = {s: Part(v, t) for s, (v, t) in (parts or {}).items()}
    failed = {s: Failure(kind, kind, t) for s, (kind, t) in (failures or {}).items()}
    times = [p.taken_at for p in given.values()] + [f.at for f in failed.values()]
    wanted = frozenset(expected) if expected is not None else frozenset({*given, *failed}) or frozenset({WHOLE_CLUSTER})
    polled = at if at is not None else max(times, default=0.0)
    return Reading(collector, interval, given, failed, wanted, polled, 0.1, not failed and wanted <= given.keys())


def listing(group: str, state: str = "Stable", type: str = "classic") -> GroupListing:
    return GroupListing(group, "consumer", state, type)


def description(group: str, members: int = 1, error: int = 0) -> GroupDescription:
    people = tuple(Member(f"m{i}", "c", "/127.0.0.1", None, {}) for i in range(members))
    return GroupDescription(group, "Stable", "classic", "range", people, error=error)


def commits(
    rows: Mapping[tuple[str, str, int], int], errors: Mapping[str, int] | None = None, groups: Iterable[str] = ()
) -> CommitTable:
    """A table from (group, topic, partition) -> offset."""
    keys = sorted(rows)
    names = tuple(sorted({g for g, _, _ in keys} | set(groups) | set(errors or {})))
    topics = tuple(sorted({t for _, t, _ in keys}))
    return CommitTable(
        names,
        topics,
        np.array([names.index(g) for g, _, _ in keys], dtype=np.int32),
        np.array([topics.index(t) for _, t, _ in keys], dtype=np.int32),
        np.array([p for _, _, p in keys], dtype=np.int32),
        np.array([rows[k] for k in keys], dtype=np.int64),
        np.zeros(len(keys), dtype=np.int16),
        dict(errors or {}),
    )


def coordinator(rows: Mapping[tuple[str, str, int], int], at: float = 0.0) -> CoordinatorFacts:
    groups = sorted({g for g, _, _ in rows})
    return CoordinatorFacts(tuple(map(listing, groups)), {g: description(g) for g in groups}, commits(rows), at)


@dataclass
class Cluster:
    """Implements KafkaReader. ``dead`` nodes refuse; ``replies`` replaces a method: a value, an error to raise, or a function of its arguments."""

    clock: Callable[[], float]
    brokers: dict[int, Node] = field(default_factory=lambda: {i: node(i) for i in (1, 2, 3)})
    dead: set[int] = field(default_factory=set)
    leader: int | None = 1
    table: PartitionTable = field(
        default_factory=lambda: PartitionTable.of([partition("orders", p, p % 3 + 1, (1, 2, 3)) for p in range(6)])
    )
    groups: dict[int, dict[tuple[str, str, int], int]] = field(
        default_factory=lambda: {1: {("billing", "orders", 0): 7}}
    )
    replies: dict[str, Any] = field(default_factory=dict)
    calls: list[tuple[str, Any]] = field(default_factory=list)
    expected: dict[int, Node] = field(default_factory=dict)
    forgotten: list[int] = field(default_factory=list)
    cluster: str = "test"
    tls: bool = False

    def _reply(self, name: str, argument: Any, default: Callable[[], Any]) -> Any:
        self.calls.append((name, argument))
        reply = self.replies.get(name, default)
        if isinstance(reply, BaseException):
            raise reply
        return reply() if reply is default else reply(argument) if callable(reply) else reply

    def _answers(self, values: Mapping[int, Any]) -> dict[int, Answer[Any]]:
        at = self.clock()
        return {
            n: Answer(at, 0.01, error=Refused("nothing listens", node=n))
            if n in self.dead
            else Answer(at, 0.01, value=v)
            for n, v in values.items()
        }

    def count(self, name: str) -> int:
        return sum(1 for called, _ in self.calls if called == name)

    def expect(self, nodes: Iterable[Node]) -> None:
        self.expected.update({n.id: n for n in nodes})

    def forget(self, node: int) -> None:
        self.forgotten.append(node)
        self.expected.pop(node, None)

    def view(self) -> ClusterView:
        return ClusterView("cluster-id", tuple(self.brokers.values()))

    def pulse(self) -> Sequence[Pulse]:
        known = sorted({*self.brokers, *self.expected})

        def default() -> list[Pulse]:
            at, refused = self.clock(), LegState.REFUSED
            return [pulse(n, None, refused, at) if n in self.dead else pulse(n, self.view(), at=at) for n in known]

        return self._reply("pulse", None, default)  # type: ignore[no-any-return]

    def bootstrap_errors(self) -> Mapping[str, KafkaError]:
        return self._reply("bootstrap_errors", None, dict)  # type: ignore[no-any-return]

    def nodes(self) -> Mapping[int, Node]:
        return {**self.expected, **self.brokers}

    def partitions(self) -> PartitionTable:
        return self._reply("partitions", None, lambda: self.table)  # type: ignore[no-any-return]

    def min_insync_replicas(self, topics: Sequence[str]) -> Mapping[str, int]:
        return self._reply("min_insync_replicas", list(topics), lambda: dict.fromkeys(topics, 2))  # type: ignore[no-any-return]

    def elr(self, topics: Sequence[str]) -> Sequence[ElrRow]:
        return self._reply("elr", list(topics), lambda: [ElrRow(t, 0, (2,), ()) for t in topics])  # type: ignore[no-any-return]

    def list_groups(self, nodes: Iterable[int]) -> Any:
        wanted = list(nodes)
        return self._reply(
            "list_groups",
            wanted,
            lambda: self._answers(
                {n: tuple(map(listing, sorted({g for g, _, _ in self.groups.get(n, {})}))) for n in wanted}
            ),
        )

    def describe_groups(self, groups: Mapping[int, Sequence[GroupListing]]) -> Any:
        return self._reply(
            "describe_groups",
            groups,
            lambda: self._answers({n: {g.group: description(g.group) for g in gs} for n, gs in groups.items()}),
        )

    def committed_offsets(self, groups: Mapping[int, Sequence[str]]) -> Any:
        return self._reply(
            "committed_offsets",
            groups,
            lambda: self._answers({n: commits(self.groups.get(n, {}), groups=gs) for n, gs in groups.items()}),
        )

    def share_offsets(self, groups: Mapping[int, Sequence[str]]) -> Any:
        def default() -> Any:
            return self._answers({n: share_table(names, (), {}) for n, names in groups.items()})

        return self._reply("share_offsets", groups, default) if groups else {}

    def first_after(self, questions: TimeQuestions) -> Any:
        return self._reply("first_after", questions, dict)

    def offsets(self, table: PartitionTable, kind: OffsetKind) -> Any:
        def default() -> Any:
            leaders = {int(b) for b in table.leader if b >= 0}
            rows = {b: np.flatnonzero(table.leader == b) for b in leaders}
            end = 1 if kind is START else 10
            return self._answers(
                {
                    b: OffsetRows(table, r, np.full(len(r), end), np.zeros(len(r), dtype=np.int16))
                    for b, r in rows.items()
                }
            )

        return self._reply(f"offsets {kind.name}", table, default)

    def log_dirs(self, nodes: Iterable[int]) -> Any:
        empty = np.zeros(0, dtype=np.int32)
        table = LogDirTable(
            (LogDir("/d1", 0, 100, 50),),
            (),
            empty,
            empty,
            empty,
            empty.astype(np.int64),
            empty.astype(np.int64),
            empty.astype(np.bool_),
        )
        wanted = list(nodes)
        return self._reply("log_dirs", wanted, lambda: self._answers(dict.fromkeys(wanted, table)))

    def broker_settings(self, nodes: Iterable[int]) -> Any:
        wanted = list(nodes)
        settings = {"num.io.threads": Setting("8", ConfigSource.DEFAULT)}
        return self._reply("broker_settings", wanted, lambda: self._answers(dict.fromkeys(wanted, settings)))

    def topic_settings(self, topics: Sequence[str]) -> TopicSettings:
        settings = {"retention.ms": Setting("604800000", ConfigSource.DEFAULT)}
        return self._reply("topic_settings", list(topics), lambda: dict.fromkeys(topics, settings))  # type: ignore[no-any-return]

    def certificates(self, listeners: Sequence[Listener], security: SecurityConfig | None = None) -> Sequence[Shown]:
        chain = Chain((Certificate("CN=node", "CN=ca", 0.0, 1e10),), True)
        return self._reply("certificates", list(listeners), lambda: [Shown(at, chain) for at in listeners])  # type: ignore[no-any-return]

    def own_certificates(self, security: SecurityConfig | None = None) -> Sequence[CertificateFile]:
        return self._reply("own_certificates", security, tuple)  # type: ignore[no-any-return]

    def client_quotas(self) -> Sequence[Quota]:
        return self._reply("client_quotas", None, tuple)  # type: ignore[no-any-return]

    def quorum(self) -> Quorum:
        return self._reply("quorum", None, lambda: quorum(self.leader))  # type: ignore[no-any-return]

    def reassignments(self) -> Any:
        return self._reply("reassignments", None, tuple)

    def broker_values(self, nodes: Iterable[int], names: Sequence[str]) -> Any:
        wanted = list(nodes)
        return self._reply("broker_values", wanted, lambda: self._answers({n: {} for n in wanted}))

    def topic_values(self, topics: Sequence[str], names: Sequence[str]) -> Any:
        return self._reply("topic_values", list(topics), lambda: {t: dict.fromkeys(names, "") for t in topics})

    def list_transactions(self, nodes: Iterable[int]) -> Any:
        wanted = list(nodes)
        return self._reply("list_transactions", wanted, lambda: self._answers(dict.fromkeys(wanted, ())))

    def describe_transactions(self, ids: Mapping[int, Sequence[str]]) -> Any:
        return self._reply("describe_transactions", ids, lambda: self._answers(dict.fromkeys(ids, ())))

    def open_producers(self, partitions: Mapping[int, Sequence[tuple[str, int]]]) -> Any:
        return self._reply(
            "open_producers", partitions, lambda: self._answers({n: ProducerAnswer((), {}) for n in partitions})
        )

    def requests(self) -> Mapping[tuple[str, int], int]:
        return {}

    def close(self) -> None:
        pass

    # --- what tests do to it

    def fence(self, id: int) -> None:
        self.brokers[id] = replace(self.brokers[id], fenced=True)
