"""Families of the collector ``quorum``."""

from __future__ import annotations

from collections.abc import Callable

from exporter.blocks import Block
from exporter.facts.quorum import Quorum, QuorumReplica
from exporter.metrics.families.lasting import Blocks, Lasting
from exporter.reading import WHOLE_CLUSTER
from exporter.snapshot import Snapshot


def blocks(keep: Lasting, snapshot: Snapshot) -> Blocks:
    part = snapshot.quorum.fresh(snapshot.at).get(WHOLE_CLUSTER)
    if part is None:
        return []
    quorum, asked = part.value, part.taken_at
    replicas = [("voter", r) for r in quorum.voters] + [("observer", r) for r in quorum.observers]
    made = [
        keep.scalar("kafka_quorum_epoch", quorum.epoch),
        keep.scalar("kafka_quorum_high_watermark", quorum.high_watermark),
        keep.scalar("kafka_quorum_voters", len(quorum.voters)),
        _per_replica(keep, "kafka_quorum_replica_lag", replicas, lambda r: _quorum_lag(quorum, r)),
        _per_replica(keep, "kafka_quorum_replica_fetch_age_seconds", replicas, lambda r: _age(asked, r.last_fetch_at)),
        _per_replica(
            keep, "kafka_quorum_replica_caught_up_age_seconds", replicas, lambda r: _age(asked, r.last_caught_up_at)
        ),
    ]
    if quorum.leader is not None:
        made.append(keep.scalar("kafka_quorum_leader_id", quorum.leader))
    return made


def _per_replica(
    keep: Lasting,
    metric: str,
    replicas: list[tuple[str, QuorumReplica]],
    value: Callable[[QuorumReplica], float | None],
) -> Block:
    known = ((role, r, value(r)) for role, r in sorted(replicas, key=lambda x: (x[1].node, x[0])))
    return keep.block(metric, ("broker", "role"), (((str(r.node), role), v) for role, r, v in known if v is not None))


def _quorum_lag(quorum: Quorum, replica: QuorumReplica) -> float | None:
    """Lag of a replica that has fetched; a voter that died has the whole log as lag and no fetch time, which says nothing new."""
    return quorum.lag(replica)


def _age(now: float, then: float | None) -> float | None:
    return None if then is None else max(0.0, now - then)
