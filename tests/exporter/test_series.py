"""Label sets, matchers and stale markers."""

from __future__ import annotations

import copy
import math
import pickle
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.series import NO_LABELS, STALE_NAN, Labels, Matcher, MatcherError, is_stale

PAIRS = st.dictionaries(st.sampled_from("abcdef"), st.text(max_size=3), max_size=5)


@given(PAIRS, PAIRS)
def test_equal_label_sets_are_one_object(one: dict[str, str], other: dict[str, str]) -> None:
    first, second = Labels.of(one), Labels.of(reversed(other.items()))
    without_empty = {name: value for name, value in one.items() if value}
    assert first == without_empty and dict(first) == without_empty
    assert (first is second) == (dict(first) == dict(second)) == (first == second)
    assert pickle.loads(pickle.dumps(first)) is first and copy.deepcopy(first) is first


def test_without_labels() -> None:
    assert Labels.of({"a": ""}) is Labels.of() is NO_LABELS and NO_LABELS.name == ""


def test_text_and_order() -> None:
    labels = Labels.of({"__name__": "up", "job": 'a"\n\\'})
    assert str(labels) == 'up{job="a\\"\\n\\\\"}'
    assert "job" in labels and "nope" not in labels and labels.get("nope", "") == "" and labels.name == "up"
    assert sorted([Labels.of({"a": "2"}), Labels.of({"a": "1"})]) == [{"a": "1"}, {"a": "2"}]


def test_threads_make_one_object() -> None:
    made: list[list[Labels]] = []
    start = threading.Barrier(4)

    def work() -> None:
        start.wait()
        made.append([Labels.of({"thread": str(i), "shape": "x"}) for i in range(2000)])

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(labels) for row in made for labels in row}) == 2000


def test_only_the_marker_s_bits_are_stale() -> None:
    assert is_stale(np.array([STALE_NAN, math.nan, 1.0, math.inf])).tolist() == [True, False, False, False]
    assert is_stale(np.array([STALE_NAN, 1.0, STALE_NAN, 1.0])[::2]).all()


@pytest.mark.parametrize(
    ("op", "value", "matching", "other"),
    [
        ("=", "a", "a", "b"),
        ("!=", "a", "", "a"),
        ("=~", "a|b", "b", "ab"),
        ("=~", "a.", "a\n", "xa."),
        ("=~", "", "", "a"),
        ("!~", "a.*", "ba", "ab"),
        ("=~", r"\d", "1", "١"),
        ("=~", "(?i)kafka", "KAFKA", "kafk"),
        ("=~", "(?i)a|b", "B", "ab"),
        ("=~", "(a(?i)b|c)d", "Cd", "Abd"),
        ("=~", "(a(?i)b|c)d|e", "e", "E"),
        ("=~", "a((?i)b)c", "aBc", "abC"),
        ("=~", "(?i)x(?-i)y|[(?i)z]", "Xy", "Z"),
        ("=~", "x(?-s).", "xx", "x\n"),
        ("=~", r"\(\?=x", "(?=x", "x"),
        ("=~", "[]a]+", "]a", "b"),
    ],
)
def test_matchers(op: str, value: str, matching: str, other: str) -> None:
    matcher = Matcher("l", op, value)
    assert matcher.matches(matching) and not matcher.matches(other)


@pytest.mark.parametrize(
    "pattern",
    ["(", "a(?=b)", "(?<!a)b", r"(a)\1", "[[:alpha:]]", "a++", r"\pL", r"a\z", "(?x) a", "*", "(?P=x)", "(?>a)"],
)
def test_what_python_reads_otherwise_is_refused(pattern: str) -> None:
    with pytest.raises(MatcherError) as refused:
        Matcher("l", "=~", pattern)
    assert refused.value.pattern == pattern


def test_an_unknown_operator_is_refused() -> None:
    with pytest.raises(MatcherError, match="operator"):
        Matcher("l", "==", "a")
