"""A node that times out is tried after growing pauses, one that answers or refuses at once."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from exporter.kafka.breaker import PAUSES, Breaker


def tries(breaker: Breaker, seconds: int, begun: int = 0) -> list[int]:
    """At which seconds a node that always times out is tried, when it is asked for each second."""
    tried = []
    for now in range(begun, begun + seconds):
        if breaker.allows(now):
            tried.append(now)
            breaker.timed_out(now)
    return tried


def test_pauses_grow_up_to_half_a_minute() -> None:
    tried = tries(Breaker(), 300)
    pauses = [b - a for a, b in itertools.pairwise(tried)]
    assert pauses[:4] == [5, 10, 20, 30]
    assert set(pauses[4:]) == {30}


def test_only_an_answer_closes_it() -> None:
    breaker = Breaker()
    assert breaker.closed
    breaker.timed_out(100.0)
    assert not breaker.closed
    assert breaker.allows(200.0)
    assert not breaker.closed, "that the time has come is no answer yet"
    breaker.answered()
    assert breaker.closed
    assert breaker.allows(0.0)


def test_after_an_answer_pauses_begin_anew() -> None:
    breaker = Breaker()
    tries(breaker, 200)
    breaker.answered()
    assert tries(breaker, 20, begun=1000) == [1000, 1005, 1015]


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 60)), max_size=40))
def test_it_never_waits_longer_than_the_longest_pause(steps: list[tuple[bool, float]]) -> None:
    breaker, now = Breaker(), 0.0
    for answers, passed in steps:
        now += passed
        if breaker.allows(now):
            breaker.answered() if answers else breaker.timed_out(now)
        assert breaker.allows(now + PAUSES[-1])
