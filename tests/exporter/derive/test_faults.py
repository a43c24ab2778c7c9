"""Every fault that was observed on real brokers, second by second on the cluster in memory: legs, trust, controller, departures, coverage."""

from __future__ import annotations

import pytest

from exporter.facts.cluster import LegName, LegState, Node, Role
from exporter.kafka.errors import BrokerError, TimedOut, Unsupported
from exporter.snapshot import Snapshot
from tests.exporter.simulation import Simulation, up
from tests.fakes.kafka import FakeCluster

FROM_METADATA = {"cluster", "topics", "groups", "offsets", "transactions", "stuck_offsets", "producers"}


def cluster(**options: object) -> FakeCluster:
    model = FakeCluster(**options)  # type: ignore[arg-type]
    model.create_topic("orders", 6, 3)
    model.produce("orders", 0, 10)
    model.create_group("billing")
    model.commit("billing", "orders", 0, 4)
    return model


def steady(model: FakeCluster, **options: object) -> Simulation:
    simulation = Simulation(model, **options)  # type: ignore[arg-type]
    simulation.run(31)
    assert up(simulation.snapshots[-1]) == set(model.alive())
    return simulation


def leg(snapshot: Snapshot, node: int, name: LegName) -> LegState | None:
    tried = snapshot.derived.legs.get(node, {}).get(name)
    return tried.state if tried is not None else None


def never_doubted(seen: list[Snapshot]) -> None:
    for s in seen:
        assert s.derived.trust.trusted, s.derived.trust
        assert s.derived.controller_alive is True


def ordinary(model: FakeCluster) -> int:
    return next(n for n in model.alive() if n != model.quorum_leader)


def test_healthy() -> None:
    sim = steady(cluster())
    never_doubted(sim.snapshots[1:])
    for s in sim.run(120):
        assert all(s.coverage.covers(c) for c in (*FROM_METADATA, "quorum", "log_dirs", "jmx", "legs", "self"))
        assert not s.derived.departures
        assert sum(lag.lag.sum() for lag in s.derived.lags.values()) == 6


@pytest.mark.parametrize(
    ("fault", "tcp", "api", "jmx", "controlled"),
    [
        ("kill", LegState.REFUSED, LegState.SKIPPED, LegState.REFUSED, False),
        ("hang", LegState.OK, LegState.TIMEOUT, LegState.TIMEOUT, False),
        ("isolate", LegState.TIMEOUT, LegState.SKIPPED, LegState.TIMEOUT, False),
        ("stop_cleanly", LegState.REFUSED, LegState.SKIPPED, LegState.REFUSED, True),
    ],
)
@pytest.mark.parametrize("of", ["ordinary", "controller"])
def test_one_broker_leaves(fault: str, tcp: LegState, api: LegState, jmx: LegState, controlled: bool, of: str) -> None:
    model = cluster()
    sim = steady(model)
    victim = model.quorum_leader if of == "controller" else ordinary(model)
    assert victim is not None
    getattr(model, fault)(victim)
    seconds, _ = sim.run_until(lambda s: victim not in up(s), 20)
    assert seconds <= 17
    _, decided = sim.run_until(lambda s: victim in s.derived.departures, 20)
    assert decided.derived.departures == {victim: controlled}
    after = sim.run(90)
    never_doubted(sim.snapshots[1:])
    for s in after:
        assert (leg(s, victim, LegName.TCP), leg(s, victim, LegName.API_VERSIONS)) == (tcp, api)
        assert leg(s, victim, LegName.JMX) is jmx
        assert s.coverage.covers("legs"), "skipped by the circuit breaker, its last tried legs stand"
        assert s.derived.departures == {victim: controlled}
        assert all(s.coverage.covers(c) for c in ("cluster", "topics"))
        assert s.coverage.covers("quorum") or (fault, of) == ("hang", "controller"), (
            "only what is forwarded hangs with it"
        )
    last = after[-1]
    others = set(model.brokers) - {victim}
    assert not last.coverage.covers("jmx", victim) and not last.coverage.covers("log_dirs", victim)
    assert all(last.coverage.covers(c, b) for c in ("jmx", "log_dirs") for b in others)
    assert last.coverage.covers("groups") and last.coverage.covers("offsets"), "its groups and leaders have moved"
    (model.resume if fault in ("hang", "isolate") else model.start)(victim)
    sim.run_until(lambda s: victim in up(s), 60)
    assert not sim.snapshots[-1].derived.departures


def test_quorum_lost_and_found_again() -> None:
    model = cluster()
    sim = steady(model)
    assert model.quorum_leader is not None
    first, second = model.quorum_leader, ordinary(model)
    survivor = next(n for n in model.brokers if n not in (first, second))
    model.kill(first)
    model.kill(second)
    sim.run_until(lambda s: not s.derived.trust.trusted, 30)
    sim.run_until(lambda s: s.derived.controller_alive is False, 30)
    for s in sim.run(120):
        assert s.derived.controller_alive is False and not s.derived.trust.trusted
        assert s.derived.withdrawn == FROM_METADATA
        assert s.derived.health is None and not s.derived.lags and s.derived.end_offsets is None
        assert not any(s.coverage.covers(c) for c in (*FROM_METADATA, "quorum"))
        assert s.coverage.covers("legs") and s.coverage.covers("jmx", survivor)
        assert not s.derived.departures and s.reachable
    model.start(second)
    for s in sim.run(12):
        assert first not in up(s), "the new controller has not noticed yet that it is missing"
    _, s = sim.run_until(lambda s: s.derived.trust.trusted, 30)
    assert up(s) == {second, survivor}
    model.start(first)
    sim.run_until(lambda s: up(s) == {1, 2, 3} and s.coverage.covers("groups"), 60)


def test_klaxon_started_without_a_quorum_believes_nothing() -> None:
    model = cluster()
    model.kill(1)
    model.kill(2)
    model.advance(30)
    sim = Simulation(model)
    seen = sim.run(60)
    assert not any(s.derived.trust.trusted or s.derived.health is not None for s in seen)
    assert not any(s.coverage.covers(c) for s in seen for c in FROM_METADATA)
    assert seen[-1].derived.controller_alive is False, "every JMX target that answers says no, the others refuse"


def test_all_brokers_gone() -> None:
    model = cluster()
    sim = steady(model)
    for node in model.brokers:
        model.kill(node)
    last = sim.run(100)[-1]
    assert last.derived.controller_alive is False and not last.reachable
    assert {n: tried[LegName.TCP].state for n, tried in last.derived.legs.items()} == dict.fromkeys(
        (1, 2, 3), LegState.REFUSED
    )
    assert last.coverage.covers("legs")
    assert not any(last.coverage.covers(c) for c in (*FROM_METADATA, "quorum", "jmx", "log_dirs"))


def test_our_own_network_gone_is_no_evidence_against_the_controller() -> None:
    model = cluster()
    sim = steady(model)
    for node in model.brokers:
        model.isolate(node)
    for s in sim.run(120)[30:]:
        assert not s.derived.trust.trusted and s.derived.controller_alive is None


def test_without_jmx_a_hung_controller_is_unknown_and_a_lost_quorum_is_known() -> None:
    model = cluster()
    sim = steady(model, jmx=())
    assert model.quorum_leader is not None
    model.hang(model.quorum_leader)
    seen = sim.run(60)
    assert not any(s.derived.controller_alive is False for s in seen)
    assert seen[-1].derived.controller_alive is True
    model.kill(next(n for n in model.alive() if n != model.quorum_leader))
    model.forwarding_hangs_until = model.clock() + 1000
    model.quorum_leader = None
    assert sim.run(60)[-1].derived.controller_alive is False, "40 s without an answer though a broker answers"


@pytest.mark.parametrize("error", [Unsupported("no such API"), BrokerError(31, "CLUSTER_AUTHORIZATION_FAILED")])
def test_a_cluster_that_cannot_tell_is_taken_at_its_word(error: Exception) -> None:
    model = cluster()
    model.inject("DescribeQuorum", error)  # type: ignore[arg-type]
    sim = steady(model, jmx=())
    for s in sim.run(60):
        assert s.derived.trust.trusted and s.derived.trust.reason.startswith("cannot tell")
        assert s.derived.controller_alive is None
    assert ("quorum" in sim.snapshots[-1].coverage.unsupported) == isinstance(error, Unsupported)


def test_without_quorum_api_jmx_alone_decides_and_does_not_flap() -> None:
    model = cluster()
    model.inject("DescribeQuorum", Unsupported("no such API"))
    sim = Simulation(model)
    seen = sim.run(120)
    assert all(s.derived.trust.trusted for s in seen)
    model.kill(1)
    model.kill(2)
    assert not any(s.derived.trust.trusted for s in sim.run(90)[35:])


# --- departures ----------------------------------------------------------------------------------------------------------------------------


def test_two_leave_together_in_one_way() -> None:
    for fault, controlled in (("stop_cleanly", True), ("kill", False)):
        model = cluster(brokers=5, controllers=3)
        sim = steady(model)
        getattr(model, fault)(1)
        getattr(model, fault)(2)
        _, s = sim.run_until(lambda s: len(s.derived.departures) == 2, 40)
        assert s.derived.departures == {1: controlled, 2: controlled}


def test_two_leave_together_in_two_ways_is_unknown_unless_one_was_seen_stopping() -> None:
    model = cluster(brokers=5, controllers=3)
    sim = steady(model)
    model.stop_cleanly(1)
    model.kill(2)
    model.advance(10)
    sim.run(60)
    assert sim.snapshots[-1].derived.departures == {}
    model = cluster(brokers=5, controllers=3)
    sim = steady(model)
    sim.stopping[1] = 6
    sim.poll("jmx")
    model.kill(2)
    model.advance(9)
    model.stop_cleanly(1)
    _, s = sim.run_until(lambda s: len(s.derived.departures) == 2, 40)
    assert s.derived.departures == {1: True, 2: False}


def test_one_after_the_other() -> None:
    model = cluster(brokers=5, controllers=3)
    sim = steady(model)
    model.stop_cleanly(1)
    sim.run(30)
    model.kill(2)
    sim.run(30)
    assert sim.snapshots[-1].derived.departures == {1: True, 2: False}
    model.stop_cleanly(3)
    sim.run(30)
    assert sim.snapshots[-1].derived.departures == {1: True, 2: False, 3: True}
    model.start(1)
    sim.run(15)
    assert sim.snapshots[-1].derived.departures == {2: False, 3: True}


@pytest.mark.parametrize(("faults", "expected"), [
    ({1: "stop_cleanly", 2: "stop_cleanly"}, {1: True, 2: True}),
    ({1: "kill", 2: "kill"}, {1: False, 2: False}),
    ({1: "kill", 2: "stop_cleanly"}, {}),
])  # fmt: skip
def test_klaxon_starts_while_brokers_are_away(faults: dict[int, str], expected: dict[int, bool]) -> None:
    model = cluster(brokers=5, controllers=3)
    before = steady(model)
    for node, fault in faults.items():
        getattr(model, fault)(node)
    model.advance(30)
    before.run(1)
    sim = Simulation(model)
    sim.controlled = before.controlled
    sim.run(40)
    assert sim.snapshots[-1].derived.departures == expected


def test_kafka_39_has_no_count() -> None:
    model = cluster(version=(3, 9))
    sim = steady(model, gauge=False)
    victim = ordinary(model)
    model.kill(victim)
    sim.run(60)
    assert sim.snapshots[-1].derived.departures == {victim: False}, "silent long before it was no longer listed"
    assert victim in sim.builder.nodes, "not listed any more, and still expected"
    model.start(victim)
    sim.run(20)
    sim.stopping[victim] = 6
    sim.poll("jmx")
    model.stop_cleanly(victim)
    _, s = sim.run_until(lambda s: bool(s.derived.departures), 20)
    assert s.derived.departures == {victim: True}


def test_a_broker_that_starts_again_and_is_not_there_yet_keeps_its_verdict() -> None:
    model = cluster(brokers=5, controllers=3)
    sim = steady(model)
    model.kill(1)
    sim.run(30)
    model.begin_start(1)
    for s in sim.run(30):
        assert s.derived.departures == {1: False}
        assert leg(s, 1, LegName.TCP) is LegState.REFUSED
    assert leg(sim.snapshots[-1], 1, LegName.JMX) is LegState.OK


# --- nodes ---------------------------------------------------------------------------------------------------------------------------------


def test_an_unregistered_broker_stays_as_long_as_it_holds_replicas() -> None:
    model = cluster()
    sim = steady(model)
    model.kill(3)
    sim.run(20)
    model.unregister(3)
    sim.run(20)
    assert 3 in sim.builder.nodes
    for number in range(6):
        model.reassign("orders", number, (1, 2))
    for topic in model.topics.values():
        for number in range(len(topic.partitions)):
            model.reassign(topic.name, number, (1, 2))
    model.voters.remove(3)
    sim.run_until(lambda s: 3 not in sim.builder.nodes, 30)


def test_nobody_leaves_while_metadata_is_not_trusted() -> None:
    """A Klaxon that starts without a quorum keeps the nodes of its book, whatever the frozen view says."""
    model = cluster()
    book = [Node(9, "kafka-9", 9092, None, frozenset({Role.BROKER}), True, False)]
    model.kill(1)
    model.kill(2)
    model.advance(30)
    sim = Simulation(model, book=book)
    sim.run(60)
    assert 9 in sim.builder.nodes and 9 in sim.snapshots[-1].derived.legs


def test_controllers_are_expected_too() -> None:
    sim = steady(cluster(brokers=3, controllers=3))
    assert set(sim.builder.nodes) == {1, 2, 3, 4, 5, 6}
    assert {n.id for n in sim.snapshots[-1].cluster_facts.value(sim.model.clock()).brokers} == {1, 2, 3}  # type: ignore[union-attr]


# --- groups --------------------------------------------------------------------------------------------------------------------------------


def test_a_loading_coordinator_is_uncovered_and_not_empty() -> None:
    model = cluster()
    sim = steady(model)
    coordinator = model.coordinator("billing")
    model.load_coordinator(coordinator, 40)
    sim.run_until(lambda s: not s.coverage.covers("groups"), 16)
    for s in sim.run(20):
        assert not s.coverage.covers("groups") and not s.groups.success
    sim.run_until(lambda s: s.coverage.covers("groups"), 40)
    assert sum(lag.lag.sum() for lag in sim.snapshots[-1].derived.lags.values()) == 6


def test_when_a_coordinator_dies_its_groups_never_look_finished() -> None:
    model = cluster()
    sim = steady(model)
    victim = model.coordinator("billing")
    model.kill(victim)
    for s in sim.run(60):
        listed = {g.group for p in s.groups.fresh(s.at).values() for g in p.value.listings}
        assert "billing" in listed or not s.coverage.covers("groups")


def test_an_end_that_is_older_than_the_commit_gives_no_lag() -> None:
    model = cluster()
    sim = steady(model)
    leader = model.topics["orders"].partitions[0].leader
    model.inject("ListOffsets", TimedOut("no answer", phase="answer"), leader)
    model.produce("orders", 0, 100)
    model.commit("billing", "orders", 0, 50)
    for s in sim.run(40):
        for lags in s.derived.lags.values():
            assert not (lags.commits.offset[lags.lag >= 0] == 50).any()
    model.cure("ListOffsets", leader)
    sim.run_until(lambda s: sum(lag.lag.sum() for lag in s.derived.lags.values()) == 60, 40)


def test_a_group_at_two_coordinators_counts_once() -> None:
    model = cluster()
    sim = steady(model)
    old = model.coordinator("billing")
    new = next(n for n in model.brokers if n != old)
    model.inject("ListGroups", BrokerError(14, "COORDINATOR_LOAD_IN_PROGRESS"), old)
    model.move_coordinator("billing", new)
    sim.run_until(lambda s: "billing" in {g.group for g in s.groups.parts[new].value.listings}, 16)
    s = sim.snapshots[-1]
    assert old in s.groups.parts
    holders = [n for n, p in s.groups.parts.items() for g in p.value.listings if g.group == "billing"]
    assert holders == [new]
