"""Topics that Metadata leaves out are counted once a whole count of the controller stands beside what was shown."""

from __future__ import annotations

from exporter.derive.hidden import TOPICS, HiddenTopics, fold
from exporter.jmx.facts import JmxNode
from exporter.reading import Reading
from tests.exporter.scripted import controller_values, jmx_node, reading


def counted(at: float, topics: int | None) -> Reading[JmxNode]:
    values = {**controller_values(1.0), **({} if topics is None else {TOPICS: float(topics)})}
    return reading("jmx", {1: (jmx_node(1, at, values), at)}, interval=15.0)


def after(*steps: tuple[float, int | None, int | None]) -> HiddenTopics:
    """(when the controller counted, its count, topics shown now), one second after each count."""
    state = HiddenTopics()
    for at, count, shown in steps:
        state = fold(state, counted(at, count), shown, at + 1)
    return state


def test_the_first_count_is_no_verdict_yet() -> None:
    assert after((0, 10, 7)).hidden is None


def test_what_is_missing_of_two_counts_in_a_row_is_hidden() -> None:
    assert after((0, 10, 7), (15, 10, 7)).hidden is None
    assert after((0, 10, 7), (15, 10, 7), (30, 10, 7)).hidden == 3
    assert after((0, 10, 7), (15, 10, 7), (30, 10, 8)).hidden == 2


def test_topics_that_are_made_and_deleted_between_two_looks_are_not_hidden() -> None:
    assert after((0, 10, 10), (15, 17, 10), (30, 10, 10)).hidden == 0


def test_a_topic_that_has_just_been_made_is_not_hidden() -> None:
    assert after((0, 11, 10), (15, 11, 11)).hidden == 0


def test_a_topic_that_has_just_been_deleted_is_no_topic_too_many() -> None:
    assert after((0, 9, 10), (15, 9, 9)).hidden == 0


def test_the_most_that_was_shown_between_two_counts_decides() -> None:
    assert after((0, 10, 10), (0, 10, 8), (15, 8, 8)).hidden == 0


def test_nobody_can_tell_without_a_count_or_without_trusted_metadata() -> None:
    assert after((0, 10, 7), (15, 10, 7), (30, None, 7)) == HiddenTopics()
    assert after((0, 10, 7), (15, 10, 7), (30, 10, None)) == HiddenTopics()
