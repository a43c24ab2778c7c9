"""Faults that outlive whoever caused them: an open transaction, replication throttles, a reassignment that does not end."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from confluent_kafka import Producer
from confluent_kafka.admin import ConfigResource

from demo import clients, kafka, traffic
from demo.cluster import Cluster
from demo.errors import DemoError

Details = dict[str, Any]
LEFT_PROCESS = "transaction-left"
LEFT_ID = "demo-left"
LEFT_TIMEOUT_S = 900.0
"""The most that brokers allow by default (transaction.max.timeout.ms)."""

OPEN_LIMIT_S = 60.0
THROTTLED_TOPIC = "orders"
THROTTLE_RATE = 20_000
"""Bytes a second: a restarted broker does not catch up with it."""

RATE_SETTINGS = ("leader.replication.throttled.rate", "follower.replication.throttled.rate")
REPLICA_SETTINGS = ("leader.replication.throttled.replicas", "follower.replication.throttled.replicas")
MOVED_TOPIC = "moving"
MOVED_RECORDS = 8_000
RECORD_SIZE = 1_000
MOVE_RATE = 10_000
"""Bytes a second: with what the topic holds, a move of more than ten minutes."""

REASSIGN_COMMAND = "org.apache.kafka.tools.reassign.ReassignPartitionsCommand"


def leave_transaction(cluster: Cluster, _node: int | None) -> Details:
    """A producer opens a transaction and is killed in it."""
    traffic.create_topics(cluster)
    arguments = ("leave", "--topics", traffic.LEDGER, "--id", LEFT_ID, "--timeout", str(LEFT_TIMEOUT_S))
    argv = [sys.executable, "-m", "demo.clients", *arguments, "--folder", str(cluster.folder)]
    output = cluster.folder / f"{LEFT_PROCESS}.out"
    output.unlink(missing_ok=True)
    cluster.define_process(LEFT_PROCESS, argv, python=True)
    cluster.process_operation("start", LEFT_PROCESS)
    try:
        cluster.wait_until(
            lambda: output.exists() and clients.OPEN in output.read_text().split(),
            OPEN_LIMIT_S,
            "a transaction is open",
        )
    finally:
        cluster.process_operation("kill", LEFT_PROCESS)
    return {"transactional_id": LEFT_ID, "topic": traffic.LEDGER}


def end_transaction(cluster: Cluster, details: Details) -> None:
    """A producer of the same transactional.id that starts makes the coordinator abort what was left."""
    settings = {**kafka.client_settings(cluster.live), "transactional.id": details["transactional_id"]}
    Producer(settings).init_transactions(clients.TRANSACTION_LIMIT_S)


def leave_throttles(cluster: Cluster, _node: int | None) -> Details:
    """Throttle replication as a reassignment does, and never take it away."""
    traffic.create_topics(cluster)
    _set_throttles(cluster, cluster.broker_ids, str(THROTTLE_RATE), THROTTLED_TOPIC, "*")
    return {"brokers": list(cluster.broker_ids), "topic": THROTTLED_TOPIC, "bytes_per_second": THROTTLE_RATE}


def remove_throttles(cluster: Cluster, details: Details) -> None:
    _set_throttles(cluster, details["brokers"], None, details["topic"], None)


def _set_throttles(
    cluster: Cluster, brokers: tuple[int, ...], rate: str | None, topic: str, replicas: str | None
) -> None:
    for broker in brokers:
        kafka.alter_config(cluster.live, ConfigResource.Type.BROKER, str(broker), dict.fromkeys(RATE_SETTINGS, rate))
    kafka.alter_config(cluster.live, ConfigResource.Type.TOPIC, topic, dict.fromkeys(REPLICA_SETTINGS, replicas))


def start_reassignment(cluster: Cluster, node: int | None) -> Details:
    """Move a partition that only one broker has to another one, so slowly that it lasts; `node` is where it goes."""
    live = cluster.live_brokers
    target = live[-1] if node is None else node
    source = next((broker for broker in live if broker != target), None)
    if source is None or target not in live:
        raise DemoError("a reassignment needs two running brokers")
    kafka.create_topic(cluster.live, MOVED_TOPIC, assignment=[[source]])
    fill(cluster, MOVED_TOPIC, MOVED_RECORDS)
    plan = begin_move(cluster, MOVED_TOPIC, [[target]], MOVE_RATE)
    return {"topic": MOVED_TOPIC, "source": source, "target": target, "plan": plan}


def cancel_reassignment(cluster: Cluster, details: Details) -> None:
    """The throttles go with it; the topic goes too."""
    _reassign(cluster, "--cancel", "--reassignment-json-file", details["plan"])
    kafka.delete_topic(cluster.live, details["topic"])


def begin_move(cluster: Cluster, topic: str, replicas: Sequence[Sequence[int]], rate: int) -> str:
    """Begin to move a topic's partitions to those brokers, throttled to `rate` bytes a second; returns the plan's file, which `end_move` and a cancel need."""
    plan = cluster.folder / f"reassignment-{topic}.json"
    moves = [{"topic": topic, "partition": n, "replicas": list(brokers)} for n, brokers in enumerate(replicas)]
    plan.write_text(json.dumps({"version": 1, "partitions": moves}))
    _reassign(cluster, "--execute", "--throttle", str(rate), "--reassignment-json-file", str(plan))
    return str(plan)


def end_move(cluster: Cluster, plan: str, limit: float) -> None:
    """Wait until everything has moved; then the throttles are taken away, as `--verify` does. Raises DemoTimeout."""

    def moved() -> bool:
        return "still in progress" not in _reassign(cluster, "--verify", "--reassignment-json-file", plan)

    cluster.wait_until(moved, limit, f"the moves of {plan} are done")


def _reassign(cluster: Cluster, *arguments: str) -> str:
    return cluster.kafka_tool(REASSIGN_COMMAND, "--bootstrap-server", cluster.live_bootstrap_servers, *arguments)


def fill(cluster: Cluster, topic: str, records: int, keys: int | None = None) -> None:
    """Produce so many records of RECORD_SIZE bytes, spread over the topic's partitions, or with `keys` so many different keys."""
    producer = Producer({**kafka.client_settings(cluster.live), "acks": "all"})
    for number in range(records):
        key = {} if keys is None else {"key": str(number % keys)}
        producer.produce(topic, value=b"x" * RECORD_SIZE, **key)
        producer.poll(0)
    if left := producer.flush(OPEN_LIMIT_S):
        raise DemoError(f"{left} of {records} records for {topic} were not delivered")
