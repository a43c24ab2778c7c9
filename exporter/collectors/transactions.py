"""Collector ``transactions``: what coordinators have open, and what leaders say of partitions whose last stable offset stands."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from exporter.collectors.base import Clock, Known, Polls, failure, failures, good, poll_of
from exporter.collectors.groups import LOADING, LOADING_KIND, MOVING_KIND, NOT_COORDINATOR
from exporter.facts.partitions import END, LAST_STABLE, OffsetRows, PartitionTable, TopicFacts
from exporter.facts.transactions import (
    OPEN_STATES,
    LeaderProducers,
    ProducerAnswer,
    StuckPartition,
    Transaction,
    TransactionListing,
)
from exporter.kafka.client import Answer, KafkaReader
from exporter.kafka.errors import BrokerError
from exporter.kafka.messages import error_name
from exporter.kafka.rights import NOT_PERMITTED
from exporter.reading import WHOLE_CLUSTER, Failure, Part, Poll, Reading

STATE_TOPIC = "__transaction_state"
TRANSACTIONAL_ID_NOT_FOUND = 105
NO_LONGER_THERE = frozenset({3, 5, 6})
"""UNKNOWN_TOPIC_OR_PARTITION, LEADER_NOT_AVAILABLE, NOT_LEADER_OR_FOLLOWER: the next poll knows better."""

MAX_TIMEOUT = "transaction.max.timeout.ms"
REFRESH_S = 300.0
"""How long a broker's transaction.max.timeout.ms is believed."""

Place = tuple[str, int]
"""Topic and partition."""
Stuck = dict[Place, StuckPartition]


class TransactionsCollector:
    """Feeds ``transactions`` (by coordinator), ``stuck_offsets`` and ``producers`` (by leader).

    Ordinary transactions hold a last stable offset for moments. Leaders are asked about producers only for partitions where it stood from one poll to the next, and at their
    first poll: a healthy cluster gets two requests per broker.
    """

    def __init__(self, reader: KafkaReader, clock: Clock) -> None:
        self._reader = reader
        self._clock = clock
        self._lagging: dict[int, Stuck] = {}
        self._max_timeouts: dict[int, tuple[float, float]] = {}

    def poll(self, known: Known) -> Polls:
        """See Collector."""
        coordinators = poll_coordinators(self._reader, known, self._clock)
        if known.topics is None:
            return Polls(transactions=coordinators)
        stuck = self._poll_leaders(known.topics.partitions, known)
        return Polls(transactions=coordinators, stuck_offsets=stuck, producers=self._poll_producers(stuck))

    # --- partitions whose last stable offset stands

    def _poll_leaders(self, table: PartitionTable, known: Known) -> Poll[tuple[StuckPartition, ...]]:
        leaders = frozenset(np.unique(table.leader[table.leader >= 0]).tolist())
        if not leaders:
            return _without_leaders(table, self._clock())
        ends, stable = self._ends_and_stable(known, table, leaders)
        problems = dict(stable.failures)
        parts: dict[int, Part[tuple[StuckPartition, ...]]] = {}
        for node, part in stable.parts.items():
            at = part.taken_at
            if node in ends.parts:
                behind = _behind(table, ends.parts[node].value, part.value)
                parts[node] = Part(self._stood(node, behind, at), at)
            else:
                problems[node] = Failure("no_end", "the ends of its partitions are not known", at)
        return Poll(parts, problems, leaders)

    def _ends_and_stable(
        self, known: Known, table: PartitionTable, leaders: frozenset[int]
    ) -> tuple[Poll[OffsetRows], Poll[OffsetRows]]:
        """What was read with the groups where every leader's is fresh and of this table, else read now; ends first: where no transaction is open, no last stable offset is below its end."""
        now = self._clock()
        ends = _fresh(known.end_offsets, table, leaders, now)
        stable = _fresh(known.stable_offsets, table, leaders, now)
        if ends is not None and stable is not None:
            return ends, stable
        ends = poll_of(self._reader.offsets(table, END), leaders)
        return ends, poll_of(self._reader.offsets(table, LAST_STABLE), leaders)

    def _stood(self, node: int, behind: Mapping[Place, int], at: float) -> tuple[StuckPartition, ...]:
        """Partitions whose last stable offset has not moved since the last poll, whoever led them then; at a leader's first poll all that lag."""
        before = {place: row for rows in self._lagging.values() for place, row in rows.items()}
        first = node not in self._lagging
        lagging: Stuck = {}
        stood: list[StuckPartition] = []
        for place, offset in sorted(behind.items()):
            old = before.get(place)
            same = old is not None and old.last_stable_offset == offset
            lagging[place] = old if old is not None and same else StuckPartition(*place, offset, at)
            if same or first:
                stood.append(lagging[place])
        self._lagging[node] = lagging
        return tuple(stood)

    # --- who holds it

    def _poll_producers(self, stuck: Poll[tuple[StuckPartition, ...]]) -> Poll[LeaderProducers]:
        """Nobody holds anything where nothing stands; else the leader says who does."""
        wanted = {n: [(s.topic, s.partition) for s in p.value] for n, p in stuck.parts.items() if p.value}
        answers = self._reader.open_producers(wanted) if wanted else {}
        held = {n: a.value for n, a in good(answers).items() if a.value is not None and a.value.producers}
        limits = self._limits(held)
        problems = {**stuck.failures, **failures(answers)}
        parts: dict[int, Part[LeaderProducers]] = {}
        for node, part in stuck.parts.items():
            answer = answers.get(node)
            problem = _refusal(node, answer) or problems.get(node)
            if problem is not None:
                problems[node] = problem
                continue
            producers = answer.value.producers if answer is not None and answer.value is not None else ()
            limit = limits.get(node)
            if isinstance(limit, Failure):
                problems[node] = limit
            else:
                parts[node] = Part(LeaderProducers(producers, limit), part.taken_at)
        return Poll(parts, problems, stuck.expected)

    def _limits(self, nodes: Iterable[int]) -> Mapping[int, float | Failure]:
        """transaction.max.timeout.ms of these brokers in seconds, or why it is not known."""
        now = self._clock()
        old = [n for n in sorted(nodes) if n not in self._max_timeouts or now - self._max_timeouts[n][1] >= REFRESH_S]
        answers = self._reader.broker_values(old, [MAX_TIMEOUT]) if old else {}
        for node, answer in good(answers).items():
            if answer.value is not None and MAX_TIMEOUT in answer.value:
                self._max_timeouts[node] = (int(answer.value[MAX_TIMEOUT]) / 1000, now)
        unknown = dict.fromkeys(old, Failure("no_value", f"{MAX_TIMEOUT} is not told", now))
        known = {n: limit for n, (limit, _) in self._max_timeouts.items()}
        return {**unknown, **failures(answers), **known}


# --- coordinators


def poll_coordinators(reader: KafkaReader, known: Known, clock: Clock) -> Poll[tuple[Transaction, ...]]:
    """Ask every living broker for the transactions that are open there. One that loads, or hands over, is a failure: an empty list would look healthy."""
    nodes = sorted(known.living_brokers)
    listed = reader.list_transactions(nodes)
    listings = {n: a.value or () for n, a in good(listed).items()}
    ids = {n: [t.transactional_id for t in rows] for n, rows in listings.items() if rows}
    described = reader.describe_transactions(ids) if ids else {}
    answers = {n: _joined(n, a, described.get(n)) for n, a in listed.items()}
    poll = poll_of(answers, nodes)
    problems = {n: _loading(answers[n].error, f) for n, f in poll.failures.items()}
    leaderless = _leaderless(known.topics)
    if not leaderless:
        return Poll(poll.parts, problems, poll.expected)
    message = f"{leaderless} partitions of {STATE_TOPIC} have no leader: their transactions have no coordinator"
    problems[WHOLE_CLUSTER] = Failure("no_coordinator", message, clock())
    return Poll(poll.parts, problems, poll.expected | {WHOLE_CLUSTER})


def _joined(
    node: int,
    listed: Answer[tuple[TransactionListing, ...]],
    described: Answer[tuple[Transaction, ...]] | None,
) -> Answer[tuple[Transaction, ...]]:
    """Both answers of one coordinator; the first error of either is the answer. A transaction that ended between them is gone."""
    error = listed.error or (described.error if described is not None else None)
    rows = described.value if described is not None and described.value is not None else ()
    code = next((t.error for t in rows if t.error not in (0, TRANSACTIONAL_ID_NOT_FOUND)), 0)
    if error is None and code:
        error = BrokerError(code, error_name(code), node=node, request="DescribeTransactions")
    if error is not None:
        return Answer(listed.at, listed.seconds, error=error)
    return Answer(listed.at, listed.seconds, tuple(t for t in rows if not t.error and t.state in OPEN_STATES))


def _loading(error: Exception | None, problem: Failure) -> Failure:
    code = error.code if isinstance(error, BrokerError) else None
    kind = LOADING_KIND if code in LOADING else MOVING_KIND if code == NOT_COORDINATOR else problem.kind
    return Failure(kind, problem.message, problem.at)


def _leaderless(topics: TopicFacts | None) -> int:
    """How many partitions of the transactions' topic nobody leads."""
    if topics is None:
        return 0
    table = topics.partitions
    return int((table.leader[table.rows_of(STATE_TOPIC)] < 0).sum())


# --- offsets


def _fresh(
    reading: Reading[OffsetRows] | None, table: PartitionTable, leaders: frozenset[int], now: float
) -> Poll[OffsetRows] | None:
    """The reading's parts, where every leader's is fresh and of this table."""
    fresh = reading.fresh(now) if reading is not None else {}
    parts = {n: p for n, p in fresh.items() if n in leaders and p.value.partitions is table}
    return Poll(parts, expected=leaders) if leaders <= parts.keys() else None


def _behind(table: PartitionTable, ends: OffsetRows, stable: OffsetRows) -> Mapping[Place, int]:
    """Place -> last stable offset, of those that lie before their end."""
    end = np.full(len(table), -1, dtype=np.int64)
    end[ends.rows] = ends.offset
    behind = (stable.offset >= 0) & (end[stable.rows] > stable.offset)
    rows, offsets = stable.rows[behind].tolist(), stable.offset[behind].tolist()
    return {
        (table.topics[int(table.topic[r])], int(table.partition[r])): offset
        for r, offset in zip(rows, offsets, strict=True)
    }


def _without_leaders(table: PartitionTable, now: float) -> Poll[tuple[StuckPartition, ...]]:
    """A cluster without partitions has nothing that stands; one whose partitions nobody leads cannot tell."""
    if len(table):
        return Poll({}, {WHOLE_CLUSTER: Failure("no_leader", "no partition has a leader", now)})
    return Poll({WHOLE_CLUSTER: Part((), now)})


def _refusal(node: int, answer: Answer[ProducerAnswer] | None) -> Failure | None:
    """A partition whose producers the leader would not tell, so that who holds it stays unknown."""
    if answer is None or answer.value is None:
        return None
    told = {place: code for place, code in answer.value.errors.items() if code not in NO_LONGER_THERE}
    if not told:
        return None
    (topic, partition), code = min(told.items(), key=lambda row: (row[1] not in NOT_PERMITTED, row[0]))
    error = BrokerError(code, error_name(code), node=node, request="DescribeProducers")
    problem = failure(error, answer.at)
    return Failure(problem.kind, f"{problem.message} ({topic}-{partition})", problem.at)
