"""``python -m tests.bench [--size M|S|both] [--part …] [--quick]``: prints what Klaxon costs, and keeps it in docs/performance.md part by part.

``make bench BENCH_ARGS=--quick`` runs everything briefly and writes nothing.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial

from demo import DemoUnavailable
from tests.bench import cluster_m, cycle, daemon, large, peers, report, rules, scrape
from tests.bench.report import Section

PARTS = ("cycle", "daemon", "peers", "scrape", "rules", "large")
ON_BROKERS = frozenset({"cycle", "daemon", "peers"})
Keep = Callable[[Section], None]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--size", choices=["M", "S", "both"], default="both", help="the clusters to start")
    parser.add_argument("--part", choices=PARTS, action="append", help="only this; can be given several times")
    parser.add_argument("--quick", action="store_true", help="few rounds; nothing is written")
    given = parser.parse_args()
    parts = given.part or PARTS
    keep = partial(told, load=f"{os.getloadavg()[0]:.1f}", written=not given.quick)
    try:
        for name in ["M", "S"] if given.size == "both" else [given.size]:
            if ON_BROKERS & set(parts):
                on_brokers(keep, name, parts, given.quick)
    except DemoUnavailable as reason:
        sys.exit(f"no brokers can be had: {reason}")
    alone(keep, parts, given.quick)


def told(section: Section, load: str, written: bool) -> None:
    """What was measured is shown and kept whatever happens after it."""
    print(section, flush=True)
    if written:
        report.keep(section, load)


def on_brokers(keep: Keep, name: str, parts: Sequence[str], quick: bool) -> None:
    """What needs a cluster, one after the other on the same one; peers at M only."""
    size = cluster_m.SIZES[name]
    say(f"starting a cluster of {size}")
    with cluster_m.running(size) as cluster, cluster_m.Mover(cluster, size) as mover:
        cycles = None
        if "cycle" in parts:
            say(f"cycles at {name}")
            cycles = cycle.measure(cluster, mover, 6 if quick else 30)
            keep(report.cycle_section(name, cycles))
        if "daemon" in parts:
            say(f"the daemon at {name}")
            found = daemon.measure(cluster, size, mover, 15 if quick else 60, 60 if quick else 300)
            keep(report.daemon_section(name, found))
        if "peers" in parts and name == "M":
            say("others")
            query = peers.jmx_query(cluster, 1 if quick else 3)
            keep(report.peers_section(peers.measure(cluster, mover, 2 if quick else 7), query, cycles))


def alone(keep: Keep, parts: Sequence[str], quick: bool) -> None:
    """What needs no broker."""
    if "scrape" in parts:
        say("scrapes of a large page")
        keep(report.scrape_section(scrape.measure(60 if quick else 300)))
    if "rules" in parts:
        say("rules")
        passes = 5 if quick else 20
        pairs = {"nothing wrong": 0, "every tenth group has stopped": 10}
        keep(report.rules_section({name: rules.measure(passes, behind=behind) for name, behind in pairs.items()}))
    if "large" in parts:
        say("a large cluster")
        keep(report.large_section(large.measure(3 if quick else 12, 30 if quick else 150)))


def say(what: str) -> None:
    print(f"… {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
