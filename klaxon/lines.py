"""The line of one cluster: from its collectors' Snapshots to the page, the history and the coverage that rules ask for."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Final

from alerts.engine.thresholds import ThresholdBlocks, Thresholds
from exporter.blocks import Block
from exporter.history.history import History
from exporter.metrics.catalogue import KAFKA_ROWS, Owner, complete, jmx_rows
from exporter.metrics.config import EVERY_DETAIL, MetricsConfig
from exporter.metrics.detail import Detail
from exporter.metrics.families import Families
from exporter.metrics.page import Page
from exporter.reading import Coverage
from exporter.snapshot import Snapshot

GRID_S: Final = 15.0
"""Every family is sampled this often, as a scrape would; what a collector has just read is sampled at once."""

FED_BY: Final[Mapping[str, frozenset[str]]] = {
    "cluster": frozenset({"cluster", "jmx"}),
    "legs": frozenset({"cluster", "jmx", "quorum"}),
    "topics": frozenset({"topics", "jmx"}),
    "offsets": frozenset({"offsets", "groups", "topics"}),
    "groups": frozenset({"groups", "offsets"}),
    "log_dirs": frozenset({"log_dirs"}),
    "quorum": frozenset({"quorum"}),
    "reassignments": frozenset({"reassignments", "log_dirs"}),
    "throttles": frozenset({"throttles", "reassignments"}),
    "throttled_topics": frozenset({"throttled_topics", "reassignments"}),
    "transactions": frozenset({"transactions"}),
    "stuck_offsets": frozenset({"stuck_offsets"}),
    "producers": frozenset({"producers", "transactions"}),
    "jmx": frozenset({"jmx"}),
    "configs": frozenset({"configs"}),
    "topic_configs": frozenset({"topic_configs"}),
    "quotas": frozenset({"quotas"}),
    "certificates": frozenset({"certificates"}),
    "certificate_files": frozenset({"certificate_files"}),
    "self": frozenset(),
}
"""Whose blocks change with which collector's poll; ``self`` is sampled each time."""

_OWNED: Final[Mapping[str, tuple[str, ...]]] = {
    owner: tuple(
        r.name for r in (*KAFKA_ROWS, *jmx_rows()) if r.name != "kafka_controller_alive" and r.owner is Owner(owner)
    )
    for owner in FED_BY
}


class Line:
    """Takes each Snapshot of one cluster. Calls come from several threads; they pass one at a time, and an older Snapshot than the last is left out."""

    def __init__(
        self,
        cluster: str,
        page: Page,
        history: History,
        thresholds: Thresholds,
        metrics: MetricsConfig = EVERY_DETAIL,
    ) -> None:
        self.cluster = cluster
        self._page = page
        self._history = history
        self._families = Families()
        self._thresholds = ThresholdBlocks(thresholds, cluster)
        self._detail = Detail(metrics, complete())
        self._lock = threading.Lock()
        self._snapshot: Snapshot | None = None
        self._sampled_at = 0.0
        self._pending: frozenset[str] = frozenset()
        self._shown: Mapping[str, list[Block]] = {}

    @property
    def series(self) -> Mapping[str, int]:
        """Series on the page by the collector they come from."""
        return {owner: sum(len(block.labels) for block in blocks) for owner, blocks in self._shown.items()}

    @property
    def snapshot(self) -> Snapshot | None:
        """The newest one that is on the page and in the history."""
        return self._snapshot

    def coverage(self) -> Coverage:
        """Of the newest Snapshot that is in the history; nothing is covered before the first."""
        snapshot = self._snapshot
        return snapshot.coverage if snapshot is not None else Coverage(self.cluster, 0.0, {}, {})

    def use_thresholds(self, thresholds: Thresholds) -> None:
        """Take other limits from the next Snapshot on."""
        with self._lock:
            self._thresholds = ThresholdBlocks(thresholds, self.cluster)

    def use_detail(self, metrics: MetricsConfig) -> None:
        """Show other detail on the page from the next Snapshot on; the history keeps what it has."""
        with self._lock:
            self._detail = Detail(metrics, complete())

    def close(self) -> None:
        """The cluster leaves the page, and its series end."""
        with self._lock:
            self._page.publish(self.cluster, {})
            at = self._snapshot.at if self._snapshot is not None else 0.0
            self._history.append(
                self.cluster, [], round(at * 1000) + 1, [name for names in _OWNED.values() for name in names]
            )

    def take(self, snapshot: Snapshot, changed: frozenset[str]) -> None:
        """Render and sample; ``changed`` names the collectors whose polls it brings."""
        with self._lock:
            self._pending |= changed
            if self._snapshot is not None and snapshot.at < self._snapshot.at:
                return
            blocks = self._families.blocks(snapshot)
            blocks["self"].append(self._threshold_block(snapshot))
            shown, told = self._detail.shown(blocks, snapshot.at)
            blocks["self"] += told
            self._page.publish(self.cluster, shown)
            self._shown = shown
            self._sample(snapshot, blocks)
            self._snapshot = snapshot

    def _threshold_block(self, snapshot: Snapshot) -> Block:
        health = snapshot.derived.health
        groups = sorted({g.group for p in snapshot.groups.fresh(snapshot.at).values() for g in p.value.listings})
        return self._thresholds.block(health.table.topics if health is not None else (), groups)

    def _sample(self, snapshot: Snapshot, blocks: Mapping[str, list[Block]]) -> None:
        """Collectors that have polled, or everything when the grid's turn has come."""
        everything = snapshot.at - self._sampled_at >= GRID_S
        if everything:
            self._sampled_at = snapshot.at - snapshot.at % GRID_S
        due = [owner for owner, fed_by in FED_BY.items() if everything or owner == "self" or fed_by & self._pending]
        self._pending = frozenset()
        speaks_for = [name for owner in due for name in _OWNED[owner]]
        if "legs" in due:
            speaks_for.append("kafka_controller_alive")
        self._history.append(
            self.cluster, [b for owner in due for b in blocks[owner]], round(snapshot.at * 1000), speaks_for
        )
