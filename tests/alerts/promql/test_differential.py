"""Random series and expressions, evaluated by this evaluator and by a real Prometheus: the answers must be the same.

Samples never lie on a window's edge (they have odd milliseconds, all windows are whole seconds), since Prometheus 2.x counts the left edge in.
What Prometheus 2.x is known to do otherwise is listed in ``_known_difference``; a 3.x binary (PROMETHEUS=) is compared without it.
"""

from __future__ import annotations

import http.client
import json
import math
import os
import random
import shutil
import socket
import struct
import subprocess
import time
import urllib.parse
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alerts.promql.errors import PromqlEvaluationError
from alerts.promql.evaluate import Evaluator
from alerts.promql.parse import parse
from alerts.promql.questions import selectors
from alerts.promql.store import MemoryStore
from alerts.promql.syntax import RANGE_FUNCTIONS, Aggregation, Binary, Call, Expr, children
from alerts.promql.text import to_text
from alerts.promql.values import Scalar, String, Vector
from exporter.series import STALE_NAN, Labels, Series

pytestmark = pytest.mark.prometheus

SEED = 20260701
BASE_MS = 1_700_000_000_000
SPAN_S = 2400
EXPRESSIONS = 8000
RANGES = 800


# --- the server ----------------------------------------------------------------------------------------------------------------------------------


class Server:
    """A Prometheus of our own on loopback, filled through remote write."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        self.version = ""

    def ready(self) -> bool:
        try:
            self._connection.request("GET", "/-/ready")
            return self._read()[0] == 200
        except OSError:
            self._connection.close()
            return False

    def read_version(self) -> None:
        self._connection.request("GET", "/api/v1/status/buildinfo")
        self.version = json.loads(self._read()[1])["data"]["version"]

    @property
    def is_old(self) -> bool:
        return self.version.startswith("2.")

    def write(self, series: list[Series]) -> None:
        headers = {
            "Content-Encoding": "snappy",
            "Content-Type": "application/x-protobuf",
            "X-Prometheus-Remote-Write-Version": "0.1.0",
        }
        self._connection.request("POST", "/api/v1/write", snappy_literal(write_request(series)), headers)
        status, body = self._read()
        assert status in (200, 204), body

    def query(self, path: str, **parameters: Any) -> dict[str, Any]:
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        self._connection.request("POST", f"/api/v1/{path}", urllib.parse.urlencode(parameters), headers)
        return json.loads(self._read()[1])

    def _read(self) -> tuple[int, bytes]:
        response = self._connection.getresponse()
        return response.status, response.read()


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*out, number))


def field(number: int, payload: bytes) -> bytes:
    """A length-delimited protobuf field."""
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def write_request(series: list[Series]) -> bytes:
    """prometheus.WriteRequest: series (1) of labels (1: name 1, value 2) and samples (2: value 1 double, timestamp 2 int64)."""
    out = []
    for one in series:
        labels = [field(1, field(1, name.encode()) + field(2, value.encode())) for name, value in one.labels.items()]
        bits = one.values.view(np.uint64).tolist()
        samples = [
            field(2, b"\x09" + struct.pack("<Q", value) + b"\x10" + varint(at))
            for at, value in zip(one.timestamps.tolist(), bits, strict=True)
        ]
        out.append(field(1, b"".join(labels + samples)))
    return b"".join(out)


def snappy_literal(data: bytes) -> bytes:
    """Snappy's block format with nothing but literals of up to 64 KiB."""
    parts = [varint(len(data))]
    for start in range(0, len(data), 65536):
        chunk = data[start : start + 65536]
        parts.append(bytes([61 << 2]) + struct.pack("<H", len(chunk) - 1) + chunk)
    return b"".join(parts)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    binary = os.environ.get("PROMETHEUS") or shutil.which("prometheus")
    if not binary or not Path(binary).exists():
        pytest.skip("no prometheus binary: set PROMETHEUS= or put one on the path")
    home = tmp_path_factory.mktemp("prometheus")
    (home / "prometheus.yml").write_text("global: {}\n")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        binary,
        f"--config.file={home / 'prometheus.yml'}",
        f"--storage.tsdb.path={home / 'data'}",
        "--storage.tsdb.retention.time=100y",
        f"--web.listen-address=127.0.0.1:{port}",
        "--web.enable-remote-write-receiver",
    ]
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        server = Server(port)
        limit = time.monotonic() + 30
        while not server.ready():
            assert process.poll() is None and time.monotonic() < limit, (home / "log").read_text()
            time.sleep(0.05)
        server.read_version()
        server.write(SERIES)
        yield server
    finally:
        process.terminate()
        process.wait(10)


# --- random series -----------------------------------------------------------------------------------------------------------------------------


def _random_series(rng: random.Random) -> list[Series]:
    """Gauges (g, h), counters (c), wild values (w) and one series without further labels (lone), 15 s apart with gaps, resets and stale markers."""
    series = []
    for name in ("g", "h", "c", "w"):
        for i, j in ((i, j) for i in "123" for j in ("x", "y", "")):
            if rng.random() < 0.85:
                labels = {"__name__": name, "i": i, "j": j, "k": rng.choice(["p-1", "p-2", ""]), "cluster": "c"}
                series.append(_one_series(rng, name, labels))
    series.append(_one_series(rng, "g", {"__name__": "lone"}))
    return series


def _one_series(rng: random.Random, kind: str, labels: dict[str, str]) -> Series:
    timestamps, values = [], []
    # Young counters start high, so that the rule of the zero point, which 2.x has otherwise, decides rarely; unit tests have it.
    level = float(rng.randint(3000, 9000)) if kind == "c" else float(rng.randint(-20, 20))
    at, alive = BASE_MS + rng.randrange(0, 30_000) // 1000 * 1000 + rng.randrange(101, 900, 2), True
    while at < BASE_MS + SPAN_S * 1000:
        if rng.random() < (0.03 if alive else 0.15):
            alive = not alive
            if not alive and rng.random() < 0.6:
                timestamps.append(at)
                values.append(STALE_NAN)
        elif alive:
            level = _next_level(rng, kind, level)
            timestamps.append(at)
            values.append(level)
        at += 15_000 + rng.choice([0, 0, 0, 2, -2, 1000])
    return Series(Labels.of(labels), np.array(timestamps, dtype=np.int64), np.array(values))


def _next_level(rng: random.Random, kind: str, level: float) -> float:
    if kind == "c":
        return float(rng.randint(0, 2000)) if rng.random() < 0.03 else level + rng.choice([0, 0, 1, 5, 12.5])
    if kind == "w":
        return rng.choice([math.nan, math.inf, -math.inf, 0.0, -0.0, 1.5, -2.5, 250.0, 1.0, -40.0, 1e-3])
    return level if rng.random() < 0.3 else float(rng.randint(-80, 80)) / 4


SERIES = _random_series(random.Random(SEED))


# --- random expressions --------------------------------------------------------------------------------------------------------------------------


class Generator:
    """Random well-typed expressions over the supported subset."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng

    def one_of(self, *options: str) -> str:
        return self.rng.choice(options)

    def selector(self) -> str:
        name = self.one_of("g", "g", "h", "c", "w", "lone", "nope", "")
        matchers = [
            self.one_of('i="1"', 'i!="2"', 'i=~"1|2"', 'j!~"x.*"', 'j=""', 'k=~".+"', 'k=~"p-.*"', 'i=~"[23]"')
            for _ in range(self.rng.randint(0, 2))
        ]
        if not name:
            matchers.append(self.one_of('__name__=~"g|h"', 'cluster="c",j="x"', '__name__="c"'))
        return name + (f"{{{','.join(matchers)}}}" if matchers else "")

    def offset(self) -> str:
        return self.one_of("", "", "", "", " offset 1m", " offset -2m", " offset 4m", " offset 37s")

    def instant(self) -> str:
        return self.selector() + self.offset()

    def window(self) -> str:
        return f"{self.selector()}[{self.one_of('20s', '1m', '2m', '5m', '10m', '47s', '3m20s')}]{self.offset()}"

    def labels(self) -> str:
        return ", ".join(self.rng.sample(["i", "j", "k", "cluster", "nope"], self.rng.randint(0, 3)))

    def number(self) -> str:
        return self.one_of("0", "1", "2", "-1", "0.5", "3", "10", "-2.5", "1e3", "NaN", "Inf", "-Inf")

    def scalar(self, depth: int) -> str:
        kind = self.rng.random()
        if depth <= 0 or kind < 0.6:
            return self.number()
        if kind < 0.7:
            return "(time() - 1700000000)"
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
            self.joined,
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
            ],
        )
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
            param = self.one_of("1", "2", "3", "0", "2.7", "-1") + ", "
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
            "+", "-", "*", "/", "%", "^", "==", "!=", ">", "<", ">=", "<=", "> bool", "== bool", "!= bool"
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
        function = self.rng.randrange(11)
        vector = self.vector(depth)
        if function < 3:
            return f"{self.one_of(*['abs', 'ceil', 'floor', 'exp', 'ln', 'log2', 'log10', 'sqrt', 'sgn', 'sort', 'sort_desc', 'absent', 'timestamp'])}({vector})"
        return [
            f"round({self.instant()})",
            f"round({self.instant()}, {self.number()})",
            f"clamp({vector}, {self.scalar(0)}, {self.scalar(0)})",
            f"clamp_min({vector}, {self.scalar(depth)})",
            f"clamp_max({vector}, {self.scalar(depth)})",
            f"vector({self.scalar(depth)})",
            f'label_replace({vector}, "{self.one_of("i", "m")}", "{self.one_of("$1", "${1}x", "$1x", "q$$", "")}", "{self.one_of("k", "j")}", "{self.one_of("p-(.)", "(.*)", "x", "")}")',
            f'label_join({vector}, "{self.one_of("j", "m")}", "-", "i", "k")',
        ][function - 3]


# --- comparing -------------------------------------------------------------------------------------------------------------------------------------


def _key(labels: dict[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(labels.items()))


def _theirs(answer: dict[str, Any]) -> Any:
    """A server's answer as plain values: an error, a number, a text, or value lists by labels."""
    if answer["status"] != "success":
        return "error"
    data = answer["data"]
    if data["resultType"] == "scalar":
        return [((), [(data["result"][0], float(data["result"][1]))])]
    if data["resultType"] == "string":
        return data["result"][1]
    return [
        (_key(one["metric"]), [(at, float(value)) for at, value in one.get("values") or [one["value"]]])
        for one in data["result"]
    ]


def _ours(evaluator: Evaluator, expr: Expr, at: float) -> Any:
    try:
        value = evaluator.evaluate(expr, at)
    except PromqlEvaluationError:
        return "error"
    if isinstance(value, Scalar):
        return [((), [(at, value.value)])]
    if isinstance(value, String):
        return value.value
    if isinstance(value, Vector):
        return [(_key(dict(sample.labels)), [(at, sample.value)]) for sample in value]
    return _series(value.series)


def _ours_range(evaluator: Evaluator, expr: Expr, start: float, end: float, step: float) -> Any:
    try:
        return _series(evaluator.evaluate_range(expr, start, end, step))
    except PromqlEvaluationError:
        return "error"


def _series(series: list[Series]) -> Any:
    return [
        (
            _key(dict(one.labels)),
            [(at / 1000, v) for at, v in zip(one.timestamps.tolist(), one.values.tolist(), strict=True)],
        )
        for one in series
    ]


def _close(mine: float, theirs: float) -> bool:
    if math.isnan(mine) or math.isnan(theirs):
        return math.isnan(mine) and math.isnan(theirs)
    return mine == theirs or math.isclose(mine, theirs, rel_tol=1e-9, abs_tol=1e-12)


def _equal(mine: Any, theirs: Any) -> bool:
    if isinstance(mine, str) or isinstance(theirs, str):
        return bool(mine == theirs)
    mine, theirs = dict(mine), dict(theirs)
    if mine.keys() != theirs.keys():
        return False
    for labels, samples in mine.items():
        if len(samples) != len(theirs[labels]):
            return False
        for (at, value), (their_at, their_value) in zip(samples, theirs[labels], strict=True):
            if abs(at - their_at) > 1e-3 or not _close(value, their_value):
                return False
    return True


def _same_order(expr: Expr, mine: Any, theirs: Any) -> bool:
    """Whether a sorted vector comes in the same order; equal values may stand in any."""
    sorted_by_value = isinstance(expr, Call) and expr.function in ("sort", "sort_desc")
    if not sorted_by_value or mine == "error":
        return True
    return all(_close(a[1][0][1], b[1][0][1]) for a, b in zip(mine, theirs, strict=True))


def _nodes(expr: Expr) -> Iterator[Expr]:
    yield expr
    for child in children(expr):
        yield from _nodes(child)


def _known_difference(expr: Expr, mine: Any, old_server: bool) -> str | None:
    """Why a difference may be the server's way rather than an error here; None where it may not."""
    nodes = list(_nodes(expr))
    if any(isinstance(n, Aggregation) and n.op in ("topk", "bottomk") for n in nodes):
        return "which of equal elements topk takes is undefined"
    if not old_server:
        return None
    if any(isinstance(n, Aggregation) and n.op in ("stddev", "stdvar") for n in nodes):
        return "2.x: the deviation of a single Inf or NaN is 0"
    if any(isinstance(n, Call) and n.function in ("rate", "increase") for n in nodes):
        return "2.51: the zero point comes after the limit"
    if mine == "error" and any(isinstance(n, Binary) and n.op in ("==", "!=", "<", ">", "<=", ">=") for n in nodes):
        return "3.9: pairs that a comparison filters away count as matches"
    return None


def _merged_over_steps(expr: Expr, theirs: Any) -> str | None:
    """A range query fails in Prometheus when a range function gives two series the same labels at different steps; here each step stands for itself."""
    calls = [n for n in _nodes(expr) if isinstance(n, Call) and n.function in RANGE_FUNCTIONS]
    if theirs == "error" and any(selector.name is None for call in calls for selector in selectors(call)):
        return "range functions over several names, never at the same step"
    return None


def _report(differences: list[str]) -> str:
    return f"{len(differences)} differ:\n" + "\n".join(differences[:20])


# --- tests -----------------------------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def evaluator() -> Evaluator:
    return Evaluator(MemoryStore(SERIES))


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
    'absent(g{i!="8", i="9"})',
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


def test_shipped_style_expressions(server: Server, evaluator: Evaluator) -> None:
    differences = []
    for text in SHIPPED_STYLE:
        for at in range(BASE_MS // 1000 + 300, BASE_MS // 1000 + SPAN_S, 411):
            mine, theirs = _ours(evaluator, parse(text), at), _theirs(server.query("query", query=text, time=at))
            if not _equal(mine, theirs):
                differences.append(f"{text} at {at}\n  ours   {mine}\n  theirs {theirs}")
    assert not differences, _report(differences)


def test_random_expressions(server: Server, evaluator: Evaluator) -> None:
    rng = random.Random(SEED + 1)
    generator = Generator(rng)
    differences, excused, filled, failed = [], Counter[str](), 0, 0
    for _ in range(EXPRESSIONS):
        text = generator.vector(rng.randint(0, 3)) if rng.random() < 0.97 else generator.scalar(2)
        at = BASE_MS // 1000 + rng.randint(-60, SPAN_S + 200)
        expr = parse(text)
        assert parse(to_text(expr)) == expr, text
        mine, theirs = _ours(evaluator, expr, at), _theirs(server.query("query", query=text, time=at))
        filled += bool(mine) and mine != "error"
        failed += mine == "error"
        if not _equal(mine, theirs) or not _same_order(expr, mine, theirs):
            reason = _known_difference(expr, mine, server.is_old)
            if reason:
                excused[reason] += 1
            else:
                differences.append(f"{text} at {at}\n  ours   {mine}\n  theirs {theirs}")
    print(
        f"{EXPRESSIONS} expressions on {server.version}: {filled} with a result, {failed} errors, excused {dict(excused)}"
    )
    assert not differences, _report(differences)
    assert filled > EXPRESSIONS / 3 and failed > EXPRESSIONS / 200
    assert excused.total() < EXPRESSIONS / 50, excused


def test_random_ranges(server: Server, evaluator: Evaluator) -> None:
    rng = random.Random(SEED + 2)
    generator = Generator(rng)
    differences, excused = [], Counter[str]()
    for _ in range(RANGES):
        text = generator.vector(rng.randint(0, 2))
        start = BASE_MS // 1000 + rng.randint(-60, SPAN_S // 2)
        step = rng.choice([5, 15, 60, 61])
        end = start + step * rng.randint(1, 30)
        expr = parse(text)
        mine = _ours_range(evaluator, expr, start, end, step)
        theirs = _theirs(server.query("query_range", query=text, start=start, end=end, step=step))
        if not _equal(mine, theirs):
            reason = _merged_over_steps(expr, theirs) or _known_difference(expr, mine, server.is_old)
            if reason:
                excused[reason] += 1
            else:
                differences.append(f"{text} from {start} to {end} by {step}\n  ours   {mine}\n  theirs {theirs}")
    print(f"{RANGES} ranges on {server.version}: excused {dict(excused)}")
    assert not differences, _report(differences)
    assert excused.total() < RANGES / 20, excused
