"""Named faults: each breaks a running demo cluster in one known way and can be healed; what is broken stands in state.json."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo import kafka, leftovers, traffic
from demo.cluster import Cluster
from demo.errors import DemoError
from demo.settings import HOST
from demo.state import Status

Details = dict[str, Any]
SINGLE_REPLICA_TOPIC = "unreplicated"
SINGLE_REPLICA_PRODUCER = "producer-unreplicated"
SINGLE_REPLICA_RATE = 10.0
STOPPED_GROUP = "billing"
SLOW_RATE = 5.0
CONTROLLER_LIMIT_S = 60.0
CONTROLLER_ATTEMPT_S = 20.0
QUORUM_COMMAND = "org.apache.kafka.tools.MetadataQuorumCommand"
LOG_DIR_LIMIT_S = 30.0


@dataclass(frozen=True, slots=True)
class Fault:
    """A way to break the cluster. `break_` takes the cluster and a node or None and returns what `heal` needs.

    `await_effect` waits, where that takes a moment, until Kafka itself has noticed.
    """

    name: str
    description: str
    break_: Callable[[Cluster, int | None], Details]
    heal: Callable[[Cluster, Details], None]
    await_effect: Callable[[Cluster, Details], None] = lambda _cluster, _details: None


# What others call -----------------------------------------------------------------------------------------------------


def break_(cluster: Cluster, name: str, node: int | None = None, clock: Callable[[], float] = time.time) -> Details:
    """Cause a fault and note it; returns what was done (node ids and the like, `at` in Unix seconds).

    Raises DemoError for an unknown fault, one that stands already, or one that the cluster's state does not allow.
    """
    fault = find(name)
    if name in cluster.state.broken:
        raise DemoError(f"{name} is caused already; heal it first")
    details = {"at": clock(), **fault.break_(cluster, node)}
    # Noted first: what is broken can be healed even if its effect never shows.
    cluster.mark_broken(name, details)
    fault.await_effect(cluster, details)
    return details


def heal(cluster: Cluster, name: str | None = None) -> list[str]:
    """Undo one fault, or all of them and whatever else is down; waits until the cluster is healthy. Returns what was healed."""
    broken = cluster.state.broken
    if name is not None and find(name).name not in broken:
        raise DemoError(f"{name} is not caused; caused are: {', '.join(broken) or 'none'}")
    wanted = list(broken) if name is None else [name]
    # Nodes first, all at once: topics and groups can be put right only where there is a quorum.
    if name is None:
        revive_nodes(cluster)
    for fault in wanted:
        FAULTS[fault].heal(cluster, broken[fault])
        cluster.mark_healed(fault)
    if not cluster.state.broken:
        cluster.wait_healthy()
    return wanted


def find(name: str) -> Fault:
    """A fault by name; raises DemoError that lists the known ones."""
    try:
        return FAULTS[name]
    except KeyError:
        raise DemoError(f"there is no fault {name!r}; there are: {', '.join(FAULTS)}") from None


def revive_nodes(cluster: Cluster) -> list[int]:
    """Resume every paused node and start every one that is down, together; returns their ids."""
    paused = [n for n in cluster.node_ids if cluster.status(n) is Status.PAUSED]
    down = [n for n in cluster.node_ids if not cluster.status(n).alive]
    for node in paused:
        cluster.resume_node(node, wait=False)
    cluster.start_nodes(down + paused)
    return paused + down


def active_controller(cluster: Cluster, limit: float = CONTROLLER_LIMIT_S) -> int:
    """Node id of the quorum's leader, asked of a controller itself (a broker would hand out any live broker's id).

    Raises DemoError when no leader is known within `limit` seconds.
    """
    running = [n for n in cluster.nodes if "controller" in n.roles and cluster.status(n.id) is Status.RUNNING]
    addresses = ",".join(f"{HOST}:{node.ports['CONTROLLER']}" for node in running)
    if not running:
        raise DemoError("no controller runs")
    arguments = ("--bootstrap-controller", addresses, "describe", "--status")
    deadline = time.monotonic() + limit
    while True:
        try:
            # Asked while there is no leader, the controllers keep the answer back; so ask anew rather than wait.
            answer = cluster.kafka_tool(QUORUM_COMMAND, *arguments, limit=CONTROLLER_ATTEMPT_S)
        except DemoError as error:
            if time.monotonic() > deadline:
                raise DemoError(f"no active controller within {limit:.0f} s: {error}") from error
            continue
        if found := re.search(r"LeaderId:\s+(\d+)", answer):
            return int(found[1])
        raise DemoError(f"the quorum's status names no leader: {answer}")


def rolling_restart(cluster: Cluster) -> None:
    """Restart node after node, each only when the cluster is healthy again, as an operator would."""
    for node in cluster.node_ids:
        cluster.wait_healthy()
        cluster.restart_node(node)
    cluster.wait_healthy()


def preferred_election(cluster: Cluster) -> None:
    """Give every partition's leadership back to its preferred replica where that one is in sync."""
    arguments = ("--bootstrap-server", cluster.live_bootstrap_servers, "--election-type", "preferred")
    cluster.kafka_tool("org.apache.kafka.tools.LeaderElectionCommand", *arguments, "--all-topic-partitions")


# Faults ---------------------------------------------------------------------------------------------------------------


def _running(cluster: Cluster, node: int) -> int:
    if cluster.status(node) is not Status.RUNNING:
        raise DemoError(f"node {node} is {cluster.status(node)}; choose one that runs")
    return node


def _ordinary(cluster: Cluster, node: int | None) -> int:
    """The broker that was asked for, or a running one that is not the active controller: that is a fault of its own."""
    if node is not None and "broker" not in cluster.node(node).roles:
        raise DemoError(f"node {node} is no broker; there are: {', '.join(map(str, cluster.broker_ids))}")
    if node is not None:
        return _running(cluster, node)
    controller = active_controller(cluster)
    candidates = cluster.live_brokers
    return next((n for n in candidates if n != controller), candidates[0])


def _kill(cluster: Cluster, node: int | None) -> Details:
    victim = _ordinary(cluster, node)
    cluster.kill_node(victim)
    return {"nodes": [victim]}


def _hang(cluster: Cluster, node: int | None) -> Details:
    victim = _ordinary(cluster, node)
    cluster.pause_node(victim)
    return {"nodes": [victim]}


def _stop(cluster: Cluster, node: int | None) -> Details:
    victim = _ordinary(cluster, node)
    cluster.stop_node(victim)
    return {"nodes": [victim]}


def _kill_controller(cluster: Cluster, node: int | None) -> Details:
    controller = active_controller(cluster)
    if node not in (None, controller):
        raise DemoError(f"the active controller is node {controller}, not {node}")
    cluster.kill_node(controller)
    return {"nodes": [controller]}


def _lose_quorum(cluster: Cluster, node: int | None) -> Details:
    """Kill just as many controllers as it takes; `node` is one that stays."""
    voters = [n.id for n in cluster.nodes if "controller" in n.roles]
    if node is not None and node not in voters:
        raise DemoError(f"node {node} is no controller; there are: {voters}")
    survivor = _running(cluster, voters[0] if node is None else node)
    majority = len(voters) // 2 + 1
    if majority == len(voters):
        raise DemoError(f"with {len(voters)} controllers none would survive; the fault needs at least three")
    alive = [n for n in voters if n != survivor and cluster.status(n).alive]
    down = len(voters) - 1 - len(alive)
    victims = alive[: max(0, majority - down)]
    for victim in victims:
        cluster.kill_node(victim)
    return {"nodes": victims, "survivor": survivor}


def _start_nodes(cluster: Cluster, details: Details) -> None:
    cluster.start_nodes(details["nodes"])


def _resume_nodes(cluster: Cluster, details: Details) -> None:
    for node in details["nodes"]:
        cluster.resume_node(node)


def _fail_log_dir(cluster: Cluster, node: int | None) -> Details:
    """Take the second log dir away: the next checkpoint's write fails, and Kafka takes the directory offline."""
    victim = _ordinary(cluster, node)
    log_dir = Path(cluster.node(victim).log_dirs[-1])
    away = log_dir.with_name(log_dir.name + ".lost")
    log_dir.rename(away)
    return {"nodes": [victim], "log_dir": str(log_dir), "moved_to": str(away)}


def _await_offline_log_dir(cluster: Cluster, details: Details) -> None:
    log_dir, (node,) = details["log_dir"], details["nodes"]
    cluster.wait_until(
        lambda: log_dir in offline_log_dirs(cluster, node), LOG_DIR_LIMIT_S, f"{log_dir} is offline on node {node}"
    )


def _restore_log_dir(cluster: Cluster, details: Details) -> None:
    away, log_dir = Path(details["moved_to"]), Path(details["log_dir"])
    (node,) = details["nodes"]
    # Kafka takes a directory back at a start only.
    cluster.stop_node(node)
    if away.exists():
        away.rename(log_dir)
    cluster.start_node(node)


def offline_log_dirs(cluster: Cluster, node: int) -> list[str]:
    """The log dirs of a broker that DescribeLogDirs answers with an error (56, KAFKA_STORAGE_ERROR)."""
    arguments = ("--bootstrap-server", cluster.live_bootstrap_servers, "--describe", "--broker-list", str(node))
    return kafka.failed_log_dirs(cluster.kafka_tool("org.apache.kafka.tools.LogDirsCommand", *arguments))


def _kill_single_replica(cluster: Cluster, node: int | None) -> Details:
    """A topic of which one broker holds the only replica, with somebody who produces to it; then that broker dies."""
    victim = _ordinary(cluster, node)
    kafka.create_topic(cluster.live, SINGLE_REPLICA_TOPIC, assignment=[[victim], [victim]])
    traffic.start_producer(cluster, SINGLE_REPLICA_PRODUCER, [SINGLE_REPLICA_TOPIC], SINGLE_REPLICA_RATE)
    cluster.kill_node(victim)
    return {"nodes": [victim], "topic": SINGLE_REPLICA_TOPIC}


def _heal_single_replica(cluster: Cluster, details: Details) -> None:
    cluster.start_nodes(details["nodes"])
    cluster.stop_process(SINGLE_REPLICA_PRODUCER)
    kafka.delete_topic(cluster.live, details["topic"])


def _stop_group(cluster: Cluster, _node: int | None) -> Details:
    _needs_traffic(cluster, STOPPED_GROUP)
    traffic.stop_group(cluster, STOPPED_GROUP)
    return {"group": STOPPED_GROUP}


def _start_group(cluster: Cluster, details: Details) -> None:
    traffic.start_group(cluster, details["group"])


def _slow_group(cluster: Cluster, _node: int | None) -> Details:
    group = _needs_traffic(cluster, _slow_candidate(cluster))
    traffic.stop_group(cluster, group)
    traffic.start_group(cluster, group, max_rate=SLOW_RATE)
    return {"group": group}


def _slow_candidate(cluster: Cluster) -> str:
    """Not the group that `group-stopped` stops, where the version has another."""
    return next((g.name for g in traffic.groups(cluster) if g.protocol == "consumer"), STOPPED_GROUP)


def _restart_group(cluster: Cluster, details: Details) -> None:
    traffic.stop_group(cluster, details["group"])
    traffic.start_group(cluster, details["group"])


def _needs_traffic(cluster: Cluster, group: str) -> str:
    processes = cluster.state.processes
    members = [processes.get(name) for name in traffic.find_group(cluster, group).processes]
    if not all(member is not None and member.status is Status.RUNNING for member in members):
        raise DemoError(f"group {group} does not run; start the traffic first")
    return group


FAULTS = {
    fault.name: fault
    for fault in (
        Fault("broker-killed", "One broker dies at once (SIGKILL).", _kill, _start_nodes),
        Fault("broker-hung", "One broker hangs: its ports are open, nothing answers (SIGSTOP).", _hang, _resume_nodes),
        Fault("broker-stopped", "One broker is stopped cleanly and stays down.", _stop, _start_nodes),
        Fault("controller-killed", "The active controller dies at once (SIGKILL).", _kill_controller, _start_nodes),
        Fault("quorum-lost", "So many controllers die that no quorum is left.", _lose_quorum, _start_nodes),
        Fault(
            "log-dir-failed",
            "One log dir of a broker fails with I/O errors.",
            _fail_log_dir,
            _restore_log_dir,
            _await_offline_log_dir,
        ),
        Fault(
            "single-replica-topic",
            "The broker with the only replica of a topic dies.",
            _kill_single_replica,
            _heal_single_replica,
        ),
        Fault(
            "group-stopped",
            "All consumers of one group are stopped while producing goes on.",
            _stop_group,
            _start_group,
        ),
        Fault("group-behind", "The consumers of one group are slower than the producers.", _slow_group, _restart_group),
        Fault(
            "hanging-transaction",
            "A producer is killed inside an open transaction.",
            leftovers.leave_transaction,
            leftovers.end_transaction,
        ),
        Fault(
            "throttle-left",
            "Replication throttles are set and left behind.",
            leftovers.leave_throttles,
            leftovers.remove_throttles,
        ),
        Fault(
            "reassignment",
            "A throttled reassignment runs and does not end.",
            leftovers.start_reassignment,
            leftovers.cancel_reassignment,
        ),
    )
}
"""Every fault by its name."""
