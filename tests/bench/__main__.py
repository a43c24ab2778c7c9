"""``python -m tests.bench [--size M|S|both] [--part …] [--quick]``: prints what Klaxon costs; a whole run writes docs/performance.md.

``make bench BENCH_ARGS=--quick`` runs everything briefly and writes nothing.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from demo import DemoUnavailable
from tests.bench import cluster_m, cycle, daemon, large, peers, report, rules, scrape

PARTS = ("cycle", "daemon", "peers", "scrape", "rules", "large")
ON_BROKERS = frozenset({"cycle", "daemon", "peers"})


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--size", choices=["M", "S", "both"], default="both", help="the clusters to start")
    parser.add_argument("--part", choices=PARTS, action="append", help="only this; can be given several times")
    parser.add_argument("--quick", action="store_true", help="few rounds; nothing is written")
    given = parser.parse_args()
    parts = given.part or PARTS
    sizes = ["S", "M"] if given.size == "both" else [given.size]
    load = f"{os.getloadavg()[0]:.1f}"
    results = report.Results(f"{datetime.now(UTC):%Y-%m-%d}", load)
    try:
        if ON_BROKERS & set(parts):
            for name in sizes:
                on_brokers(results, name, parts, given.quick)
        alone(results, parts, given.quick)
    except DemoUnavailable as reason:
        sys.exit(f"no brokers can be had: {reason}")
    finally:
        # What was measured is shown whatever happened after it.
        print(report.markdown(results), flush=True)
    if not given.quick and set(parts) == set(PARTS) and given.size == "both":
        old = report.DOCUMENT.read_text() if report.DOCUMENT.exists() else ""
        report.DOCUMENT.write_text(report.document(results, old))


def on_brokers(results: report.Results, name: str, parts: Sequence[str], quick: bool) -> None:
    """What needs a cluster, one after the other on the same one; peers at M only."""
    size = cluster_m.SIZES[name]
    say(f"starting a cluster of {size}")
    with cluster_m.running(size) as cluster, cluster_m.Mover(cluster, size) as mover:
        if "cycle" in parts:
            say(f"cycles at {name}")
            results.cycle[name] = cycle.measure(cluster, mover, 6 if quick else 30)
        if "daemon" in parts:
            say(f"the daemon at {name}")
            results.daemon[name] = daemon.measure(cluster, size, mover, 15 if quick else 60, 60 if quick else 300)
        if "peers" in parts and name == "M":
            say("others")
            results.jmxquery = peers.jmx_query(cluster, 1 if quick else 3)
            results.peers = peers.measure(cluster, mover, 2 if quick else 7)


def alone(results: report.Results, parts: Sequence[str], quick: bool) -> None:
    """What needs no broker."""
    if "scrape" in parts:
        say("scrapes of a large page")
        results.scrape = scrape.measure(60 if quick else 300)
    if "rules" in parts:
        say("rules")
        passes = 5 if quick else 20
        results.rules = {
            "nothing wrong": rules.measure(passes),
            "every tenth group has stopped": rules.measure(passes, behind=10),
        }
    if "large" in parts:
        say("a large cluster")
        results.large = large.measure(3 if quick else 12)


def say(what: str) -> None:
    print(f"… {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
