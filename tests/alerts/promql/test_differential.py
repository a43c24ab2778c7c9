"""Random series and expressions, evaluated by this evaluator and by a real Prometheus: the answers must be the same.

With a Prometheus 2.x no sample and no subquery's step lies on a window's edge, since it counts the left edge in; what else it is known to do otherwise is
listed in ``_known_difference``. A 3.x binary (PROMETHEUS=) is compared with samples and steps on the edges.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from alerts.promql.evaluate import Evaluator
from alerts.promql.parse import parse
from alerts.promql.questions import selectors
from alerts.promql.store import MemoryStore
from alerts.promql.syntax import (
    COMPARISONS,
    RANGE_FUNCTIONS,
    Aggregation,
    Binary,
    Call,
    Expr,
    Number,
    Selector,
    String,
    Subquery,
)
from alerts.promql.text import to_text
from exporter.series import Series
from tests.alerts.promql.answers import close, equal, nodes_of, our_answer, our_range, report, their_answer
from tests.alerts.promql.randoms import BASE_MS, SPAN_S, Generator, random_series
from tests.alerts.promql.server import Server, running
from tests.prometheus import NO_BINARY, binary

pytestmark = pytest.mark.prometheus

SEED = 20260701
EXPRESSIONS = 2000
RANGES = 250
PROOF = 10
"""How many times as many make proof runs."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    program = binary()
    if program is None:
        pytest.skip(NO_BINARY)
    with running(program, tmp_path_factory.mktemp("prometheus")) as server:
        server.write(_series_of(server))
        yield server


@pytest.fixture(scope="module")
def evaluator(server: Server) -> Evaluator:
    return Evaluator(MemoryStore(_series_of(server)))


def _off_edges(at: int, server: Server) -> float:
    return at + 0.5 if server.is_old else at


def _series_of(server: Server) -> list[Series]:
    return random_series(random.Random(SEED), on_edges=not server.is_old)


# --- comparing -------------------------------------------------------------------------------------------------------------------------------------


def _same_order(expr: Expr, mine: Any, theirs: Any) -> bool:
    """Whether a sorted vector comes in the same order; equal values may stand in any."""
    sorted_by_value = isinstance(expr, Call) and expr.function in ("sort", "sort_desc")
    if not sorted_by_value or mine == "error":
        return True
    return all(close(a[1][0][1], b[1][0][1]) for a, b in zip(mine, theirs, strict=True))


def _known_difference(expr: Expr, mine: Any, theirs: Any, old_server: bool) -> str | None:
    """Why a difference may be the server's way rather than an error here; None where it may not."""
    nodes = list(nodes_of(expr))
    if any(isinstance(n, Aggregation) and n.op in ("topk", "bottomk") for n in nodes):
        return "which of equal elements topk takes is undefined"
    if any(isinstance(n, Aggregation) and not isinstance(n.param, Number | None) and _fixed(n.operand) for n in nodes):
        return "an aggregation of what @ pins keeps its first parameter"
    if theirs == "error" and any(
        isinstance(n, Call) and n.function == "timestamp" and _several_fixed(n) for n in nodes
    ):
        return "timestamp of several names with @ fails there, without @ it does not"
    return _old_difference(nodes, mine, theirs) if old_server else None


def _old_difference(nodes: list[Expr], mine: Any, theirs: Any) -> str | None:
    """What Prometheus 2.42 does otherwise than 3.x."""
    calls, binaries = ([n for n in nodes if isinstance(n, kind)] for kind in (Call, Binary))
    aggregations = [n for n in nodes if isinstance(n, Aggregation)]
    reasons = {
        "2.x: the deviation of a single Inf or NaN is 0": any(n.op in ("stddev", "stdvar") for n in aggregations),
        "2.x: count_values loses labels where its own is among those of by": any(
            isinstance(n.param, String) and n.param.value in n.labels for n in aggregations
        ),
        "2.x: atan2 keeps the name": any(n.op == "atan2" for n in binaries),
        "2.x: another last digit of avg and sum, which % makes large": any(n.op == "%" for n in binaries),
        "2.x: predict_linear with @ has a result at the first step only": any(
            n.function == "predict_linear" and _fixed(n) for n in calls
        ),
        "2.x: timestamp with @ may take another sample": any(n.function == "timestamp" and _fixed(n) for n in calls),
        "2.x: != after = alone takes a label from absent": any(
            n.function.startswith("absent") and any(m.op in ("!=", "!~") for s in selectors(n) for m in s.matchers)
            for n in calls
        ),
        "2.x: what @ pins in a subquery is evaluated though no step needs it": theirs == "error"
        and any(isinstance(n, Subquery) and _fixed(n.operand) for n in nodes),
        "2.51: the zero point comes after the limit": any(n.function in ("rate", "increase") for n in calls),
        "3.9: pairs that a comparison filters away count as matches": mine == "error"
        and any(n.op in COMPARISONS for n in binaries),
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def _fixed(expr: Expr) -> bool:
    """Whether something inside has ``@``."""
    return any(isinstance(n, Selector | Subquery) and n.at is not None for n in nodes_of(expr))


def _several_fixed(call: Call) -> bool:
    return any(selector.name is None and selector.at is not None for selector in selectors(call))


def _merged_over_steps(expr: Expr, theirs: Any) -> str | None:
    """A range query fails in Prometheus when a range function gives two series the same labels at different steps; here each step stands for itself."""
    calls = [n for n in nodes_of(expr) if isinstance(n, Call) and n.function in RANGE_FUNCTIONS]
    if theirs == "error" and any(selector.name is None for call in calls for selector in selectors(call)):
        return "range functions over several names, never at the same step"
    return None


# --- tests -----------------------------------------------------------------------------------------------------------------------------------------


SHIPPED_STYLE = (
    'count by (cluster, i) (g{cluster="c"})',
    "g * on (cluster, i, j, k) group_left () h > 1",
    "sum by (cluster) (nope) == 0 unless on (cluster) g",
    "sum by (cluster) (g{j='x'}) > 0 unless on (cluster) nope",
    'absent(nope{cluster="c", i=~"1|2"})',
    "count by (cluster) (g == 1) < 3 or vector(0)",
    "max by (cluster, i) (rate(c[5m])) > on (cluster, i) group_left () max by (cluster, i) (h)",
    "(sum by (i) (increase(c[10m])) / sum by (i) (count_over_time(c[10m]))) >= 0",
    "time() - timestamp(g) > 60",
    '"text"',
    "c[2m]",
    "absent((g{i='9'}))",
    'absent(g{i="9", i!="8"})',
    'absent_over_time(g{i="9", j="x"}[5m])',
    "-2 ^ 2",
    "2 ^ 3 ^ 2",
    "-5 % 3",
    "1 / 0",
    "w == w",
    "w > -1 < 2",
    "g ^ -h * 2",
    "{__name__=~'g|h'} + 1",
    "g or h",
    "x1 or g",
    "1e21 + 0 * vector(1)",
    'count_values("v", vector(1e21))',
    'count_values("v", vector(-0))',
    "round(vector(-2.5))",
)


SINCE_3 = (
    'absent(g{i!="8", i="9"})',
    'absent(g{i=~"8|9", i="9"})',
    'absent(g{i!~"8.*", i="9", j!="", k!="x"})',
    "hour(vector(-1))",
    "month(vector(1e10))",
    "1_000 * vector(0x_f)",
    'label_replace(vector(1), "1d", "x", "", "")',
    "first_over_time(g[5m])",
)


def test_shipped_style_expressions(server: Server, evaluator: Evaluator) -> None:
    differences = []
    for text in SHIPPED_STYLE if server.is_old else (*SHIPPED_STYLE, *SINCE_3):
        for at in range(BASE_MS // 1000 + 300, BASE_MS // 1000 + SPAN_S, 411):
            mine, theirs = (
                our_answer(evaluator, parse(text), at),
                their_answer(server.query("query", query=text, time=at)),
            )
            if not equal(mine, theirs):
                differences.append(f"{text} at {at}\n  ours   {mine}\n  theirs {theirs}")
    assert not differences, report(differences)


@pytest.mark.parametrize("times", [1, pytest.param(PROOF, marks=[pytest.mark.proof, pytest.mark.timeout(1800)])])
def test_random_expressions(server: Server, evaluator: Evaluator, times: int) -> None:
    rng = random.Random(SEED + times)
    generator = Generator(rng, server.is_old)
    differences, excused, filled, failed = [], Counter[str](), 0, 0
    size = EXPRESSIONS * times
    for _ in range(size):
        text = generator.vector(rng.randint(0, 3)) if rng.random() < 0.97 else generator.scalar(2)
        at = _off_edges(BASE_MS // 1000 + rng.randint(-60, SPAN_S + 200), server)
        expr = parse(text)
        assert parse(to_text(expr)) == expr, text
        mine, theirs = our_answer(evaluator, expr, at), their_answer(server.query("query", query=text, time=at))
        filled += bool(mine) and mine != "error"
        failed += mine == "error"
        if not equal(mine, theirs) or not _same_order(expr, mine, theirs):
            reason = _known_difference(expr, mine, theirs, server.is_old)
            if reason:
                excused[reason] += 1
            else:
                differences.append(f"{text} at {at}\n  ours   {mine}\n  theirs {theirs}")
    print(f"{size} expressions on {server.version}: {filled} with a result, {failed} errors, excused {dict(excused)}")
    assert not differences, report(differences)
    assert filled > size / 3 and failed > size / 200
    assert excused.total() < size / 50, excused


@pytest.mark.parametrize("times", [1, pytest.param(PROOF, marks=[pytest.mark.proof, pytest.mark.timeout(1800)])])
def test_random_ranges(server: Server, evaluator: Evaluator, times: int) -> None:
    rng = random.Random(-SEED - times)
    generator = Generator(rng, server.is_old)
    differences, excused = [], Counter[str]()
    size = RANGES * times
    for _ in range(size):
        text = generator.vector(rng.randint(0, 2))
        start = _off_edges(BASE_MS // 1000 + rng.randint(-60, SPAN_S // 2), server)
        step = rng.choice([5, 15, 60, 61])
        end = start + step * rng.randint(1, 30)
        expr = parse(text)
        mine = our_range(evaluator, expr, start, end, step)
        theirs = their_answer(server.query("query_range", query=text, start=start, end=end, step=step))
        if not equal(mine, theirs):
            reason = _merged_over_steps(expr, theirs) or _known_difference(expr, mine, theirs, server.is_old)
            if reason:
                excused[reason] += 1
            else:
                differences.append(f"{text} from {start} to {end} by {step}\n  ours   {mine}\n  theirs {theirs}")
    print(f"{size} ranges on {server.version}: excused {dict(excused)}")
    assert not differences, report(differences)
    assert excused.total() < size / 20, excused
