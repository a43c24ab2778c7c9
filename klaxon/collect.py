"""What one poll of every collector gave, as rows for a table, as JSON, and as an exit code."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Final

from rich.table import Table

from exporter.reading import WHOLE_CLUSTER, Failure, Reading
from exporter.snapshot import Snapshot
from klaxon.lines import Line

SHOWN_FAILURES: Final = 3


class Result(StrEnum):
    OK = "ok"
    PARTLY = "partly"
    FAILED = "failed"
    NOT_TRUSTED = "not trusted"
    NOT_SUPPORTED = "not supported"

    @property
    def good(self) -> bool:
        """What a cluster cannot have is no failure."""
        return self in (Result.OK, Result.NOT_SUPPORTED)


@dataclass(frozen=True, slots=True)
class Row:
    """One collector of one cluster; ``answered`` of ``expected`` sources, ``seconds`` the whole poll took, ``failures`` source by source."""

    cluster: str
    collector: str
    result: Result
    facts: str
    series: int
    answered: int
    expected: int
    seconds: float
    failures: tuple[str, ...]


def rows(line: Line) -> Sequence[Row]:
    """A row for each collector that was asked."""
    snapshot = line.snapshot
    return [] if snapshot is None else list(_rows(snapshot, line.series))


def reached(line: Line) -> bool:
    return line.snapshot is not None and line.snapshot.reachable


def _rows(snapshot: Snapshot, series: Mapping[str, int]) -> Iterator[Row]:
    for name, reading in snapshot.readings().items():
        asked = bool(reading.polled_at)
        if name in snapshot.coverage.unsupported and not asked:
            continue
        result = _result(snapshot, name, reading)
        facts = _FACTS[name](snapshot) if name in _FACTS and result.good else ""
        failures = tuple(_failure(source, one) for source, one in sorted(reading.failures.items()))
        yield Row(
            snapshot.cluster,
            name,
            result,
            facts,
            series.get(name, 0),
            len(reading.fresh(snapshot.at)),
            len(reading.expected),
            reading.duration,
            failures if asked else ("it has not been asked: what it builds on is not known",),
        )


def _result(snapshot: Snapshot, name: str, reading: Reading[Any]) -> Result:
    if name in snapshot.coverage.unsupported:
        return Result.NOT_SUPPORTED
    if name in snapshot.derived.withdrawn:
        return Result.NOT_TRUSTED
    if reading.success:
        return Result.OK
    return Result.PARTLY if reading.fresh(snapshot.at) else Result.FAILED


def _failure(source: int, failure: Failure) -> str:
    """The errors of Kafka's clients name the node, those of JMX do not."""
    named = source == WHOLE_CLUSTER or f"node {source} " in f"{failure.message} "
    return failure.message if named else f"node {source}: {failure.message}"


# --- facts in words


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def _cluster(snapshot: Snapshot) -> str:
    facts = snapshot.cluster_facts.value(snapshot.at)
    return _count(len(facts.brokers), "broker") if facts is not None else ""


def _topics(snapshot: Snapshot) -> str:
    health = snapshot.derived.health
    if health is None:
        return ""
    return f"{_count(len(health.table.topics), 'topic')}, {_count(len(health.table), 'partition')}"


def _groups(snapshot: Snapshot) -> str:
    parts = snapshot.groups.fresh(snapshot.at).values()
    commits = sum(len(p.value.commits.offset) for p in parts)
    return f"{_count(sum(len(p.value.listings) for p in parts), 'group')}, {_count(commits, 'committed offset')}"


def _offsets(snapshot: Snapshot) -> str:
    ends = snapshot.derived.end_offsets
    return _count(int((ends >= 0).sum()), "end offset") if ends is not None else ""


def _log_dirs(snapshot: Snapshot) -> str:
    return _count(sum(len(p.value.dirs) for p in snapshot.log_dirs.fresh(snapshot.at).values()), "log dir")


def _quorum(snapshot: Snapshot) -> str:
    quorum = snapshot.quorum.value(snapshot.at)
    return _count(len(quorum.voters), "voter") if quorum is not None else ""


def _jmx(snapshot: Snapshot) -> str:
    return _count(len(snapshot.jmx.fresh(snapshot.at)), "node")


def _configs(snapshot: Snapshot) -> str:
    return _count(sum(len(p.value) for p in snapshot.configs.fresh(snapshot.at).values()), "setting")


def _topic_configs(snapshot: Snapshot) -> str:
    topics = snapshot.topic_configs.value(snapshot.at)
    return _count(len(topics), "topic") if topics is not None else ""


def _quotas(snapshot: Snapshot) -> str:
    quotas = snapshot.quotas.value(snapshot.at)
    return _count(len(quotas), "limit") if quotas is not None else ""


def _certificates(snapshot: Snapshot) -> str:
    shown = snapshot.certificates.value(snapshot.at)
    return _count(len(shown), "listener") if shown is not None else ""


def _reassignments(snapshot: Snapshot) -> str:
    moves = snapshot.reassignments.value(snapshot.at)
    return _count(len(moves), "running move") if moves is not None else ""


def _throttles(snapshot: Snapshot) -> str:
    return _count(sum(len(p.value.rates) for p in snapshot.throttles.fresh(snapshot.at).values()), "rate")


def _transactions(snapshot: Snapshot) -> str:
    found = [p.value for p in snapshot.transactions.fresh(snapshot.at).values()]
    return _count(sum(map(len, found)), "transaction")


_FACTS: Final[Mapping[str, Callable[[Snapshot], str]]] = {
    "cluster": _cluster,
    "topics": _topics,
    "groups": _groups,
    "offsets": _offsets,
    "log_dirs": _log_dirs,
    "quorum": _quorum,
    "jmx": _jmx,
    "configs": _configs,
    "topic_configs": _topic_configs,
    "quotas": _quotas,
    "certificates": _certificates,
    "reassignments": _reassignments,
    "throttles": _throttles,
    "transactions": _transactions,
}


# --- output


def table(lines: Mapping[str, Line]) -> Table:
    """Readable on a terminal: a line for each collector of each cluster."""
    made = Table("cluster", "collector", "result", "facts", "series", "answered", "seconds", "failures", box=None)
    for name, line in sorted(lines.items()):
        if not reached(line):
            made.add_row(name, "", "not reached", "", "", "", "", "no bootstrap server and no known node answers")
        for row in rows(line):
            answered = f"{row.answered} of {row.expected}"
            more = len(row.failures) - SHOWN_FAILURES
            failures = [*row.failures[:SHOWN_FAILURES], *([f"and {more} more"] if more > 0 else [])]
            said = "; ".join(failures)
            made.add_row(
                name, row.collector, row.result, row.facts, f"{row.series:,}", answered, f"{row.seconds:.2f}", said
            )
    return made


def as_json(lines: Mapping[str, Line]) -> list[dict[str, Any]]:
    """A mapping for each cluster with its collectors."""
    return [
        {"cluster": name, "reached": reached(line), "collectors": [asdict(row) for row in rows(line)]}
        for name, line in sorted(lines.items())
    ]
