"""Prints what decoding the four large answers costs, against kafka-python's own decoding of the same bytes.

``python -m tests.bench.wire [--partitions 5000 100000]``
"""

from __future__ import annotations

import argparse
import statistics
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

from kafka.protocol.admin import DescribeLogDirsResponse
from kafka.protocol.consumer import ListOffsetsResponse, OffsetFetchResponse
from kafka.protocol.metadata import MetadataResponse

from exporter.kafka import wire
from tests.exporter.kafka import wire_answers as answers
from tests.exporter.kafka.wire_answers import encoded

PER_TOPIC = 10
BROKERS = (1, 2, 3)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--partitions", type=int, nargs="+", default=[5_000, 100_000])
    for count in arguments.parse_args().partitions:
        measure(count // PER_TOPIC)


def measure(topics: int) -> None:
    print(f"{topics * PER_TOPIC} partitions of {topics} topics, 3 replicas")
    metadata(topics)
    list_offsets(topics)
    offset_fetch(topics)
    log_dirs(topics)


def metadata(topics: int) -> None:
    whole = [encoded(metadata_of(topics, leader)) for leader in BROKERS]
    say("Metadata, unchanged", cost(wire.MetadataDecoder().decode, repeated(whole[0])))
    say("Metadata, every leader moved", cost(wire.MetadataDecoder().decode, alternating(whole)))
    torn = [encoded(metadata_of(topics, leader, broken=True)) for leader in BROKERS]
    say("Metadata, half of each topic out of sync", cost(wire.MetadataDecoder().decode, alternating(torn)))
    say("  by kafka-python", theirs(MetadataResponse, answers.METADATA, whole[0]))


def metadata_of(topics: int, leader: int, broken: bool = False) -> Any:
    """Ids are the same in each answer; ``broken`` takes a replica of every second partition out of its ISR."""
    listed = [
        answers.Topic(
            version=answers.METADATA,
            error_code=0,
            name=name(t),
            topic_id=uuid.UUID(int=t + 1),
            is_internal=False,
            partitions=[
                answers.TopicPartition(
                    version=answers.METADATA,
                    error_code=0,
                    partition_index=p,
                    leader_id=leader,
                    leader_epoch=leader,
                    replica_nodes=list(BROKERS),
                    isr_nodes=[1, 2] if broken and p % 2 else list(BROKERS),
                    offline_replicas=[3] if broken and p % 2 else [],
                )
                for p in range(PER_TOPIC)
            ],
        )
        for t in range(topics)
    ]
    return MetadataResponse(
        version=answers.METADATA, throttle_time_ms=0, brokers=[], cluster_id="c", controller_id=1, topics=listed
    )


def list_offsets(topics: int) -> None:
    table = answers.table_of({name(t): range(PER_TOPIC) for t in range(topics)})
    ahead, reverse = (encoded(offsets_of(topics, order)) for order in (1, -1))
    decoder = wire.ListOffsetsDecoder()
    say("ListOffsets, same order", cost(lambda body: decoder.decode(body, table), repeated(ahead)))
    say("ListOffsets, another order", cost(lambda body: decoder.decode(body, table), alternating([ahead, reverse])))
    say("  by kafka-python", theirs(ListOffsetsResponse, answers.LIST_OFFSETS, ahead))


def offsets_of(topics: int, order: int) -> Any:
    def entry(p: int) -> Any:
        return answers.PartitionOffset(
            version=answers.LIST_OFFSETS,
            partition_index=p,
            error_code=0,
            timestamp=-1,
            offset=10**9 + p,
            leader_epoch=1,
        )

    listed = [
        answers.OffsetTopic(
            version=answers.LIST_OFFSETS, name=name(t), partitions=[entry(p) for p in range(PER_TOPIC)[::order]]
        )
        for t in range(topics)[::order]
    ]
    return ListOffsetsResponse(version=answers.LIST_OFFSETS, throttle_time_ms=0, topics=listed)


def offset_fetch(topics: int) -> None:
    plain, reverse = (encoded(commits_of(topics, order, "")) for order in (1, -1))
    say("OffsetFetch, only offsets moved", cost(wire.OffsetFetchDecoder().decode, repeated(plain)))
    say("OffsetFetch, another order", cost(wire.OffsetFetchDecoder().decode, alternating([plain, reverse])))
    noted = encoded(commits_of(topics, 1, "a note"))
    say("OffsetFetch, a note on every commit", cost(wire.OffsetFetchDecoder().decode, repeated(noted)))
    say("  by kafka-python", theirs(OffsetFetchResponse, answers.OFFSET_FETCH, plain))


def commits_of(topics: int, order: int, note: str) -> Any:
    """Each topic is read by one of 200 groups."""

    def commit(p: int) -> Any:
        return answers.Commit(
            version=answers.OFFSET_FETCH,
            partition_index=p,
            committed_offset=10**9 + p,
            committed_leader_epoch=-1,
            metadata=note,
            error_code=0,
        )

    def topic(t: int) -> Any:
        commits = [commit(p) for p in range(PER_TOPIC)]
        return answers.GroupTopic(version=answers.OFFSET_FETCH, name=name(t), partitions=commits)

    groups = [
        answers.Group(
            version=answers.OFFSET_FETCH,
            group_id=f"group-{g}",
            topics=[topic(t) for t in range(g, topics, 200)],
            error_code=0,
        )
        for g in range(200)[::order]
    ]
    return OffsetFetchResponse(version=answers.OFFSET_FETCH, throttle_time_ms=0, groups=groups)


def log_dirs(topics: int) -> None:
    replicas = [
        answers.Replica(
            version=answers.LOG_DIRS, partition_index=p, partition_size=10**9, offset_lag=0, is_future_key=False
        )
        for p in range(PER_TOPIC)
    ]
    listed = [answers.DirTopic(version=answers.LOG_DIRS, name=name(t), partitions=replicas) for t in range(topics)]
    one = answers.Dir(
        version=answers.LOG_DIRS, error_code=0, log_dir="/data", topics=listed, total_bytes=10**12, usable_bytes=10**11
    )
    body = encoded(DescribeLogDirsResponse(version=answers.LOG_DIRS, throttle_time_ms=0, error_code=0, results=[one]))
    say("DescribeLogDirs", cost(wire.LogDirsDecoder().decode, repeated(body)))
    say("  by kafka-python", theirs(DescribeLogDirsResponse, answers.LOG_DIRS, body))


def name(topic: int) -> str:
    return f"orders-topic-{topic:05}"


def repeated(body: bytes) -> Iterator[bytes]:
    while True:
        yield body


def alternating(bodies: list[bytes]) -> Iterator[bytes]:
    while True:
        yield from bodies


def cost(decode: Callable[[bytes], object], bodies: Iterator[bytes], times: int = 15) -> list[float]:
    """CPU seconds of each decoding; the first, which has nothing to remember, is left out."""
    decode(next(bodies))
    return [spent(decode, next(bodies)) for _ in range(times)]


def theirs(response: Any, version: int, body: bytes) -> list[float]:
    return cost(lambda raw: response.decode(raw, version=version), repeated(body), 3)


def spent(decode: Callable[[bytes], object], body: bytes) -> float:
    start = time.thread_time()
    decode(body)
    return time.thread_time() - start


def say(what: str, costs: list[float]) -> None:
    print(f"  {what}: median {statistics.median(costs) * 1e3:.2f} ms, max {max(costs) * 1e3:.2f} ms")


if __name__ == "__main__":
    main()
