"""The fast writer prints what prometheus-client prints, byte for byte."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, UnknownMetricFamily
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics_latest
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from exporter.blocks import NO_LABELS, Block, LabelSets
from exporter.metrics import writer
from exporter.metrics.catalogue import MetricRow, MetricType, Owner
from exporter.metrics.writer import Writer, WriterError, go_numbers, header, openmetrics_header

NASTY = st.text(
    st.one_of(st.sampled_from('\\\n"%{}=, \r\t\x00 é漢😀'), st.characters(exclude_categories=["Cs"])), max_size=8
)
NAMES = st.lists(st.sampled_from(["topic", "partition", "aa", "zz", "Broker", "_x"]), unique=True, max_size=4)
FLOATS = st.one_of(
    st.floats(),
    st.integers(-(2**63), 2**63 - 1).map(float),
    st.integers(0, 10**17).map(float),
    st.sampled_from([0.0, -0.0, 999999.0, 999999.5, 1e6, 1000000.5, 1e15, 2.0**53, 2.0**53 - 1, 1e16, 1.5e16, -1e7]),
    st.builds(lambda d, e: float(d * 10**e), st.integers(1, 9999), st.integers(0, 18)),
    st.builds(
        lambda k, towards: float(np.nextafter(k / 1000, towards)),
        st.integers(-1, 10**16),
        st.sampled_from([-np.inf, np.inf]),
    ),
    st.integers(0, 10**16).map(lambda k: k / 1000),
)

IN_BULK = writer._FEW + 1
"""So many copies of some numbers are not printed one by one."""


def go_string(number: float) -> str:
    return str(floatToGoString(number))  # type: ignore[no-untyped-call]


class One(Collector):
    def __init__(self, metric: Metric) -> None:
        self._metric = metric

    def collect(self) -> Iterable[Metric]:
        return [self._metric]


def by_client(
    row: MetricRow,
    cluster: str | None,
    names: tuple[str, ...],
    samples: list[tuple[tuple[str, ...], float]],
    printed: Callable[[CollectorRegistry], bytes] = generate_latest,
) -> bytes:
    constant = () if cluster is None else (cluster,)
    all_names = (*names, *(("cluster",) if constant else ()))
    kind = (
        GaugeMetricFamily
        if row.type is MetricType.GAUGE
        else CounterMetricFamily
        if row.name.endswith("_total")
        else UnknownMetricFamily
    )
    family = kind(row.name, row.help, labels=all_names, unit=row.unit)
    for values, number in samples:
        family.add_metric((*values, *constant), number)
    registry = CollectorRegistry()
    registry.register(One(family))
    return printed(registry)


Drawn = tuple[MetricRow, str | None, Block, list[tuple[tuple[str, ...], float]]]


@st.composite
def drawn(draw: st.DrawFn, *, names: st.SearchStrategy[str]) -> Drawn:
    """A family with a cluster and samples."""
    labels = tuple(draw(NAMES))
    name = draw(names)
    kind = MetricType.COUNTER if name.endswith(("_total", "_count")) else MetricType.GAUGE
    unit = "seconds" if "_seconds" in name else ""
    row = MetricRow(name, draw(NASTY), kind, labels, (Owner.TOPICS,), unit)
    cluster = draw(st.none() | NASTY)
    rows = draw(st.lists(st.tuples(*[NASTY] * len(labels)), max_size=12))
    numbers: list[float]
    if draw(st.booleans()):
        numbers = list(draw(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=len(rows), max_size=len(rows))))
        values = np.array(numbers, dtype=np.int64)
    else:
        numbers = draw(st.lists(FLOATS, min_size=len(rows), max_size=len(rows)))
        values = np.array(numbers, dtype=np.float64)
    return row, cluster, Block(row.name, LabelSets(labels, rows), values), list(zip(rows, numbers, strict=True))


def quoted(name: str) -> Drawn:
    """Everything that is escaped, in the help and in a label."""
    nasty = 'a "quoted" \\ line\nbreak'
    row = MetricRow(name, nasty, MetricType.GAUGE, ("topic",), (Owner.TOPICS,))
    return row, nasty, Block(name, LabelSets(("topic",), [(nasty,)]), np.array([1])), [((nasty,), 1)]


@given(drawn(names=st.sampled_from(["kafka_x", "kafka_x_total"])))
@example(quoted("kafka_x"))
def test_same_bytes_as_prometheus_client(one: Drawn) -> None:
    row, cluster, block, samples = one
    ours = header(row) + b"".join(Writer().render(row, cluster, block))
    assert ours == by_client(row, cluster, row.labels, samples)


IN_OPENMETRICS = ["kafka_x", "kafka_x_total", "kafka_x_count", "kafka_x_seconds", "kafka_x_seconds_total"]


@given(drawn(names=st.sampled_from(IN_OPENMETRICS)))
@example(quoted("kafka_x"))
def test_same_bytes_as_prometheus_client_in_openmetrics(one: Drawn) -> None:
    row, cluster, block, samples = one
    ours = openmetrics_header(row) + b"".join(Writer().render(row, cluster, block)) + b"# EOF\n"
    assert ours == by_client(row, cluster, row.labels, samples, openmetrics_latest)


def test_a_unit_that_the_name_does_not_end_with_is_not_told() -> None:
    row = MetricRow("kafka_timems", "Help.", MetricType.GAUGE, (), (Owner.JMX,), "milliseconds")
    assert b"UNIT" not in openmetrics_header(row)


@given(st.lists(FLOATS, max_size=50))
@example([float(10**e + d) for e in range(17) for d in (-1, 0, 1)])
@example([(10**e + d) / 1000 for e in range(17) for d in (-1, 0, 1)])
def test_numbers_as_go_prints_them(numbers: list[float]) -> None:
    assert go_numbers(np.array(numbers, dtype=np.float64)) == [go_string(n) for n in numbers]
    many = numbers * IN_BULK
    assert go_numbers(np.array(many, dtype=np.float64)) == [go_string(n) for n in numbers] * IN_BULK


@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=50))
def test_whole_numbers_are_printed_as_floats(numbers: list[int]) -> None:
    assert go_numbers(np.array(numbers, dtype=np.int64)) == [go_string(n) for n in numbers]
    many = numbers * IN_BULK
    assert go_numbers(np.array(many, dtype=np.int64)) == [go_string(n) for n in numbers] * IN_BULK


ROW = MetricRow("kafka_x", "Help.", MetricType.GAUGE, ("topic",), (Owner.TOPICS,))


def test_large_blocks_come_in_chunks_that_join_to_the_same_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "LINES_PER_CHUNK", 3)
    monkeypatch.setattr(writer, "_SLICE", 2)
    labels = LabelSets(("topic",), [(f"t{i}",) for i in range(7)])
    chunks = list(Writer().render(ROW, "c", Block("kafka_x", labels, np.arange(7))))
    assert [c.count(b"\n") for c in chunks] == [3, 3, 1]
    expected = "".join(f'kafka_x{{cluster="c",topic="t{i}"}} {i}.0\n' for i in range(7))
    assert b"".join(chunks).decode() == expected


def test_labels_are_laid_out_once_per_label_sets_and_forgotten_with_them() -> None:
    read = 0

    class Counted(list[tuple[str, ...]]):
        def __iter__(self):  # type: ignore[no-untyped-def]
            nonlocal read
            read += 1
            return super().__iter__()

    made = Writer()
    labels = LabelSets(("topic",), Counted([("a",), ("b",)]))
    other = MetricRow("kafka_y", "Help.", MetricType.GAUGE, ("topic",), (Owner.TOPICS,))
    for number in range(3):
        made.render(ROW, "c", Block("kafka_x", labels, np.array([number, 0])))
        made.render(other, "c", Block("kafka_y", labels, np.array([number, 0])))
    assert read == 1
    assert len(made._templates) == 1
    del labels
    gc.collect()
    assert len(made._templates) == 0


@given(drawn(names=st.just("kafka_x")), st.data())
@example(quoted("kafka_x"), None)
def test_some_label_sets_are_chosen_from_lines_that_are_laid_out(one: Drawn, data: st.DataObject | None) -> None:
    """The same bytes as without those lines, whatever the labels hold."""
    row, cluster, block, samples = one
    count = len(samples)
    chosen = data.draw(st.lists(st.booleans(), min_size=count, max_size=count)) if data else [True] * count
    mask = np.array(chosen, dtype=bool)
    some = block.labels.where(mask)
    assert list(some.rows) == [labels for (labels, _), wanted in zip(samples, chosen, strict=True) if wanted]
    made = Writer()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer, "LINES_PER_CHUNK", 3)
        directly = list(made.render(row, cluster, Block(row.name, some, block.values[mask])))
        made = Writer()
        made.render(row, cluster, block)
        if count:
            patch.setattr(writer, "_templates", None)
        assert list(made.render(row, cluster, Block(row.name, some, block.values[mask]))) == directly


def test_no_sample_no_line() -> None:
    empty = Block("kafka_x", LabelSets(("topic",), []), np.array([], dtype=np.int64))
    assert list(Writer().render(ROW, "c", empty)) == []


def test_a_name_that_is_no_utf8_costs_its_own_label() -> None:
    labels = LabelSets(("topic",), [("a\udc80",), ("b",)])
    chunks = list(Writer().render(ROW, None, Block("kafka_x", labels, np.array([1, 2]))))
    assert chunks == [b'kafka_x{topic="a?"} 1.0\nkafka_x{topic="b"} 2.0\n']


@pytest.mark.parametrize(
    ("block", "said"),
    [
        (Block("kafka_y", NO_LABELS, np.array([1])), "kafka_y: rendered as kafka_x"),
        (Block("kafka_x", NO_LABELS, np.array([1])), r"has labels \(\); the catalogue says \(topic\)"),
        (Block("kafka_x", LabelSets(("topic",), [("a",)]), np.array([1, 2])), r"has \(2,\) values for 1 label sets"),
    ],
)
def test_a_block_that_does_not_fit_its_row_is_refused(block: Block, said: str) -> None:
    with pytest.raises(WriterError, match=said):
        Writer().render(ROW, "c", block)
