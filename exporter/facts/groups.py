"""Groups of every type (classic, KIP-848 consumer, KIP-932 share, KIP-1071 streams), and how far they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from exporter.facts.partitions import I16, I32, I64


@dataclass(frozen=True, slots=True)
class GroupListing:
    """One row of ListGroups v5: ``type`` is classic, consumer, share or streams; ``state`` in Kafka's words (Stable, Empty, …)."""

    group: str
    protocol_type: str
    state: str
    type: str


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a group; ``assignment`` maps topic -> partitions."""

    member_id: str
    client_id: str
    host: str
    instance_id: str | None
    assignment: Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class GroupDescription:
    """DescribeGroups, ConsumerGroupDescribe (KIP-848), ShareGroupDescribe (KIP-932) or StreamsGroupDescribe (KIP-1071) of one group; epochs are None for classic groups."""

    group: str
    state: str
    type: str
    protocol: str
    """Assignor: the classic protocol's name, or the server-side assignor; empty for streams groups, which do not name theirs."""
    members: tuple[Member, ...]
    group_epoch: int | None = None
    assignment_epoch: int | None = None
    error: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class CommitTable:
    """Committed offsets of the groups of one coordinator, a row per group and partition (OffsetFetch v8, KIP-709).

    ``group`` and ``topic`` index ``groups`` and ``topics``; ``offset`` is -1 where nothing is committed. Rows are sorted by group, topic and partition.
    ``group_errors`` has Kafka's error code per group that failed. Readers may cache by identity of ``groups``/``topics``/``group``/``topic``/``partition``:
    those arrays are the same objects as long as only offsets move.
    """

    groups: tuple[str, ...]
    topics: tuple[str, ...]
    group: I32
    topic: I32
    partition: I32
    offset: I64
    error: I16
    group_errors: Mapping[str, int]

    def __len__(self) -> int:
        return len(self.partition)


@dataclass(frozen=True, slots=True, eq=False)
class ShareOffsetTable:
    """Where the share groups of one coordinator are, a row per group and partition (DescribeShareGroupOffsets, KIP-932), sorted by group, topic and partition.

    ``start_offset`` is the share-partition start offset: all before it is done; -1 where nothing was read yet. ``lag`` is the broker's own count of records that are still to be
    delivered (KIP-1226, Kafka 4.2), -1 where it gives none.
    """

    groups: tuple[str, ...]
    topics: tuple[str, ...]
    group: I32
    topic: I32
    partition: I32
    start_offset: I64
    lag: I64
    error: I16
    group_errors: Mapping[str, int]

    def __len__(self) -> int:
        return len(self.partition)


@dataclass(frozen=True, slots=True, eq=False)
class CoordinatorFacts:
    """All that one coordinator said about its groups in one poll."""

    listings: tuple[GroupListing, ...]
    descriptions: Mapping[str, GroupDescription]
    commits: CommitTable
    commits_at: float
    """When the commits were read, Unix seconds; end offsets are read after it."""
    shares: ShareOffsetTable | None = None
    """None where the coordinator has no share groups."""
