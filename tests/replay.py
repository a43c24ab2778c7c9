"""Recorded faults and operations: the format of tests/traces/, a recorder for it, and a replayer that feeds the history and the rule engine on a clock of its own.

A trace is gzipped JSON lines, one *frame* per published Snapshot:

    {"at": 1700000000.0, "cluster": "orders",
     "blocks": [{"metric": "kafka_broker_up", "names": ["broker"], "rows": [["1"], ["2"]], "values": [1, 0]}, …],
     "silent": ["kafka_partition_leaderless"],
     "coverage": {"at": …, "taken_at": {"topics": {"-1": …}}, "expected": {"topics": [-1]}, "unsupported": []}}

``"rows": 3`` instead of a list repeats names and rows of the metric's last block, and without ``"values"`` its values are repeated too. ``silent`` are the families that the frame
speaks for without a sample, so that their series end; a frame without this key speaks for all. Only the metrics that were asked for are in it.
"""

from __future__ import annotations

import gzip
import json
import math
import random
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from alerts.engine.engine import AlertBook, Engine
from alerts.engine.lifecycle import Change
from alerts.engine.rules import RuleSet
from alerts.engine.thresholds import METRIC as LIMITS
from alerts.engine.thresholds import ThresholdBlocks, Thresholds
from alerts.promql.evaluate import Evaluator
from exporter.blocks import Block, LabelSets
from exporter.history.history import History
from exporter.reading import Coverage

TRACES = Path(__file__).parent / "traces"


@dataclass(frozen=True, slots=True)
class Frame:
    """One published moment of one cluster: what the history was given of it. ``silent`` is None where the frame speaks for every family."""

    at: float
    cluster: str
    blocks: tuple[Block, ...]
    coverage: Coverage
    silent: frozenset[str] | None = None


# --- recording ----------------------------------------------------------------------------------------------------------------------------


class Recorder:
    """Writes a trace, frame by frame; ``close`` it. ``metrics`` bounds what is kept."""

    def __init__(self, path: Path, metrics: Collection[str]) -> None:
        self._file = gzip.open(path, "wt", encoding="utf-8")  # noqa: SIM115 - lives as long as the recorder
        self._metrics = frozenset(metrics)
        self._last: dict[tuple[str, str], tuple[Sequence[str], Sequence[tuple[str, ...]], Sequence[float | str]]] = {}

    def frame(self, frame: Frame) -> None:
        line: dict[str, Any] = {
            "at": frame.at,
            "cluster": frame.cluster,
            "blocks": [self._block(frame.cluster, b) for b in frame.blocks if b.metric in self._metrics],
            "coverage": _coverage(frame.coverage),
        }
        if frame.silent is not None:
            line["silent"] = sorted(frame.silent & self._metrics)
        self._file.write(json.dumps(line, separators=(",", ":"), allow_nan=False) + "\n")

    def _block(self, cluster: str, block: Block) -> dict[str, Any]:
        names, rows = block.labels.names, list(block.labels.rows)
        values = [v if math.isfinite(v) else str(v) for v in block.values.tolist()]
        known = self._last.get((cluster, block.metric), ((), (), ()))
        self._last[cluster, block.metric] = (names, rows, values)
        if known == (names, rows, values):
            return {"metric": block.metric, "rows": len(rows)}
        if known[:2] == (names, rows):
            return {"metric": block.metric, "rows": len(rows), "values": values}
        return {"metric": block.metric, "names": list(names), "rows": rows, "values": values}

    def close(self) -> None:
        self._file.close()


def _coverage(coverage: Coverage) -> dict[str, Any]:
    return {
        "at": coverage.at,
        "taken_at": {c: {str(s): at for s, at in sources.items()} for c, sources in coverage.taken_at.items()},
        "expected": {c: sorted(sources) for c, sources in coverage.expected.items()},
        "unsupported": sorted(coverage.unsupported),
    }


# --- reading ------------------------------------------------------------------------------------------------------------------------------


def read_trace(path: Path) -> Iterator[Frame]:
    """The frames of a trace, oldest first; label sets that did not change are the same objects."""
    known: dict[tuple[str, str], Block] = {}
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                yield _frame(json.loads(line), known)
            except (KeyError, ValueError, TypeError) as error:
                raise ValueError(f"{path}, line {number}: not a frame: {error!r}") from error


def _frame(data: Mapping[str, Any], known: dict[tuple[str, str], Block]) -> Frame:
    cluster = data["cluster"]
    blocks = []
    for one in data["blocks"]:
        key = cluster, one["metric"]
        if isinstance(one["rows"], list):
            labels = LabelSets(tuple(one["names"]), [tuple(row) for row in one["rows"]])
        else:
            labels = known[key].labels
        values = np.array([float(v) for v in one["values"]], dtype=np.float64) if "values" in one else known[key].values
        known[key] = Block(one["metric"], labels, values)
        blocks.append(known[key])
    cover = data["coverage"]
    coverage = Coverage(
        cluster,
        cover["at"],
        {c: {int(s): at for s, at in sources.items()} for c, sources in cover["taken_at"].items()},
        {c: frozenset(sources) for c, sources in cover["expected"].items()},
        frozenset(cover["unsupported"]),
    )
    silent = frozenset(data["silent"]) if "silent" in data else None
    return Frame(data["at"], cluster, tuple(blocks), coverage, silent)


# --- what happens to a recording ------------------------------------------------------------------------------------------------------------


def joined(frames: Sequence[Frame]) -> Frame:
    """The last of some frames with the newest blocks of all of them, as a line that missed some samples them."""
    last = frames[-1]
    if last.silent is None:
        return last
    newest: dict[str, tuple[Block, ...]] = {}
    for frame in frames:
        newest |= dict.fromkeys(frame.silent or (), ())
        for metric in {b.metric for b in frame.blocks}:
            newest[metric] = tuple(b for b in frame.blocks if b.metric == metric)
    silent = frozenset(metric for metric, blocks in newest.items() if not blocks)
    return replace(last, blocks=tuple(b for blocks in newest.values() for b in blocks), silent=silent)


def every(frames: Sequence[Frame], step: int, first: int = 0) -> Iterator[Frame]:
    """Each ``step``-th frame, with what those in between brought."""
    for n in range(first, len(frames), step):
        yield joined(frames[max(0, n - step + 1) : n + 1])


def with_gaps(frames: Iterable[Frame], rng: random.Random, *, share: float = 0.1, longest: int = 20) -> Iterator[Frame]:
    """The frames without some stretches: Klaxon stood still there, or was not running. What they brought comes with the next frame."""
    left = 0
    missed: list[Frame] = []
    for frame in frames:
        if left == 0 and rng.random() < share / longest:
            left = rng.randint(1, longest)
        missed.append(frame)
        if left:
            left -= 1
            continue
        yield joined(missed)
        missed.clear()


def silenced(
    frames: Iterable[Frame], collector: str, start: float, end: float, owned: Collection[str], source: int | None = None
) -> Iterator[Frame]:
    """The frames as if a collector (or one of its sources, by the label ``broker``) had not answered from start to end: its series and its coverage are gone. What it brought comes when it is over."""
    missed: list[Frame] = []
    for frame in frames:
        if not start <= frame.at < end:
            yield joined([*missed, frame])
            missed.clear()
            continue
        if frame.silent is not None:
            brought = tuple(b for b in frame.blocks if b.metric in owned)
            missed.append(replace(frame, blocks=brought, silent=frame.silent & frozenset(owned)))
        taken = {
            s: at for s, at in frame.coverage.taken_at.get(collector, {}).items() if source is not None and s != source
        }
        coverage = replace(frame.coverage, taken_at={**frame.coverage.taken_at, collector: taken})
        blocks = (_without(b, source) if b.metric in owned else b for b in frame.blocks)
        kept = tuple(b for b in blocks if b is not None)
        gone = frozenset(owned) if source is None else frozenset[str]()
        silent = None if frame.silent is None else frame.silent | (gone - {b.metric for b in kept})
        yield replace(frame, coverage=coverage, blocks=kept, silent=silent)


def with_limits(frames: Iterable[Frame]) -> Iterator[Frame]:
    """The frames with the limits of today's defaults, for the topics and groups that were there, in place of those that were in force."""
    made: dict[str, ThresholdBlocks] = {}
    for frame in frames:
        limits = made.setdefault(frame.cluster, ThresholdBlocks(Thresholds(), frame.cluster))
        yield replace(frame, blocks=tuple(_limits(limits, b) if b.metric == LIMITS else b for b in frame.blocks))


def _limits(limits: ThresholdBlocks, block: Block) -> Block:
    def items(label: str) -> tuple[str, ...]:
        at = block.labels.names.index(label)
        return tuple(dict.fromkeys(row[at] for row in block.labels.rows if row[at]))

    return limits.block(items("topic"), items("consumergroup"))


def _without(block: Block, source: int | None) -> Block | None:
    if source is None or "broker" not in block.labels.names:
        return None
    at = block.labels.names.index("broker")
    kept = [i for i, row in enumerate(block.labels.rows) if row[at] != str(source)]
    return Block(block.metric, LabelSets(block.labels.names, [block.labels.rows[i] for i in kept]), block.values[kept])


# --- replaying ----------------------------------------------------------------------------------------------------------------------------


class BookFactory(Protocol):
    def __call__(self) -> AlertBook: ...


@dataclass(slots=True)
class Replay:
    """A history and an engine on the clock of the frames. ``restart_at`` asks before every frame whether Klaxon is killed and started again there.

    ``changes`` are all (time, change) in their order.
    """

    rules: RuleSet
    book: BookFactory
    restart_at: Callable[[float], bool] = lambda at: False
    history: History = field(default_factory=History)
    coverage: dict[str, Coverage] = field(default_factory=dict)
    changes: list[tuple[float, Change]] = field(default_factory=list)
    now: float = 0.0
    engine: Engine = field(init=False)

    def __post_init__(self) -> None:
        self.history.keep({**self.rules.history_requirements(), "ALERTS": 3600.0})
        self.start()

    def start(self) -> None:
        """A new process on the same book and history."""
        self.engine = Engine(
            self.rules,
            Evaluator(self.history),
            lambda: dict(self.coverage),
            self.book(),
            lambda: self.now,
            sink=self.history,
        )
        self._note(self.engine.restore(self.now))

    def run(self, frames: Iterable[Frame]) -> list[tuple[float, Change]]:
        """Feeds all frames and evaluates what is due after each."""
        for frame in frames:
            self.feed(frame)
        return self.changes

    def feed(self, frame: Frame) -> None:
        if self.restart_at(frame.at):
            self.start()
        self.now = frame.at
        # Series that rules write are theirs to end.
        asked = {name for name in self.history.kept if name != "ALERTS" and ":" not in name}
        speaks_for = asked if frame.silent is None else asked & frame.silent
        self.history.append(frame.cluster, frame.blocks, round(frame.at * 1000), speaks_for)
        self.coverage[frame.cluster] = frame.coverage
        self._note(self.engine.evaluate_due(frame.at))

    def _note(self, changes: Iterable[Change]) -> None:
        self.changes += [(self.now, change) for change in changes]
