"""Collector ``configs``: what brokers, topics and clients were told to do: settings with their sources, and quotas."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from exporter.collectors.base import Clock, Known, Polls, failure, poll_of
from exporter.kafka.client import KafkaReader
from exporter.kafka.errors import KafkaError
from exporter.reading import WHOLE_CLUSTER, Part, Poll

T = TypeVar("T")


class ConfigsCollector:
    """Three questions, each with a failure of its own: a right that is missing for one hides nothing of the others."""

    def __init__(self, reader: KafkaReader, clock: Clock) -> None:
        self._reader = reader
        self._clock = clock

    def poll(self, known: Known) -> Polls:
        """See Collector."""
        topics = known.topics.partitions.topics if known.topics is not None else ()
        return Polls(
            configs=poll_of(self._reader.broker_settings(sorted(known.brokers)), known.brokers),
            topic_configs=self._whole(lambda: self._reader.topic_settings(topics)),
            quotas=self._whole(self._reader.client_quotas),
        )

    def _whole(self, ask: Callable[[], T]) -> Poll[T]:
        """One answer for the whole cluster."""
        try:
            return Poll({WHOLE_CLUSTER: Part(ask(), self._clock())})
        except KafkaError as error:
            return Poll({}, {WHOLE_CLUSTER: failure(error, self._clock())})
