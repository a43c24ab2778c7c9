"""The contract of KafkaReader on the cluster in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import pytest

from exporter.kafka.client import KafkaReader
from tests.exporter.kafka.contract import Commits, ReaderContract, World
from tests.exporter.kafka.contract_configs import ConfigsContract
from tests.exporter.kafka.contract_transactions import MovesContract
from tests.fakes.kafka import FakeCluster, FakeReader


class FakeWorld:
    """The contract's verbs on the model; waiting moves the clock."""

    def __init__(self, version: tuple[int, int]) -> None:
        self.model = FakeCluster(version=version)
        self.reader: KafkaReader = FakeReader(self.model)
        self.brokers: Sequence[int] = (1, 2, 3)
        self.controllers = self.brokers
        self.version = version
        self.start = self.model.start
        self.kill = self.model.kill
        self.hang = self.model.hang
        self.resume = self.model.resume
        self.delete_topic = self.model.delete_topic
        self.produce = self.model.produce
        self.set_broker_config = self.model.set_broker_config
        self.set_quota = self.model.set_quota
        self._created: dict[str, str] = {}

    def name(self, stem: str) -> str:
        return f"contract-{stem}"

    def new_reader(self, bootstrap_servers: Sequence[str]) -> KafkaReader:
        return FakeReader(self.model, bootstrap_servers=bootstrap_servers)

    def until(self, condition: Callable[[], bool], what: str) -> None:
        for _ in range(120):
            if condition():
                return
            self.model.advance(1.0)
        pytest.fail(f"not within 120 s: {what}")

    def now(self) -> float:
        return self.model.clock()

    def create_topic(
        self, name: str, assignment: Sequence[Sequence[int]], config: Mapping[str, str] | None = None
    ) -> None:
        if name not in self.model.topics:
            self.model.create_topic(name, assignment=assignment, config=config)

    def commit(self, group: str, commits: Commits) -> None:
        if group not in self.model.groups:
            self.model.create_group(group)
        for (topic, partition), (offset, metadata) in commits.items():
            self.model.commit(group, topic, partition, offset, metadata)

    @contextmanager
    def members(self, group: str, type: str, topic: str) -> Iterator[None]:
        self.model.create_group(group, type)
        numbers = range(len(self.model.topics[topic].partitions))
        for i in (0, 1):
            self.model.join(group, f"member-{i}", {topic: numbers[i::2]})
        yield
        for i in (0, 1):
            self.model.leave(group, f"member-{i}")

    # --- moves and transactions

    def begin_move(self, topic: str, partition: int, replicas: Sequence[int]) -> None:
        self.model.begin_reassignment(topic, partition, replicas)

    def cancel_move(self, topic: str, partition: int, replicas: Sequence[int]) -> None:
        self.model.reassign(topic, partition, replicas)

    def set_broker(self, broker: int, key: str, value: str | None) -> None:
        self.model.set_broker_config(broker, {key: value})

    @contextmanager
    def open_transaction(self, id: str, topic: str, partition: int, timeout: float) -> Iterator[None]:
        self.model.begin_transaction(id, topic, partition, timeout)
        yield
        self.model.end_transaction(id)


class TestFakeReader(MovesContract, ReaderContract, ConfigsContract):
    @pytest.fixture(params=[(4, 3), (3, 9)], ids=["4.3", "3.9"])
    def world(self, request: pytest.FixtureRequest) -> FakeWorld:
        return FakeWorld(request.param)

    @pytest.fixture
    def fragile_world(self, world: FakeWorld) -> FakeWorld:
        return world

    @pytest.fixture
    def moving_world(self, world: World) -> World:
        return world
