"""Collector ``topics``: every partition, ``min.insync.replicas`` of each topic, and ELR of partitions below it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from exporter.collectors.base import Clock, Known, Polls, failure
from exporter.facts.partitions import I32, ElrRow, PartitionTable, TopicFacts
from exporter.kafka.client import KafkaReader
from exporter.kafka.errors import KafkaError, Unsupported
from exporter.reading import WHOLE_CLUSTER, Failure, Part, Poll

REFRESH_S = 300.0
"""How long a topic's min.insync.replicas is believed; a new topic's is asked for at once."""

Topic = tuple[str, str]
"""A topic by name and id: one that was deleted and made again is another."""


class TopicsCollector:
    """Hands out the same facts as long as nothing changed, so that readers may cache by identity."""

    def __init__(self, reader: KafkaReader, clock: Clock) -> None:
        self._reader = reader
        self._clock = clock
        self._min_isr: Mapping[Topic, int] = {}
        self._refreshed_at = -REFRESH_S
        self._elr_supported = True
        self._facts: TopicFacts | None = None

    def poll(self, known: Known) -> Polls:
        """See Collector; facts without configs or ELR are still facts, beside a failure."""
        table = self._reader.partitions()
        taken_at = self._clock()
        failures: dict[int, Failure] = {}
        self._learn_min_isr(table, failures)
        min_isr = self._column(table)
        facts = self._lasting(TopicFacts(table, min_isr, self._elr(table, min_isr, failures)))
        return Polls(topics=Poll({WHOLE_CLUSTER: Part(facts, taken_at)}, failures))

    def _learn_min_isr(self, table: PartitionTable, failures: dict[int, Failure]) -> None:
        now = self._clock()
        topics = list(zip(table.topics, table.topic_ids, strict=True))
        all_again = now - self._refreshed_at >= REFRESH_S
        wanted = topics if all_again else [t for t in topics if t not in self._min_isr]
        if not wanted:
            return
        try:
            told = self._reader.min_insync_replicas([name for name, _ in wanted])
        except KafkaError as error:
            failures[WHOLE_CLUSTER] = failure(error, self._clock())
            return
        # What may not be described stays known as unknown (0), so that it is asked for again only with all the others.
        learnt = {t: told.get(t[0], 0) for t in wanted}
        if all_again:
            self._refreshed_at = now
            self._min_isr = learnt
        else:
            self._min_isr = {**self._min_isr, **learnt}

    def _column(self, table: PartitionTable) -> I32:
        topics = zip(table.topics, table.topic_ids, strict=True)
        return np.array([self._min_isr.get(t, 0) for t in topics], dtype=np.int32)

    def _elr(self, table: PartitionTable, min_isr: I32, failures: dict[int, Failure]) -> tuple[ElrRow, ...]:
        topics = below_min_isr(table, min_isr)
        if not topics or not self._elr_supported:
            return ()
        try:
            return tuple(sorted(self._reader.elr(topics), key=lambda row: (row.topic, row.partition)))
        except Unsupported:
            self._elr_supported = False
        except KafkaError as error:
            failures[WHOLE_CLUSTER] = failure(error, self._clock())
        return ()

    def _lasting(self, facts: TopicFacts) -> TopicFacts:
        old = self._facts
        if (
            old is not None
            and old.partitions is facts.partitions
            and np.array_equal(old.min_insync_replicas, facts.min_insync_replicas)
            and _same_elr(old.elr, facts.elr)
        ):
            return old
        self._facts = facts
        return facts


def below_min_isr(table: PartitionTable, min_isr: I32) -> Sequence[str]:
    """Names of topics with a partition whose ISR is smaller than min.insync.replicas."""
    below = table.topic[table.isr.counts() < np.minimum(min_isr[table.topic], table.replicas.counts())]
    return [table.topics[t] for t in np.unique(below).tolist()]


def _same_elr(old: Sequence[ElrRow], new: Sequence[ElrRow]) -> bool:
    def essence(rows: Sequence[ElrRow]) -> list[tuple[object, ...]]:
        return [(r.topic, r.partition, r.eligible_leader_replicas, r.last_known_elr) for r in rows]

    return essence(old) == essence(new)
