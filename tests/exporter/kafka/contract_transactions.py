"""What every KafkaReader promises about reassignments, settings and transactions: a part of the contract suite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from exporter.facts.partitions import END, LAST_STABLE
from exporter.facts.transactions import OpenProducer, Transaction
from exporter.kafka.client import KafkaReader
from exporter.kafka.errors import BrokerError
from tests.exporter.kafka.contract import World, offsets_of, rows_of

RATE = "leader.replication.throttled.rate"
REPLICAS = ("leader.replication.throttled.replicas", "follower.replication.throttled.replicas")


class MovingWorld(World, Protocol):
    """A world in which replicas move and transactions stay open."""

    def begin_move(self, topic: str, partition: int, replicas: Sequence[int]) -> None:
        """A reassignment that lasts."""

    def cancel_move(self, topic: str, partition: int, replicas: Sequence[int]) -> None: ...
    def set_broker(self, broker: int, key: str, value: str | None) -> None: ...
    def open_transaction(self, id: str, topic: str, partition: int, timeout: float) -> AbstractContextManager[None]:
        """Some records in a transaction, which is committed when the context ends."""


def open_transactions(reader: KafkaReader, world: World, id: str) -> list[tuple[int, Transaction]]:
    """(coordinator, description) of the id, where it is listed."""
    listed = {
        n: [t.transactional_id for t in a.value or ()] for n, a in reader.list_transactions(world.brokers).items()
    }
    told = reader.describe_transactions({n: ids for n, ids in listed.items() if ids})
    return [(n, t) for n, a in told.items() for t in a.value or () if t.transactional_id == id]


def producers_of(reader: KafkaReader, topic: str, partition: int) -> tuple[OpenProducer, ...]:
    (leader,) = (p.leader for p in rows_of(reader.partitions(), topic) if p.partition == partition)
    answer = reader.open_producers({leader: [(topic, partition)]})[leader]
    assert answer.error is None, answer.error
    assert answer.value is not None and not answer.value.errors
    return answer.value.producers


class MovesContract:
    """Mixed into the suites; the fixture ``moving_world`` is healthy before and after."""

    def test_nothing_moves_in_a_quiet_cluster(self, world: World) -> None:
        world.reader.pulse()
        assert world.reader.reassignments() == ()

    def test_a_running_move_names_what_comes_and_what_goes(self, moving_world: MovingWorld) -> None:
        world = moving_world
        world.reader.pulse()
        topic = world.name("moving")
        world.create_topic(topic, [[1], [1]])
        world.until(lambda: len(rows_of(world.reader.partitions(), topic)) == 2, "the topic is known")
        world.begin_move(topic, 1, [2])
        world.until(lambda: bool(world.reader.reassignments()), "it moves")
        (move,) = world.reader.reassignments()
        assert (move.topic, move.partition, sorted(move.replicas)) == (topic, 1, [1, 2])
        assert (move.adding, move.removing) == ((2,), (1,))
        world.cancel_move(topic, 1, [1])
        world.until(lambda: world.reader.reassignments() == (), "nothing moves")

    def test_settings_of_brokers_are_those_that_are_set(self, moving_world: MovingWorld) -> None:
        world = moving_world
        world.reader.pulse()

        def rates() -> dict[int, int]:
            told = world.reader.broker_values(world.brokers, [RATE, "transaction.max.timeout.ms"])
            assert all(a.value and a.value["transaction.max.timeout.ms"] == "900000" for a in told.values())
            found = {n: int(a.value[RATE]) for n, a in told.items() if a.value and RATE in a.value}
            return {n: rate for n, rate in found.items() if rate < 1 << 62}

        assert rates() == {}
        world.set_broker(2, RATE, "20000")
        world.until(lambda: rates() == {2: 20_000}, "the rate is set")
        world.set_broker(2, RATE, None)
        world.until(lambda: rates() == {}, "the rate is gone")

    def test_settings_of_topics_leave_out_who_is_not_there(self, world: World) -> None:
        world.reader.pulse()
        plain, throttled = world.name("plain"), world.name("throttled")
        world.create_topic(plain, [[1]])
        world.create_topic(throttled, [[1]], {REPLICAS[0]: "*"})
        world.until(lambda: {plain, throttled} <= set(world.reader.partitions().topics), "the topics are known")
        told = world.reader.topic_values([plain, throttled, world.name("missing")], REPLICAS)
        assert {t: {k: v for k, v in s.items() if v} for t, s in told.items()} == {
            plain: {},
            throttled: {REPLICAS[0]: "*"},
        }

    # --- transactions

    def test_an_open_transaction_is_known_to_its_coordinator_and_its_partitions_leader(
        self, moving_world: MovingWorld
    ) -> None:
        world = moving_world
        world.reader.pulse()
        topic, id = world.name("ledger"), world.name("txn")
        world.create_topic(topic, [[1, 2, 3], [2, 3, 1]])
        world.until(lambda: all(p.leader > 0 for p in rows_of(world.reader.partitions(), topic)), "leaders lead")
        world.produce(topic, 1, 3)
        before = world.now()
        with world.open_transaction(id, topic, 1, 60.0):
            world.until(lambda: bool(producers_of(world.reader, topic, 1)), "the leader has it")
            ((_, told),) = open_transactions(world.reader, world, id)
            assert (told.state, told.timeout, told.error) == ("Ongoing", 60.0, 0)
            assert told.partitions == {(topic, 1)}
            assert told.started_at is not None and before - 1 <= told.started_at <= world.now() + 1
            (producer,) = producers_of(world.reader, topic, 1)
            assert (producer.producer_id, producer.start_offset) == (told.producer_id, 3)
            assert before - 1 <= producer.last_record_at <= world.now() + 1
            assert offsets_of(world.reader, topic, LAST_STABLE) == {0: 0, 1: 3}
            assert offsets_of(world.reader, topic, END)[1] > 3
        world.until(lambda: not open_transactions(world.reader, world, id), "it has ended")
        world.until(lambda: producers_of(world.reader, topic, 1) == (), "its markers are written")
        assert offsets_of(world.reader, topic, LAST_STABLE) == offsets_of(world.reader, topic, END)

    def test_a_partition_that_is_elsewhere_is_an_error_of_its_own(self, world: World) -> None:
        world.reader.pulse()
        topic = world.name("elsewhere")
        world.create_topic(topic, [[1]])
        world.until(lambda: [p.leader for p in rows_of(world.reader.partitions(), topic)] == [1], "the topic is known")

        def errors(broker: int) -> Mapping[tuple[str, int], int] | None:
            asked = {1: [(topic, 0), (topic, 7)], 2: [(topic, 0)]}
            told = world.reader.open_producers(asked)[broker].value
            return None if told is None else told.errors

        world.until(lambda: errors(1) == {(topic, 7): 3}, "its leader knows that it leads")
        assert (errors(2) or {}).keys() == {(topic, 0)}

    def test_an_unknown_id_is_a_row_with_its_error(self, world: World) -> None:
        world.reader.pulse()
        told = world.reader.describe_transactions({n: [world.name("nobody")] for n in world.brokers})
        for answer in told.values():
            assert answer.error is None or isinstance(answer.error, BrokerError)
            assert all(t.error for t in answer.value or ())
