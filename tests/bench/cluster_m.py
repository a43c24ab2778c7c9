"""The reference clusters: real brokers with many topics, partitions and groups, and a process that moves their offsets when told."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from confluent_kafka import Producer
from confluent_kafka.admin import NewTopic
from kafka import TopicPartition
from kafka.admin import KafkaAdminClient
from kafka.errors import KafkaError
from kafka.structs import OffsetAndMetadata

import demo
from demo import kafka
from demo.runtime import DEFAULT_VERSION

ROOT = Path(__file__).parent.parent.parent
TOPICS_PER_REQUEST = 100
FIRST_RECORDS = 10
"""Records of each partition before the first step."""
LIMIT_S = 180.0
COMMITTERS = 4
"""Commits wait for replication, and a broker takes a connection's requests one by one."""


@dataclass(frozen=True, slots=True)
class Size:
    """How large a cluster is; every group has commits on ``topics_per_group`` topics, all their partitions. Replication factor 2, three brokers."""

    name: str
    topics: int
    partitions: int
    groups: int
    topics_per_group: int
    heap_mb: int

    @property
    def all_partitions(self) -> int:
        return self.topics * self.partitions

    @property
    def group_partitions(self) -> int:
        return self.groups * self.topics_per_group * self.partitions

    def topic(self, number: int) -> str:
        return f"orders-{number % self.topics:04d}"

    def topics_of(self, group: int) -> list[str]:
        return [self.topic(group * self.topics_per_group + i) for i in range(self.topics_per_group)]

    def __str__(self) -> str:
        return (
            f"{self.topics} topics × {self.partitions} partitions, {self.groups} groups, "
            f"{self.group_partitions:,} group-partitions"
        )


SIZES = {
    "M": Size("M", topics=500, partitions=10, groups=200, topics_per_group=5, heap_mb=1536),
    "S": Size("S", topics=50, partitions=6, groups=20, topics_per_group=5, heap_mb=512),
}


@contextmanager
def running(size: Size, version: str = DEFAULT_VERSION) -> Iterator[demo.Cluster]:
    """The cluster, filled and at rest; raises DemoUnavailable where no brokers can be had."""
    # One in-sync replica is enough, so that RF 2 leaves a margin and the cluster counts as healthy.
    with demo.start(heap_mb=size.heap_mb, version=version, overrides={"min.insync.replicas": "1"}) as cluster:
        create_topics(cluster, size)
        yield cluster


def create_topics(cluster: demo.Cluster, size: Size) -> None:
    """All topics in few requests, until every replica of them is in sync."""
    client = kafka.admin(cluster.client_settings())
    names = [size.topic(i) for i in range(size.topics)]
    for at in range(0, len(names), TOPICS_PER_REQUEST):
        wanted = [NewTopic(n, size.partitions, 2) for n in names[at : at + TOPICS_PER_REQUEST]]
        for future in client.create_topics(wanted, request_timeout=60, operation_timeout=60).values():
            future.result()
    # Each broker is asked itself: on a busy machine one may be behind the others.
    for broker in cluster.broker_ids:
        address = cluster.address(broker)
        cluster.wait_until(partial(knows, address, size.topics), LIMIT_S, f"broker {broker} knows all topics")
    cluster.wait_healthy(LIMIT_S)


def knows(address: str, topics: int) -> bool:
    return len(kafka.topics(address)) >= topics


class Mover:
    """A process beside ours that writes a record to every partition and commits for every group, once for each ``step``: so it costs us nothing."""

    def __init__(self, cluster: demo.Cluster, size: Size) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.cluster_m", size.name, cluster.bootstrap_servers],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        self.wait()

    def step(self) -> None:
        """Move every end offset and every commit; back when all are acknowledged."""
        self.begin()
        self.wait()

    def begin(self) -> None:
        """The same without waiting."""
        assert self._process.stdin is not None
        self._process.stdin.write("step\n")
        self._process.stdin.flush()

    def wait(self) -> None:
        """Until the step that was begun is done."""
        assert self._process.stdout is not None
        answer = self._process.stdout.readline()
        if answer != "done\n":
            raise RuntimeError(f"the process that moves offsets ended with {self._process.wait(10)}")

    def __enter__(self) -> Mover:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


# --- what runs in that process


def move(size: Size, bootstrap_servers: str) -> None:
    """Fill the cluster, say done, then a step for each line of standard input."""
    patience = {"topic.metadata.propagation.max.ms": int(LIMIT_S * 1000), "message.timeout.ms": int(LIMIT_S * 1000)}
    # librdkafka sends a request for each partition, and a broker takes a connection's requests one by one: none may wait for replication.
    producer = Producer({**kafka.client_settings(bootstrap_servers), **patience, "linger.ms": 50, "acks": "1"})
    admins = [KafkaAdminClient(bootstrap_servers=bootstrap_servers.split(",")) for _ in range(COMMITTERS)]
    ends = FIRST_RECORDS
    produce(producer, size, FIRST_RECORDS)
    commit_all(admins, size, ends)
    print("done", flush=True)
    for _ in sys.stdin:
        produce(producer, size, 1)
        ends += 1
        commit_all(admins, size, ends, surely=False)
        print("done", flush=True)


def produce(producer: Producer, size: Size, count: int) -> None:
    """``count`` records to every partition."""
    failed: list[str] = []

    def delivered(error: object, _: object) -> None:
        if error is not None:
            failed.append(str(error))

    for number in range(size.topics):
        for partition in range(size.partitions):
            for _ in range(count):
                producer.produce(size.topic(number), b"x" * 100, partition=partition, on_delivery=delivered)
        producer.poll(0)
    if producer.flush(LIMIT_S) or failed:
        raise RuntimeError(f"{len(failed)} records were not taken, for example: {failed[:1]}")


def commit_all(admins: Sequence[KafkaAdminClient], size: Size, ends: int, *, surely: bool = True) -> None:
    """Commit for every group, some way behind the end. ``surely`` reads it back: a commit to a coordinator that still loads can be lost without an error."""
    missing = list(range(size.groups))
    deadline = time.monotonic() + LIMIT_S
    while missing:
        with ThreadPoolExecutor(len(admins)) as pool:
            shares = [missing[i :: len(admins)] for i in range(len(admins))]
            list(pool.map(partial(commit_some, size=size, ends=ends), admins, shares))
        missing = [g for g, held in enumerate(committed(admins[0], size)) if held == 0] if surely else []
        if missing and time.monotonic() > deadline:
            raise RuntimeError(f"{len(missing)} groups do not keep their commits")


def commit_some(admin: KafkaAdminClient, groups: Sequence[int], size: Size, ends: int) -> None:
    for group in groups:
        commit(admin, size, group, ends)


def commit(admin: KafkaAdminClient, size: Size, group: int, ends: int) -> None:
    offset = OffsetAndMetadata(ends - group % FIRST_RECORDS, "", -1)
    offsets = {TopicPartition(t, p): offset for t in size.topics_of(group) for p in range(size.partitions)}
    deadline = time.monotonic() + LIMIT_S
    while True:
        try:
            admin.alter_group_offsets(group_name(group), offsets)
            return
        except KafkaError:
            # The offsets topic is made at the first commit; its coordinators load.
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def committed(admin: KafkaAdminClient, size: Size) -> Sequence[int]:
    """How many partitions each group has commits of."""
    try:
        held = admin.list_group_offsets([group_name(g) for g in range(size.groups)])
    except KafkaError:
        return [0] * size.groups
    return [len(held.get(group_name(g), {})) for g in range(size.groups)]


def group_name(number: int) -> str:
    return f"billing-{number:04d}"


if __name__ == "__main__":
    move(SIZES[sys.argv[1]], sys.argv[2])
