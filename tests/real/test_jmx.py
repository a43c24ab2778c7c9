"""JMX of real brokers: values that agree with Kafka's own, and what a killed, a starting and a hung node look like."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping

import pytest

import demo
from exporter.facts.cluster import Role
from exporter.jmx.aggregate import active_controller, aggregate
from exporter.jmx.catalogue import DERIVED_FAMILIES, parse_version, shipped
from exporter.jmx.errors import JmxRefused, JmxTimeout
from exporter.jmx.facts import JmxNode
from exporter.jmx.gate import observe, plan_for
from exporter.jmx.jpype_transport import JpypeTransport
from exporter.jmx.transport import JmxAnswer, Target

pytestmark = pytest.mark.real

LIMIT_S = 60.0
DEADLINE_S = 5.0
BROKERS = "kafka_controller_kafkacontroller_activebrokercount"
# Families that only a fault, a quota or a recovery brings forth.
RARE = {
    # Kafka 3.9 has not these attributes of beans that it has.
    "kafka_server_raftmetrics_number_of_voters",
    "kafka_server_brokermetadatametrics_ignored_static_voters",
    "kafka_server_raftmetrics_election_latency_avg",
    "kafka_server_raftmetrics_election_latency_max",
    "kafka_server_raftmetrics_number_of_observers",
    "kafka_server_raftmetrics_uncommitted_voter_change",
    "kafka_server_raftmetrics_commit_latency_avg",
    "kafka_server_raftmetrics_commit_latency_max",
    "kafka_server_group_coordinator_metrics_partition_load_time_avg",
    "kafka_server_group_coordinator_metrics_partition_load_time_max",
}


class Watch:
    """Polls the cluster's nodes and keeps what each was last."""

    def __init__(self, addresses: Mapping[int, str]) -> None:
        self.addresses = addresses
        self.transport = JpypeTransport()
        self.nodes: dict[int, JmxNode] = {}
        self.answers: dict[int, JmxAnswer] = {}

    def poll(self, deadline: float = DEADLINE_S) -> dict[int, JmxNode]:
        """The nodes that answered this time."""
        targets = [Target(n, a, plan_for(shipped(), self.nodes.get(n))) for n, a in self.addresses.items()]
        self.answers = dict(self.transport.read(targets, deadline))
        answered = {}
        for node, answer in self.answers.items():
            if answer.error is None:
                answered[node] = self.nodes[node] = observe(shipped(), answer, self.nodes.get(node))
        return answered

    def all_in(self, nodes: Mapping[int, JmxNode]) -> bool:
        """Whether every node answered."""
        return set(nodes) == set(self.addresses)

    def until(self, condition: Callable[[dict[int, JmxNode]], bool], what: str) -> dict[int, JmxNode]:
        end = time.monotonic() + LIMIT_S
        while not condition(nodes := self.poll()):
            assert time.monotonic() < end, f"not within {LIMIT_S:g} s: {what}; {nodes}"
            time.sleep(0.2)
        return nodes


@pytest.fixture
def watch(healthy_cluster: demo.Cluster) -> Iterator[Watch]:
    made = Watch(healthy_cluster.jmx_targets)
    yield made
    made.transport.close()


NEW_COORDINATOR = (
    "background_thread_",
    "batch_",
    "consumer_group_",
    "event_processing_",
    "event_purgatory_",
    "event_queue_",
    "share_group_",
    "streams_group_",
    "thread_idle_",
)
"""What the bean group-coordinator-metrics tells of itself since the coordinator was written anew (Kafka 4.0)."""


def families_of(version: str) -> set[str]:
    """What all nodes of a Kafka version have."""
    specs = [s for s in shipped().specs if s.exists_in(parse_version(version)) and not s.optional]
    names = {c.family.name for s in specs for c in s.columns} | {f.name for f in DERIVED_FAMILIES}
    if parse_version(version) >= parse_version("4.0"):
        return names
    return {
        n for n in names if not n.removeprefix("kafka_server_group_coordinator_metrics_").startswith(NEW_COORDINATOR)
    }


def test_a_healthy_cluster(healthy_cluster: demo.Cluster, watch: Watch) -> None:
    nodes = watch.until(lambda n: watch.all_in(n) and all(x.ready for x in n.values()), "all nodes run")
    for node in nodes.values():
        assert node.roles == {Role(role) for role in healthy_cluster.node(node.node_id).roles}
        assert node.broker_state == (3 if Role.BROKER in node.roles else None)
        assert node.beans_missing == 0 and not watch.answers[node.node_id].failed
        assert node.beans_expected > (90 if Role.BROKER in node.roles else 30)
    nodes = watch.until(lambda n: active_controller(n.values()) is not None, "an active controller")
    assert len([n for n in nodes.values() if n.raft_state == "leader"]) == 1
    assert aggregate(nodes.values(), shipped().families()[BROKERS]) == 3
    assert {n.value(BROKERS) for n in nodes.values() if Role.CONTROLLER in n.roles} == {3}
    shown = {b.metric for n in nodes.values() for b in n.blocks()}
    assert families_of(healthy_cluster.version) - shown <= RARE
    brokers = [n for n in nodes.values() if Role.BROKER in n.roles]
    partitions = [n.value("kafka_server_replicamanager_partitioncount") for n in brokers]
    assert all(p is not None and p > 0 for p in partitions)


def test_a_killed_node_refuses_and_a_starting_one_tells_no_lies(healthy_cluster: demo.Cluster, watch: Watch) -> None:
    watch.until(watch.all_in, "all nodes")
    healthy_cluster.kill_node(3)
    others = watch.until(lambda n: 3 not in n, "a dead node")
    assert isinstance(watch.answers[3].error, JmxRefused) and set(others) == set(watch.addresses) - {3}
    healthy_cluster.start_node(3, wait=False)
    starting = 0
    end = time.monotonic() + LIMIT_S
    while not (node := watch.poll(5.0).get(3)) or not node.ready:
        assert time.monotonic() < end, "node 3 does not run again"
        if node is not None:
            starting += 1
            assert node.starting and not node.bean_lost
            assert node.value(BROKERS) is None
            assert node.value("kafka_server_replicamanager_partitioncount") is None
            assert node.value("jvm_memory_used_bytes", area="heap") is not None
        time.sleep(0.1)
    assert starting, "JMX opens long before the broker runs"
    # Only a controller counts brokers.
    assert (node.value(BROKERS) or 0) >= 2 or Role.CONTROLLER not in node.roles


def test_a_hung_node_harms_no_other(healthy_cluster: demo.Cluster, watch: Watch) -> None:
    watch.until(watch.all_in, "all nodes")
    healthy_cluster.pause_node(2)
    try:
        started = time.monotonic()
        answered = watch.poll(3.0)
        assert time.monotonic() - started < 3.5
        assert isinstance(watch.answers[2].error, JmxTimeout) and set(answered) == set(watch.addresses) - {2}
        assert set(watch.poll(3.0)) == set(watch.addresses) - {2}
    finally:
        healthy_cluster.resume_node(2)
    nodes = watch.until(lambda n: 2 in n and n[2].ready, "the node that woke")
    assert nodes[2].broker_state == 3
