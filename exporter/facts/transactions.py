"""Transactions as their coordinators know them, and producers as the leaders of partitions know them (KIP-664)."""

from __future__ import annotations

from dataclasses import dataclass

OPEN_STATES = ("Ongoing", "PrepareCommit", "PrepareAbort", "PrepareEpochFence")
"""States in which partitions may wait for a marker, in Kafka's words; an id stays in the others for days (transactional.id.expiration.ms)."""


@dataclass(frozen=True, slots=True)
class TransactionListing:
    """One row of ListTransactions; ``state`` in Kafka's words (``OPEN_STATES``)."""

    transactional_id: str
    producer_id: int
    state: str


@dataclass(frozen=True, slots=True)
class Transaction:
    """DescribeTransactions of one transactional id. ``started_at`` (Unix seconds) is None where nothing is open; ``timeout`` is in seconds.

    ``partitions`` are those in the transaction; of one that is being completed, those that lack its marker.
    """

    transactional_id: str
    state: str
    producer_id: int
    producer_epoch: int
    timeout: float
    started_at: float | None
    partitions: frozenset[tuple[str, int]]
    error: int = 0


@dataclass(frozen=True, slots=True)
class OpenProducer:
    """A producer that has a transaction open in a partition, as the partition's leader knows it (DescribeProducers).

    ``start_offset`` is the transaction's first record there, ``last_record_at`` (Unix seconds) the time of the producer's newest.
    """

    topic: str
    partition: int
    producer_id: int
    producer_epoch: int
    start_offset: int
    last_record_at: float


@dataclass(frozen=True, slots=True)
class ProducerAnswer:
    """DescribeProducers of one leader: the producers with an open transaction, and Kafka's error code of each partition that has one."""

    producers: tuple[OpenProducer, ...]
    errors: dict[tuple[str, int], int]


@dataclass(frozen=True, slots=True)
class StuckPartition:
    """A partition whose last stable offset has stood since ``since`` (Unix seconds, as far as Klaxon saw it) while committed readers wait for what lies beyond."""

    topic: str
    partition: int
    last_stable_offset: int
    since: float


@dataclass(frozen=True, slots=True)
class LeaderProducers:
    """Producers with a transaction open in partitions of one leader whose last stable offset stands.

    ``max_timeout`` is the broker's transaction.max.timeout.ms in seconds; None where there are no such producers, since it is not asked for then.
    """

    producers: tuple[OpenProducer, ...]
    max_timeout: float | None
