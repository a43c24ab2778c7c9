"""Settings of brokers and topics with where they come from, client quotas, and features: what a cluster was told to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class ConfigSource(StrEnum):
    """Where a value comes from (DescribeConfigs, KIP-226), the strongest first for a broker."""

    DYNAMIC_BROKER = "dynamic_broker"
    DYNAMIC_DEFAULT = "dynamic_default"
    STATIC = "static"
    DEFAULT = "default"
    DYNAMIC_TOPIC = "dynamic_topic"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Setting:
    """A value in force as text; None where there is none, or where it is sensitive: such a value is never kept."""

    value: str | None
    source: ConfigSource
    sensitive: bool = False

    def number(self) -> float | None:
        """The value as a number, true and false as 1 and 0; None for anything else."""
        if self.value in ("true", "false"):
            return float(self.value == "true")
        try:
            return float(self.value) if self.value is not None else None
        except ValueError:
            return None


Settings = Mapping[str, Setting]
"""By name."""

TopicSettings = Mapping[str, Settings]
"""By topic; topics with the same settings share one object. Topics that may not be described are left out."""


@dataclass(frozen=True, slots=True)
class Quota:
    """One limit (KIP-546): None where the entity has no such part, :data:`DEFAULT_ENTITY` for the default of all users, clients or addresses."""

    user: str | None
    client_id: str | None
    ip: str | None
    key: str
    value: float


DEFAULT_ENTITY = "<default>"


@dataclass(frozen=True, slots=True)
class Features:
    """What one broker says of features (KIP-584): ``supported`` is feature -> (lowest, highest) level of its software, ``finalized`` the cluster's levels.

    Before Kafka 3.9 what begins at level 0 is missing among the supported ones (KAFKA-17011).
    """

    supported: Mapping[str, tuple[int, int]]
    finalized: Mapping[str, int]
    epoch: int
    """Offset of the metadata log at which the broker says so; -1 where it does not know."""
