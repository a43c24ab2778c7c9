"""How much detail of a cluster stands on the page: names and levels that are configured, and a ceiling on its series.

Only the page is shaped: History, rules and trees see every series, and totals are counted before anything is left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final

import numpy as np

from exporter.blocks import Block, LabelSets
from exporter.metrics.catalogue import MetricRow, Owner
from exporter.metrics.config import MetricsConfig
from exporter.metrics.names import Blocks, Names

BACK_BELOW: Final = 0.9
"""Dropped detail comes back when the page would then have fewer series than this share of the ceiling …"""
BACK_AFTER_S: Final = 300.0
"""… for so many seconds."""


class Level(StrEnum):
    """The finest thing that a family has a series for."""

    PARTITION = "partition"
    TOPIC = "topic"
    GROUP = "group"


_DROPPED_FIRST: Final = {level: place for place, level in enumerate(Level)}


def level_of(row: MetricRow) -> Level | None:
    """None for families that are no detail of topics or groups, and for those about Klaxon itself."""
    if row.owner is Owner.SELF:
        return None
    if "partition" in row.labels:
        return Level.PARTITION
    if "topic" in row.labels:
        return Level.TOPIC
    return Level.GROUP if "consumergroup" in row.labels else None


class Detail:
    """Shapes the blocks of one cluster, one publish after the other. What did not change is handed out again as the same object."""

    def __init__(self, config: MetricsConfig, catalogue: Mapping[str, MetricRow]) -> None:
        self._names = Names(config)
        self._levels = {name: level for name, row in catalogue.items() if (level := level_of(row)) is not None}
        self._sparse = frozenset(name for name, row in catalogue.items() if row.sparse)
        self._left_out = frozenset(name for name in self._levels if self._too_fine(catalogue[name], config))
        self._ceiling = Ceiling(config.ceiling)
        self._owners = LabelSets(("collector",), [])

    def shown(self, blocks: Blocks, now: float) -> tuple[dict[str, list[Block]], list[Block]]:
        """The blocks for the page by owner, and those that say how it was shaped, which are among them. ``now`` in Unix seconds."""
        named = self._names.shown(blocks)
        kept = {owner: [b for b in some if b.metric not in self._left_out] for owner, some in named.items()}
        kept.setdefault("self", [])
        own = len(kept) + len(_LEVELS)
        dropped = self._ceiling.dropped(self._sizes(kept), sum(map(_size, kept.values())) + own, now)
        page = {owner: [b for b in some if b.metric not in dropped] for owner, some in kept.items()}
        told = self._told(page, own, dropped)
        page["self"] += told
        return page, told

    def _too_fine(self, row: MetricRow, config: MetricsConfig) -> bool:
        """Sparse families stay: they only have series where something is wrong."""
        level = config.groups.level if "consumergroup" in row.labels else config.topics.level
        return not row.sparse and _DROPPED_FIRST[self._levels[row.name]] < _DROPPED_FIRST[Level(level)]

    def _sizes(self, blocks: Blocks) -> dict[str, int]:
        """Series by family in the order in which they are dropped: level by level, the largest first, those that show faults last."""
        sizes: Counter[str] = Counter()
        for some in blocks.values():
            for block in some:
                if block.metric in self._levels and len(block.labels):
                    sizes[block.metric] += len(block.labels)
        order = sorted(sizes, key=lambda name: (_DROPPED_FIRST[self._levels[name]], name in self._sparse, -sizes[name]))
        return {name: sizes[name] for name in order}

    def _told(self, page: Blocks, own: int, dropped: Iterable[str]) -> list[Block]:
        rows = [(owner,) for owner in page]
        if rows != self._owners.rows:
            self._owners = LabelSets(("collector",), rows)
        counts = [_size(some) + (own if owner == "self" else 0) for owner, some in page.items()]
        by_level = Counter(self._levels[name] for name in dropped)
        return [
            Block("klaxon_page_series", self._owners, np.array(counts, dtype=np.int64)),
            Block("klaxon_page_detail_dropped", _LEVELS, np.array([by_level[level] for level in Level])),
        ]


_LEVELS: Final = LabelSets(("level",), [(str(level),) for level in Level])


def _size(blocks: Iterable[Block]) -> int:
    return sum(len(block.labels) for block in blocks)


class Ceiling:
    """Which families are off the page so that no more than ``limit`` series are on it."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._dropped: list[str] = []
        self._calm_since: float | None = None
        self._most_needed = 0

    def dropped(self, sizes: Mapping[str, int], total: int, now: float) -> frozenset[str]:
        """``sizes`` of the families that may go, in the order in which they go, within ``total`` series of the whole page."""
        size = total - sum(sizes.get(name, 0) for name in self._dropped)
        for name in sizes:
            if size <= self._limit:
                break
            if name not in self._dropped:
                self._dropped.append(name)
                size -= sizes[name]
                self._calm_since = None
        self._bring_back(sizes, total, now)
        return frozenset(self._dropped)

    def _bring_back(self, sizes: Mapping[str, int], total: int, now: float) -> None:
        """What was dropped last comes back first, once as much has been enough for the whole of the wait."""
        needed = self._needed(sizes, total)
        if needed == len(self._dropped):
            self._calm_since = None
        elif self._calm_since is None or now < self._calm_since:
            self._calm_since, self._most_needed = now, needed
        else:
            self._most_needed = max(self._most_needed, needed)
            if now - self._calm_since >= BACK_AFTER_S:
                del self._dropped[self._most_needed :]
                self._calm_since = None

    def _needed(self, sizes: Mapping[str, int], total: int) -> int:
        """How many of those dropped, from the first on, keep the page below the share at which detail may come back."""
        for number, name in enumerate(self._dropped):
            if total < BACK_BELOW * self._limit:
                return number
            total -= sizes.get(name, 0)
        return len(self._dropped)
