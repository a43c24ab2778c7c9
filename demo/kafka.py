"""The few questions and orders that the demo itself has for a cluster, each with a fresh client that keeps no old view."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic

REQUEST_LIMIT_S = 5.0

# What a client raises while a cluster cannot answer.
NO_ANSWER = (KafkaException,)

# librdkafka writes floods when brokers bounce; in a demo that is the expected thing.
_silent = logging.getLogger("demo.librdkafka")
_silent.addHandler(logging.NullHandler())
_silent.propagate = False


Access = str | Mapping[str, Any]
"""Where and how to get in: `Cluster.client_settings`, or just the addresses where nothing is secured."""


def client_settings(access: Access) -> dict[str, Any]:
    """Settings that all clients of the demo share."""
    return {
        **({"bootstrap.servers": access} if isinstance(access, str) else access),
        "logger": _silent,
        "log.connection.close": False,
        "reconnect.backoff.max.ms": 200,
    }


def admin(access: Access) -> AdminClient:
    """A new admin client."""
    return AdminClient(client_settings(access))


def unfenced_brokers(access: Access) -> frozenset[int]:
    """Ids of the brokers in Metadata, which leaves out those that are fenced."""
    return frozenset(admin(access).list_topics(timeout=REQUEST_LIMIT_S).brokers)


def topics(access: Access) -> frozenset[str]:
    """Names of all topics."""
    return frozenset(admin(access).list_topics(timeout=REQUEST_LIMIT_S).topics)


def under_replicated(access: Access) -> list[str]:
    """Partitions (topic-partition) that lack a replica in the ISR or a leader."""
    topics = admin(access).list_topics(timeout=REQUEST_LIMIT_S).topics
    return [
        f"{name}-{number}"
        for name, topic in topics.items()
        for number, partition in topic.partitions.items()
        if len(partition.isrs) < len(partition.replicas) or partition.leader < 0
    ]


def not_preferred(access: Access) -> list[str]:
    """Partitions (topic-partition) whose leader is not the first replica, the preferred one."""
    topics = admin(access).list_topics(timeout=REQUEST_LIMIT_S).topics
    return [
        f"{name}-{number}"
        for name, topic in topics.items()
        for number, partition in topic.partitions.items()
        if partition.leader != partition.replicas[0]
    ]


def create_topic(
    access: Access,
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
    client = admin(access)  # Held: a client that is collected fails its futures.
    for future in client.create_topics([topic], request_timeout=30, operation_timeout=30).values():
        future.result()


def delete_topic(access: Access, name: str) -> None:
    """Delete a topic and all its data."""
    client = admin(access)
    for future in client.delete_topics([name], request_timeout=30, operation_timeout=30).values():
        future.result()


def alter_config(access: Access, kind: ConfigResource.Type, name: str, changes: Mapping[str, str | None]) -> None:
    """Set settings of one broker or topic; None takes a setting away."""
    entries = [
        ConfigEntry(
            key,
            "" if value is None else value,
            incremental_operation=AlterConfigOpType.DELETE if value is None else AlterConfigOpType.SET,
        )
        for key, value in changes.items()
    ]
    client = admin(access)
    resource = ConfigResource(kind, name, incremental_configs=entries)
    for future in client.incremental_alter_configs([resource], request_timeout=30).values():
        future.result()


def log_dirs(answer: str) -> list[dict[str, Any]]:
    """The log dirs of all brokers that kafka-log-dirs shows; `answer` is its output, whose last lines hold the JSON."""
    report = json.loads(answer[answer.index("{") :])
    return [log_dir for broker in report["brokers"] for log_dir in broker["logDirs"]]


def failed_log_dirs(answer: str) -> list[str]:
    """Those that it shows with an error."""
    return [log_dir["logDir"] for log_dir in log_dirs(answer) if log_dir["error"]]
