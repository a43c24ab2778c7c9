"""Selectors and windows of an expression, binding of $names, and what rests on absence."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.promql.errors import PromqlError
from alerts.promql.parse import parse
from alerts.promql.questions import bind, longest_windows, rests_on_absence, selectors, variables
from alerts.promql.text import to_text


def test_selectors_come_in_the_order_of_the_text() -> None:
    found = selectors(parse('topk(scalar(n), rate(a{x="1"}[5m] offset 1m)) > on (x) group_left () {__name__=~"b.*"}'))
    assert [(s.name, s.range_ms, s.offset_ms, len(s.matchers)) for s in found] == [
        ("n", 0, 0, 1),
        ("a", 300_000, 60_000, 2),
        (None, 0, 0, 1),
    ]


def test_longest_windows_count_range_and_offset() -> None:
    exprs = [
        parse("rate(a[5m] offset 10m) + b"),
        parse("increase(a[14m])"),
        parse("b offset -1h"),
        parse('{x="1"} offset 1s'),
    ]
    assert longest_windows(exprs) == {"a": 900.0, "b": 0.0, None: 1.0}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("max_over_time(rate(a[5m])[1h:1m])", 3900.0),
        ("max_over_time(rate(a[5m] offset 1m)[1h:] offset 2m)", 4080.0),
        ("max_over_time((a offset -30m)[1h:])", 3600.0),
        ("max_over_time(min_over_time(a[10m:1m])[1h:1m])", 4200.0),
        ("max_over_time((a @ end() offset 1m)[1h:1m])", 60.0),
        ("max_over_time(min_over_time(a[10m:1m] @ end())[1h:1m])", 600.0),
    ],
)
def test_subqueries_widen_the_windows_inside(text: str, seconds: float) -> None:
    assert longest_windows([parse(text)]) == {"a": seconds}


def test_names_are_bound_inside_matchers_only() -> None:
    expr = parse('label_replace(a{broker="$broker",host=~"$host:.*$",c!="$broker"}, "x", "$1", "broker", "(.*)") > 2')
    assert variables(expr) == {"broker", "host"}
    bound = bind(expr, {"broker": '2"}', "host": "kafka.1", "unused": ""})
    wanted = r'label_replace(a{broker="2\"}", host=~"kafka\\.1:.*$", c!="2\"}"}, "x", "$1", "broker", "(.*)") > 2'
    assert to_text(bound) == wanted and parse(wanted) == bound


def test_binding_reaches_every_kind_of_node() -> None:
    text = 'sum by (a) (-rate(x{b="$v"}[5m])) + on (a) topk(scalar(y{b="$v"}), z{b="$v"}) unless absent(q{b="$v"}) > max_over_time(p{b="$v"}[5m:])'
    assert bind(parse(text), {"v": "7"}) == parse(text.replace("$v", "7"))


def test_an_unknown_name_is_an_error_with_its_place() -> None:
    with pytest.raises(PromqlError, match=r"\$broker is not bound here \(bound: \$cluster\)") as refused:
        bind(parse('a{broker="$broker", cluster="$cluster"}'), {"cluster": "c"})
    assert refused.value.text[refused.value.position or 0 :].startswith("$broker")


@given(st.text(max_size=8))
def test_a_bound_value_matches_itself_alone(value: str) -> None:
    bound = bind(parse('a{b=~"$v|other"}'), {"v": value})
    matcher = selectors(bound)[0].matchers[1]
    assert matcher.matches(value) and matcher.matches("other") and not matcher.matches(value + "x")


@pytest.mark.parametrize(
    "text",
    [
        "absent(x)",
        "sum(absent_over_time(x[5m])) > 0",
        "a unless on (b) c",
        "count(x) < 3",
        "count by (c) (x) <= 3",
        "count(x) == 0",
        "count(x) != 3",
        "3 > count(x)",
        "(count(x) or vector(0)) == 0",
        "sum(x) or vector(0)",
        "-count(x) > -3",
        "a - count(x) > 0",
        "a > on (c) count by (c) (x)",
        "1 / count(x) > bool 0.5",
        "count_over_time(x[5m]) < 10",
        "y and (count(x) < 3)",
        "max(count by (a) (x)) < 2",
        "max_over_time(count(x)[5m:]) < 2",
        "count_over_time((x == 1)[5m:]) < 2",
        "sum_over_time(absent(x)[5m:]) > 3",
    ],
)
def test_rests_on_absence(text: str) -> None:
    assert rests_on_absence(parse(text))


@pytest.mark.parametrize(
    "text",
    [
        "x == 0",
        "count(x) > 3",
        "count(x == 0) >= 1",
        "3 < count(x)",
        "a or b",
        "x and y",
        "sum(x) < 3",
        "-count(x) < -3",
        "count(x)",
        "rate(x[5m]) == 0",
    ],
)
def test_rests_on_presence(text: str) -> None:
    assert not rests_on_absence(parse(text))
