"""What is asked of a cluster: each question of :class:`exporter.kafka.client.KafkaReader` as requests to the nodes that know."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TypeVar

import numpy as np

from exporter.facts.certificates import CertificateFile, Listener, Shown
from exporter.facts.configs import Quota, Settings, TopicSettings
from exporter.facts.groups import CommitTable, GroupDescription, GroupListing, ShareOffsetTable
from exporter.facts.log_dirs import LogDirTable
from exporter.facts.partitions import I64, NEWEST, ElrRow, OffsetKind, OffsetRows, PartitionTable, TimeQuestions
from exporter.facts.quorum import Quorum
from exporter.facts.reassignments import Move
from exporter.facts.transactions import ProducerAnswer, Transaction, TransactionListing
from exporter.kafka import (
    certificates,
    configs,
    messages,
    messages_moves,
    messages_transactions,
    share_groups,
    streams_groups,
    timed_offsets,
    wire,
)
from exporter.kafka.api import Api
from exporter.kafka.bounded import Deadline, Monotonic, Resolve
from exporter.kafka.client import Answer, Answers
from exporter.kafka.errors import KafkaError, Unsupported
from exporter.kafka.peers import Lane, Peers, Timeouts
from exporter.kafka.security import PLAINTEXT, SecurityConfig

__all__ = ["Lane", "Reader", "Timeouts"]

T = TypeVar("T")
MIN_ISR = "min.insync.replicas"

_DESCRIBERS: Mapping[str, tuple[Api, Callable[[memoryview], Mapping[str, GroupDescription]]]] = {
    "classic": (messages.DESCRIBE_GROUPS, messages.classic_groups),
    "consumer": (messages.CONSUMER_GROUP_DESCRIBE, messages.consumer_groups),
    "share": (share_groups.SHARE_GROUP_DESCRIBE, share_groups.share_groups),
    "streams": (streams_groups.STREAMS_GROUP_DESCRIBE, streams_groups.streams_groups),
}
"""Type of group -> what describes it; the requests' bodies are alike."""
MOST_HANDSHAKES = 8
"""So many listeners are asked for their certificates at once."""


class Reader(Peers):
    """See :class:`exporter.kafka.client.KafkaReader`. Thread-safe: collectors call it side by side."""

    def __init__(
        self,
        cluster: str,
        bootstrap_servers: Sequence[str],
        security: SecurityConfig = PLAINTEXT,
        *,
        timeouts: Timeouts | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Monotonic = time.monotonic,
        resolve: Resolve = socket.getaddrinfo,
    ) -> None:
        super().__init__(
            cluster, bootstrap_servers, security, timeouts=timeouts, clock=clock, monotonic=monotonic, resolve=resolve
        )
        self._metadata = wire.MetadataDecoder()
        self._metadata_lock = threading.Lock()
        self._remembered: dict[str, tuple[bytes, object]] = {}
        self._ready: dict[OffsetKind, tuple[PartitionTable, dict[int, bytes]]] = {}

    def partitions(self) -> PartitionTable:
        with self._metadata_lock:
            return self._any(messages.METADATA, wire.metadata_request, self._metadata.decode)

    def min_insync_replicas(self, topics: Sequence[str]) -> Mapping[str, int]:
        told = self.topic_values(topics, [MIN_ISR])
        return {topic: int(values[MIN_ISR]) for topic, values in told.items() if MIN_ISR in values}

    def elr(self, topics: Sequence[str]) -> Sequence[ElrRow]:
        rows: list[ElrRow] = []
        cursor: messages.Cursor | None = None
        while True:
            found, cursor = self._any(
                messages.DESCRIBE_TOPIC_PARTITIONS, partial(messages.elr_request, topics, cursor), messages.elr
            )
            rows += found
            if cursor is None:
                return rows

    def list_groups(self, nodes: Iterable[int]) -> Answers[tuple[GroupListing, ...]]:
        running = {
            n: self._ask(
                n,
                messages.LIST_GROUPS,
                messages.list_groups_request,
                self._once(n, "listings", messages.group_listings),
            )
            for n in nodes
        }
        return self._gathered(running)

    def describe_groups(self, groups: Mapping[int, Sequence[GroupListing]]) -> Answers[Mapping[str, GroupDescription]]:
        running = [self._describe(groups, kind) for kind in _DESCRIBERS]
        found = [self._gathered(asked) for asked in running]
        return {n: self._joined([answers[n] for answers in found if n in answers]) for n in groups}

    def _describe(
        self, groups: Mapping[int, Sequence[GroupListing]], kind: str
    ) -> Mapping[int, Future[Answer[Mapping[str, GroupDescription]]]]:
        """Ask each coordinator for its groups of one kind."""
        api, read = _DESCRIBERS[kind]
        wanted = {n: [g.group for g in listed if g.type == kind] for n, listed in groups.items()}
        return {
            n: self._ask(n, api, partial(messages.describe_groups_request, names), self._once(n, kind, read))
            for n, names in wanted.items()
            if names
        }

    def _joined(
        self, answers: Sequence[Answer[Mapping[str, GroupDescription]]]
    ) -> Answer[Mapping[str, GroupDescription]]:
        """One answer of all kinds of groups; an error of any is the answer. A kind that the broker cannot describe yet (early access) has no descriptions."""
        failed = next((a for a in answers if a.error is not None and not isinstance(a.error, Unsupported)), None)
        if failed is not None:
            return failed
        merged = {name: g for a in answers for name, g in (a.value or {}).items()}
        return Answer(max((a.at for a in answers), default=self._clock()), sum(a.seconds for a in answers), merged)

    def committed_offsets(self, groups: Mapping[int, Sequence[str]]) -> Answers[CommitTable]:
        return self._gathered({n: self._ask_commits(n, wanted) for n, wanted in groups.items()})

    def _ask_commits(self, node: int, groups: Sequence[str]) -> Future[Answer[CommitTable]]:
        with self._lock:
            peer = self._peers.get(node)
        decoder = peer.commits if peer is not None else wire.OffsetFetchDecoder()
        return self._ask(node, messages.OFFSET_FETCH, lambda: wire.offset_fetch_request(groups), decoder.decode)

    def share_offsets(self, groups: Mapping[int, Sequence[str]]) -> Answers[ShareOffsetTable]:
        return self._gathered({n: self._ask_share_offsets(n, wanted) for n, wanted in groups.items()})

    def _ask_share_offsets(self, node: int, groups: Sequence[str]) -> Future[Answer[ShareOffsetTable]]:
        with self._lock:
            peer = self._peers.get(node)
        newest = peer is None or messages.offers(peer.probe.versions, share_groups.SHARE_OFFSETS_V1)
        api = share_groups.SHARE_OFFSETS_V1 if newest else share_groups.SHARE_OFFSETS_V0
        body = partial(share_groups.share_offsets_request, groups)
        return self._ask(node, api, body, lambda answer: share_groups.share_offsets(answer, api))

    def first_after(self, questions: TimeQuestions) -> Answers[OffsetRows]:
        table, leader = questions.partitions, questions.partitions.leader[questions.rows]
        places = {n: np.flatnonzero(leader == n) for n in np.unique(leader[leader >= 0]).tolist()}
        return self._gathered(
            {n: self._ask_timed(n, table, questions.rows[at], questions.timestamp[at]) for n, at in places.items()}
        )

    def _ask_timed(self, node: int, table: PartitionTable, rows: I64, timestamp: I64) -> Future[Answer[OffsetRows]]:
        return self._ask(
            node,
            timed_offsets.TIMED_OFFSETS,
            partial(timed_offsets.timed_offsets_request, table, rows, timestamp),
            lambda answer: timed_offsets.timed_offsets(answer, table, rows, timestamp),
        )

    def offsets(self, table: PartitionTable, kind: OffsetKind) -> Answers[OffsetRows]:
        if kind == NEWEST:
            rows = np.flatnonzero(table.leader >= 0)
            return self.first_after(TimeQuestions(table, rows, np.full(len(rows), kind.timestamp, dtype=np.int64)))
        bodies = self._offset_requests(table, kind)
        return self._gathered({n: self._ask_offsets(n, table, kind, body) for n, body in bodies.items()})

    def _ask_offsets(
        self, node: int, table: PartitionTable, kind: OffsetKind, body: bytes
    ) -> Future[Answer[OffsetRows]]:
        with self._lock:
            peer = self._peers.get(node)
        decoder = peer.offsets.setdefault(kind, wire.ListOffsetsDecoder()) if peer else wire.ListOffsetsDecoder()
        return self._ask(node, messages.LIST_OFFSETS, lambda: body, lambda answer: decoder.decode(answer, table))

    def _offset_requests(self, table: PartitionTable, kind: OffsetKind) -> Mapping[int, bytes]:
        """Leader -> the ready request; made once for as long as the table lasts."""
        known = self._ready.get(kind)
        if known is None or known[0] is not table:
            leaders = np.unique(table.leader[table.leader >= 0]).tolist()
            rows = {n: np.flatnonzero(table.leader == n).astype(np.int64) for n in leaders}
            bodies = {n: wire.list_offsets_request(table, r, kind) for n, r in rows.items()}
            known = self._ready[kind] = (table, bodies)
        return known[1]

    def log_dirs(self, nodes: Iterable[int]) -> Answers[LogDirTable]:
        return self._gathered({n: self._ask_log_dirs(n) for n in nodes})

    def _ask_log_dirs(self, node: int) -> Future[Answer[LogDirTable]]:
        with self._lock:
            peer = self._peers.get(node)
        decoder = peer.log_dirs if peer is not None else wire.LogDirsDecoder()
        return self._ask(node, messages.DESCRIBE_LOG_DIRS, wire.log_dirs_request, decoder.decode)

    def broker_settings(self, nodes: Iterable[int]) -> Answers[Settings]:
        running = {
            n: self._ask(
                n,
                configs.DESCRIBE_CONFIGS,
                partial(configs.broker_settings_request, n),
                self._once(n, "settings", configs.broker_settings),
            )
            for n in nodes
        }
        return self._gathered(running)

    def topic_settings(self, topics: Sequence[str]) -> TopicSettings:
        return self._any(
            configs.DESCRIBE_CONFIGS,
            lambda: configs.topic_settings_request(topics),
            _remembering(self._remembered, "topic settings", configs.topic_settings),
        )

    def client_quotas(self) -> Sequence[Quota]:
        return self._any(configs.DESCRIBE_CLIENT_QUOTAS, configs.client_quotas_request, configs.client_quotas)

    @property
    def tls(self) -> bool:
        return self._credentials.security.tls

    def certificates(self, listeners: Sequence[Listener], security: SecurityConfig | None = None) -> Sequence[Shown]:
        trusted = security or self._credentials.security
        with ThreadPoolExecutor(MOST_HANDSHAKES, thread_name_prefix=f"certificates {self._cluster}") as pool:
            return list(pool.map(lambda at: self._shown(at, trusted), listeners))

    def _shown(self, listener: Listener, security: SecurityConfig) -> Shown:
        def deadline() -> Deadline:
            return Deadline(self._timeouts.pulse, self._monotonic)

        try:
            return Shown(listener, certificates.chain_of(listener, security, self._resolver, deadline))
        except KafkaError as error:
            return Shown(listener, None, error.kind, str(error.args[0]))

    def own_certificates(self, security: SecurityConfig | None = None) -> Sequence[CertificateFile]:
        return certificates.own_certificates(security or self._credentials.security)

    def _once(self, node: int, what: str, read: Callable[[memoryview], T]) -> Callable[[memoryview], T]:
        """``read``, again only when the node's answer is other bytes than last time."""
        with self._lock:
            peer = self._peers.get(node)
        return _remembering(peer.remembered if peer is not None else {}, what, read)

    def quorum(self) -> Quorum:
        return self._forward(
            (messages.DESCRIBE_QUORUM_V2, messages.DESCRIBE_QUORUM_V1), messages.quorum_request, messages.quorum
        )

    # --- reassignments and settings

    def reassignments(self) -> tuple[Move, ...]:
        limit = self._timeouts.forwarded
        return self._forward(
            (messages_moves.LIST_REASSIGNMENTS,),
            lambda _: messages_moves.reassignments_request(limit),
            lambda body, _: messages_moves.reassignments(body),
        )

    def broker_values(self, nodes: Iterable[int], names: Sequence[str]) -> Answers[Mapping[str, str]]:
        running = {
            n: self._ask(
                n,
                configs.DESCRIBE_CONFIGS,
                partial(configs.broker_settings_request, n, names),
                configs.broker_values,
            )
            for n in nodes
        }
        return self._gathered(running)

    def topic_values(self, topics: Sequence[str], names: Sequence[str]) -> Mapping[str, Mapping[str, str]]:
        request = partial(configs.topic_settings_request, topics, names)
        return self._any(configs.DESCRIBE_CONFIGS, request, configs.topic_values)

    # --- transactions

    def list_transactions(self, nodes: Iterable[int]) -> Answers[tuple[TransactionListing, ...]]:
        running = {
            n: self._ask(
                n,
                messages_transactions.LIST_TRANSACTIONS,
                messages_transactions.list_transactions_request,
                messages_transactions.transaction_listings,
            )
            for n in nodes
        }
        return self._gathered(running)

    def describe_transactions(self, ids: Mapping[int, Sequence[str]]) -> Answers[tuple[Transaction, ...]]:
        running = {
            n: self._ask(
                n,
                messages_transactions.DESCRIBE_TRANSACTIONS,
                partial(messages_transactions.describe_transactions_request, wanted),
                messages_transactions.transactions,
            )
            for n, wanted in ids.items()
        }
        return self._gathered(running)

    def open_producers(self, partitions: Mapping[int, Sequence[tuple[str, int]]]) -> Answers[ProducerAnswer]:
        running = {
            n: self._ask(
                n,
                messages_transactions.DESCRIBE_PRODUCERS,
                partial(messages_transactions.producers_request, wanted),
                messages_transactions.open_producers,
            )
            for n, wanted in partitions.items()
        }
        return self._gathered(running)


def _remembering(
    remembered: dict[str, tuple[bytes, object]], what: str, read: Callable[[memoryview], T]
) -> Callable[[memoryview], T]:
    """``read``, again only when the answer is other bytes than the ones remembered under this name."""

    def once(body: memoryview) -> T:
        # Bytes are compared in one go, a memoryview byte by byte. The throttle time, which comes first, says nothing.
        told = bytes(body[4:])
        known = remembered.get(what)
        if known is not None and known[0] == told:
            return known[1]  # type: ignore[return-value]
        value = read(body)
        remembered[what] = (told, value)
        return value

    return once
