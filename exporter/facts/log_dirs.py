"""Log directories of one broker: their disks, and the size of every replica on them (KIP-113, KIP-827)."""

from __future__ import annotations

from dataclasses import dataclass

from exporter.facts.partitions import I32, I64, Bool


@dataclass(frozen=True, slots=True)
class LogDir:
    """One log dir; ``error`` is Kafka's code (56 = KAFKA_STORAGE_ERROR); totals are bytes, None where the broker gave -1."""

    path: str
    error: int
    total_bytes: int | None
    usable_bytes: int | None


@dataclass(frozen=True, slots=True, eq=False)
class LogDirTable:
    """DescribeLogDirs of one broker: ``dirs``, and a row per replica (``dir`` and ``topic`` are indexes)."""

    dirs: tuple[LogDir, ...]
    topics: tuple[str, ...]
    dir: I32
    topic: I32
    partition: I32
    size: I64
    offset_lag: I64
    is_future: Bool
