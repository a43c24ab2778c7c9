"""What would break if a broker, or all brokers of a rack, stopped now."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from exporter.derive.health import PartitionHealth
from exporter.facts.cluster import Node
from exporter.facts.partitions import I64, Bool

UNKNOWN = -1


@dataclass(frozen=True, slots=True, eq=False)
class Stops:
    """One entry per broker or rack of ``who``: what stops with it. Only brokers that are registered and not fenced count: the others have stopped already.

    ``offline``: partitions that have a leader and would have none, since no other replica is in sync. ``under_min_isr``: of the others those that can be written with acks=all
    and could not be then (in-sync replicas < ``min_isr`` of :class:`PartitionHealth`); ``UNKNOWN`` where min.insync.replicas of any of them is not known. ``leaders``: partitions that would get another leader.
    A replica that is not in sync cannot take over: neither unclean elections nor eligible leader replicas (KIP-966) are counted on.
    """

    who: tuple[str, ...]
    offline: I64
    under_min_isr: I64
    leaders: I64


@dataclass(frozen=True, slots=True, eq=False)
class BlastRadius:
    """``racks`` and ``in_one_rack`` (one entry per partition: all of its two or more replicas are in one rack) are None where not every
    broker has a rack; ``in_one_rack`` is None too where there is only one rack."""

    brokers: Stops
    racks: Stops | None
    in_one_rack: Bool | None


def blast_radius(health: PartitionHealth, nodes: Iterable[Node]) -> BlastRadius:
    """``nodes`` are the brokers that should be there; one that no longer runs keeps the rack that it had."""
    brokers = sorted(nodes, key=lambda n: n.id)
    living = [n for n in brokers if n.registered and not n.fenced]
    by_broker = _stops(health, [str(n.id) for n in living], {n.id: i for i, n in enumerate(living)})
    racks = {n.id: n.rack for n in brokers if n.rack is not None}
    if not brokers or len(racks) < len(brokers):
        # Kafka's own assignment is rack aware only where every broker has a rack.
        return BlastRadius(by_broker, None, None)
    names = sorted({racks[n.id] for n in living})
    by_rack = _stops(health, names, {n.id: names.index(racks[n.id]) for n in living})
    return BlastRadius(by_broker, by_rack, _in_one_rack(health, racks) if len(set(racks.values())) > 1 else None)


def _stops(health: PartitionHealth, who: list[str], place: dict[int, int]) -> Stops:
    """Whatever stops takes the in-sync replicas of its brokers with it; ``place`` says for each broker which of ``who`` that is."""
    isr, count = health.table.isr, max(len(who), 1)
    owner = _translated(isr.values, place)
    mine = owner >= 0
    # One entry per partition and whatever holds in-sync replicas of it, with how many.
    pairs, lost = np.unique(isr.owners()[mine] * count + owner[mine], return_counts=True)
    row, stopped = pairs // count, pairs % count
    in_sync, needed = health.in_sync[row], health.min_isr[row]
    led = ~health.leaderless[row]
    left = in_sync - lost
    offline = led & (left == 0)
    others = led & (left > 0)
    falls = others & (in_sync >= needed) & (left < needed)
    leads = others & (_translated(health.table.leader[row], place) == stopped)

    def total(mask: Bool) -> I64:
        return np.bincount(stopped[mask], minlength=count)[: len(who)].astype(np.int64)

    unknown = total(others & (needed == 0)) > 0
    return Stops(tuple(who), total(offline), np.where(unknown, UNKNOWN, total(falls)), total(leads))


def _in_one_rack(health: PartitionHealth, racks: dict[int, str]) -> Bool:
    names = sorted(set(racks.values()))
    replicas = health.table.replicas
    rack = _translated(replicas.values, {b: names.index(r) for b, r in racks.items()})
    several: Bool = health.replicas > 1
    lowest = np.full(len(health.table), len(names), dtype=np.int64)
    highest = np.full(len(health.table), -1, dtype=np.int64)
    np.minimum.at(lowest, replicas.owners(), rack)
    np.maximum.at(highest, replicas.owners(), rack)
    # A replica on a broker that nobody knows (-1) is in no rack, so that its partition is not judged.
    together: Bool = several & (lowest == highest) & (lowest >= 0)
    return together


def _translated(brokers: npt.NDArray[np.int32], place: dict[int, int]) -> I64:
    """The place of each broker, -1 where it has none."""
    known, at = np.unique(brokers, return_inverse=True)
    return np.array([place.get(int(b), -1) for b in known], dtype=np.int64)[at]
