"""Prints what one JMX poll of a cluster costs: CPU seconds of our process and of the child with the Java machine, wall time, memory.

``python -m tests.bench.jmx [--polls 40] [--targets 1=host:port,2=host:port]``; without targets it starts a demo cluster of three nodes.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Mapping

import psutil

from exporter.jmx.catalogue import shipped
from exporter.jmx.facts import JmxNode
from exporter.jmx.gate import observe, plan_for
from exporter.jmx.join import JmxBlocks
from exporter.jmx.jpype_transport import JpypeTransport
from exporter.jmx.transport import Target

DEADLINE_S = 10.0


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--polls", type=int, default=40)
    arguments.add_argument("--pause", type=float, default=1.0, help="seconds between polls")
    arguments.add_argument("--targets", default="")
    given = arguments.parse_args()
    if given.targets:
        pairs = (pair.split("=", 1) for pair in given.targets.split(","))
        measure({int(node): address for node, address in pairs}, given.polls, given.pause)
        return
    from demo.cluster import Cluster

    with Cluster.start(nodes=3) as cluster:
        measure(cluster.jmx_targets, given.polls, given.pause)


def measure(addresses: Mapping[int, str], polls: int, pause: float) -> None:
    catalogue, transport, join = shipped(), JpypeTransport(), JmxBlocks()
    nodes: dict[int, JmxNode] = {}

    def poll() -> None:
        targets = [Target(n, a, plan_for(catalogue, nodes.get(n))) for n, a in addresses.items()]
        for node, answer in transport.read(targets, DEADLINE_S).items():
            if answer.error is not None:
                raise answer.error
            nodes[node] = observe(catalogue, answer, nodes.get(node))
        join(nodes.values())

    started = time.monotonic()
    poll()
    print(f"first poll, Java's start included: {time.monotonic() - started:.2f} s")
    poll()
    assert transport.child_pid is not None
    child = psutil.Process(transport.child_pid)
    rows: list[tuple[float, float, float]] = []
    for _ in range(polls):
        time.sleep(pause)
        parent_before, child_before, wall_before = time.process_time(), cpu(child), time.perf_counter()
        poll()
        wall = time.perf_counter() - wall_before
        rows.append((time.process_time() - parent_before, cpu(child) - child_before, wall))
    for what, column in zip(
        ("CPU s of our process", "CPU s of the child", "wall s"), zip(*rows, strict=True), strict=True
    ):
        print(
            f"{what}: median {statistics.median(column):.4f}, mean {statistics.mean(column):.4f}, max {max(column):.4f}"
        )
    samples = sum(len(n.values) for n in nodes.values())
    print(
        f"{len(nodes)} nodes, {samples} samples; the child holds {child.memory_info().rss / 1e6:.0f} MB (uss {child.memory_full_info().uss / 1e6:.0f})"
    )
    transport.close()


def cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


if __name__ == "__main__":
    main()
