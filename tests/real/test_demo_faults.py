"""The demo's faults on the shared cluster: each shows in Kafka's own view, and healing takes it away."""

from __future__ import annotations

import re

import pytest

from demo import Cluster, DemoError, faults, kafka, leftovers, traffic
from demo.state import Status

pytestmark = pytest.mark.real

CONFIG_COMMAND = "kafka.admin.ConfigCommand"
GROUP_COMMAND = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"


def committed(cluster: Cluster, group: str) -> int:
    """Sum of the group's committed offsets, as Kafka's own tool shows them; 0 before the first commit."""
    try:
        arguments = ("--bootstrap-server", cluster.live_bootstrap_servers, "--describe", "--offsets", "--group", group)
        answer = cluster.kafka_tool(GROUP_COMMAND, *arguments)
    except DemoError:
        return 0
    return sum(int(offset) for offset in re.findall(rf"^{group}\s+\S+\s+\d+\s+(\d+)", answer, re.MULTILINE))


def consumer_groups(cluster: Cluster) -> list[traffic.Group]:
    """Those whose offsets the tool for consumer groups shows."""
    return [group for group in traffic.groups(cluster) if group.protocol != "share"]


@pytest.mark.proof
def test_traffic_flows_in_all_groups_through_a_fault(busy_cluster: Cluster) -> None:
    before = {group.name: committed(busy_cluster, group.name) for group in consumer_groups(busy_cluster)}
    assert {"billing", "audit"} <= set(before)
    enough = {name: 100 if name == "audit" else 2000 for name in before}
    faults.break_(busy_cluster, "broker-killed")

    def all_went_on() -> bool:
        # More than what was in flight at the fault: they consume what was produced after it.
        return all(committed(busy_cluster, group) > offset + enough[group] for group, offset in before.items())

    busy_cluster.wait_until(all_went_on, 90, "all groups go on")
    assert not committed(busy_cluster, "nobody")


@pytest.mark.proof
def test_a_failed_log_dir_is_offline_for_kafka_and_comes_back(healthy_cluster: Cluster) -> None:
    details = faults.break_(healthy_cluster, "log-dir-failed", node=2)
    assert details["log_dir"] in faults.offline_log_dirs(healthy_cluster, 2)
    assert healthy_cluster.status(2) is Status.RUNNING
    assert "log-dir-failed" in healthy_cluster.state.broken
    assert faults.heal(healthy_cluster) == ["log-dir-failed"]
    assert faults.offline_log_dirs(healthy_cluster, 2) == []


@pytest.mark.proof
def test_a_lost_quorum_is_healed(healthy_cluster: Cluster) -> None:
    voters = [node.id for node in healthy_cluster.nodes if "controller" in node.roles]
    details = faults.break_(healthy_cluster, "quorum-lost", node=voters[-1])
    assert (details["survivor"], details["nodes"]) == (voters[-1], voters[:2])
    faults.heal(healthy_cluster, "quorum-lost")
    assert faults.active_controller(healthy_cluster) in healthy_cluster.node_ids


@pytest.mark.proof
def test_killing_the_controller_elects_another(healthy_cluster: Cluster) -> None:
    controller = faults.active_controller(healthy_cluster)
    assert faults.break_(healthy_cluster, "controller-killed")["nodes"] == [controller]
    healthy_cluster.wait_until(
        lambda: faults.active_controller(healthy_cluster) != controller, 60, "another controller leads"
    )


@pytest.mark.proof
def test_the_single_replica_topic_loses_its_leader_and_goes_when_healed(healthy_cluster: Cluster) -> None:
    faults.break_(healthy_cluster, "single-replica-topic")
    healthy_cluster.wait_until(
        lambda: f"{faults.SINGLE_REPLICA_TOPIC}-0" in kafka.under_replicated(healthy_cluster.live),
        60,
        "the topic is offline",
    )
    faults.heal(healthy_cluster)
    healthy_cluster.wait_until(
        lambda: faults.SINGLE_REPLICA_TOPIC not in kafka.topics(healthy_cluster.client_settings()),
        30,
        "the topic is gone",
    )


@pytest.mark.proof
@pytest.mark.since("4.0")
def test_a_stopped_group_commits_no_more_and_a_slow_one_runs(busy_cluster: Cluster) -> None:
    busy_cluster.wait_until(lambda: committed(busy_cluster, "billing") > 0, 60, "billing commits")
    faults.break_(busy_cluster, "group-stopped")
    faults.break_(busy_cluster, "group-behind")
    processes = busy_cluster.state.processes
    members = {group: traffic.find_group(busy_cluster, group).processes for group in ("billing", "warehouse")}
    assert {processes[name].status for name in members["billing"]} == {Status.STOPPED}
    assert {processes[name].status for name in members["warehouse"]} == {Status.RUNNING}
    assert processes["producer"].status is Status.RUNNING
    stood = committed(busy_cluster, "billing")
    others = committed(busy_cluster, "warehouse")
    busy_cluster.wait_until(lambda: committed(busy_cluster, "warehouse") > others, 60, "the slow group goes on")
    assert committed(busy_cluster, "billing") == stood
    assert sorted(faults.heal(busy_cluster)) == ["group-behind", "group-stopped"]
    busy_cluster.wait_until(lambda: committed(busy_cluster, "billing") > stood, 60, "billing goes on")


def test_a_transaction_that_was_left_open_is_aborted_when_healed(healthy_cluster: Cluster) -> None:
    def state() -> str:
        arguments = ("--bootstrap-server", healthy_cluster.live_bootstrap_servers, "list")
        told = healthy_cluster.kafka_tool("org.apache.kafka.tools.TransactionsCommand", *arguments)
        found = re.search(rf"^{leftovers.LEFT_ID}\s+\d+\s+\d+\s+(\w+)", told, re.MULTILINE)
        return found[1] if found else ""

    faults.break_(healthy_cluster, "hanging-transaction")
    assert state() == "Ongoing"
    faults.heal(healthy_cluster)
    healthy_cluster.wait_until(lambda: state() != "Ongoing", 30, "the transaction has ended", state)


@pytest.mark.proof
def test_throttles_stay_until_healed(healthy_cluster: Cluster) -> None:
    def throttles() -> int:
        found = 0
        for kind, name in (("brokers", "1"), ("topics", leftovers.THROTTLED_TOPIC)):
            arguments = ("--bootstrap-server", healthy_cluster.live_bootstrap_servers, "--entity-type", kind)
            told = healthy_cluster.kafka_tool(CONFIG_COMMAND, *arguments, "--entity-name", name, "--describe")
            found += len(re.findall(r"^\s+\w+\.replication\.throttled", told, re.MULTILINE))
        return found

    faults.break_(healthy_cluster, "throttle-left")
    assert throttles() == 4
    faults.heal(healthy_cluster)
    assert throttles() == 0


@pytest.mark.proof
def test_a_reassignment_runs_until_healed(healthy_cluster: Cluster) -> None:
    def moving() -> bool:
        arguments = ("--bootstrap-server", healthy_cluster.live_bootstrap_servers, "--list")
        return f"{leftovers.MOVED_TOPIC}-0" in healthy_cluster.kafka_tool(leftovers.REASSIGN_COMMAND, *arguments)

    details = faults.break_(healthy_cluster, "reassignment", node=1)
    assert details["target"] == 1
    assert moving()
    faults.heal(healthy_cluster)
    assert not moving()
    assert leftovers.MOVED_TOPIC not in kafka.topics(healthy_cluster.live)


def test_a_fault_cannot_be_caused_twice_nor_healed_when_absent(healthy_cluster: Cluster) -> None:
    faults.break_(healthy_cluster, "broker-hung", node=2)
    with pytest.raises(DemoError, match="heal it first"):
        faults.break_(healthy_cluster, "broker-hung", node=2)
    with pytest.raises(DemoError, match="node 2 is paused; choose one that runs"):
        faults.break_(healthy_cluster, "broker-killed", node=2)
    with pytest.raises(DemoError, match="broker-killed is not caused; caused are: broker-hung"):
        faults.heal(healthy_cluster, "broker-killed")
    with pytest.raises(DemoError, match="there is no fault 'flood'; there are: broker-killed"):
        faults.break_(healthy_cluster, "flood")
