"""Whatever is appended, vanishes, is saved and is loaded: the history answers as a plain list of samples per series would."""

from __future__ import annotations

import struct
import tempfile
from itertools import dropwhile
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.blocks import Block, LabelSets
from exporter.history import History
from exporter.history.history import SLACK_S
from exporter.history.narrow import ABSENT
from exporter.series import STALE_NAN, Labels, Matcher

FAMILIES = ("kafka_a", "kafka_b")
CLUSTERS = ("east", "west")
BROKERS = ("1", "2", "3", "10", "11")
RETENTION_MS = 600_000
KEPT_MS = RETENTION_MS + round(SLACK_S * 1000)
STEPS_MS = (1, 1_000, 15_000, 15_000, 15_000, 15_000, 60_000, 200_000, 700_000, 0, -10_000, -400_000)
MATCHERS = (
    Matcher("broker", "=", "1"),
    Matcher("broker", "!=", "1"),
    Matcher("broker", "=~", "1.*"),
    Matcher("cluster", "=", "east"),
    Matcher("cluster", "!~", "e.*"),
    Matcher("zone", "=", ""),
)

Row = dict[str, float]


def bits(value: float) -> bytes:
    return struct.pack("<d", value)


STALE = bits(STALE_NAN)
NOTHING = ABSENT.tobytes()


class Model:
    """One family of one cluster: every moment with the sample of each broker."""

    def __init__(self) -> None:
        self.moments: list[tuple[int, dict[str, bytes]]] = []

    def append(self, at: int, samples: Row) -> None:
        if self.moments and at < self.moments[-1][0] - 300_000:
            self.forget_from(at)
        if self.moments and self.moments[-1][0] < at - KEPT_MS:
            self.moments = []
        last, before = self.moments[-1] if self.moments else (at - 1, {})
        if at < last:
            return
        given = {broker: bits(value) for broker, value in samples.items()}
        if at == last:
            before.update({broker: value for broker, value in given.items() if broker not in before})
            return
        ended = {broker: STALE for broker, value in before.items() if value != STALE}
        if ended | given:
            self.moments.append((at, ended | given))

    def forget_from(self, at: int) -> None:
        self.moments = [moment for moment in self.moments if moment[0] < at]

    def interrupt(self, now: int, kept_from: int) -> None:
        self.forget_from(now + 1)
        if self.moments and self.moments[-1][0] >= kept_from:
            self.append(self.moments[-1][0] + 1, {})

    def series(self, broker: str) -> list[tuple[int, bytes]]:
        return [(t, row[broker]) for t, row in self.moments if broker in row]


@st.composite
def rows(draw: st.DrawFn) -> Row:
    brokers = draw(st.lists(st.sampled_from(BROKERS), unique=True))
    numbers = st.sampled_from([0.0, -0.0, 1.0, 1.0, 1.0, float("nan"), float("inf"), 1e300, 2.0**53 + 2])
    return {broker: draw(numbers) for broker in brokers}


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(
            st.just("append"),
            st.sampled_from(CLUSTERS),
            st.dictionaries(st.sampled_from(FAMILIES), rows(), max_size=2),
            st.sampled_from(STEPS_MS),
            st.booleans(),
        ),
        st.tuples(st.just("reload"), st.just(""), st.just({}), st.sampled_from(STEPS_MS), st.just(False)),
    ),
    max_size=40,
)


@settings(max_examples=300, deadline=None)
@given(
    OPERATIONS, st.lists(st.sampled_from(MATCHERS), max_size=2), st.integers(-400_000, 10_000), st.integers(1, 400_000)
)
def test_answers_as_a_plain_list_would(
    operations: list[tuple[str, str, dict[str, Row], int, bool]], matchers: list[Matcher], ago: int, window: int
) -> None:
    history = kept()
    models = {(family, cluster): Model() for family in FAMILIES for cluster in CLUSTERS}
    sets: dict[tuple[str, ...], LabelSets] = {}
    at = newest = 10_000_000
    for what, cluster, families, step, speaks in operations:
        at += step
        newest = max(newest, at)
        if what == "reload":
            history = reloaded(history, at)
            for model in models.values():
                model.interrupt(at, at - KEPT_MS)
            continue
        blocks = [
            Block(
                f,
                sets.setdefault(tuple(row), LabelSets(("broker",), [(b,) for b in row])),
                np.array(list(row.values())),
            )
            for f, row in families.items()
        ]
        history.append(cluster, blocks, at, speaks_for=FAMILIES if speaks else ())
        for family in FAMILIES if speaks else families:
            models[family, cluster].append(at, families.get(family, {}))
    compare_ranges(history, models, matchers, newest - RETENTION_MS, newest)
    assert history.stats().samples == sum(len(chunk_row) for chunk_row in kept_rows(history))
    end = newest + ago
    compare_latest(history, models, matchers, end, min(window, end - (newest - RETENTION_MS)))


def kept() -> History:
    history = History()
    history.keep(dict.fromkeys(FAMILIES, RETENTION_MS / 1000))
    return history


def kept_rows(history: History) -> list[list[bytes]]:
    """Every cell of every row that the history holds, counted the slow way."""
    return [
        [value for value in row if value != NOTHING]
        for tables in history._tables.values()
        for table in tables.values()
        for chunk in table.chunks
        for row in ([cell.tobytes() for cell in chunk.row(place)] for place in chunk.place[: chunk.rows].tolist())
    ]


def reloaded(history: History, at: int) -> History:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "history"
        history.save(path)
        again = kept()
        assert again.load(path, at / 1000).warning is None
    return again


def expected(
    models: dict[tuple[str, str], Model], family: str, matchers: list[Matcher]
) -> dict[Labels, list[tuple[int, bytes]]]:
    found = {}
    for (name, cluster), model in models.items():
        for broker in BROKERS:
            labels = Labels.of({"__name__": name, "cluster": cluster, "broker": broker})
            if name == family and all(m.matches(labels.get(m.name, "")) for m in matchers):
                found[labels] = model.series(broker)
    return found


def from_first_sample(series: list[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    """A marker that ends what has grown too old to be kept says nothing, and may be kept or not."""
    return list(dropwhile(lambda one: one[1] == STALE, series))


def compare_ranges(
    history: History, models: dict[tuple[str, str], Model], matchers: list[Matcher], start: int, end: int
) -> None:
    for family in FAMILIES:
        want = {
            labels: cut
            for labels, series in expected(models, family, matchers).items()
            if (cut := from_first_sample([(t, v) for t, v in series if start <= t <= end]))
        }
        answer = history.select([Matcher("__name__", "=", family), *matchers], start, end)
        read = {s.labels: list(zip(s.timestamps.tolist(), map(bits, s.values.tolist()), strict=True)) for s in answer}
        assert len(read) == len(answer)
        got = {labels: cut for labels, series in read.items() if (cut := from_first_sample(series))}
        assert got == want


def compare_latest(
    history: History, models: dict[tuple[str, str], Model], matchers: list[Matcher], at: int, lookback: int
) -> None:
    for family in FAMILIES:
        want = {}
        for labels, series in expected(models, family, matchers).items():
            inside = [(t, v) for t, v in series if at - lookback < t <= at]
            if inside and inside[-1][1] != STALE:
                want[labels] = inside[-1]
        labels_, values, times = history.select_latest([Matcher("__name__", "=", family), *matchers], at, lookback)
        got = dict(zip(labels_, zip(times.tolist(), map(bits, values.tolist()), strict=True), strict=True))
        assert len(got) == len(labels_)
        assert got == want
