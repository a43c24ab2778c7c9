"""Messages about running reassignments."""

from __future__ import annotations

from typing import Any

from kafka.protocol.admin import ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse

from exporter.facts.reassignments import Move
from exporter.kafka.api import Api
from exporter.kafka.messages import decoded, raise_for

LIST_REASSIGNMENTS = Api("ListPartitionReassignments", 46, 0, True)


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
