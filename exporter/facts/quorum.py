"""The KRaft metadata quorum (KIP-595, KIP-836)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class QuorumReplica:
    """A voter or observer; times are Unix seconds, None where the leader does not know them (it says -1)."""

    node: int
    log_end_offset: int
    last_fetch_at: float | None
    last_caught_up_at: float | None


@dataclass(frozen=True, slots=True)
class Quorum:
    """DescribeQuorum's answer: ``leader`` is the active controller's node id, None where there is none."""

    leader: int | None
    epoch: int
    high_watermark: int
    voters: tuple[QuorumReplica, ...]
    observers: tuple[QuorumReplica, ...]
    endpoints: dict[int, tuple[str, int]]
    """Controller listeners by node id (v2, KIP-853); empty where the version does not say."""

    def lag(self, replica: QuorumReplica) -> int | None:
        """Records behind the leader's log end; None where the leader's own row is missing or the replica never fetched (-1)."""
        end = next((v.log_end_offset for v in self.voters if v.node == self.leader), None)
        if end is None or replica.log_end_offset < 0:
            return None
        return max(0, end - replica.log_end_offset)
