"""Families of the collector ``groups``: states, members, commits and lag."""

from __future__ import annotations

import numpy as np

from exporter.blocks import Block
from exporter.derive.lag import GroupLag
from exporter.facts.groups import CoordinatorFacts
from exporter.facts.partitions import I64, Bool
from exporter.metrics.families import group_members, group_progress
from exporter.metrics.families.commits import Sums, commit_labels, sums_of
from exporter.metrics.families.lasting import Blocks, Lasting
from exporter.snapshot import Snapshot


def blocks(keep: Lasting, snapshot: Snapshot) -> Blocks:
    parts = [p.value for _, p in sorted(snapshot.groups.fresh(snapshot.at).items())]
    if not parts or "groups" in snapshot.derived.withdrawn:
        return []
    lags = [snapshot.derived.lags[c] for c in sorted(snapshot.derived.lags)]
    return [
        *keep.once("group states", tuple(parts), lambda: _states(keep, parts)),
        *keep.once("group commits", tuple(lags), lambda: _commits(keep, lags)),
        *group_members.blocks(keep, snapshot),
        *group_progress.blocks(keep, snapshot),
    ]


def _states(keep: Lasting, parts: list[CoordinatorFacts]) -> Blocks:
    listed = {g.group: g for p in parts for g in p.listings}
    described = {name: d for p in parts for name, d in p.descriptions.items() if d.error == 0}
    states = [
        (name, described[name].state if name in described else g.state, g.type) for name, g in sorted(listed.items())
    ]
    return [
        keep.block(
            "kafka_consumergroup_members",
            ("consumergroup",),
            (((n,), len(d.members)) for n, d in sorted(described.items())),
        ),
        keep.ones("kafka_consumergroup_state", ("consumergroup", "state", "type"), states),
    ]


def _commits(keep: Lasting, lags: list[GroupLag]) -> Blocks:
    if not lags:
        return []
    tables = [x.commits for x in lags]
    labels = commit_labels(keep, tables)
    sums = sums_of(keep, labels)
    offset = np.concatenate([t.offset for t in tables])
    committed = (offset >= 0) & (np.concatenate([t.error for t in tables]) == 0)
    lag, beyond = np.concatenate([x.lag for x in lags]), np.concatenate([x.beyond for x in lags])
    return [
        keep.masked("kafka_consumergroup_current_offset", labels, offset, committed),
        _sum(keep, "kafka_consumergroup_current_offset_sum", sums, offset, committed),
        keep.masked("kafka_consumergroup_lag", labels, lag, lag >= 0),
        _sum(keep, "kafka_consumergroup_lag_sum", sums, lag, lag >= 0),
        keep.masked("kafka_consumergroup_commit_beyond_end", labels, beyond, beyond > 0),
    ]


def _sum(keep: Lasting, metric: str, sums: Sums, values: I64, mask: Bool) -> Block:
    """Sums over a topic's partitions with a value; a topic without any has no sum."""
    total = np.zeros(len(sums.labels), dtype=np.int64)
    np.add.at(total, sums.owner[mask], values[mask])
    some = np.bincount(sums.owner[mask], minlength=len(sums.labels)) > 0
    return keep.masked(metric, sums.labels, total, some)
