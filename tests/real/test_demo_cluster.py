"""Each node of the demo can be stopped, killed, paused and started again, also by a process that does not own it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import demo
from demo import Cluster, DemoError, faults, kafka
from demo.cluster import python_path
from demo.state import Status

pytestmark = pytest.mark.real


def test_all_nodes_answer_under_their_own_id(healthy_cluster: Cluster) -> None:
    ids = frozenset(healthy_cluster.broker_ids)
    assert ids == {1, 2, 3}
    assert all(kafka.unfenced_brokers(healthy_cluster.client_settings(brokers=[node])) == ids for node in ids)
    assert len(set(healthy_cluster.jmx_targets.values())) == len(healthy_cluster.node_ids)


def test_a_node_that_was_stopped_comes_back_on_its_ports_and_gets_its_leaders_back(healthy_cluster: Cluster) -> None:
    address, alone = healthy_cluster.address(2), healthy_cluster.client_settings(brokers=[2])
    healthy_cluster.stop_node(2)
    assert healthy_cluster.status(2) is Status.STOPPED
    assert address not in healthy_cluster.live_bootstrap_servers
    with pytest.raises(kafka.NO_ANSWER):
        kafka.unfenced_brokers(alone)
    healthy_cluster.start_node(2)
    healthy_cluster.wait_until(lambda: 2 in kafka.unfenced_brokers(alone), 30, "it says that it is unfenced")
    healthy_cluster.wait_healthy()
    assert kafka.not_preferred(healthy_cluster.client_settings())
    faults.preferred_election(healthy_cluster)
    healthy_cluster.wait_until(
        lambda: not kafka.not_preferred(healthy_cluster.client_settings()), 60, "every leader is the preferred one"
    )


def test_a_paused_node_answers_again_when_resumed(healthy_cluster: Cluster) -> None:
    healthy_cluster.pause_node(3)
    assert healthy_cluster.status(3) is Status.PAUSED
    with pytest.raises(DemoError, match="node-3 is paused and cannot stop cleanly"):
        healthy_cluster.stop_node(3)
    healthy_cluster.resume_node(3)
    alone = healthy_cluster.client_settings(brokers=[3])
    healthy_cluster.wait_until(lambda: 3 in kafka.unfenced_brokers(alone), 30, "it says that it is unfenced")


def test_another_process_may_kill_and_start_nodes(healthy_cluster: Cluster) -> None:
    script = (
        "import sys, demo\nfrom pathlib import Path\ncluster = demo.load(Path(sys.argv[1]))\n"
        "cluster.kill_node(2)\nprint(cluster.status(2))\ncluster.start_node(2)\nprint(cluster.status(2))\n"
    )
    environment = {**os.environ, "PYTHONPATH": python_path()}
    done = subprocess.run(
        [sys.executable, "-c", script, str(healthy_cluster.folder)],
        capture_output=True,
        text=True,
        env=environment,
        check=True,
    )
    assert done.stdout.split() == ["killed", "running"]
    alone = healthy_cluster.client_settings(brokers=[2])
    healthy_cluster.wait_until(lambda: 2 in kafka.unfenced_brokers(alone), 30, "it says that it is unfenced")


def test_kafkas_own_tools_run_and_their_failures_are_told(healthy_cluster: Cluster) -> None:
    arguments = ("--bootstrap-server", healthy_cluster.bootstrap_servers)
    assert "orders" in healthy_cluster.kafka_tool("org.apache.kafka.tools.TopicCommand", *arguments, "--list").split()
    with pytest.raises(DemoError, match="TopicCommand ended with status 1"):
        healthy_cluster.kafka_tool(
            "org.apache.kafka.tools.TopicCommand", *arguments, "--describe", "--topic", "nowhere"
        )


def test_a_node_that_is_not_there_is_named(healthy_cluster: Cluster) -> None:
    with pytest.raises(demo.DemoError, match="there is no node 9; there are: 1, 2, 3"):
        healthy_cluster.kill_node(9)
