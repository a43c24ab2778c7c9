"""Trust, the controller, legs and coverage as tables: what each kind of evidence is worth, and for how long."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.derive.controller import controller_alive
from exporter.derive.coverage import coverage
from exporter.derive.legs import latest_legs
from exporter.derive.trust import SETTLE_S, TrustState, judge
from exporter.derive.witnesses import QuorumWatch, watch
from exporter.facts.cluster import ClusterFacts, Leg, LegName, LegState
from exporter.reading import WHOLE_CLUSTER, Reading
from tests.exporter.scripted import controller_values, jmx_node, legs, node, pulse, quorum, reading

NOW = 1000.0
VOTERS = frozenset({1, 2, 3})
FACTS = ClusterFacts("id", {1: node(1)}, {1: pulse(1)})


def cluster_at(at: float) -> Reading[Any]:
    return reading("cluster", {WHOLE_CLUSTER: (FACTS, at)})


def jmx(
    nodes: dict[int, tuple[float, float]] | None = None, failed: dict[int, str] | None = None, at: float = NOW
) -> Reading[Any]:
    """Node -> (ActiveControllerCount, applied lag in seconds); failed node -> kind."""
    parts = {
        n: (jmx_node(n, at, controller_values(active, applied_lag_s=lag)), at)
        for n, (active, lag) in (nodes or {}).items()
    }
    return reading("jmx", parts, {n: (kind, at) for n, kind in (failed or {}).items()}, interval=15.0, expected=VOTERS)


def all_legs(**states: LegState) -> dict[int, dict[str, Leg]]:
    return {int(name[1:]): legs(state, NOW) for name, state in states.items()}


OK, REFUSED, TIMEOUT = LegState.OK, LegState.REFUSED, LegState.TIMEOUT
HEALTHY = all_legs(n1=OK, n2=OK, n3=OK)
TWO_REFUSE = all_legs(n1=OK, n2=REFUSED, n3=REFUSED)
ONE_REFUSES = all_legs(n1=OK, n2=OK, n3=REFUSED)
TWO_HANG = all_legs(n1=OK, n2=TIMEOUT, n3=TIMEOUT)
ALL_SILENT = all_legs(n1=TIMEOUT, n2=TIMEOUT, n3=TIMEOUT)
NO_JMX = jmx()


def failing(seconds: float) -> QuorumWatch:
    return QuorumWatch(NOW - seconds - 3, NOW - seconds, "", VOTERS)


@pytest.mark.parametrize(("watched", "by_jmx", "tried", "alive"), [
    # answers, or says so itself
    (QuorumWatch(NOW - 9, None, "", VOTERS), NO_JMX, HEALTHY, True),
    (QuorumWatch(NOW - 9, NOW - 4, "", VOTERS), NO_JMX, TWO_REFUSE, True),
    (failing(30), jmx({2: (1, 0), 1: (0, 1)}, {3: "timeout"}), HEALTHY, True),
    # 4: a killed controller, before anything can be concluded
    (failing(9), NO_JMX, ONE_REFUSES, None),
    # 4b: DescribeQuorum hangs with the controller, nobody else has said a word yet
    (failing(30), NO_JMX, HEALTHY, None),
    (failing(39), NO_JMX, ONE_REFUSES, None),
    (failing(41), NO_JMX, ONE_REFUSES, False),
    # 5: quorum lost
    (failing(9), NO_JMX, TWO_REFUSE, None),
    (failing(11), NO_JMX, TWO_REFUSE, False),
    (failing(11), jmx({1: (0, 12)}, {2: "refused", 3: "refused"}), TWO_REFUSE, False),
    (failing(11), jmx({1: (0, 12)}, {2: "timeout", 3: "timeout"}), TWO_HANG, False),
    (failing(11), jmx({1: (0, 12), 2: (0, 12)}, {3: "timeout"}), all_legs(n1=OK, n2=OK, n3=TIMEOUT), False),
    (failing(11), jmx({1: (0, 12), 2: (0, 12)}, {3: "timeout"}), all_legs(n1=OK, n2=OK), False),
    # its JMX is silent and its Kafka port is not
    (failing(11), jmx({1: (0, 12), 2: (0, 12)}, {3: "timeout"}), HEALTHY, None),
    (failing(11), jmx({1: (0, 12), 2: (0, 12), 3: (0, 12)}), HEALTHY, False),
    # a voter that has not been heard might lead
    (failing(11), jmx({1: (0, 12), 2: (0, 12)}), HEALTHY, None),
    (failing(11), jmx({1: (0, 12)}, {2: "refused", 3: "child"}), ONE_REFUSES, None),
    # metadata records still come
    (failing(50), jmx({1: (0, 1)}, {2: "refused", 3: "timeout"}), ONE_REFUSES, None),
    # it may be our own network
    (failing(100), jmx({}, {1: "timeout", 2: "timeout", 3: "timeout"}), ALL_SILENT, None),
    # cannot tell
    (QuorumWatch(None, None, "unsupported", frozenset()), NO_JMX, TWO_REFUSE, None),
    (QuorumWatch(None, None, "denied", frozenset()), jmx({1: (1, 0)}), HEALTHY, True),
    (QuorumWatch(), NO_JMX, {}, None),
])  # fmt: skip
def test_controller_alive(watched: QuorumWatch, by_jmx: Reading[Any], tried: Any, alive: bool | None) -> None:
    tried = latest_legs(tried, {}, by_jmx, VOTERS)
    assert controller_alive(watched, 5.0, by_jmx, tried, NOW) is alive


@pytest.mark.parametrize("legs_at", [NOW - 50, NOW])
def test_only_legs_tried_since_the_failure_count(legs_at: float) -> None:
    tried = {n: legs(REFUSED, legs_at) for n in VOTERS}
    assert controller_alive(failing(20), 5.0, NO_JMX, tried, NOW) is (False if legs_at == NOW else None)


@given(st.integers(1, 7), st.data())
def test_a_refusing_minority_never_proves_a_lost_quorum(size: int, data: st.DataObject) -> None:
    voters = frozenset(range(1, size + 1))
    refusing = data.draw(st.sets(st.sampled_from(sorted(voters))))
    tried = {v: legs(REFUSED if v in refusing else OK, NOW) for v in voters}
    lost = size - len(refusing) < size // 2 + 1
    alive = controller_alive(QuorumWatch(NOW - 25, NOW - 20, "", voters), 5.0, NO_JMX, tried, NOW)
    assert alive is (False if lost else None)


def test_a_deposed_controller_does_not_vouch() -> None:
    old = jmx_node(1, NOW, controller_values(1, epoch=5))
    new = jmx_node(2, NOW, controller_values(0, epoch=6, applied_lag_s=30))
    both = reading("jmx", {1: (old, NOW), 2: (new, NOW)}, interval=15.0, expected=VOTERS)
    assert not judge(
        TrustState(), cluster_at(NOW), reading("quorum", {}, {WHOLE_CLUSTER: ("timeout", NOW)}), both, NOW
    ).trust.trusted


# --- trust ---------------------------------------------------------------------------------------------------------------------------------


def judged(
    state: TrustState, quorum_at: float | None, by_jmx: Reading[Any], now: float, viewed_at: float | None = None
) -> TrustState:
    failed = {} if quorum_at == now else {WHOLE_CLUSTER: ("timeout", now)}
    parts = {WHOLE_CLUSTER: (quorum(), quorum_at)} if quorum_at is not None else {}
    return judge(
        state,
        cluster_at(viewed_at if viewed_at is not None else now),
        reading("quorum", parts, failed, at=now),
        by_jmx,
        now,
    )


def test_trust_begins_with_the_first_answer_and_not_before() -> None:
    state = judged(TrustState(), None, NO_JMX, NOW)
    assert not state.trust.trusted and not state.lost
    state = judged(state, NOW + 1, NO_JMX, NOW + 1)
    assert state.trust.trusted


@pytest.mark.parametrize(("silence", "by_jmx", "trusted"), [
    (10, NO_JMX, True),
    (11, NO_JMX, False),
    (40, jmx({1: (1, 0)}, at=NOW + 40), True),
    (40, jmx({1: (1, 0)}, at=NOW + 24), False),
    (40, jmx({1: (0, 5)}, at=NOW + 40), True),
    (40, jmx({1: (0, 5)}, at=NOW + 29), False),
    (40, jmx({1: (0, 11)}, at=NOW + 40), False),
    (40, jmx({1: (0, 40)}, {2: "refused", 3: "refused"}, at=NOW + 40), False),
])  # fmt: skip
def test_how_long_trust_lasts(silence: float, by_jmx: Reading[Any], trusted: bool) -> None:
    state = judged(TrustState(), NOW, NO_JMX, NOW)
    assert judged(state, None, by_jmx, NOW + silence).trust.trusted is trusted


def test_a_node_that_has_failed_since_vouches_no_more() -> None:
    said = jmx_node(1, NOW + 35, controller_values(1))
    since = reading("jmx", {1: (said, NOW + 35)}, {1: ("refused", NOW + 39)}, interval=15.0, expected=VOTERS)
    ours = reading("jmx", {1: (said, NOW + 35)}, {1: ("child", NOW + 39)}, interval=15.0, expected=VOTERS)
    state = judged(TrustState(), NOW, NO_JMX, NOW)
    assert not judged(state, None, since, NOW + 40).trust.trusted
    assert judged(state, None, ours, NOW + 40).trust.trusted


def test_trust_that_was_lost_settles_before_it_returns() -> None:
    state = judged(TrustState(), NOW, NO_JMX, NOW)
    state = judged(state, None, NO_JMX, NOW + 30)
    assert state.lost
    for second in range(31, 31 + int(SETTLE_S)):
        state = judged(state, NOW + second, NO_JMX, NOW + second)
        assert not state.trust.trusted, second
    state = judged(state, NOW + 46, NO_JMX, NOW + 46)
    assert state.trust.trusted and not state.lost


def test_without_a_view_nothing_is_trusted() -> None:
    state = judged(TrustState(), NOW, NO_JMX, NOW)
    assert not judged(state, NOW + 16, NO_JMX, NOW + 16, viewed_at=NOW).trust.trusted


@pytest.mark.parametrize(("answered", "kind", "mute"), [(None, "unsupported", "unsupported"), (None, "denied", "denied"), (NOW, "unsupported", ""), (NOW, "denied", "denied"), (None, "timeout", "")])  # fmt: skip
def test_what_says_nothing_about_the_controller(answered: float | None, kind: str, mute: str) -> None:
    after = watch(QuorumWatch(answered), reading("quorum", {}, {WHOLE_CLUSTER: (kind, NOW + 5)}))
    assert after.mute == mute and (after.failing_since is None) == bool(mute)


# --- legs ----------------------------------------------------------------------------------------------------------------------------------

SKIPPED = {LegName(n): Leg(LegState.SKIPPED, 0.0, NOW + 9) for n in ("tcp", "api_versions", "metadata")}


def test_skipped_tries_leave_the_last_one_standing() -> None:
    hung = latest_legs({}, {1: pulse(1, None, TIMEOUT, NOW)}, jmx({}, {1: "timeout"}), [1])
    later = latest_legs(hung, {1: type(pulse(1))(1, SKIPPED)}, jmx({}, {1: "timeout"}), [1])
    assert later is hung
    assert [hung[1][n].state for n in ("tcp", "api_versions", "metadata", "jmx")] == [
        OK,
        TIMEOUT,
        LegState.SKIPPED,
        TIMEOUT,
    ]


def test_a_node_that_was_never_tried_is_skipped() -> None:
    told = latest_legs({}, {1: type(pulse(1))(1, SKIPPED)}, NO_JMX, [1])
    assert told[1]["tcp"].state is LegState.SKIPPED


@pytest.mark.parametrize(("kind", "state"), [("refused", REFUSED), ("timeout", TIMEOUT), ("authentication", LegState.ERROR), ("wrong_node", LegState.ERROR)])  # fmt: skip
def test_jmx_leg(kind: str, state: LegState) -> None:
    assert latest_legs({}, {}, jmx({}, {1: kind}), [1])[1]["jmx"].state is state


def test_our_own_jmx_failure_leaves_the_leg_as_it_was() -> None:
    before = latest_legs({}, {}, jmx({1: (1, 0)}), [1])
    assert latest_legs(before, {}, jmx({}, {1: "child"}), [1]) is before


# --- coverage ------------------------------------------------------------------------------------------------------------------------------


def covered(readings: dict[str, Reading[Any]] | None = None, now: float = NOW, **options: Any) -> Any:
    every = {name: reading(name) for name in ("cluster", "topics", "groups", "offsets", "log_dirs", "quorum", "jmx")}
    every |= {"cluster": cluster_at(NOW)} | (readings or {})
    settings: dict[str, Any] = {
        "withdrawn": (),
        "unsupported": (),
        "legs": {},
        "pulsed_at": NOW,
        "viewed_at": NOW,
        **options,
    }
    return coverage("test", every, now=now, **settings)


def test_coverage_follows_freshness_trust_and_support() -> None:
    assert covered().covers("cluster") and covered().covers("self")
    assert not covered(now=NOW + 16).covers("cluster")
    assert not covered(withdrawn={"cluster"}).covers("cluster")
    assert covered(unsupported={"jmx"}).unsupported == {"jmx"}
    assert covered(viewed_at=NOW - 7).oldest("cluster") == NOW - 7, "legs are newer than the view"


def test_an_incomplete_coordinator_is_not_covered_by_its_older_part() -> None:
    parts = {1: ("facts", NOW), 2: ("facts", NOW - 15)}
    for kind, good in (("timeout", True), ("loading", False), ("moving", False)):
        groups = reading("groups", parts, {2: (kind, NOW)}, interval=15.0, expected={1, 2})
        assert covered({"groups": groups}).covers("groups") is good


def test_legs_are_covered_while_a_skipped_node_was_tried_lately() -> None:
    for age, good in ((59.0, True), (61.0, False)):
        tried = {1: legs(OK, NOW), 2: legs(TIMEOUT, NOW - age)}
        told = covered(legs=tried, withdrawn={"cluster"})
        assert told.covers("legs") is good and told.expected["legs"] == {1, 2}
    assert not covered(legs={1: legs(OK, NOW)}, now=NOW + 16).covers("legs")
