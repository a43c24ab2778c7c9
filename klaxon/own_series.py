"""Samples Klaxon's own registry into the history, so that rules and trees can ask about Klaxon itself."""

from __future__ import annotations

from typing import Final

import numpy as np
from prometheus_client import CollectorRegistry

from exporter.blocks import Block
from exporter.history.history import History
from exporter.metrics.catalogue import PROCESS_ROWS
from exporter.metrics.families.lasting import Lasting

EVERY_S: Final = 5.0
"""Seconds between two samples, as often as the fastest collectors give theirs."""


class OwnSeries:
    """Takes the families of the process that somebody asks for."""

    def __init__(self, registry: CollectorRegistry, history: History) -> None:
        self._registry = registry
        self._history = history
        self._lasting = Lasting()
        self._sampled_at = 0.0

    def sample(self, now: float) -> None:
        """Once on each point of the grid of five seconds; ``now`` is Unix seconds."""
        at = now - now % EVERY_S
        if at == self._sampled_at:
            return
        self._sampled_at = at
        wanted = {row.name: row.labels for row in PROCESS_ROWS if row.name in self._history.kept}
        # The registry knows a counter by its name without the ending.
        samples: dict[str, dict[tuple[str, ...], float]] = {name: {} for name in wanted}
        for family in self._registry.collect():
            for sample in family.samples:
                if sample.name in wanted:
                    row = tuple(sample.labels[label] for label in wanted[sample.name])
                    samples[sample.name][row] = sample.value
        blocks = [
            Block(
                name,
                self._lasting.labels(name, wanted[name], list(found)),
                np.array(list(found.values()), dtype=np.float64),
            )
            for name, found in samples.items()
        ]
        self._history.append("", blocks, round(now * 1000), wanted)
