"""Steady traffic, each part a process of its own: producers, one of them transactional, and consumer groups of every type.

The processes run under the cluster's supervisor: they end with the cluster's owner and are started again when they die.
There is no streams group: an application of Kafka Streams is a Java machine more, and what it does is shown by the others too.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from demo import kafka, runtime, security
from demo.cluster import Cluster
from demo.errors import DemoError
from demo.state import Status

LEDGER = "ledger"
"""The topic of transactions."""

TOPICS = {"orders": 6, "payments": 3, "shipments": 3, LEDGER: 3}
"""Name to number of partitions."""

PRODUCED = tuple(name for name in TOPICS if name != LEDGER)
DEFAULT_RATE = 150.0
TRANSACTION_PROCESS = "producer-transactions"
MEMBERS = 2
"""Of each group but share groups, each a process of its own."""

MEMBER_PAUSE_S = 10.0
"""What a deploy gives each new member before it goes on to the next."""

SHARE_CONSUMER = "org.apache.kafka.tools.consumer.ConsoleShareConsumer"
NO_OUTPUT = "org.apache.kafka.tools.consumer.NoOpMessageFormatter"
SINCE = {"classic": (0, 0), "consumer": (4, 0), "share": (4, 2)}
"""Protocol to the first Kafka version in which it is ready for production (KIP-848, KIP-932)."""


@dataclass(frozen=True, slots=True)
class Group:
    """A group of the demo; `protocol` is classic, consumer (KIP-848) or share (KIP-932)."""

    name: str
    protocol: str
    topics: tuple[str, ...]
    read_committed: bool = False

    @property
    def processes(self) -> tuple[str, ...]:
        """Names of its members' processes. The members of a share group are Java machines: one does."""
        members = 1 if self.protocol == "share" else MEMBERS
        return tuple(f"group-{self.name}-{number}" for number in range(1, members + 1))


GROUPS = (
    Group("billing", "classic", ("orders", "payments")),
    Group("warehouse", "consumer", ("orders", "shipments")),
    Group("audit", "classic", (LEDGER,), read_committed=True),
    Group("dispatch", "share", ("shipments",)),
)


# What others call -----------------------------------------------------------------------------------------------------


def create_topics(cluster: Cluster) -> None:
    """Create the demo's topics where they are missing and wait until all their replicas are in sync."""
    existing = kafka.topics(cluster.live)
    for name, partitions in TOPICS.items():
        if name not in existing:
            kafka.create_topic(cluster.live, name, partitions)
    cluster.wait_healthy()


def start(cluster: Cluster, rate: float = DEFAULT_RATE) -> None:
    """Create the topics, then start the producers (`rate` messages a second over all topics but the ledger) and all groups."""
    create_topics(cluster)
    start_producer(cluster, "producer", PRODUCED, rate)
    _start_python(cluster, TRANSACTION_PROCESS, "transact", "--topics", LEDGER)
    for group in groups(cluster):
        start_group(cluster, group.name)


def stop(cluster: Cluster) -> None:
    """Stop every process of the traffic cleanly; no-op for those that do not run."""
    names = [name for name in cluster.state.processes if name.startswith(("producer", "group-"))]
    # All at once: leaving a group takes a while each.
    for name in names:
        cluster.process_operation("resume", name)
        cluster.process_operation("stop", name)
    for name in names:
        cluster.stop_process(name)


def start_producer(cluster: Cluster, process: str, topics: Sequence[str], rate: float, size: int | None = None) -> None:
    """Start a producer as a process of that name; no-op when it runs. `size` (bytes) makes all its records equally large."""
    sized = () if size is None else ("--size", str(size))
    _start_python(cluster, process, "produce", "--topics", ",".join(topics), "--rate", str(rate), *sized)


def groups(cluster: Cluster) -> tuple[Group, ...]:
    """The groups that this cluster's version can serve."""
    return tuple(g for g in GROUPS if runtime.number(cluster.version) >= SINCE[g.protocol])


def left_out(cluster: Cluster) -> tuple[Group, ...]:
    """The groups that this cluster's version is too old for."""
    return tuple(g for g in GROUPS if g not in groups(cluster))


def find_group(cluster: Cluster, name: str) -> Group:
    """A group by name; raises DemoError when the demo has no such group."""
    for group in groups(cluster):
        if group.name == name:
            return group
    raise DemoError(f"there is no group {name!r}; there are: {', '.join(g.name for g in groups(cluster))}")


def start_group(cluster: Cluster, name: str, max_rate: float | None = None) -> None:
    """Start a group's consumers; no-op for those that run. `max_rate` (messages a second) makes them too slow on purpose."""
    group = find_group(cluster, name)
    for process in group.processes:
        _start_member(cluster, group, process, max_rate)


def stop_group(cluster: Cluster, name: str) -> None:
    """Stop a group's consumers cleanly: they leave the group; its committed offsets stay."""
    for process in find_group(cluster, name).processes:
        cluster.stop_process(process)


def deploy_group(cluster: Cluster, name: str) -> None:
    """Stop and start a group's consumers one by one, as the deploy of a new version does."""
    group = find_group(cluster, name)
    for process in group.processes:
        cluster.stop_process(process)
        _start_member(cluster, group, process)
        time.sleep(MEMBER_PAUSE_S)


def add_member(cluster: Cluster, name: str) -> str:
    """A further consumer joins a group that runs; returns its process, which `Cluster.stop_process` ends."""
    group = find_group(cluster, name)
    process = f"group-{group.name}-{len(group.processes) + 1}"
    _start_member(cluster, group, process)
    return process


def pause_group(cluster: Cluster, name: str) -> None:
    """Make a group's consumers hang (SIGSTOP): they stay members until their session ends."""
    for process in find_group(cluster, name).processes:
        cluster.process_operation("pause", process)


def resume_group(cluster: Cluster, name: str) -> None:
    """End `pause_group`."""
    for process in find_group(cluster, name).processes:
        cluster.process_operation("resume", process)


def _start_member(cluster: Cluster, group: Group, process: str, max_rate: float | None = None) -> None:
    if group.protocol == "share":
        _start_share_consumer(cluster, group, process)
        return
    slow = () if max_rate is None else ("--max-rate", str(max_rate / MEMBERS))
    committed = ("--read-committed",) if group.read_committed else ()
    arguments = ("--group", group.name, "--protocol", group.protocol, "--topics", ",".join(group.topics))
    _start_python(cluster, process, "consume", *arguments, *committed, *slow)


def _start_share_consumer(cluster: Cluster, group: Group, process: str) -> None:
    """librdkafka has no share consumer yet, so Kafka's own console tool is one."""
    config = cluster.secrets / security.TOOL_CONFIG
    arguments = ("--bootstrap-server", cluster.bootstrap_servers, "--topic", group.topics[0], "--group", group.name)
    let_in = ("--command-config", str(config)) if config.exists() else ()
    kafka_runtime = runtime.get(cluster.version)
    argv = kafka_runtime.command(
        SHARE_CONSUMER, *arguments, "--formatter", NO_OUTPUT, *let_in, jvm=("-Xmx64m", "-Xms16m")
    )
    _start(cluster, process, argv)


def _start_python(cluster: Cluster, process: str, *arguments: str) -> None:
    argv = [sys.executable, "-m", "demo.clients", *arguments, "--folder", str(cluster.folder)]
    _start(cluster, process, argv, python=True)


def _start(cluster: Cluster, process: str, argv: list[str], python: bool = False) -> None:
    known = cluster.state.processes.get(process)
    if known is not None and known.status is Status.RUNNING:
        return
    cluster.define_process(process, argv, python=python, keep_running=True)
    cluster.process_operation("start", process)
