"""What reassignments have left to copy, and throttles that outlived them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np

from exporter.facts.log_dirs import LogDirTable
from exporter.facts.partitions import PartitionTable
from exporter.facts.reassignments import BrokerThrottles, Move, ThrottledTopics

LEFT_AFTER_POLLS = 2
"""A throttle is left over once it stood for longer than so many polls while nothing moved: tools set it just before a move and take it away just after."""
DIR_THROTTLE = "alter_log_dirs"

Throttle = tuple[str, str, str]
"""``broker`` or ``topic``, which one, and the throttle's name."""


@dataclass(frozen=True, slots=True)
class Leftovers:
    """Since when each throttle stands while nothing runs that it could be for (Unix seconds). ``at``: time of the newest facts in it."""

    since: Mapping[Throttle, float] = field(default_factory=dict)
    at: float = 0.0

    def shown(self, interval: float) -> frozenset[Throttle]:
        """Those that have stood for long enough; ``interval`` is that of the polls, in seconds."""
        return frozenset(t for t, since in self.since.items() if self.at - since > LEFT_AFTER_POLLS * interval)


def fold(
    before: Leftovers,
    moves: Collection[Move],
    throttles: Mapping[int, BrokerThrottles],
    topics: ThrottledTopics | None,
    moving_dirs: Mapping[int, bool],
    at: float,
) -> Leftovers:
    """The leftovers after newer moves. ``topics`` is None where it is not known; ``moving_dirs``: whether replicas move between the broker's log dirs, absent where it is not known."""
    if at <= before.at:
        return before
    standing: set[Throttle] = set()
    for broker, told in throttles.items():
        standing |= {("broker", str(broker), t) for t in told.rates if _idle(t, moves, moving_dirs.get(broker))}
    if not moves and topics is not None:
        standing |= {("topic", topic, t) for topic, told in topics.replicas.items() for t in told}
    return Leftovers({t: before.since.get(t, at) for t in standing}, at)


def _idle(throttle: str, moves: Collection[Move], moves_dirs: bool | None) -> bool:
    """Whether nothing runs that the throttle is for. The dirs' rate bounds moves between dirs; the others those between brokers."""
    return moves_dirs is False if throttle == DIR_THROTTLE else not moves


def dir_moves(log_dirs: Mapping[int, LogDirTable]) -> Mapping[int, int]:
    """Broker -> replicas that are being copied from one of its log dirs to another (KIP-113's future replicas)."""
    return {broker: int(table.is_future.sum()) for broker, table in log_dirs.items()}


Place = tuple[str, int]
"""Topic and partition."""
Copy = tuple[str, int, int]
"""Topic, partition, and the broker that gets a replica."""


def bytes_left(
    moves: Collection[Move], table: PartitionTable, log_dirs: Mapping[int, LogDirTable]
) -> Mapping[Copy, int | None]:
    """For each replica that is being added its leader's size less its own, at least 0; None where either broker's log dirs or the leader are not known.

    An estimate: retention, compaction and new records change both sizes meanwhile.
    """
    topics = {m.topic for m in moves}
    sizes = {broker: _sizes(dirs, topics) for broker, dirs in log_dirs.items()}
    return {(m.topic, m.partition, b): _left(m, b, _leader(m, table), sizes) for m in moves for b in m.adding}


def _left(move: Move, broker: int, leader: int, sizes: Mapping[int, Mapping[Place, int]]) -> int | None:
    place = (move.topic, move.partition)
    whole = sizes.get(leader, {}).get(place)
    if whole is None or broker not in sizes:
        return None
    return max(0, whole - sizes[broker].get(place, 0))


def _leader(move: Move, table: PartitionTable) -> int:
    rows = table.rows_of(move.topic)
    at = np.flatnonzero(table.partition[rows] == move.partition)
    return int(table.leader[rows][at[0]]) if len(at) else -1


def _sizes(dirs: LogDirTable, topics: Collection[str]) -> Mapping[Place, int]:
    """Bytes of the replicas that one broker has of these topics."""
    wanted = [i for i, topic in enumerate(dirs.topics) if topic in topics]
    rows = np.flatnonzero(np.isin(dirs.topic, wanted) & ~dirs.is_future)
    columns = (dirs.topic[rows].tolist(), dirs.partition[rows].tolist(), dirs.size[rows].tolist())
    return {(dirs.topics[t], p): size for t, p, size in zip(*columns, strict=True)}
