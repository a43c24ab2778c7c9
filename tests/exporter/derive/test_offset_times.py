"""Ages of records against a model that keeps the whole history of every log, whatever is asked, lost, truncated, made again or saved in between."""

from __future__ import annotations

import bisect
import random
from dataclasses import dataclass, field

import numpy as np
import pytest

from exporter.derive.offset_times import ASKED, COARSE, GAP_S, MOST_TRIES, POLLS, OffsetTimes
from exporter.facts.partitions import I64, OffsetRows, Partition, PartitionTable
from exporter.reading import Part

DAY = 86400.0
POLL_S = 15.0


@dataclass
class Log:
    """A partition with the time of every record ever appended, by offset."""

    stamps: list[float] = field(default_factory=list)
    start: int = 0
    gaps: set[int] = field(default_factory=set)
    """Offsets that compaction took away."""

    def append(self, at: float, count: int) -> None:
        self.stamps += [at] * count

    def first_after(self, time: float) -> tuple[int, float]:
        """ListOffsets by timestamp: offset and timestamp, -1 where there is none."""
        at = max(bisect.bisect_left(self.stamps, time), self.start)
        while at in self.gaps:
            at += 1
        return (at, self.stamps[at]) if at < len(self.stamps) else (-1, -1.0)


class World:
    """Some logs that are written to and polled."""

    def __init__(self, logs: int, seed: int, now: float = 40 * DAY) -> None:
        self.logs = [Log() for _ in range(logs)]
        self.now = now
        self.random = random.Random(seed)
        self.ids = ["id"] * logs
        self.times = OffsetTimes()
        self.rates = [self.random.choice([0.0, 0.01, 0.3, 5.0]) for _ in range(logs)]
        self._table: PartitionTable | None = None

    @property
    def table(self) -> PartitionTable:
        """A topic per log; the same object while nothing changed."""
        ids = {f"t{i:02d}": key for i, key in enumerate(self.ids)}
        if self._table is None or dict(zip(self._table.topics, self._table.topic_ids, strict=True)) != ids:
            rows = [Partition(topic, 0, 1, 0, 0, (1,), (1,), ()) for topic in ids]
            self._table = PartitionTable.of(rows, ids=ids)
        return self._table

    def live(self, seconds: float, *, poll: bool = True) -> None:
        """Records come at each log's rate, and polls every 15 s."""
        end = self.now + seconds
        while self.now < end:
            for log, rate in zip(self.logs, self.rates, strict=True):
                log.append(self.now + POLL_S / 2, _poisson(self.random, rate * POLL_S))
            self.now += POLL_S
            if poll:
                self.poll()

    def poll(self, missing: frozenset[int] = frozenset()) -> None:
        ends = np.array([-1 if i in missing else len(log.stamps) for i, log in enumerate(self.logs)], dtype=np.int64)
        rows = np.flatnonzero(ends >= 0)
        answer = OffsetRows(self.table, rows, ends[rows], np.zeros(len(rows), dtype=np.int16))
        self.times.observe(self.table, [Part(answer, self.now)], ends)

    def ask(self, rows: I64, offsets: I64) -> int:
        """One round of questions; how many there were."""
        found = self.times.brackets(rows, offsets)
        asked, stamps = self.times.questions(rows, found, self.now)
        told = [self.logs[r].first_after(ms / 1000) for r, ms in zip(asked, stamps, strict=True)]
        self.times.learn(
            OffsetRows(
                self.table,
                asked,
                np.array([o for o, _ in told], dtype=np.int64),
                np.zeros(len(asked), dtype=np.int16),
                np.array([round(t * 1000) if o >= 0 else -1 for o, t in told], dtype=np.int64),
                stamps,
            )
        )
        return len(asked)

    def positions(self) -> tuple[I64, I64]:
        """Every log with something to read, each read up to some offset."""
        rows = [i for i, log in enumerate(self.logs) if log.start < len(log.stamps)]
        offsets = [self.random.randrange(self.logs[i].start, len(self.logs[i].stamps)) for i in rows]
        return np.array(rows, dtype=np.int64), np.array(offsets, dtype=np.int64)

    def check(self, rows: I64, offsets: I64) -> list[float]:
        """Brackets hold the truth; the widths relative to the ages, of those that are usable."""
        found = self.times.brackets(rows, offsets)
        true = np.array([self.logs[r].stamps[o] for r, o in zip(rows, offsets, strict=True)])
        assert (found.earliest <= true + 0.2).all()
        assert (true <= found.latest + 0.2).all()
        usable = found.usable(np.full(len(rows), self.now)) & np.isfinite(found.earliest)
        assert (np.abs(found.likely - true)[usable] <= found.width()[usable] + 0.2).all()
        return list((found.width()[usable] - GAP_S) / np.maximum(self.now - found.earliest[usable], POLL_S))


def _poisson(chance: random.Random, mean: float) -> int:
    whole, part = divmod(mean, 1)
    return int(whole) + (chance.random() < part)


@pytest.mark.parametrize("seed", range(8))
def test_polls_tell_when_a_record_was_appended(seed: int) -> None:
    world = World(6, seed)
    for seconds in (300, 3600, 6 * 3600, 20 * 3600):
        world.live(seconds)
        for _ in range(20):
            widths = world.check(*world.positions())
            assert max(widths, default=0.0) <= COARSE


@pytest.mark.parametrize("seed", range(6))
def test_what_is_older_than_the_table_is_asked_for(seed: int) -> None:
    world = World(6, seed)
    world.live(2 * DAY, poll=False)
    world.live(60)
    rows, offsets = world.positions()
    found = world.times.brackets(rows, offsets)
    assert np.isneginf(found.earliest).any(), "nothing is known of the time before"
    rounds = 0
    while world.ask(rows, offsets):
        rounds += 1
        world.live(30)
        world.check(rows, offsets)
        assert rounds < ASKED, "questions end"
    found = world.times.brackets(rows, offsets)
    assert found.usable(np.full(len(rows), world.now)).all()


@pytest.mark.parametrize("seed", range(6))
def test_after_a_restart_the_table_goes_on_and_its_gap_is_asked_about(seed: int) -> None:
    world = World(5, seed)
    world.rates = [1.0, 0.2, 5.0, 0.05, 0.0]
    world.live(3 * 3600)
    world.times = OffsetTimes.of_state(world.times.state())
    world.live(3600, poll=False)
    world.live(600)
    inside = world.now - 1800 - 600
    rows = np.array([0, 1, 2, 3], dtype=np.int64)
    offsets = np.array([world.logs[r].first_after(inside)[0] for r in rows], dtype=np.int64)
    before = world.times.brackets(rows, offsets)
    assert (before.width() >= 3600).all(), "Klaxon did not run for an hour"
    for _ in range(ASKED):
        world.check(rows, offsets)
        if not world.ask(rows, offsets):
            break
        world.live(30)
    after = world.times.brackets(rows, offsets)
    assert (after.width() < 0.3 * (world.now - after.latest) + 30).all()
    # And once more: another restart makes another gap.
    world.times = OffsetTimes.of_state(world.times.state())
    world.live(1200, poll=False)
    world.live(300)
    world.check(*world.positions())


def test_compacted_and_emptied_logs() -> None:
    world = World(2, 1)
    world.rates = [1.0, 1.0]
    world.live(DAY, poll=False)
    compacted, emptied = world.logs
    compacted.gaps = set(range(1_000, 50_000))
    emptied.start = len(emptied.stamps) - 100
    world.live(60)
    rows, offsets = np.array([0, 1], dtype=np.int64), np.array([60_000, emptied.start], dtype=np.int64)
    while world.ask(rows, offsets):
        world.live(30)
        world.check(rows, offsets)
    assert world.times.brackets(rows, offsets).usable(np.full(2, world.now)).all()


def test_a_leader_that_was_silent_leaves_a_wider_bracket_not_a_wrong_one() -> None:
    world = World(2, 3)
    world.rates = [2.0, 2.0]
    world.live(600)
    for _ in range(8):
        world.live(POLL_S, poll=False)
        world.poll(missing=frozenset({1}))
    world.live(300)
    for _ in range(50):
        world.check(*world.positions())


def test_a_truncated_log_and_a_topic_made_again() -> None:
    world = World(2, 5)
    world.rates = [1.0, 1.0]
    world.live(1200)
    lost = world.logs[0]
    del lost.stamps[-300:]
    world.live(600)
    for _ in range(20):
        world.check(*world.positions())
    world.logs[1], world.ids[1] = Log(), "another"
    world.logs[1].append(world.now, 3)
    world.live(60)
    found = world.times.brackets(np.array([1]), np.array([0]))
    assert np.isneginf(found.earliest[0]), "the old topic's points say nothing about the new one"
    for _ in range(4):
        world.ask(np.array([1]), np.array([0]))
        world.live(30)
    world.check(np.array([1]), np.array([0]))
    assert world.times.brackets(np.array([1]), np.array([0])).usable(np.array([world.now])).all()


def test_the_table_is_bounded_whatever_comes() -> None:
    world = World(3, 7)
    for _ in range(30):
        world.live(world.random.choice([15, 300, 4000]))
        if world.random.random() < 0.3:
            world.live(world.random.choice([200, 9000]), poll=False)
            world.live(POLL_S)
        world.ask(*world.positions())
        state = world.times.state()
        assert sum(state["rows"]) <= POLLS + 2 * ASKED
        assert len(state["polled_at"]) <= POLLS
        assert state["polled_at"] == sorted(state["polled_at"])
        assert (np.diff(state["ends"], axis=0) >= 0).all()
        world.check(*world.positions())


def test_records_without_a_time_are_not_asked_about_for_ever() -> None:
    world = World(1, 9)
    world.logs[0].append(0.0, 100)
    world.live(60)
    rows, offsets = np.array([0]), np.array([50])
    rounds = 0
    for _ in range(100):
        rounds += world.ask(rows, offsets)
        world.live(15)
    assert rounds <= MOST_TRIES + 1
    assert not world.times.brackets(rows, offsets).usable(np.array([world.now])).all()
