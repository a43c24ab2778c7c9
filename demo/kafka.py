"""The few questions and orders that the demo itself has for a cluster, each with a fresh client that keeps no old view."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

REQUEST_LIMIT_S = 5.0

# What a client raises while a cluster cannot answer.
NO_ANSWER = (KafkaException,)

# librdkafka writes floods when brokers bounce; in a demo that is the expected thing.
_silent = logging.getLogger("demo.librdkafka")
_silent.addHandler(logging.NullHandler())
_silent.propagate = False


def client_settings(bootstrap_servers: str) -> dict[str, Any]:
    """Settings that all clients of the demo share."""
    return {
        "bootstrap.servers": bootstrap_servers,
        "logger": _silent,
        "log.connection.close": False,
        "reconnect.backoff.max.ms": 200,
    }


def admin(bootstrap_servers: str) -> AdminClient:
    """A new admin client."""
    return AdminClient(client_settings(bootstrap_servers))


def unfenced_brokers(bootstrap_servers: str) -> frozenset[int]:
    """Ids of the brokers in Metadata, which leaves out those that are fenced."""
    return frozenset(admin(bootstrap_servers).list_topics(timeout=REQUEST_LIMIT_S).brokers)


def topics(bootstrap_servers: str) -> frozenset[str]:
    """Names of all topics."""
    return frozenset(admin(bootstrap_servers).list_topics(timeout=REQUEST_LIMIT_S).topics)


def under_replicated(bootstrap_servers: str) -> list[str]:
    """Partitions (topic-partition) that lack a replica in the ISR or a leader."""
    topics = admin(bootstrap_servers).list_topics(timeout=REQUEST_LIMIT_S).topics
    return [
        f"{name}-{number}"
        for name, topic in topics.items()
        for number, partition in topic.partitions.items()
        if len(partition.isrs) < len(partition.replicas) or partition.leader < 0
    ]


def not_preferred(bootstrap_servers: str) -> list[str]:
    """Partitions (topic-partition) whose leader is not the first replica, the preferred one."""
    topics = admin(bootstrap_servers).list_topics(timeout=REQUEST_LIMIT_S).topics
    return [
        f"{name}-{number}"
        for name, topic in topics.items()
        for number, partition in topic.partitions.items()
        if partition.leader != partition.replicas[0]
    ]


def create_topic(
    bootstrap_servers: str,
    name: str,
    partitions: int = 6,
    replication_factor: int = -1,
    *,
    config: Mapping[str, str] | None = None,
    assignment: list[list[int]] | None = None,
) -> None:
    """Create a topic and wait until the controller has it; `assignment` names the brokers of each partition."""
    # The client wants the count beside an assignment too.
    placement: dict[str, Any] = (
        {"num_partitions": len(assignment), "replica_assignment": assignment}
        if assignment
        else {"num_partitions": partitions, "replication_factor": replication_factor}
    )
    topic = NewTopic(name, config=dict(config or {}), **placement)
    client = admin(bootstrap_servers)  # Held: a client that is collected fails its futures.
    for future in client.create_topics([topic], request_timeout=30, operation_timeout=30).values():
        future.result()


def delete_topic(bootstrap_servers: str, name: str) -> None:
    """Delete a topic and all its data."""
    client = admin(bootstrap_servers)
    for future in client.delete_topics([name], request_timeout=30, operation_timeout=30).values():
        future.result()


def failed_log_dirs(answer: str) -> list[str]:
    """The log dirs that kafka-log-dirs shows with an error; `answer` is its output, whose last lines hold the JSON."""
    report = json.loads(answer[answer.index("{") :])
    return [log_dir["logDir"] for broker in report["brokers"] for log_dir in broker["logDirs"] if log_dir["error"]]
