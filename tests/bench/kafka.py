"""Prints what one full poll of a cluster costs, request by request: CPU and wall time of this process, requests and bytes of facts.

``python -m tests.bench.kafka [--bootstrap host:port,…] [--size M|S] [--polls 20]``; without bootstrap servers it starts a reference cluster whose offsets and
commits move between polls.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack

from rich.console import Console
from rich.table import Table

from exporter.facts.partitions import END, START
from exporter.kafka.reader import Reader
from tests.bench.cluster_m import SIZES, Mover, running
from tests.bench.costs import Meter

TOTAL = "whole poll"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bootstrap", default="")
    parser.add_argument("--size", choices=sorted(SIZES), default="S")
    parser.add_argument("--polls", type=int, default=20)
    parser.add_argument("--pause", type=float, default=0.5, help="seconds between polls")
    given = parser.parse_args()
    with ExitStack() as stack:
        between: Callable[[], None] = lambda: None  # noqa: E731
        servers = given.bootstrap
        if not servers:
            cluster = stack.enter_context(running(SIZES[given.size]))
            between = stack.enter_context(Mover(cluster, SIZES[given.size])).step
            servers = cluster.bootstrap_servers
        measure(Reader("bench", servers.split(",")), given.polls, given.pause, between)


def measure(reader: Reader, polls: int, pause: float, between: Callable[[], None]) -> None:
    """The first poll is told apart: it connects, and decodes everything anew."""
    try:
        first, steady = Meter(), Meter()
        reader.pulse()
        poll(reader, first)
        requests: Counter[tuple[str, int]] = Counter()
        for _ in range(polls):
            between()
            time.sleep(pause)
            before = Counter(reader.requests())
            poll(reader, steady)
            requests = Counter(reader.requests()) - before
        show(reader, first, steady, requests)
    finally:
        reader.close()


def poll(reader: Reader, meter: Meter) -> None:
    """Everything of the four budgeted collectors, in their order, each part timed."""
    with meter.step(TOTAL):
        with meter.step("Metadata"):
            table = reader.partitions()
        brokers = sorted(reader.nodes())
        with meter.step("ListGroups"):
            listed = {n: a.value for n, a in reader.list_groups(brokers).items() if a.value}
        with meter.step("describe groups"):
            reader.describe_groups(listed)
        with meter.step("OffsetFetch"):
            commits = reader.committed_offsets({n: [g.group for g in groups] for n, groups in listed.items()})
        for kind in (END, START):
            with meter.step(f"ListOffsets, {kind.name}"):
                offsets = reader.offsets(table, kind)
        with meter.step("DescribeLogDirs"):
            dirs = reader.log_dirs(brokers)
    meter.end()
    failed = [a.error for answers in (commits, offsets, dirs) for a in answers.values() if a.error is not None]
    if failed:
        raise RuntimeError(f"a poll with errors measures nothing: {failed[0]}")


def show(reader: Reader, first: Meter, steady: Meter, requests: Counter[tuple[str, int]]) -> None:
    names = {
        "Metadata": "Metadata",
        "ListGroups": "ListGroups",
        "OffsetFetch": "OffsetFetch",
        "DescribeLogDirs": "DescribeLogDirs",
    }
    by_api: Counter[str] = Counter()
    for (api, _), count in requests.items():
        by_api[api] += count
    by_step = {step: by_api[api] for step, api in names.items()}
    by_step["describe groups"] = by_api["DescribeGroups"] + by_api["ConsumerGroupDescribe"]
    by_step["ListOffsets, end"] = by_step["ListOffsets, start"] = by_api["ListOffsets"] // 2
    by_step[TOTAL] = by_api.total()
    table = reader.partitions()
    groups = sum(len(a.value or ()) for a in reader.list_groups(sorted(reader.nodes())).values())
    brokers = len(reader.nodes())
    shown = Table(
        title=f"{brokers} brokers, {len(table.topics)} topics, {len(table)} partitions, {groups} groups; milliseconds",
        caption=f"requests: {by_api.total()} of at most {8 * brokers + 4}",
    )
    for column in ("", "requests", "CPU median", "CPU max", "wall median", "wall max", "CPU first", "wall first"):
        shown.add_column(column, justify="left" if not column else "right")
    for step, samples in steady.steps.items():
        cpu, _, wall, _ = first.steps[step].row()
        shown.add_row(step, str(by_step[step]), *samples.row(), cpu, wall, end_section=step == "DescribeLogDirs")
    Console(width=120).print(shown)


if __name__ == "__main__":
    main()
