"""Prints what the metrics page costs: publishing (rendering and compressing) and scraping at 100,000 series, alone and while publishes run.

``python -m tests.bench.page [--series 100000]``
"""

from __future__ import annotations

import argparse
import gzip
import statistics
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable
from functools import partial

import numpy as np

from exporter.blocks import Block, LabelSets
from exporter.metrics.catalogue import complete
from exporter.metrics.page import Page
from exporter.metrics.writer import LINES_PER_CHUNK, Writer

PER_PARTITION = ("topic", "partition")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--series", type=int, default=100_000)
    measure(arguments.parse_args().series)


def measure(series: int) -> None:
    names = [row.name for row in complete().values() if row.labels == PER_PARTITION and not row.sparse]
    each = series // len(names)
    labels = LabelSets(PER_PARTITION, [(f"orders-topic-{i // 10}", str(i % 10)) for i in range(each)])
    random = np.random.default_rng(1)

    def blocks(changed: bool = True) -> dict[str, list[Block]]:
        """Offsets are large numbers, all else are small ones."""
        return {
            "topics": [
                Block(name, labels, random.integers(0, 10**9 if "offset" in name else 4, each) * changed)
                for name in names
            ]
        }

    page = Page(complete())
    print(f"{each * len(names)} series in {len(names)} families")
    tracemalloc.start()
    first = blocks()
    page.publish("c", first)
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    body, packed = (b"".join(page.render(accept)[1]) for accept in ("", "gzip"))
    assert gzip.decompress(packed) == body
    print(
        f"page: {len(body) / 1e6:.1f} MB, {len(packed) / 1e6:.2f} MB as gzip; held by templates, page and values: {held / each / len(names):.0f} bytes per series"
    )

    fresh = Page(complete())
    say("first publish, labels laid out", [spent(lambda: fresh.publish("c", first))])
    rounds = [blocks() for _ in range(10)]
    say("publish, every value changed", [spent(partial(page.publish, "c", b)) for b in rounds])
    still = [blocks(changed=False) for _ in range(10)]
    page.publish("c", still[0])
    say("publish, equal values in new arrays", [spent(partial(page.publish, "c", b)) for b in still])
    page.publish("c", first)

    writer, row = Writer(), complete()[names[0]]
    chunk = LabelSets(PER_PARTITION, labels.rows[:LINES_PER_CHUNK])
    for kind, values in (
        ("small numbers", random.integers(0, 4, len(chunk))),
        ("large offsets", random.integers(10**6, 10**12, len(chunk))),
        ("fractions", random.random(len(chunk))),
    ):
        block = Block(row.name, chunk, values)
        list(writer.render(row, "c", block))
        say(f"{len(chunk)} lines of {kind}", many(lambda block=block: list(writer.render(row, "c", block)), 20))

    say("scrape, gzip", many(lambda: b"".join(page.render("gzip")[1])))
    say("scrape, plain", many(lambda: b"".join(page.render("")[1])))
    done = threading.Event()

    def publishing() -> None:
        while not done.is_set():
            for moment in rounds:
                page.publish("c", moment)

    publisher = threading.Thread(target=publishing)
    publisher.start()
    say(
        f"scrape, gzip, while another thread publishes without a pause (switch interval {sys.getswitchinterval() * 1e3:.0f} ms)",
        many(lambda: b"".join(page.render("gzip")[1]), 300, pause=0.01),
    )
    done.set()
    publisher.join()


def spent(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def many(call: Callable[[], object], times: int = 100, pause: float = 0.0) -> list[float]:
    costs = []
    for _ in range(times):
        time.sleep(pause)
        costs.append(spent(call))
    return costs


def say(what: str, costs: list[float]) -> None:
    costs = sorted(costs)
    print(
        f"{what}: median {statistics.median(costs) * 1e3:.2f} ms, p99 {costs[int(0.99 * (len(costs) - 1))] * 1e3:.2f} ms, max {costs[-1] * 1e3:.2f} ms"
    )


if __name__ == "__main__":
    main()
