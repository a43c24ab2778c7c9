"""Every expression of the shipped rules and trees on what was recorded of a broker's death, evaluated by this evaluator on the history that rules read, and by a real Prometheus.

Prometheus 2.x counts a window's left edge in, so it is asked only at moments when no sample lies on one; a 3.x binary (PROMETHEUS=) is asked at the samples' own moments too. Before 2.51
a counter's zero point was looked at later, so counters are lifted far above zero for such a server.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from alerts.engine.engine import NoBook
from alerts.promql.evaluate import Evaluator
from alerts.promql.questions import bind, selectors
from alerts.promql.syntax import Call, Expr, Number, Selector, String, ValueType, value_type
from alerts.promql.text import to_text
from exporter.blocks import Block
from exporter.series import METRIC_NAME, Matcher, Series
from klaxon.config import Loaded, build
from klaxon.daemon import requirements
from tests.alerts.engine.test_traces import recorded
from tests.alerts.promql.answers import equal, nodes_of, our_answer, report, their_answer
from tests.alerts.promql.server import Server, running
from tests.prometheus import NO_BINARY, binary
from tests.replay import TRACES, Frame, Replay

pytestmark = pytest.mark.prometheus

TRACE = TRACES / "broker-killed.jsonl.gz"
NAMES = {
    "cluster": "demo",
    "broker": "1",
    "peer": "am-1:9093",
    "dir": "/var/lib/kafka/node-1/d1",
    "consumergroup": "billing",
    "collector": "topics",
}
"""What trees bind: broker 1 is the one that died."""

MOMENTS = 12
KEPT_S = 24 * 3600.0
LIFT = 1e6


@dataclass(frozen=True, slots=True)
class World:
    """The same series in both; ``moments`` are Unix seconds."""

    server: Server
    evaluator: Evaluator
    moments: Sequence[float]

    def compared(self, expr: Expr) -> tuple[list[str], bool]:
        """Where the answers to an expression differ, and whether there was one at any moment."""
        text, differences, filled = to_text(expr), [], False
        for at in self.moments:
            mine = our_answer(self.evaluator, expr, at)
            theirs = their_answer(self.server.query("query", query=text, time=at))
            filled |= bool(theirs) and theirs != "error"
            if mine == "error" or not equal(mine, theirs):
                differences.append(f"{text} at {at}\n  ours   {mine}\n  theirs {theirs}")
        return differences, filled


@pytest.fixture(scope="module")
def loaded() -> Loaded:
    return build({"clusters": {"demo": {"bootstrap_servers": ["kafka:9092"]}}}, Path.cwd())


@pytest.fixture(scope="module")
def world(loaded: Loaded, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    program = binary()
    if program is None:
        pytest.skip(NO_BINARY)
    with running(program, tmp_path_factory.mktemp("prometheus")) as server:
        frames = [lifted(f, counters(loaded)) for f in recorded(TRACE)] if server.is_old else recorded(TRACE)
        replay = Replay(loaded.rules, NoBook)
        replay.history.keep(dict.fromkeys(requirements(loaded), KEPT_S))
        replay.run(frames)
        span = round(frames[0].at * 1000), round(frames[-1].at * 1000)
        # What the engine wrote, recording rules and ALERTS, goes into Prometheus with the rest.
        kept = [Matcher(METRIC_NAME, "=", name) for name in replay.history.kept]
        series = [one for of_name in kept for one in replay.history.select([of_name], *span)]
        server.write(series)
        yield World(server, Evaluator(replay.history), moments(series, *span, server.is_old))


def counters(loaded: Loaded) -> frozenset[str]:
    """The metrics of which the rules or trees ask a rate or an increase."""
    exprs = [*(rule.expr for group in loaded.rules.groups for rule in group.rules), *loaded.trees.expressions]
    calls = [n for expr in exprs for n in nodes_of(expr) if isinstance(n, Call) and n.function in ("rate", "increase")]
    return frozenset(selector.name for call in calls for selector in selectors(call) if selector.name)


def lifted(frame: Frame, metrics: Collection[str]) -> Frame:
    blocks = (Block(b.metric, b.labels, b.values + LIFT) if b.metric in metrics else b for b in frame.blocks)
    return replace(frame, blocks=tuple(blocks))


def moments(series: Sequence[Series], start: int, end: int, off_edges: bool) -> list[float]:
    """Spread over the trace. With ``off_edges`` all lie at a fraction of a second at which no series has a sample, as windows are whole seconds; else every second one is a sample's own."""
    times = np.unique(np.concatenate([one.timestamps for one in series]))
    used = set((times % 1000).tolist())
    free = next(ms for ms in range(1, 1000) if ms not in used)
    spread = [int(at) // 1000 * 1000 + free for at in np.linspace(start + 15_000, end, MOMENTS)]
    if not off_edges:
        spread[::2] = [int(times[np.searchsorted(times, at) - 1]) for at in spread[::2]]
    return [at / 1000 for at in spread]


def compared(world: World, exprs: Collection[Expr]) -> int:
    """How many of the expressions had an answer at some moment; fails where answers differ."""
    found = [world.compared(expr) for expr in exprs]
    filled = sum(any_answer for _, any_answer in found)
    print(f"{len(exprs)} expressions on {world.server.version}, {filled} with an answer at some moment")
    differences = [difference for differing, _ in found for difference in differing]
    assert not differences, report(differences)
    return filled


def test_expressions_of_rules(world: World, loaded: Loaded) -> None:
    exprs = [rule.expr for group in loaded.rules.groups for rule in group.rules]
    assert len(exprs) > 150
    # All recording rules but the one on certificates, and what the death of a broker makes true; in the rest it is their parts that have answers.
    assert compared(world, exprs) >= 15


def test_parts_of_expressions_of_rules(world: World, loaded: Loaded) -> None:
    """A condition that does not hold has no answer, but what it compares has."""
    whole = [rule.expr for group in loaded.rules.groups for rule in group.rules]
    parts = dict.fromkeys(part for expr in whole for part in nodes_of(expr) if is_part(part))
    assert compared(world, parts) >= len(parts) / 3


def is_part(expr: Expr) -> bool:
    """Whether it can be asked on its own and says something."""
    if isinstance(expr, Selector):
        return expr.range_ms == 0
    return value_type(expr) in (ValueType.VECTOR, ValueType.SCALAR) and not isinstance(expr, Number | String)


def test_expressions_of_trees(world: World, loaded: Loaded) -> None:
    exprs = dict.fromkeys(bind(expr, NAMES) for expr in loaded.trees.expressions)
    assert compared(world, exprs) >= len(exprs) / 3
