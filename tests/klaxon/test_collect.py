"""`klaxon collect`: one poll of everything as a page, a table or JSON, with an exit code that says how it went."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog
from prometheus_client.parser import text_string_to_metric_families
from typer.testing import CliRunner

from exporter.kafka.errors import TimedOut
from klaxon import cli, once
from tests.exporter.jmx.fake_transport import FakeJmx, FakeTransports, broker_beans
from tests.exporter.scripted import Cluster

Collect = Callable[..., Any]


@pytest.fixture
def kafka() -> Cluster:
    return Cluster(time.time, cluster="kafka")


@pytest.fixture
def collect(kafka: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Collect]:
    jmx = FakeJmx({1: broker_beans(1, leader=True)}, clock=time.time)
    monkeypatch.setattr(once, "Reader", lambda *_, **__: kafka)
    monkeypatch.setattr(once, "Transports", lambda _: FakeTransports(jmx))
    # The streams of the runner are closed after the test; the real ones are tried below.
    monkeypatch.setattr(cli, "_log_as", lambda _: structlog.configure(logger_factory=structlog.ReturnLoggerFactory()))

    def run(*arguments: str) -> Any:
        return CliRunner().invoke(cli.app, ["collect", "--once", "--bootstrap", "kafka-1:9092", *arguments])

    yield run
    structlog.reset_defaults()


def test_page(collect: Collect) -> None:
    done = collect("--jmx", "1=kafka-1:9999")
    assert (done.exit_code, done.stderr) == (0, "")
    found = {family.name for family in text_string_to_metric_families(done.stdout)}
    jmx = "kafka_server_replicamanager_underreplicatedpartitions"
    assert {"kafka_brokers", "kafka_consumergroup_lag", "kafka_quorum_voters", jmx} <= found


def test_table(collect: Collect) -> None:
    done = collect("--format", "table", "--jmx", "1=kafka-1:9999")
    assert done.exit_code == 0
    by_name = {line.split()[1]: line for line in done.stdout.splitlines()[1:]}
    usual = {
        "cluster",
        "topics",
        "groups",
        "offsets",
        "log_dirs",
        "quorum",
        "jmx",
        "configs",
        "topic_configs",
        "quotas",
    }
    without_tls = {"certificates", "certificate_files"}
    assert by_name.keys() >= usual | without_tls
    assert "1 topic, 6 partitions" in by_name["topics"] and "3 of 3" in by_name["log_dirs"]
    assert "1 group, 1 committed offset" in by_name["groups"]
    assert all(" ok " in by_name[name] for name in usual)
    assert all(" not supported " in by_name[name] for name in without_tls)


def test_a_collector_that_fails_is_named(collect: Collect, kafka: Cluster) -> None:
    kafka.replies["quorum"] = TimedOut("DescribeQuorum took longer than 5 s", phase="answer")
    done = collect("--format", "json")
    assert done.exit_code == 1
    (cluster,) = json.loads(done.stdout)
    assert cluster["reached"]
    by_name = {row["collector"]: row for row in cluster["collectors"]}
    assert by_name["quorum"]["result"] == "failed" and "DescribeQuorum" in by_name["quorum"]["failures"][0]
    assert by_name["topics"]["result"] == "not trusted", "nobody vouches for the brokers' word"
    page = collect()
    assert page.exit_code == 1
    assert "kafka: quorum: failed: DescribeQuorum took longer than 5 s" in page.stderr


def test_a_dead_broker_is_a_part_that_is_missing(collect: Collect, kafka: Cluster) -> None:
    kafka.dead = {3}
    done = collect("--format", "json")
    (cluster,) = json.loads(done.stdout)
    (dirs,) = (row for row in cluster["collectors"] if row["collector"] == "log_dirs")
    assert (done.exit_code, dirs["result"], dirs["answered"], dirs["expected"]) == (1, "partly", 2, 3)
    assert dirs["failures"] == ["node 3 nothing listens"]


def test_a_cluster_that_is_away_is_told_without_waiting_for_the_rest(collect: Collect, kafka: Cluster) -> None:
    kafka.dead = {1, 2, 3}
    begun = time.monotonic()
    done = collect("--format", "table")
    assert done.exit_code == 3
    assert "not reached" in done.stdout and "it has not been asked" in done.stdout
    assert time.monotonic() - begun < once.LIMIT_S / 2


def test_one_collector_with_what_it_builds_on(collect: Collect, kafka: Cluster) -> None:
    done = collect("--format", "json", "--collector", "groups")
    assert done.exit_code == 0
    (cluster,) = json.loads(done.stdout)
    assert [row["collector"] for row in cluster["collectors"]] == ["cluster", "topics", "groups", "offsets"]
    assert kafka.count("quorum") == kafka.count("log_dirs") == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--collector", "gruops"], "there is no collector gruops; there are: cluster, "),
        (["--config", "x.yaml"], "give --config FILE or --bootstrap host:port"),
        (["--format", "yaml"], "yaml"),
    ],
)
def test_usage(collect: Collect, arguments: list[str], said: str) -> None:
    done = collect(*arguments)
    assert done.exit_code == 2
    assert said in done.stderr


def test_the_command_prints_nothing_but_the_page() -> None:
    command = [sys.executable, "-m", "klaxon", "collect", "--bootstrap", "127.0.0.1:1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 3
    assert all(line.startswith(("#", "klaxon_", "kafka_")) for line in done.stdout.splitlines())
    assert 'klaxon_cluster_reachable{cluster="kafka"} 0.0' in done.stdout
