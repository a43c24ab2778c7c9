"""Healthy operations on real brokers: restarts, topics that come and go, moves, deploys, bursts; nobody is paged."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial

from demo import Cluster, faults, kafka, leftovers, traffic
from tests.proof.report import Row
from tests.proof.stage import Stage, attempted, stage

AFTERWARDS = 90.0
"""Seconds after the operation in which nothing may come either: longer than any `for` of a fast rule with its settle."""
TOPICS = 10
TOPICS_LIVE_S = 30.0
"""Long enough for every collector to see them."""

MOVED_TOPIC = "relocated"
MOVED_RECORDS = 60_000
MOVE_RATE = 1_000_000
"""Bytes a second and broker: with three brokers, of which each gets a third of the records of 1 kB, a move of at least 20 s."""

MOVE_LIMIT_S = 300.0
DEPLOYED = ("billing", "warehouse")
"""A classic group, and where the version has it one of KIP-848."""

SCALED_S = 60.0
COMPACTED_TOPIC = "compacted"
COMPACTED_RECORDS = 20_000
COMPACTION_LIMIT_S = 240.0
SEEN_S = 40.0
"""Longer than the interval of the collector of log dirs."""

BURST_S = 60.0
BURST_RATE = 6 * traffic.DEFAULT_RATE
BURST_SIZE = 1000
BURST_PROCESS = "producer-burst"


def create_and_delete_topics(cluster: Cluster) -> None:
    names = [f"passing-{n}" for n in range(TOPICS)]
    for name in names:
        kafka.create_topic(cluster.client_settings(), name, 6)
    cluster.wait_healthy()
    time.sleep(TOPICS_LIVE_S)
    for name in names:
        kafka.delete_topic(cluster.client_settings(), name)


def reassign(cluster: Cluster) -> None:
    """Every partition of a topic with two replicas gets another broker in place of its second one."""
    a, b, c = cluster.broker_ids[:3]
    before, after = [[a, b], [b, c], [c, a]], [[a, c], [b, a], [c, b]]
    # One replica may be missing: no partition is at its minimum while it is moved.
    kafka.create_topic(cluster.live, MOVED_TOPIC, assignment=before, config={"min.insync.replicas": "1"})
    leftovers.fill(cluster, MOVED_TOPIC, MOVED_RECORDS)
    leftovers.end_move(cluster, leftovers.begin_move(cluster, MOVED_TOPIC, after, MOVE_RATE), MOVE_LIMIT_S)
    kafka.delete_topic(cluster.live, MOVED_TOPIC)


def deploy_consumers(cluster: Cluster) -> None:
    for group in traffic.groups(cluster):
        if group.name in DEPLOYED:
            traffic.deploy_group(cluster, group.name)


def scale_out_groups(cluster: Cluster) -> None:
    further = [traffic.add_member(cluster, g.name) for g in traffic.groups(cluster) if g.name in DEPLOYED]
    time.sleep(SCALED_S)
    for process in further:
        cluster.stop_process(process)


def compact(cluster: Cluster) -> None:
    """The log cleaner takes most of a topic away, while other partitions are written as before."""
    settings = {"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.01", "segment.bytes": "1048576"}
    # First the whole size is there long enough for the collector to see it.
    kafka.create_topic(cluster.live, COMPACTED_TOPIC, 3, config={**settings, "min.compaction.lag.ms": "45000"})
    leftovers.fill(cluster, COMPACTED_TOPIC, COMPACTED_RECORDS, keys=10)
    whole = size_of(cluster, COMPACTED_TOPIC)
    cluster.wait_until(
        lambda: size_of(cluster, COMPACTED_TOPIC) < whole / 2, COMPACTION_LIMIT_S, "the topic is compacted"
    )
    time.sleep(SEEN_S)
    kafka.delete_topic(cluster.live, COMPACTED_TOPIC)


def size_of(cluster: Cluster, topic: str) -> int:
    """Bytes of a topic on all brokers, as kafka-log-dirs tells them."""
    arguments = ("--bootstrap-server", cluster.live_bootstrap_servers, "--describe", "--topic-list", topic)
    told = cluster.kafka_tool("org.apache.kafka.tools.LogDirsCommand", *arguments)
    return sum(p["size"] for log_dir in kafka.log_dirs(told) for p in log_dir["partitions"])


def burst(cluster: Cluster) -> None:
    traffic.start_producer(cluster, BURST_PROCESS, traffic.PRODUCED, BURST_RATE, BURST_SIZE)
    time.sleep(BURST_S)
    cluster.stop_process(BURST_PROCESS)


OPERATIONS: dict[str, Callable[[Cluster], object]] = {
    "rolling clean restart": faults.rolling_restart,
    "creation and deletion of ten topics": create_and_delete_topics,
    "preferred election": faults.preferred_election,
    "reassignment with a throttle": reassign,
    "deploy of consumers": deploy_consumers,
    "scale-out of groups": scale_out_groups,
    "compaction": compact,
    "burst of produce traffic": burst,
    # Last: the broker stays.
    "scale-out by a broker": Cluster.add_broker,
}


def prove(only: str | None) -> Iterator[list[Row]]:
    with stage() as on_stage:
        for name, act in OPERATIONS.items():
            if only is None or only in name:
                yield attempted(name, partial(prove_one, on_stage, name, act))


def prove_one(on_stage: Stage, name: str, act: Callable[[Cluster], object]) -> list[Row]:
    on_stage.wait_calm()
    begun = time.time()
    on_stage.say(f"{name}: begins")
    act(on_stage.cluster)
    took = time.time() - begun
    on_stage.say(f"{name}: took {took:.0f} s; watching")
    seen: set[str] = set()
    end = time.monotonic() + AFTERWARDS
    while time.monotonic() < end:
        seen |= {f"{i['problem']} {i['subject']} {i['severity']}" for i in on_stage.open_incidents()}
        time.sleep(1)
    notified = [f"{n.status} {a['labels']['alertname']}" for n in on_stage.paged(begun) for a in n.alerts]
    said = "; ".join(sorted(seen) + notified) or f"nothing, in {took:.0f} s and {AFTERWARDS:.0f} s after"
    return [Row(f"{name}: no warning, no page", not seen and not notified, said)]
