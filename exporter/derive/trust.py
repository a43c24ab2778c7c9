"""Whether the brokers' word about the cluster can be relied on: metadata without a live controller is frozen and looks perfectly healthy."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from exporter.derive.witnesses import QuorumWatch, active_by_jmx, applied_lately, jmx_window, testimony, watch
from exporter.facts.cluster import ClusterFacts
from exporter.facts.quorum import Quorum
from exporter.jmx.facts import JmxNode
from exporter.reading import WHOLE_CLUSTER, Reading

SETTLE_S = 15.0
"""After a time without controller the new one gives every broker a fresh session (broker.session.timeout.ms, 9 s by default) before it notices who is missing."""

FROM_METADATA = frozenset({"cluster", "topics", "groups", "offsets", "transactions", "stuck_offsets", "producers"})
"""Collectors whose facts are Metadata or rest on it: who leads, who coordinates, which partitions there are."""

MUTE_WORDS = {"unsupported": "is not offered", "denied": "is not permitted", "off": "is switched off"}


@dataclass(frozen=True, slots=True)
class Trust:
    """Whether the brokers' word about the cluster can be relied on; metadata without a live controller is frozen and looks healthy."""

    trusted: bool
    reason: str


@dataclass(frozen=True, slots=True)
class TrustState:
    """What is remembered from judgement to judgement."""

    trust: Trust = Trust(False, "no controller has answered yet")
    watch: QuorumWatch = field(default_factory=QuorumWatch)
    viewed_at: float | None = None
    """When a broker last gave its view of the cluster."""
    vouched_since: float | None = None
    """Since when there has been a voucher without a gap."""
    lost: bool = False
    """Trust was had and lost, and has not settled again."""
    jmx_vouched: bool = False
    """JMX has vouched at least once, so that its silence means something."""


def judge(
    state: TrustState,
    cluster: Reading[ClusterFacts],
    quorum: Reading[Quorum],
    jmx: Reading[JmxNode],
    now: float,
) -> TrustState:
    """The state after what is known now; pure, and cheap enough to be asked at every change and each few seconds between."""
    watched = watch(state.watch, quorum)
    by_jmx = _jmx_voucher(jmx, jmx_window(watched, jmx), now)
    voucher = "DescribeQuorum answers" if watched.answers(now, quorum.interval) else by_jmx
    viewed_at = _viewed_at(cluster, state.viewed_at)
    state = replace(
        state,
        watch=watched,
        viewed_at=viewed_at,
        jmx_vouched=state.jmx_vouched or bool(by_jmx),
        vouched_since=(state.vouched_since if state.vouched_since is not None else now) if voucher else None,
    )
    trust = _trust(state, voucher, viewed_at is not None and now - viewed_at <= cluster.max_age, now)
    return replace(state, trust=trust, lost=not trust.trusted and (state.lost or state.trust.trusted))


def _trust(state: TrustState, voucher: str, viewed: bool, now: float) -> Trust:
    if not viewed:
        return Trust(False, "no broker gives its view of the cluster")
    if state.watch.mute and not voucher and not state.jmx_vouched:
        why = MUTE_WORDS[state.watch.mute]
        return Trust(True, f"cannot tell: DescribeQuorum {why} and no controller's JMX was ever read")
    if not voucher:
        ever = state.watch.answered_at is not None or state.jmx_vouched
        return Trust(False, "no active controller answers" if ever else "no controller has answered yet")
    if state.lost and state.vouched_since is not None and now - state.vouched_since < SETTLE_S:
        return Trust(
            False, "a controller answers again, but it has not had the time to notice which brokers are missing"
        )
    return Trust(True, voucher)


def _jmx_voucher(jmx: Reading[JmxNode], window: float, now: float) -> str:
    parts = testimony(jmx, window, now)
    active = active_by_jmx(parts)
    if active is not None:
        return f"node {active} is the active controller by its JMX"
    lately = applied_lately(parts, window, now)
    return f"node {lately} applies new metadata by its JMX" if lately is not None else ""


def _viewed_at(cluster: Reading[ClusterFacts], before: float | None) -> float | None:
    part = cluster.parts.get(WHOLE_CLUSTER)
    return part.taken_at if part is not None and part.value.cluster_id is not None else before
