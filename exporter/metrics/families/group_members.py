"""Families about the members of groups of every type and what is assigned to them, and where share groups are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from exporter.facts.groups import CommitTable, GroupDescription, GroupListing, ShareOffsetTable
from exporter.metrics.families.commits import offset_rows
from exporter.metrics.families.lasting import Blocks, Lasting, Row
from exporter.snapshot import Snapshot


def blocks(keep: Lasting, snapshot: Snapshot) -> Blocks:
    """Made anew only when a coordinator describes a group anew: in a steady group nothing of this changes."""
    parts = {node: p.value for node, p in sorted(snapshot.groups.fresh(snapshot.at).items())}
    listings = {g.group: g for p in parts.values() for g in p.listings}
    described = {name: d for _, p in parts.items() for name, d in p.descriptions.items() if d.error == 0}
    inputs = (*listings.values(), *described.values())
    coordinators = {g.group: node for node, p in parts.items() for g in p.listings}
    return [
        *keep.once("group coordinators", (*listings.values(), *parts), lambda: _coordinators(keep, coordinators)),
        *keep.once("group members", inputs, lambda: _members(keep, listings, described)),
        *_unassigned(keep, listings, described, [p.commits for p in parts.values()]),
        *_shares(keep, [p.shares for p in parts.values() if p.shares is not None]),
    ]


def _coordinators(keep: Lasting, coordinators: Mapping[str, int]) -> Blocks:
    pairs = (((group,), node) for group, node in sorted(coordinators.items()))
    return [keep.block("kafka_consumergroup_coordinator", ("consumergroup",), pairs)]


def _members(keep: Lasting, listings: Mapping[str, GroupListing], described: Mapping[str, GroupDescription]) -> Blocks:
    known = sorted((name, d, listings[name]) for name, d in described.items() if name in listings)
    assigned = {name: d for name, d, listing in known if _has_assignments(listing)}
    members, partitions = _assigned(assigned)
    group, of_topic = ("consumergroup",), ("consumergroup", "topic")
    return [
        keep.block(
            "kafka_consumergroup_members_idle",
            group,
            (((n,), sum(not any(m.assignment.values()) for m in d.members)) for n, d in assigned.items()),
        ),
        keep.ones(
            "kafka_consumergroup_info",
            ("consumergroup", "type", "protocol_type", "assignor"),
            [(name, listing.type, listing.protocol_type, d.protocol) for name, d, listing in known],
        ),
        keep.block(
            "kafka_consumergroup_epoch",
            group,
            (((n,), d.group_epoch) for n, d, _ in known if d.group_epoch is not None),
        ),
        keep.block(
            "kafka_consumergroup_assignment_epoch",
            group,
            (((n,), d.assignment_epoch) for n, d, _ in known if d.assignment_epoch is not None),
        ),
        keep.block("kafka_consumergroup_topic_members", of_topic, sorted(members.items())),
        keep.block(
            "kafka_consumergroup_topic_partitions_assigned",
            of_topic,
            sorted((row, len(numbers)) for row, numbers in partitions.items()),
        ),
    ]


def _has_assignments(listing: GroupListing) -> bool:
    """Classic groups that are not consumers (Connect workers) assign something else than partitions."""
    return listing.type != "classic" or listing.protocol_type == "consumer"


def _assigned(described: Mapping[str, GroupDescription]) -> tuple[Mapping[Row, int], Mapping[Row, set[int]]]:
    """(group, topic) -> members with partitions of it, and which partitions these are."""
    members: dict[Row, int] = {}
    partitions: dict[Row, set[int]] = {}
    for name, group in described.items():
        for member in group.members:
            for topic, numbers in member.assignment.items():
                if numbers:
                    members[name, topic] = members.get((name, topic), 0) + 1
                    partitions.setdefault((name, topic), set()).update(numbers)
    return members, partitions


def _unassigned(
    keep: Lasting,
    listings: Mapping[str, GroupListing],
    described: Mapping[str, GroupDescription],
    tables: Sequence[CommitTable],
) -> Blocks:
    keys = [column for t in tables for column in (t.groups, t.topics, t.group, t.topic, t.partition)]

    def made() -> Blocks:
        peopled = {n: d for n, d in described.items() if d.members and n in listings and _has_assignments(listings[n])}
        _, partitions = _assigned(peopled)
        rows = [
            row
            for table in tables
            for row in offset_rows(table)
            if row[0] in peopled and int(row[2]) not in partitions.get(row[:2], ())
        ]
        return [keep.ones("kafka_consumergroup_partition_unassigned", ("consumergroup", "topic", "partition"), rows)]

    return keep.once("group unassigned", (*listings.values(), *described.values(), *keys), made)


def _shares(keep: Lasting, tables: Sequence[ShareOffsetTable]) -> Blocks:
    if not tables:
        return []
    names = ("consumergroup", "topic", "partition")
    labels = keep.labels("share offsets", names, [row for t in tables for row in offset_rows(t)])
    start = np.concatenate([t.start_offset for t in tables])
    lag = np.concatenate([t.lag for t in tables])
    return [
        keep.masked("kafka_sharegroup_start_offset", labels, start, start >= 0),
        keep.masked("kafka_sharegroup_lag", labels, lag, lag >= 0),
    ]
