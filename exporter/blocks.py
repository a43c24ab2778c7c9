"""Samples of one metric family as columns: what the metrics page renders and what History keeps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress

import numpy as np
import numpy.typing as npt


class LabelSets:
    """The label sets of a block, a row per series; compared by identity.

    Who makes blocks hands out the same object as long as the label sets do not change, so that the page keeps its template and History its
    row numbers. ``names`` do not contain ``cluster``: every block of a Snapshot carries its cluster once.
    """

    __slots__ = ("__weakref__", "chosen_from", "names", "rows")

    def __init__(
        self,
        names: tuple[str, ...],
        rows: Sequence[tuple[str, ...]],
        chosen_from: tuple[LabelSets, npt.NDArray[np.bool_]] | None = None,
    ) -> None:
        self.names = names
        self.rows = rows
        self.chosen_from = chosen_from
        """Others of which these are some, and which: what somebody made of those, row by row, can be chosen from too."""

    def __len__(self) -> int:
        return len(self.rows)

    def where(self, mask: npt.NDArray[np.bool_]) -> LabelSets:
        """Those for which ``mask`` is true."""
        return LabelSets(self.names, list(compress(self.rows, mask.tolist())), (self, mask))


NO_LABELS = LabelSets((), ((),))
"""One series without labels of its own."""


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """One family's samples at one moment: ``values[i]`` belongs to ``labels.rows[i]``; int64 or float64."""

    metric: str
    labels: LabelSets
    values: npt.NDArray[np.int64] | npt.NDArray[np.float64]
