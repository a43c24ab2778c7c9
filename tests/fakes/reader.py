"""KafkaReader over the cluster in memory: the same facts, errors, identity promises and request counts as the real one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from exporter.facts.certificates import CertificateFile, Listener, Shown
from exporter.facts.cluster import ClusterView, Leg, LegName, LegState, Node, Pulse, Role
from exporter.facts.configs import Quota, Settings, TopicSettings
from exporter.facts.groups import CommitTable, GroupDescription, GroupListing, ShareOffsetTable
from exporter.facts.log_dirs import LogDir, LogDirTable
from exporter.facts.partitions import (
    END,
    I64,
    LAST_STABLE,
    NEWEST,
    START,
    ElrRow,
    OffsetKind,
    OffsetRows,
    PartitionTable,
    TimeQuestions,
)
from exporter.facts.quorum import Quorum, QuorumReplica
from exporter.facts.reassignments import Move
from exporter.facts.transactions import OpenProducer, ProducerAnswer, Transaction, TransactionListing
from exporter.kafka.breaker import Breaker
from exporter.kafka.client import Answer, Answers
from exporter.kafka.errors import BrokerError, KafkaError, NameLookupFailed, Refused, Skipped, TimedOut, Unsupported
from exporter.kafka.security import SecurityConfig
from exporter.kafka.share_groups import share_table
from tests.fakes import settings
from tests.fakes.cluster import (
    BYTES_PER_MESSAGE,
    METADATA_RECORDS_PER_S,
    STORAGE_ERROR,
    Broker,
    BrokerState,
    FakeCluster,
    Group,
)

T = TypeVar("T")

UNKNOWN_TOPIC_OR_PARTITION = 3
NOT_LEADER = 6
TOPIC_AUTHORIZATION_FAILED = 29
LOAD_IN_PROGRESS = (14, "COORDINATOR_LOAD_IN_PROGRESS")
NOT_COORDINATOR = 16
GROUP_ID_NOT_FOUND = 69
TRANSACTIONAL_ID_NOT_FOUND = 105

API_VERSIONS: Mapping[int, tuple[int, int]] = {2: (1, 11), 3: (0, 13), 9: (1, 10), 16: (0, 5), 18: (0, 4), 35: (1, 5)}
KAFKA_4_VERSIONS: Mapping[int, tuple[int, int]] = {**API_VERSIONS, 60: (0, 2), 69: (0, 1), 75: (0, 0)}

PULSE_TIMEOUT_S = 3.0
BULK_TIMEOUT_S = 10.0
FORWARDED_TIMEOUT_S = 5.0


class FakeReader:
    """Reads a :class:`FakeCluster`. A time-out costs no time here; ``Answer.seconds`` and legs say what it would have cost.

    The nodes are probed with the real circuit breaker on the cluster's clock, so a hung node is skipped for growing pauses.
    """

    def __init__(
        self, model: FakeCluster, cluster: str = "orders", bootstrap_servers: Sequence[str] | None = None
    ) -> None:
        self.model = model
        self.closed = False
        self._cluster = cluster
        self._bootstrap = list(bootstrap_servers if bootstrap_servers is not None else model.bootstrap_servers)
        self._bootstrap_errors: dict[str, KafkaError] = {}
        self._nodes: dict[int, Node] = {}
        self._breakers: dict[int, Breaker] = {}
        self._requests: Counter[tuple[str, int]] = Counter()
        self._commit_keys: dict[int, tuple[object, CommitTable]] = {}
        self._kept: int | None = None
        self._told: dict[str, Any] = {}

    @property
    def cluster(self) -> str:
        return self._cluster

    def expect(self, nodes: Iterable[Node]) -> None:
        for node in nodes:
            self._nodes.setdefault(node.id, node)

    def forget(self, node: int) -> None:
        self._nodes.pop(node, None)
        self._breakers.pop(node, None)

    def nodes(self) -> Mapping[int, Node]:
        return dict(self._nodes)

    def bootstrap_errors(self) -> Mapping[str, KafkaError]:
        return dict(self._bootstrap_errors)

    def requests(self) -> Mapping[tuple[str, int], int]:
        return dict(self._requests)

    def close(self) -> None:
        self.closed = True

    # --- pulse

    def pulse(self) -> Sequence[Pulse]:
        pulses: dict[int, Pulse] = {}
        self._probe_new(pulses)
        if not any(p.view for p in pulses.values()):
            self._bootstrap_nodes()
            self._probe_new(pulses)
        return [pulses[node] for node in sorted(pulses)]

    def _probe_new(self, pulses: dict[int, Pulse]) -> None:
        """Probe who was not yet, those whom a view names meanwhile included."""
        while waiting := sorted(n for n, node in self._nodes.items() if n not in pulses and node.host):
            for node in waiting:
                pulses[node] = self._probe(node)
                self._learn(pulses[node].view)

    def _bootstrap_nodes(self) -> None:
        self._bootstrap_errors = {}
        by_address = {b.address: b for b in self.model.brokers.values()}
        for address in self._bootstrap:
            broker = by_address.get(address)
            if broker is None:
                self._bootstrap_errors[address] = NameLookupFailed(f"{address} cannot be resolved", address=address)
                continue
            error = _transport_error(broker, "ApiVersions", PULSE_TIMEOUT_S)
            if error is None:
                self._learn(self.model.image(broker.id).view)
                self._bootstrap_errors = {}
                return
            self._bootstrap_errors[address] = error

    def _learn(self, view: ClusterView | None) -> None:
        for node in view.brokers if view is not None else ():
            known = self._nodes.get(node.id)
            self._nodes[node.id] = replace(node, roles=node.roles | known.roles) if known is not None else node

    def _probe(self, node: int) -> Pulse:
        breaker = self._breakers.setdefault(node, Breaker())
        now = self.model.clock.monotonic()
        if not breaker.allows(now):
            return Pulse(node, self._legs(LegState.SKIPPED, LegState.SKIPPED, LegState.SKIPPED))
        broker = self.model.brokers.get(node)
        state = broker.state if broker is not None else BrokerState.KILLED
        if state is BrokerState.HUNG or state is BrokerState.UNREACHABLE:
            breaker.timed_out(now)
            if state is BrokerState.UNREACHABLE:
                return Pulse(node, self._legs(LegState.TIMEOUT, LegState.SKIPPED, LegState.SKIPPED))
            self._requests["ApiVersions", node] += 1
            return Pulse(node, self._legs(LegState.OK, LegState.TIMEOUT, LegState.SKIPPED))
        breaker.answered()
        if state is not BrokerState.UP:
            return Pulse(node, self._legs(LegState.REFUSED, LegState.SKIPPED, LegState.SKIPPED))
        return self._living(node)

    def _living(self, node: int) -> Pulse:
        self._requests["ApiVersions", node] += 1
        versions = KAFKA_4_VERSIONS if self.model.version >= (4, 0) else API_VERSIONS
        features = settings.features(self.model.version)
        if Role.BROKER not in self.model.brokers[node].roles:
            # A controller's listener does not tell clients about brokers.
            return Pulse(node, self._legs(LegState.OK, LegState.OK, LegState.ERROR), None, versions, features)
        self._requests[self._view_api, node] += 1
        error = self.model.injected.get((self._view_api, node)) or self.model.injected.get((self._view_api, None))
        if error is not None:
            state = LegState.TIMEOUT if isinstance(error, TimedOut) else LegState.ERROR
            return Pulse(node, self._legs(LegState.OK, LegState.OK, state), None, versions, features)
        view = self.model.image(node).view
        return Pulse(node, self._legs(LegState.OK, LegState.OK, LegState.OK), view, versions, features)

    @property
    def _view_api(self) -> str:
        return "DescribeCluster" if self.model.version >= (4, 0) else "Metadata"

    def _legs(self, tcp: LegState, api_versions: LegState, metadata: LegState) -> Mapping[LegName, Leg]:
        names = (LegName.TCP, LegName.API_VERSIONS, LegName.METADATA)
        return {n: self._leg(s) for n, s in zip(names, (tcp, api_versions, metadata), strict=True)}

    def _leg(self, state: LegState) -> Leg:
        cost = {LegState.TIMEOUT: PULSE_TIMEOUT_S, LegState.OK: 0.001, LegState.REFUSED: 0.001}.get(state, 0.0)
        return Leg(state, cost, self.model.clock(), "" if state is LegState.OK else f"{state} in the model")

    # --- asked of one broker

    def partitions(self) -> PartitionTable:
        return self._ask_one("Metadata", lambda node: self.model.image(node).partitions)

    def min_insync_replicas(self, topics: Sequence[str]) -> Mapping[str, int]:
        if not topics:
            return {}

        def told(_node: int) -> Mapping[str, int]:
            shown = [self.model.topics[t] for t in topics if t in self.model.topics]
            return {t.name: self.model.min_isr_of(t.name) for t in shown if t.describable}

        return self._ask_one("DescribeConfigs", told)

    def broker_settings(self, nodes: Iterable[int]) -> Answers[Settings]:
        def told(node: int) -> Settings:
            return self._same(f"broker {node}", settings.broker_settings(self.model, self.model.brokers[node]))

        return {n: self._answer(n, ("DescribeConfigs",), lambda n=n: told(n)) for n in nodes}

    def topic_settings(self, topics: Sequence[str]) -> TopicSettings:
        def told(_node: int) -> TopicSettings:
            shown = [self.model.topics[t] for t in topics if t in self.model.topics]
            if shown and not any(t.describable for t in shown):
                raise BrokerError(TOPIC_AUTHORIZATION_FAILED, "TOPIC_AUTHORIZATION_FAILED", request="DescribeConfigs")
            found = {t.name: settings.topic_settings(t.config) for t in shown if t.describable}
            return self._same("topics", found)

        return self._ask_one("DescribeConfigs", told)

    def client_quotas(self) -> Sequence[Quota]:
        return self._ask_one("DescribeClientQuotas", lambda _node: tuple(self.model.quotas))

    @property
    def tls(self) -> bool:
        return False

    def certificates(self, listeners: Sequence[Listener], security: SecurityConfig | None = None) -> Sequence[Shown]:
        """The model's listeners speak no TLS."""
        return [Shown(at, None, "authentication", "TLS: WRONG_VERSION_NUMBER") for at in listeners]

    def own_certificates(self, security: SecurityConfig | None = None) -> Sequence[CertificateFile]:
        return ()

    def _same(self, what: str, value: T) -> T:
        """The object of last time as long as it is equal."""
        if self._told.get(what) != value:
            self._told[what] = value
        return self._told[what]  # type: ignore[no-any-return]

    def elr(self, topics: Sequence[str]) -> Sequence[ElrRow]:
        if self.model.version < (3, 8):
            raise Unsupported("DescribeTopicPartitions is not offered", request="DescribeTopicPartitions")
        if not topics:
            return ()

        def told(_node: int) -> Sequence[ElrRow]:
            shown = [self.model.topics[t] for t in sorted(topics) if t in self.model.topics]
            return [
                ElrRow(t.name, i, tuple(p.elr), tuple(p.last_known_elr))
                for t in shown
                for i, p in enumerate(t.partitions)
                if p.elr or p.last_known_elr
            ]

        return self._ask_one("DescribeTopicPartitions", told)

    def quorum(self) -> Quorum:
        return self._forwarded("DescribeQuorum", self._quorum)

    def reassignments(self) -> tuple[Move, ...]:
        return self._forwarded("ListPartitionReassignments", self._moves)

    def _moves(self) -> tuple[Move, ...]:
        return tuple(
            Move(name, i, tuple(p.replicas), tuple(p.adding), tuple(p.removing))
            for name, topic in sorted(self.model.topics.items())
            for i, p in enumerate(topic.partitions)
            if p.adding or p.removing
        )

    def _forwarded(self, api: str, ask: Callable[[], T]) -> T:
        """What the broker passes on to the controller, and hangs with it."""

        def told(node: int) -> T:
            hangs = self.model.clock() < self.model.forwarding_hangs_until
            self.model.image(node)
            if hangs or self.model.quorum_leader is None:
                message = "no answer in time (answer)"
                raise TimedOut(message, phase="answer", node=node, request=api)
            return ask()

        return self._ask_one(api, told)

    def topic_values(self, topics: Sequence[str], names: Sequence[str]) -> Mapping[str, Mapping[str, str]]:
        def told(_node: int) -> Mapping[str, Mapping[str, str]]:
            shown = [self.model.topics[t] for t in topics if t in self.model.topics]
            return {t.name: {n: t.config.get(n, "") for n in names} for t in shown if t.describable}

        return self._ask_one("DescribeConfigs", told)

    def _ask_one(self, api: str, told: Callable[[int], T]) -> T:
        """From the node that was asked before as long as it is up, else the first one that is."""
        usable = [n for n in sorted(self._nodes) if self._usable(n)]
        if not usable:
            raise KafkaError("no broker is known to answer", request=api)
        if self._kept not in usable:
            self._kept = usable[0]
        node = self._kept
        self._requests[api, node] += 1
        error = self._error(node, api)
        if error is not None:
            raise error
        return told(node)

    def _usable(self, node: int) -> bool:
        broker = self.model.brokers.get(node)
        return broker is not None and broker.state is BrokerState.UP and Role.BROKER in broker.roles

    def _quorum(self) -> Quorum:
        model, now = self.model, self.model.clock()
        leader, end = model.quorum_leader, model.log_end()

        def row(node: int) -> QuorumReplica:
            broker = model.brokers[node]
            if broker.silent_since is None:
                return QuorumReplica(node, end, now, now)
            if broker.silent_since < model.leader_since:
                # This leader has never heard from it.
                return QuorumReplica(node, -1, None, None)
            missed = int((now - broker.silent_since) * METADATA_RECORDS_PER_S)
            return QuorumReplica(node, end - missed, broker.silent_since, broker.silent_since)

        observers = sorted(b.id for b in model.brokers.values() if b.id not in model.voters and b.silent_since is None)
        endpoints = {v: (model.brokers[v].host, 9093) for v in model.voters}
        rows = tuple(row(v) for v in model.voters)
        return Quorum(leader, model.quorum_epoch, end, rows, tuple(row(o) for o in observers), endpoints)

    # --- asked of many

    def list_groups(self, nodes: Iterable[int]) -> Answers[tuple[GroupListing, ...]]:
        def told(node: int) -> tuple[GroupListing, ...]:
            self._loaded(node, "ListGroups")
            held = [g for g in sorted(self.model.groups) if self.model.coordinator(g) == node]
            return tuple(_listing(self.model.groups[g]) for g in held)

        return {node: self._answer(node, ("ListGroups",), lambda node=node: told(node)) for node in nodes}

    def describe_groups(self, groups: Mapping[int, Sequence[GroupListing]]) -> Answers[Mapping[str, GroupDescription]]:
        kinds = {
            "classic": "DescribeGroups",
            "consumer": "ConsumerGroupDescribe",
            "share": "ShareGroupDescribe",
            "streams": "StreamsGroupDescribe",
        }
        answers = {}
        for node, listings in groups.items():
            asked = [g for g in listings if g.type in kinds]
            apis = tuple(dict.fromkeys(kinds[g.type] for g in asked))
            answers[node] = self._answer(
                node, apis, lambda node=node, asked=asked: {g.group: self._description(node, g) for g in asked}
            )
        return answers

    def _description(self, node: int, listing: GroupListing) -> GroupDescription:
        error = self._group_error(node, listing.group)
        if error == GROUP_ID_NOT_FOUND and listing.type == "classic":
            # DescribeGroups before v6 calls such a group dead.
            return GroupDescription(listing.group, "Dead", listing.type, "", ())
        if error:
            return GroupDescription(listing.group, "", listing.type, "", (), error=error)
        group = self.model.groups[listing.group]
        epoch = group.epoch if group.type != "classic" else None
        # An empty classic group has no protocol; the newer ones' assignor is the group's own.
        protocol = group.protocol if group.members or group.type != "classic" else ""
        members = tuple(group.members[m] for m in sorted(group.members))
        return GroupDescription(group.name, group.state, group.type, protocol, members, epoch, epoch)

    def _group_error(self, node: int, name: str) -> int:
        if self.model.clock() < self.model.brokers[node].loading_until:
            return LOAD_IN_PROGRESS[0]
        if name in self.model.groups:
            return 0 if self.model.coordinator(name) == node else NOT_COORDINATOR
        return GROUP_ID_NOT_FOUND

    def committed_offsets(self, groups: Mapping[int, Sequence[str]]) -> Answers[CommitTable]:
        return {
            node: self._answer(node, ("OffsetFetch",), lambda node=node, names=names: self._commits(node, names))
            for node, names in groups.items()
        }

    def _commits(self, node: int, names: Sequence[str]) -> CommitTable:
        errors = {n: code for n in names if (code := self._group_error(node, n)) and code != GROUP_ID_NOT_FOUND}
        held = {n: self.model.groups[n].commits for n in names if n not in errors and n in self.model.groups}
        rows = sorted((n, t, p, c[0]) for n, commits in held.items() for (t, p), c in commits.items())
        listed, topics = tuple(sorted(names)), tuple(sorted({r[1] for r in rows}))
        key = (listed, topics, tuple(r[:3] for r in rows))
        offset = np.array([r[3] for r in rows], dtype=np.int64)
        cached = self._commit_keys.get(node)
        if cached is not None and cached[0] == key:
            old = cached[1]
            return replace(old, offset=offset, group_errors=errors)
        table = CommitTable(
            listed,
            topics,
            np.array([listed.index(r[0]) for r in rows], dtype=np.int32),
            np.array([topics.index(r[1]) for r in rows], dtype=np.int32),
            np.array([r[2] for r in rows], dtype=np.int32),
            offset,
            np.zeros(len(rows), dtype=np.int16),
            errors,
        )
        self._commit_keys[node] = (key, table)
        return table

    def share_offsets(self, groups: Mapping[int, Sequence[str]]) -> Answers[ShareOffsetTable]:
        return {
            n: self._answer(n, ("DescribeShareGroupOffsets",), lambda n=n, names=names: self._shares(n, names))
            for n, names in groups.items()
        }

    def _shares(self, node: int, names: Sequence[str]) -> ShareOffsetTable:
        errors = {n: code for n in names if (code := self._group_error(node, n))}
        rows = []
        for name in (n for n in names if n not in errors):
            for (topic, partition), start in self.model.groups[name].starts.items():
                lag = self.model.topics[topic].partitions[partition].end - start if start >= 0 else -1
                rows.append((name, topic, partition, start, lag if self.model.version >= (4, 2) else -1, 0))
        return share_table(names, rows, errors)

    def first_after(self, questions: TimeQuestions) -> Answers[OffsetRows]:
        leader = questions.partitions.leader[questions.rows]
        asked = {n: np.flatnonzero(leader == n) for n in sorted({int(n) for n in leader if n >= 0})}
        return {
            n: self._answer(n, ("ListOffsets",), lambda n=n, at=at: self._timed(n, questions, at))
            for n, at in asked.items()
        }

    def _timed(self, node: int, questions: TimeQuestions, at: I64) -> OffsetRows:
        table, rows, asked = questions.partitions, questions.rows[at], questions.timestamp[at]
        found = [self._first_after(node, table, int(r), int(t)) for r, t in zip(rows, asked, strict=True)]
        columns = np.array(found, dtype=np.int64).reshape(-1, 3)
        return OffsetRows(table, rows, columns[:, 0], columns[:, 2].astype(np.int16), columns[:, 1], asked)

    def _first_after(self, node: int, table: PartitionTable, row: int, timestamp: int) -> tuple[int, int, int]:
        """Offset, timestamp, error."""
        name, partition = table.topics[table.topic[row]], int(table.partition[row])
        _, error = self._offset(node, name, partition, END)
        if error:
            return -1, -1, error
        log = self.model.topics[name].partitions[partition]
        there = [(round(at * 1000), offset) for offset, at in log.stamps()]
        if timestamp == NEWEST.timestamp:
            newest = max(there, key=lambda r: (r[0], -r[1]), default=(-1, -1))
            return newest[1], newest[0], 0
        first = min(((o, t) for t, o in there if t >= timestamp), default=(-1, -1))
        return first[0], first[1], 0

    def offsets(self, table: PartitionTable, kind: OffsetKind) -> Answers[OffsetRows]:
        if kind == NEWEST:
            rows = np.flatnonzero(table.leader >= 0)
            return self.first_after(TimeQuestions(table, rows, np.full(len(rows), kind.timestamp, dtype=np.int64)))
        leaders = sorted({int(n) for n in np.unique(table.leader) if n >= 0})
        return {n: self._answer(n, ("ListOffsets",), lambda n=n: self._offset_rows(n, table, kind)) for n in leaders}

    def _offset_rows(self, node: int, table: PartitionTable, kind: OffsetKind) -> OffsetRows:
        rows = np.flatnonzero(table.leader == node).astype(np.int64)
        found = [self._offset(node, table.topics[table.topic[r]], int(table.partition[r]), kind) for r in rows]
        offsets = np.array([o for o, _ in found], dtype=np.int64)
        return OffsetRows(table, rows, offsets, np.array([e for _, e in found], dtype=np.int16))

    def _offset(self, node: int, name: str, partition: int, kind: OffsetKind) -> tuple[int, int]:
        topic = self.model.topics.get(name)
        if topic is None or partition >= len(topic.partitions):
            return -1, UNKNOWN_TOPIC_OR_PARTITION
        log = topic.partitions[partition]
        if log.leader != node:
            return -1, NOT_LEADER
        return {END: log.end, LAST_STABLE: log.last_stable_offset, START: log.start}[kind], 0

    def log_dirs(self, nodes: Iterable[int]) -> Answers[LogDirTable]:
        return {n: self._answer(n, ("DescribeLogDirs",), lambda n=n: self._log_dirs(n)) for n in nodes}

    def _log_dirs(self, node: int) -> LogDirTable:
        dirs = self.model.brokers[node].dirs
        index = {d.path: i for i, d in enumerate(dirs) if not d.failed}
        replicas = sorted(
            (index[p.dirs[node]], t.name, i, (p.end - p.start) * BYTES_PER_MESSAGE)
            for t in self.model.topics.values()
            for i, p in enumerate(t.partitions)
            if p.dirs.get(node) in index
        )
        used = Counter[int]()
        for at, _, _, size in replicas:
            used[at] += size
        topics = tuple(sorted({r[1] for r in replicas}))
        return LogDirTable(
            tuple(
                LogDir(d.path, STORAGE_ERROR, None, None)
                if d.failed
                else LogDir(d.path, 0, d.total, max(0, d.total - d.other - used[i]))
                for i, d in enumerate(dirs)
            ),
            topics,
            np.array([r[0] for r in replicas], dtype=np.int32),
            np.array([topics.index(r[1]) for r in replicas], dtype=np.int32),
            np.array([r[2] for r in replicas], dtype=np.int32),
            np.array([r[3] for r in replicas], dtype=np.int64),
            np.zeros(len(replicas), dtype=np.int64),
            np.zeros(len(replicas), dtype=np.bool_),
        )

    def broker_values(self, nodes: Iterable[int], names: Sequence[str]) -> Answers[Mapping[str, str]]:
        def values(node: int) -> Mapping[str, str]:
            told = settings.broker_settings(self.model, self.model.brokers[node])
            return {n: value for n in names if n in told and (value := told[n].value) is not None}

        return {n: self._answer(n, ("DescribeConfigs",), lambda n=n: values(n)) for n in nodes}

    def list_transactions(self, nodes: Iterable[int]) -> Answers[tuple[TransactionListing, ...]]:
        def told(node: int) -> tuple[TransactionListing, ...]:
            self._loaded(node, "ListTransactions")
            held = [t for i, t in sorted(self.model.transactions.items()) if self._coordinates(node, i)]
            return tuple(TransactionListing(t.id, t.producer_id, "Ongoing") for t in held)

        return {n: self._answer(n, ("ListTransactions",), lambda n=n: told(n)) for n in nodes}

    def describe_transactions(self, ids: Mapping[int, Sequence[str]]) -> Answers[tuple[Transaction, ...]]:
        def told(node: int, wanted: Sequence[str]) -> tuple[Transaction, ...]:
            return tuple(self._transaction(node, i) for i in wanted)

        return {n: self._answer(n, ("DescribeTransactions",), lambda n=n, w=w: told(n, w)) for n, w in ids.items()}

    def _transaction(self, node: int, id: str) -> Transaction:
        found = self.model.transactions.get(id)
        if found is None or not self._coordinates(node, id):
            error = TRANSACTIONAL_ID_NOT_FOUND if found is None else NOT_COORDINATOR
            return Transaction(id, "", -1, -1, 0.0, None, frozenset(), error)
        held = frozenset(found.partitions)
        return Transaction(id, "Ongoing", found.producer_id, 0, found.timeout, found.started_at, held)

    def _coordinates(self, node: int, id: str) -> bool:
        return self.model.transaction_coordinator(id) == node

    def open_producers(self, partitions: Mapping[int, Sequence[tuple[str, int]]]) -> Answers[ProducerAnswer]:
        def told(node: int, places: Sequence[tuple[str, int]]) -> ProducerAnswer:
            errors = {p: code for p in places if (code := self._offset(node, *p, END)[1])}
            logs = {p: self.model.topics[p[0]].partitions[p[1]] for p in sorted(places) if p not in errors}
            producers = (
                OpenProducer(*place, producer, 0, start, at)
                for place, log in logs.items()
                for producer, (start, at) in sorted(log.open.items())
            )
            return ProducerAnswer(tuple(producers), errors)

        return {n: self._answer(n, ("DescribeProducers",), lambda n=n, p=p: told(n, p)) for n, p in partitions.items()}

    def _answer(self, node: int, apis: tuple[str, ...], told: Callable[[], T]) -> Answer[T]:
        now = self.model.clock()
        breaker = self._breakers.get(node)
        if breaker is not None and not breaker.closed:
            return Answer(now, 0.0, error=Skipped("timed out before, tried again later", node=node))
        try:
            for api in apis:
                self._requests[api, node] += 1
                error = self._error(node, api)
                if error is not None:
                    raise error
            return Answer(now, 0.001, value=told())
        except KafkaError as failed:
            cost = BULK_TIMEOUT_S if isinstance(failed, TimedOut) else 0.001
            return Answer(now, cost, error=failed)

    def _error(self, node: int, api: str) -> KafkaError | None:
        injected = self.model.injected.get((api, node)) or self.model.injected.get((api, None))
        broker = self.model.brokers.get(node)
        if broker is None:
            return KafkaError("the node is not known", node=node, request=api)
        return _transport_error(broker, api, BULK_TIMEOUT_S) or injected

    def _loaded(self, node: int, api: str) -> None:
        if self.model.clock() < self.model.brokers[node].loading_until:
            raise BrokerError(*LOAD_IN_PROGRESS, node=node, request=api)


def _transport_error(broker: Broker, api: str, seconds: float) -> KafkaError | None:
    """What the network says, None for a broker that is up."""
    if broker.state is BrokerState.UP:
        return None
    node, address = broker.id, broker.address
    if broker.state is BrokerState.HUNG:
        return TimedOut(f"no answer in {seconds:g} s", phase="answer", node=node, address=address, request=api)
    if broker.state is BrokerState.UNREACHABLE:
        return TimedOut(f"no connection in {seconds:g} s", phase="connect", node=node, address=address, request=api)
    return Refused("connection refused", node=node, address=address, request=api)


def _listing(group: Group) -> GroupListing:
    return GroupListing(group.name, "share" if group.type == "share" else "consumer", group.state, group.type)
