"""Evaluation by the facts of Prometheus 3.x: windows and staleness, counters, names, matching, NaN and Inf, and what is kept between passes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerts.promql.errors import PromqlEvaluationError
from alerts.promql.evaluate import Evaluator, evaluate, evaluate_range
from alerts.promql.parse import parse
from alerts.promql.store import MemoryStore
from alerts.promql.values import Matrix, Scalar, String, Vector
from exporter.label_table import LabelRows
from exporter.series import STALE_NAN, Labels, Matcher, Series, is_stale

NAN, INF = math.nan, math.inf


def store(*series: tuple[str, Sequence[float]], interval: float = 60) -> MemoryStore:
    """Series given as (selector text, values at 0, one interval, two, …)."""
    made = MemoryStore()
    for text, values in series:
        made.add(labels(text), [(i * interval, value) for i, value in enumerate(values)])
    return made


def labels(text: str) -> Labels:
    """A label set from PromQL's notation: every matcher is a label."""
    selector = parse(text)
    return Labels.of({m.name: m.value for m in selector.matchers})  # type: ignore[union-attr]


def vector(text: str, on: MemoryStore, at: float = 0) -> dict[str, float]:
    """The instant vector as label text to value, in its order."""
    value = evaluate(parse(text), at, on)
    assert isinstance(value, Vector)
    return {str(sample.labels): sample.value for sample in value}


def number(text: str, on: MemoryStore | None = None, at: float = 0) -> float:
    """The only value of a result."""
    value = evaluate(parse(text), at, on or MemoryStore())
    if isinstance(value, Scalar):
        return value.value
    assert isinstance(value, Vector) and len(value) == 1, value
    return value.samples[0].value


# --- selecting --------------------------------------------------------------------------------------------------------------------------------


def test_lookback_is_open_on_the_left() -> None:
    on = store(("x", [7]))
    assert number("x", on, 299.999) == 7
    assert vector("x", on, 300) == {}
    assert vector("x", on, -0.001) == {}
    assert Evaluator(on, lookback_ms=10_000).evaluate(parse("x"), 10).samples == []  # type: ignore[union-attr]


def test_windows_are_open_on_the_left() -> None:
    on = store(("x", range(10)), interval=15)
    assert number("count_over_time(x[1m])", on, 90) == 4
    assert vector("rate(x[15s])", on, 90) == {}


def test_a_stale_marker_ends_a_series_and_a_nan_does_not() -> None:
    on = store(("a", [1, STALE_NAN]), ("b", [1, NAN]), ("c", [1, STALE_NAN, 3]))
    assert vector("a", on, 59) == {"a{}": 1}
    assert vector("a", on, 61) == {}
    assert math.isnan(number("b", on, 61))
    assert number("c", on, 120) == 3
    assert number("count_over_time(a[5m])", on, 61) == 1
    assert number("count_over_time(b[5m])", on, 61) == 2
    assert vector("last_over_time(a[5m])", on, 61) == {"a{}": 1}


def test_offsets_look_back_and_ahead() -> None:
    on = store(("x", range(10)))
    assert number("x offset 2m", on, 300) == 3
    assert number("x offset -2m", on, 300) == 7
    assert number("sum_over_time(x[2m] offset 1m)", on, 300) == 7


def test_matchers_are_anchored_and_a_missing_label_is_empty() -> None:
    on = store(('x{a="ab"}', [1]), ('x{a="b"}', [2]), ("x", [3]))
    assert list(vector('x{a=~"b"}', on).values()) == [2]
    assert list(vector('x{a!~"a.*"}', on).values()) == [2, 3]
    assert list(vector('x{a=""}', on).values()) == [3]
    assert list(vector('{__name__=~"x|y",a!=""}', on).values()) == [1, 2]


def test_timestamp_is_the_sample_s_own() -> None:
    on = store(("x", [1, 2]))
    assert number("timestamp(x)", on, 100) == 60
    assert number("timestamp((x offset 1m))", on, 100) == 0
    assert number("timestamp(x + 0)", on, 100) == 100
    assert number("time()", on, 100.5) == 100.5


def test_results_by_type() -> None:
    on = store(("x", [1, STALE_NAN, 3]))
    assert evaluate(parse('"a"'), 0, on) == String("a")
    assert evaluate(parse("-(1 + 2)"), 0, on) == Scalar(-3.0)
    matrix = evaluate(parse("x[5m]"), 120, on)
    assert isinstance(matrix, Matrix)
    assert [(s.labels.name, s.timestamps.tolist(), s.values.tolist()) for s in matrix.series] == [
        ("x", [0, 120_000], [1, 3])
    ]


# --- counters ---------------------------------------------------------------------------------------------------------------------------------


def test_increase_extrapolates_to_the_edges_but_no_further_than_half_an_interval() -> None:
    on = store(("x", [100, 110, 120, 130, 140]))
    assert number("increase(x[10m])", on, 240) == pytest.approx(45)
    assert number("rate(x[10m])", on, 240) == pytest.approx(45 / 600)
    assert number("increase(x[10m])", on, 270) == pytest.approx(50)
    assert number("delta(x[10m])", on, 240) == pytest.approx(45)
    # Gaps before the window's end: below 1.1 intervals bridged whole (65 s), above by half an interval (30 s). The start's gap is 60 s.
    assert number("increase(x[365s])", on, 305) == pytest.approx(40 * (240 + 60 + 65) / 240)
    assert number("increase(x[369s])", on, 309) == pytest.approx(40 * (240 + 60 + 30) / 240)


def test_a_counter_is_not_extrapolated_below_zero() -> None:
    assert number("increase(x[10m])", store(("x", [0, 10, 20])), 120) == pytest.approx(20)
    # First sample 5, S = 120 s, d = 20: zero lies 30 s before it, which is also half an interval. Prometheus up to 2.50 gave the same here ...
    assert number("increase(x[10m])", store(("x", [5, 15, 25])), 120) == pytest.approx(25)
    # ... but not here: zero lies 60 s before (below the limit of 66 s), half an interval is nearer and counts since 2.51.
    assert number("increase(x[10m])", store(("x", [10, 20, 30])), 120) == pytest.approx(25)
    assert number("delta(x[10m])", store(("x", [0, 10, 20])), 120) == pytest.approx(25)


def test_resets_add_what_was_lost() -> None:
    on = store(("x", [0, 50, 10, 20, 5, 5]))
    assert number("resets(x[10m])", on, 300) == 2
    assert number("increase(x[10m])", on, 300) == pytest.approx(75)
    assert number("changes(x[10m])", on, 300) == 4
    assert number("irate(x[5m])", on, 240) == pytest.approx(5 / 60)
    assert number("idelta(x[5m])", on, 240) == -15


def test_one_sample_has_no_rate() -> None:
    for function in ("rate", "increase", "delta", "irate", "idelta"):
        assert vector(f"{function}(x[5m])", store(("x", [1]))) == {}


def test_changes_between_nans() -> None:
    assert number("changes(x[10m])", store(("x", [1, NAN, NAN, 2])), 180) == 2


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 1e9), min_size=2, max_size=30), st.integers(1, 900), st.integers(0, 700))
def test_rate_of_a_counter_is_never_negative(steps: list[float], window: int, after: int) -> None:
    on = MemoryStore()
    on.add(labels("x"), [(i * 15 + 0.101, value) for i, value in enumerate(np.cumsum(steps).tolist())])
    for text in (f"rate(x[{window}s])", f"irate(x[{window}s])", f"increase(x[{window}s])"):
        assert all(value >= 0 for value in vector(text, on, after).values())


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 10**6), min_size=2, max_size=30))
def test_increase_over_exactly_the_samples_is_the_sum_of_the_steps(steps: list[int]) -> None:
    on = store(("x", np.cumsum(steps).tolist()), interval=10)
    span = 10 * (len(steps) - 1)
    increase = number(f"delta(x[{span + 5}s])", on, span + 2.5) * span / (span + 5)
    assert increase == pytest.approx(sum(steps[1:]))


# --- over time ----------------------------------------------------------------------------------------------------------------------------------


def test_nan_over_time() -> None:
    on = store(("x", [NAN, 3, 1]), ("y", [NAN, NAN]))
    assert number("min_over_time(x[5m])", on, 120) == 1
    assert number("max_over_time(x[5m])", on, 120) == 3
    assert math.isnan(number("sum_over_time(x[5m])", on, 120))
    assert math.isnan(number("max_over_time(y[5m])", on, 120))
    assert number("count_over_time(x[5m])", on, 120) == 3
    assert number("present_over_time(y[5m])", on, 120) == 1


def test_sums_are_compensated() -> None:
    on = store(
        ("x", [1e16, 1, -1e16]), ('y{i="1"}', [1e16]), ('y{i="2"}', [1]), ('y{i="3"}', [-1e16]), ("z", [0.1] * 10)
    )
    assert number("sum_over_time(x[5m])", on, 120) == 1
    assert number("sum(y)", on) == 1
    assert number("sum_over_time(z[10m])", on, 540) == 1
    assert number("avg(y)", on) == 1 / 3


def test_mean_survives_an_overflow() -> None:
    on = store(("x", [1.5e308, 1.5e308]), ("y", [INF, 1]))
    assert number("avg_over_time(x[5m])", on, 60) == pytest.approx(1.5e308)
    assert number("sum_over_time(x[5m])", on, 60) == INF
    assert number("avg_over_time(y[5m])", on, 60) == INF


def test_quantiles() -> None:
    on = store(("x", [4, 1, NAN, 2]))
    assert number("quantile_over_time(0.5, x[5m])", on, 180) == 1.5
    assert math.isnan(number("quantile_over_time(0, x[5m])", on, 180))
    assert number("quantile_over_time(1, x[5m])", on, 180) == 4
    assert number("quantile_over_time(-1, x[5m])", on, 180) == -INF
    assert number("quantile_over_time(2, x[5m])", on, 180) == INF
    assert math.isnan(number("quantile_over_time(NaN, x[5m])", on, 180))


# --- aggregations -------------------------------------------------------------------------------------------------------------------------------

GROUPS = store(('x{a="1",b="p"}', [1]), ('x{a="1",b="q"}', [4]), ('x{a="2",b="p"}', [2]), ("x", [NAN]))


def test_grouping() -> None:
    assert vector('sum by (a) (x{a!=""})', GROUPS) == {'{a="1"}': 5, '{a="2"}': 2}
    assert vector("count without (a) (x)", GROUPS) == {'{b="p"}': 2, '{b="q"}': 1, "{}": 1}
    assert vector("count by (__name__, nope) (x)", GROUPS) == {"x{}": 4}
    assert vector("group by () (x)", GROUPS) == {"{}": 1}
    assert vector("count without () (x)", GROUPS) == {
        '{a="1", b="p"}': 1,
        '{a="1", b="q"}': 1,
        '{a="2", b="p"}': 1,
        "{}": 1,
    }


def test_nothing_in_gives_nothing_out() -> None:
    for op in ("sum", "count", "min", "avg", "group", "stddev", "max"):
        assert vector(f"{op}(nope)", GROUPS) == {}
    for text in (
        "topk(1, nope)",
        "quantile(0.5, nope)",
        'count_values("v", nope)',
        "nope + x",
        "x * nope",
        "nope and x",
        "rate(nope[5m])",
    ):
        assert vector(text, GROUPS) == {}
    assert (
        vector("x unless nope", GROUPS).keys()
        == vector("x or nope", GROUPS).keys()
        == vector("nope or x", GROUPS).keys()
    )


def test_nan_in_aggregations() -> None:
    assert number("max(x)", GROUPS) == 4
    assert number("min(x)", GROUPS) == 1
    assert math.isnan(number("sum(x)", GROUPS))
    assert math.isnan(number('max(x{a=""})', GROUPS))
    assert math.isnan(number('stddev(x{a=""})', GROUPS))
    assert number('stddev(x{a="2"})', GROUPS) == 0
    assert number('stdvar(x{a!=""})', GROUPS) == pytest.approx(14 / 9)
    assert number('quantile(0.5, x{a!=""})', GROUPS) == 2


def test_topk_is_best_first_with_nan_last() -> None:
    assert list(vector("topk(2.7, x)", GROUPS)) == ['x{a="1", b="q"}', 'x{a="2", b="p"}']
    assert list(vector("bottomk(9, x)", GROUPS)) == ['x{a="1", b="p"}', 'x{a="2", b="p"}', 'x{a="1", b="q"}', "x{}"]
    assert vector("topk by (a) (1, x)", GROUPS).keys() == {'x{a="1", b="q"}', 'x{a="2", b="p"}', "x{}"}
    assert vector("topk(0.9, x)", GROUPS) == {}
    with pytest.raises(PromqlEvaluationError, match="NaN"):
        vector("topk(NaN, x)", GROUPS)


def test_count_values_writes_numbers_as_go_does() -> None:
    on = store(*((f'x{{i="{i}"}}', [value]) for i, value in enumerate((1e21, INF, NAN, -0.0, 0.1, 1e-7))))
    names = {labels.partition('"')[2].partition('"')[0] for labels in vector('count_values("i", x)', on)}
    assert names == {"1" + "0" * 21, "+Inf", "NaN", "-0", "0.1", "0.0000001"}
    assert vector('count_values by (i) ("v", x * 0 + 1)', store(('x{i="1"}', [5]))) == {'{i="1", v="1"}': 1}


# --- operators ----------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("-2 ^ 2", -4),
        ("2 ^ 3 ^ 2", 512),
        ("-5 % 3", -2),
        ("5 % -3", 2),
        ("1 / 0", INF),
        ("-1 / 0", -INF),
        ("0 / 0", NAN),
        ("1 % 0", NAN),
        ("(-1) ^ 0.5", NAN),
        ("0 ^ -1", INF),
        ("1 ^ NaN", 1),
        ("1 / -0", -INF),
        ("NaN == bool NaN", 0),
        ("NaN != bool NaN", 1),
        ("1e308 * 10", INF),
    ],
)
def test_scalar_arithmetic_is_go_s(text: str, result: float) -> None:
    for form in (text, f"scalar(vector({text}))"):
        assert number(form) == pytest.approx(result, nan_ok=True)


def test_filters_keep_the_vector_s_element() -> None:
    assert vector("x > 1", GROUPS) == {'x{a="1", b="q"}': 4, 'x{a="2", b="p"}': 2}
    assert vector("3 > x", GROUPS) == {'x{a="1", b="p"}': 1, 'x{a="2", b="p"}': 2}
    assert vector("x > 1 < 3", GROUPS) == {'x{a="2", b="p"}': 2}
    assert vector('x{a="1"} > bool 1', GROUPS) == {'{a="1", b="p"}': 0, '{a="1", b="q"}': 1}
    assert vector("x == x", GROUPS).keys() == {'x{a="1", b="p"}', 'x{a="1", b="q"}', 'x{a="2", b="p"}'}


def test_equal_labels_without_names_are_an_error() -> None:
    on = store(("x", [1, 2]), ("y", [2, 3]))
    for text in (
        '{__name__=~"x|y"} + 1',
        '-{__name__=~"x|y"}',
        'rate({__name__=~"x|y"}[5m])',
        'abs({__name__=~"x|y"})',
    ):
        with pytest.raises(PromqlEvaluationError, match="same labelset"):
            vector(text, on, 60)
    assert len(vector('{__name__=~"x|y"} > 0', on)) == 2
    assert len(vector('+{__name__=~"x|y"}', on)) == 2
    assert len(vector('last_over_time({__name__=~"x|y"}[5m])', on)) == 2
    with pytest.raises(PromqlEvaluationError, match="same labelset"):
        vector('label_replace({__name__=~"x|y"}, "__name__", "z", "", "")', on)


MATCH = store(
    ('m{c="k",t="1"}', [10]),
    ('m{c="k",t="2"}', [20]),
    ('one{c="k",o="w"}', [2]),
    ('one{c="z",o="w"}', [3]),
    ('n{c="k",t="1"}', [1]),
    ('n{c="k",t="3"}', [3]),
)


def test_one_to_one() -> None:
    assert vector("m + n", MATCH) == {'{c="k", t="1"}': 11}
    assert vector("m > n", MATCH) == {'m{c="k", t="1"}': 10}
    assert vector("m > on (t) n", MATCH) == {'{t="1"}': 10}
    assert vector("m + ignoring (c) n", MATCH) == {'{t="1"}': 11}
    assert vector("m > bool n", MATCH) == {'{c="k", t="1"}': 1}
    assert vector('m{t="1"} + on () n{t="3"}', MATCH) == {"{}": 13}


def test_many_to_one() -> None:
    assert vector("m * on (c) group_left () one", MATCH) == {'{c="k", t="1"}': 20, '{c="k", t="2"}': 40}
    assert vector("m * on (c) group_left (o) one", MATCH) == {'{c="k", o="w", t="1"}': 20, '{c="k", o="w", t="2"}': 40}
    assert vector('m{t="1"} * on (c) group_left (t) one', MATCH) == {'{c="k"}': 20}
    assert vector("one - on (c) group_right (o) m", MATCH) == {
        '{c="k", o="w", t="1"}': -8,
        '{c="k", o="w", t="2"}': -18,
    }
    assert vector("one < on (c) group_right () m", MATCH) == {'m{c="k", t="1"}': 2, 'm{c="k", t="2"}': 2}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("one + on (c) m", "on the right hand-side"),
        ("one{c='z'} + on (c) m", "on the right hand-side"),
        ("m + on (c) group_right () one", "on the left hand-side"),
        ("m + on (c) one", "many-to-one matching must be explicit"),
        ("m > on (c) one * 100", "many-to-one matching must be explicit"),
        ("m * on (c) group_left (t) one", "unique matches"),
    ],
)
def test_matches_that_are_not_unique(text: str, says: str) -> None:
    with pytest.raises(PromqlEvaluationError, match=says):
        vector(text, MATCH)


def test_unmatched_duplicates_on_the_left_are_fine() -> None:
    assert vector('m + on (c) one{c="z"}', MATCH) == {}


def test_sets() -> None:
    assert vector("m and n", MATCH) == {'m{c="k", t="1"}': 10}
    assert vector("m unless n", MATCH) == {'m{c="k", t="2"}': 20}
    assert vector("m or n", MATCH) == {'m{c="k", t="1"}': 10, 'm{c="k", t="2"}': 20, 'n{c="k", t="3"}': 3}
    assert vector("n and on (c) one", MATCH).keys() == {'n{c="k", t="1"}', 'n{c="k", t="3"}'}
    assert vector("one unless on (c) m", MATCH) == {'one{c="z", o="w"}': 3}


# --- functions ------------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("round(vector(-2.5))", -2),
        ("round(vector(2.5))", 3),
        ("round(vector(7), 5)", 5),
        ("round(vector(7), 0)", NAN),
        ("ln(vector(0))", -INF),
        ("ln(vector(-1))", NAN),
        ("log2(vector(8))", 3),
        ("log10(vector(1000))", 3),
        ("sqrt(vector(-1))", NAN),
        ("exp(vector(1000))", INF),
        ("sgn(vector(-3))", -1),
        ("sgn(vector(NaN))", NAN),
        ("clamp(vector(5), 1, 3)", 3),
        ("clamp(vector(5), NaN, 3)", NAN),
        ("clamp_min(vector(NaN), 1)", NAN),
        ("clamp_min(vector(NaN), Inf)", INF),
        ("clamp_max(vector(5), 3)", 3),
        ("scalar(vector(1) unless vector(2))", NAN),
    ],
)
def test_functions_of_values(text: str, result: float) -> None:
    assert number(text) == pytest.approx(result, nan_ok=True)


def test_clamp_with_crossed_bounds_is_empty() -> None:
    assert vector("clamp(vector(5), 3, 1)", MemoryStore()) == {}


def test_sort_puts_nan_last_both_ways() -> None:
    assert [math.isnan(v) or v for v in vector("sort(x)", GROUPS).values()] == [1, 2, 4, True]
    assert [math.isnan(v) or v for v in vector("sort_desc(x)", GROUPS).values()] == [4, 2, 1, True]


@pytest.mark.parametrize(
    ("selector", "labels"),
    [
        ('nope{a="1", b=~"x|y", c!="3"}', '{a="1"}'),
        ('nope{a="1", a!="2"}', "{}"),
        ('nope{a!="2", a="1"}', "{}"),
        ('nope{a="1", a="2"}', "{}"),
        ('nope{a="1", a="2", a="3"}', "{}"),
        ('(nope{a="1"})', '{a="1"}'),
        ('sum(nope{a="1"})', "{}"),
        ('nope{a="1"} > 0', "{}"),
    ],
)
def test_absent_takes_labels_from_equal_matchers(selector: str, labels: str) -> None:
    assert vector(f"absent({selector})", GROUPS) == {labels: 1}
    assert vector("absent(x)", GROUPS) == {}
    assert vector('absent_over_time(nope{a="1"}[5m])', GROUPS) == {'{a="1"}': 1}


def test_label_replace() -> None:
    on = store(('x{a="p-1"}', [1]), ('x{a="q"}', [2]))
    assert list(vector('label_replace(x, "n", "${1}x", "a", "p-(.*)")', on)) == ['x{a="p-1", n="1x"}', 'x{a="q"}']
    assert list(vector('label_replace(x, "n", "$1x", "a", "p-(.*)")', on)) == ['x{a="p-1"}', 'x{a="q"}']
    assert list(vector('label_replace(x, "n", "$$$$1", "a", "q")', on)) == ['x{a="p-1"}', 'x{a="q", n="$$1"}']
    assert list(vector('label_replace(x{a="q"}, "a", "", "a", ".*")', on)) == ["x{}"]
    assert list(vector('label_replace(x{a="q"}, "n", "all", "nope", "")', on)) == ['x{a="q", n="all"}']
    assert list(vector('label_replace(x{a="q"}, "n", "$who", "a", "(?P<who>.)")', on)) == ['x{a="q", n="q"}']


def test_label_join() -> None:
    on = store(('x{a="1",b="2"}', [1]))
    assert list(vector('label_join(x, "n", "-", "a", "nope", "b")', on)) == ['x{a="1", b="2", n="1--2"}']
    assert list(vector('label_join(x, "a", "-")', on)) == ['x{b="2"}']


# --- ranges and passes ----------------------------------------------------------------------------------------------------------------------------


class Counting(MemoryStore):
    """Counts how often it is asked."""

    asked = 0

    def select(self, matchers: Sequence[Matcher], start_ms: int, end_ms: int) -> list[Series]:
        self.asked += 1
        return super().select(matchers, start_ms, end_ms)


def test_a_range_is_one_evaluation_per_step_and_one_selection_per_selector() -> None:
    on = Counting()
    on.add(labels('x{a="1"}'), [(i * 15, i) for i in range(40)] + [(600, STALE_NAN)])
    on.add(labels('x{a="2"}'), [(i * 15, 1.5 * i) for i in range(20)])
    expr = parse("rate(x[1m]) + on (a) group_left () x * time()")
    series = evaluate_range(expr, 0, 1000, 7, on)
    assert on.asked == 2
    steps = {(s.labels, at): v for s in series for at, v in zip(s.timestamps.tolist(), s.values.tolist(), strict=True)}
    alone = {(s.labels, at * 1000): s.value for at in range(0, 1001, 7) for s in evaluate(expr, at, on)}  # type: ignore[union-attr]
    assert steps == alone and len(series) == 2


def test_a_range_of_a_scalar_and_refused_ranges() -> None:
    (series,) = evaluate_range(parse("time()"), 1, 2, 0.5, MemoryStore())
    assert (dict(series.labels), series.timestamps.tolist(), series.values.tolist()) == (
        {},
        [1000, 1500, 2000],
        [1, 1.5, 2],
    )
    with pytest.raises(PromqlEvaluationError, match="range vector"):
        evaluate_range(parse("x[5m]"), 0, 1, 1, MemoryStore())
    for start, end, step in ((0, 1, 0), (1, 0, 1)):
        with pytest.raises(PromqlEvaluationError, match="step"):
            evaluate_range(parse("x"), start, end, step, MemoryStore())


class Latest(MemoryStore):
    """A store with the quick answer for instant selectors, and only that one."""

    def select_latest(
        self, matchers: Sequence[Matcher], at_ms: int, lookback_ms: int
    ) -> tuple[LabelRows, np.ndarray, np.ndarray]:
        found = [s for s in super().select(matchers, at_ms - lookback_ms + 1, at_ms) if not is_stale(s.values)[-1]]
        return (
            LabelRows.of([s.labels for s in found]),
            np.array([s.values[-1] for s in found]),
            np.array([s.timestamps[-1] for s in found], dtype=np.int64),
        )

    def select(self, matchers: Sequence[Matcher], start_ms: int, end_ms: int) -> list[Series]:
        raise AssertionError("the quick way is there")


def test_the_quick_answer_is_used_and_equal() -> None:
    quick = Latest(MATCH.series)
    for text in ("m * on (c) group_left (o) one", "sum by (c) (m) > 1", "timestamp(n)", "m offset 1m", "absent(one)"):
        assert vector(text, quick, 30) == vector(text, MATCH, 30)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.sampled_from([None, None, 1.0, 2.0, 3.0]), min_size=6, max_size=6), min_size=2, max_size=6))
def test_a_kept_evaluator_answers_as_a_fresh_one(passes: list[list[float | None]]) -> None:
    """What is remembered of label sets must never leak into a pass with other series."""
    on = MemoryStore()
    kept = Evaluator(on, lookback_ms=10_000)
    texts = (
        "sum by (a) (x)",
        "x > 1",
        "x * on (a) group_left (b) max by (a, b) (y)",
        "x or y",
        "x unless on (a) y",
        "-x",
        "topk by (a) (1, x)",
        "y - on (a) y",
    )
    for i, values in enumerate(passes):
        for j, value in enumerate(values):
            if value is not None:
                name, a, b = "xy"[j % 2], str(j % 3), str(j % 4 if j % 2 == 0 else (j + value) % 2)
                on.add(Labels.of({"__name__": name, "a": a, "b": b}), [(i * 10.0, value)])
        for text in texts:
            answers = []
            for evaluator in (kept, Evaluator(on, lookback_ms=10_000)):
                try:
                    answers.append(evaluator.evaluate(parse(text), i * 10.0).by_labels())  # type: ignore[union-attr]
                except PromqlEvaluationError as error:
                    answers.append(str(error))
            assert answers[0] == answers[1], text
