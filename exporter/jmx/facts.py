"""What a node's JMX says, as facts: the node's state, and its samples as columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from exporter.blocks import Block, LabelSets
from exporter.facts.cluster import Role

F64 = npt.NDArray[np.float64]

RUNNING = 3
"""BrokerState (org.apache.kafka.metadata.BrokerState) of a broker that serves."""
STARTING_STATES = frozenset({0, 1, 2})
"""Not running yet, starting, recovery of logs."""


class JmxColumns:
    """The label sets of a node's samples, family by family; compared by identity, the same object as long as they do not change.

    Samples ``starts[i]`` to ``starts[i + 1]`` belong to ``families[i]`` with the label sets ``labels[i]`` (``broker`` first).
    """

    __slots__ = ("_index", "families", "labels", "starts")

    def __init__(self, families: tuple[str, ...], labels: tuple[LabelSets, ...]) -> None:
        self.families = families
        self.labels = labels
        self.starts = (0, *np.cumsum([len(sets) for sets in labels], dtype=np.int64).tolist())
        self._index: dict[str, int] | None = None

    def family(self, metric: str) -> int | None:
        """The position of a family, None where the node has no samples of it."""
        if self._index is None:
            self._index = {name: i for i, name in enumerate(self.families)}
        return self._index.get(metric)


@dataclass(frozen=True, slots=True, eq=False)
class JmxNode:
    """One node at one read. Samples that its state forbids to show are not among the columns; see exporter.jmx.gate."""

    node_id: int
    taken_at: float
    seconds: float
    roles: frozenset[Role]
    """What the node is or was: a broker that lost its bean stays a broker."""
    broker_state: int | None
    """BrokerState's number, None on a node without that bean."""
    raft_state: str | None
    """current-state of raft-metrics: leader, follower, observer, candidate, …"""
    starting: bool
    """Not serving yet: in start or log recovery, or a controller that does not know the quorum's leader yet."""
    bean_lost: bool
    """A broker that has run for a while and whose BrokerState is gone: the process lives, the broker in it does not."""
    ready: bool
    """Its kafka.* beans can be believed."""
    version: str | None
    started_at: float | None
    """When the process started, Unix seconds."""
    beans_expected: int
    beans_missing: int
    """Beans that a node of this version and roles has and this one did not give."""
    warnings: tuple[str, ...]
    columns: JmxColumns
    values: F64
    memory: Mapping[str, object] = field(default_factory=dict, repr=False)
    """What the next observation compares with, to hand out the same columns."""

    @property
    def is_broker(self) -> bool:
        return Role.BROKER in self.roles

    @property
    def is_controller(self) -> bool:
        return Role.CONTROLLER in self.roles

    def blocks(self) -> tuple[Block, ...]:
        """The node's samples, a block per family."""
        columns, values = self.columns, self.values
        return tuple(
            Block(name, labels, values[start:end])
            for name, labels, start, end in zip(
                columns.families, columns.labels, columns.starts, columns.starts[1:], strict=False
            )
        )

    def samples(self, metric: str) -> tuple[tuple[Mapping[str, str], float], ...]:
        """The (labels, value) pairs of one family; empty where it is withheld or missing."""
        position = self.columns.family(metric)
        if position is None:
            return ()
        labels = self.columns.labels[position]
        start = self.columns.starts[position]
        values = self.values[start : start + len(labels)].tolist()
        return tuple((dict(zip(labels.names, row, strict=True)), v) for row, v in zip(labels.rows, values, strict=True))

    def value(self, metric: str, **labels: str) -> float | None:
        """The value of the one series with these labels (``broker`` apart); None where it is withheld or missing."""
        for row, value in self.samples(metric):
            if all(row.get(name) == wanted for name, wanted in labels.items()):
                return value
        return None
