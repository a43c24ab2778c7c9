"""The contract of KafkaReader on real brokers, written to by librdkafka."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import ConfigResource

from demo import Cluster, faults, kafka, leftovers
from exporter.facts.configs import DEFAULT_ENTITY, Quota
from exporter.kafka.client import KafkaReader
from exporter.kafka.reader import Timeouts
from tests.exporter.kafka.contract import Commits, ReaderContract
from tests.exporter.kafka.contract_configs import ConfigsContract
from tests.exporter.kafka.contract_transactions import MovesContract
from tests.on_cluster import reader_for

pytestmark = pytest.mark.real

UNTIL_S = 90.0
PAUSE_S = 0.25
THROTTLES = leftovers.RATE_SETTINGS
TIMEOUTS = Timeouts(pulse=2.0, bulk=5.0, forwarded=5.0)
_number = itertools.count(1)


class RealWorld:
    """The contract's verbs on the demo's cluster; topics of a test are deleted after it."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._own = f"contract-{int(time.time()) % 100_000}-{next(_number)}"
        self._topics: list[str] = []
        self._undo: list[Callable[[], object]] = []
        self.reader: KafkaReader = self.new_reader(cluster.bootstrap_servers.split(","))
        self.brokers: Sequence[int] = cluster.broker_ids
        self.controllers: Sequence[int] = cluster.controller_ids
        major, minor = cluster.version.split(".")[:2]
        self.version = (int(major), int(minor))
        self.kill = cluster.kill_node
        self.hang = cluster.pause_node
        self.start = cluster.start_node
        self.resume = cluster.resume_node

    def name(self, stem: str) -> str:
        return f"{self._own}-{stem}"

    def new_reader(self, bootstrap_servers: Sequence[str]) -> KafkaReader:
        return reader_for(self._cluster, "contract", bootstrap_servers, timeouts=TIMEOUTS)

    def until(self, condition: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + UNTIL_S
        while not condition():
            if time.monotonic() > end:
                pytest.fail(f"not within {UNTIL_S:g} s: {what}")
            time.sleep(PAUSE_S)

    def now(self) -> float:
        return time.time()

    def create_topic(
        self, name: str, assignment: Sequence[Sequence[int]], config: Mapping[str, str] | None = None
    ) -> None:
        if name in self._topics:
            return
        rows = [list(replicas) for replicas in assignment]
        kafka.create_topic(self._cluster.live, name, assignment=rows, config=config)
        self._topics.append(name)

    def delete_topic(self, name: str) -> None:
        self._topics.remove(name)
        try:
            kafka.delete_topic(self._cluster.live, name)
        except KafkaException as error:
            # librdkafka has just learnt that a broker is back, and dropped what it had asked of the one it knew.
            if error.args[0].code() != KafkaError._DESTROY_BROKER:
                raise
            self.until(partial(self._deleted, name), f"{name} is deleted")

    def _deleted(self, name: str) -> bool:
        try:
            kafka.delete_topic(self._cluster.live, name)
        except KafkaException as error:
            return bool(error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART)
        return True

    def produce(self, topic: str, partition: int, count: int) -> None:
        producer = Producer({**self._settings(), "acks": "all", "enable.idempotence": True})
        failures: list[object] = []
        for i in range(count):
            producer.produce(topic, f"{i}", partition=partition, on_delivery=lambda e, _: e and failures.append(e))
        assert producer.flush(30) == 0
        assert not failures

    def commit(self, group: str, commits: Commits) -> None:
        if not commits:
            return
        offsets = [TopicPartition(t, p, offset, metadata) for (t, p), (offset, metadata) in commits.items()]
        consumer = Consumer({**self._settings(), "group.id": group, "enable.auto.commit": False})
        try:
            # A coordinator that is just being elected refuses, and right after its start it may lose a commit: it is read back.
            self.until(partial(self._commit_once, consumer, offsets), f"{group} has committed")
        finally:
            consumer.close()

    def _commit_once(self, consumer: Consumer, offsets: list[TopicPartition]) -> bool:
        try:
            consumer.commit(offsets=offsets, asynchronous=False)
            asked = [TopicPartition(o.topic, o.partition) for o in offsets]
            return [c.offset for c in consumer.committed(asked, timeout=10)] == [o.offset for o in offsets]
        except KafkaException:
            return False

    @contextmanager
    def members(self, group: str, type: str, topic: str) -> Iterator[None]:
        settings = {**self._settings(), "group.id": group, "group.protocol": type, "auto.offset.reset": "earliest"}
        consumers = [Consumer(settings) for _ in range(2)]
        ended = threading.Event()

        def poll(consumer: Consumer) -> None:
            while not ended.is_set():
                consumer.poll(0.1)

        threads = [threading.Thread(target=poll, args=(c,), daemon=True) for c in consumers]
        for consumer, thread in zip(consumers, threads, strict=True):
            consumer.subscribe([topic])
            thread.start()
        try:
            yield
        finally:
            ended.set()
            for consumer, thread in zip(consumers, threads, strict=True):
                thread.join(30)
                consumer.close()

    # --- moves and transactions

    def begin_move(self, topic: str, partition: int, replicas: Sequence[int]) -> None:
        """So slow that it lasts: what it holds takes minutes at the throttle."""
        producer = Producer({**self._settings(), "acks": "all"})
        for _ in range(2_000):
            producer.produce(topic, b"x" * 1_000, partition=partition)
        assert producer.flush(30) == 0
        self._undo.append(lambda: self._throttle(None))
        self._throttle("1000")
        names = dict.fromkeys((t.replace(".rate", ".replicas") for t in THROTTLES), "*")
        kafka.alter_config(self._cluster.live, ConfigResource.Type.TOPIC, topic, names)
        self._reassign(topic, partition, replicas, "--execute", "--additional")

    def cancel_move(self, topic: str, partition: int, replicas: Sequence[int]) -> None:
        self._reassign(topic, partition, replicas, "--cancel")
        self._throttle(None)

    def _throttle(self, rate: str | None) -> None:
        for broker, key in itertools.product(self.brokers, THROTTLES):
            self.set_broker(broker, key, rate)

    def _reassign(self, topic: str, partition: int, replicas: Sequence[int], *how: str) -> None:
        plan = self._cluster.folder / "contract-reassignment.json"
        moves = [{"topic": topic, "partition": partition, "replicas": list(replicas)}]
        plan.write_text(json.dumps({"version": 1, "partitions": moves}))
        servers = ("--bootstrap-server", self._cluster.live_bootstrap_servers)
        self._cluster.kafka_tool(leftovers.REASSIGN_COMMAND, *servers, *how, "--reassignment-json-file", str(plan))

    def set_broker(self, broker: int, key: str, value: str | None) -> None:
        kafka.alter_config(self._cluster.live, ConfigResource.Type.BROKER, str(broker), {key: value})

    @contextmanager
    def open_transaction(self, id: str, topic: str, partition: int, timeout: float) -> Iterator[None]:
        settings = {"transactional.id": id, "transaction.timeout.ms": round(timeout * 1000)}
        producer = Producer({**self._settings(), **settings})
        producer.init_transactions(60)
        producer.begin_transaction()
        producer.produce(topic, b"open", partition=partition)
        assert producer.flush(30) == 0
        yield
        producer.commit_transaction(30)

    def _settings(self) -> dict[str, object]:
        return kafka.client_settings(self._cluster.live)

    def set_broker_config(self, node: int | None, changes: Mapping[str, str]) -> None:
        self._configure(self._entity("brokers", None if node is None else str(node)), changes)

    def set_quota(self, quota: Quota) -> None:
        names = {"users": quota.user, "clients": quota.client_id, "ips": quota.ip}
        entity = [word for kind, name in names.items() if name is not None for word in self._entity(kind, name)]
        self._configure(entity, {quota.key: str(quota.value)})

    def _entity(self, kind: str, name: str | None) -> list[str]:
        known = name not in (None, DEFAULT_ENTITY)
        return ["--entity-type", kind, *(["--entity-name", str(name)] if known else ["--entity-default"])]

    def _configure(self, entity: Sequence[str], changes: Mapping[str, str]) -> None:
        """Set settings of an entity; they are taken back when the world closes."""
        command = ["kafka.admin.ConfigCommand", "--bootstrap-server", self._cluster.live_bootstrap_servers, "--alter"]
        values = ",".join(f"{name}={value}" for name, value in changes.items())
        self._cluster.kafka_tool(*command, *entity, "--add-config", values)
        self._undo.append(lambda: self._cluster.kafka_tool(*command, *entity, "--delete-config", ",".join(changes)))

    def close(self) -> None:
        self.reader.close()
        for undo in reversed(self._undo):
            undo()
        for name in list(self._topics):
            self.delete_topic(name)


class TestRealReader(MovesContract, ReaderContract, ConfigsContract):
    @pytest.fixture
    def world(self, cluster: Cluster) -> Iterator[RealWorld]:
        world = RealWorld(cluster)
        yield world
        world.close()

    @pytest.fixture
    def moving_world(self, world: RealWorld) -> RealWorld:
        return world

    @pytest.fixture
    def fragile_world(self, healthy_cluster: Cluster) -> Iterator[RealWorld]:
        world = RealWorld(healthy_cluster)
        yield world
        faults.revive_nodes(healthy_cluster)
        world.close()
