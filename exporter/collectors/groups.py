"""Collector ``groups``: what every coordinator lists, describes and has as commits."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TypeVar

import numpy as np

from exporter.collectors.base import Clock, Known, failures, good
from exporter.facts.groups import CommitTable, CoordinatorFacts, GroupDescription, GroupListing, ShareOffsetTable
from exporter.facts.partitions import TopicFacts
from exporter.kafka.client import KafkaReader
from exporter.kafka.rights import NOT_PERMITTED
from exporter.reading import WHOLE_CLUSTER, Failure, Part, Poll

COORDINATOR_LOAD_IN_PROGRESS = 14
COORDINATOR_NOT_AVAILABLE = 15
NOT_COORDINATOR = 16
GROUP_ID_NOT_FOUND = 69

LOADING = frozenset({COORDINATOR_LOAD_IN_PROGRESS, COORDINATOR_NOT_AVAILABLE})
ELSEWHERE = frozenset({NOT_COORDINATOR, GROUP_ID_NOT_FOUND})
OFFSETS_TOPIC = "__consumer_offsets"

LOADING_KIND = "loading"
MOVING_KIND = "moving"
INCOMPLETE_KINDS = frozenset({LOADING_KIND, MOVING_KIND})
"""Failures which say that groups may be missing from every part of the poll, not only that one part is old."""

NO_COMMITS = CommitTable(
    (),
    (),
    np.zeros(0, dtype=np.int32),
    np.zeros(0, dtype=np.int32),
    np.zeros(0, dtype=np.int32),
    np.zeros(0, dtype=np.int64),
    np.zeros(0, dtype=np.int16),
    {},
)


@dataclass(frozen=True, slots=True)
class _Told:
    """The answers of one coordinator about its groups; a missing one was not asked for, since it has no such groups."""

    listings: tuple[GroupListing, ...]
    descriptions: Mapping[str, GroupDescription]
    commits: CommitTable
    at: float
    shares: ShareOffsetTable | None

    @property
    def errors(self) -> dict[str, int]:
        """Kafka's error code of each group that has one."""
        told = {g: d.error for g, d in self.descriptions.items() if d.error}
        shares = self.shares.group_errors if self.shares is not None else {}
        return {**{g: code for g, code in self.commits.group_errors.items() if code}, **shares, **told}

    def facts(self) -> CoordinatorFacts:
        """What is left without groups that are elsewhere."""
        gone = {g for g, code in self.errors.items() if code in ELSEWHERE}
        facts = CoordinatorFacts(self.listings, self.descriptions, self.commits, self.at, self.shares)
        return without_groups(facts, gone)


def poll_groups(reader: KafkaReader, known: Known, clock: Clock) -> Poll[CoordinatorFacts]:
    """Ask every living broker for its groups. A coordinator that loads, or whose groups move, is a failure: an empty list would look healthy."""
    told, problems = _ask(reader, sorted(known.living_brokers))
    parts: dict[int, Part[CoordinatorFacts]] = {}
    for node, answers in told.items():
        problem = _problem(answers, {g.group for n, other in told.items() if n != node for g in other.listings})
        if problem is not None:
            problems[node] = problem
        if problem is None or problem.kind not in INCOMPLETE_KINDS:
            parts[node] = Part(answers.facts(), answers.at)
    expected = known.living_brokers
    leaderless = _leaderless_coordinators(known.topics)
    if leaderless:
        # Nobody coordinates the groups of these partitions: no broker's answer can cover them.
        message = f"{leaderless} partitions of {OFFSETS_TOPIC} have no leader: their groups have no coordinator"
        problems[WHOLE_CLUSTER] = Failure("no_coordinator", message, clock())
        expected = expected | {WHOLE_CLUSTER}
    return Poll(without_repeats(parts), problems, expected)


def _ask(reader: KafkaReader, nodes: Sequence[int]) -> tuple[dict[int, _Told], dict[int, Failure]]:
    """A request per coordinator and kind of question, the coordinators in parallel; who failed in one of them has told nothing."""
    listed = reader.list_groups(nodes)
    listings = {n: a.value or () for n, a in good(listed).items()}
    described = reader.describe_groups({n: groups for n, groups in listings.items() if groups})
    with_commits = {n: [g.group for g in groups if g.type != "share"] for n, groups in listings.items()}
    committed = reader.committed_offsets({n: names for n, names in with_commits.items() if names})
    sharing = {n: [g.group for g in groups if g.type == "share"] for n, groups in listings.items()}
    shared = reader.share_offsets({n: names for n, names in sharing.items() if names})
    # Before Kafka 4.1 share groups are early access, and their offsets cannot be asked for.
    share_failures = {n: f for n, f in failures(shared).items() if f.kind != "unsupported"}
    problems = {
        n: _named(f)
        for n, f in {**share_failures, **failures(committed), **failures(described), **failures(listed)}.items()
    }
    told: dict[int, _Told] = {}
    for node in listings.keys() - problems.keys():
        descriptions, commits = described.get(node), committed.get(node)
        told[node] = _Told(
            listings[node],
            descriptions.value if descriptions is not None and descriptions.value is not None else {},
            commits.value if commits is not None and commits.value is not None else NO_COMMITS,
            commits.at if commits is not None else listed[node].at,
            shared[node].value if node in shared else None,
        )
    return told, problems


def _named(problem: Failure) -> Failure:
    """ListGroups of a broker that loads answers with the error and a part of its groups."""
    loads = "LOAD_IN_PROGRESS" in problem.message or "COORDINATOR_NOT_AVAILABLE" in problem.message
    return Failure(LOADING_KIND, problem.message, problem.at) if loads else problem


def _problem(told: _Told, elsewhere: Collection[str]) -> Failure | None:
    """What is wrong with a coordinator's groups, the worst first; ``elsewhere`` are the groups that other brokers list."""
    errors, at = told.errors, told.at
    loading = sorted(g for g, code in errors.items() if code in LOADING)
    if loading:
        return Failure(LOADING_KIND, f"the coordinator loads {_some(loading)}", at)
    moving = sorted(g for g, code in errors.items() if code == NOT_COORDINATOR and g not in elsewhere)
    if moving:
        return Failure(MOVING_KIND, f"no broker coordinates {_some(moving)} yet", at)
    denied = sorted(g for g, code in errors.items() if code in NOT_PERMITTED)
    if denied:
        return Failure("denied", f"Klaxon may not describe {_some(denied)}", at)
    broken = sorted(f"{g} (error {code})" for g, code in errors.items() if code not in ELSEWHERE)
    return Failure("broker", f"the coordinator cannot tell about {_some(broken)}", at) if broken else None


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:5])
    return f"{shown} and {len(names) - 5} more" if len(names) > 5 else shown


def _leaderless_coordinators(topics: TopicFacts | None) -> int:
    if topics is None:
        return 0
    table = topics.partitions
    return int((table.leader[table.rows_of(OFFSETS_TOPIC)] < 0).sum())


def without_groups(facts: CoordinatorFacts, names: Collection[str]) -> CoordinatorFacts:
    """The facts without these groups; the same object when it has none of them."""
    table = facts.commits
    if not any(g.group in names for g in facts.listings) and not any(g in names for g in table.groups):
        return facts
    return CoordinatorFacts(
        tuple(g for g in facts.listings if g.group not in names),
        {g: d for g, d in facts.descriptions.items() if g not in names},
        _rows_without(table, names),
        facts.commits_at,
        _rows_without(facts.shares, names) if facts.shares is not None else None,
    )


Offsets = TypeVar("Offsets", CommitTable, ShareOffsetTable)


def _rows_without(table: Offsets, names: Collection[str]) -> Offsets:
    """A table of offsets without the rows of these groups."""
    kept = [i for i, g in enumerate(table.groups) if g not in names]
    rows = np.isin(table.group, kept)
    number = np.zeros(len(table.groups), dtype=np.int32)
    number[kept] = np.arange(len(kept), dtype=np.int32)
    same = ("groups", "topics", "group", "group_errors")
    columns = {f.name: getattr(table, f.name)[rows] for f in fields(table) if f.name not in same}
    return replace(
        table,
        groups=tuple(table.groups[i] for i in kept),
        group=number[table.group[rows]],
        group_errors={g: code for g, code in table.group_errors.items() if g not in names},
        **columns,
    )


def without_repeats(
    parts: Mapping[int, Part[CoordinatorFacts]], *, newest: bool = False
) -> Mapping[int, Part[CoordinatorFacts]]:
    """Each group at one coordinator only. Parts without repeats stay the same objects.

    Right after a move the old coordinator may still list what the new one has taken over. In one poll the one with members wins, then the one whose commits went
    further; with ``newest`` (parts of several polls) the newer answer.
    """
    holders: dict[str, list[int]] = {}
    for node, part in parts.items():
        for name in {g.group for g in part.value.listings}:
            holders.setdefault(name, []).append(node)
    losers: dict[int, set[str]] = {}
    for name, nodes in holders.items():
        if len(nodes) > 1:
            best = max(nodes, key=lambda n: (parts[n].taken_at if newest else 0.0, *_claim(parts[n].value, name), n))
            for node in nodes:
                if node != best:
                    losers.setdefault(node, set()).add(name)
    return {n: Part(without_groups(p.value, losers[n]), p.taken_at) if n in losers else p for n, p in parts.items()}


def _claim(facts: CoordinatorFacts, name: str) -> tuple[bool, int]:
    """How well a coordinator knows a group: whether it has members, and how far its commits went."""
    description, table = facts.descriptions.get(name), facts.commits
    committed = 0
    if name in table.groups:
        rows = (table.group == table.groups.index(name)) & (table.offset >= 0)
        committed = int(table.offset[rows].sum())
    return description is not None and bool(description.members), committed
