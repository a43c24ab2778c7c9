"""Faults as series: a healthy cluster of three combined nodes, and what each observed fault changes in what Klaxon sees."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from alerts.diagnosis.walk import World
from alerts.model import Alert, AlertState
from alerts.promql.evaluate import Evaluator
from alerts.promql.store import MemoryStore
from exporter.reading import WHOLE_CLUSTER, Coverage
from exporter.series import STALE_NAN, Matcher, Series

NOW = 1_700_000_000.0
FAULT = NOW - 105
"""When the fault began; everything before is healthy."""
START = NOW - 1500
STEP = 15.0

NODES = (1, 2, 3)
GIB = 1024.0**3
STATES = ("ok", "refused", "timeout", "error", "skipped")

Key = tuple[tuple[str, str], ...]


class ByName:
    """A MemoryStore per metric, so that a replay does not look at every series for every selector."""

    def __init__(self) -> None:
        self._stores: dict[str, MemoryStore] = {}

    def add(self, labels: Mapping[str, str], samples: Iterable[tuple[float, float]]) -> None:
        self._stores.setdefault(labels["__name__"], MemoryStore()).add(labels, samples)

    def select(self, matchers: Sequence[Matcher], start_ms: int, end_ms: int) -> list[Series]:
        name = next(m.value for m in matchers if m.name == "__name__")
        store = self._stores.get(name)
        return store.select(matchers, start_ms, end_ms) if store is not None else []


def key(name: str, /, **labels: object) -> Key:
    return tuple(sorted({"__name__": name, "cluster": "orders", **{k: str(v) for k, v in labels.items()}}.items()))


@dataclass
class Scene:
    """Values before and after the fault; None after it means that the series ended."""

    before: dict[Key, float] = field(default_factory=dict)
    after: dict[Key, float | None] = field(default_factory=dict)
    steps: dict[Key, list[tuple[float, float]]] = field(default_factory=dict)
    """Series that are neither: their samples as they are."""
    silent: set[tuple[str, int]] = field(default_factory=set)
    """(collector, source) without fresh data."""
    withdrawn: set[str] = field(default_factory=set)
    heals_at: float = float("inf")
    """When what is silent and withdrawn comes back."""

    # --- changing it

    def has(self, name: str, value: float, /, **labels: object) -> None:
        self.before[key(name, **labels)] = value

    def becomes(self, name: str, value: float | None, /, **labels: object) -> None:
        self.after[key(name, **labels)] = value

    def leg(self, broker: int, leg: str, state: str) -> None:
        for s in STATES:
            self.becomes("kafka_broker_leg", float(s == state), broker=broker, leg=leg, state=s)

    def ends(self, name: str, **labels: object) -> None:
        wanted = {k: str(v) for k, v in labels.items()}
        for one in self.before:
            pairs = dict(one)
            if pairs["__name__"] == name and all(pairs.get(k) == v for k, v in wanted.items()):
                self.after[one] = None

    def silence(self, collector: str, *sources: int) -> None:
        self.silent |= {(collector, s) for s in sources}

    # --- reading it

    def store(self, until: float = NOW, step: float = STEP) -> ByName:
        store = ByName()
        for one in sorted({*self.before, *self.after} - self.steps.keys()):
            store.add(dict(one), self._samples(one, until, step))
        for one, samples in self.steps.items():
            store.add(dict(one), samples)
        return store

    def _samples(self, one: Key, until: float, step: float) -> Iterable[tuple[float, float]]:
        at = START
        while at <= until:
            value = self.after[one] if at >= FAULT and one in self.after else self.before.get(one)
            if value is not None:
                yield at, value
            elif at >= FAULT and one in self.before:
                yield at, STALE_NAN
                return
            at += step

    def coverage(self, age: float = 2.0, at: float = NOW) -> Coverage:
        nodes = frozenset(NODES)
        whole = frozenset({WHOLE_CLUSTER})
        expected = {
            "cluster": whole,
            "legs": nodes,
            "departures": nodes,
            "topics": whole,
            "quorum": whole,
            "reassignments": whole,
            "groups": nodes,
            "offsets": nodes,
            "log_dirs": nodes,
            "jmx": nodes,
        }
        taken = {
            c: {s: at - age for s in sources if not FAULT <= at < self.heals_at or (c, s) not in self.silent}
            for c, sources in expected.items()
            if not FAULT <= at < self.heals_at or ("cluster" if c == "departures" else c) not in self.withdrawn
        }
        return Coverage("orders", at, taken, expected)

    def world(self, age: float = 2.0) -> World:
        return World(Evaluator(self.store()), NOW, self.coverage(age), bootstrap="kafka-1:9092,kafka-2:9092")


def healthy() -> Scene:
    """Topic orders with 6 partitions, RF 3, min ISR 2, all in sync; a group that keeps up."""
    s = Scene()
    s.has("kafka_controller_alive", 1)
    s.has("kafka_brokers_expected", 3)
    s.has("kafka_brokers_answering", 3)
    s.has("klaxon_cluster_reachable", 1)
    for name, value in (
        ("", 6),
        ("_under_replicated", 0),
        ("_under_min_isr", 0),
        ("_at_min_isr", 0),
        ("_leaderless", 0),
    ):
        s.has(f"kafka_partitions{name}", value)
    s.has("kafka_topic_replication_factor", 3, topic="orders")
    s.has("kafka_topic_min_insync_replicas", 2, topic="orders")
    for n in NODES:
        s.has("kafka_node_info", 1, broker=n, address=f"kafka-{n}:9092", rack="", roles="broker,controller")
        s.has("kafka_broker_up", 1, broker=n)
        s.has("kafka_broker_replicas", 6, broker=n)
        s.has("kafka_broker_replicas_missing", 0, broker=n)
        s.has("kafka_server_kafkaserver_brokerstate", 3, broker=n)
        s.has("kafka_server_replicamanager_reassigningpartitions", 0, broker=n)
        s.has("kafka_server_replicafetchermanager_maxlag", 0, broker=n, clientId="Replica")
        s.has("jvm_memory_used_bytes", 2 * GIB, broker=n, area="heap")
        s.has("jvm_memory_max_bytes", 4 * GIB, broker=n, area="heap")
        for leg in ("tcp", "api_versions", "metadata", "jmx"):
            for state in STATES:
                s.has("kafka_broker_leg", float(state == "ok"), broker=n, leg=leg, state=state)
        for d in ("/d1", "/d2"):
            s.has("kafka_log_dir_online", 1, broker=n, dir=d)
            s.has("kafka_log_dir_usable_bytes", 38 * GIB, broker=n, dir=d)
            s.has("kafka_log_dir_total_bytes", 100 * GIB, broker=n, dir=d)
            s.has("kafka_log_dir_size_bytes", 50 * GIB, broker=n, dir=d)
        s.has("kafka_broker_topic_size_bytes", 50 * GIB, broker=n, topic="orders")
        for collector in ("log_dirs", "jmx", "groups", "offsets"):
            s.has("klaxon_collector_covered", 1, collector=collector, source=n)
    for collector in ("cluster", "topics", "quorum"):
        s.has("klaxon_collector_covered", 1, collector=collector, source="cluster")
    s.has("kafka_consumergroup_state", 1, consumergroup="billing", state="Stable", type="consumer")
    s.has("kafka_consumergroup_members", 2, consumergroup="billing")
    for p in range(6):
        s.has("kafka_consumergroup_lag", 0, consumergroup="billing", topic="orders", partition=p)
        s.has("kafka_consumergroup_current_offset", 1000, consumergroup="billing", topic="orders", partition=p)
    s.has("kafka_consumergroup_current_offset_sum", 6000, consumergroup="billing", topic="orders")
    s.has("kafka_consumergroup_lag_sum", 0, consumergroup="billing", topic="orders")
    return s


def gone(s: Scene, broker: int, *, controlled: bool | None = False) -> Scene:
    """Metadata has dropped the broker: fenced, its copies missing, its JMX and log dirs silent."""
    s.becomes("kafka_broker_up", 0, broker=broker)
    s.becomes("kafka_brokers_answering", 2)
    if controlled is not None:
        s.becomes("kafka_broker_departure_controlled", float(controlled), broker=broker)
    s.becomes("kafka_broker_replicas_missing", 6, broker=broker)
    s.becomes("kafka_partitions_under_replicated", 6)
    s.becomes("kafka_partitions_at_min_isr", 6)
    for p in range(6):
        s.becomes("kafka_partition_replica_missing", 1, topic="orders", partition=p, broker=broker)
    quiet(s, broker)
    for leg in ("tcp", "jmx"):
        s.leg(broker, leg, "refused")
    for leg in ("api_versions", "metadata"):
        s.leg(broker, leg, "skipped")
    return s


def quiet(s: Scene, broker: int) -> None:
    s.silence("jmx", broker)
    s.silence("log_dirs", broker)
    for name in (
        "kafka_server_kafkaserver_brokerstate",
        "kafka_server_replicamanager_reassigningpartitions",
        "kafka_server_replicafetchermanager_maxlag",
        "jvm_memory_used_bytes",
        "jvm_memory_max_bytes",
        "kafka_log_dir_online",
        "kafka_log_dir_usable_bytes",
        "kafka_log_dir_total_bytes",
        "kafka_log_dir_size_bytes",
    ):
        s.ends(name, broker=broker)


def killed() -> Scene:
    return gone(healthy(), 2)


def hung() -> Scene:
    s = gone(healthy(), 2)
    s.leg(2, "tcp", "ok")
    s.leg(2, "api_versions", "timeout")
    s.leg(2, "jmx", "timeout")
    return s


def hung_long() -> Scene:
    """From 20 s on the backlog is full and connecting itself times out."""
    s = hung()
    s.leg(2, "tcp", "timeout")
    s.leg(2, "api_versions", "skipped")
    one = key("kafka_broker_leg", broker=2, leg="api_versions", state="timeout")
    s.steps[one] = [(FAULT + 5 * i, 1.0) for i in range(4)] + [(FAULT + 20 + 5 * i, 0.0) for i in range(20)]
    return s


def zombie() -> Scene:
    """Out of memory: the port opens, JMX answers, the broker's beans are gone, its heap is full."""
    s = gone(healthy(), 2)
    s.silent -= {("jmx", 2)}
    s.leg(2, "tcp", "ok")
    s.leg(2, "api_versions", "timeout")
    s.leg(2, "jmx", "ok")
    s.becomes("jvm_memory_used_bytes", 3.96 * GIB, broker=2, area="heap")
    s.becomes("jvm_memory_max_bytes", 4 * GIB, broker=2, area="heap")
    return s


def stuck() -> Scene:
    s = zombie()
    s.becomes("kafka_server_kafkaserver_brokerstate", 3, broker=2)
    return s


def unreachable() -> Scene:
    s = gone(healthy(), 2)
    for leg in ("tcp", "jmx"):
        s.leg(2, leg, "timeout")
    return s


def stopped() -> Scene:
    return gone(healthy(), 2, controlled=True)


def recovering() -> Scene:
    s = gone(healthy(), 2)
    s.silent -= {("jmx", 2)}
    s.leg(2, "jmx", "ok")
    s.becomes("kafka_server_kafkaserver_brokerstate", 2, broker=2)
    s.becomes("kafka_log_logmanager_remaininglogstorecover", 12, broker=2, dir="/d1")
    return s


def fenced() -> Scene:
    s = killed()
    for leg in ("tcp", "api_versions", "metadata", "jmx"):
        s.leg(2, leg, "ok")
    return s


def disk_full_exit() -> Scene:
    s = killed()
    s.has("kafka_log_dir_usable_bytes", 0.5 * GIB, broker=2, dir="/d1")
    return s


def single_copy() -> Scene:
    """A topic with one copy, on the broker that died."""
    s = killed()
    s.has("kafka_topic_replication_factor", 1, topic="audit")
    s.has("kafka_topic_min_insync_replicas", 1, topic="audit")
    s.becomes("kafka_partition_leaderless", 1, topic="audit", partition=0)
    s.becomes("kafka_partition_leaderless_replica", 1, topic="audit", partition=0, broker=2)
    s.becomes("kafka_partitions_leaderless", 1)
    return s


def needs_all_copies(*, controlled: bool = False) -> Scene:
    """A topic whose min.insync.replicas is its replication factor."""
    s = gone(healthy(), 2, controlled=controlled)
    s.has("kafka_topic_replication_factor", 3, topic="ledger")
    s.has("kafka_topic_min_insync_replicas", 3, topic="ledger")
    s.becomes("kafka_partition_under_min_isr", 1, topic="ledger", partition=0)
    s.becomes("kafka_partition_replica_missing", 1, topic="ledger", partition=0, broker=2)
    s.becomes("kafka_partitions_under_min_isr", 1)
    return s


def quorum_lost() -> Scene:
    """Two of three killed: metadata is withdrawn, what is left are our own probes."""
    s = healthy()
    s.becomes("kafka_controller_alive", 0)
    s.becomes("kafka_brokers_answering", 1)
    for n in (2, 3):
        quiet(s, n)
        for leg in ("tcp", "jmx"):
            s.leg(n, leg, "refused")
        for leg in ("api_versions", "metadata"):
            s.leg(n, leg, "skipped")
    for collector in ("cluster", "topics"):
        s.withdrawn.add(collector)
        s.becomes("klaxon_facts_trusted", 0, collector=collector)
    s.silence("quorum", WHOLE_CLUSTER)
    for one in list(s.before):
        name = dict(one)["__name__"]
        if name in ("kafka_broker_up", "kafka_broker_replicas", "kafka_broker_replicas_missing") or name.startswith(
            ("kafka_partition", "kafka_topic")
        ):
            s.after[one] = None
    return s


def all_down() -> Scene:
    s = quorum_lost()
    s.becomes("kafka_brokers_answering", 0)
    for leg in ("tcp", "jmx"):
        s.leg(1, leg, "refused")
    for leg in ("api_versions", "metadata"):
        s.leg(1, leg, "skipped")
    return s


def cut_off() -> Scene:
    s = all_down()
    for n in NODES:
        s.leg(n, "tcp", "timeout")
    return s


def controller_hung() -> Scene:
    s = quorum_lost()
    s.becomes("kafka_brokers_answering", 2)
    s.leg(3, "tcp", "ok")
    s.leg(3, "api_versions", "ok")
    s.leg(2, "tcp", "ok")
    s.leg(2, "api_versions", "timeout")
    return s


def dir_failed(*, free: float = 38 * GIB, sampled: bool = True) -> Scene:
    s = healthy()
    s.becomes("kafka_log_dir_online", 0, broker=2, dir="/d2")
    for name in ("kafka_log_dir_usable_bytes", "kafka_log_dir_total_bytes", "kafka_log_dir_size_bytes"):
        s.ends(name, broker=2, dir="/d2")
        if not sampled:
            del s.before[key(name, broker=2, dir="/d2")]
            del s.after[key(name, broker=2, dir="/d2")]
    if sampled:
        s.has("kafka_log_dir_usable_bytes", free, broker=2, dir="/d2")
    s.becomes("kafka_broker_replicas_missing", 3, broker=2)
    s.becomes("kafka_partitions_under_replicated", 3)
    for p in range(3):
        s.becomes("kafka_partition_replica_missing", 1, topic="orders", partition=p, broker=2)
    return s


def behind(*, moving: bool = False) -> Scene:
    """A running broker whose copies stay behind."""
    s = healthy()
    for p in range(3):
        s.has("kafka_partition_replica_missing", 1, topic="orders", partition=p, broker=2)
    s.has("kafka_broker_replicas_missing", 3, broker=2)
    s.has("kafka_server_replicafetchermanager_maxlag", 4961, broker=2, clientId="Replica")
    if moving:
        s.becomes("kafka_server_replicamanager_reassigningpartitions", 2, broker=1)
    return s


def catching_up() -> Scene:
    s = behind()
    s.becomes("kafka_broker_replicas_missing", 1, broker=2)
    return s


def group(*, state: str = "Stable", stands: Iterable[int] = range(6)) -> Scene:
    """A group that commits nothing on these partitions while records arrive."""
    s = healthy()
    s.ends("kafka_consumergroup_state", consumergroup="billing")
    s.becomes("kafka_consumergroup_state", 1, consumergroup="billing", state=state, type="consumer")
    s.becomes("kafka_consumergroup_members", 0 if state == "Empty" else 2, consumergroup="billing")
    times = [START + STEP * i for i in range(int((NOW - START) / STEP) + 1)]
    for p in range(6):
        labels: Mapping[str, object] = {"consumergroup": "billing", "topic": "orders", "partition": p}
        standing = p in stands
        s.steps[key("kafka_consumergroup_lag", **labels)] = [(t, 5 + (t - START)) for t in times]
        s.steps[key("kafka_consumergroup_current_offset", **labels)] = [
            (t, 1000.0 if standing else t - START) for t in times
        ]
    s.steps[key("kafka_consumergroup_lag_sum", consumergroup="billing", topic="orders")] = [
        (t, 6 * (5 + t - START)) for t in times
    ]
    return s


def alert(
    rule: str,
    *,
    problem: str,
    subject: str = "cluster",
    severity: str = "warning",
    tree: str = "",
    active_at: float = FAULT,
    **labels: object,
) -> Alert:
    """A firing alert as the engine would give it."""
    own = {k: str(v) for k, v in labels.items()}
    base = {"alertname": rule, "cluster": "orders", "severity": severity, "problem": problem, "subject": subject}
    return Alert(
        rule=rule,
        labels={**base, **({"tree": tree} if tree else {}), **own},
        annotations={"summary": f"{rule} of {subject}", "impact": ""},
        state=AlertState.FIRING,
        active_at=active_at,
        value=1.0,
        fired_at=active_at + 30,
        last_true_at=NOW,
    )


def broker_down(broker: int = 2, rule: str = "KafkaBrokerDown") -> Alert:
    return alert(rule, problem="KafkaBrokerUnavailable", subject=f"broker/{broker}", broker=broker)
