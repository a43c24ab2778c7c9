"""Why a broker left: the count, what came first, its own last state, and when nobody can tell."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.derive.departures import Departures, Sight, fold
from exporter.facts.cluster import LegState
from exporter.reading import Part
from tests.exporter.scripted import controller_values, jmx_node, legs, node

NOW = 1000.0
EVERYBODY = (1, 2, 3, 4, 5)


def sight(at: float, *away: int, refused: Any = (), hung: Any = (), leaders: Any = EVERYBODY) -> Sight:
    """A trusted view with these brokers fenced, and how the legs of all were last tried."""
    states = {
        **dict.fromkeys(EVERYBODY, LegState.OK),
        **dict.fromkeys(refused, LegState.REFUSED),
        **dict.fromkeys(hung, LegState.TIMEOUT),
    }
    brokers = [node(i, fenced=i in away) for i in EVERYBODY]
    return Sight(at, brokers, {n: legs(s, at) for n, s in states.items()}, frozenset(leaders) - set(away))


def count(
    at: float, value: float | None, *, active: float = 1, states: dict[int, int] | None = None, **options: Any
) -> dict[int, Part[Any]]:
    """The answer of a controller-only node 9, and of brokers in these BrokerStates."""
    told = {
        9: Part(jmx_node(9, at, controller_values(active, controlled=value), state=None, seconds=0.0, **options), at)
    }
    return told | {n: Part(jmx_node(n, at, {}, state=s, seconds=0.0), at) for n, s in (states or {}).items()}


@pytest.fixture
def before() -> Departures:
    """All are up and answer, and the count is 0."""
    return fold(Departures(), sight(NOW), count(NOW + 2, 0))


def test_the_count_rose(before: Departures) -> None:
    assert fold(before, sight(NOW + 5, 2, refused=[2]), count(NOW + 7, 1)).verdicts == {2: True}


@pytest.mark.parametrize("how", [{"refused": [2]}, {"hung": [2]}])
def test_silent_first_is_a_crash(before: Departures, how: Any) -> None:
    state = fold(before, sight(NOW + 5, **how), {})
    assert fold(state, sight(NOW + 10, 2, **how), count(NOW + 12, 0)).verdicts == {2: False}


def test_a_broker_that_led_and_was_not_counted_crashed(before: Departures) -> None:
    """Its silence was not seen, as when polls are far apart."""
    assert fold(before, sight(NOW + 15, 2, refused=[2]), count(NOW + 17, 0)).verdicts == {2: False}


def test_a_broker_that_led_nothing_is_never_counted() -> None:
    state = fold(Departures(), sight(NOW, leaders=(1, 3)), count(NOW + 2, 0))
    state = fold(state, sight(NOW + 5, 2, leaders=(1, 3)), count(NOW + 7, 0))
    assert not state.verdicts, "fenced, and its port still answers: it may have lost only its controller"
    assert fold(state, sight(NOW + 10, 2, refused=[2], leaders=(1, 3)), count(NOW + 12, 0)).verdicts == {2: True}


def test_an_uncounted_departure_does_not_hide_the_next(before: Departures) -> None:
    state = fold(Departures(), sight(NOW, leaders=(1, 3)), count(NOW + 2, 0))
    state = fold(state, sight(NOW + 5, 2, refused=[2], leaders=(1, 3)), count(NOW + 7, 0))
    state = fold(state, sight(NOW + 35, 2, refused=[2], leaders=(1, 3)), count(NOW + 37, 0))
    state = fold(state, sight(NOW + 40, 2, 3, refused=[2, 3], leaders=(1, 3)), count(NOW + 42, 1))
    assert state.verdicts == {2: True, 3: True}


def test_without_history_the_count_alone_decides() -> None:
    for value, verdicts in ((2, {2: True, 3: True}), (0, {2: False, 3: False}), (1, {})):
        assert fold(Departures(), sight(NOW, 2, 3, refused=[2, 3]), count(NOW + 2, value)).verdicts == verdicts


def test_nobody_knows_why_a_broker_left_that_led_nothing_and_was_not_watched_closely() -> None:
    state = fold(Departures(), sight(NOW, leaders=()), count(NOW + 2, 0))
    assert not fold(state, sight(NOW + 15, 2, refused=[2], leaders=()), count(NOW + 17, 0)).verdicts


def test_an_answer_from_before_the_departure_does_not_count(before: Departures) -> None:
    state = fold(before, sight(NOW + 15, 2, refused=[2]), count(NOW + 15.5, 0))
    assert not state.verdicts
    assert fold(state, sight(NOW + 15, 2, refused=[2]), count(NOW + 17, 0)).verdicts == {2: False}


def test_a_broker_in_controlled_shutdown_is_not_taken_for_the_one_that_crashed() -> None:
    state = fold(Departures(), sight(NOW, 2), count(NOW + 2, 1, registrations={4: 20.0}))
    assert state.verdicts == {2: False}
    state = fold(Departures(), sight(NOW, 2), count(NOW + 2, 1, registrations={2: 20.0}))
    assert state.verdicts == {2: True}, "the bean of the one that left may be a moment old"


def test_a_lagging_controller_is_not_asked() -> None:
    lagging = {1: Part(jmx_node(1, NOW + 2, controller_values(0, applied_lag_s=30)), NOW + 2)}
    assert not fold(Departures(), sight(NOW, 2), lagging).verdicts


def test_untrusted_metadata_moves_nobody(before: Departures) -> None:
    state = fold(before, sight(NOW + 5, 2, refused=[2]), count(NOW + 7, 1))
    assert fold(state, None, count(NOW + 20, 0)).verdicts == {2: True}


def test_a_broker_that_starts_again_makes_the_count_ambiguous(before: Departures) -> None:
    state = fold(before, sight(NOW + 5, 2, refused=[2]), count(NOW + 7, 1))
    both = sight(NOW + 25, 2, 3, refused=[3])
    unclear = fold(state, both, count(NOW + 27, 1, states={2: 1}))
    assert unclear.verdicts == {2: True}, "3 stopped and 2 has registered, or 2 has not and 3 crashed"
    assert fold(state, both, count(NOW + 27, 0, states={2: 1})).verdicts == {2: True, 3: False}


def test_before_4_0_what_came_first_tells() -> None:
    state = fold(Departures(), sight(NOW), count(NOW + 2, None))
    clean = fold(state, sight(NOW + 5, 2, refused=[2]), {})
    assert clean.verdicts == {2: True}
    crashed = fold(fold(state, sight(NOW + 5, refused=[2]), {}), sight(NOW + 10, 2, refused=[2]), {})
    assert crashed.verdicts == {2: False}
    assert not fold(state, sight(NOW + 15, 2, refused=[2]), {}).verdicts
    stopping = fold(state, sight(NOW + 5), count(NOW + 6, None, states={2: 6}))
    assert fold(stopping, sight(NOW + 20, 2, refused=[2]), {}).verdicts == {2: True}
    again = fold(stopping, sight(NOW + 10), count(NOW + 11, None, states={2: 3}))
    assert not fold(again, sight(NOW + 30, 2, refused=[2]), {}).verdicts, "it runs again: that was another stop"


@given(st.lists(st.tuples(st.integers(1, 5), st.sampled_from(["controlled", "uncounted", "crash"])), max_size=14))
def test_one_at_a_time_is_always_told(moves: list[tuple[int, str]]) -> None:
    """Brokers leave and return one by one while the controllers' count is right; each is told, whatever was before it."""
    away: dict[int, str] = {}
    now, state = NOW, fold(Departures(), sight(NOW), count(NOW + 2, 0))
    for broker, how in moves:
        now += 30
        if broker in away:
            del away[broker]
        else:
            if how == "crash":
                state = fold(state, sight(now, *away, refused=[*away, broker]), {})
                now += 10
            else:
                state = fold(state, sight(now, *away, refused=list(away)), {})
                now += 5
            away[broker] = how
        counted = sum(h == "controlled" for h in away.values())
        state = fold(state, sight(now, *away, refused=list(away)), count(now + 2, counted))
        assert state.verdicts == {b: h != "crash" for b, h in away.items()} and not state.pending
