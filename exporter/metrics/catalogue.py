"""Every metric name that Klaxon exposes: one row each, the only place where a name stands (JMX rows come from the bean catalogue)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from types import MappingProxyType

from exporter.jmx import catalogue as jmx
from exporter.metrics.rows import (
    blast,
    certificates,
    cluster,
    configs,
    features,
    groups,
    itself,
    log_dirs,
    offsets,
    process,
    quorum,
    reassignments,
    topics,
    transactions,
)
from exporter.metrics.rows.row import MetricRow, MetricType, Owner

__all__ = [
    "ALERTS_ROWS",
    "KAFKA_ROWS",
    "PROCESS_ROWS",
    "MetricRow",
    "MetricType",
    "Owner",
    "by_name",
    "complete",
    "jmx_rows",
]

KAFKA_ROWS: tuple[MetricRow, ...] = (
    *cluster.ROWS,
    *features.ROWS,
    *quorum.ROWS,
    *topics.ROWS,
    *offsets.ROWS,
    *groups.ROWS,
    *log_dirs.ROWS,
    *configs.ROWS,
    *certificates.ROWS,
    *reassignments.ROWS,
    *transactions.ROWS,
    *blast.ROWS,
    *itself.ROWS,
)
"""Families that a cluster's Snapshot fills, in the order of the page."""

PROCESS_ROWS = process.ROWS

ALERTS_ROWS = (
    MetricRow(
        "ALERTS",
        "Pending and firing alerts, as Prometheus writes them.",
        MetricType.GAUGE,
        ("alertname", "alertstate"),
        (Owner.SELF,),
        cluster=False,
    ),
    MetricRow(
        "ALERTS_FOR_STATE",
        "Since when pending and firing alerts are active (Unix seconds), as Prometheus writes it.",
        MetricType.GAUGE,
        ("alertname",),
        (Owner.SELF,),
        cluster=False,
    ),
)


def by_name(rows: Iterable[MetricRow]) -> Mapping[str, MetricRow]:
    """Rows by name; a name that stands twice is an error."""
    table: dict[str, MetricRow] = {}
    for row in rows:
        if row.name in table:
            raise ValueError(f"metric {row.name} stands twice in the catalogue")
        table[row.name] = row
    return MappingProxyType(table)


def jmx_rows() -> tuple[MetricRow, ...]:
    """The families of the bean catalogue as rows."""
    return tuple(
        MetricRow(f.name, f.help, MetricType(f.type), f.labels, (Owner.JMX,), f.unit, inherited=f.inherited)
        for f in jmx.families()
    )


@lru_cache(maxsize=1)
def complete() -> Mapping[str, MetricRow]:
    """Every family that Klaxon can expose or evaluate, by name."""
    return by_name((*KAFKA_ROWS, *PROCESS_ROWS, *ALERTS_ROWS, *jmx_rows()))
