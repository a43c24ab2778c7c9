"""The parts of the page are the page, and a real Prometheus under the shipped configuration finds and takes them all."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from tests.klaxon.running import Run, Running, cluster, run
from tests.klaxon_process import free_port, wait_until

__all__ = ["run"]

SHIPPED = Path(__file__).parents[2] / "deploy" / "prometheus.yml"
RULES = Path(__file__).parents[2] / "alerts" / "rules"
PROMETHEUS = os.environ.get("PROMETHEUS") or shutil.which("prometheus")
PROMTOOL = os.environ.get("PROMTOOL") or shutil.which("promtool")

needs_prometheus = pytest.mark.skipif(
    PROMETHEUS is None or PROMTOOL is None, reason="no Prometheus: set PROMETHEUS= and PROMTOOL="
)


class Prometheus:
    """The shipped configuration on one Klaxon, scraping each second."""

    def __init__(self, folder: Path, klaxon: str) -> None:
        file = folder / "prometheus.yml"
        whole = yaml.safe_load(SHIPPED.read_text().replace("http://127.0.0.1:9308", klaxon))
        whole["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        whole["rule_files"] = [str(RULES / "*.yaml")]
        whole["scrape_configs"][0]["http_sd_configs"][0]["refresh_interval"] = "1s"
        file.write_text(yaml.safe_dump(whole))
        self.url = f"http://127.0.0.1:{free_port()}"
        self._log = (folder / "prometheus.log").open("wb")
        command = [str(PROMETHEUS), f"--config.file={file}", f"--storage.tsdb.path={folder / 'tsdb'}"]
        command.append(f"--web.listen-address={self.url.removeprefix('http://')}")
        self._process = subprocess.Popen(command, stdout=self._log, stderr=self._log)

    def get(self, path: str, **params: str) -> Any:
        try:
            answer = requests.get(f"{self.url}/api/v1/{path}", params=params, timeout=5).json()
        except (requests.ConnectionError, ValueError):  # it still starts
            return {}
        return answer.get("data", {})

    def query(self, expr: str) -> dict[str, float]:
        """Values by instance."""
        found = self.get("query", query=expr).get("result", [])
        assert len({one["metric"].get("instance") for one in found}) == len(found), f"{expr}: {found}"
        return {one["metric"].get("instance", ""): float(one["value"][1]) for one in found}

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(20)
        self._log.close()


@pytest.fixture
def running(run: Run) -> Running:
    clusters = {name: cluster(name) for name in ("orders", "billing")}
    made = run({"clusters": clusters})
    wait_until(lambda: all(made.nodes(name) for name in clusters), 20, "the nodes are known")
    family = "kafka_server_replicamanager_underreplicatedpartitions"
    wait_until(lambda: len(made.page().select(family)) == 6, 20, "JMX is in")
    return made


@pytest.fixture
def prometheus(running: Running, tmp_path: Path) -> Iterator[Prometheus]:
    made = Prometheus(tmp_path, running.url)
    yield made
    made.close()


@pytest.mark.prometheus
@needs_prometheus
def test_shipped_configuration_is_good(tmp_path: Path) -> None:
    (tmp_path / "prometheus.yml").write_text(SHIPPED.read_text())
    shutil.copytree(RULES, tmp_path / "rules")
    command = [str(PROMTOOL), "check", "config", str(tmp_path / "prometheus.yml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.prometheus
@needs_prometheus
def test_every_target_is_up_and_every_node_has_its_instance(running: Running, prometheus: Prometheus) -> None:
    nodes = {f"kafka-{n}:9092" for n in (1, 2, 3)}

    def targets() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = prometheus.get("targets").get("activeTargets", [])
        return found if len(found) == 9 and all(t["health"] == "up" for t in found) else []

    found = wait_until(targets, 40, "all targets are up")
    address = running.url.removeprefix("http://")
    assert {t["labels"]["instance"] for t in found} == {address, "orders", "billing", *nodes}

    jmx = "kafka_server_replicamanager_underreplicatedpartitions"
    wait_until(lambda: prometheus.query(f'{jmx}{{cluster="orders"}}').keys() == nodes, 20, "JMX is in by instance")
    assert prometheus.query('kafka_broker_up{cluster="billing"}') == dict.fromkeys(sorted(nodes), 1.0)
    assert prometheus.query('kafka_brokers{cluster="orders"}') == {"orders": 3.0}
    assert prometheus.query("klaxon_build_info") == {address: 1.0}
    twice = prometheus.get("query", query="count by (cluster, broker) (kafka_broker_up) > 1")["result"]
    assert twice == []
    renamed = prometheus.get("query", query='{exported_cluster!=""} or {exported_broker!=""}')["result"]
    assert renamed == []

    def evaluated() -> bool:
        # The turn of slower groups may be minutes away; tests/alerts/promql/test_shipped.py asks a Prometheus each of their expressions.
        groups = [group for group in prometheus.get("rules").get("groups", []) if group["interval"] <= 15]
        rules = [rule for group in groups for rule in group["rules"]]
        assert not [rule["name"] for rule in rules if rule["health"] == "err"]
        return bool(rules) and all(rule["health"] == "ok" for rule in rules)

    wait_until(evaluated, 30, "the shipped rules of quick groups were evaluated without an error")
    counter = prometheus.get("metadata", metric="klaxon_kafka_requests_total")
    assert not counter or counter["klaxon_kafka_requests_total"][0]["type"] == "counter"


def test_the_parts_are_the_page(running: Running) -> None:
    def samples(path: str) -> set[str]:
        return {line.rsplit(" ", 1)[0] for line in running.get(path).text.splitlines() if not line.startswith("#")}

    def parts() -> list[str]:
        found: list[str] = []
        for group in running.get("/sd").json():
            labels = group["labels"]
            asked = "&".join(f"{k.removeprefix('__param_')}={v}" for k, v in labels.items() if k.startswith("__param_"))
            found += samples(f"{labels['__metrics_path__']}?{asked}")
        return sorted(found)

    # Collectors that poll for the first time meanwhile add series: once all have, both are the same.
    wait_until(lambda: parts() == sorted(samples("/metrics")), 30, "the parts are the page")


def test_head_and_both_formats(running: Running) -> None:
    head = requests.head(f"{running.url}/metrics", timeout=10)
    assert (head.status_code, head.content) == (200, b"")
    assert int(head.headers["content-length"]) > 1000
    asked = {"accept": "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8", "accept-encoding": "identity"}
    answer = requests.get(f"{running.url}/metrics", headers=asked, timeout=10)
    assert answer.headers["content-type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert "content-encoding" not in answer.headers
    assert answer.text.endswith("# EOF\n")
    assert "# TYPE klaxon_notifications counter" in answer.text
