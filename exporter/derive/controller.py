"""Whether an active controller is there: yes and no both need evidence, all else is unknown."""

from __future__ import annotations

from collections.abc import Mapping

from exporter.derive.witnesses import QuorumWatch, active_by_jmx, applied_lately, jmx_window, testimony
from exporter.facts.cluster import Leg, LegName, LegState
from exporter.jmx.aggregate import ACTIVE
from exporter.jmx.facts import JmxNode
from exporter.reading import Part, Reading

FAILING_S = 10.0
"""DescribeQuorum has to fail for so long before anything is concluded: an election takes 1 to 4 s."""
HUNG_CONTROLLER_S = 40.0
"""Through healthy brokers DescribeQuorum times out for 31 s after a controller hung, though another leads by then; failing for longer is evidence by itself."""
SILENT = frozenset({LegState.REFUSED, LegState.TIMEOUT, LegState.ERROR})

Legs = Mapping[int, Mapping[str, Leg]]


def controller_alive(
    watch: QuorumWatch, quorum_interval: float, jmx: Reading[JmxNode], legs: Legs, now: float
) -> bool | None:
    """True: DescribeQuorum answers, or a node says over JMX that it leads. False: it has failed for long and the voters say or show that none leads. Else None."""
    window = jmx_window(watch, jmx)
    parts = testimony(jmx, window, now)
    if watch.answers(now, quorum_interval) or active_by_jmx(parts) is not None:
        return True
    failing = watch.failing_for(now)
    if watch.mute or failing < FAILING_S or applied_lately(parts, window, now) is not None:
        return None
    since = now - failing
    if _majority_refuses(watch.voters, legs, since) or _voters_deny(watch.voters, parts, legs, since):
        return False
    if failing >= HUNG_CONTROLLER_S and _someone_answers(legs, since):
        return False
    return None


def _majority_refuses(voters: frozenset[int], legs: Legs, since: float) -> bool:
    """So many voters have no process on their port that the others are no majority."""
    refused = sum(1 for v in voters if _state(legs, v, LegName.TCP, since) is LegState.REFUSED)
    return bool(voters) and refused >= len(voters) - len(voters) // 2


def _voters_deny(voters: frozenset[int], parts: Mapping[int, Part[JmxNode]], legs: Legs, since: float) -> bool:
    """Every voter that answers over JMX says that it does not lead, and every other one cannot be reached."""
    asked = {v: parts[v].value.value(ACTIVE) for v in voters if v in parts and parts[v].taken_at >= since}
    denied = {v for v, count in asked.items() if count == 0}
    silent = {v for v in voters - denied if _is_silent(legs, v, since)}
    return bool(denied) and denied | silent == voters


def _is_silent(legs: Legs, node: int, since: float) -> bool:
    """It does not answer as a Kafka node; one that does may lead, however silent its JMX is. JMX decides only where there is no other leg."""
    kafka = [_state(legs, node, leg, since) for leg in (LegName.TCP, LegName.API_VERSIONS)]
    if any(state is not None for state in kafka):
        return any(state in SILENT for state in kafka)
    return _state(legs, node, LegName.JMX, since) in SILENT


def _someone_answers(legs: Legs, since: float) -> bool:
    """At least one broker answers, so that it is not our own network that is gone."""
    return any(_state(legs, node, LegName.METADATA, since) is LegState.OK for node in legs)


def _state(legs: Legs, node: int, leg: LegName, since: float) -> LegState | None:
    """How the leg's last try ended, None where it was not tried since then."""
    tried = legs.get(node, {}).get(leg)
    return tried.state if tried is not None and tried.at >= since else None
