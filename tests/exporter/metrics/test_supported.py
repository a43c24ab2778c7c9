"""What a cluster cannot give is neither unknown nor a fault: a value of its own, by collector and by broker where they differ."""

from __future__ import annotations

from exporter.collectors.base import Polls
from exporter.facts.configs import ConfigSource, Setting
from exporter.metrics.families import Families
from exporter.reading import WHOLE_CLUSTER, Failure, Part, Poll
from exporter.runner.builder import Builder
from exporter.runner.readings import Readings
from exporter.snapshot import Snapshot

NOW = 1000.0
SETTINGS = {"num.io.threads": Setting("8", ConfigSource.DEFAULT)}


def unsupported(*sources: int) -> dict[int, Failure]:
    return {s: Failure("unsupported", "version 1 is not offered", NOW) for s in sources}


def snapshot(polls: Polls) -> Snapshot:
    return Builder("test", (), {"jmx"}).build(Readings.none({}).merged(polls, NOW, 0.1), {}, NOW)


def supported(of: Snapshot) -> dict[tuple[str, str], float]:
    (block,) = [b for b in Families().blocks(of)["self"] if b.metric == "klaxon_collector_supported"]
    return {(r[0], r[1]): v for r, v in zip(block.labels.rows, block.values.tolist(), strict=True)}


def test_what_nobody_offers_and_what_is_off_is_not_supported() -> None:
    seen = snapshot(Polls(quorum=Poll({}, unsupported(WHOLE_CLUSTER))))
    assert supported(seen) == {("quorum", "cluster"): 0.0, ("jmx", "cluster"): 0.0}
    assert seen.coverage.unsupported == {"quorum", "jmx"}


def test_brokers_that_differ_are_told_apart_and_do_not_blind_the_others() -> None:
    parts = {n: Part(SETTINGS, NOW) for n in (1, 3)}
    seen = snapshot(Polls(configs=Poll(parts, unsupported(2), frozenset({1, 2, 3}))))
    assert {k: v for k, v in supported(seen).items() if k[0] == "configs"} == {
        ("configs", "1"): 1.0,
        ("configs", "2"): 0.0,
        ("configs", "3"): 1.0,
    }
    assert seen.coverage.covers("configs")
    assert not seen.coverage.covers("configs", 2)


def test_a_broker_that_is_only_silent_is_supported_and_uncovered() -> None:
    failed = {2: Failure("timeout", "no answer in time", NOW)}
    seen = snapshot(Polls(configs=Poll({1: Part(SETTINGS, NOW)}, failed, frozenset({1, 2}))))
    assert supported(seen)["configs", "2"] == 1.0
    assert not seen.coverage.covers("configs")
