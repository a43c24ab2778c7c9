"""Who can vouch for an active controller: DescribeQuorum's answers, and what nodes say over JMX while they can still be reached there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from exporter.facts.quorum import Quorum
from exporter.jmx.aggregate import ACTIVE, APPLIED_LAG, EPOCH, active_controller
from exporter.jmx.facts import JmxNode
from exporter.reading import WHOLE_CLUSTER, Part, Reading

BROKER_APPLIED_LAG = "kafka_server_brokermetadatametrics_last_applied_record_lag_ms"

QUORUM_WINDOW_S = 10.0
"""How long an answer of DescribeQuorum vouches: two polls of the default interval. A killed controller is replaced in 1 to 4 s."""
JMX_WINDOW_S = 15.0
"""How long an answer over JMX vouches, unless the node has failed to answer or changed its word since. Covers a read that waits 5 s for a hung node, twice."""
LONGEST_APPLIED_LAG_S = 10.0
"""A live controller writes a record each 0.5 s; without one the lag grows by a second per second."""
MUTE_KINDS = frozenset({"unsupported", "denied"})
"""Failures of DescribeQuorum that say nothing about the controller: the cluster cannot tell us, whoever leads."""
OUR_OWN_KINDS = frozenset({"child"})
"""Failures of a JMX read that are ours, not the node's."""


@dataclass(frozen=True, slots=True)
class QuorumWatch:
    """How DescribeQuorum has fared: when it last answered, since when it fails without an answer between, and what it last said of the voters."""

    answered_at: float | None = None
    failing_since: float | None = None
    mute: str = ""
    """Why it never answers (a kind of MUTE_KINDS, or ``off`` where it is not asked), empty where it may."""
    voters: frozenset[int] = frozenset()

    def answers(self, now: float, interval: float) -> bool:
        """Whether the last answer is recent enough to vouch for a controller."""
        return self.answered_at is not None and now - self.answered_at <= max(QUORUM_WINDOW_S, interval + 5.0)

    def failing_for(self, now: float) -> float:
        """Seconds since the first failed call after the last answer; 0 while the last call answered."""
        return now - self.failing_since if self.failing_since is not None else 0.0


def watch(previous: QuorumWatch, reading: Reading[Quorum]) -> QuorumWatch:
    """The watch after the newest poll of the quorum."""
    if not reading.polled_at:
        return previous
    failure = reading.failures.get(WHOLE_CLUSTER)
    part = reading.parts.get(WHOLE_CLUSTER)
    if failure is None:
        if part is None:
            return previous
        return QuorumWatch(part.taken_at, None, "", frozenset(v.node for v in part.value.voters))
    # What answered before is offered: a broker that no longer says so is a failure like others.
    withdrawn = failure.kind == "unsupported" and previous.answered_at is not None
    if failure.kind in MUTE_KINDS and not withdrawn:
        return replace(previous, mute=failure.kind, failing_since=None)
    since = previous.failing_since if previous.failing_since is not None else reading.polled_at - reading.duration
    return replace(previous, failing_since=since, mute="")


def jmx_window(quorum: QuorumWatch, reading: Reading[JmxNode]) -> float:
    """For how many seconds an answer over JMX vouches. Where DescribeQuorum cannot answer nothing asks for early reads, so that it takes two intervals."""
    return max(JMX_WINDOW_S, 2 * reading.interval) if quorum.mute else JMX_WINDOW_S


def testimony(reading: Reading[JmxNode], window: float, now: float) -> Mapping[int, Part[JmxNode]]:
    """The JMX answers that still count: recent, and of nodes that have not failed to answer since."""
    failed = {n for n, f in reading.failures.items() if f.kind not in OUR_OWN_KINDS}
    return {n: p for n, p in reading.parts.items() if n not in failed and now - p.taken_at <= window}


def active_by_jmx(parts: Mapping[int, Part[JmxNode]]) -> int | None:
    """The node that says it is the active controller, unless another node knows a higher epoch: then it has been deposed and has not noticed yet."""
    nodes = [p.value for p in parts.values()]
    active = active_controller(nodes)
    if active is None or (active.value(EPOCH) or 0.0) < _highest_epoch(nodes):
        return None
    return active.node_id


def applied_lately(parts: Mapping[int, Part[JmxNode]], window: float, now: float) -> int | None:
    """A node that applied a metadata record less than 10 s before it was asked, and not long ago seen from now; None where there is none."""
    for node, part in sorted(parts.items()):
        lag = applied_lag(part.value)
        if lag is None or lag >= LONGEST_APPLIED_LAG_S:
            continue
        if lag + now - part.taken_at < window:
            return node
    return None


def applied_lag(node: JmxNode) -> float | None:
    """Seconds since the node's newest applied metadata record; an active controller's own gauge is always 0 and says nothing."""
    lag = node.value(BROKER_APPLIED_LAG)
    if lag is None and node.value(ACTIVE) == 0:
        lag = node.value(APPLIED_LAG)
    return lag / 1000 if lag is not None and lag >= 0 else None


def _highest_epoch(nodes: Iterable[JmxNode]) -> float:
    return max((n.value(EPOCH) or 0.0 for n in nodes), default=0.0)
