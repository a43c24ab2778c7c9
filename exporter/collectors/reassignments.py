"""Collector ``reassignments``: what is being moved, and the replication throttles that are set on brokers and topics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from exporter.collectors.base import Clock, Known, Polls, failure, poll_of
from exporter.facts.reassignments import BrokerThrottles, Move, ThrottledTopics
from exporter.kafka.client import Answer, KafkaReader
from exporter.kafka.errors import KafkaError
from exporter.reading import WHOLE_CLUSTER, Failure, Part, Poll

RATES: Mapping[str, str] = {
    "leader": "leader.replication.throttled.rate",
    "follower": "follower.replication.throttled.rate",
    "alter_log_dirs": "replica.alter.log.dirs.io.max.bytes.per.second",
}
"""Throttle -> the broker's setting."""
REPLICAS: Mapping[str, str] = {
    "leader": "leader.replication.throttled.replicas",
    "follower": "follower.replication.throttled.replicas",
}
"""Throttle -> the topic's setting."""

UNLIMITED = (1 << 63) - 1
"""The default of the rates (``QuotaConfig.QUOTA_BYTES_PER_SECOND_DEFAULT``)."""
QUIET_TOPICS_S = 60.0
"""How often topics are asked while nothing moves and no throttle is set; else it is each time."""
SLACK_S = 0.5
"""The job's own grid must not make it every fifth instead of every fourth poll."""


class ReassignmentsCollector:
    """Feeds ``reassignments`` (the controller's word), ``throttles`` (each broker's) and ``throttled_topics``: three questions, so that one that fails hides nothing else."""

    def __init__(self, reader: KafkaReader, clock: Clock) -> None:
        self._reader = reader
        self._clock = clock
        self._topics: ThrottledTopics | None = None
        self._topics_asked_at = float("-inf")

    def poll(self, known: Known) -> Polls:
        """See Collector."""
        moves = self._moves()
        throttles = self._throttles(known)
        busy = any(p.value for p in moves.parts.values()) or any(p.value.rates for p in throttles.parts.values())
        topics = self._ask_topics(known.topics.partitions.topics) if known.topics and self._due(busy) else None
        return Polls(reassignments=moves, throttles=throttles, throttled_topics=topics)

    def _moves(self) -> Poll[tuple[Move, ...]]:
        try:
            moves = self._reader.reassignments()
        except KafkaError as error:
            return Poll({}, {WHOLE_CLUSTER: failure(error, self._clock())})
        return Poll({WHOLE_CLUSTER: Part(moves, self._clock())})

    def _throttles(self, known: Known) -> Poll[BrokerThrottles]:
        """A dead broker stays expected: whether a throttle is set on it is unknown."""
        answers = self._reader.broker_values(sorted(known.brokers), list(RATES.values()))
        return poll_of({n: _rates(a) for n, a in answers.items()}, known.brokers)

    def _due(self, busy: bool) -> bool:
        throttled = self._topics is None or bool(self._topics.replicas)
        return busy or throttled or self._clock() - self._topics_asked_at >= QUIET_TOPICS_S - SLACK_S

    def _ask_topics(self, topics: Sequence[str]) -> Poll[ThrottledTopics]:
        self._topics_asked_at, self._topics = self._clock(), None
        try:
            told = self._reader.topic_values(topics, list(REPLICAS.values())) if topics else {}
        except KafkaError as error:
            return Poll({}, {WHOLE_CLUSTER: failure(error, self._clock())})
        if topics and not told:
            message = "DescribeConfigs: no topic may be described; Klaxon's user needs DescribeConfigs on topics"
            return Poll({}, {WHOLE_CLUSTER: Failure("denied", message, self._clock())})
        found = {topic: _throttled(settings) for topic, settings in sorted(told.items())}
        self._topics = ThrottledTopics({topic: throttles for topic, throttles in found.items() if throttles})
        return Poll({WHOLE_CLUSTER: Part(self._topics, self._clock())})


def _throttled(settings: Mapping[str, str]) -> Mapping[str, str]:
    return {throttle: settings[key] for throttle, key in REPLICAS.items() if settings.get(key)}


def _rates(answer: Answer[Mapping[str, str]]) -> Answer[BrokerThrottles]:
    if answer.value is None:
        return Answer(answer.at, answer.seconds, error=answer.error)
    told = {throttle: int(answer.value[key]) for throttle, key in RATES.items() if key in answer.value}
    return Answer(answer.at, answer.seconds, BrokerThrottles({t: r for t, r in told.items() if r < UNLIMITED}))
