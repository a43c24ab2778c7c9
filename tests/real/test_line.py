"""The whole line on real brokers: the daemon as a process, from a broker's death to an incident, and what operators do with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
import yaml

import demo
from demo.security import PLAINTEXT
from tests.klaxon_process import ROOT, Klaxon, Page, free_port, wait_until, watching
from tests.on_cluster import klaxon_config
from tests.prometheus import NO_BINARY, RealPrometheus, binary

pytestmark = pytest.mark.real


@pytest.fixture
def klaxon(healthy_cluster: demo.Cluster, tmp_path: Path) -> Iterator[Klaxon]:
    made = Klaxon(tmp_path, klaxon_config(healthy_cluster, incidents={"close_after": 5}))
    try:
        yield made.start()
    finally:
        made.close()


def command(klaxon: Klaxon, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "KLAXON_URL": klaxon.url}
    return subprocess.run(
        [sys.executable, "-m", "klaxon", *arguments],
        capture_output=True,
        text=True,
        timeout=90,
        cwd=ROOT,
        env=environment,
        check=False,
    )


def test_a_dead_broker_becomes_one_incident_with_its_cause(healthy_cluster: demo.Cluster, klaxon: Klaxon) -> None:
    wait_until(lambda: klaxon.page().value("kafka_brokers") == 3, 30, "three brokers are seen")
    healthy_cluster.kill_node(2)
    wait_until(lambda: [i for i in klaxon.incidents() if i["closed_at"] is None], 90, "an incident is open")
    (incident,) = klaxon.incidents()
    assert (incident["problem"], incident["subject"], incident["severity"]) == (
        "KafkaBrokerUnavailable",
        "broker/2",
        "warning",
    )
    assert (incident["cause"], incident["confidence"]) == ("broker-process-dead", "high")
    page = klaxon.page()
    assert page.value("kafka_broker_up", broker="2") == 0
    assert page.value("kafka_broker_leg", broker="2", leg="tcp", state="refused") == 1
    assert page.value("kafka_log_dir_online", broker="2", dir="") is None
    told = command(klaxon, "incidents")
    assert told.returncode == 1
    assert "Broker 2 is down" in told.stdout
    shown = requests.get(f"{klaxon.url}/incidents/{incident['id']}", timeout=5).text
    assert "Broker 2 is down" in shown and "to nobody: no Alertmanager and no webhook is configured" in shown
    unnamed = command(klaxon, "diagnose", "broker-unavailable")
    assert "--set broker=" in unnamed.stderr
    walked = command(klaxon, "diagnose", "broker-unavailable", "--set", "broker=2")
    assert "Broker 2 is down" in walked.stdout, walked.stderr
    healthy_cluster.start_node(2)
    wait_until(lambda: klaxon.incidents()[0]["closed_at"], 90, "the incident is closed")
    assert command(klaxon, "incidents").returncode == 0


def test_queries_are_answered_from_the_history(klaxon: Klaxon) -> None:
    answer = command(klaxon, "query", "sum(kafka_broker_up)")
    assert answer.stdout.split() == ["{}", "3"], answer
    refused = command(klaxon, "query", "sum(kafka_broker_up")
    assert refused.returncode == 2
    unkept = command(klaxon, "query", "kafka_topic_partition_replicas")
    assert "history.keep" in unkept.stderr


def test_a_diagnosis_without_a_daemon(healthy_cluster: demo.Cluster, klaxon: Klaxon) -> None:
    jmx = [part for node, address in healthy_cluster.jmx_targets.items() for part in ("--jmx", f"{node}={address}")]
    by_options = ("--bootstrap", healthy_cluster.bootstrap_servers, *jmx)
    # A way in that needs more than addresses stands in a file.
    way = by_options if healthy_cluster.security == PLAINTEXT else ("--config", str(klaxon.config))
    walked = command(klaxon, "diagnose", "under-replicated", *way)
    assert walked.returncode == 0, walked.stdout + walked.stderr


def test_collecting_once(healthy_cluster: demo.Cluster, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(klaxon_config(healthy_cluster)))

    def collected(form: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "klaxon", "collect", "--once", "--config", str(file), "--format", form],
            capture_output=True,
            text=True,
            timeout=90,
            cwd=ROOT,
            check=False,
        )

    page, table = collected("page"), collected("table")
    assert (page.returncode, page.stderr) == (0, "")
    assert Page(page.stdout).value("kafka_brokers") == 3
    assert (table.returncode, table.stderr) == (0, ""), table.stdout
    assert " jmx " in table.stdout and "failed" not in table.stdout


def test_reload_takes_up_what_is_good_and_keeps_what_is_not(klaxon: Klaxon) -> None:
    wait_until(
        lambda: klaxon.page().value("klaxon_threshold", name="disk_used_ratio") == 0.8, 30, "the default limit is shown"
    )
    told = yaml.safe_load(klaxon.config.read_text())
    klaxon.config.write_text(yaml.safe_dump({**told, "thresholds": {"disk_used_ratio": 7}}))
    refused = requests.post(f"{klaxon.url}/-/reload", timeout=20)
    assert refused.status_code == 400
    assert "thresholds.disk_used_ratio" in refused.text
    klaxon.config.write_text(yaml.safe_dump({**told, "thresholds": {"disk_used_ratio": 0.5}}))
    assert klaxon.process is not None
    klaxon.process.send_signal(signal.SIGHUP)
    wait_until(
        lambda: klaxon.page().value("klaxon_threshold", name="disk_used_ratio") == 0.5, 30, "the new limit is shown"
    )
    assert klaxon.page().value("kafka_brokers") == 3


def test_sigterm_ends_it_within_five_seconds_and_leaves_no_process(klaxon: Klaxon) -> None:
    import psutil

    assert klaxon.process is not None
    children = psutil.Process(klaxon.process.pid).children(recursive=True)
    assert klaxon.stop() < 5
    assert klaxon.process.returncode == 0
    wait_until(
        lambda: not any(c.is_running() and c.status() != psutil.STATUS_ZOMBIE for c in children),
        5,
        "its Java process has ended",
    )


def test_kafka_away_at_start_is_normal(tmp_path: Path) -> None:
    klaxon = Klaxon(tmp_path, watching(f"127.0.0.1:{free_port()}", {1: f"127.0.0.1:{free_port()}"}))
    try:
        klaxon.start()
        wait_until(lambda: klaxon.page().value("klaxon_cluster_reachable") == 0, 20, "it says that nothing answers")
        page = klaxon.page()
        assert page.value("kafka_brokers") is None
        assert page.value("kafka_controller_alive") != 1
        assert requests.get(f"{klaxon.url}/-/healthy", timeout=5).ok
        assert klaxon.stop() < 5
    finally:
        klaxon.close()


@pytest.mark.skipif(binary() is None, reason=NO_BINARY)
def test_a_real_prometheus_scrapes_it(klaxon: Klaxon, tmp_path: Path) -> None:
    def values(expr: str) -> list[str]:
        return [series["value"][1] for series in prometheus.query(expr)]

    with RealPrometheus(tmp_path / "prometheus", [f"127.0.0.1:{klaxon.port}"]) as prometheus:
        wait_until(lambda: values("kafka_brokers") == ["3"], 40, "Prometheus has our page")
        assert values("up") == ["1"]
