"""What was measured as sections of docs/performance.md, which are kept between runs: a run lays its sections over earlier ones."""

from __future__ import annotations

import datetime as dt
import fcntl
import json
import os
import platform
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from demo.runtime import DEFAULT_VERSION
from tests.bench.cluster_m import SIZES
from tests.bench.costs import Samples, p99
from tests.bench.cycle import BUDGETED_COLLECTORS, TITLES, CycleResult, Rounds
from tests.bench.daemon import DaemonResult, Scrapes
from tests.bench.large import LargeResult
from tests.bench.peers import JmxQueryResult, PeerResult
from tests.bench.rules import RulesResult

DOCUMENT = Path(__file__).parent.parent.parent / "docs" / "performance.md"
KEPT = DOCUMENT.with_suffix(".json")
BEGIN = "<!-- measured: written by python -m tests.bench -->"
END = "<!-- end of measured -->"
BROKERS = 3
ORDER = ("cycle M", "daemon M", "peers", "large", "scrape", "rules", "cycle S", "daemon S")
"""The sections of the page, the large before the small."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A budget: what was promised, what was measured, whether it holds."""

    budget: str
    limit: str
    measured: str
    held: bool


@dataclass(frozen=True, slots=True)
class Section:
    """One part's results: ``key`` is one of ORDER, ``text`` is markdown without the title."""

    key: str
    title: str
    text: str
    verdicts: Sequence[Verdict] = ()

    def __str__(self) -> str:
        return f"## {self.title}\n\n{self.text}\n\n{budgets(asdict(v) for v in self.verdicts)}"


def keep(section: Section, load: str) -> None:
    """Lay a section over its last one and write the page anew. A budget that this run did not measure stays as it was."""
    with (KEPT.parent / ".performance.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        kept: dict[str, Any] = json.loads(KEPT.read_text()) if KEPT.exists() else {}
        new = asdict(section)
        measured = {v["budget"] for v in new["verdicts"]}
        before = kept.get(section.key, {}).get("verdicts", [])
        stands = [v for v in before if v["budget"] not in measured and section.key == "peers"]
        new["verdicts"] = [*new["verdicts"], *stands]
        date = dt.datetime.now(dt.UTC).date().isoformat()
        when = f"Measured on {date}, {cpu_model()}, {os.cpu_count()} cores, Python {platform.python_version()}, Kafka {DEFAULT_VERSION}, load average before it {load}."
        kept[section.key] = {**new, "when": when}
        KEPT.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        DOCUMENT.write_text(document([kept[k] for k in ORDER if k in kept], DOCUMENT.read_text()), encoding="utf-8")


def document(sections: Sequence[Mapping[str, Any]], old: str) -> str:
    """The page with its measured part replaced; the text around it stays."""
    verdicts = [v for section in sections for v in section["verdicts"]]
    parts = [f"## {s['title']}\n\n{s['when']}\n\n{s['text']}\n" for s in sections]
    before, _, rest = old.partition(BEGIN)
    body = "\n".join(["## Budgets\n", budgets(verdicts) + "\n", *parts])
    return f"{before}{BEGIN}\n\n{body}{END}{rest.partition(END)[2]}"


def budgets(verdicts: Iterable[Mapping[str, Any]]) -> str:
    rows = [(v["budget"], v["limit"], v["measured"], "yes" if v["held"] else "**no**") for v in verdicts]
    return table(("Budget", "Limit", "Measured", "Held"), rows) if rows else ""


# --- sections


def cycle_section(name: str, result: CycleResult) -> Section:
    verdicts = cycle_verdicts(result) if name == "M" else ()
    return Section(f"cycle {name}", f"A cycle at {name}", "\n".join(cycle_part(name, result)), verdicts)


def daemon_section(name: str, result: DaemonResult) -> Section:
    memory = result.own_mb + result.child_mb
    verdicts = [
        Verdict("Start to first full page at M", "10 s", f"{result.first_page_s:.1f} s", result.first_page_s <= 10),
        Verdict("Resident memory at M, the Java process included", "250 MB", f"{memory:.0f} MB", memory <= 250),
    ]
    text = "\n".join(daemon_part(result))
    return Section(f"daemon {name}", f"The daemon at {name}", text, verdicts if name == "M" else ())


def scrape_section(found: Mapping[tuple[str, str], Scrapes]) -> Section:
    worst = p99(found["every value new each second", "gzip"].seconds)
    budget = "A scrape (gzip) at 100,000 series while values are published, p99"
    verdict = Verdict(budget, "5 ms", ms(worst), worst <= 0.005)
    return Section("scrape", "Scrapes of 100,000 series", "\n".join(scrape_part(found)), [verdict])


def rules_section(results: Mapping[str, RulesResult]) -> Section:
    verdicts = []
    for name, rules in results.items():
        cpu = statistics.median(rules.cpu)
        budget = f"All shipped rules at 100,000 series, {name}"
        verdicts.append(Verdict(budget, "1 CPU s", f"{cpu:.3f} CPU s", cpu <= 1))
    return Section("rules", "Rules", rules_table(results), verdicts)


def large_section(large: LargeResult) -> Section:
    title = "100,000 partitions × 1,000 groups"
    return Section("large", title, "\n".join(large_part(large)), large_verdicts(large))


def peers_section(peers: Sequence[PeerResult], query: JmxQueryResult | None, cycle: CycleResult | None) -> Section:
    """With the verdict on JMX if both sides of it were measured in this run."""
    verdicts = []
    if query is not None and cycle is not None:
        ratio = statistics.median(query.cpu) / cycle.live.jmx_cpu()
        verdicts.append(Verdict("JMX against jmxquery", "1/30 of its CPU", f"1/{ratio:.0f}", ratio >= 30))
    return Section("peers", "Others on the same cluster at M", "\n".join(peers_part(peers, query)), verdicts)


# --- budgets


def cycle_verdicts(m: CycleResult) -> list[Verdict]:
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
    return found


def large_verdicts(large: LargeResult) -> list[Verdict]:
    cpu, what = statistics.median(large.rounds.kafka_cycle().cpu), "100,000 partitions × 1,000 groups"
    daemon = large.daemon
    return [
        Verdict(f"{what}: cycle", "1.5 CPU s", f"{cpu:.2f} CPU s", cpu <= 1.5),
        Verdict(f"{what}: requests a cycle", f"{large.limit}", f"{large.asked}", large.asked <= large.limit),
        Verdict(f"{what}: memory of the cycle", "600 MB", f"{large.memory_mb:.0f} MB", large.memory_mb <= 600),
        Verdict(
            f"{what}: memory of the daemon, rules included, at its most",
            "600 MB",
            f"{daemon.peak_mb:.0f} MB",
            daemon.peak_mb <= 600,
        ),
    ]


# --- tables


def cycle_part(name: str, result: CycleResult) -> Iterable[str]:
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


def daemon_part(r: DaemonResult) -> Iterable[str]:
    yield "As a process at its default intervals, rules and trees included; scrapes on one kept connection while polls run, to the last byte.\n"
    rows: list[tuple[str, str]] = [
        ("start to first full page, s", f"{r.first_page_s:.1f}"),
        ("CPU s per second", f"{r.own_cpu:.4f}"),
        ("CPU s per second, Java process", f"{r.child_cpu:.4f}"),
        ("resident memory, MB", f"{r.own_mb:.0f} + {r.child_mb:.0f} Java"),
        ("both, shared pages by their share (PSS), MB", f"{r.shared_mb:.0f}"),
        ("series", f"{r.series:,}"),
    ]
    rows += [(f"scrape, {encoding}: p50, p99, ms; MB", latency(scrapes)) for encoding, scrapes in r.scrapes.items()]
    yield table(("", "Measured"), rows)


def scrape_part(found: Mapping[tuple[str, str], Scrapes]) -> Iterable[str]:
    yield "The web server with a synthetic page, in a process of its own.\n"
    modes = list(dict.fromkeys(mode for mode, _ in found))
    yield table(
        ("", "gzip: p50, p99, ms; MB", "plain: p50, p99, ms; MB"),
        [(m, latency(found[m, "gzip"]), latency(found[m, "plain"])) for m in modes],
    )


def rules_table(results: Mapping[str, RulesResult]) -> str:
    return table(
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


def large_part(large: LargeResult) -> Iterable[str]:
    yield "Three stub brokers in a process of their own answer with generated bytes over real sockets; CPU is ours alone. "
    yield f"{large.group_partitions:,} group-partitions, {large.series:,} series. Milliseconds; every offset moves.\n"
    yield steps_table({"live": large.rounds})
    yield f"\nThe half of it (50,000 partitions × 500 groups) takes {large.half_cpu * 1e3:.0f} ms of CPU a cycle: "
    yield f"twice as much costs {statistics.median(large.rounds.kafka_cycle().cpu) / large.half_cpu:.2f} times as much."
    yield f"Memory after fifteen minutes of cycles {large.memory_mb:.0f} MB, the bench's own modules among them.\n"
    yield "Requests a cycle:\n"
    yield requests_table(large.rounds)
    daemon = large.daemon
    yield "\nThe daemon as a process on the same stub, rules and trees included, offsets moving every ten seconds:\n"
    yield table(
        ("", "Measured"),
        [
            ("start to first full page, s", f"{daemon.first_page_s:.1f}"),
            ("CPU s per second", f"{daemon.cpu:.3f}"),
            ("resident memory each half minute, MB", ", ".join(f"{mb:.0f}" for mb in daemon.memory)),
            ("resident memory at its most, MB", f"{daemon.peak_mb:.0f}"),
            ("scrape, gzip: p50, p99, ms; MB", latency(daemon.scrapes)),
        ],
    )
    yield "\nWhere the cycle's time goes:\n"
    yield f"```\n{large.profile}\n```"


def peers_part(peers: Sequence[PeerResult], query: JmxQueryResult | None) -> Iterable[str]:
    if query is not None:
        yield f"jmxquery, the same attributes of three brokers, a call each: {statistics.median(query.cpu):.2f} CPU s, {statistics.median(query.wall):.2f} s wall, {query.values:,} values.\n"
    if not peers:
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
            for p in peers
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
