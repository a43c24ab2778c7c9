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

This page is made from the catalogue (`exporter/metrics/catalogue.py`, `exporter/jmx/catalogue.yaml`) by `make docs`.

Every metric but those marked † has the label `cluster` besides the labels named here. A *sparse* metric only has series where something is so: while its
collector is covered (`klaxon_collector_covered`), no series means "not so". Facts that are too old or not to be trusted have no series at all, never zeros.
Where a metric needs the facts of several collectors they are named as *also needs*."""


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
