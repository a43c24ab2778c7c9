"""Random series and random expressions for differential tests."""

from __future__ import annotations

import math
import random

import numpy as np

from exporter.series import STALE_NAN, Labels, Series

BASE_MS = 1_700_000_000_000
SPAN_S = 2400

BUCKETS = {
    "1": ("0.5", "1", "2.5", "5", "+Inf"),
    "2": ("-2", "-1", "0", "1", "1.0", "Inf"),
    "3": ("1", "2", "bad", "1e1"),
    "4": ("+Inf",),
}
"""Bounds of the histograms by label i: plain, below 0 and one twice, without +Inf, nothing but +Inf."""


def random_series(rng: random.Random, on_edges: bool) -> list[Series]:
    """Gauges (g, h), counters (c), wild values (w), classic histograms (b) and one series without further labels (lone).

    15 s apart with gaps, resets and stale markers; ``on_edges`` puts most samples on whole seconds, where windows have their edges.
    """
    series = []
    for name in ("g", "h", "c", "w"):
        for i, j in ((i, j) for i in "123" for j in ("x", "y", "")):
            if rng.random() < 0.85:
                labels = {"__name__": name, "i": i, "j": j, "k": rng.choice(["p-1", "p-2", ""]), "cluster": "c"}
                series.append(_one_series(rng, name, labels, on_edges))
    for i, bounds in BUCKETS.items():
        for j in "xy":
            series += [
                _one_series(rng, "b", {"__name__": "b", "i": i, "j": j, "le": le, "cluster": "c"}, on_edges)
                for le in bounds
            ]
    series.append(_one_series(rng, "g", {"__name__": "lone"}, on_edges))
    return series


def _one_series(rng: random.Random, kind: str, labels: dict[str, str], on_edges: bool) -> Series:
    timestamps, values = [], []
    # Young counters start high, so that the rule of the zero point, which 2.x has otherwise, decides rarely; unit tests have it.
    level = float(rng.randint(3000, 9000)) if kind in "cb" else float(rng.randint(-20, 20))
    at, alive = (
        BASE_MS + rng.randrange(0, 30_000) // 1000 * 1000 + (0 if on_edges else rng.randrange(101, 900, 2)),
        True,
    )
    while at < BASE_MS + SPAN_S * 1000:
        if rng.random() < (0.03 if alive else 0.15):
            alive = not alive
            if not alive and rng.random() < 0.6:
                timestamps.append(at)
                values.append(STALE_NAN)
        elif alive:
            level = _next_level(rng, kind, level, labels.get("le", ""))
            timestamps.append(at)
            values.append(level)
        at += 15_000 + rng.choice([0, 0, 0, 0, 1000, 1, -1] if on_edges else [0, 0, 0, 2, -2, 1000])
    return Series(Labels.of(labels), np.array(timestamps, dtype=np.int64), np.array(values))


def _next_level(rng: random.Random, kind: str, level: float, le: str) -> float:
    if kind == "c":
        return float(rng.randint(0, 2000)) if rng.random() < 0.03 else level + rng.choice([0, 0, 1, 5, 12.5])
    if kind == "b":
        # As many at a time as the bound is high, so that buckets stay in order but for what gaps and resets do.
        bound = 10.0 if le in ("+Inf", "Inf", "bad") else float(le) + 2
        return level * 0.5 if rng.random() < 0.01 else level + float(rng.randint(0, 1 + int(bound * 4)))
    if kind == "w":
        return rng.choice([math.nan, math.inf, -math.inf, 0.0, -0.0, 1.5, -2.5, 250.0, 1.0, -40.0, 1e-3])
    return level if rng.random() < 0.3 else float(rng.randint(-80, 80)) / 4


class Generator:
    """Random well-typed expressions of the whole grammar; ``old``: without what Prometheus 2.x does not know."""

    def __init__(self, rng: random.Random, old: bool) -> None:
        self.rng = rng
        self.old = old
        self._subqueries = 0

    def one_of(self, *options: str) -> str:
        return self.rng.choice(options)

    def selector(self) -> str:
        name = self.one_of("g", "g", "h", "c", "w", "b", "lone", "nope", "")
        matchers = [
            self.one_of('i="1"', 'i!="2"', 'i=~"1|2"', 'j!~"x.*"', 'j=""', 'k=~".+"', 'k=~"p-.*"', 'i=~"[23]"')
            for _ in range(self.rng.randint(0, 2))
        ]
        if not name:
            matchers.append(self.one_of('__name__=~"g|h"', 'cluster="c",j="x"', '__name__="c"'))
        return name + (f"{{{','.join(matchers)}}}" if matchers else "")

    def offset(self) -> str:
        """Modifiers of a selector or subquery, in either order."""
        offset = self.one_of("", "", "", "", " offset 1m", " offset -2m", " offset 4m", " offset 37s")
        # On an old server no window may begin or end on a whole second: there are the steps of subqueries, and its left edge counts.
        part = ".5" if self.old else self.one_of("", ".25")
        moment = f" @ {BASE_MS // 1000 + self.rng.randrange(0, 2400, 15)}{part}"
        at = self.one_of("", "", "", "", "", "", moment, " @ start()", " @ end()")
        return self.one_of(offset + at, at + offset)

    def instant(self) -> str:
        return self.selector() + self.offset()

    def window(self) -> str:
        if self.rng.random() < 0.25 and self._subqueries < (1 if self.old else 2):
            return self.subquery()
        return f"{self.selector()}[{self.one_of('20s', '1m', '2m', '5m', '10m', '47s', '3m20s')}]{self.offset()}"

    def subquery(self) -> str:
        self._subqueries += 1
        inner = self.vector(self.rng.randint(0, 1))
        self._subqueries -= 1
        return (
            f"({inner})[{self.one_of('1m:15s', '5m:', '10m:1m', '3m:40s', '2m:7s', '4m:61s', '10s:1m')}]{self.offset()}"
        )

    def labels(self) -> str:
        return ", ".join(self.rng.sample(["i", "j", "k", "cluster", "nope"], self.rng.randint(0, 3)))

    def number(self) -> str:
        return self.one_of("0", "1", "2", "-1", "0.5", "3", "10", "-2.5", "1e3", "NaN", "Inf", "-Inf")

    def scalar(self, depth: int) -> str:
        kind = self.rng.random()
        if depth <= 0 or kind < 0.6:
            return self.number()
        if kind < 0.7:
            return self.one_of("(time() - 1700000000)", "pi()")
        if kind < 0.85:
            return f"scalar({self.vector(depth - 1)})"
        return f"({self.scalar(depth - 1)} {self.one_of('+', '-', '*', '/', '%', '^', '> bool', '== bool', '<= bool')} {self.scalar(depth - 1)})"

    def vector(self, depth: int) -> str:
        if depth <= 0:
            return self.instant() if self.rng.random() < 0.8 else self.over_range()
        kinds = [
            self.instant,
            self.over_range,
            self.aggregation,
            self.aggregation,
            self.binary,
            self.binary,
            self.set,
            self.call,
            self.call,
            self.joined,
            self.histogram,
        ]
        kind = self.rng.choice(kinds)
        if kind in (self.instant, self.over_range):
            return kind()  # type: ignore[call-arg]
        return kind(depth - 1)  # type: ignore[call-arg]

    def over_range(self) -> str:
        function = self.one_of(
            *[
                "rate",
                "increase",
                "irate",
                "delta",
                "idelta",
                "changes",
                "resets",
                "avg_over_time",
                "min_over_time",
                "max_over_time",
                "sum_over_time",
                "count_over_time",
            ],
            *[
                "last_over_time",
                "stddev_over_time",
                "stdvar_over_time",
                "quantile_over_time",
                "present_over_time",
                "absent_over_time",
                "rate",
                "increase",
                "deriv",
                "predict_linear",
                *([] if self.old else ["first_over_time"]),
            ],
        )
        if function == "predict_linear":
            return f"{function}({self.window()}, {self.one_of('0', '60', '3600', '-300', 'scalar(lone)')})"
        if function == "quantile_over_time":
            return f"{function}({self.one_of('0', '0.5', '0.9', '1', '-1', '2', 'NaN')}, {self.window()})"
        return f"{function}({self.window()})"

    def aggregation(self, depth: int) -> str:
        op = self.one_of(
            *[
                "sum",
                "sum",
                "min",
                "max",
                "avg",
                "count",
                "group",
                "stddev",
                "stdvar",
                "topk",
                "bottomk",
                "quantile",
                "count_values",
            ]
        )
        clause = self.one_of("", f" by ({self.labels()}) ", f" without ({self.labels()}) ")
        param = ""
        if op in ("topk", "bottomk"):
            param = self.one_of("1", "2", "3", "0", "2.7", "-1", "scalar(lone)") + ", "
        elif op == "quantile":
            param = self.one_of("0", "0.25", "0.5", "0.99", "1", "-1", "2", "scalar(lone)") + ", "
        elif op == "count_values":
            # Of what is stored only: as a label, the last digit of a mean would tell servers apart.
            label = self.one_of("v", "i")
            return f'{op}{clause}("{label}", {self.instant()})'
        return f"{op}{clause}({param}{self.vector(depth)})"

    def matching(self) -> str:
        return self.one_of(
            "", "", "on (i, j)", "on (i, j, k)", "on (i)", "ignoring (k)", "ignoring ()", "on ()", "ignoring (j, nope)"
        )

    def operator(self) -> str:
        return self.one_of(
            "+", "-", "*", "/", "%", "^", "atan2", "==", "!=", ">", "<", ">=", "<=", "> bool", "== bool", "!= bool"
        )

    def binary(self, depth: int) -> str:
        form = self.rng.random()
        if form < 0.3:
            return f"({self.vector(depth)} {self.operator()} {self.scalar(depth)})"
        if form < 0.5:
            return f"({self.scalar(depth)} {self.operator()} {self.vector(depth)})"
        if form < 0.6:
            return f"-{self.vector(depth)}" if self.rng.random() < 0.5 else f"-({self.vector(depth)})"
        return f"({self.vector(depth)} {self.operator()} {self.matching()} {self.vector(depth)})"

    def joined(self, depth: int) -> str:
        """Many to one with an aggregation on the one side, so that most of them match."""
        keys = self.one_of("i", "i, j", "j", "cluster")
        one = f"{self.one_of('sum', 'max', 'avg', 'count')} by ({keys}{self.one_of('', ', k')}) ({self.vector(depth)})"
        include = self.one_of("()", "(k)", "(nope)") if ", k" in one else self.one_of("()", "(nope)")
        many = self.vector(depth)
        if self.rng.random() < 0.5:
            return f"({many} {self.operator()} on ({keys}) group_left {include} {one})"
        return f"({one} {self.operator()} on ({keys}) group_right {include} {many})"

    def set(self, depth: int) -> str:
        return f"({self.vector(depth)} {self.one_of('and', 'or', 'unless')} {self.matching()} {self.vector(depth)})"

    def call(self, depth: int) -> str:
        function = self.rng.randrange(13)
        vector = self.vector(depth)
        if function < 3:
            return f"{self.one_of(*['abs', 'ceil', 'floor', 'exp', 'ln', 'log2', 'log10', 'sqrt', 'sgn', 'sort', 'sort_desc', 'absent', 'timestamp'])}({vector})"
        return [
            f"{self.one_of('sin', 'cos', 'tan', 'asin', 'acos', 'atan', 'sinh', 'cosh', 'tanh', 'asinh', 'acosh', 'atanh', 'deg', 'rad')}({self.instant()})",
            self.date(),
            f"round({self.instant()})",
            f"round({self.instant()}, {self.number()})",
            f"clamp({vector}, {self.scalar(0)}, {self.scalar(0)})",
            f"clamp_min({vector}, {self.scalar(depth)})",
            f"clamp_max({vector}, {self.scalar(depth)})",
            f"vector({self.scalar(depth)})",
            f'label_replace({vector}, "{self.one_of("i", "m")}", "{self.one_of("$1", "${1}x", "$1x", "q$$", "")}", "{self.one_of("k", "j")}", "{self.one_of("p-(.)", "(.*)", "x", "")}")',
            f'label_join({vector}, "{self.one_of("j", "m")}", "-", "i", "k")',
        ][function - 3]

    def date(self) -> str:
        part = self.one_of(
            "minute", "hour", "day_of_week", "day_of_month", "day_of_year", "days_in_month", "month", "year"
        )
        # Of finite numbers only: what Prometheus gives for NaN is the processor's choice.
        return f"{part}({self.one_of('', 'timestamp(g)', 'g * 1e7', 'h * 12345678', 'c * 86400 * 50')})"

    def histogram(self, depth: int) -> str:
        """Quantiles and fractions of classic histograms; ``depth`` has no part in it."""
        buckets = self.one_of(
            f"b{self.offset()}",
            f"rate(b[{self.one_of('1m', '5m', '10m')}]{self.offset()})",
            f"sum by (le{self.one_of('', ', i', ', i, j')}) (increase(b[5m]))",
            'b{i="1"} * 2',
            "g",
            "b < 4000",
        )
        if self.old or self.rng.random() < 0.7:
            return f"histogram_quantile({self.one_of('0', '0.1', '0.5', '0.9', '0.99', '1', '-1', '2', 'NaN', 'scalar(lone)')}, {buckets})"
        bounds = [self.one_of("-Inf", "-1", "0", "0.5", "1", "2.5", "5", "10", "Inf", "NaN") for _ in range(2)]
        return f"histogram_fraction({', '.join(bounds)}, {buckets})"
