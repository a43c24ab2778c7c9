"""Reading and printing PromQL: every supported form comes back the same, everything else is refused by name and place."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerts.promql.errors import PromqlError
from alerts.promql.parse import MAX_NESTING, parse
from alerts.promql.syntax import (
    AGGREGATIONS,
    COMPARISONS,
    PRECEDENCE,
    SET_OPERATORS,
    Aggregation,
    Binary,
    Call,
    Edge,
    Expr,
    Matching,
    Negation,
    Number,
    Selector,
    String,
    Subquery,
    ValueType,
    value_type,
)
from alerts.promql.text import duration, to_text
from exporter.series import Matcher

X = Selector((Matcher("__name__", "=", "x"),))
Y = Selector((Matcher("__name__", "=", "y"),))


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("x", X),
        ("(x)", X),
        ("+x", X),
        ("-x", Negation(X)),
        ("-1", Number(-1.0)),
        ("-(1)", Number(-1.0)),
        ("5m", Number(300.0)),
        ("-2^2", Negation(Binary("^", Number(2.0), Number(2.0)))),
        ("(-2)^2", Binary("^", Number(-2.0), Number(2.0))),
        ("2^3^2", Binary("^", Number(2.0), Binary("^", Number(3.0), Number(2.0)))),
        ("(x ^ y) ^ x", Binary("^", Binary("^", X, Y), X)),
        ("x - (y - y)", Binary("-", X, Binary("-", Y, Y))),
        ("x - y - y", Binary("-", Binary("-", X, Y), Y)),
        ("x or y and y", Binary("or", X, Binary("and", Y, Y))),
        ("x{}[1001ms] offset -1h", Selector(X.matchers, 1001, -3_600_000)),
        ('{a!="b", __name__="x"}', Selector((*X.matchers, Matcher("a", "!=", "b")))),
        ("sum(x)", Aggregation("sum", X)),
        ("sum(x) by ()", Aggregation("sum", X)),
        ("sum without () (x)", Aggregation("sum", X, without=True)),
        ("topk by (a) (2, x)", Aggregation("topk", X, Number(2.0), ("a",))),
        ("x == bool y", Binary("==", X, Y, returns_bool=True)),
        ("x * on (a) group_left (b) y", Binary("*", X, Y, Matching(True, ("a",), "left", ("b",)))),
        ("x * ignoring (a) group_right y", Binary("*", X, Y, Matching(False, ("a",), "right"))),
        ("round(x, 0.5)", Call("round", (X, Number(0.5)))),
        ("# why\nx", X),
        ("x atan2 y % y", Binary("%", Binary("atan2", X, Y), Y)),
        ("1_000.5 + 0x_ff", Binary("+", Number(1000.5), Number(255.0))),
        ('x{a="\\xc3\\xa9\\303\\251"}', Selector((*X.matchers, Matcher("a", "=", "éé")))),
        ("x @ 1609746000.5 offset 1m", Selector(X.matchers, 0, 60_000, 1_609_746_000_500)),
        ("x offset 1m @ end()", Selector(X.matchers, 0, 60_000, Edge.END)),
        ("x[5m] @ start()", Selector(X.matchers, 300_000, 0, Edge.START)),
        ("x[5m:]", Subquery(X, 300_000)),
        ("sum(x)[5m:10] @ 3 offset -1m", Subquery(Aggregation("sum", X), 300_000, 10_000, -60_000, 3000)),
        ("(x offset 1m)[5m:1s]", Subquery(Selector(X.matchers, 0, 60_000), 300_000, 1000)),
        ("(-x)[5m:1s]", Subquery(Negation(X), 300_000, 1000)),
    ],
)
def test_trees(text: str, tree: Expr) -> None:
    assert parse(text) == tree
    assert parse(to_text(tree)) == tree


@pytest.mark.parametrize(
    ("text", "position", "named"),
    [
        ('x{a="@"} @ -5', 9, "before 1970"),
        ("max_over_time(rate(x[5m])[24h:1s])", 29, "11000 steps"),
        ("max_over_time(x[1h:0.0001])", 18, "at least 1ms"),
        ("1 + mad_over_time(x[1h])", 4, "'mad_over_time' is not supported, it is experimental"),
        ("mad_over_time + mad_over_time(x[1h])", 16, "'mad_over_time'"),
        ("histogram_sum(x)", 0, "native histograms"),
        ("holt_winters(x[5m], 1, 2)", 0, "'holt_winters'"),
        ('x{a="\\\\xff", b="é\\xc3\\xa9\\xff"}', 17, "not UTF-8"),
        ('label_replace(x, "", "b", "c", "d")', 0, "must have a name"),
        ('1 + label_join(x, "a", "", "b", "")', 4, "must have a name"),
        ('count_values("", x)', 13, "must have a name"),
        ("limitk(2, x)", 0, "'limitk'"),
        ("limitk by (a) (2, x)", 0, "'limitk'"),
        ('x{a="1" or b="2"}', 8, "'or'"),
        ("x + fill(0) y", 4, "'fill'"),
        ("x + $name", 4, "'$'"),
        ('x{a=~"b("}', 5, "regex"),
        ('y{a=~"c"} + x{a=~"[[:alpha:]]"}', 17, "[[:alpha:]]"),
        ('label_replace(x, "a", "b", "c", "(")', 32, "label_replace"),
        ("x[0.0001]", 1, "range"),
        ("(" * 300 + "x" + ")" * 300, MAX_NESTING, "operators and parentheses"),
    ],
)
def test_what_is_not_supported_is_named_with_its_place(text: str, position: int, named: str) -> None:
    with pytest.raises(PromqlError) as refused:
        parse(text)
    assert refused.value.position == position
    assert named in refused.value.reason
    assert refused.value.text == text


REFUSED = (
    *(
        "rate(x)",
        "sum(x[5m])",
        "x[5m] + 1",
        "abs(1)",
        "topk(x, y)",
        "1 > 2",
        "1 and x",
        "x and on (a) group_left y",
        "-x[5m]",
        "{}",
        '{a=""}',
    ),
    *(
        "x +",
        "",
        "x + bool y",
        "1 + on (a) x",
        "clamp(x, 1)",
        "sum(1, 2)",
        'x{a="b"',
        "x offset 1m offset 2m",
        'label_replace(x, 1, "", "", "")',
    ),
)


@pytest.mark.parametrize("text", REFUSED)
def test_what_prometheus_refuses_is_refused(text: str) -> None:
    with pytest.raises(PromqlError):
        parse(text)


def test_an_error_says_line_and_column() -> None:
    with pytest.raises(PromqlError, match=r"line 2, column 3"):
        parse("1 +\n  info(x)")


def test_a_deeply_nested_text_is_refused_before_the_parser_sees_it() -> None:
    for text in (
        "(" * 100_000 + "x" + ")" * 100_000,
        "-" * 100_000 + "x",
        "x" + " + x" * 100_000,
        "x" + " or x" * 100_000,
    ):
        with pytest.raises(PromqlError, match="operators and parentheses"):
            parse(text)


@pytest.mark.parametrize(
    ("ms", "text"), [(1, "1ms"), (1001, "1s1ms"), (300_000, "5m"), (90_061_001, "1d1h1m1s1ms"), (0, "0s")]
)
def test_durations_are_exact(ms: int, text: str) -> None:
    assert duration(ms) == text


# --- round trip ---------------------------------------------------------------------------------------------------------------------------------

NAMES = st.sampled_from(["x", "kafka_broker_up", "a:b", "sum", "on", "inf", "my.metric", "é"])
LABELS = st.sampled_from(["a", "broker", "le", "by", "or"])
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6)
NUMBERS = st.floats(allow_nan=False).map(Number) | st.just(Number(math.nan))


MOMENTS = st.none() | st.integers(0, 10**13) | st.sampled_from(Edge)


@st.composite
def selectors(draw: st.DrawFn, ranged: bool) -> Selector:
    matchers = [Matcher("__name__", "=", draw(NAMES))]
    matchers += [
        Matcher(draw(LABELS), draw(st.sampled_from(["=", "!="])), draw(TEXTS)) for _ in range(draw(st.integers(0, 2)))
    ]
    matchers += [
        Matcher(
            draw(LABELS),
            draw(st.sampled_from(["=~", "!~"])),
            draw(st.sampled_from(["a|b", r"\d+.*", "x\\.y", "(?i)q"])),
        )
    ] * draw(st.integers(0, 1))
    length = draw(st.integers(1, 10**9)) if ranged else 0
    return Selector(tuple(matchers), length, draw(st.integers(-(10**9), 10**9)), draw(MOMENTS))


VECTORS: st.SearchStrategy[Expr] = st.deferred(
    lambda: st.one_of(selectors(False), negations(), aggregations(), calls(), binaries(), range_calls())  # type: ignore[arg-type]
)
SCALARS: st.SearchStrategy[Expr] = NUMBERS | st.just(Call("time", ()))
LABEL_LISTS = st.lists(LABELS, max_size=3, unique=True).map(tuple)


@st.composite
def negations(draw: st.DrawFn) -> Negation:
    return Negation(draw(VECTORS))


@st.composite
def aggregations(draw: st.DrawFn) -> Aggregation:
    op = draw(st.sampled_from(sorted(AGGREGATIONS)))
    param: Expr | None = None
    if op in ("topk", "bottomk", "quantile"):
        param = draw(SCALARS)
    elif op == "count_values":
        param = String(draw(TEXTS.filter(bool)))
    return Aggregation(op, draw(VECTORS), param, draw(LABEL_LISTS), draw(st.booleans()))


@st.composite
def calls(draw: st.DrawFn) -> Call:
    name = draw(st.sampled_from(["abs", "clamp", "vector", "label_join", "round"]))
    if name == "vector":
        return Call(name, (draw(SCALARS),))
    extra = {
        "abs": [],
        "clamp": [SCALARS, SCALARS],
        "label_join": [TEXTS.filter(bool).map(String)] * 3,
        "round": [SCALARS],
    }[name]
    return Call(name, (draw(VECTORS), *(draw(one) for one in extra)))


@st.composite
def subqueries(draw: st.DrawFn) -> Subquery:
    length = draw(st.integers(1, 10**7))
    step = draw(st.just(0) | st.integers(1000, 10**6))
    return Subquery(draw(VECTORS), length, step, draw(st.integers(-(10**9), 10**9)), draw(MOMENTS))


@st.composite
def range_calls(draw: st.DrawFn) -> Call:
    function = draw(st.sampled_from(["rate", "max_over_time", "changes"]))
    return Call(function, (draw(selectors(True) | subqueries()),))


@st.composite
def binaries(draw: st.DrawFn) -> Binary:
    op = draw(st.sampled_from(sorted(PRECEDENCE)))
    if op not in SET_OPERATORS and draw(st.booleans()):
        left, right = draw(st.permutations([draw(VECTORS), draw(SCALARS)]))
        return Binary(op, left, right, Matching(), op in COMPARISONS and draw(st.booleans()))
    on, labels = draw(st.booleans()), draw(LABEL_LISTS)
    many = None if op in SET_OPERATORS else draw(st.sampled_from([None, "left", "right"]))
    include = draw(LABEL_LISTS) if many else ()
    include = tuple(name for name in include if not (on and name in labels))
    return Binary(
        op, draw(VECTORS), draw(VECTORS), Matching(on, labels, many, include), op in COMPARISONS and draw(st.booleans())
    )


@settings(max_examples=200, deadline=None)
@given(VECTORS)
def test_printing_and_parsing_gives_the_same_tree(tree: Expr) -> None:
    text = to_text(tree)
    if sum(text.count(sign) for sign in "(+-*/%^<>=") < MAX_NESTING:
        assert parse(text) == tree
        assert value_type(parse(text)) is ValueType.VECTOR
