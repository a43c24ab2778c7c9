"""Steady traffic: a producer with acks=all and two consumer groups, one classic and one of KIP-848, each a process of its own.

The processes run under the cluster's supervisor: they end with the cluster's owner and are started again when they die.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Event

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer

from demo import kafka, runtime
from demo.cluster import Cluster
from demo.errors import DemoError
from demo.state import Status

TOPICS = {"orders": 6, "payments": 3, "shipments": 3}
"""Name to number of partitions."""

DEFAULT_RATE = 150.0
TICK_S = 0.05
REPORT_S = 10.0
DELIVERY_LIMIT_MS = 30_000
BATCH = 100
MEMBERS = 2


@dataclass(frozen=True, slots=True)
class Group:
    """A consumer group of the demo; `protocol` is classic or consumer (KIP-848)."""

    name: str
    protocol: str
    topics: tuple[str, ...]

    @property
    def process(self) -> str:
        return f"group-{self.name}"


GROUPS = (
    Group("billing", "classic", ("orders", "payments")),
    Group("warehouse", "consumer", ("orders", "shipments")),
)


# What others call -----------------------------------------------------------------------------------------------------


def create_topics(cluster: Cluster) -> None:
    """Create the demo's topics where they are missing and wait until all their replicas are in sync."""
    existing = kafka.topics(cluster.live_bootstrap_servers)
    for name, partitions in TOPICS.items():
        if name not in existing:
            kafka.create_topic(cluster.live_bootstrap_servers, name, partitions)
    cluster.wait_healthy()


def start(cluster: Cluster, rate: float = DEFAULT_RATE) -> None:
    """Create the topics, then start the producer (`rate` messages a second over all topics) and all groups."""
    create_topics(cluster)
    start_producer(cluster, "producer", tuple(TOPICS), rate)
    for group in groups(cluster):
        start_group(cluster, group.name)


def stop(cluster: Cluster) -> None:
    """Stop every process of the traffic cleanly; no-op for those that do not run."""
    for name in cluster.state.processes:
        if name.startswith(("producer", "group-")):
            cluster.process_operation("resume", name)
            cluster.stop_process(name)


def start_producer(cluster: Cluster, process: str, topics: Sequence[str], rate: float) -> None:
    """Start a producer as a process of that name; no-op when it runs."""
    _start(cluster, process, "produce", "--topics", ",".join(topics), "--rate", str(rate))


def groups(cluster: Cluster) -> tuple[Group, ...]:
    """The groups that this cluster's version can serve: KIP-848 is production-ready from 4.0 on."""
    return tuple(g for g in GROUPS if g.protocol == "classic" or runtime.major(cluster.version) >= 4)


def find_group(cluster: Cluster, name: str) -> Group:
    """A group by name; raises DemoError when the demo has no such group."""
    for group in groups(cluster):
        if group.name == name:
            return group
    raise DemoError(f"there is no group {name!r}; there are: {', '.join(g.name for g in groups(cluster))}")


def start_group(cluster: Cluster, name: str, max_rate: float | None = None) -> None:
    """Start a group's consumers; no-op when they run. `max_rate` (messages a second) makes them too slow on purpose."""
    group = find_group(cluster, name)
    slow = () if max_rate is None else ("--max-rate", str(max_rate))
    arguments = ("--group", group.name, "--protocol", group.protocol, "--topics", ",".join(group.topics), *slow)
    _start(cluster, group.process, "consume", *arguments)


def stop_group(cluster: Cluster, name: str) -> None:
    """Stop a group's consumers cleanly: they leave the group; its committed offsets stay."""
    cluster.stop_process(find_group(cluster, name).process)


def pause_group(cluster: Cluster, name: str) -> None:
    """Make a group's consumers hang (SIGSTOP): they stay members until their session ends."""
    cluster.process_operation("pause", find_group(cluster, name).process)


def resume_group(cluster: Cluster, name: str) -> None:
    """End `pause_group`."""
    cluster.process_operation("resume", find_group(cluster, name).process)


def _start(cluster: Cluster, process: str, *arguments: str) -> None:
    known = cluster.state.processes.get(process)
    if known is not None and known.status is Status.RUNNING:
        return
    argv = [sys.executable, "-m", "demo.traffic", *arguments, "--bootstrap-servers", cluster.bootstrap_servers]
    cluster.define_process(process, argv, python=True, keep_running=True)
    cluster.process_operation("start", process)


# The processes --------------------------------------------------------------------------------------------------------


def produce(
    bootstrap_servers: str,
    topics: Sequence[str],
    rate: float,
    stopped: Event,
    monotonic: Callable[[], float] = time.monotonic,
) -> None:
    """Produce `rate` messages a second until stopped; what cannot be delivered is counted, and the flow goes on."""
    producer = Producer(
        {
            **kafka.client_settings(bootstrap_servers),
            "acks": "all",
            "enable.idempotence": True,
            "linger.ms": 5,
            "message.timeout.ms": DELIVERY_LIMIT_MS,
        }
    )
    counts = {"delivered": 0, "failed": 0}

    def delivered(error: KafkaError | None, _message: Message) -> None:
        counts["failed" if error else "delivered"] += 1

    report_due = monotonic() + REPORT_S
    last, owed = monotonic(), 0.0
    while not stopped.is_set():
        now = monotonic()
        # After a pause of this process the missed time is not made up for: that would be a burst.
        owed += rate * min(now - last, 1.0)
        last = now
        while owed >= 1:
            owed -= 1
            try:
                producer.produce(
                    random.choice(topics), key=f"{random.randrange(10_000)}", value=_payload(), on_delivery=delivered
                )
            except BufferError:
                counts["failed"] += 1
        producer.poll(TICK_S)
        if now >= report_due:
            print(f"delivered {counts['delivered']}, failed {counts['failed']}", flush=True)
            report_due = now + REPORT_S
    producer.flush(5)


def consume(
    bootstrap_servers: str,
    group: Group,
    max_rate: float | None,
    stopped: Event,
    monotonic: Callable[[], float] = time.monotonic,
) -> None:
    """Consume as two members of one group until stopped; `max_rate` bounds both together, in messages a second."""
    members = [_member(bootstrap_servers, group) for _ in range(MEMBERS)]
    consumed, report_due = 0, monotonic() + REPORT_S
    try:
        while not stopped.is_set():
            for member in members:
                batch = BATCH if max_rate is None else 1
                consumed += len(_take(member, batch))
                if max_rate is not None:
                    stopped.wait(1 / max_rate)
            if monotonic() >= report_due:
                print(f"consumed {consumed}", flush=True)
                report_due = monotonic() + REPORT_S
    finally:
        for member in members:
            member.close()


def _member(bootstrap_servers: str, group: Group) -> Consumer:
    member = Consumer(
        {
            **kafka.client_settings(bootstrap_servers),
            "group.id": group.name,
            "group.protocol": group.protocol,
            "auto.offset.reset": "earliest",
            "auto.commit.interval.ms": 1000,
        }
    )
    member.subscribe(list(group.topics))
    return member


def _take(member: Consumer, count: int) -> list[Message]:
    """Messages without errors; a fatal error ends the process, and the supervisor starts a new one."""
    messages = member.consume(count, TICK_S)
    for message in messages:
        error = message.error()
        if error is not None and error.fatal():
            raise KafkaException(error)
    return [message for message in messages if message.error() is None]


def _payload() -> bytes:
    return json.dumps(
        {"at": time.time(), "amount": random.randint(1, 500), "note": "x" * random.randint(50, 200)}
    ).encode()


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry of `python -m demo.traffic produce|consume`."""
    parser = argparse.ArgumentParser(prog="python -m demo.traffic", description=__doc__)
    roles = parser.add_subparsers(dest="role", required=True)
    producing, consuming = roles.add_parser("produce"), roles.add_parser("consume")
    for role in (producing, consuming):
        role.add_argument("--bootstrap-servers", required=True)
        role.add_argument("--topics", required=True, help="names, separated by commas")
    producing.add_argument("--rate", type=float, default=DEFAULT_RATE, help="messages a second over all topics")
    consuming.add_argument("--group", required=True)
    consuming.add_argument("--protocol", choices=("classic", "consumer"), default="classic")
    consuming.add_argument("--max-rate", type=float, help="at most so many messages a second")
    given = parser.parse_args(arguments)
    stopped = Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    signal.signal(signal.SIGINT, lambda *_: stopped.set())
    topics = tuple(given.topics.split(","))
    with contextlib.suppress(KeyboardInterrupt):
        if given.role == "produce":
            produce(given.bootstrap_servers, topics, given.rate, stopped)
        else:
            consume(given.bootstrap_servers, Group(given.group, given.protocol, topics), given.max_rate, stopped)


if __name__ == "__main__":
    main()
