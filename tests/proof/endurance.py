"""Thirty coordinator moves, a broker hung for five minutes, starting brokers' zeros, a broker out of memory: the process lives and stays calm."""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections.abc import Callable, Iterator
from functools import partial

import psutil

import demo
from demo import faults, settings
from tests.klaxon_process import Page, wait_until
from tests.proof.report import Row
from tests.proof.stage import Stage, attempted, stage

MOVES = 30
CALM_CORES = 0.5
"""More of a core than this, over a minute, would be a loop and not work."""
HUNG = 300.0
SMALL_HEAP_MB = 256
"""MB; a broker of this stage lives with it, and has little to spare beside the 128 MB of its log cleaner."""
ANNOUNCED = 16_000_000
"""Bytes of a request, below socket.request.max.bytes."""
FILLED = 90.0
NEVER_ZERO = ("kafka_controller_kafkacontroller_activebrokercount", "kafka_server_replicamanager_partitioncount")
"""Gauges that a starting node falsely reports as 0."""


def prove(only: str | None) -> Iterator[list[Row]]:
    parts: dict[str, Callable[[Stage], list[Row]]] = {
        "moves": coordinator_moves,
        "hung": hung_broker,
        "memory": out_of_memory,
    }
    with stage() as on_stage:
        for name, part in parts.items():
            if only is None or only in name:
                on_stage.wait_calm(600)
                yield attempted(name, partial(part, on_stage))
                faults.heal(on_stage.cluster)


def coordinator_moves(on_stage: Stage) -> list[Row]:
    """Kill, clean stop, preferred election, node after node, while everything is polled."""
    process = on_stage.klaxon.process
    assert process is not None
    cpu, begun = on_stage.klaxon.cpu_seconds(), time.monotonic()
    zeros: set[str] = set()
    made = 0
    nodes = on_stage.cluster.node_ids
    while made < MOVES:
        node = nodes[made % len(nodes)]
        act = (on_stage.cluster.kill_node, on_stage.cluster.stop_node)[made // len(nodes) % 2]
        act(node)
        made += 1
        on_stage.cluster.start_node(node)
        zeros |= false_zeros(on_stage.klaxon.page())
        on_stage.cluster.wait_healthy()
        faults.preferred_election(on_stage.cluster)
        made += 1
        zeros |= false_zeros(on_stage.klaxon.page())
        on_stage.say(f"moves: {made} of {MOVES}")
    seconds = time.monotonic() - begun
    cores = (on_stage.klaxon.cpu_seconds() - cpu) / seconds
    return [
        Row(
            f"{MOVES} coordinator moves: the process lives", process.poll() is None, f"{made} moves in {seconds:.0f} s"
        ),
        Row(f"{MOVES} coordinator moves: no core burns", cores < CALM_CORES, f"{cores:.3f} cores"),
        Row("a starting node's false zeros never appear", not zeros, "; ".join(sorted(zeros)) or "none seen"),
    ]


def false_zeros(page: Page) -> set[str]:
    return {
        f"{metric} 0 of {dict(labels).get('broker')}"
        for metric in NEVER_ZERO
        for labels, v in page.select(metric).items()
        if v == 0
    }


def hung_broker(on_stage: Stage) -> list[Row]:
    node = faults.break_(on_stage.cluster, "broker-hung")["nodes"][0]
    port = on_stage.cluster.node(node).ports[on_stage.cluster.security.listener]
    assert on_stage.klaxon.process is not None
    process = psutil.Process(on_stage.klaxon.process.pid)
    most, cpu, begun = 0, on_stage.klaxon.cpu_seconds(), time.monotonic()
    while time.monotonic() - begun < HUNG:
        mine = [c for c in process.net_connections("tcp") if c.raddr and c.raddr.port == port]
        most = max(most, len(mine))
        time.sleep(1)
    cores = (on_stage.klaxon.cpu_seconds() - cpu) / HUNG
    fresh = on_stage.klaxon.page().value("klaxon_collector_covered", collector="topics", source="cluster") == 1
    return [
        Row(f"a broker hung for {HUNG:.0f} s: no pile of connections on it", most <= 4, f"at most {most} at a time"),
        Row(
            f"a broker hung for {HUNG:.0f} s: calm, everything else fresh",
            cores < CALM_CORES and fresh,
            f"{cores:.3f} cores",
        ),
    ]


def out_of_memory(on_stage: Stage) -> list[Row]:
    """A broker with a small heap that is filled until it runs out, and then stays filled."""
    cluster = on_stage.cluster
    node = cluster.broker_ids[0]
    usual = cluster.node(node).heap_mb
    restart_with_heap(cluster, node, SMALL_HEAP_MB)
    on_stage.wait_calm(600)
    ran_out = False
    slowest = 0.0
    try:
        with Hoard(cluster.node(node).ports["PLAINTEXT"]) as hoard:
            begun = time.monotonic()
            while time.monotonic() - begun < FILLED:
                # Again and again: what the JVM frees by failing requests is taken too.
                hoard.announce()
                ran_out = ran_out or "OutOfMemoryError" in cluster.log_text(node)
                durations = on_stage.klaxon.page().by("klaxon_collector_duration_seconds", "collector")
                slowest = max(slowest, *durations.values())
                time.sleep(0.5)
            alive = cluster.status(node).alive
            on_stage.say(f"memory: ran out {ran_out}, process alive {alive}")
            wait_until(lambda: topics_covered(on_stage), 60, "topics are covered")
    finally:
        # It may be past a clean stop.
        cluster.kill_node(node)
        restart_with_heap(cluster, node, usual)
    return [
        Row(
            "a broker's heap runs out", ran_out, f"{SMALL_HEAP_MB} MB, {hoard.held} requests announced; alive: {alive}"
        ),
        Row(
            "a broker out of memory costs one bounded time-out",
            ran_out and slowest < 25,
            f"the slowest poll took {slowest:.1f} s",
        ),
    ]


def topics_covered(on_stage: Stage) -> bool:
    return on_stage.klaxon.page().value("klaxon_collector_covered", collector="topics", source="cluster") == 1


def restart_with_heap(cluster: demo.Cluster, node: int, heap_mb: int) -> None:
    cluster.stop_node(node)
    cluster.set_heap(node, heap_mb)
    cluster.start_node(node)


class Hoard:
    """Connections that announce a large request and send no more: Kafka sets aside the whole buffer of each at once."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._sockets: list[socket.socket] = []

    @property
    def held(self) -> int:
        return len(self._sockets)

    def __enter__(self) -> Hoard:
        return self

    def __exit__(self, *_: object) -> None:
        for each in self._sockets:
            each.close()

    def announce(self) -> None:
        """One more; a broker that does not take it has no room any more."""
        with contextlib.suppress(OSError):
            made = socket.create_connection((settings.HOST, self._port), timeout=1)
            self._sockets.append(made)
            made.sendall(struct.pack(">i", ANNOUNCED) + bytes(8))
