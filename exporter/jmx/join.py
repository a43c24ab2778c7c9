"""Joins the samples of several nodes into one block per family, with label sets that last as long as every node's do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from exporter.blocks import Block, LabelSets
from exporter.jmx.facts import JmxColumns, JmxNode


@dataclass(frozen=True, slots=True, eq=False)
class _Joined:
    """For one set of columns: where each sample of each family stands in the nodes' values laid end to end."""

    columns: tuple[JmxColumns, ...]
    order: npt.NDArray[np.int64]
    families: tuple[tuple[str, LabelSets, int, int], ...]


class JmxBlocks:
    """Remembers how the newest nodes were joined: as long as no node's columns change, a call costs a copy of the values."""

    def __init__(self) -> None:
        self._joined: _Joined | None = None

    def __call__(self, nodes: Iterable[JmxNode]) -> list[Block]:
        """One block per family, its rows in the order of the nodes given."""
        nodes = list(nodes)
        if not nodes:
            return []
        columns = tuple(n.columns for n in nodes)
        joined = self._joined
        if (
            joined is None
            or len(joined.columns) != len(columns)
            or any(a is not b for a, b in zip(joined.columns, columns, strict=True))
        ):
            joined = self._joined = _join(columns)
        values = np.concatenate([n.values for n in nodes])[joined.order]
        return [Block(name, labels, values[start:end]) for name, labels, start, end in joined.families]


def _join(columns: tuple[JmxColumns, ...]) -> _Joined:
    rows: dict[str, list[tuple[str, ...]]] = {}
    names: dict[str, tuple[str, ...]] = {}
    places: dict[str, list[int]] = {}
    base = 0
    for node in columns:
        for family, labels, start in zip(node.families, node.labels, node.starts, strict=False):
            names[family] = labels.names
            rows.setdefault(family, []).extend(labels.rows)
            places.setdefault(family, []).extend(range(base + start, base + start + len(labels)))
        base += node.starts[-1]
    families: list[tuple[str, LabelSets, int, int]] = []
    start = 0
    for family, found in rows.items():
        families.append((family, LabelSets(names[family], found), start, start + len(found)))
        start += len(found)
    order = np.array([p for family in rows for p in places[family]], dtype=np.int64)
    return _Joined(columns, order, tuple(families))
