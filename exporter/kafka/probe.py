"""Finds out which legs of a node answer: TCP, ApiVersions, and its view of the cluster."""

from __future__ import annotations

from collections.abc import Callable

from exporter.facts.cluster import ClusterView, Leg, LegName, LegState, Pulse
from exporter.facts.configs import Features
from exporter.kafka import api_versions, messages
from exporter.kafka.api import Api
from exporter.kafka.bounded import Deadline
from exporter.kafka.connection import Connection
from exporter.kafka.errors import ConnectionLost, KafkaError, NameLookupFailed, Refused, TimedOut

KNOCK_SECONDS = 1.0
"""How long a plain TCP connect may take that tells a hung process from a host that is gone."""

_BEFORE_TCP = ("queue", "name look-up", "connect")


class Probe:
    """Probes one node over a kept connection. A view that is the same bytes as last time is not decoded again."""

    def __init__(
        self,
        node: int,
        connection: Connection,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        count: Callable[[Api], None],
    ) -> None:
        self._node = node
        self._connection = connection
        self._clock = clock
        self._monotonic = monotonic
        self._count = count
        self._connected_in = 0.0
        self.versions: messages.Versions | None = None
        self._features: Features | None = None
        self._view: ClusterView | None = None
        self._view_body = b""

    def skipped(self) -> Pulse:
        """What is told while the circuit breaker is open."""
        leg = Leg(LegState.SKIPPED, 0.0, self._clock(), "timed out before, tried again later")
        return Pulse(self._node, dict.fromkeys((LegName.TCP, LegName.API_VERSIONS, LegName.METADATA), leg))

    def run(self, seconds: float) -> Pulse:
        """Try every leg, all within ``seconds``; legs behind a failed one are skipped."""
        legs: dict[LegName, Leg] = {}
        deadline = self._connection.deadline(seconds)
        view = None
        kept = self._connection.open
        if self._tcp(legs, deadline) and self._api_versions(legs, deadline, kept):
            view = self._metadata(legs, deadline)
        for name in (LegName.TCP, LegName.API_VERSIONS, LegName.METADATA):
            legs.setdefault(name, Leg(LegState.SKIPPED, 0.0, self._clock(), "an earlier leg failed"))
        return Pulse(self._node, legs, view, self.versions, self._features)

    def _tcp(self, legs: dict[LegName, Leg], deadline: Deadline) -> bool:
        begun = self._monotonic()
        if self._connection.open:
            legs[LegName.TCP] = Leg(LegState.OK, self._connected_in, self._clock(), "kept connection")
            return True
        try:
            self._connection.connect(deadline)
        except KafkaError as error:
            reached = isinstance(error, TimedOut) and error.phase not in _BEFORE_TCP
            reached = reached or not isinstance(error, TimedOut | Refused | NameLookupFailed | ConnectionLost)
            failed = self._leg(error, begun)
            legs[LegName.TCP] = Leg(LegState.OK, failed.seconds, failed.at) if reached else failed
            if reached:
                legs[LegName.API_VERSIONS] = failed
            return False
        self._connected_in = self._monotonic() - begun
        legs[LegName.TCP] = Leg(LegState.OK, self._connected_in, self._clock())
        return True

    def _api_versions(self, legs: dict[LegName, Leg], deadline: Deadline, kept: bool) -> bool:
        begun = self._monotonic()
        try:
            self._learn_versions(deadline, kept)
        except ConnectionLost as error:
            if kept:
                # It was closed since the last pulse: what a new one meets is the truth.
                del legs[LegName.TCP]
                return self._tcp(legs, deadline) and self._api_versions(legs, deadline, False)
            legs[LegName.API_VERSIONS] = self._leg(error, begun)
            return False
        except KafkaError as error:
            self._connection.close()
            legs[LegName.API_VERSIONS] = self._leg(error, begun)
            if kept and isinstance(error, TimedOut):
                legs[LegName.TCP] = self._knock()
            return False
        legs[LegName.API_VERSIONS] = Leg(LegState.OK, self._monotonic() - begun, self._clock())
        return True

    def _learn_versions(self, deadline: Deadline, kept: bool) -> None:
        """All features are asked for only where the broker at this connection's other end has said that it can tell them: another one may be there since."""
        whole = api_versions.WITH_ALL_FEATURES
        if not (kept and self.versions is not None and messages.offers(self.versions, whole)):
            offer = self._offer(messages.API_VERSIONS, deadline)
            if not messages.offers(offer.versions, whole):
                self.versions, self._features = offer.versions, offer.features
                return
        offer = self._offer(whole, deadline)
        self.versions, self._features = offer.versions, offer.features

    def _offer(self, api: Api, deadline: Deadline) -> api_versions.Offer:
        return api_versions.offer(memoryview(self._call(api, api_versions.request(), deadline)))

    def _metadata(self, legs: dict[LegName, Leg], deadline: Deadline) -> ClusterView | None:
        begun = self._monotonic()
        with_fenced = messages.offers(self.versions, messages.DESCRIBE_CLUSTER)
        try:
            if with_fenced:
                body = self._call(messages.DESCRIBE_CLUSTER, messages.describe_cluster_request(), deadline)
            else:
                body = self._call(messages.METADATA, messages.brokers_request(), deadline)
            if body != self._view_body or self._view is None:
                read = messages.cluster_view if with_fenced else messages.brokers_view
                self._view, self._view_body = read(memoryview(body)), body
        except KafkaError as error:
            self._connection.close()
            legs[LegName.METADATA] = self._leg(error, begun)
            return None
        legs[LegName.METADATA] = Leg(LegState.OK, self._monotonic() - begun, self._clock())
        return self._view

    def _call(self, api: Api, body: bytes, deadline: Deadline) -> bytes:
        self._count(api)
        return bytes(self._connection.call(api, body, deadline))

    def _knock(self) -> Leg:
        """A new TCP connection, closed at once: a hung process still has its port open, a host that is gone does not answer."""
        begun = self._monotonic()
        knocking = self._connection.plain()
        try:
            knocking.connect(knocking.deadline(KNOCK_SECONDS))
        except KafkaError as error:
            return self._leg(error, begun)
        finally:
            knocking.close()
        return Leg(LegState.OK, self._monotonic() - begun, self._clock())

    def _leg(self, error: KafkaError, begun: float) -> Leg:
        return Leg(leg_state(error), self._monotonic() - begun, self._clock(), str(error.args[0]))


def leg_state(error: KafkaError) -> LegState:
    """The leg's end that an error means."""
    if isinstance(error, TimedOut):
        return LegState.TIMEOUT
    return LegState.REFUSED if isinstance(error, Refused) else LegState.ERROR
