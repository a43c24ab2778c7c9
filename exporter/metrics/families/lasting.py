"""Blocks whose label sets last: what did not change is handed out again as the same object, so that page and history keep what they made of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

import numpy as np

from exporter.blocks import NO_LABELS, Block, LabelSets
from exporter.facts.partitions import I64, Bool, PartitionTable
from exporter.memo import Memo
from exporter.reading import Reading
from exporter.snapshot import Snapshot

T = TypeVar("T")
Row = tuple[str, ...]
Blocks = list[Block]
_Some = tuple[LabelSets, Bool, LabelSets]
"""All, which of them, and these."""


class Lasting(Memo):
    """The memory of one cluster's families: label sets and whole blocks by key."""

    def __init__(self) -> None:
        super().__init__()
        self._labels: dict[str, LabelSets] = {}
        self.partitions: tuple[PartitionTable, LabelSets] | None = None
        """The label sets of every partition, and the table that they were last those of."""
        self._some: dict[str, _Some] = {}

    def block(self, metric: str, names: tuple[str, ...], samples: Iterable[tuple[Row, float]]) -> Block:
        """A small family from (label values, value) pairs."""
        pairs = list(samples)
        values = np.array([v for _, v in pairs], dtype=np.float64)
        return Block(metric, self.labels(metric, names, [r for r, _ in pairs]), values)

    def labels(self, key: str, names: tuple[str, ...], rows: Sequence[Row]) -> LabelSets:
        """The label sets kept under ``key`` as long as the rows are equal."""
        known = self._labels.get(key)
        if known is None or known.rows != rows or known.names != names:
            known = self._labels[key] = LabelSets(names, rows)
        return known

    def some(self, key: str, labels: LabelSets, mask: Bool) -> LabelSets:
        """The label sets where ``mask`` is true; ``labels`` itself when it is true everywhere."""
        if mask.all():
            return labels
        known = self._some.get(key)
        if known is None or not _same(known, labels, mask):
            # Families that lack the same series share their label sets.
            known = next((other for other in self._some.values() if _same(other, labels, mask)), None)
            known = self._some[key] = known or (labels, mask, labels.where(mask))
        return known[2]

    def masked(self, metric: str, labels: LabelSets, values: I64, mask: Bool) -> Block:
        return Block(metric, self.some(metric, labels, mask), values[mask])

    def scalar(self, metric: str, value: float) -> Block:
        return Block(metric, NO_LABELS, np.array([value], dtype=np.float64))

    def ones(self, metric: str, names: tuple[str, ...], rows: Sequence[Row]) -> Block:
        return Block(metric, self.labels(metric, names, rows), np.ones(len(rows), dtype=np.int64))


def _same(some: _Some, labels: LabelSets, mask: Bool) -> bool:
    return some[0] is labels and np.array_equal(some[1], mask)


def trusted(snapshot: Snapshot, collector: str, reading: Reading[T]) -> T | None:
    """The fresh value of a cluster-wide collector, None where it is withdrawn."""
    return None if collector in snapshot.derived.withdrawn else reading.value(snapshot.at)
