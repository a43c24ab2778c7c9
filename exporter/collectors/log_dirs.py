"""Collector ``log_dirs``: disks and replica sizes of every broker that should be there."""

from __future__ import annotations

from exporter.collectors.base import Known, Polls, poll_of
from exporter.facts.log_dirs import LogDirTable
from exporter.kafka.client import Answer, KafkaReader
from exporter.kafka.errors import BrokerError
from exporter.kafka.rights import NOT_PERMITTED


class LogDirsCollector:
    """A dead broker stays expected: questions about its disks are unknown, not answered."""

    def __init__(self, reader: KafkaReader) -> None:
        self._reader = reader

    def poll(self, known: Known) -> Polls:
        """See Collector."""
        answers = self._reader.log_dirs(sorted(known.brokers))
        return Polls(log_dirs=poll_of({n: _permitted(n, a) for n, a in answers.items()}, known.brokers))


def _permitted(node: int, answer: Answer[LogDirTable]) -> Answer[LogDirTable]:
    """DescribeLogDirs without the right on the cluster gives no dir, or one with an authorization error: that is no broker without disks."""
    table = answer.value
    if table is None:
        return answer
    codes = {d.error for d in table.dirs}
    if table.dirs and not codes <= NOT_PERMITTED:
        return answer
    code = min(codes, default=31)
    error = BrokerError(code, "CLUSTER_AUTHORIZATION_FAILED", node=node, request="DescribeLogDirs")
    return Answer(answer.at, answer.seconds, error=error)
