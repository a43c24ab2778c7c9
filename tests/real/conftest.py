"""One real cluster for all tests of this folder, started when the first test asks for it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import demo
from demo import faults, runtime, security, traffic


@pytest.fixture(scope="session")
def cluster() -> Iterator[demo.Cluster]:
    """The shared cluster with the demo's topics.

    KLAXON_TEST_KAFKA_VERSION, KLAXON_TEST_CONTROLLERS (how many separate ones) and KLAXON_TEST_SECURITY (a listener, with a
    mechanism as in SASL_SSL/PLAIN) ask for another kind of cluster; KLAXON_DEMO_FOLDER names one that runs already and is
    left running.
    """
    if folder := os.environ.get("KLAXON_DEMO_FOLDER"):
        running = demo.load(Path(folder))
        traffic.create_topics(running)
        yield running
        return
    try:
        started = demo.start(
            version=os.environ.get("KLAXON_TEST_KAFKA_VERSION") or runtime.DEFAULT_VERSION,
            controllers=int(os.environ.get("KLAXON_TEST_CONTROLLERS") or 0),
            security=security.named(os.environ.get("KLAXON_TEST_SECURITY") or "PLAINTEXT"),
        )
    except demo.DemoUnavailable as reason:
        pytest.skip(f"no brokers can be had: {reason}")
    with started:
        traffic.create_topics(started)
        yield started


@pytest.fixture(autouse=True)
def _new_enough(request: pytest.FixtureRequest) -> None:
    """Skip what is marked `since` a later Kafka version than the shared cluster's."""
    marker = request.node.get_closest_marker("since")
    if marker is not None:
        version = request.getfixturevalue("cluster").version
        if runtime.number(version) < runtime.number(marker.args[0]):
            pytest.skip(f"needs Kafka {marker.args[0]}; this cluster runs {version}")


@pytest.fixture
def healthy_cluster(cluster: demo.Cluster) -> Iterator[demo.Cluster]:
    """The shared cluster with all nodes up and nothing under-replicated, before the test and again after it."""
    faults.heal(cluster)
    yield cluster
    faults.heal(cluster)


@pytest.fixture
def busy_cluster(healthy_cluster: demo.Cluster) -> Iterator[demo.Cluster]:
    """The healthy cluster with the demo's traffic, which stops after the test."""
    traffic.start(healthy_cluster)
    yield healthy_cluster
    traffic.stop(healthy_cluster)
