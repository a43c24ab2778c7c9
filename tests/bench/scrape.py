"""Scrapes of a page of 100,000 series from the real web server in a process of its own, at rest and while that process publishes new values.

``python -m tests.bench.scrape SERIES PORT PUBLISH_EVERY`` is that process.
"""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from exporter.blocks import Block, LabelSets
from exporter.metrics.catalogue import complete
from exporter.metrics.page import Page
from klaxon.cli import SWITCH_S
from klaxon.web.app import create_app
from klaxon.web.server import WebServer, bind
from tests.bench.cluster_m import ROOT
from tests.bench.daemon import ENCODINGS, Scrapes, scraped

PER_PARTITION = ("topic", "partition")
SERIES = 100_000
NEVER, EACH_SECOND, WITHOUT_PAUSE = -1.0, 1.0, 0.0
MODES: Mapping[str, float] = {
    "at rest": NEVER,
    "every value new each second": EACH_SECOND,
    "publishing without a pause": WITHOUT_PAUSE,
}


def measure(count: int, series: int = SERIES) -> Mapping[tuple[str, str], Scrapes]:
    """(mode, encoding) -> scrapes."""
    found: dict[tuple[str, str], Scrapes] = {}
    for mode, every in MODES.items():
        with served(series, every) as port:
            for name, accept in ENCODINGS.items():
                found[mode, name] = scraped(port, accept, count)
    return found


@contextmanager
def served(series: int, every: float) -> Iterator[int]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.scrape", str(series), str(every)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        yield int(process.stdout.readline())
    finally:
        process.stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


# --- what runs in that process


class OnlyMetrics:
    """What the web application needs for ``/metrics``."""

    def __init__(self, page: Page) -> None:
        self._page = page

    def metrics(self, accept_encoding: str, *_: object) -> tuple[Mapping[str, str], Iterable[bytes]]:
        return self._page.render(accept_encoding)

    def clusters(self) -> Sequence[str]:
        return ["m"]


def synthetic(series: int, rounds: int) -> list[dict[str, list[Block]]]:
    """Blocks of every family by topic and partition, with other values in each round; offsets are large numbers."""
    names = [row.name for row in complete().values() if row.labels == PER_PARTITION and not row.sparse]
    each = -(-series // len(names))
    labels = LabelSets(PER_PARTITION, [(f"orders-topic-{i // 10}", str(i % 10)) for i in range(each)])
    random = np.random.default_rng(1)
    return [
        {"topics": [Block(name, labels, random.integers(0, 10**9 if "offset" in name else 4, each)) for name in names]}
        for _ in range(rounds)
    ]


def serve(series: int, every: float) -> None:
    sys.setswitchinterval(SWITCH_S)
    page = Page(complete())
    rounds = synthetic(series, 4)
    page.publish("m", rounds[0])
    listener = bind("127.0.0.1", 0)
    shown: Any = OnlyMetrics(page)
    WebServer(create_app(shown), listener).start()
    if every >= 0:
        threading.Thread(target=publish, args=(page, rounds, every), daemon=True).start()
    print(listener.getsockname()[1], flush=True)
    sys.stdin.read()


def publish(page: Page, rounds: Sequence[Mapping[str, Sequence[Block]]], every: float) -> None:
    for blocks in itertools.cycle(rounds):
        page.publish("m", blocks)
        time.sleep(every)


if __name__ == "__main__":
    serve(int(sys.argv[1]), float(sys.argv[2]))
