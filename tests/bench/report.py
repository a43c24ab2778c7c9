"""The results as markdown: the budgets of the design held against what was measured, and the tables behind them."""

from __future__ import annotations

import os
import platform
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from demo.runtime import DEFAULT_VERSION
from tests.bench.cluster_m import SIZES
from tests.bench.costs import Samples, p99
from tests.bench.cycle import BUDGETED_COLLECTORS, TITLES, CycleResult, Rounds
from tests.bench.daemon import DaemonResult, Scrapes
from tests.bench.large import LargeResult
from tests.bench.peers import JmxQueryResult, PeerResult
from tests.bench.rules import RulesResult

DOCUMENT = Path(__file__).parent.parent.parent / "docs" / "performance.md"
BEGIN = "<!-- measured: written by python -m tests.bench -->"
END = "<!-- end of measured -->"
BROKERS = 3


@dataclass(slots=True)
class Results:
    """What one run measured; a part that did not run is missing."""

    date: str
    load: str
    cycle: dict[str, CycleResult] = field(default_factory=dict)
    daemon: dict[str, DaemonResult] = field(default_factory=dict)
    peers: list[PeerResult] = field(default_factory=list)
    jmxquery: JmxQueryResult | None = None
    scrape: Mapping[tuple[str, str], Scrapes] = field(default_factory=dict)
    rules: dict[str, RulesResult] = field(default_factory=dict)
    large: LargeResult | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """A budget: what was promised, what was measured, whether it holds."""

    budget: str
    limit: str
    measured: str
    held: bool


def document(results: Results, old: str) -> str:
    """The document with its measured part replaced; text around it stays."""
    measured = f"{BEGIN}\n\n{markdown(results)}\n{END}"
    if BEGIN in old:
        before, _, rest = old.partition(BEGIN)
        return before + measured + rest.partition(END)[2]
    return f"# Performance\n\n{measured}\n"


def markdown(results: Results) -> str:
    parts = [
        f"Measured on {results.date}: {cpu_model()}, {os.cpu_count()} cores, Python {platform.python_version()}, Kafka {DEFAULT_VERSION}; "
        f"the three brokers ran on the same cores, load average before the run {results.load}.\n",
        "## Budgets\n",
        table(
            ("Budget", "Limit", "Measured", "Held"),
            [(v.budget, v.limit, v.measured, "yes" if v.held else "**no**") for v in verdicts(results)],
        ),
    ]
    for name, result in results.cycle.items():
        parts += cycle_part(name, result)
    parts += daemon_part(results.daemon)
    parts += scrape_part(results.scrape)
    parts += rules_part(results.rules)
    parts += large_part(results.large)
    parts += peers_part(results)
    return "\n".join(parts)


# --- budgets


def verdicts(results: Results) -> list[Verdict]:
    found: list[Verdict] = []
    if (m := results.cycle.get("M")) is not None:
        found += cycle_verdicts(m, results.jmxquery)
    if results.scrape:
        worst = p99(results.scrape["every value new each second", "gzip"].seconds)
        found.append(
            Verdict(
                "A scrape (gzip) at 100,000 series while values are published, p99", "5 ms", ms(worst), worst <= 0.005
            )
        )
    if (daemon := results.daemon.get("M")) is not None:
        memory = daemon.own_mb + daemon.child_mb
        found += [
            Verdict("Start to first full page at M", "10 s", f"{daemon.first_page_s:.1f} s", daemon.first_page_s <= 10),
            Verdict("Resident memory at M, the Java process included", "250 MB", f"{memory:.0f} MB", memory <= 250),
        ]
    if results.large is not None:
        found += large_verdicts(results.large)
    for name, rules in results.rules.items():
        cpu = statistics.median(rules.cpu)
        found.append(
            Verdict(
                f"All {rules.rules} shipped rules at {rules.series:,} series, {name}",
                "1 CPU s",
                f"{cpu:.3f} CPU s",
                cpu <= 1,
            )
        )
    return found


def cycle_verdicts(m: CycleResult, query: JmxQueryResult | None) -> list[Verdict]:
    limit = 8 * BROKERS + 4
    asked = max(r.asked(BUDGETED_COLLECTORS) for r in (m.still, m.live))
    found = [Verdict("Requests a cycle: topics, groups, offsets, log dirs", f"{limit}", f"{asked}", asked <= limit)]
    for name in ("cluster", "quorum"):
        count = max(r.asked([name]) for r in (m.still, m.live))
        found.append(Verdict(f"Requests a cycle: {name}", f"{2 * BROKERS}", f"{count}", count <= 2 * BROKERS))
    for what, rounds in (("everything moved", m.live), ("nothing moved", m.still)):
        cycle = rounds.kafka_cycle()
        cpu, wall = statistics.median(cycle.cpu), statistics.median(cycle.wall)
        found += [
            Verdict(
                f"Full cycle at M with facts, history and page, {what}: CPU", "0.06 s", f"{cpu:.3f} s", cpu <= 0.06
            ),
            Verdict(f"Full cycle at M, {what}: wall", "0.3 s", f"{wall:.3f} s", wall <= 0.3),
        ]
    jmx = m.live.jmx_cpu()
    found.append(Verdict("JMX of three brokers, Java process included", "0.08 CPU s", f"{jmx:.3f} CPU s", jmx <= 0.08))
    if query is not None:
        ratio = statistics.median(query.cpu) / jmx
        found.append(Verdict("JMX against jmxquery", "1/30 of its CPU", f"1/{ratio:.0f}", ratio >= 30))
    return found


def large_verdicts(large: LargeResult) -> list[Verdict]:
    cpu = statistics.median(large.rounds.kafka_cycle().cpu)
    return [
        Verdict("100,000 partitions × 1,000 groups: cycle", "1.5 CPU s", f"{cpu:.2f} CPU s", cpu <= 1.5),
        Verdict(
            "100,000 partitions × 1,000 groups: memory", "600 MB", f"{large.memory_mb:.0f} MB", large.memory_mb <= 600
        ),
    ]


# --- tables


def cycle_part(name: str, result: CycleResult) -> Iterable[str]:
    yield f"\n## A cycle at {name}\n"
    yield f"{SIZES[name]}; {result.series:,} series on the page, {result.jmx_beans:,} JMX samples. Milliseconds; "
    yield f"*still*: {len(result.still.requests)} cycles between which nothing moves; *live*: {len(result.live.requests)} cycles, every end offset and every commit moves before each.\n"
    yield steps_table({"still": result.still, "live": result.live})
    yield f"\nThe Java process took {result.still.child_cpu * 1e3:.0f} ms (still) and {result.live.child_cpu * 1e3:.0f} ms (live) of CPU per poll of three brokers."
    yield f"Memory after these cycles: {result.memory_mb:.0f} MB here, {result.child_mb:.0f} MB the Java process.\n"
    yield "Requests a cycle (most, and how it is made up in the last cycle):\n"
    yield requests_table(result.live)
    yield "\nWhere our Python's time goes (live, JMX aside, milliseconds per cycle; profiling itself doubles them):\n"
    yield f"```\n{result.profile}\n```"


def steps_table(columns: Mapping[str, Rounds]) -> str:
    head = ["Step", *(f"{what} {kind}" for what in columns for kind in ("CPU median", "max", "wall median", "max"))]
    rows = [
        [title, *(cell for rounds in columns.values() for cell in rounds.meter.steps[step].row())]
        for step, title in TITLES.items()
        if all(step in rounds.meter.steps for rounds in columns.values())
    ]
    totals: list[Samples] = [rounds.kafka_cycle() for rounds in columns.values()]
    rows.append(["**all but the JMX poll**", *(cell for total in totals for cell in total.row())])
    return table(head, rows)


def requests_table(rounds: Rounds) -> str:
    last = rounds.requests[-1]
    names = sorted({collector for collector, _ in last})
    return table(
        ("Collector", "Most", "By API"),
        [
            (n, f"{rounds.asked([n])}", ", ".join(f"{api} {c}" for (col, api), c in sorted(last.items()) if col == n))
            for n in names
        ],
    )


def daemon_part(results: Mapping[str, DaemonResult]) -> Iterable[str]:
    if not results:
        return
    yield "\n## The daemon\n"
    yield "As a process at its default intervals, rules and trees included; scrapes on one kept connection while polls run, to the last byte.\n"
    head = ("", *results)
    rows: list[tuple[str, ...]] = [
        ("start to first full page, s", *(f"{r.first_page_s:.1f}" for r in results.values())),
        ("CPU s per second", *(f"{r.own_cpu:.4f}" for r in results.values())),
        ("CPU s per second, Java process", *(f"{r.child_cpu:.4f}" for r in results.values())),
        ("resident memory, MB", *(f"{r.own_mb:.0f} + {r.child_mb:.0f} Java" for r in results.values())),
        ("both, shared pages by their share (PSS), MB", *(f"{r.shared_mb:.0f}" for r in results.values())),
        ("series", *(f"{r.series:,}" for r in results.values())),
    ]
    rows += [
        (f"scrape, {encoding}: p50, p99, ms; MB", *(latency(r.scrapes[encoding]) for r in results.values()))
        for encoding in ("gzip", "plain")
    ]
    yield table(head, rows)


def scrape_part(found: Mapping[tuple[str, str], Scrapes]) -> Iterable[str]:
    if not found:
        return
    yield "\n## Scrapes of 100,000 series\n"
    yield "The web server with a synthetic page, in a process of its own.\n"
    modes = list(dict.fromkeys(mode for mode, _ in found))
    yield table(
        ("", "gzip: p50, p99, ms; MB", "plain: p50, p99, ms; MB"),
        [(m, latency(found[m, "gzip"]), latency(found[m, "plain"])) for m in modes],
    )


def rules_part(results: Mapping[str, RulesResult]) -> Iterable[str]:
    if not results:
        return
    yield "\n## Rules\n"
    yield table(
        ("", "Rules", "Series", "CPU ms a pass, median (max)", "First pass", "Active alerts", "Slowest (wall ms)"),
        [
            (
                name,
                f"{r.rules}",
                f"{r.series:,}",
                f"{statistics.median(r.cpu) * 1e3:.1f} ({max(r.cpu) * 1e3:.1f})",
                f"{r.first_cpu * 1e3:.0f}",
                f"{r.active}",
                ", ".join(f"{rule} {seconds * 1e3:.1f}" for rule, seconds in r.slowest[:3]),
            )
            for name, r in results.items()
        ],
    )


def large_part(large: LargeResult | None) -> Iterable[str]:
    if large is None:
        return
    yield "\n## 100,000 partitions × 1,000 groups\n"
    yield f"Answers made of bytes, without brokers: decoding and everything behind it, {large.group_partitions:,} group-partitions, {large.series:,} series. Milliseconds; every offset moves.\n"
    yield steps_table({"live": large.rounds})
    yield f"\nThe half of it (50,000 partitions × 500 groups) takes {large.half_cpu * 1e3:.0f} ms of CPU a cycle: "
    yield f"twice as much costs {statistics.median(large.rounds.kafka_cycle().cpu) / large.half_cpu:.2f} times as much. Memory {large.memory_mb:.0f} MB.\n"
    yield f"```\n{large.profile}\n```"


def peers_part(results: Results) -> Iterable[str]:
    yield "\n## Others on the same cluster\n"
    if results.jmxquery is not None:
        q = results.jmxquery
        yield f"jmxquery, the same attributes of three brokers, a call each: {statistics.median(q.cpu):.2f} CPU s, {statistics.median(q.wall):.2f} s wall, {q.values:,} values.\n"
    if not results.peers:
        yield "kafka_exporter and kminion were not measured in this run: name their binaries by `KAFKA_EXPORTER=` and `KMINION=`."
        return
    yield table(
        ("Exporter", "Scrape s, median (max)", "CPU s", "Peak MB", "Series", "Page MB"),
        [
            (
                p.name,
                f"{statistics.median(p.wall):.3f} ({max(p.wall):.3f})",
                f"{statistics.median(p.cpu):.3f}",
                f"{p.peak_mb:.0f}",
                f"{p.series:,}",
                f"{p.size / 1e6:.2f}",
            )
            for p in results.peers
        ],
    )


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def latency(scrapes: Scrapes) -> str:
    seconds = scrapes.seconds
    return f"{statistics.median(seconds) * 1e3:.1f}, {p99(seconds) * 1e3:.1f}; {scrapes.size / 1e6:.2f}"


def ms(seconds: float) -> str:
    return f"{seconds * 1e3:.1f} ms"


def cpu_model() -> str:
    """As the kernel names it."""
    found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found is not None else platform.machine()
