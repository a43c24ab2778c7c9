"""Messages about running reassignments, and the settings of brokers and topics by their names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kafka.protocol.admin import (
    DescribeConfigsRequest,
    DescribeConfigsResponse,
    ListPartitionReassignmentsRequest,
    ListPartitionReassignmentsResponse,
)

from exporter.facts.reassignments import Move
from exporter.kafka.api import Api
from exporter.kafka.messages import DESCRIBE_CONFIGS, decoded, raise_for

LIST_REASSIGNMENTS = Api("ListPartitionReassignments", 46, 0, True)

TOPIC_RESOURCE = 2
BROKER_RESOURCE = 4

Settings = Mapping[str, str]
"""Name of a setting -> its value."""


def reassignments_request(timeout: float) -> bytes:
    """Of every topic; ``timeout`` in seconds."""
    request = ListPartitionReassignmentsRequest(
        version=LIST_REASSIGNMENTS.version, timeout_ms=round(timeout * 1000), topics=None
    )
    return bytes(request.encode())


def reassignments(body: memoryview) -> tuple[Move, ...]:
    """Running moves by topic and partition. Raises BadAnswer, BrokerError."""

    def read(answer: Any) -> tuple[Move, ...]:
        raise_for(answer.error_code, LIST_REASSIGNMENTS.name)
        moves = (
            Move(
                t.name,
                p.partition_index,
                tuple(p.replicas),
                tuple(p.adding_replicas or ()),
                tuple(p.removing_replicas or ()),
            )
            for t in answer.topics or ()
            for p in t.partitions
        )
        return tuple(sorted(moves, key=lambda m: (m.topic, m.partition)))

    return decoded(ListPartitionReassignmentsResponse, body, LIST_REASSIGNMENTS, read)


def settings_request(kind: int, names: Sequence[str], keys: Sequence[str]) -> bytes:
    """DescribeConfigs of some resources of one kind, only these keys."""
    resource = DescribeConfigsRequest.DescribeConfigsResource
    resources = [resource(resource_type=kind, resource_name=n, configuration_keys=list(keys)) for n in names]
    return bytes(DescribeConfigsRequest(version=DESCRIBE_CONFIGS.version, resources=resources).encode())


def broker_values(body: memoryview) -> Settings:
    """Settings of the one broker that was asked, those without a value left out. Raises BadAnswer, BrokerError."""

    def read(answer: Any) -> Settings:
        (told,) = answer.results
        raise_for(told.error_code, DESCRIBE_CONFIGS.name)
        return _values(told)

    return decoded(DescribeConfigsResponse, body, DESCRIBE_CONFIGS, read)


def topic_values(body: memoryview) -> Mapping[str, Settings]:
    """Topic -> settings in force; topics with an error are left out."""

    def read(answer: Any) -> Mapping[str, Settings]:
        return {r.resource_name: _values(r) for r in answer.results if r.error_code == 0}

    return decoded(DescribeConfigsResponse, body, DESCRIBE_CONFIGS, read)


def _values(resource: Any) -> Settings:
    return {c.name: c.value for c in resource.configs if c.value is not None}
