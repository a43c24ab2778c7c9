"""Transactions that hold up readers: late ones, and hanging ones which their coordinator does not know (KIP-664)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from exporter.facts.transactions import LeaderProducers, OpenProducer, Transaction
from exporter.reading import Part

ONGOING = "Ongoing"


@dataclass(frozen=True, slots=True)
class Hanging:
    """A transaction that is open in a partition and that nobody will end; ``age`` is the time since its producer's last record, in seconds."""

    producer: OpenProducer
    age: float


@dataclass(frozen=True, slots=True)
class Holder:
    """A transaction that its coordinator knows and that holds a partition's last stable offset; ``age`` in seconds."""

    topic: str
    partition: int
    coordinator: int
    transaction: Transaction
    age: float


Coordinators = Mapping[int, Part[tuple[Transaction, ...]]]
Leaders = Mapping[int, Part[LeaderProducers]]


def age(transaction: Transaction, now: float) -> float | None:
    """Seconds since it began; None where nothing is open."""
    return None if transaction.started_at is None else max(0.0, now - transaction.started_at)


def overdue(transaction: Transaction, now: float) -> float | None:
    """Seconds beyond its own time-out while it is still ongoing, None where it is not late. The coordinator aborts such ones each 10 s (``transaction.abort.timed.out.transaction.cleanup.interval.ms``)."""
    open_for = age(transaction, now)
    if transaction.state != ONGOING or open_for is None or open_for <= transaction.timeout:
        return None
    return open_for - transaction.timeout


def hanging(coordinators: Coordinators, leaders: Leaders) -> tuple[Hanging, ...]:
    """As ``kafka-transactions.sh find-hanging`` has it: the partition's leader has the transaction open, its producer wrote nothing for longer than the
    broker's transaction.max.timeout.ms, and no coordinator has the producer's transaction with that partition. All coordinators must have answered."""
    known = {(t.producer_id, place) for p in coordinators.values() for t in p.value for place in t.partitions}
    found = []
    for _, part in sorted(leaders.items()):
        limit = part.value.max_timeout
        for producer in part.value.producers:
            idle = part.taken_at - producer.last_record_at
            place = (producer.topic, producer.partition)
            if limit is not None and idle > limit and (producer.producer_id, place) not in known:
                found.append(Hanging(producer, idle))
    return tuple(found)


def holders(coordinators: Coordinators, leaders: Leaders) -> tuple[Holder, ...]:
    """The known transactions behind the producers that leaders name."""
    held = {(o.producer_id, (o.topic, o.partition)) for p in leaders.values() for o in p.value.producers}
    return tuple(
        Holder(*place, coordinator, transaction, age(transaction, part.taken_at) or 0.0)
        for coordinator, part in sorted(coordinators.items())
        for transaction in part.value
        for place in sorted(transaction.partitions)
        if (transaction.producer_id, place) in held
    )
