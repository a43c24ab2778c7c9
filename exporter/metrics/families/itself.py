"""Families about the watching of a cluster: success, age and coverage of collectors, requests made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from exporter.derive.coverage import UNSUPPORTED
from exporter.metrics.families.lasting import Blocks, Lasting, Row
from exporter.reading import WHOLE_CLUSTER, Reading
from exporter.snapshot import Snapshot


def blocks(keep: Lasting, snapshot: Snapshot) -> Blocks:
    readings = snapshot.readings()
    known = {name: r for name, r in readings.items() if name not in snapshot.coverage.unsupported}
    polled = {name: r for name, r in known.items() if r.polled_at}
    requests = sorted(snapshot.requests.items())
    return [
        keep.scalar("klaxon_cluster_reachable", snapshot.reachable),
        keep.block("klaxon_collector_success", ("collector",), (((n,), r.success) for n, r in polled.items())),
        keep.block(
            "klaxon_collector_duration_seconds", ("collector",), (((n,), r.duration) for n, r in polled.items())
        ),
        keep.block("klaxon_collector_age_seconds", ("collector", "source"), _ages(polled, snapshot)),
        keep.block("klaxon_collector_covered", ("collector", "source"), _covered(known, snapshot)),
        keep.block("klaxon_collector_supported", ("collector", "source"), _supported(readings, snapshot)),
        keep.block(
            "klaxon_facts_trusted",
            ("collector",),
            (((n,), n not in snapshot.derived.withdrawn) for n in ("cluster", "topics", "groups", "offsets")),
        ),
        keep.block(
            "klaxon_kafka_requests_total",
            ("api", "broker"),
            (((api, str(node)), count) for (api, node), count in requests),
        ),
    ]


def _source(source: int) -> str:
    return "cluster" if source == WHOLE_CLUSTER else str(source)


def _ages(readings: Mapping[str, Reading[Any]], snapshot: Snapshot) -> Iterable[tuple[Row, float]]:
    """Past freshness too: how long nothing has been heard is known."""
    for name, reading in readings.items():
        taken = reading.last_taken()
        if name == "cluster":
            # Its newest part may hold legs alone; those are our own word and not the brokers'.
            viewed = snapshot.derived.viewed_at
            taken = {WHOLE_CLUSTER: viewed} if viewed is not None else {}
        yield from (((name, _source(s)), max(0.0, snapshot.at - at)) for s, at in sorted(taken.items()))


def _supported(readings: Mapping[str, Reading[Any]], snapshot: Snapshot) -> Iterable[tuple[Row, float]]:
    """By source as far as the collector has polled; a collector that is not asked speaks for the cluster."""
    for name, reading in readings.items():
        if reading.polled_at:
            unable = {s for s, f in reading.failures.items() if f.kind == UNSUPPORTED}
            yield from (((name, _source(s)), s not in unable) for s in sorted(reading.expected))
        elif name in snapshot.coverage.unsupported:
            yield (name, "cluster"), False


def _covered(readings: Mapping[str, Reading[Any]], snapshot: Snapshot) -> Iterable[tuple[Row, float]]:
    taken = snapshot.coverage.taken_at
    return (((name, _source(s)), s in taken.get(name, {})) for name, r in readings.items() for s in sorted(r.expected))
