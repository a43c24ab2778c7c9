"""Prints what the history costs: appends, selects, checkpoints and memory at 100,000 series.

``python -m tests.bench.history [--series 100000]``
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import threading
import time
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from exporter.blocks import Block, LabelSets
from exporter.history import History
from exporter.series import Matcher

FAMILIES = 10
RETENTION_S = 600.0
STEP_MS = 15_000


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--series", type=int, default=100_000)
    measure(arguments.parse_args().series)


def measure(series: int) -> None:
    each = series // FAMILIES
    tracemalloc.start()
    rows = [(f"orders-{i // 10}", str(i % 10)) for i in range(each)]
    labels = LabelSets(("topic", "partition"), rows)
    names = [f"kafka_family_{i}" for i in range(FAMILIES)]
    history = History()
    history.keep(dict.fromkeys(names, RETENTION_S))
    random = np.random.default_rng(1)

    def blocks(sets: LabelSets) -> list[Block]:
        return [Block(name, sets, random.integers(0, 10**9, len(sets))) for name in names]

    before = tracemalloc.get_traced_memory()[0]
    history.append("c", blocks(labels), STEP_MS)
    of_labels = tracemalloc.get_traced_memory()[0] - before - history.stats().bytes
    tracemalloc.stop()
    at = STEP_MS
    fresh = History()
    fresh.keep(dict.fromkeys(names, RETENTION_S))
    print(f"{series} series in {FAMILIES} families, {RETENTION_S:.0f} s kept, a sample each {STEP_MS / 1000:.0f} s")
    say("first append", [spent(partial(fresh.append, "c", blocks(labels), STEP_MS))])
    costs = []
    for _ in range(60):
        moment, at = blocks(labels), at + STEP_MS
        costs.append(spent(partial(history.append, "c", moment, at)))
    say("append", costs)
    stats = history.stats()
    print(
        f"memory: {stats.bytes / stats.series:.0f} bytes of samples per series ({stats.samples // stats.series} each), {of_labels / series:.0f} bytes of labels"
    )
    standing = blocks(labels)
    costs = [spent(partial(history.append, "c", standing, at + STEP_MS * i)) for i in range(1, 41)]
    at += STEP_MS * 40
    say("append, nothing changed", costs)
    print(f"memory, nothing changed: {history.stats().bytes / stats.series:.0f} bytes of samples per series")

    one = [Matcher("__name__", "=", names[0])]
    topic = [*one, Matcher("topic", "=", "orders-7")]
    pattern = [*one, Matcher("topic", "=~", "orders-.*7")]
    say(f"latest of a family ({each})", many(lambda: history.select_latest(one, at, 300_000)))
    say("latest by an equal label", many(lambda: history.select_latest(topic, at, 300_000)))
    say("latest by a pattern", many(lambda: history.select_latest(pattern, at, 300_000)))
    say(f"five minutes of a family ({each})", many(lambda: history.select(one, at - 300_000, at)))
    say("five minutes by an equal label", many(lambda: history.select(topic, at - 300_000, at)))

    changed = LabelSets(labels.names, [*rows[:-1], ("new", "0")])
    say("append after a label set changed", [spent(lambda: history.append("c", blocks(changed), at + STEP_MS))])
    say("latest by a pattern after that", [spent(lambda: history.select_latest(pattern, at + STEP_MS, 300_000))])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "history"
        saving = threading.Thread(target=lambda: say("save", many(lambda: history.save(path), 5)))
        saving.start()
        costs = []
        while saving.is_alive():
            at += STEP_MS
            costs.append(spent(partial(history.append, "c", standing, at)))
            time.sleep(0.005)
        say("append while another thread saves", costs)
        print(f"checkpoint: {path.stat().st_size / 1e6:.1f} MB")
        again = History()
        again.keep(dict.fromkeys(names, RETENTION_S))
        say("load", [spent(lambda: again.load(path, at / 1000))])


def spent(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def many(call: Callable[[], object], times: int = 30) -> list[float]:
    return [spent(call) for _ in range(times)]


def say(what: str, costs: list[float]) -> None:
    print(f"{what}: median {statistics.median(costs) * 1e3:.2f} ms, max {max(costs) * 1e3:.2f} ms")


if __name__ == "__main__":
    main()
