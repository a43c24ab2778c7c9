"""The answers of a large cluster, made of bytes as Kafka would write them (layouts: ``exporter/kafka/wire.py`` and Kafka's message definitions)."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np

from exporter.kafka import wire
from exporter.kafka.fields import compact_length, compact_string

PER_TOPIC = 10
TOPICS_PER_GROUP = 10
VARIANTS = 3
"""Rounds of answers, each with other offsets and sizes."""


class Canned:
    """Bodies by API. ``addresses`` are host and port of each broker, whose ids go from 1; each group has commits on ten topics, all their partitions."""

    def __init__(self, topics: int, groups: int, addresses: Sequence[tuple[str, int]]) -> None:
        self._addresses = dict(enumerate(addresses, 1))
        self.nodes = tuple(self._addresses)
        self._topics = [f"orders-{t:05d}" for t in range(topics)]
        self._groups = [f"billing-{g:04d}" for g in range(groups)]
        self.metadata = self._metadata()
        held = {n: [g for i, g in enumerate(self._groups) if i % len(self.nodes) + 1 == n] for n in self.nodes}
        self.listings = {n: self._listing(held[n]) for n in self.nodes}
        self.descriptions = {n: self._described(held[n]) for n in self.nodes}
        self.starts = {n: self._list_offsets(n, 0) for n in self.nodes}
        self.cluster = self._cluster()
        self.ends = [{n: self._list_offsets(n, 1_000 + 10 * v) for n in self.nodes} for v in range(VARIANTS)]
        self.commits = [{n: self._offset_fetch(held[n], 900 + 10 * v) for n in self.nodes} for v in range(VARIANTS)]
        self.log_dirs = [{n: self._dirs(n, 10**6 + v) for n in self.nodes} for v in range(VARIANTS)]

    def _leader(self, topic: int, partition: int) -> int:
        return (topic + partition) % len(self.nodes) + 1

    def _replicas(self, topic: int, partition: int) -> list[int]:
        return [(self._leader(topic, partition) - 1 + i) % len(self.nodes) + 1 for i in range(3)]

    def _metadata(self) -> bytes:
        brokers = b"".join(
            struct.pack(">i", n) + compact_string(host) + struct.pack(">i", port) + b"\0\0"
            for n, (host, port) in self._addresses.items()
        )
        head = b"\0" * 4 + compact_length(len(self.nodes)) + brokers + compact_string("m") + struct.pack(">i", 1)
        parts = [head, compact_length(len(self._topics))]
        for number, name in enumerate(self._topics):
            parts += [b"\0\0", compact_string(name), struct.pack(">qq", 1, number), b"\0", compact_length(PER_TOPIC)]
            for partition in range(PER_TOPIC):
                replicas = compact_length(3) + struct.pack(">iii", *self._replicas(number, partition))
                leader = self._leader(number, partition)
                parts.append(
                    struct.pack(">hiii", 0, partition, leader, 1) + replicas + replicas + compact_length(0) + b"\0"
                )
            parts.append(struct.pack(">i", -(2**31)) + b"\0")
        return b"".join(parts) + b"\0"

    def _cluster(self) -> bytes:
        brokers = b"".join(
            struct.pack(">i", n) + compact_string(host) + struct.pack(">i", port) + b"\0\0\0"
            for n, (host, port) in self._addresses.items()
        )
        head = b"\0" * 4 + b"\0\0\0" + b"\1" + compact_string("m") + struct.pack(">i", 1)
        return head + compact_length(len(self.nodes)) + brokers + struct.pack(">i", -(2**31)) + b"\0"

    def _listing(self, groups: Sequence[str]) -> bytes:
        kind = compact_string("consumer") + compact_string("Stable") + compact_string("classic") + b"\0"
        return b"\0" * 6 + compact_length(len(groups)) + b"".join(compact_string(g) + kind for g in groups) + b"\0"

    def _described(self, groups: Sequence[str]) -> bytes:
        """Without members."""
        state = b"".join(map(compact_string, ("Stable", "consumer", "range")))
        rest = state + compact_length(0) + struct.pack(">i", -(2**31)) + b"\0"
        rows = b"".join(b"\0\0" + compact_string(g) + rest for g in groups)
        return b"\0" * 4 + compact_length(len(groups)) + rows + b"\0"

    def quorum(self, now: float) -> bytes:
        """DescribeQuorum v2 of voters that have just fetched (Unix seconds)."""
        at = round(now * 1000)
        voters = b"".join(struct.pack(">i16xqqq", n, 1_000, at, at) + b"\0" for n in self.nodes)
        partition = struct.pack(">ih", 0, 0) + b"\0" + struct.pack(">iiq", 1, 1, 1_000)
        partition += compact_length(len(self.nodes)) + voters + compact_length(0) + b"\0"
        topic = compact_string("__cluster_metadata") + compact_length(1) + partition + b"\0"
        nodes = b"".join(struct.pack(">i", n) + compact_length(0) + b"\0" for n in self.nodes)
        return b"\0\0\0" + compact_length(1) + topic + compact_length(len(self.nodes)) + nodes + b"\0"

    def _list_offsets(self, node: int, offset: int) -> bytes:
        parts = [b"\0" * 4, struct.pack(">i", len(self._topics))]
        for number, name in enumerate(self._topics):
            led = [p for p in range(PER_TOPIC) if self._leader(number, p) == node]
            parts += [struct.pack(">h", len(name)), name.encode(), struct.pack(">i", len(led))]
            parts += [struct.pack(">ihqqi", p, 0, -1, offset + number, 1) for p in led]
        return b"".join(parts)

    def _offset_fetch(self, groups: Sequence[str], offset: int) -> bytes:
        rows = np.zeros(PER_TOPIC, wire._COMMIT)
        rows["partition"], rows["leader_epoch"], rows["metadata_length"] = np.arange(PER_TOPIC), -1, 1
        rows["offset"] = offset
        entries = compact_length(PER_TOPIC) + rows.tobytes() + b"\0"
        parts = [b"\0" * 4, compact_length(len(groups))]
        for group in groups:
            first = int(group[-4:]) * TOPICS_PER_GROUP
            parts += [compact_string(group), compact_length(TOPICS_PER_GROUP)]
            for i in range(TOPICS_PER_GROUP):
                parts += [compact_string(self._topics[(first + i) % len(self._topics)]), entries]
            parts.append(b"\0\0" + b"\0")
        return b"".join(parts) + b"\0"

    def _dirs(self, node: int, size: int) -> bytes:
        parts = [b"\0" * 4 + b"\0\0" + compact_length(1) + b"\0\0", compact_string("/data")]
        parts.append(compact_length(len(self._topics)))
        for number, name in enumerate(self._topics):
            held = [p for p in range(PER_TOPIC) if node in self._replicas(number, p)]
            parts += [compact_string(name), compact_length(len(held))]
            parts += [struct.pack(">iqqBB", p, size + number, 0, 0, 0) for p in held]
            parts.append(b"\0")
        return b"".join(parts) + struct.pack(">qq", 10**12, 5 * 10**11 - size) + b"\0\0"
