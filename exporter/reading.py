"""What one collector returned: parts by source, each with its age, and the failures of the last poll."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

WHOLE_CLUSTER = -1
"""The source of a part that speaks for the whole cluster; every other source is a node id."""

FRESH_INTERVALS = 3
"""A part older than so many intervals of its collector is gone."""


@dataclass(frozen=True, slots=True)
class Part(Generic[T_co]):
    """What one source said, and when (Unix seconds)."""

    value: T_co
    taken_at: float


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a source gave nothing in the last poll; ``kind`` is a short word for logs and metrics (timeout, refused, skipped, …).

    ``at`` is when the try ended (Unix seconds), ``seconds`` how long it took where that is known.
    """

    kind: str
    message: str
    at: float
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Poll(Generic[T_co]):
    """One run of a collector: what each source gave. ``expected`` are the sources that should answer (brokers, or WHOLE_CLUSTER)."""

    parts: Mapping[int, Part[T_co]]
    failures: Mapping[int, Failure] = field(default_factory=dict)
    expected: frozenset[int] = frozenset({WHOLE_CLUSTER})


@dataclass(frozen=True, slots=True)
class Reading(Generic[T]):
    """The newest parts of a collector, merged over polls: a failed source keeps its last good part with its age until it is no longer fresh."""

    collector: str
    interval: float
    parts: Mapping[int, Part[T]]
    failures: Mapping[int, Failure]
    expected: frozenset[int]
    polled_at: float
    duration: float
    success: bool
    """True when every expected source answered in the last poll."""
    dropped_at: Mapping[int, float] = field(default_factory=dict)
    """Expected source -> when its last part was taken that is no longer kept: its age goes on."""

    @classmethod
    def never(cls, collector: str, interval: float) -> Reading[T]:
        """The reading before the first poll."""
        return cls(collector, interval, {}, {}, frozenset({WHOLE_CLUSTER}), 0.0, 0.0, False)

    def merged(self, poll: Poll[T], at: float, duration: float) -> Reading[T]:
        """This reading with a newer poll laid over it; parts of sources that are no longer expected go."""
        kept = {s: p for s, p in self.parts.items() if s in poll.expected and at - p.taken_at <= self.max_age}
        parts = {**kept, **poll.parts}
        return replace(
            self,
            parts=parts,
            failures=dict(poll.failures),
            expected=poll.expected,
            polled_at=at,
            duration=duration,
            success=not poll.failures and poll.expected <= poll.parts.keys(),
            dropped_at={s: t for s, t in self.last_taken().items() if s in poll.expected and s not in parts},
        )

    def last_taken(self) -> Mapping[int, float]:
        """When each expected source last gave its part (Unix seconds), however long ago; sources that never did are not in it."""
        return {**self.dropped_at, **{s: p.taken_at for s, p in self.parts.items()}}

    @property
    def max_age(self) -> float:
        """Seconds until a part is no longer fresh."""
        return FRESH_INTERVALS * self.interval

    def fresh(self, now: float) -> Mapping[int, Part[T]]:
        """The parts that may still be shown."""
        return {s: p for s, p in self.parts.items() if now - p.taken_at <= self.max_age}

    def value(self, now: float, source: int = WHOLE_CLUSTER) -> T | None:
        """The fresh value of one source, or None."""
        part = self.parts.get(source)
        return part.value if part is not None and now - part.taken_at <= self.max_age else None

    def uncovered(self, now: float) -> frozenset[int]:
        """Expected sources without a fresh part."""
        return frozenset(self.expected - self.fresh(now).keys())


@dataclass(frozen=True, slots=True)
class Coverage:
    """Who answers, for the lifecycle and the walks: per collector the time of each source's newest fresh part.

    ``taken_at[collector][source]`` exists only for fresh parts; ``expected[collector]`` are all sources that should be there. A collector whose facts
    are not trusted has no sources in ``taken_at``. ``unsupported`` are collectors that this cluster cannot have at all.
    """

    cluster: str
    at: float
    taken_at: Mapping[str, Mapping[int, float]]
    expected: Mapping[str, frozenset[int]]
    unsupported: frozenset[str] = frozenset()

    def oldest(self, collector: str, broker: int | None = None) -> float | None:
        """When the oldest needed input was taken; None where one is missing.

        With ``broker`` only that source counts where the collector has sources by broker; without, all expected sources count.
        """
        sources = self.taken_at.get(collector, {})
        needed = self.expected.get(collector, frozenset({WHOLE_CLUSTER}))
        if broker is not None and WHOLE_CLUSTER not in needed:
            needed = frozenset({broker})
        if not needed or not needed <= sources.keys():
            return None
        return min(sources[s] for s in needed)

    def covers(self, collector: str, broker: int | None = None) -> bool:
        return self.oldest(collector, broker) is not None
