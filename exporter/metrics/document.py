"""Writes docs/metrics.md from the catalogue: every metric with its labels, by the collector it comes from.

``python -m exporter.metrics.document > docs/metrics.md``
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping

from exporter.metrics.catalogue import MetricRow, Owner, complete

_ABOUT: Mapping[Owner, str] = {
    Owner.CLUSTER: "From the brokers' metadata and, where Klaxon may ask it, the cluster's registrations.",
    Owner.LEGS: "From Klaxon's own tries to reach every node: needs no trust in the brokers' word.",
    Owner.TOPICS: "From the brokers' metadata and topic settings.",
    Owner.OFFSETS: "From the partitions' leaders.",
    Owner.GROUPS: "From the groups' coordinators.",
    Owner.LOG_DIRS: "From every broker's log directories.",
    Owner.REASSIGNMENTS: "From the active controller, through a broker.",
    Owner.THROTTLES: "From every broker's own settings.",
    Owner.THROTTLED_TOPICS: "From the settings of the topics; of those that Klaxon may describe.",
    Owner.TRANSACTIONS: "From the transactions' coordinators; of those that Klaxon may describe, since brokers leave out the others without a word.",
    Owner.STUCK_OFFSETS: "From the partitions' leaders: how far consumers with isolation.level=read_committed may read.",
    Owner.PRODUCERS: "From the leaders of partitions whose last stable offset stands; Klaxon needs Read on their topics.",
    Owner.QUORUM: "From the leader of the metadata quorum.",
    Owner.CONFIGS: "From every broker's own settings.",
    Owner.TOPIC_CONFIGS: "From the topics' settings.",
    Owner.QUOTAS: "From the cluster's client quotas.",
    Owner.CERTIFICATES: "From TLS handshakes with every listener that is known to speak TLS.",
    Owner.CERTIFICATE_FILES: "From the files of the cluster's security settings.",
    Owner.JMX: "From the beans of every node that Klaxon can reach by JMX.",
    Owner.SELF: "About Klaxon itself.",
}


def render_metrics_doc(rows: Iterable[MetricRow]) -> str:
    """The page as Markdown: a section per owner in the order above, its metrics sorted by name."""
    every = sorted(rows, key=lambda row: row.name)
    sections = [_section(owner, [row for row in every if row.owner is owner]) for owner in _ABOUT]
    return "\n\n".join([_HEAD, *filter(None, sections), _inherited(every)]) + "\n"


_HEAD = """\
# Metrics

This page is made from the catalogue (`exporter/metrics/catalogue.py`, `exporter/jmx/beans/`) by `make docs`.

Every metric but those marked † has the label `cluster` besides the labels named here. A *sparse* metric only has series where something is so: while its
collector is covered (`klaxon_collector_covered`), no series means "not so". Facts that are too old or not to be trusted have no series at all, never zeros.
Where a metric needs the facts of several collectors they are named as *also needs*.

## The page and its parts

`/metrics` has everything: text 0.0.4, or OpenMetrics 1.0.0 where `Accept` asks for it (as every Prometheus does), with gzip where `Accept-Encoding` allows it.
All names are plain ASCII, so Prometheus 3's `escaping` changes nothing. Inherited counters whose names lack `_total` are of type *unknown* in OpenMetrics.

| path | has |
|---|---|
| `/metrics?cluster=X` | the series of one cluster |
| `/metrics?broker=N` | the series with that label `broker`, JMX included; controllers have their node id there; with `cluster` those of one cluster |
| `/metrics?broker=none` | the series without that label; with `cluster` those of one cluster |
| `/metrics/klaxon` | Klaxon's own, those marked † |
| `/sd` | all of these parts as targets, in the format of Prometheus's `http_sd_configs` |

The targets of `/sd` have every series of the page exactly once, each with the labels `instance` (the node's `host:port`, or the cluster's name), `cluster`, `broker` and `rack`, as
boards made for jmx_exporter expect them; [deploy/prometheus.yml](../deploy/prometheus.yml) uses it. `up` says there that Klaxon answers; whether a broker does is `kafka_broker_up`.
An unknown cluster or broker is a 404 that names the known ones.

## How much detail

`clusters.<name>.metrics` shapes what of a cluster stands on the page, and nothing else: rules, decision trees and history see every series, and sums and counts are made before
anything is left out. `topics` and `groups` are included and excluded by regular expressions for whole names (RE2, as in Prometheus), groups by state too. `level: topic` leaves out the
series per partition, `level: group` those per topic too; sparse metrics stay, since they only have series where something is wrong.

When a cluster would have more than `ceiling` series on the page, detail per partition is dropped from it, then per topic, then per group: whole metrics, the largest first, sparse ones
last. What was dropped comes back when the page would have been below 90 % of the ceiling for five minutes. `klaxon_page_series`, `klaxon_page_detail_dropped` and the alert
`KlaxonSeriesCeiling` tell of it.

## Coming from kafka_exporter

Every metric of kafka_exporter 1.9 is here under its name, with its labels and type, and the label `cluster` besides. Not here are `kafka_exporter_build_info`, which would name a program
that does not run (see `klaxon_build_info`), and the lag that is kept in ZooKeeper, which KRaft does not have. A group without a committed offset has no lag here, where kafka_exporter says
−1, and lag is never negative. Constant labels (`kafka.labels`) are Prometheus's own to add: by `labels` of a `static_configs`, by `relabel_configs`, or as `external_labels`."""


def _section(owner: Owner, rows: list[MetricRow]) -> str:
    if not rows:
        return ""
    lines = [
        f"## {owner}",
        "",
        _ABOUT[owner],
        "",
        "| metric | type | unit | labels | meaning |",
        "|---|---|---|---|---|",
        *map(_line, rows),
    ]
    return "\n".join(lines)


def _line(row: MetricRow) -> str:
    name = f"`{row.name}`" + ("" if row.cluster else " †")
    labels = ", ".join(f"`{label}`" for label in row.labels)
    return f"| {name} | {row.type} | {row.unit} | {labels} | {_cell(_meaning(row))} |"


def _meaning(row: MetricRow) -> str:
    notes = []
    if row.sparse:
        notes.append("*Sparse.*")
    if len(row.inputs) > 1:
        notes.append(f"*Also needs {', '.join(row.inputs[1:])}.*")
    return " ".join([row.help, *notes])


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")


def _inherited(rows: list[MetricRow]) -> str:
    names = [f"- `{row.name}`" for row in rows if row.inherited]
    head = """\
## Inherited names

These keep the spelling of kafka_exporter or of Strimzi's JMX rules, so that existing dashboards and rules go on working, though it is not what
`promtool check metrics` advises for new ones."""
    return "\n".join([head, "", *names])


if __name__ == "__main__":
    sys.stdout.write(render_metrics_doc(complete().values()))
