"""Who answers: the time of every source's newest fresh and trusted facts, by collector."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from exporter.collectors.groups import INCOMPLETE_KINDS
from exporter.facts.cluster import Leg, LegName
from exporter.reading import WHOLE_CLUSTER, Coverage, Reading

LONGEST_SKIP_S = 60.0
"""For so long the last tried legs of a node stand for it while the circuit breaker skips it."""

UNSUPPORTED = "unsupported"
"""The kind of failure of a source that cannot give the facts, whoever asks."""

ALWAYS = ("self",)
"""What Klaxon knows of itself."""


def coverage(
    cluster: str,
    readings: Mapping[str, Reading[Any]],
    *,
    withdrawn: Collection[str],
    unsupported: Collection[str],
    legs: Mapping[int, Mapping[str, Leg]],
    pulsed_at: float | None,
    viewed_at: float | None,
    now: float,
    brokers: Collection[int] = (),
    undecided: Collection[int] = (),
) -> Coverage:
    """Coverage by owner. ``undecided``: brokers that are gone and of which a verdict is still to be reached. ``readings`` by collector name; ``pulsed_at``: when the nodes were last probed; ``viewed_at``: when a broker last gave its view."""
    taken = {name: {} if name in withdrawn else _complete(_fresh(r, now), r) for name, r in readings.items()}
    if taken.get("cluster"):
        # The newest pulse may have brought legs and no view: then the nodes' registrations are older than it.
        fresh_view = viewed_at is not None and now - viewed_at <= readings["cluster"].max_age
        taken["cluster"] = {WHOLE_CLUSTER: viewed_at} if fresh_view and viewed_at is not None else {}
    taken["legs"] = _probed(legs, pulsed_at, readings["cluster"], now)
    expected = {name: _askable(r) for name, r in readings.items()}
    expected["legs"] = frozenset(legs) or frozenset({WHOLE_CLUSTER})
    viewed = taken["cluster"].get(WHOLE_CLUSTER)
    taken["departures"] = {} if viewed is None else {b: viewed for b in brokers if b not in undecided}
    expected["departures"] = frozenset(brokers) or frozenset({WHOLE_CLUSTER})
    for name in ALWAYS:
        taken[name] = {WHOLE_CLUSTER: now}
        expected[name] = frozenset({WHOLE_CLUSTER})
    gone = frozenset(unsupported)
    return Coverage(
        cluster,
        now,
        {name: sources for name, sources in taken.items() if name not in gone},
        {name: sources for name, sources in expected.items() if name not in gone},
        gone,
    )


def _askable(reading: Reading[Any]) -> frozenset[int]:
    """Without the sources that cannot give these facts at all while others can, as in the middle of an upgrade."""
    able = frozenset(
        s for s in reading.expected if s not in reading.failures or reading.failures[s].kind != UNSUPPORTED
    )
    return able or reading.expected


def _fresh(reading: Reading[Any], now: float) -> dict[int, float]:
    return {source: part.taken_at for source, part in reading.fresh(now).items()}


def _complete(taken: Mapping[int, float], reading: Reading[Any]) -> dict[int, float]:
    """Without the coordinators that are loading or handing over: groups and transactions that they will have are in nobody's part yet."""
    incomplete = {source for source, f in reading.failures.items() if f.kind in INCOMPLETE_KINDS}
    return {source: at for source, at in taken.items() if source not in incomplete}


def _probed(
    legs: Mapping[int, Mapping[str, Leg]], pulsed_at: float | None, cluster: Reading[Any], now: float
) -> dict[int, float]:
    if pulsed_at is None or now - pulsed_at > cluster.max_age:
        return {}
    newest = {
        node: max((leg.at for n, leg in tried.items() if n != LegName.JMX), default=0.0) for node, tried in legs.items()
    }
    return {node: pulsed_at for node, at in newest.items() if pulsed_at - at <= LONGEST_SKIP_S}
