"""Limits from the configuration as series: ``klaxon_threshold{name, topic, consumergroup}`` for every cluster, topic and group that exists.

```yaml
thresholds:
  disk_used_ratio: 0.85              # a limit of its own for everything
  overrides:                         # for each limit the first entry that matches and sets it wins; what none sets is as above
    - {cluster: "dev*", set: {disk_used_ratio: 0.95}}
    - {consumergroup: "batch-*", set: {group_lag: 5000000}}
  own:                               # limits that your own rules join
    topic_messages_per_second: {per: topic, value: 1000}
```
Patterns are shell globs (``*``, ``?``, ``[a-z]``), case counts. An override that names no cluster, topic or group pattern matches everything.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Annotated, Any, Final, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, field_validator, model_validator

from exporter.blocks import Block, LabelSets

METRIC: Final = "klaxon_threshold"
Level = Literal["cluster", "topic", "consumergroup"]
Ratio = Annotated[FiniteFloat, Field(gt=0, le=1)]
Positive = Annotated[FiniteFloat, Field(gt=0)]
NotNegative = Annotated[FiniteFloat, Field(ge=0)]

_NAME = re.compile(r"[a-z][a-z0-9_]*", re.ASCII)
_STRICT: Final = ConfigDict(extra="forbid", frozen=True)


class Limits(BaseModel):
    """The limits that shipped rules join, each with the value that a careful operator would begin with."""

    model_config = _STRICT

    disk_used_ratio: Ratio = Field(
        default=0.80, description="Used share of a log dir's volume above which it counts as filling (0 to 1)."
    )
    disk_used_ratio_critical: Ratio = Field(
        default=0.90, description="Used share of a log dir's volume above which it counts as nearly full (0 to 1)."
    )
    offsets_topic_bytes: Positive = Field(
        default=20_000_000_000,
        description="Bytes of __consumer_offsets on one broker above which its compaction is in doubt.",
    )
    broker_replicas: Positive = Field(default=4000, description="Replicas that one broker may hold.")
    leaders_not_preferred_ratio: Ratio = Field(
        default=0.10,
        description="Share of the partitions that may be led by another than their preferred broker (0 to 1).",
    )
    metadata_snapshot_seconds: Positive = Field(
        default=10_800, description="Age that the last snapshot of the metadata may have, in seconds."
    )
    request_handler_idle_ratio: Ratio = Field(
        default=0.30, description="Idle share of the request handlers below which they count as busy (0 to 1)."
    )
    request_handler_idle_ratio_critical: Ratio = Field(
        default=0.10, description="Idle share of the request handlers below which all clients wait (0 to 1)."
    )
    network_idle_ratio: Ratio = Field(
        default=0.30, description="Idle share of the network threads below which they count as busy (0 to 1)."
    )
    network_idle_ratio_critical: Ratio = Field(
        default=0.10, description="Idle share of the network threads below which all clients wait (0 to 1)."
    )
    request_queue: Positive = Field(
        default=250, description="Requests that may wait in a broker's queue; half of queued.max.requests."
    )
    request_queue_critical: Positive = Field(
        default=450,
        description="Requests in a broker's queue at which it is all but full (queued.max.requests is 500 by default).",
    )
    produce_failed_ratio: Ratio = Field(default=0.01, description="Share of produce requests that may fail (0 to 1).")
    fetch_failed_ratio: Ratio = Field(default=0.01, description="Share of fetch requests that may fail (0 to 1).")
    produce_slow_ms: Positive = Field(
        default=250, description="p99 of a produce request, in milliseconds, below which it never counts as slow."
    )
    fetch_slow_ms: Positive = Field(
        default=100,
        description="p99 of a broker's own work on a fetch, in milliseconds, below which it never counts as slow.",
    )
    produce_p99_ms_fixed: NotNegative = Field(
        default=0, description="Fixed limit for p99 of a produce request in milliseconds, 100 for instance; 0 is off."
    )
    authentication_failures_per_second: Positive = Field(
        default=1, description="Failed authentications a second that a broker may see."
    )
    client_throttle_ms: Positive = Field(
        default=100, description="Milliseconds that a quota may hold back a client's requests."
    )
    heap_used_ratio: Ratio = Field(
        default=0.70, description="Share of the heap in use after a collection above which it counts as high (0 to 1)."
    )
    heap_used_ratio_critical: Ratio = Field(
        default=0.85,
        description="Share of the heap in use after a collection above which it counts as nearly full (0 to 1).",
    )
    gc_time_ratio: Ratio = Field(
        default=0.05, description="Share of the time that collections may stop a node (0 to 1)."
    )
    gc_time_ratio_critical: Ratio = Field(
        default=0.20, description="Share of the time that collections stop a node at which it may be fenced (0 to 1)."
    )
    open_files_ratio: Ratio = Field(default=0.80, description="Share of the files that a process may open (0 to 1).")
    open_files_ratio_critical: Ratio = Field(
        default=0.90, description="Share of the files that a process may open at which it is nearly all (0 to 1)."
    )
    certificate_days: Positive = Field(
        default=30, description="Days before the end of a certificate from which it is reported."
    )
    certificate_days_critical: Positive = Field(
        default=7, description="Days before the end of a certificate from which it is urgent."
    )
    topic_replication_factor: Positive = Field(default=2, description="Replicas that a topic should have at least.")
    topic_silent_seconds: NotNegative = Field(
        default=0, description="Seconds that a topic may be without a new record; 0 is off."
    )
    stable_offset_stuck_seconds: Positive = Field(
        default=900,
        description="Seconds that an open transaction may hold back a topic's readers; transaction.max.timeout.ms is 900 s by default.",
    )
    group_lag: Positive = Field(
        default=100_000,
        description="Records that a consumer group may be behind before falling back further is reported.",
    )
    group_lag_fixed: NotNegative = Field(
        default=0, description="Fixed limit for a group's lag in records, 100000 for instance; 0 is off."
    )
    group_lag_seconds: Positive = Field(default=600, description="Seconds that a group may be behind.")
    group_lag_seconds_critical: NotNegative = Field(
        default=3600, description="Seconds behind, without catching up, at which it is urgent; 0 is off."
    )
    group_retention_used_ratio: Ratio = Field(
        default=0.75,
        description="Share of a topic's retention that a record may have spent before a group reads it (0 to 1).",
    )


_TOPIC: Final = frozenset({"topic_replication_factor", "topic_silent_seconds", "stable_offset_stuck_seconds"})
LEVELS: Final[Mapping[str, Level]] = {
    name: "topic" if name in _TOPIC else "consumergroup" if name.startswith("group_") else "cluster"
    for name in Limits.model_fields
}
"""What each shipped limit is a limit of."""


class OwnLimit(BaseModel):
    """A limit that only the user's own rules join."""

    model_config = _STRICT

    per: Level = "cluster"
    value: FiniteFloat


class Override(BaseModel):
    """Other values for what the patterns match."""

    model_config = _STRICT

    cluster: str = Field(default="*", min_length=1)
    topic: str | None = Field(default=None, min_length=1)
    consumergroup: str | None = Field(default=None, min_length=1)
    set: dict[str, FiniteFloat] = Field(min_length=1)

    @field_validator("cluster", "topic", "consumergroup")
    @classmethod
    def _pattern(cls, value: str | None) -> str | None:
        if value is not None and value.count("[") != len(re.findall(r"\[!?\]?[^\]]*\]", value)):
            raise ValueError(f"{value!r} is not a pattern: '[' without ']'; write [[] for the character itself")
        return value

    @model_validator(mode="after")
    def _one_level(self) -> Override:
        if self.topic is not None and self.consumergroup is not None:
            raise ValueError("an override is for topics or for consumer groups, not both; write two")
        return self

    def matches(self, cluster: str, level: Level, item: str) -> bool:
        if not fnmatchcase(cluster, self.cluster):
            return False
        pattern = {"topic": self.topic, "consumergroup": self.consumergroup}.get(level)
        if pattern is None:
            return self.topic is None and self.consumergroup is None
        return fnmatchcase(item, pattern)


class Thresholds(Limits):
    """The section ``thresholds:`` of the configuration."""

    overrides: tuple[Override, ...] = ()
    own: dict[str, OwnLimit] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _names(self) -> Thresholds:
        for name in self.own:
            if not _NAME.fullmatch(name):
                raise ValueError(f"own: {name!r} is not a name; use small letters, digits and _")
            if name in LEVELS:
                raise ValueError(f"own: {name!r} is a limit of Klaxon's; set it as thresholds.{name}")
        for number, override in enumerate(self.overrides):
            for name, value in override.set.items():
                self._check(f"overrides[{number}].set", override, name, value)
        return self

    def _check(self, where: str, override: Override, name: str, value: float) -> None:
        level = self.level(name)
        if level is None:
            known = sorted({*LEVELS, *self.own})
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"limits: {', '.join(known)}"
            raise ValueError(f"{where}: there is no limit {name!r}; {hint}")
        pattern = (
            "topic" if override.topic is not None else "consumergroup" if override.consumergroup is not None else None
        )
        if pattern is not None and pattern != level:
            raise ValueError(
                f"{where}: {name} is a limit per {level}, the override is for a {pattern} pattern; remove {pattern}:"
            )
        if name in LEVELS:
            Limits.__pydantic_validator__.validate_assignment(Limits.model_construct(), name, value)

    def level(self, name: str) -> Level | None:
        """What a limit is per, None if there is no such limit."""
        return LEVELS.get(name) or (self.own[name].per if name in self.own else None)

    def value(self, name: str, cluster: str, item: str = "") -> float:
        """The limit in force for a cluster, or for a topic or group in it."""
        level = self.level(name)
        if level is None:
            raise KeyError(name)
        for override in self.overrides:
            if name in override.set and override.matches(cluster, level, item):
                return override.set[name]
        default: Any = self.own[name].value if name in self.own else getattr(self, name)
        return float(default)


class ThresholdBlocks:
    """Makes the block of one cluster; the same label sets and values again as long as its topics and groups are the same."""

    def __init__(self, thresholds: Thresholds, cluster: str) -> None:
        self._thresholds = thresholds
        self._cluster = cluster
        self._known: tuple[tuple[str, ...], tuple[str, ...], Block] | None = None

    def block(self, topics: Iterable[str], groups: Iterable[str]) -> Block:
        """One series per limit and existing topic or group; those of the cluster have neither label (it is "")."""
        present = tuple(topics), tuple(groups)
        if self._known is None or self._known[:2] != present:
            self._known = (*present, self._made(*present))
        return self._known[2]

    def _made(self, topics: Sequence[str], groups: Sequence[str]) -> Block:
        rows: list[tuple[str, ...]] = []
        values: list[float] = []
        for name in (*LEVELS, *self._thresholds.own):
            level = self._thresholds.level(name)
            items = topics if level == "topic" else groups if level == "consumergroup" else ("",)
            for item in items:
                rows.append((name, item if level == "topic" else "", item if level == "consumergroup" else ""))
                values.append(self._thresholds.value(name, self._cluster, item))
        return Block(METRIC, LabelSets(("name", "topic", "consumergroup"), rows), np.array(values, dtype=np.float64))
