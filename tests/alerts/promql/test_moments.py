"""Subqueries, ``@``, dates and classic histograms by the facts of Prometheus 3.x."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.promql.dates import PARTS
from alerts.promql.errors import PromqlEvaluationError
from alerts.promql.evaluate import Evaluator, evaluate, evaluate_range
from alerts.promql.histograms import bucket_fraction, bucket_quantile
from alerts.promql.parse import parse
from alerts.promql.store import MemoryStore
from alerts.promql.values import Matrix, Scalar, Vector
from exporter.series import Labels, Matcher, Series

MINUTES = MemoryStore()
MINUTES.add({"__name__": "x", "a": "1"}, [(60.0 * i, float(i)) for i in range(11)])


def number(text: str, at: float = 600) -> float:
    value = evaluate(parse(text), at, MINUTES)
    if isinstance(value, Scalar):
        return value.value
    assert isinstance(value, Vector) and len(value) == 1, value
    return value.samples[0].value


# --- subqueries -------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "times"),
    [
        ("x[3m:1m]", [480, 540, 600]),
        ("x[3m:1m] offset 30s", [420, 480, 540]),
        ("x[100s:40s]", [520, 560, 600]),
        ("x[2m:]", [540, 600]),
        ("x[2m:1m] @ 90", [0, 60]),
        ("x[2m:1m] @ 90 offset -60", [60, 120]),
        ("(x > 8)[5m:1m]", [540, 600]),
        ("x[10s:1m]", [600]),
        ("x[30s:1m] offset 10s", []),
    ],
)
def test_steps_are_multiples_of_the_resolution_inside_the_window(text: str, times: list[int]) -> None:
    value = evaluate(parse(text), 600, MINUTES)
    assert isinstance(value, Matrix)
    assert [at / 1000 for one in value.series for at in one.timestamps.tolist()] == times


def test_a_subquery_keeps_or_loses_the_name_as_its_operand_does() -> None:
    for text, name in (("last_over_time(x[5m:1m])", "x"), ("last_over_time((x + 1)[5m:1m])", "")):
        (sample,) = evaluate(parse(text), 600, MINUTES)  # type: ignore[misc]
        assert sample.labels.name == name


def test_rate_of_a_subquery_extrapolates_to_the_subquery_s_window() -> None:
    assert number("increase(x[5m:1m])") == number("increase(x[5m])") == 5
    assert number("max_over_time(rate(x[2m])[5m:1m])") == pytest.approx(1 / 60)
    assert number("sum_over_time(count_over_time(x[2m:30s])[3m:1m])") == 12


def test_series_that_come_and_go_inside_a_subquery() -> None:
    on = MemoryStore()
    on.add({"__name__": "x", "a": "1"}, [(0, 1.0)])
    on.add({"__name__": "x", "a": "2"}, [(240, 2.0), (480, 3.0)])
    (value,) = (evaluate(parse("count_over_time(x[10m:1m])"), 600, on),)
    assert isinstance(value, Vector)
    assert {one["a"]: v for one, v in value.by_labels().items()} == {"1": 4, "2": 7}


class CountingStore(MemoryStore):
    """Counts what is read."""

    reads = 0

    def select(self, matchers: Sequence[Matcher], start_ms: int, end_ms: int) -> list[Series]:
        self.reads += 1
        return super().select(matchers, start_ms, end_ms)


def test_a_range_evaluates_each_step_of_a_subquery_once_and_reads_once() -> None:
    on = CountingStore(MINUTES.series)
    expr = parse("sum_over_time(x[4m:1m])")
    (series,) = evaluate_range(expr, 240, 600, 60, on)
    assert on.reads == 1
    assert series.values.tolist() == [number("sum_over_time(x[4m:1m])", at) for at in range(240, 601, 60)]


def test_a_kept_evaluator_knows_a_subquery_s_series_again() -> None:
    kept = Evaluator(MINUTES)
    for at in range(60, 660, 30):
        fresh, again = (
            evaluate(parse("sum_over_time((x > 3)[3m:1m])"), at, MINUTES),
            kept.evaluate(parse("sum_over_time((x > 3)[3m:1m])"), at),
        )
        assert isinstance(fresh, Vector) and isinstance(again, Vector)
        assert fresh.by_labels() == again.by_labels()


def test_an_error_inside_a_subquery_is_the_query_s() -> None:
    on = MemoryStore()
    for name in ("x", "y"):
        on.add({"__name__": name}, [(0, 1.0)])
    with pytest.raises(PromqlEvaluationError, match="same labelset"):
        evaluate(parse('sum_over_time((-{__name__=~"x|y"})[1m:1m])'), 0, on)


# --- @ ----------------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("x @ 120", 2),
        ("x @ 120 offset 1m", 1),
        ("x offset -1m @ 120", 3),
        ("x @ end()", 10),
        ("sum_over_time(x[2m] @ 120)", 3),
        ("timestamp(x @ 150)", 120),
        ("timestamp((x @ 150) + 0)", 600),
        ("sum_over_time((x @ 120)[3m:1m])", 6),
        ("sum_over_time((x @ end())[3m:1m] offset 5m)", 30),
        ("predict_linear(x[3m] @ 300, 60)", 11),
    ],
)
def test_at_sets_the_moment_before_the_offset(text: str, result: float) -> None:
    assert number(text) == pytest.approx(result)


def test_edges_of_a_range_are_those_of_the_whole_query() -> None:
    for text, wanted in (("x @ start()", 2), ("x @ end()", 4), ("sum_over_time((x @ start())[1m:1m])", 2)):
        (series,) = evaluate_range(parse(text), 120, 240, 60, MINUTES)
        assert series.values.tolist() == [wanted] * 3


# --- slopes -----------------------------------------------------------------------------------------------------------------------------------


def test_lines() -> None:
    assert number("deriv(x[5m])") == pytest.approx(1 / 60)
    assert number("predict_linear(x[5m], 120)") == pytest.approx(12)
    assert number("predict_linear(x[5m] offset 2m, 120)") == pytest.approx(12), "from the evaluation's time"
    assert number("deriv((x * 0 + 0.1)[5m:1m])") == 0
    assert math.isnan(number("deriv((x / 0)[5m:1m])"))
    assert evaluate(parse("deriv(x[1m])"), 600, MINUTES).samples == []  # type: ignore[union-attr]


def test_first_over_time_keeps_the_name() -> None:
    (sample,) = evaluate(parse("first_over_time(x[3m])"), 600, MINUTES)  # type: ignore[misc]
    assert (str(sample.labels), sample.value) == ('x{a="1"}', 8)


# --- dates ------------------------------------------------------------------------------------------------------------------------------------


@given(st.datetimes(datetime(1600, 1, 1), datetime(2400, 12, 31), timezones=st.just(UTC)))
def test_parts_of_a_moment(moment: datetime) -> None:
    moment = moment.replace(microsecond=0)
    seconds = moment.timestamp()
    parts = {name: number(f"{name}(vector({seconds}))") for name in PARTS}
    assert parts == {
        "minute": moment.minute,
        "hour": moment.hour,
        "day_of_week": moment.isoweekday() % 7,
        "day_of_month": moment.day,
        "day_of_year": moment.timetuple().tm_yday,
        "days_in_month": parts["days_in_month"],
        "month": moment.month,
        "year": moment.year,
    }
    assert 28 <= parts["days_in_month"] <= 31 and parts["days_in_month"] >= moment.day


def test_dates_default_to_now_and_have_no_answer_for_what_is_no_moment() -> None:
    assert number("hour()", 3 * 3600 + 59.9) == 3
    assert [number(f"days_in_month(vector({at}))") for at in (1_709_200_000, 1_677_600_000)] == [29, 28]
    assert math.isnan(number("year(vector(NaN))")) and math.isnan(number("year(vector(-Inf))"))


# --- histograms -------------------------------------------------------------------------------------------------------------------------------

BOUNDS = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=8, unique=True).map(lambda b: [*sorted(b), math.inf])


@st.composite
def histograms(draw: st.DrawFn) -> tuple[list[float], list[float]]:
    bounds = draw(BOUNDS)
    each = draw(st.lists(st.integers(0, 1000), min_size=len(bounds), max_size=len(bounds)))
    each[0] += 1
    return bounds, [float(sum(each[: i + 1])) for i in range(len(each))]


@given(histograms(), st.floats(0, 1), st.floats(0, 1))
def test_a_quantile_lies_between_bounds_and_grows(
    histogram: tuple[list[float], list[float]], p: float, q: float
) -> None:
    low, high = (bucket_quantile(share, *histogram) for share in sorted((p, q)))
    assert low <= high + 1e-6 * abs(high) and min(0.0, histogram[0][0]) <= low and high <= histogram[0][-2]


@given(histograms(), st.floats(0.01, 0.99))
def test_the_fraction_below_a_quantile_is_the_quantile(histogram: tuple[list[float], list[float]], q: float) -> None:
    bounds, counts = histogram
    value = bucket_quantile(q, bounds, counts)
    if bounds[0] > 0 and value < bounds[-2] and all(a < b for a, b in itertools.pairwise(counts)):
        assert bucket_fraction(-math.inf, value, bounds, counts) == pytest.approx(q, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize(
    ("q", "bounds", "counts", "result"),
    [
        (0.5, [1, 2, math.inf], [0, 10, 10], 1.5),
        (0.5, [1, 2, math.inf], [4, 4, 4], 0.5),
        (0.9, [1, 2, math.inf], [4, 4, 10], 2),
        (0.1, [-1, 2, math.inf], [4, 4, 10], -1),
        (0.5, [1, math.inf], [10, 4], 0.5),
        (-0.1, [1, math.inf], [1, 1], -math.inf),
        (1.1, [1, math.inf], [1, 1], math.inf),
        (0.5, [1, 2], [1, 1], math.nan),
        (0.5, [math.inf], [1], math.nan),
        (0.5, [1, math.inf], [0, 0], math.nan),
        (math.nan, [1, math.inf], [1, 1], math.nan),
    ],
)
def test_quantiles_at_the_edges(q: float, bounds: list[float], counts: list[float], result: float) -> None:
    assert bucket_quantile(q, bounds, counts) == pytest.approx(result, nan_ok=True)


def test_histograms_are_label_sets_without_le() -> None:
    on = MemoryStore()
    for le, count in (("1", 1.0), ("1.0", 1.0), ("2", 4.0), ("+Inf", 4.0), ("bad", 9.0)):
        on.add({"__name__": "b", "le": le, "a": "1"}, [(0, count)])
    on.add({"__name__": "c", "le": "+Inf"}, [(0, 1.0)])
    for text, wanted in (("histogram_quantile(0.75, b)", 1.5), ("histogram_fraction(0, 1, b)", 0.5)):
        value = evaluate(parse(text), 0, on)
        assert isinstance(value, Vector) and value.by_labels() == {Labels.of({"a": "1"}): wanted}
    both = evaluate(parse('histogram_quantile(0.75, {__name__=~"b|c"})'), 0, on)
    assert isinstance(both, Vector) and len(both) == 2
    assert evaluate(parse("histogram_quantile(0.75, vector(1))"), 0, on).samples == []  # type: ignore[union-attr]
