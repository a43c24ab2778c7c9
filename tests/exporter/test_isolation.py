"""Each collector failing in each way: the others poll on and stay covered; its own facts age, vanish after three intervals, never turn zero, and come back."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import structlog.testing

from exporter.collectors import COLLECTORS, Registration, Tools
from exporter.collectors.base import Collector, Known, Polls
from exporter.config import ClusterConfig
from exporter.derive.trust import FROM_METADATA
from exporter.facts.certificates import Certificate, CertificateFile
from exporter.facts.configs import Quota
from exporter.jmx.errors import JmxBadAnswer, JmxDenied, JmxError, JmxRefused, JmxTimeout
from exporter.jmx.transport import JmxAnswer, Target
from exporter.kafka.client import Answer
from exporter.kafka.errors import BadAnswer, BrokerError, KafkaError, Refused, TimedOut, Unsupported
from exporter.metrics.catalogue import complete
from exporter.metrics.families import Families
from exporter.reading import FRESH_INTERVALS
from exporter.runner import Runner
from exporter.runner.runner import JOB_OF
from exporter.snapshot import Snapshot
from tests.exporter.jmx.fake_transport import FakeJmx, broker_beans
from tests.exporter.scripted import Cluster
from tests.exporter.test_runner import Book
from tests.exporter.virtual_scheduler import VirtualScheduler
from tests.fakes.clock import FakeClock

INTERVAL_S = 60.0
"""Of every collector, so that every reading is renewed at every turn."""
QUORUM_INTERVAL_S = 5.0
"""Of every collector where the quorum is silent: JMX vouches for the controller for some seconds only."""
FRESH_TURNS = int(FRESH_INTERVALS)
GIVEN_UP_S = 0.02
"""Real seconds after which a hung poll is left behind."""
TARGETS = {n: f"kafka-{n}:9999" for n in (1, 2, 3)}
LIMIT_S = 10.0
LEGS = frozenset({"self", "legs"})
WARM_S = 100.0
"""What is asked each minute, and what is told of a standing commit from one minute on, is known by then; of turns there must be some."""
WARM_TURNS = 5
ASK_NOTHING = {"stuck_offsets", "producers"}
"""Judged by what the groups' job read; while nothing stands nobody is asked, so that only a failure of the whole poll harms them."""
AGING = {"kafka_consumergroup_lag_at_least_seconds", "kafka_consumergroup_commit_standing_seconds"}
"""Families whose values grow with time though nothing changes."""

Series = dict[tuple[str, tuple[str, ...]], float]

ERRORS: Mapping[str, tuple[KafkaError, JmxError | None]] = {
    "refused": (Refused("nothing listens"), JmxRefused("nothing listens")),
    "timeout": (TimedOut("no answer", phase="answer"), JmxTimeout("no answer")),
    "garbage": (BadAnswer("not what was asked for"), JmxBadAnswer("not what was asked for")),
    "denied": (BrokerError(31, "CLUSTER_AUTHORIZATION_FAILED"), JmxDenied("wrong password")),
    "unsupported": (Unsupported("is not offered"), None),
}
"""Way of failing -> what Kafka's side gives, and what JMX gives."""


@dataclass
class Trouble:
    """What happens to one collector's questions; ``way`` is empty while all is well."""

    way: str = ""
    released: threading.Event = field(default_factory=threading.Event)

    def strike(self) -> None:
        """Before a question is asked: what has no answer at all."""
        if self.way == "bug":
            raise RuntimeError("a bug")
        if self.way in ("hang", "slow"):
            self.released.wait()

    @property
    def errors(self) -> tuple[KafkaError, JmxError | None] | None:
        return ERRORS.get(self.way)


class TroubledReader:
    """The reader as one collector sees it: a question to many nodes gives an error for each, one to a single node raises."""

    def __init__(self, reader: Cluster, trouble: Trouble) -> None:
        self._reader = reader
        self._trouble = trouble

    def __getattr__(self, name: str) -> Any:
        asked = getattr(self._reader, name)
        if not callable(asked) or name in ("nodes", "requests", "bootstrap_errors"):
            return asked

        def ask(*arguments: Any) -> Any:
            self._trouble.strike()
            given, errors = asked(*arguments), self._trouble.errors
            if errors is None:
                return given
            if isinstance(given, dict) and all(isinstance(a, Answer) for a in given.values()):
                return {node: Answer(a.at, a.seconds, error=errors[0]) for node, a in given.items()}
            raise errors[0]

        return ask


@dataclass
class TroubledJmx:
    jmx: FakeJmx
    trouble: Trouble

    def read(self, targets: Sequence[Target], deadline_s: float) -> Mapping[int, JmxAnswer]:
        self.trouble.strike()
        given, errors = self.jmx.read(targets, deadline_s), self.trouble.errors
        if errors is None:
            return given
        return {n: JmxAnswer(n, a.address, a.taken_at, 0.0, error=errors[1]) for n, a in given.items()}

    def close(self) -> None:
        pass


@dataclass
class Counted:
    """A collector whose polls are counted."""

    collector: Collector
    count: Callable[[], None]

    def poll(self, known: Known) -> Polls:
        self.count()
        return self.collector.poll(known)


class World:
    """The real runner on a clock that moves by hand; one collector can be put into trouble."""

    def __init__(self, troubled: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.troubled = troubled
        self.interval = QUORUM_INTERVAL_S if troubled == "quorum" else INTERVAL_S
        self.trouble = Trouble()
        self.polls: Counter[str] = Counter()
        self._published = 0
        self._publishing = threading.Condition()
        self.clock = FakeClock()
        self.scheduler = VirtualScheduler(self.clock)
        monkeypatch.setattr("exporter.runner.runner.BackgroundScheduler", lambda **_: self.scheduler)
        monkeypatch.setattr("exporter.runner.runner.COLLECTORS", tuple(map(self._registered, COLLECTORS)))
        cluster = Cluster(self.clock, tls=True)
        chain = Certificate("CN=klaxon", "CN=ca", 0.0, 1e10)
        cluster.replies["own_certificates"] = (CertificateFile("client.pem", (chain,)),)
        cluster.replies["client_quotas"] = (Quota(None, "app", None, "producer_byte_rate", 1e6),)
        jmx = FakeJmx({n: broker_beans(n, leader=n == 1) for n in TARGETS}, clock=self.clock)
        config = ClusterConfig.model_validate(
            {
                "bootstrap_servers": ["kafka-1:9092"],
                "jmx": {"targets": TARGETS},
                "collectors": {c.name: {"interval": self.interval} for c in COLLECTORS},
            }
        )
        self.runner = Runner(config, cluster, jmx, self.clock, self._take, Book(), tick_s=0.002)
        self._families = Families()
        self.runner.start()

    def _registered(self, registration: Registration) -> Registration:
        """The registration, its collector counted, and in trouble where it is the one."""
        name, mine = registration.name, registration.name == self.troubled

        def count() -> None:
            self.polls[name] += 1

        def make(tools: Tools) -> Collector:
            if mine:
                jmx = TroubledJmx(tools.jmx, self.trouble)  # type: ignore[arg-type]
                tools = replace(tools, reader=TroubledReader(tools.reader, self.trouble), jmx=jmx)  # type: ignore[arg-type]
            return Counted(registration.make(tools), count)

        return replace(registration, make=make)

    def _take(self, _snapshot: Snapshot, _changed: frozenset[str]) -> None:
        with self._publishing:
            self._published += 1
            self._publishing.notify_all()

    @property
    def now(self) -> Snapshot:
        return self.runner.snapshot()

    def turn(self) -> Snapshot:
        """An interval later: everything that is due polled, and what it gave published."""
        self.clock.advance(self.interval)
        self.scheduler.run_due({self.troubled} if self.trouble.way == "slow" else ())
        with self._publishing:
            before = self._published
            # The one after the next began after every poll had ended.
            assert self._publishing.wait_for(lambda: self._published >= before + 2, LIMIT_S)
        return self.now

    def page(self) -> Series:
        """The series; of those that grow by themselves only that they are there."""
        blocks = self._families.blocks(self.now)
        return {
            (b.metric, row): 1.0 if b.metric in AGING else v
            for made in blocks.values()
            for b in made
            for row, v in zip(map(tuple, b.labels.rows), b.values.tolist(), strict=True)
        }

    def close(self) -> None:
        self.trouble.released.set()
        self.runner.stop()


@pytest.fixture
def world(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    with structlog.testing.capture_logs():
        made = World(request.param, monkeypatch)
        yield made
        made.close()


def own_of(collector: str) -> set[str]:
    """The owners whose facts the collector reads."""
    return {o for o in (*JOB_OF, collector) if JOB_OF.get(o, o) == collector} - LEGS


def harmed(collector: str) -> set[str]:
    """With those which are not believed without it."""
    return own_of(collector) | (FROM_METADATA | {"departures"} if collector == "cluster" else set())


def from_kafka(page: Series, owners: set[str], needs: bool) -> Series:
    """The series that need one of these owners, or those that need none of them."""
    return {
        key: value
        for key, value in page.items()
        if not LEGS & set(complete()[key[0]].inputs) and bool(owners & set(complete()[key[0]].inputs)) is needs
    }


def told(page: Series, metric: str, owners: set[str]) -> set[float]:
    return {value for (name, row), value in page.items() if name == metric and row[0] in owners}


NAMES = [c.name for c in COLLECTORS]
WAYS = [*ERRORS, "bug", "hang"]
ALL = [(n, w) for n in NAMES for w in WAYS if (n, w) != ("jmx", "unsupported")]


def warm(world: World) -> Series:
    """Everything is known and covered."""
    for _ in range(max(WARM_TURNS, round(WARM_S / world.interval))):
        world.turn()
    owners = {*world.now.readings(), "legs"}
    assert {o for o in owners if not world.now.coverage.covers(o)} == set()
    return world.page()


@pytest.mark.parametrize(("world", "way"), ALL, indirect=["world"])
def test_one_collector_fails(world: World, way: str) -> None:
    before = warm(world)
    mine = harmed(world.troubled)
    others = [n for n in NAMES if n != world.troubled]
    own = own_of(world.troubled) - (ASK_NOTHING if way in ERRORS else set())
    world.trouble.way = way
    world.runner._jobs[world.troubled].limit = GIVEN_UP_S if way == "hang" else LIMIT_S
    for turn in range(1, FRESH_TURNS + 3):
        polled = world.polls.copy()
        snapshot, page = world.turn(), world.page()
        assert all(world.polls[n] > polled[n] for n in others), "the others poll on"
        unharmed = {*snapshot.readings()} - mine
        assert {o for o in unharmed if not snapshot.coverage.covers(o)} == set()
        assert from_kafka(page, mine, False) == from_kafka(before, mine, False), "what is not its own stands"
        assert from_kafka(page, mine, True).items() <= from_kafka(before, mine, True).items(), (
            "no value that no poll gave"
        )
        gone = turn > FRESH_TURNS
        if gone:
            assert {k for k in from_kafka(page, own, True) if complete()[k[0]].owner in own} == set(), "too old"
        if way == "unsupported":
            assert told(page, "klaxon_collector_supported", own) == {0.0}
            assert not told(page, "klaxon_collector_covered", own)
        else:
            assert told(page, "klaxon_collector_success", own) == {0.0}
            assert min(told(page, "klaxon_collector_age_seconds", own)) == turn * world.interval
            assert not gone or told(page, "klaxon_collector_covered", own) == {0.0}
    world.trouble.way = ""
    world.trouble.released.set()
    world.runner._jobs[world.troubled].limit = LIMIT_S
    for _ in range(2):
        world.turn()
    assert world.page().keys() == before.keys()
    assert from_kafka(world.page(), set(), False) == from_kafka(before, set(), False), "all is as it was"
    assert told(world.page(), "klaxon_collector_success", own) == {1.0}


@pytest.mark.parametrize("world", NAMES, indirect=True)
def test_one_collector_is_slow(world: World) -> None:
    """A poll that takes two turns is one poll: no second one beside it, its facts age meanwhile, and count when it ends."""
    before, own = warm(world), own_of(world.troubled)
    world.trouble.way = "slow"
    polled = world.polls.copy()
    for turn in (1, 2):
        snapshot, page = world.turn(), world.page()
        assert all(world.polls[n] >= polled[n] + turn for n in NAMES if n != world.troubled)
        assert world.polls[world.troubled] == polled[world.troubled] + 1
        assert {o for o in snapshot.readings() if not snapshot.coverage.covers(o)} == set()
        assert from_kafka(page, set(), False) == from_kafka(before, set(), False)
        assert min(told(page, "klaxon_collector_age_seconds", own)) == turn * world.interval
    world.trouble.way = ""
    world.trouble.released.set()
    world.turn()
    assert min(told(world.page(), "klaxon_collector_age_seconds", own)) == 0.0
    assert from_kafka(world.page(), set(), False) == from_kafka(before, set(), False)
