"""Narrow rows give back every bit they were made of."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from exporter.history.narrow import ABSENT, STALE, Narrow

WHOLE = st.integers(-(2**53) + 1, 2**53 - 1).map(float)
NEAR = st.integers(10**9, 10**9 + 70_000).map(float)
MARKERS = st.sampled_from([ABSENT, STALE]).map(lambda bits: float(np.uint64(bits).view(np.float64)))
ANY = st.floats(allow_nan=True, allow_infinity=True)


def matrices(*elements: st.SearchStrategy[float]) -> st.SearchStrategy[np.ndarray]:
    shapes = st.tuples(st.integers(1, 6), st.integers(1, 6))
    bits = st.one_of(*elements).map(lambda value: int(np.float64(value).view(np.uint64)))
    return shapes.flatmap(lambda shape: arrays(np.uint64, shape, elements=bits))


@given(st.one_of(matrices(NEAR, MARKERS), matrices(WHOLE, MARKERS), matrices(NEAR, MARKERS, ANY)))
def test_every_bit_comes_back(bits: np.ndarray) -> None:
    narrow = Narrow.of(bits)
    if narrow is not None:
        rows, columns = np.arange(len(bits)), np.arange(bits.shape[1])
        assert np.array_equal(narrow.take(rows), bits)
        assert np.array_equal(narrow.take(rows[::-1], columns[::2]), bits[::-1, ::2])
        assert np.array_equal(narrow.some(columns[1:]).take(rows), bits[:, 1:])


@pytest.mark.parametrize(
    ("values", "bytes_each"), [([7, 7, 260], 1), ([10**12, 10**12 + 65_533], 2), ([-5, 4_000_000_000], 4)]
)
def test_whole_numbers_take_what_their_way_needs(values: list[float], bytes_each: int) -> None:
    bits = np.array(values, dtype=np.float64).view(np.uint64).reshape(-1, 1)
    narrow = Narrow.of(bits)
    assert narrow is not None
    assert narrow.nbytes == 8 + bytes_each * len(values)


@pytest.mark.parametrize("value", [0.5, -0.0, 2.0**53, float("inf"), float("nan")])
def test_what_is_no_whole_number_stays_as_it_is(value: float) -> None:
    assert Narrow.of(np.array([[1.0], [value]]).view(np.uint64)) is None


def test_a_way_too_long_stays_as_it_is() -> None:
    assert Narrow.of(np.array([[0.0], [2.0**32]]).view(np.uint64)) is None
