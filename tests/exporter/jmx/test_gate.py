"""What a node's answer may say: recorded answers of a running and a starting node, and nodes that broke."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from exporter.facts.cluster import Role
from exporter.jmx.aggregate import active_controller, aggregate
from exporter.jmx.catalogue import ACTIVE_CONTROLLER, BROKER_STATE, Aggregate, families, shipped
from exporter.jmx.facts import JmxNode
from exporter.jmx.gate import observe, plan_for
from exporter.jmx.join import JmxBlocks
from exporter.jmx.transport import JmxAnswer, Target
from tests.exporter.jmx.fake_transport import AttributeValues, FakeJmx, broker_beans
from tests.exporter.jmx.samples import NODE, changed, out_of_memory, recorded, without

RAFT = "kafka.server:type=raft-metrics"
BROKERS = "kafka_controller_kafkacontroller_activebrokercount"
ACTIVE = "kafka_controller_kafkacontroller_activecontrollercount"
SHUTDOWNS = "kafka_controller_kafkacontroller_controlledshutdownbrokercount"
BOTH = frozenset({Role.BROKER, Role.CONTROLLER})


def seen(answer: JmxAnswer, previous: JmxNode | None = None, known_broker: bool = False) -> JmxNode:
    return observe(shipped(), answer, previous, known_broker)


def controller_only(answer: JmxAnswer) -> JmxAnswer:
    """The answer as a node without a broker gives it: it has a broker's request metrics too, all but those of Produce."""
    specs = [(b.bean, shipped().by_bean[b.request]) for b in answer.beans]
    gone = [b for b, s in specs if s.role is Role.BROKER and s.request.bean == b and "request=Fetch" not in b]
    return without(answer, *gone)


def test_a_running_node() -> None:
    node = seen(recorded("running"))
    assert (node.broker_state, node.raft_state, node.version, node.roles) == (3, "follower", "4.3.1", BOTH)
    assert node.ready and not node.starting and not node.bean_lost
    assert (node.beans_expected, node.beans_missing) == (99, 0)
    assert node.value(BROKERS) == 3
    assert node.value("kafka_server_raftmetrics_current_state", current_state="follower") == 1
    assert node.value("jvm_memory_max_bytes", area="heap") == 389283840
    assert node.value("process_start_time_seconds") == pytest.approx(node.started_at)
    labels = {row["logDirectory"] for row, _ in node.samples("kafka_log_logmanager_logdirectoryoffline")}
    assert labels == {"/data/node-3/d1", "/data/node-3/d2"}
    assert all(
        row["broker"] == "3"
        for block in node.blocks()
        for row in [dict(zip(block.labels.names, block.labels.rows[0], strict=True))]
    )


def test_not_a_number_is_no_sample() -> None:
    node = seen(recorded("running"))
    assert node.samples("kafka_server_raftmetrics_commit_latency_avg") == ()
    assert not np.isnan(node.values).any()


def test_every_sample_has_the_labels_of_its_family() -> None:
    table = {f.name: f for f in families()}
    for block in seen(recorded("running")).blocks():
        assert block.labels.names == table[block.metric].labels
        assert len(set(block.labels.rows)) == len(block.labels.rows) == len(block.values)


@pytest.mark.parametrize("sample", ["youngest", "false_zeros", "starting"])
def test_a_starting_node_shows_only_what_is_true(sample: str) -> None:
    before = seen(recorded("running"))
    for previous in (None, before):
        node = seen(recorded(sample), previous)
        assert node.starting and not node.ready and not node.bean_lost
        shown = {b.metric for b in node.blocks()}
        false = {m for m in shown if m.startswith("kafka_")} - {
            "kafka_server_kafkaserver_brokerstate",
            "kafka_server_app_info",
            "kafka_server_app_info_starttimems",
        }
        assert all(m.startswith("kafka_server_raftmetrics_") for m in false)
        assert node.value("jvm_memory_used_bytes", area="heap") is not None
        assert node.value("klaxon_jmx_beans_missing") is None


def test_the_recorded_zeros_were_false() -> None:
    """The sample is worth something: without the gate it would say that no broker lives."""
    raw = {b.bean: b.values for b in recorded("false_zeros").beans}
    assert raw["kafka.controller:type=KafkaController,name=ActiveBrokerCount"] == (0.0,)
    assert raw["kafka.controller:type=KafkaController,name=LastAppliedRecordLagMs"][0] > 1e12  # type: ignore[operator]


@pytest.mark.parametrize("state", [0.0, 1.0, 2.0, 6.0, 7.0])
def test_only_state_3_opens_the_gate(state: float) -> None:
    node = seen(changed(recorded("running"), BROKER_STATE, state))
    assert node.value(BROKERS) is None
    assert node.value("kafka_server_kafkaserver_brokerstate") == state
    assert node.starting is (state < 3)


def test_the_active_controller_is_believed_before_its_broker_runs() -> None:
    answer = changed(changed(recorded("running"), BROKER_STATE, 1.0), ACTIVE_CONTROLLER, 1.0)
    node = seen(answer)
    assert node.starting
    assert node.value(ACTIVE) == 1
    assert node.value(BROKERS) == 3
    assert node.value("kafka_server_replicamanager_partitioncount") is None


def test_a_broker_out_of_memory() -> None:
    node = seen(out_of_memory(), seen(recorded("running")))
    assert node.bean_lost and not node.starting and not node.ready
    assert node.beans_missing > 0.7 * node.beans_expected
    assert node.value("klaxon_jmx_broker_bean_lost") == 1
    assert node.value("klaxon_jmx_beans_missing") == node.beans_missing
    assert node.value("jvm_memory_used_bytes", area="heap") == 153e6
    assert node.value(BROKERS) is None


def test_a_broker_that_nobody_saw_before_is_known_by_the_cluster() -> None:
    answer = without(recorded("running"), BROKER_STATE)
    assert not seen(answer).bean_lost
    assert seen(answer, known_broker=True).bean_lost


def test_a_controller_without_a_broker_counts_once_it_knows_a_leader() -> None:
    answer = controller_only(recorded("running"))
    young = changed(answer, RAFT, -1.0)
    node = seen(young)
    assert node.roles == {Role.CONTROLLER} and node.starting
    assert node.value(BROKERS) is None
    node = seen(answer, node)
    assert node.ready and not node.starting and node.value(BROKERS) == 3
    assert not node.samples("kafka_network_requestmetrics_totaltimems")
    assert (node.beans_missing, node.beans_expected) == (0, 29)
    lost_quorum = seen(young, node)
    assert lost_quorum.ready and lost_quorum.value(ACTIVE) == 0
    restarted = changed(young, "java.lang:type=Runtime", answer.taken_at * 1000)
    assert not seen(restarted, node).ready


def test_unknown_version_counts_no_bean_as_missing_that_not_every_version_has() -> None:
    answer = without(recorded("running"), "kafka.server:id=3,type=app-info")
    answer = without(answer, "kafka.server:type=KafkaRequestHandlerPool,name=BrokerRequestHandlerAvgIdlePercent")
    node = seen(answer)
    assert node.version is None and node.beans_missing == 0
    assert seen(answer, seen(recorded("running"))).beans_missing == 1


def test_columns_last_as_long_as_the_series() -> None:
    first = seen(recorded("running"))
    grown = changed(recorded("running"), "kafka.server:type=BrokerTopicMetrics,name=BytesInPerSec", 123.0)
    second = seen(grown, first)
    assert second.columns is first.columns
    assert second.value("kafka_server_brokertopicmetrics_bytesin_total") == 123
    electing = seen(
        changed(grown, RAFT, *next(b for b in grown.beans if b.bean == RAFT).values[:-1], "candidate"),
        second,
    )
    assert electing.columns is not second.columns
    assert electing.samples("kafka_server_raftmetrics_current_state") == (
        ({"broker": "3", "current_state": "candidate"}, 1.0),
    )
    assert seen(recorded("starting"), second).columns is not second.columns


def test_plans_narrow_once_a_node_is_known() -> None:
    catalogue = shipped()
    node = seen(recorded("running"))
    assert plan_for(catalogue, None) is catalogue.plan()
    assert plan_for(catalogue, node) is catalogue.plan("4.3.1", BOTH)
    assert (
        plan_for(catalogue, seen(without(recorded("running"), "kafka.server:id=3,type=app-info"))) is catalogue.plan()
    )


# --- several nodes


def fake_nodes(**changes: Mapping[str, AttributeValues]) -> dict[int, JmxNode]:
    fake = FakeJmx({n: broker_beans(n, leader=n == 2) for n in (1, 2, 3)})
    for node, beans in changes.items():
        fake.nodes[int(node[1:])].update(beans)
    targets = [Target(n, f"127.0.0.1:{n}", shipped().plan()) for n in fake.nodes]
    return {n: seen(replace(a, taken_at=1e6)) for n, a in fake.read(targets, 1).items()}


def test_blocks_of_all_nodes_keep_their_label_sets() -> None:
    nodes, join = fake_nodes(), JmxBlocks()
    first = {b.metric: b for b in join(nodes.values())}
    second = {b.metric: b for b in join(list(nodes.values()))}
    assert all(second[name].labels is block.labels for name, block in first.items())
    state = first["kafka_server_kafkaserver_brokerstate"]
    assert list(state.labels.rows) == [("1",), ("2",), ("3",)] and state.values.tolist() == [3, 3, 3]
    for name, block in first.items():
        expected = [(row, v) for n in nodes.values() for row, v in n.samples(name)]
        assert [
            (dict(zip(block.labels.names, r, strict=True)), v)
            for r, v in zip(block.labels.rows, block.values, strict=True)
        ] == expected
    fewer = {b.metric: b for b in join([nodes[1], nodes[3]])}
    assert list(fewer["kafka_server_kafkaserver_brokerstate"].labels.rows) == [("1",), ("3",)]
    assert join([]) == []


def test_controller_gauges_are_the_active_controllers() -> None:
    shutdowns = shipped().families()[SHUTDOWNS]
    bean = "kafka.controller:type=KafkaController,name=ControlledShutdownBrokerCount"
    nodes = fake_nodes(n1={bean: {"Value": 9.0}}, n2={bean: {"Value": 1.0}})
    assert active_controller(nodes.values()) is nodes[2]
    assert aggregate(nodes.values(), shutdowns) == 1
    assert aggregate([nodes[1], nodes[3]], shutdowns) == 9
    lag = {"kafka.controller:type=KafkaController,name=LastAppliedRecordLagMs": {"Value": 20_000.0}}
    behind = fake_nodes(n1={bean: {"Value": 9.0}, **lag}, n3=lag)
    assert aggregate([behind[1], behind[3]], shutdowns) is None
    assert aggregate([], shutdowns) is None


def test_of_two_active_controllers_the_higher_epoch_counts() -> None:
    old = {ACTIVE_CONTROLLER: {"Value": 1.0}}
    newer: dict[str, AttributeValues] = {
        "kafka.server:type=raft-metrics": {"current-state": "leader", "current-leader": 2.0, "current-epoch": 2.0}
    }
    nodes = fake_nodes(n1=old, n2=newer)
    assert active_controller(nodes.values()) is nodes[2]


def test_counters_are_never_aggregated() -> None:
    for family in families():
        if family.aggregate is Aggregate.NONE:
            with pytest.raises(ValueError, match="must not be aggregated"):
                aggregate([], family)
    nodes = fake_nodes()
    assert aggregate(nodes.values(), shipped().families()["kafka_server_replicamanager_underreplicatedpartitions"]) == 0
    assert seen(recorded("running")).node_id == NODE
