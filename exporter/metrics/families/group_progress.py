"""Families about how groups move: lag in seconds, commits that stand or went back, and what retention leaves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from exporter.blocks import Block, LabelSets
from exporter.derive.progress import GroupProgress
from exporter.facts.partitions import F64, I64, Bool
from exporter.metrics.families.commits import Sums, commit_labels, sums_of
from exporter.metrics.families.lasting import Blocks, Lasting
from exporter.snapshot import Snapshot

STANDING_FROM_S: Final = 60.0
"""A commit that stands for less is on its way."""


def blocks(keep: Lasting, snapshot: Snapshot) -> Blocks:
    """In the order of the coordinators, as the families of commits and lag are."""
    derived = snapshot.derived
    progress = [derived.progress[c] for c in sorted(derived.progress)]
    if not progress:
        return []
    return keep.once("group progress", (*progress, derived.rewinds), lambda: _blocks(keep, progress, derived.rewinds))


def _blocks(keep: Lasting, progress: Sequence[GroupProgress], rewinds: Mapping[tuple[str, str], int]) -> Blocks:
    labels = commit_labels(keep, [p.lag.commits for p in progress])
    topics = sums_of(keep, labels)
    groups = keep.once("commit groups", (labels,), lambda: Sums(labels, 1))
    seconds, at_least, standing, headroom, headroom_seconds, used = (
        np.concatenate([getattr(p, name) for p in progress])
        for name in (
            "lag_seconds",
            "lag_seconds_at_least",
            "standing",
            "headroom",
            "headroom_seconds",
            "retention_used",
        )
    )
    seconds, at_least, headroom_seconds = _as_told(seconds), _as_told(at_least), _as_told(headroom_seconds)
    lag = np.concatenate([p.lag.lag for p in progress])
    bounded = ~np.isnan(at_least)
    return [
        _floats(keep, "kafka_consumergroup_lag_seconds", labels, seconds, ~np.isnan(seconds)),
        _floats(keep, "kafka_consumergroup_lag_at_least_seconds", labels, at_least, bounded),
        _extreme(keep, "kafka_consumergroup_lag_max_seconds", groups, seconds, np.maximum, unless=bounded),
        _total(keep, "kafka_consumergroup_group_lag", groups, lag),
        _floats(
            keep, "kafka_consumergroup_commit_standing_seconds", labels, np.floor(standing), standing >= STANDING_FROM_S
        ),
        _rewinds(topics.labels, rewinds),
        _extreme(keep, "kafka_consumergroup_headroom_records", topics, headroom, np.minimum),
        _extreme(keep, "kafka_consumergroup_headroom_seconds", topics, headroom_seconds, np.minimum),
        _extreme(keep, "kafka_consumergroup_retention_used_ratio", topics, np.round(used, 4), np.maximum),
        _floats(keep, "kafka_consumergroup_records_lost", labels, -headroom, headroom < 0),
    ]


def _as_told(seconds: F64) -> F64:
    """Whole seconds from ten on: an age is no better known, and whole numbers are written several times faster."""
    return np.where(seconds < 10, np.round(seconds, 1), np.round(seconds))


def _floats(keep: Lasting, metric: str, labels: LabelSets, values: F64, mask: Bool) -> Block:
    return Block(metric, keep.some(metric, labels, mask), values[mask])


def _extreme(
    keep: Lasting, metric: str, sums: Sums, values: F64, choose: np.ufunc, unless: Bool | None = None
) -> Block:
    """The largest or smallest known value of each owner; none for owners without any, or of which one partition is so (``unless``)."""
    start = -np.inf if choose is np.maximum else np.inf
    found = np.full(len(sums.labels), start)
    known = ~np.isnan(values)
    choose.at(found, sums.owner[known], values[known])
    some = np.isfinite(found)
    if unless is not None:
        some[sums.owner[unless]] = False
    return _floats(keep, metric, sums.labels, found, some)


def _total(keep: Lasting, metric: str, sums: Sums, values: I64) -> Block:
    known = values >= 0
    total = np.zeros(len(sums.labels), dtype=np.int64)
    np.add.at(total, sums.owner[known], values[known])
    some = np.bincount(sums.owner[known], minlength=len(sums.labels)) > 0
    return keep.masked(metric, sums.labels, total, some)


def _rewinds(labels: LabelSets, rewinds: Mapping[tuple[str, str], int]) -> Block:
    """Every group and topic has its counter from the start, so that the first rewind is a rise."""
    values = np.zeros(len(labels), dtype=np.int64)
    if rewinds:
        values += np.array([rewinds.get((row[0], row[1]), 0) for row in labels.rows], dtype=np.int64)
    return Block("kafka_consumergroup_rewinds_total", labels, values)
