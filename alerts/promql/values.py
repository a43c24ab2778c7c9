"""What an evaluation returns: a scalar, a string, an instant vector or a range vector."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from exporter.series import Labels, Series

Floats: TypeAlias = npt.NDArray[np.float64]
Times: TypeAlias = npt.NDArray[np.int64]
Index: TypeAlias = npt.NDArray[np.intp]
Mask: TypeAlias = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Scalar:
    value: float


@dataclass(frozen=True, slots=True)
class String:
    value: str


@dataclass(frozen=True, slots=True)
class Sample:
    """One element of a vector; its time is the evaluation's."""

    labels: Labels
    value: float


@dataclass(frozen=True, slots=True, eq=False)
class Vector:
    """One value per label set, as two columns; iterate for ``Sample``s. In the order of the series, or as topk and sort left it."""

    labels: Sequence[Labels]
    values: Floats

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> Iterator[Sample]:
        return map(Sample, self.labels, self.values.tolist())

    @property
    def samples(self) -> list[Sample]:
        return list(self)

    def by_labels(self) -> dict[Labels, float]:
        """The value of every label set."""
        return dict(zip(self.labels, self.values.tolist(), strict=True))


@dataclass(frozen=True, slots=True, eq=False)
class Matrix:
    """The samples of every series in a range selector's window, stale markers left out."""

    series: list[Series]


Value: TypeAlias = Scalar | String | Vector | Matrix
