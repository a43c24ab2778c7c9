"""A Kafka cluster in memory, and the KafkaReader that reads it."""

from tests.fakes.clock import FakeClock
from tests.fakes.cluster import Broker, BrokerState, FakeCluster, Group, LogDirectory, Topic, TopicPartition
from tests.fakes.reader import FakeReader

__all__ = [
    "Broker",
    "BrokerState",
    "FakeClock",
    "FakeCluster",
    "FakeReader",
    "Group",
    "LogDirectory",
    "Topic",
    "TopicPartition",
]
