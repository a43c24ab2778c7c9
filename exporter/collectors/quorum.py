"""Collector ``quorum``: leader, epoch, voters and observers of the metadata quorum."""

from __future__ import annotations

from exporter.collectors.base import Clock, Known, Polls
from exporter.kafka.client import KafkaReader
from exporter.reading import WHOLE_CLUSTER, Failure, Part, Poll


class QuorumCollector:
    """An answer without a leader is a failure: it comes from a node that knows no controller."""

    def __init__(self, reader: KafkaReader, clock: Clock) -> None:
        self._reader = reader
        self._clock = clock

    def poll(self, known: Known) -> Polls:
        """See Collector."""
        quorum = self._reader.quorum()
        now = self._clock()
        if quorum.leader is None or quorum.leader < 0:
            failure = Failure("no_leader", f"the quorum has no leader (epoch {quorum.epoch})", now)
            return Polls(quorum=Poll({}, {WHOLE_CLUSTER: failure}))
        return Polls(quorum=Poll({WHOLE_CLUSTER: Part(quorum, now)}))
