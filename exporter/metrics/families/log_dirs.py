"""Families of the collector ``log_dirs``."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from exporter.blocks import Block
from exporter.facts.log_dirs import LogDirTable
from exporter.metrics.families.lasting import Blocks, Lasting
from exporter.snapshot import Snapshot


def blocks(keep: Lasting, snapshot: Snapshot) -> Blocks:
    parts = {b: p.value for b, p in sorted(snapshot.log_dirs.fresh(snapshot.at).items())}
    return keep.once("log dirs", tuple(parts.values()), lambda: _dir_blocks(keep, parts))


def _dir_blocks(keep: Lasting, parts: Mapping[int, LogDirTable]) -> Blocks:
    if not parts:
        return []
    dirs = [(b, i, d, t) for b, t in parts.items() for i, d in enumerate(t.dirs)]
    names = ("broker", "dir")
    sizes = {b: np.bincount(t.dir, weights=t.size, minlength=len(t.dirs)) for b, t in parts.items()}
    counts = {b: np.bincount(t.dir, minlength=len(t.dirs)) for b, t in parts.items()}
    return [
        keep.block("kafka_log_dir_online", names, (((str(b), d.path), d.error == 0) for b, _, d, _ in dirs)),
        keep.block(
            "kafka_log_dir_total_bytes",
            names,
            (((str(b), d.path), d.total_bytes) for b, _, d, _ in dirs if d.total_bytes is not None),
        ),
        keep.block(
            "kafka_log_dir_usable_bytes",
            names,
            (((str(b), d.path), d.usable_bytes) for b, _, d, _ in dirs if d.usable_bytes is not None),
        ),
        keep.block(
            "kafka_log_dir_size_bytes",
            names,
            (((str(b), d.path), sizes[b][i]) for b, i, d, _ in dirs if d.error == 0),
        ),
        keep.block(
            "kafka_log_dir_replicas",
            names,
            (((str(b), d.path), counts[b][i]) for b, i, d, _ in dirs if d.error == 0),
        ),
        _topic_sizes(keep, parts),
    ]


def _topic_sizes(keep: Lasting, parts: Mapping[int, LogDirTable]) -> Block:
    rows = [(str(b), topic) for b, t in parts.items() for topic in t.topics]
    totals = [np.bincount(t.topic, weights=t.size, minlength=len(t.topics)) for t in parts.values()]
    values = np.concatenate(totals).astype(np.int64) if totals else np.zeros(0, dtype=np.int64)
    return Block("kafka_broker_topic_size_bytes", keep.labels("topic sizes", ("broker", "topic"), rows), values)
