"""A cycle on 100,000 partitions and 1,000 groups whose brokers are bytes: the real decoders and everything behind them, without sockets.

Runs in a process of its own, whose memory is told without the canned answers.
"""

from __future__ import annotations

import multiprocessing
import statistics
import struct
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np
import psutil

from exporter.facts.groups import CommitTable, GroupDescription, GroupListing
from exporter.facts.log_dirs import LogDirTable
from exporter.facts.partitions import OffsetKind, OffsetRows, PartitionTable
from exporter.kafka import wire
from exporter.kafka.client import Answer, Answers
from exporter.kafka.fields import compact_length, compact_string
from tests.bench.costs import megabytes
from tests.bench.cycle import Cycle, Rounds, SteppingClock
from tests.fakes.cluster import FakeCluster
from tests.fakes.reader import FakeReader

BROKERS = 6
PER_TOPIC = 10
TOPICS_PER_GROUP = 10
VARIANTS = 3
"""Rounds of answers, each with other offsets."""
FILLED = 66
"""Cycles, 15 seconds apart, after which the history holds all it keeps of partitions and groups: 15 minutes and some."""


@dataclass(frozen=True, slots=True)
class LargeResult:
    """``half_cpu``: the median CPU of a cycle with half of everything."""

    rounds: Rounds
    group_partitions: int
    series: int
    memory_mb: float
    half_cpu: float
    profile: str


def measure(cycles: int, topics: int = 10_000, groups: int = 1_000) -> LargeResult:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        half = pool.submit(in_process, cycles, topics // 2, groups // 2, False).result()
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        rounds, series, memory, profile = pool.submit(in_process, cycles, topics, groups, True).result()
    half_cpu = statistics.median(half[0].kafka_cycle().cpu)
    return LargeResult(rounds, groups * TOPICS_PER_GROUP * PER_TOPIC, series, memory, half_cpu, profile)


def in_process(cycles: int, topics: int, groups: int, full: bool) -> tuple[Rounds, int, float, str]:
    """Rounds, series on the page, memory in MB (with ``full`` once the history is as long as it gets), and a profile."""
    clock = SteppingClock()
    canned = Canned(topics, groups)
    reader = CannedReader(canned, clock)
    cycle = Cycle(reader, None, {}, clock)
    cycle.rounds(2, reader.step, pause=0.0)
    rounds = cycle.rounds(cycles, reader.step, pause=0.0)
    cycle.rounds(FILLED - cycles if full else 0, reader.step, pause=0.0)
    memory = megabytes(psutil.Process()) - canned.size / 1e6
    return rounds, cycle.series(), memory, cycle.profile(min(cycles, 4), reader.step)


class CannedReader(FakeReader):
    """Probes and quorum from a small cluster in memory, all that comes in thousands from bytes; ``step`` goes on to other offsets."""

    def __init__(self, canned: Canned, clock: SteppingClock) -> None:
        model = FakeCluster(brokers=BROKERS)
        super().__init__(model, "m")
        self._canned = canned
        self._now = clock
        self._metadata = wire.MetadataDecoder()
        self._commit_decoders = {n: wire.OffsetFetchDecoder() for n in canned.nodes}
        self._log_dir_decoders = {n: wire.LogDirsDecoder() for n in canned.nodes}
        self._offset_decoders: dict[tuple[int, OffsetKind], wire.ListOffsetsDecoder] = {}
        self._turn = 0

    def step(self) -> None:
        self._turn = (self._turn + 1) % VARIANTS
        self.model.clock.advance(15.0)

    def partitions(self) -> PartitionTable:
        return self._metadata.decode(self._canned.metadata)

    def min_insync_replicas(self, topics: Sequence[str]) -> Mapping[str, int]:
        return dict.fromkeys(topics, 2)

    def list_groups(self, nodes: Iterable[int]) -> Answers[tuple[GroupListing, ...]]:
        return {n: Answer(self._now(), 0.0, self._canned.listings[n]) for n in nodes}

    def describe_groups(self, groups: Mapping[int, Sequence[GroupListing]]) -> Answers[Mapping[str, GroupDescription]]:
        return {n: Answer(self._now(), 0.0, self._canned.descriptions[n]) for n in groups}

    def committed_offsets(self, groups: Mapping[int, Sequence[str]]) -> Answers[CommitTable]:
        answers = self._canned.commits[self._turn]
        return {n: Answer(self._now(), 0.0, self._commit_decoders[n].decode(answers[n])) for n in groups}

    def offsets(self, table: PartitionTable, kind: OffsetKind) -> Answers[OffsetRows]:
        answers = self._canned.ends[self._turn]
        return {
            n: Answer(
                self._now(),
                0.0,
                self._offset_decoders.setdefault((n, kind), wire.ListOffsetsDecoder()).decode(answers[n], table),
            )
            for n in self._canned.nodes
        }

    def log_dirs(self, nodes: Iterable[int]) -> Answers[LogDirTable]:
        return {
            n: Answer(self._now(), 0.0, self._log_dir_decoders[n].decode(self._canned.log_dirs[self._turn][n]))
            for n in nodes
        }


class Canned:
    """The answers as Kafka would write them (layouts: ``exporter/kafka/wire.py``): replication factor 3 on six brokers."""

    def __init__(self, topics: int, groups: int) -> None:
        self.nodes = range(1, BROKERS + 1)
        self._topics = [f"orders-{t:05d}" for t in range(topics)]
        self._groups = [f"billing-{g:04d}" for g in range(groups)]
        self.metadata = self._metadata()
        held = {n: [g for i, g in enumerate(self._groups) if i % BROKERS + 1 == n] for n in self.nodes}
        self.listings = {
            n: tuple(GroupListing(g, "consumer", "Stable", "classic") for g in held[n]) for n in self.nodes
        }
        self.descriptions = {
            n: {g: GroupDescription(g, "Stable", "classic", "range", ()) for g in held[n]} for n in self.nodes
        }
        self.ends = [{n: self._list_offsets(n, 1_000 + 10 * v) for n in self.nodes} for v in range(VARIANTS)]
        self.commits = [{n: self._offset_fetch(held[n], 900 + 10 * v) for n in self.nodes} for v in range(VARIANTS)]
        self.log_dirs = [{n: self._dirs(n, 10**6 + v) for n in self.nodes} for v in range(VARIANTS)]

    @property
    def size(self) -> int:
        """Bytes of all answers."""
        rounds = [*self.ends, *self.commits, *self.log_dirs]
        return len(self.metadata) + sum(len(body) for answers in rounds for body in answers.values())

    def _leader(self, topic: int, partition: int) -> int:
        return (topic + partition) % BROKERS + 1

    def _replicas(self, topic: int, partition: int) -> list[int]:
        return [(self._leader(topic, partition) - 1 + i) % BROKERS + 1 for i in range(3)]

    def _metadata(self) -> bytes:
        brokers = b"".join(
            struct.pack(">i", n) + compact_string(f"broker-{n}") + struct.pack(">i", 9092) + b"\0\0" for n in self.nodes
        )
        head = b"\0" * 4 + compact_length(BROKERS) + brokers + compact_string("m") + struct.pack(">i", 1)
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
