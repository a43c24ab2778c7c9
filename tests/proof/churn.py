"""Twenty-four simulated hours in which topics, groups, members and brokers come and go: dead series vanish, and nothing that Klaxon holds grows.

The real collectors, Snapshots, page, history, rules, trees and book on the cluster in memory, on a clock that is moved by hand.
"""

from __future__ import annotations

import gc
import itertools
import random
import sqlite3
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from alerts.book.book import Book
from alerts.diagnosis.desk import Desk, Surroundings
from alerts.diagnosis.postings import Posting
from alerts.diagnosis.walk import World
from alerts.engine.engine import Engine
from alerts.model import Incident
from alerts.promql.evaluate import Evaluator
from exporter.history import checkpoint
from exporter.history.checkpoint import SavedTable
from exporter.series import Labels
from tests.bench.cycle import CLUSTER, Cycle, configuration
from tests.fakes.kafka import FakeClock, FakeCluster, FakeReader
from tests.proof.report import Row

HOURS = 24
SETTLED = 15
"""After seven hours all that was there at first is gone. But for a few of a day the history's longest windows are six hours, and a dead series may stay an eighth
of them longer. So from here on nothing may grow; the brokers are in the same state as at the end."""
WINDOW_S = 7 * 3600.0
STEP_S = 30.0
STEPS = 120
TOPICS, PARTITIONS, GROUPS = 100, 3, 50
REPLACED_TOPICS, REPLACED_GROUPS = 15, 8
"""Each hour, the oldest; a group reads two topics, and loses what was committed on a deleted one."""
RETENTION_S = 3600.0
STUCK_EACH = 10
"""One in so many groups commits no more: its alert must go when the group does."""
AFTERWARDS = 12
"""Cycles after the last deaths: what a poll no longer shows is stale, and its alerts are resolved."""
MOST_GROWTH = 0.05


class Clock(FakeClock):
    """Steps with each cycle."""

    def step(self) -> None:
        self.advance(STEP_S)


class Churn:
    """A cluster that lives. What died is kept with the time of its death."""

    def __init__(self, clock: Clock) -> None:
        self.model = FakeCluster(clock)
        self.clock = clock
        self.died: dict[str, float] = {}
        self._random = random.Random(1)
        self._number = itertools.count()
        for _ in range(TOPICS):
            self._new_topic()
        for _ in range(GROUPS):
            self._new_group()

    def hour(self, hour: int) -> None:
        """Some go, as many come; one topic is made again under its name, records are kept for an hour, and each third hour a broker restarts."""
        for topic in self.model.topics.values():
            for partition in topic.partitions:
                kept = (offset for offset, at in partition.stamps() if at >= self.clock() - RETENTION_S)
                partition.start = next(kept, partition.end)
        topics = [t for t in self.model.topics if t.startswith("orders")]
        for name in topics[:REPLACED_TOPICS]:
            self.model.delete_topic(name)
            self.died[name] = self.clock()
            self._new_topic()
        again = self._random.choice([t for t in self.model.topics if t.startswith("orders")])
        self.model.delete_topic(again)
        self.model.create_topic(again, PARTITIONS)
        for name in list(self.model.groups)[:REPLACED_GROUPS]:
            self.model.delete_group(name)
            self.died[name] = self.clock()
            self._new_group()
        if hour % 3 == 1:
            self.model.kill(2)
        if hour % 3 == 2:
            self.model.start(2)
            self.model.elect_preferred()

    def step(self) -> None:
        """Records and commits on everything that can take them, and now and then a member goes for another."""
        for topic in self.model.topics.values():
            for partition in topic.partitions:
                partition.append(self._random.randrange(100), self.clock())
        for number, group in enumerate(self.model.groups.values()):
            if number % STUCK_EACH:
                for (topic_name, p), (at, note) in group.commits.items():
                    end = self.model.topics[topic_name].partitions[p].end
                    group.commits[topic_name, p] = (max(at, end - self._random.randrange(50)), note)
        name = self._random.choice(sorted(self.model.groups))
        for member in list(self.model.groups[name].members):
            self.model.leave(name, member)
        self.model.join(name, f"member-{next(self._number)}", {})

    def alive(self) -> set[str]:
        return {*self.model.topics, *self.model.groups}

    def _new_topic(self) -> None:
        self.model.create_topic(f"orders-{next(self._number):05}", PARTITIONS)

    def _new_group(self) -> None:
        name = f"billing-{next(self._number):05}"
        self.model.create_group(name, self._random.choice(["classic", "consumer"]))
        for topic in self._random.sample([t for t in self.model.topics if t.startswith("orders")], 2):
            for partition in range(PARTITIONS):
                self.model.commit(name, topic, partition, 0)


class Nowhere:
    """Takes what is to be delivered."""

    def post(self, batch: Sequence[Posting]) -> None:
        pass

    def tell(self, incidents: Sequence[Incident]) -> None:
        pass


class Line:
    """Everything from the cluster to the incidents, the book included."""

    def __init__(self, churn: Churn, folder: Path) -> None:
        self.clock = churn.clock
        self.folder = folder
        self.reader = FakeReader(churn.model, CLUSTER)
        self.cycle = Cycle(self.reader, None, {}, churn.clock)
        loaded = configuration(folder)
        self.book = Book(folder, churn.clock)
        evaluator = Evaluator(self.cycle.history)
        self.engine = Engine(
            loaded.rules,
            evaluator,
            lambda: {CLUSTER: self.cycle.coverage()},
            self.book,
            churn.clock,
            sink=self.cycle.history,
        )
        surroundings = Surroundings(
            lambda cluster, at: World(evaluator, at, self.cycle.coverage(), "127.0.0.1:9092"),
            lambda cluster, collectors: None,
            lambda cluster, collectors, since: True,
            churn.clock,
        )
        self.desk = Desk(loaded.trees, self.book, Nowhere(), surroundings)
        self.incidents = 0

    def step(self) -> None:
        self.cycle.run()
        self.engine.evaluate_due(self.clock())
        self.desk.tick(self.engine.alerts())
        self.incidents = max(self.incidents, len(self.desk.incidents))


def prove(only: str | None) -> Iterator[list[Row]]:
    with tempfile.TemporaryDirectory() as folder:
        churn = Churn(Clock())
        line = Line(churn, Path(folder))
        settled: Held | None = None
        for hour in range(HOURS):
            for step in range(STEPS):
                churn.step()
                line.step()
                # As long after the last deaths as at the end.
                if (hour, step + 1) == (SETTLED, AFTERWARDS):
                    settled = Held(line)
            line.cycle.begin()
            churn.hour(hour)
            print(f"… hour {hour + 1} of {HOURS}", file=sys.stderr, flush=True)
        for _ in range(AFTERWARDS):
            churn.step()
            line.step()
        assert settled is not None
        rows = [*growth(settled, Held(line)), *dead_series(churn, line)]
        line.book.close()
        # One trial: its rows are replaced together.
        yield [replace(row, trial="churn") for row in rows]


# --- what must not grow


class Held:
    """How much Klaxon holds: memory, Python's blocks, the entries of every container, the book's rows and the checkpoint's bytes."""

    def __init__(self, line: Line) -> None:
        gc.collect()
        self.resident = psutil.Process().memory_info().rss
        self.blocks = sys.getallocatedblocks()
        self.entries = dict(containers([line.cycle, line.engine, line.desk]))
        self.rows = book_rows(line.book.path)
        self.checkpoint = checkpoint_bytes(line)


def checkpoint_bytes(line: Line) -> int:
    """Of all families but those with windows of a day, which are still being filled."""
    history, path = line.cycle.history, line.folder / "checkpoint"
    checkpoint.write(
        path,
        (
            SavedTable(name, writer.cluster, writer.source, *table.columns.frozen(), table.frozen())
            for name, tables in history._tables.items()
            for writer, table in tables.items()
            if history.kept[name] <= WINDOW_S
        ),
    )
    return path.stat().st_size


def growth(before: Held, after: Held) -> list[Row]:
    rows = [
        Row(
            f"churn of {HOURS} hours: {what} stays within {MOST_GROWTH:.0%}",
            b <= a * (1 + MOST_GROWTH),
            f"{a / unit:.1f} after {SETTLED} hours, {b / unit:.1f} {name} at the end",
        )
        for what, name, unit, a, b in (
            ("resident memory", "MB", 1e6, before.resident, after.resident),
            ("memory of Python objects", "thousand blocks", 1e3, before.blocks, after.blocks),
            ("the checkpoint", "kB", 1e3, before.checkpoint, after.checkpoint),
        )
    ]
    grown = {
        k: (before.entries.get(k, 0), n) for k, n in after.entries.items() if n > 1.3 * before.entries.get(k, 0) + 30
    }
    rows.append(
        Row(
            f"churn of {HOURS} hours, containers: none that the line holds has grown",
            not grown,
            "; ".join(f"{k} {a} → {b}" for k, (a, b) in sorted(grown.items())) or f"{len(after.entries)} looked at",
        )
    )
    # Closed incidents are kept for a month on purpose.
    kept = {t: n for t, n in after.rows.items() if t not in ("incidents", "sent") and n > before.rows[t] + 30}
    said = ", ".join(f"{t} {n}" for t, n in sorted(after.rows.items()))
    return [*rows, Row(f"churn of {HOURS} hours, the book: no rows are left behind", not kept, said)]


def containers(roots: Sequence[object]) -> Iterator[tuple[str, int]]:
    """(class.attribute, entries of the largest such container) of everything of ours that can be reached."""
    sizes: dict[str, int] = {}
    seen: set[int] = set()
    stack = list(roots)
    while stack:
        found = stack.pop()
        if id(found) in seen or isinstance(found, Labels | type):
            continue
        seen.add(id(found))
        if isinstance(found, Mapping):
            stack += [*found.keys(), *found.values()]
        elif isinstance(found, list | tuple | set | frozenset):
            stack += found
        elif type(found).__module__.partition(".")[0] in ("exporter", "alerts", "klaxon"):
            for name, value in attributes(found):
                stack.append(value)
                if hasattr(value, "__len__") and not isinstance(value, str | bytes | np.ndarray):
                    key = f"{type(found).__name__}.{name}"
                    sizes[key] = max(sizes.get(key, 0), len(value))
        elif isinstance(found, Cycle):
            stack += vars(found).values()
    return iter(sizes.items())


def attributes(found: object) -> Iterator[tuple[str, Any]]:
    yield from getattr(found, "__dict__", {}).items()
    for cls in type(found).__mro__:
        for name in getattr(cls, "__slots__", ()):
            if name != "__weakref__" and hasattr(found, name):
                yield name, getattr(found, name)


def book_rows(path: Path) -> Mapping[str, int]:
    with sqlite3.connect(path) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {t: connection.execute(f"SELECT count(*) FROM {t}").fetchone()[0] for t in tables}


# --- what must be gone


def dead_series(churn: Churn, line: Line) -> list[Row]:
    dead = churn.died.keys() - churn.alive()
    body = b"".join(line.cycle.page.render("")[1]).decode()
    shown = [name for name in dead if f'"{name}"' in body]
    missing = [name for name in churn.alive() if f'"{name}"' not in body]
    # Resolved ones are shown for a while.
    alerts = [a for a in line.engine.alerts() if a.active and dead & set(a.labels.values())]
    late = [name for name, at in kept_too_long(churn, line) if name in dead]
    return [
        Row(
            f"churn of {HOURS} hours, the page: only topics and groups that exist",
            not shown and not missing,
            f"{len(dead)} died; shown of them: {', '.join(shown[:5]) or 'none'}; living ones missing: {', '.join(missing[:5]) or 'none'}",
        ),
        Row(
            f"churn of {HOURS} hours, the history: a dead series goes when its window is over",
            not late,
            f"{line.cycle.history.stats().series:,} series kept, {line.cycle.history.stats().live:,} of them live; too long: {', '.join(late[:5]) or 'none'}",
        ),
        Row(
            f"churn of {HOURS} hours, alerts: those of dead groups are gone",
            not alerts and line.incidents > 0,
            f"of dead groups: {', '.join(str(a.labels) for a in alerts[:3]) or 'none'}; at most {line.incidents} incidents at a time",
        ),
    ]


def kept_too_long(churn: Churn, line: Line) -> Iterator[tuple[str, float]]:
    """(name, time of death) of what the history still has though its window and the eighth that a chunk may last are over."""
    for tables in line.cycle.history._tables.values():
        for table in tables.values():
            allowed = table.retention_ms / 1000 * 1.125 + 120
            for key in table.columns.frozen()[1]:
                for name in key.values() if isinstance(key, Labels) else key or ():
                    at = churn.died.get(name)
                    if at is not None and churn.clock() - at > allowed:
                        yield name, at
