"""The small requests: what is asked and what the answer means. kafka-python's messages where it has them; groups are read by hand since it lacks KIP-848's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from kafka.errors import for_code
from kafka.protocol.admin import (
    DescribeClusterRequest,
    DescribeClusterResponse,
    DescribeQuorumRequest,
    DescribeQuorumResponse,
    DescribeTopicPartitionsRequest,
    DescribeTopicPartitionsResponse,
    ListGroupsRequest,
    ListGroupsResponse,
)
from kafka.protocol.metadata import MetadataRequest, MetadataResponse

from exporter.facts.cluster import ClusterView, Node, Role
from exporter.facts.groups import GroupDescription, GroupListing, Member
from exporter.facts.partitions import ElrRow
from exporter.facts.quorum import Quorum, QuorumReplica
from exporter.kafka.api import Api
from exporter.kafka.errors import BadAnswer, BrokerError
from exporter.kafka.fields import FieldReader, compact_length, compact_string, read_all

T = TypeVar("T")
Versions = Mapping[int, tuple[int, int]]

API_VERSIONS = Api("ApiVersions", 18, 3, True)
METADATA = Api("Metadata", 3, 12, True)
DESCRIBE_CLUSTER = Api("DescribeCluster", 60, 2, True)
DESCRIBE_TOPIC_PARTITIONS = Api("DescribeTopicPartitions", 75, 0, True)
DESCRIBE_QUORUM_V2 = Api("DescribeQuorum", 55, 2, True)
DESCRIBE_QUORUM_V1 = Api("DescribeQuorum", 55, 1, True)
LIST_GROUPS = Api("ListGroups", 16, 5, True)
DESCRIBE_GROUPS = Api("DescribeGroups", 15, 5, True)
CONSUMER_GROUP_DESCRIBE = Api("ConsumerGroupDescribe", 69, 0, True)
LIST_OFFSETS = Api("ListOffsets", 2, 5, False)
OFFSET_FETCH = Api("OffsetFetch", 9, 8, True)
DESCRIBE_LOG_DIRS = Api("DescribeLogDirs", 35, 4, True)

METADATA_TOPIC = "__cluster_metadata"
_PARTITION_LIMIT = 2000


def error_name(code: int) -> str:
    """Kafka's name of an error code (KAFKA_STORAGE_ERROR)."""
    return str(for_code(code).message) if code else "NONE"


def raise_for(code: int, request: str) -> None:
    """Raise BrokerError unless the code is 0."""
    if code:
        raise BrokerError(code, error_name(code), request=request)


def offers(versions: Versions | None, api: Api) -> bool:
    """Whether the broker takes the API in our version; True while its versions are not known."""
    if versions is None:
        return True
    lowest, highest = versions.get(api.key, (0, -1))
    return lowest <= api.version <= highest


def decoded(response: Any, body: memoryview, api: Api, read: Callable[[Any], T]) -> T:
    """kafka-python's decoding; whatever its generated code raises on garbage is a BadAnswer."""
    try:
        return read(response.decode(bytes(body), version=api.version))
    except BrokerError:
        raise
    except Exception as error:
        raise BadAnswer(f"the answer cannot be decoded: {error}", request=api.name) from error


# --- nodes


def describe_cluster_request() -> bytes:
    return bytes(DescribeClusterRequest(version=DESCRIBE_CLUSTER.version, include_fenced_brokers=True).encode())


def cluster_view(body: memoryview) -> ClusterView:
    """DescribeCluster v2 (KIP-1073): brokers with whether they are fenced."""

    def read(answer: Any) -> ClusterView:
        raise_for(answer.error_code, DESCRIBE_CLUSTER.name)
        brokers = (_broker(b.broker_id, b.host, b.port, b.rack, b.is_fenced) for b in answer.brokers)
        return ClusterView(answer.cluster_id, tuple(sorted(brokers, key=lambda n: n.id)))

    return decoded(DescribeClusterResponse, body, DESCRIBE_CLUSTER, read)


def brokers_request() -> bytes:
    """Metadata without topics."""
    return bytes(MetadataRequest(version=METADATA.version, topics=[], allow_auto_topic_creation=False).encode())


def brokers_view(body: memoryview) -> ClusterView:
    """Metadata's brokers: registered and not fenced; who is fenced it does not say."""

    def read(answer: Any) -> ClusterView:
        brokers = (_broker(b.node_id, b.host, b.port, b.rack, None) for b in answer.brokers)
        return ClusterView(answer.cluster_id or "", tuple(sorted(brokers, key=lambda n: n.id)))

    return decoded(MetadataResponse, body, METADATA, read)


def _broker(node: int, host: str, port: int, rack: str | None, fenced: bool | None) -> Node:
    return Node(node, host, port, rack, frozenset({Role.BROKER}), registered=True, fenced=fenced)


# --- ELR


Cursor = tuple[str, int]


def elr_request(topics: Sequence[str], cursor: Cursor | None) -> bytes:
    names = [DescribeTopicPartitionsRequest.TopicRequest(name=t) for t in sorted(topics)]
    at = DescribeTopicPartitionsRequest.Cursor(topic_name=cursor[0], partition_index=cursor[1]) if cursor else None
    request = DescribeTopicPartitionsRequest(
        version=DESCRIBE_TOPIC_PARTITIONS.version, topics=names, response_partition_limit=_PARTITION_LIMIT, cursor=at
    )
    return bytes(request.encode())


def elr(body: memoryview) -> tuple[list[ElrRow], Cursor | None]:
    """Rows of partitions that have eligible or last known leaders, and where to go on."""

    def read(answer: Any) -> tuple[list[ElrRow], Cursor | None]:
        rows = [
            ElrRow(t.name, p.partition_index, tuple(p.eligible_leader_replicas or ()), tuple(p.last_known_elr or ()))
            for t in answer.topics
            if t.error_code == 0
            for p in t.partitions
            if p.eligible_leader_replicas or p.last_known_elr
        ]
        at = answer.next_cursor
        return rows, (at.topic_name, at.partition_index) if at is not None else None

    return decoded(DescribeTopicPartitionsResponse, body, DESCRIBE_TOPIC_PARTITIONS, read)


# --- quorum


def quorum_request(api: Api) -> bytes:
    partition = DescribeQuorumRequest.TopicData.PartitionData(partition_index=0)
    topic = DescribeQuorumRequest.TopicData(topic_name=METADATA_TOPIC, partitions=[partition])
    return bytes(DescribeQuorumRequest(version=api.version, topics=[topic]).encode())


def quorum(body: memoryview, api: Api) -> Quorum:
    """DescribeQuorum v1 (KIP-836) or v2 (KIP-853). Raises BadAnswer, BrokerError."""

    def read(answer: Any) -> Quorum:
        raise_for(answer.error_code, api.name)
        (partition,) = answer.topics[0].partitions
        raise_for(partition.error_code, api.name)
        nodes = answer.nodes if api.version >= 2 else ()
        return Quorum(
            leader=partition.leader_id if partition.leader_id >= 0 else None,
            epoch=partition.leader_epoch,
            high_watermark=partition.high_watermark,
            voters=tuple(_replica(r) for r in partition.current_voters),
            observers=tuple(_replica(r) for r in partition.observers),
            endpoints={n.node_id: (n.listeners[0].host, n.listeners[0].port) for n in nodes or () if n.listeners},
        )

    return decoded(DescribeQuorumResponse, body, api, read)


def _replica(row: Any) -> QuorumReplica:
    def seconds(milliseconds: int) -> float | None:
        return milliseconds / 1000 if milliseconds >= 0 else None

    return QuorumReplica(
        row.replica_id, row.log_end_offset, seconds(row.last_fetch_timestamp), seconds(row.last_caught_up_timestamp)
    )


# --- groups


def list_groups_request() -> bytes:
    return bytes(ListGroupsRequest(version=LIST_GROUPS.version, states_filter=[], types_filter=[]).encode())


def group_listings(body: memoryview) -> tuple[GroupListing, ...]:
    """ListGroups v5, sorted by group. Raises BrokerError (COORDINATOR_LOAD_IN_PROGRESS and the like)."""

    def read(answer: Any) -> tuple[GroupListing, ...]:
        raise_for(answer.error_code, LIST_GROUPS.name)
        rows = (GroupListing(g.group_id, g.protocol_type, g.group_state, g.group_type.lower()) for g in answer.groups)
        return tuple(sorted(rows, key=lambda g: g.group))

    return decoded(ListGroupsResponse, body, LIST_GROUPS, read)


def describe_groups_request(groups: Sequence[str]) -> bytes:
    """The same body for DescribeGroups v5 and ConsumerGroupDescribe v0: names, then "without authorized operations"."""
    return compact_length(len(groups)) + b"".join(compact_string(g) for g in groups) + b"\0\0"


def classic_groups(body: memoryview) -> Mapping[str, GroupDescription]:
    """DescribeGroups v5."""

    def read(reader: FieldReader) -> Mapping[str, GroupDescription]:
        reader.int32()
        found = [_classic_group(reader) for _ in range(reader.length())]
        reader.tags()
        return {g.group: g for g in found}

    return read_all(body, DESCRIBE_GROUPS.name, read)


def _classic_group(reader: FieldReader) -> GroupDescription:
    error, group, state, kind, protocol = (
        reader.int16(),
        reader.string(),
        reader.string(),
        reader.string(),
        reader.string(),
    )
    members = tuple(_classic_member(reader, kind == "consumer") for _ in range(reader.length()))
    reader.int32()
    reader.tags()
    return GroupDescription(group, state, "classic", protocol, members, error=error)


def _classic_member(reader: FieldReader, consumer: bool) -> Member:
    member, instance, client, host = reader.string(), reader.nullable(), reader.string(), reader.string()
    reader.bytes_()
    assignment = reader.bytes_()
    reader.tags()
    return Member(member, client, host.lstrip("/"), instance, _classic_assignment(assignment) if consumer else {})


def _classic_assignment(raw: bytes) -> Mapping[str, tuple[int, ...]]:
    """The consumer protocol's assignment (ConsumerProtocolAssignment): not flexible; empty while a member has none."""
    if len(raw) < 6:
        return {}
    reader = FieldReader(raw, "ConsumerProtocolAssignment")
    reader.int16()
    return {
        reader.text(reader.int16()): tuple(reader.int32() for _ in range(reader.bounded(reader.int32())))
        for _ in range(reader.bounded(reader.int32()))
    }


def consumer_groups(body: memoryview) -> Mapping[str, GroupDescription]:
    """ConsumerGroupDescribe v0 (KIP-848)."""

    def read(reader: FieldReader) -> Mapping[str, GroupDescription]:
        reader.int32()
        found = [_consumer_group(reader) for _ in range(reader.length())]
        reader.tags()
        return {g.group: g for g in found}

    return read_all(body, CONSUMER_GROUP_DESCRIBE.name, read)


def _consumer_group(reader: FieldReader) -> GroupDescription:
    error = reader.int16()
    reader.nullable()
    group, state, epoch, assigned = reader.string(), reader.string(), reader.int32(), reader.int32()
    assignor = reader.string()
    members = tuple(_consumer_member(reader) for _ in range(reader.length()))
    reader.int32()
    reader.tags()
    return GroupDescription(group, state, "consumer", assignor, members, epoch, assigned, error)


def _consumer_member(reader: FieldReader) -> Member:
    member, instance = reader.string(), reader.nullable()
    reader.nullable()
    reader.int32()
    client, host = reader.string(), reader.string()
    for _ in range(reader.length()):
        reader.string()
    reader.nullable()
    assignment = topic_partitions(reader)
    topic_partitions(reader)
    reader.tags()
    return Member(member, client, host.lstrip("/"), instance, assignment)


def topic_partitions(reader: FieldReader) -> Mapping[str, tuple[int, ...]]:
    """An assignment of ConsumerGroupDescribe and ShareGroupDescribe: id, name and partitions of each topic."""
    assignment: dict[str, tuple[int, ...]] = {}
    for _ in range(reader.length()):
        reader.skip(16)
        topic = reader.string()
        assignment[topic] = tuple(reader.int32() for _ in range(reader.length()))
        reader.tags()
    reader.tags()
    return assignment
