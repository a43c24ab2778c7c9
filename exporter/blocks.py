"""Samples of one metric family as columns: what the metrics page renders and what History keeps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


class LabelSets:
    """The label sets of a block, a row per series; compared by identity.

    Who makes blocks hands out the same object as long as the label sets do not change, so that the page keeps its template and History its
    row numbers. ``names`` do not contain ``cluster``: every block of a Snapshot carries its cluster once.
    """

    __slots__ = ("__weakref__", "names", "rows")

    def __init__(self, names: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
        self.names = names
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)


NO_LABELS = LabelSets((), ((),))
"""One series without labels of its own."""


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """One family's samples at one moment: ``values[i]`` belongs to ``labels.rows[i]``; int64 or float64."""

    metric: str
    labels: LabelSets
    values: npt.NDArray[np.int64] | npt.NDArray[np.float64]
