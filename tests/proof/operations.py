"""Healthy operations on real brokers: rolling clean restart, topics that come and go, a preferred election; nobody is paged."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial

import demo.kafka
from demo import Cluster, faults
from tests.proof.report import Row
from tests.proof.stage import Stage, attempted, stage

AFTERWARDS = 90.0
"""Seconds after the operation in which nothing may come either: longer than any `for` of a fast rule with its settle."""
TOPICS = 10


def create_and_delete_topics(cluster: Cluster) -> None:
    names = [f"passing-{n}" for n in range(TOPICS)]
    for name in names:
        demo.kafka.create_topic(cluster.client_settings(), name, 6)
    cluster.wait_healthy()
    for name in names:
        demo.kafka.delete_topic(cluster.client_settings(), name)


OPERATIONS: dict[str, Callable[[Cluster], object]] = {
    "rolling clean restart": faults.rolling_restart,
    "creation and deletion of ten topics": create_and_delete_topics,
    "preferred election": faults.preferred_election,
}


def prove(only: str | None) -> Iterator[list[Row]]:
    with stage() as on_stage:
        for name, act in OPERATIONS.items():
            if only is None or only in name:
                yield attempted(name, partial(prove_one, on_stage, name, act))


def prove_one(on_stage: Stage, name: str, act: Callable[[Cluster], object]) -> list[Row]:
    on_stage.wait_calm()
    begun = time.time()
    on_stage.say(f"{name}: begins")
    act(on_stage.cluster)
    took = time.time() - begun
    on_stage.say(f"{name}: took {took:.0f} s; watching")
    seen: set[str] = set()
    end = time.monotonic() + AFTERWARDS
    while time.monotonic() < end:
        seen |= {f"{i['problem']} {i['subject']} {i['severity']}" for i in on_stage.open_incidents()}
        time.sleep(1)
    notified = [f"{n.status} {a['labels']['alertname']}" for n in on_stage.paged(begun) for a in n.alerts]
    said = "; ".join(sorted(seen) + notified) or f"nothing, in {took:.0f} s and {AFTERWARDS:.0f} s after"
    return [Row(f"{name}: no warning, no page", not seen and not notified, said)]
