"""A small model of a KRaft cluster: what brokers hold and say, and how that moves when brokers, dirs and controllers fail.

Time is a :class:`FakeClock`. Elections and fencing happen at their moment when the model is next looked at, so a test breaks something, advances the clock and asks.
"""

from __future__ import annotations

import bisect
import uuid
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from operator import itemgetter

from exporter.facts.cluster import ClusterView, Node, Role
from exporter.facts.configs import Quota
from exporter.facts.groups import Member
from exporter.facts.partitions import Partition, PartitionTable
from exporter.kafka.errors import KafkaError
from tests.fakes.clock import FakeClock

SESSION_TIMEOUT_S = 9.0
"""broker.session.timeout.ms: without heartbeats for so long a broker is fenced."""
ELECTION_S = 2.0
"""Until another controller leads."""
HUNG_CONTROLLER_S = 31.0
"""So long forwarded requests wait for a controller that hangs, though another one leads."""
CATCH_UP_S = 1.0
"""A broker that slept serves its old view for so long after it wakes."""
METADATA_RECORDS_PER_S = 2
BYTES_PER_MESSAGE = 100

LEADER_NOT_AVAILABLE = 5
STORAGE_ERROR = 56
OFFSETS_TOPIC = "__consumer_offsets"
TRANSACTIONS_TOPIC = "__transaction_state"


class BrokerState(StrEnum):
    UP = "up"
    KILLED = "killed"
    """Its port refuses; nobody was told."""
    STOPPED = "stopped"
    """Its port refuses after a controlled shutdown."""
    STARTING = "starting"
    """The process runs and its port still refuses."""
    HUNG = "hung"
    """Its kernel accepts connections and nothing answers."""
    UNREACHABLE = "unreachable"
    """No packet comes back."""


@dataclass
class LogDirectory:
    path: str
    total: int = 500_000_000
    other: int = 100_000_000
    """Bytes on the disk that are not Kafka's."""
    failed: bool = False


@dataclass
class Broker:
    id: int
    host: str
    port: int
    rack: str | None
    roles: frozenset[Role]
    dirs: list[LogDirectory]
    state: BrokerState = BrokerState.UP
    registered: bool = True
    fenced: bool = False
    silent_since: float | None = None
    """When its last heartbeat came, while it gives none."""
    loading_until: float = 0.0
    """Until when its coordinator loads and cannot answer."""
    old_image: Image | None = None
    old_until: float = 0.0

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass
class TopicPartition:
    topic: str
    replicas: list[int]
    isr: list[int]
    leader: int
    epoch: int = 0
    start: int = 0
    end: int = 0
    appended: list[tuple[int, float]] = field(default_factory=list)
    """First offset and time (Unix seconds) of what was appended at once, oldest first; what lies wholly before the start is forgotten."""
    elr: list[int] = field(default_factory=list)
    last_known_elr: list[int] = field(default_factory=list)
    dirs: dict[int, str] = field(default_factory=dict)
    """Broker -> path of the log dir that holds its replica."""
    adding: list[int] = field(default_factory=list)
    removing: list[int] = field(default_factory=list)
    open: dict[int, tuple[int, float]] = field(default_factory=dict)
    """Producer id -> start offset of its open transaction, and the time of its last record."""

    def append(self, count: int, at: float) -> None:
        while len(self.appended) > 1 and self.appended[1][0] <= self.start:
            del self.appended[0]
        if count:
            self.appended.append((self.end, at))
        self.end += count

    def appended_at(self, offset: int) -> float:
        """Time of a record that is still there (Unix seconds)."""
        return self.appended[bisect.bisect_right(self.appended, offset, key=itemgetter(0)) - 1][1]

    def stamps(self) -> list[tuple[int, float]]:
        """Offset and time of the first record of each append that is still there."""
        begun = [(max(first, self.start), at) for first, at in self.appended]
        following = [first for first, _ in self.appended[1:]] + [self.end]
        return [stamp for stamp, end in zip(begun, following, strict=True) if end > stamp[0]] if begun else []

    @property
    def last_stable_offset(self) -> int:
        return min((start for start, _ in self.open.values()), default=self.end)


@dataclass
class Topic:
    name: str
    id: str
    partitions: list[TopicPartition]
    config: dict[str, str] = field(default_factory=dict)
    internal: bool = False
    describable: bool = True
    """Whether its configuration may be described."""


@dataclass
class Group:
    name: str
    type: str
    protocol: str
    state: str = "Empty"
    members: dict[str, Member] = field(default_factory=dict)
    commits: dict[tuple[str, int], tuple[int, str]] = field(default_factory=dict)
    """(topic, partition) -> offset and metadata string."""
    epoch: int = 0
    starts: dict[tuple[str, int], int] = field(default_factory=dict)
    """(topic, partition) -> share-partition start offset, of share groups."""


@dataclass
class FakeTransaction:
    """An open transaction as its coordinator has it."""

    id: str
    producer_id: int
    timeout: float
    started_at: float
    partitions: set[tuple[str, int]] = field(default_factory=set)


@dataclass(frozen=True)
class Image:
    """What Metadata and DescribeCluster say, as one broker has it."""

    view: ClusterView
    partitions: PartitionTable


class FakeCluster:
    """``brokers`` combined nodes with ids from 1 (``controllers`` > 0: so many controller-only nodes after them), in ``racks`` one after the other.

    ``version`` below (4, 0) has neither fenced brokers in its views, nor KIP-848 groups, nor ELR; below (3, 8) not even the request for it.
    """

    def __init__(
        self,
        clock: FakeClock | None = None,
        *,
        brokers: int = 3,
        controllers: int = 0,
        racks: Sequence[str] = (),
        log_dirs: Sequence[str] = ("/d1", "/d2"),
        min_isr: int = 2,
        version: tuple[int, int] = (4, 3),
        offsets_partitions: int = 3,
    ) -> None:
        self.clock = clock or FakeClock()
        self.cluster_id = "fake-cluster-id"
        self.version = version
        self.min_isr = min_isr
        self.elr_enabled = version >= (4, 0)
        self.topics: dict[str, Topic] = {}
        self.groups: dict[str, Group] = {}
        self.broker_configs: dict[int | None, dict[str, str]] = {}
        """Dynamic settings by broker; None: the default of all."""
        self.quotas: list[Quota] = []
        self.transactions: dict[str, FakeTransaction] = {}
        self.hidden: set[str] = set()
        """Topics that Klaxon may not describe: Metadata leaves them out without a word."""
        self.injected: dict[tuple[str, int | None], KafkaError] = {}
        self._offsets_partitions = offsets_partitions
        roles = frozenset({Role.BROKER} if controllers else {Role.BROKER, Role.CONTROLLER})
        self.brokers = {
            i: self._new_broker(i, racks[(i - 1) % len(racks)] if racks else None, roles, log_dirs)
            for i in range(1, brokers + 1)
        }
        for i in range(brokers + 1, brokers + controllers + 1):
            self.brokers[i] = self._new_broker(i, None, frozenset({Role.CONTROLLER}), log_dirs[:1])
        self.voters = [b.id for b in self.brokers.values() if Role.CONTROLLER in b.roles]
        self.quorum_leader: int | None = self.voters[0]
        self.quorum_epoch = 1
        self.leader_since = self.clock()
        self._leaderless_since = 0.0
        self._majority_since = self.clock()
        self.forwarding_hangs_until = 0.0
        self._log_end = 1000.0
        self._log_at = self.clock()
        self._image: Image | None = None
        self._table_made: tuple[object, PartitionTable] | None = None

    @property
    def bootstrap_servers(self) -> list[str]:
        return [b.address for b in self.brokers.values() if Role.BROKER in b.roles]

    # --- brokers ------------------------------------------------------------------------------------------------------

    def kill(self, node: int) -> None:
        """kill -9: the port refuses at once, the controller notices when the session ends."""
        self._lose(node, BrokerState.KILLED)

    def hang(self, node: int) -> None:
        """SIGSTOP. What healthy brokers forward to a controller that hangs waits for it."""
        self._settle()
        if node == self.quorum_leader:
            self.forwarding_hangs_until = self.clock() + HUNG_CONTROLLER_S
        self._lose(node, BrokerState.HUNG)

    def isolate(self, node: int) -> None:
        """The host no longer answers at all."""
        self._lose(node, BrokerState.UNREACHABLE)

    def stop_cleanly(self, node: int) -> None:
        """A controlled shutdown: leaders move before the process ends."""
        self._settle()
        broker = self.brokers[node]
        if self.quorum_leader is not None:
            self._fence(broker)
        self._lose(node, BrokerState.STOPPED)

    def begin_start(self, node: int) -> None:
        """The process runs again; its port refuses until :meth:`start`."""
        self._settle()
        self.brokers[node].state = BrokerState.STARTING

    def start(self, node: int) -> None:
        """Up, registered, unfenced and caught up at once where a controller leads; with failed dirs back."""
        self._settle()
        broker = self.brokers[node]
        for directory in broker.dirs:
            directory.failed = False
        self._revive(broker)

    def resume(self, node: int) -> None:
        """SIGCONT, or the network is back: for a moment it serves the view that it had."""
        self._settle()
        broker = self.brokers[node]
        broker.old_until = self.clock() + CATCH_UP_S
        self.forwarding_hangs_until = 0.0
        self._revive(broker)

    def unregister(self, node: int) -> None:
        """kafka-cluster.sh unregister; its replicas stay assigned."""
        self._settle()
        self.brokers[node].registered = False
        self._changed()

    def add_broker(self, node: int, rack: str | None = None) -> None:
        """Scale out."""
        self._settle()
        self.brokers[node] = self._new_broker(node, rack, frozenset({Role.BROKER}), ("/d1", "/d2"))
        self._changed()

    def fail_log_dir(self, node: int, path: str) -> None:
        """An I/O error or a full disk. The dir with the metadata log (the first) takes the process with it."""
        self._settle()
        broker = self.brokers[node]
        at = next(i for i, d in enumerate(broker.dirs) if d.path == path)
        broker.dirs[at].failed = True
        if at == 0:
            self.kill(node)
            return
        for partition in self._all_partitions():
            if partition.dirs.get(node) == path:
                self._remove_replica(partition, node)
        self._changed()

    def load_coordinator(self, node: int, seconds: float) -> None:
        """The node's coordinator loads: it answers with COORDINATOR_LOAD_IN_PROGRESS."""
        self.brokers[node].loading_until = self.clock() + seconds

    # --- topics -------------------------------------------------------------------------------------------------------

    def create_topic(
        self,
        name: str,
        partitions: int = 1,
        replication_factor: int = 3,
        *,
        config: Mapping[str, str] | None = None,
        assignment: Sequence[Sequence[int]] | None = None,
        internal: bool = False,
    ) -> Topic:
        self._settle()
        if name in self.topics:
            raise ValueError(f"topic {name} exists")
        if len({len(replicas) for replicas in assignment or ()}) > 1:
            raise ValueError("INVALID_REPLICA_ASSIGNMENT: the partitions have different numbers of replicas")
        alive = self.alive()
        placed = assignment or [
            [alive[(p + r) % len(alive)] for r in range(min(replication_factor, len(alive)))] for p in range(partitions)
        ]
        topic = Topic(
            name,
            uuid.uuid4().hex,
            [self._place(name, p, a) for p, a in enumerate(placed)],
            dict(config or {}),
            internal,
        )
        self.topics[name] = topic
        self._changed()
        return topic

    def delete_topic(self, name: str) -> None:
        self._settle()
        del self.topics[name]
        for group in self.groups.values():
            group.commits = {tp: c for tp, c in group.commits.items() if tp[0] != name}
        self._changed()

    def add_partitions(self, name: str, count: int) -> None:
        """So many more partitions."""
        self._settle()
        topic, alive = self.topics[name], self.alive()
        width = len(topic.partitions[0].replicas)
        for p in range(len(topic.partitions), len(topic.partitions) + count):
            topic.partitions.append(self._place(name, p, [alive[(p + r) % len(alive)] for r in range(width)]))
        self._changed()

    def reassign(self, name: str, partition: int, replicas: Sequence[int]) -> None:
        """A reassignment that is done at once."""
        self._settle()
        fresh = self._place(name, partition, replicas)
        old = self.topics[name].partitions[partition]
        old.replicas, old.isr, old.dirs = fresh.replicas, fresh.isr, fresh.dirs
        old.adding, old.removing = [], []
        if old.leader not in old.isr:
            self._elect(old)
        self._changed()

    def begin_reassignment(self, name: str, partition: int, replicas: Sequence[int]) -> None:
        """A reassignment that runs until :meth:`reassign` to the same replicas ends it."""
        self._settle()
        moved = self.topics[name].partitions[partition]
        moved.adding = [r for r in replicas if r not in moved.replicas]
        moved.removing = [r for r in moved.replicas if r not in replicas]
        moved.replicas += moved.adding
        self._changed()

    def shrink_isr(self, name: str, partition: int, node: int) -> None:
        """A follower that is alive falls behind, or its replica is throttled."""
        self._settle()
        self._remove_replica(self.topics[name].partitions[partition], node)
        self._changed()

    def expand_isr(self, name: str, partition: int, node: int) -> None:
        self._settle()
        self._join_isr(self.topics[name].partitions[partition], node)
        self._changed()

    def elect_preferred(self) -> None:
        """The preferred leader of every partition leads where it is in sync."""
        self._settle()
        for partition in self._all_partitions():
            first = partition.replicas[0]
            if first in partition.isr and partition.leader != first:
                partition.leader = first
                partition.epoch += 1
        self._changed()

    def produce(self, name: str, partition: int = 0, count: int = 1) -> None:
        """So many messages; the partition must have a leader and enough in-sync replicas (acks=all)."""
        self._settle()
        log = self.topics[name].partitions[partition]
        assert log.leader >= 0, f"{name}-{partition} has no leader"
        assert len(log.isr) >= min(self.min_isr_of(name), len(log.replicas)), f"{name}-{partition} is under min ISR"
        log.append(count, self.clock())

    def share(self, group: str, topic: str, partition: int, start_offset: int) -> None:
        """A share group has come so far."""
        self.groups[group].starts[topic, partition] = start_offset

    def retain_from(self, name: str, partition: int, start: int) -> None:
        """Retention: what is older than ``start`` is gone."""
        self.topics[name].partitions[partition].start = start

    def min_isr_of(self, name: str) -> int:
        """min.insync.replicas in force."""
        return int(self.topics[name].config.get("min.insync.replicas", self.min_isr))

    def set_broker_config(self, node: int | None, changes: Mapping[str, str | None]) -> None:
        """Dynamic settings of a broker; None: of all. A setting that becomes None is taken away."""
        settings = {**self.broker_configs.get(node, {}), **changes}
        self.broker_configs[node] = {name: value for name, value in settings.items() if value is not None}

    def set_quota(self, quota: Quota) -> None:
        self.quotas.append(quota)

    # --- groups -------------------------------------------------------------------------------------------------------

    def create_group(self, name: str, type: str = "classic", protocol: str | None = None) -> Group:
        """A group without members and commits; makes __consumer_offsets if it is the first."""
        if OFFSETS_TOPIC not in self.topics:
            self.create_topic(OFFSETS_TOPIC, self._offsets_partitions, 3, internal=True)
        assignor = (
            protocol
            if protocol is not None
            else {"classic": "range", "consumer": "uniform", "share": "simple"}.get(type, "")
        )
        group = self.groups[name] = Group(name, type, assignor)
        return group

    def delete_group(self, name: str) -> None:
        del self.groups[name]

    def join(
        self,
        name: str,
        member_id: str,
        assignment: Mapping[str, Sequence[int]],
        *,
        client_id: str = "client",
        host: str = "127.0.0.1",
        instance_id: str | None = None,
    ) -> None:
        """A member with its assignment; the group is Stable."""
        group = self.groups[name]
        assigned = {topic: tuple(sorted(partitions)) for topic, partitions in sorted(assignment.items())}
        group.members[member_id] = Member(member_id, client_id, host, instance_id, assigned)
        group.state = "Stable"
        group.epoch += 1

    def leave(self, name: str, member_id: str) -> None:
        group = self.groups[name]
        del group.members[member_id]
        group.epoch += 1
        group.state = "Stable" if group.members else "Empty"

    def set_group_state(self, name: str, state: str) -> None:
        self.groups[name].state = state

    def commit(self, name: str, topic: str, partition: int, offset: int, metadata: str = "") -> None:
        self.groups[name].commits[topic, partition] = (offset, metadata)

    def coordinator(self, name: str) -> int:
        """The leader of the group's partition of __consumer_offsets, -1 where it has none."""
        self._settle()
        partitions = self.topics[OFFSETS_TOPIC].partitions
        return partitions[_java_hash(name) % len(partitions)].leader

    def move_coordinator(self, name: str, to: int) -> None:
        """Move leadership of the group's partition of __consumer_offsets to another in-sync replica."""
        self._settle()
        partitions = self.topics[OFFSETS_TOPIC].partitions
        partition = partitions[_java_hash(name) % len(partitions)]
        assert to in partition.isr, f"node {to} is not in sync: {partition.isr}"
        partition.leader = to
        partition.epoch += 1
        self._changed()

    # --- transactions -------------------------------------------------------------------------------------------------

    def begin_transaction(self, id: str, name: str, partition: int = 0, timeout: float = 60.0) -> FakeTransaction:
        """One record in a transaction that stays open; makes __transaction_state if it is the first."""
        if TRANSACTIONS_TOPIC not in self.topics:
            self.create_topic(TRANSACTIONS_TOPIC, self._offsets_partitions, 3, internal=True)
        opened = FakeTransaction(id, 1000 + len(self.transactions), timeout, self.clock(), {(name, partition)})
        log = self.topics[name].partitions[partition]
        log.open[opened.producer_id] = (log.end, self.clock())
        self.produce(name, partition)
        self.transactions[id] = opened
        return opened

    def end_transaction(self, id: str) -> None:
        """Commit: its markers are written."""
        ended = self.transactions.pop(id)
        for name, partition in ended.partitions:
            log = self.topics[name].partitions[partition]
            log.open.pop(ended.producer_id, None)
            log.append(1, self.clock())

    def lose_transaction(self, id: str) -> None:
        """Its coordinator no longer knows it, and its partitions still wait for the markers: it hangs."""
        self.transactions.pop(id)

    def transaction_coordinator(self, id: str) -> int:
        """The leader of the id's partition of __transaction_state, -1 where it has none."""
        self._settle()
        partitions = self.topics[TRANSACTIONS_TOPIC].partitions
        return partitions[_java_hash(id) % len(partitions)].leader

    # --- faults that no model explains -----------------------------------------------------------------------------------

    def inject(self, api: str, error: KafkaError, node: int | None = None) -> None:
        """Answer this API (of one node, or of all) with an error until :meth:`cure`."""
        self.injected[api, node] = error

    def cure(self, api: str, node: int | None = None) -> None:
        self.injected.pop((api, node), None)

    # --- what is looked at ------------------------------------------------------------------------------------------------

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.advance(seconds)
        self._settle()

    def alive(self) -> list[int]:
        """Brokers that are registered and not fenced, as the controller has it."""
        return [b.id for b in self.brokers.values() if Role.BROKER in b.roles and b.registered and not b.fenced]

    def image(self, node: int) -> Image:
        """The metadata that this node serves now."""
        self._settle()
        broker = self.brokers[node]
        if broker.old_image is not None and self.clock() < broker.old_until:
            return broker.old_image
        return self._current()

    def log_end(self) -> int:
        """End of the metadata log."""
        self._settle()
        return int(self._log_end)

    # --- the model --------------------------------------------------------------------------------------------------------

    def _new_broker(self, node: int, rack: str | None, roles: frozenset[Role], log_dirs: Iterable[str]) -> Broker:
        registered = Role.BROKER in roles
        return Broker(
            node, f"kafka-{node}", 9092, rack, roles, [LogDirectory(path) for path in log_dirs], registered=registered
        )

    def _place(self, name: str, partition: int, replicas: Sequence[int]) -> TopicPartition:
        alive = set(self.alive())
        isr = [r for r in replicas if r in alive]
        seed = zlib.crc32(f"{name}-{partition}".encode())
        dirs = {}
        for r in replicas:
            good = [d.path for d in self.brokers[r].dirs if not d.failed] or [self.brokers[r].dirs[0].path]
            dirs[r] = good[seed % len(good)]
        return TopicPartition(name, list(replicas), isr, isr[0] if isr else -1, dirs=dirs)

    def _all_partitions(self) -> list[TopicPartition]:
        return [p for t in self.topics.values() for p in t.partitions]

    def _lose(self, node: int, state: BrokerState) -> None:
        self._settle()
        broker = self.brokers[node]
        if state is BrokerState.HUNG or state is BrokerState.UNREACHABLE:
            broker.old_image = self._current()
        broker.state = state
        if broker.silent_since is None:
            broker.silent_since = self.clock()
        self._check_quorum()

    def _revive(self, broker: Broker) -> None:
        broker.state = BrokerState.UP
        self._check_quorum()
        if self.quorum_leader is not None:
            self._register(broker)

    def _register(self, broker: Broker) -> None:
        broker.silent_since = None
        if Role.BROKER not in broker.roles:
            return
        broker.registered, broker.fenced = True, False
        for partition in self._all_partitions():
            if broker.id in partition.replicas:
                self._join_isr(partition, broker.id)
        self._changed()

    def _check_quorum(self) -> None:
        """The leader goes with its node or its majority; it comes back by an election."""
        now = self.clock()
        majority = self._majority()
        if not majority:
            self._majority_since = float("inf")
        elif self._majority_since == float("inf"):
            self._majority_since = now
        leads = self.quorum_leader is not None and self.brokers[self.quorum_leader].state is BrokerState.UP
        if not (leads and majority) and self.quorum_leader is not None:
            self.quorum_leader = None
            self._leaderless_since = now

    def _majority(self) -> bool:
        return sum(self.brokers[v].state is BrokerState.UP for v in self.voters) * 2 > len(self.voters)

    def _settle(self) -> None:
        """Do all that was due up to now, in its order."""
        now = self.clock()
        while due := min(self._due(), key=lambda d: d[0], default=None):
            at, act = due
            if at > now:
                break
            self._grow_log(at)
            act()
        self._grow_log(now)

    def _grow_log(self, at: float) -> None:
        if at > self._log_at:
            if self.quorum_leader is not None:
                self._log_end += (at - self._log_at) * METADATA_RECORDS_PER_S
            self._log_at = at

    def _due(self) -> list[tuple[float, Callable[[], None]]]:
        if self.quorum_leader is None:
            at = max(self._leaderless_since, self._majority_since) + ELECTION_S
            return [(at, lambda: self._elect_controller(at))] if self._majority() else []
        events: list[tuple[float, Callable[[], None]]] = []
        for b in self.brokers.values():
            if b.silent_since is None:
                continue
            if b.state is BrokerState.UP:
                events.append((self.leader_since, lambda b=b: self._register(b)))
            elif not b.fenced and b.registered:
                # A new controller gives every broker a fresh session.
                at = max(b.silent_since, self.leader_since) + SESSION_TIMEOUT_S
                events.append((at, lambda b=b: self._fence(b)))
        return events

    def _elect_controller(self, at: float) -> None:
        candidates = [v for v in self.voters if self.brokers[v].state is BrokerState.UP]
        self.quorum_leader = candidates[self.quorum_epoch % len(candidates)]
        self.quorum_epoch += 1
        self.leader_since = at

    def _fence(self, broker: Broker) -> None:
        broker.fenced = True
        for partition in self._all_partitions():
            if broker.id in partition.replicas:
                self._remove_replica(partition, broker.id)
        self._changed()

    def _remove_replica(self, partition: TopicPartition, node: int) -> None:
        before = (partition.leader, list(partition.isr))
        last = partition.isr == [node]
        if not last or self.elr_enabled:
            partition.isr = [r for r in partition.isr if r != node]
        if self.elr_enabled and node in before[1] and len(partition.isr) < self._effective_min_isr(partition):
            partition.elr.append(node)
        if partition.leader == node:
            self._elect(partition)
        if before != (partition.leader, partition.isr):
            partition.epoch += 1

    def _effective_min_isr(self, partition: TopicPartition) -> int:
        return min(self.min_isr_of(partition.topic), len(partition.replicas))

    def _elect(self, partition: TopicPartition) -> None:
        able = [r for r in partition.replicas if r in partition.isr and self._serves(partition, r)]
        partition.leader = able[0] if able else -1

    def _serves(self, partition: TopicPartition, node: int) -> bool:
        broker = self.brokers[node]
        failed = {d.path for d in broker.dirs if d.failed}
        return broker.registered and not broker.fenced and partition.dirs.get(node) not in failed

    def _join_isr(self, partition: TopicPartition, node: int) -> None:
        if not self._serves(partition, node):
            return
        eligible = node in partition.isr or node in partition.elr or node in partition.last_known_elr
        if partition.leader < 0 and not eligible:
            return
        changed = partition.leader < 0 or node not in partition.isr
        if node not in partition.isr:
            partition.isr.append(node)
        if partition.leader < 0:
            partition.leader = node
        partition.elr = [r for r in partition.elr if r != node]
        if len(partition.isr) >= self._effective_min_isr(partition):
            partition.elr, partition.last_known_elr = [], []
        partition.epoch += changed

    def _changed(self) -> None:
        self._image = None

    def _current(self) -> Image:
        if self._image is None:
            self._image = Image(self._view(), self._table())
        return self._image

    def _view(self) -> ClusterView:
        told = self.version >= (4, 0)
        nodes = [
            Node(b.id, b.host, b.port, b.rack, frozenset({Role.BROKER}), True, b.fenced if told else None)
            for b in self.brokers.values()
            if Role.BROKER in b.roles and b.registered and (told or not b.fenced)
        ]
        return ClusterView(self.cluster_id, tuple(nodes))

    def _table(self) -> PartitionTable:
        shown = [t for t in self.topics.values() if t.name not in self.hidden]
        rows = [self._row(t.name, i, p) for t in shown for i, p in enumerate(t.partitions)]
        ids = {t.name: t.id for t in shown}
        key = (sorted(rows), ids)
        if self._table_made is None or self._table_made[0] != key:
            internal = frozenset(t.name for t in shown if t.internal)
            self._table_made = (key, PartitionTable.of(rows, internal, ids))
        return self._table_made[1]

    def _row(self, topic: str, number: int, p: TopicPartition) -> Partition:
        offline = tuple(r for r in p.replicas if not self._serves(p, r))
        error = LEADER_NOT_AVAILABLE if p.leader < 0 else 0
        return Partition(topic, number, p.leader, p.epoch, error, tuple(p.replicas), tuple(p.isr), offline)


def _java_hash(text: str) -> int:
    """abs(String.hashCode()), by which Kafka finds a group's partition of __consumer_offsets."""
    value = 0
    for character in text:
        value = (31 * value + ord(character)) & 0xFFFFFFFF
    return value & 0x7FFFFFFF
