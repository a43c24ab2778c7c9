"""The JMX transports on real brokers: the contract, the same values whichever way they come, and JMX with a password under TLS."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest

import demo
from demo.security import Security
from exporter.config import JmxConfig
from exporter.facts.cluster import Role
from exporter.jmx.access import OPEN
from exporter.jmx.aggregate import active_controller
from exporter.jmx.catalogue import shipped
from exporter.jmx.facts import JmxNode
from exporter.jmx.gate import observe, plan_for
from exporter.jmx.transport import JmxTransport, Target
from exporter.jmx.transports import TransportName, Transports
from tests.exporter.jmx.contract import JmxContract
from tests.exporter.jmx.java import wait_for

pytestmark = pytest.mark.real

DEADLINE_S = 20.0
STEADY = (
    "kafka_server_kafkaserver_brokerstate",
    "kafka_server_replicamanager_partitioncount",
    "kafka_server_app_info",
    "kafka_controller_kafkacontroller_activecontrollercount",
    "kafka_controller_kafkacontroller_globaltopiccount",
    "kafka_server_metadataloader_finalizedlevel",
    "kafka_log_logmanager_logdirectoryoffline",
    "kafka_server_raftmetrics_current_epoch",
    "kafka_server_raftmetrics_current_state",
    "kafka_server_raftmetrics_number_of_voters",
    "kafka_coordinator_group_groupmetadatamanager_numgroups",
    "kafka_server_group_coordinator_metrics_num_partitions",
    "kafka_network_requestmetrics_totaltimems",
    "jvm_memory_max_bytes",
    "process_max_fds",
    "process_start_time_seconds",
)


@pytest.fixture
def transports() -> Iterator[Transports]:
    made = Transports(shipped())
    yield made
    made.close()


class _OnBrokers(JmxContract):
    deadline = 10.0
    name: TransportName

    @pytest.fixture
    def transport(self, transports: Transports) -> JmxTransport:
        return transports.get(self.name, OPEN)

    @pytest.fixture
    def address(self, cluster: demo.Cluster) -> str:
        return next(iter(cluster.jmx_targets.values()))


class TestJpype(_OnBrokers):
    name = "jpype"


class TestJmxQuery(_OnBrokers):
    name = "jmxquery"


@pytest.mark.proof
class TestPrometheus(_OnBrokers):
    name = "prometheus"

    @pytest.fixture
    def address(self, agents: demo.Cluster) -> str:
        return agents.jmx_exporter_targets[1]


@pytest.fixture(scope="module")
def agents() -> Iterator[demo.Cluster]:
    """A small cluster whose nodes run the jmx_exporter agent."""
    try:
        started = demo.start(nodes=1, jmx_exporter=True)
    except demo.DemoUnavailable as reason:
        pytest.skip(f"no brokers can be had: {reason}")
    with started:
        yield started


def poll(transport: JmxTransport, config: JmxConfig, nodes: dict[int, JmxNode]) -> dict[int, JmxNode]:
    """The nodes after one more read; every one must answer."""
    targets = [Target(n, a, plan_for(shipped(), nodes.get(n)), config.access) for n, a in config.targets.items()]
    for node, answer in transport.read(targets, DEADLINE_S).items():
        if answer.error is None:
            nodes[node] = observe(shipped(), answer, nodes.get(node))
        else:
            nodes.pop(node, None)
            ERRORS[node] = str(answer.error)
    return nodes


ERRORS: dict[int, str] = {}
"""What each node failed with last, for messages."""


def ready(transport: JmxTransport, config: JmxConfig) -> dict[int, JmxNode]:
    """All nodes once they can be believed."""
    nodes: dict[int, JmxNode] = {}

    def all_ready() -> bool:
        poll(transport, config, nodes)
        return len(nodes) == len(config.targets) and all(n.ready for n in nodes.values())

    wait_for(all_ready, "all nodes are ready")
    return poll(transport, config, nodes)


def steady(nodes: Mapping[int, JmxNode]) -> dict[tuple[object, ...], float]:
    """What does not change while nothing happens; of histograms that there are any."""
    found: dict[tuple[object, ...], float] = {}
    for node, facts in nodes.items():
        for metric in STEADY:
            for labels, value in facts.samples(metric):
                known = 1.0 if metric.endswith("timems") else value
                found[node, metric, *sorted(labels.items())] = known
    return found


@pytest.mark.proof
def test_one_node_by_three_ways(agents: demo.Cluster, transports: Transports) -> None:
    by_way = {}
    for name, targets in (
        ("jpype", agents.jmx_targets),
        ("jmxquery", agents.jmx_targets),
        ("prometheus", agents.jmx_exporter_targets),
    ):
        config = JmxConfig(transport=name, targets=targets)  # type: ignore[arg-type]
        by_way[name] = ready(transports.get(config.transport, config.access), config)
    told = steady(by_way["jpype"])
    assert {key[1] for key in told} == set(STEADY)
    assert steady(by_way["jmxquery"]) == told
    assert steady(by_way["prometheus"]) == pytest.approx(told)
    for nodes in by_way.values():
        assert nodes[1].beans_missing == 0 and nodes[1].value("klaxon_jmx_beans_untold") == 0


@pytest.mark.proof
def test_separate_controllers_with_a_password_under_tls(transports: Transports) -> None:
    try:
        started = demo.start(nodes=2, controllers=3, security=Security(jmx_password=True, jmx_tls=True))
    except demo.DemoUnavailable as reason:
        pytest.skip(f"no brokers can be had: {reason}")
    with started as cluster:
        config = JmxConfig.model_validate(cluster.klaxon_jmx)
        assert set(config.targets) == {1, 2, 101, 102, 103} and config.access.tls is not None
        transport = transports.get(config.transport, config.access)
        nodes = ready(transport, config)
        for node, facts in nodes.items():
            assert facts.roles == {Role.BROKER if node < 100 else Role.CONTROLLER}
            assert facts.broker_state == (3 if node < 100 else None)
            assert not facts.bean_lost and facts.beans_missing == 0 and facts.version == cluster.version
        wait_for(
            lambda: active_controller(poll(transport, config, nodes).values()) is not None, "a controller is active"
        )
        active = active_controller(nodes.values())
        assert active is not None and active.node_id > 100 and active.raft_state == "leader"
        assert active.value("kafka_controller_kafkacontroller_activebrokercount") == 2
        assert {nodes[n].raft_state for n in (1, 2)} == {"observer"}
        # A controller that starts again says nothing of Kafka until it knows the quorum's leader.
        other = next(n for n in cluster.node_ids if n > 100 and n != active.node_id)
        cluster.kill_node(other)
        wait_for(lambda: other not in poll(transport, config, nodes), "a killed controller")
        cluster.start_node(other, wait=False)
        seen: list[JmxNode] = []

        def back() -> bool:
            facts = poll(transport, config, nodes).get(other)
            if facts is not None:
                seen.append(facts)
            return facts is not None and facts.ready

        wait_for(back, "the controller that came back", 90, lambda: (ERRORS, seen[-1:], cluster.log_tail(other)))
        for facts in seen:
            assert Role.BROKER not in facts.roles
            shown = facts.value("kafka_controller_kafkacontroller_activebrokercount")
            assert shown == 2 if facts.ready else shown is None


del _OnBrokers, JmxContract
