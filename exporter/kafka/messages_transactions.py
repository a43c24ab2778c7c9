"""Messages about transactions: asked of their coordinators, and of the leaders of partitions (KIP-664)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from kafka.protocol.admin import (
    DescribeProducersRequest,
    DescribeProducersResponse,
    DescribeTransactionsRequest,
    DescribeTransactionsResponse,
    ListTransactionsRequest,
    ListTransactionsResponse,
)

from exporter.facts.transactions import OPEN_STATES, OpenProducer, ProducerAnswer, Transaction, TransactionListing
from exporter.kafka.api import Api
from exporter.kafka.messages import decoded, raise_for

LIST_TRANSACTIONS = Api("ListTransactions", 66, 0, True)
DESCRIBE_TRANSACTIONS = Api("DescribeTransactions", 65, 0, True)
DESCRIBE_PRODUCERS = Api("DescribeProducers", 61, 0, True)


def list_transactions_request() -> bytes:
    """Only those that are open: a coordinator may know very many ids."""
    request = ListTransactionsRequest(
        version=LIST_TRANSACTIONS.version, state_filters=list(OPEN_STATES), producer_id_filters=[]
    )
    return bytes(request.encode())


def transaction_listings(body: memoryview) -> tuple[TransactionListing, ...]:
    """Sorted by id. Ids that may not be described are left out by the broker without a word. Raises BadAnswer, BrokerError (COORDINATOR_LOAD_IN_PROGRESS)."""

    def read(answer: Any) -> tuple[TransactionListing, ...]:
        raise_for(answer.error_code, LIST_TRANSACTIONS.name)
        rows = (
            TransactionListing(t.transactional_id, t.producer_id, t.transaction_state)
            for t in answer.transaction_states
        )
        return tuple(sorted(rows, key=lambda t: t.transactional_id))

    return decoded(ListTransactionsResponse, body, LIST_TRANSACTIONS, read)


def describe_transactions_request(ids: Sequence[str]) -> bytes:
    request = DescribeTransactionsRequest(version=DESCRIBE_TRANSACTIONS.version, transactional_ids=list(ids))
    return bytes(request.encode())


def transactions(body: memoryview) -> tuple[Transaction, ...]:
    """One for each id that was asked for, in the broker's order."""
    return decoded(
        DescribeTransactionsResponse,
        body,
        DESCRIBE_TRANSACTIONS,
        lambda answer: tuple(map(_transaction, answer.transaction_states)),
    )


def _transaction(row: Any) -> Transaction:
    started = row.transaction_start_time_ms
    return Transaction(
        row.transactional_id,
        row.transaction_state,
        row.producer_id,
        row.producer_epoch,
        row.transaction_timeout_ms / 1000,
        started / 1000 if started >= 0 else None,
        frozenset((t.topic, p) for t in row.topics for p in t.partitions),
        row.error_code,
    )


def producers_request(partitions: Sequence[tuple[str, int]]) -> bytes:
    topics = [
        DescribeProducersRequest.TopicRequest(name=name, partition_indexes=[p for _, p in rows])
        for name, rows in groupby(sorted(partitions), key=lambda tp: tp[0])
    ]
    return bytes(DescribeProducersRequest(version=DESCRIBE_PRODUCERS.version, topics=topics).encode())


def open_producers(body: memoryview) -> ProducerAnswer:
    """Producers with an open transaction by topic, partition and producer id."""

    def read(answer: Any) -> ProducerAnswer:
        partitions = [(t.name, p) for t in answer.topics for p in t.partitions]
        errors = {(name, p.partition_index): p.error_code for name, p in partitions if p.error_code}
        found = (
            OpenProducer(
                name,
                p.partition_index,
                row.producer_id,
                row.producer_epoch,
                row.current_txn_start_offset,
                row.last_timestamp / 1000,
            )
            for name, p in partitions
            for row in p.active_producers
            if row.current_txn_start_offset >= 0
        )
        return ProducerAnswer(tuple(sorted(found, key=lambda o: (o.topic, o.partition, o.producer_id))), errors)

    return decoded(DescribeProducersResponse, body, DESCRIBE_PRODUCERS, read)
