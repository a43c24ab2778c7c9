"""Some of a block's series: label sets chosen once and handed out as the same object as long as those they were chosen from last."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from threading import Lock
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from exporter.blocks import Block, LabelSets

Choose = Callable[[LabelSets], Sequence[int]]
"""Which rows of label sets are wanted, ascending."""

_Chosen = tuple[LabelSets, npt.NDArray[np.int64]]


class Subsets:
    """Remembers what was chosen, by label sets and by who asks; label sets that are gone are forgotten. Any thread may ask."""

    def __init__(self) -> None:
        self._known: WeakKeyDictionary[LabelSets, dict[Hashable, _Chosen | None]] = WeakKeyDictionary()
        self._lock = Lock()

    def of(self, block: Block, asked: Hashable, choose: Choose) -> Block:
        """The block with the series that ``choose`` picks, which is called once per label sets and ``asked``; the block itself where it picks all."""
        with self._lock:
            known = self._known.setdefault(block.labels, {})
        if asked not in known:
            known[asked] = _chosen(block.labels, choose(block.labels))
        chosen = known[asked]
        return block if chosen is None else Block(block.metric, chosen[0], block.values[chosen[1]])


def _chosen(labels: LabelSets, rows: Sequence[int]) -> _Chosen | None:
    """None for all rows: a value that named its own weak key would keep it for ever."""
    if len(rows) == len(labels):
        return None
    return LabelSets(labels.names, [labels.rows[i] for i in rows]), np.array(rows, dtype=np.int64)
