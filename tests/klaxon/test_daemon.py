"""The daemon on clusters in memory: one that is down harms no other, and a reload changes what changed and nothing else."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.series import Matcher, is_stale
from tests.klaxon.running import Run, Running, cluster, run
from tests.klaxon_process import wait_until

__all__ = ["run"]

ALWAYS = {"alert": "Always", "expr": "kafka_brokers > 0", "labels": {"severity": "info"}, "annotations": {"summary": "up", "impact": "none"}}  # fmt: skip


def rules(folder: Path, *given: dict[str, Any]) -> dict[str, Any]:
    """Rules of one's own, in a file of their own."""
    file = folder / "own.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "own", "interval": "5s", "rules": list(given)}]}))
    return {"files": [str(file)]}


def alert(running: Running, rule: str) -> Any:
    return next((a for a in running.daemon._engine.alerts() if a.rule == rule and a.active), None)


def stale_markers(running: Running, expr: str) -> int:
    """Ends of series in the history."""
    found = running.daemon._history.select([Matcher("__name__", "=", expr)], 0, 2**62)
    assert found
    return sum(int(is_stale(series.values).sum()) for series in found)


def polled(running: Running, *names: str) -> None:
    for name in names:
        wait_until(lambda n=name: running.page().value("kafka_brokers", cluster=n) == 3, 20, f"{name} is on the page")


def test_a_cluster_that_is_down_harms_no_other(run: Run) -> None:
    running = run({"clusters": {"up": cluster("up")}})
    polled(running, "up")
    running.down.add("away")
    running.write({"clusters": {"up": cluster("up"), "away": cluster("away")}})
    assert running.reload().status_code == 200
    wait_until(lambda: running.page().value("klaxon_cluster_reachable", cluster="away") == 0, 20, "it is known as away")
    page = running.page()
    assert page.value("kafka_brokers", cluster="up") == 3
    assert page.value("klaxon_cluster_reachable", cluster="up") == 1
    assert page.value("kafka_brokers", cluster="away") is None
    assert page.value("klaxon_collector_success", cluster="up", collector="topics") == 1
    assert [r.cluster for r in running.readers] == ["up", "away"]
    running.write({"clusters": {"up": cluster("up")}})
    assert running.reload().status_code == 200
    page = running.page()
    assert "away" not in page.text and page.value("kafka_brokers", cluster="up") == 3
    assert [r.cluster for r in running.readers] == ["up", "away"]


def test_a_reload_keeps_series_alerts_nodes_and_connections(run: Run, tmp_path: Path) -> None:
    before: dict[str, Any] = {"clusters": {"kafka": cluster()}, "rules": rules(tmp_path, ALWAYS)}
    running = run(before)
    polled(running, "kafka")
    fired = wait_until(lambda: alert(running, "Always"), 20, "the alert fires")
    wait_until(lambda: running.page().select("kafka_server_replicamanager_underreplicatedpartitions"), 20, "JMX is in")
    lag = running.page().value("kafka_consumergroup_lag", topic="orders", partition="0")
    nodes, readers = running.nodes("kafka"), list(running.readers)

    after = copy.deepcopy(before)
    section = after["clusters"]["kafka"]
    section["collectors"] = {"groups": {"interval": 3}, "topics": {"interval": 30}, "log_dirs": {"enabled": False}}
    section["metrics"] = {"topics": {"level": "topic"}}
    section["jmx"]["targets"].pop(3)
    after["thresholds"] = {"group_lag": 5}
    after["alertmanagers"] = [{"url": "http://127.0.0.1:9"}]
    after["incidents"] = {"settle": 1}
    after["rules"] = rules(tmp_path, ALWAYS, {**ALWAYS, "alert": "Other", "expr": "kafka_partitions > 0"})
    running.write(after)
    answer = running.reload()
    assert (answer.status_code, answer.text) == (200, "Reloaded.\n")

    wait_until(lambda: alert(running, "Other"), 20, "the new rule is evaluated")
    wait_until(
        lambda: not running.page().select("kafka_server_replicamanager_underreplicatedpartitions", broker="3"),
        20,
        "the target that left is off the page",
    )
    page = running.page()
    assert running.readers == readers
    assert running.nodes("kafka") == nodes
    kept = alert(running, "Always")
    assert (kept.active_at, kept.fired_at) == (fired.active_at, fired.fired_at)
    assert page.value("kafka_consumergroup_lag", topic="orders", partition="0") == lag is not None
    assert page.value("klaxon_threshold", name="group_lag", consumergroup="billing") == 5
    assert page.select("kafka_topic_partitions") and not page.select("kafka_topic_partition_leader")
    assert not page.select("kafka_log_dir_online")
    assert page.value("kafka_server_replicamanager_underreplicatedpartitions", broker="1") == 0
    assert page.value("klaxon_notify_up", peer="127.0.0.1:9") == 0
    assert page.value("klaxon_config_last_reload_successful") == 1
    for name in ("kafka_brokers", "kafka_broker_up", "kafka_partitions", "kafka_consumergroup_lag_sum"):
        assert stale_markers(running, name) == 0, name


def test_new_intervals_are_used_at_once(run: Run) -> None:
    slow = {"groups": {"interval": 3600}}
    running = run({"clusters": {"kafka": cluster(collectors=slow)}})
    polled(running, "kafka")
    reader = running.readers[0]
    wait_until(lambda: reader.count("list_groups") == 1, 20, "groups are polled once")
    running.write({"clusters": {"kafka": cluster(collectors={"groups": {"interval": 1}})}})
    running.reload()
    wait_until(lambda: reader.count("list_groups") >= 4, 20, "groups are polled each second")


def test_a_collector_that_is_switched_off_and_on_again(run: Run) -> None:
    running = run({"clusters": {"kafka": cluster()}})
    polled(running, "kafka")
    wait_until(lambda: running.page().value("kafka_quorum_voters") == 3, 20, "the quorum is known")
    for enabled, voters in ((False, None), (True, 3)):
        running.write({"clusters": {"kafka": cluster(collectors={"quorum": {"enabled": enabled}})}})
        assert running.reload().status_code == 200
        wait_until(lambda v=voters: running.page().value("kafka_quorum_voters") == v, 20, f"voters are {voters}")
        assert running.page().value("kafka_brokers") == 3


@pytest.mark.parametrize("fault", ["bad", "needs a restart"])
def test_a_refused_reload_changes_nothing_and_says_all_faults(run: Run, fault: str) -> None:
    good = {"clusters": {"kafka": cluster()}}
    running = run(good)
    polled(running, "kafka")

    def limit() -> float | None:
        return running.page().value("klaxon_threshold", name="group_lag", consumergroup="billing")

    wait_until(lambda: limit() is not None, 20, "the group has its limit")
    since = running.page().value("klaxon_config_last_reload_success_timestamp_seconds")
    worse: dict[str, Any] = {"clusters": {"other": cluster("other")}, "thresholds": {"group_lag": 5}}
    said = ["log has changed, which needs a restart"]
    if fault == "bad":
        worse = {"clusters": {"other": {"bootstrap_servers": ["x"]}}, "thresholds": {"group_lga": 5}}
        said = ["'x' is not host:port", "did you mean 'group_lag'?"]
    running.write({**worse, "log": {"level": "warning"}})
    answer = running.reload()
    assert answer.status_code == 400
    assert all(one in answer.text for one in said)
    page = running.page()
    assert page.value("klaxon_config_last_reload_successful") == 0
    assert page.value("klaxon_config_last_reload_success_timestamp_seconds") == since
    assert limit() == 100_000
    assert [r.cluster for r in running.readers] == ["kafka"]
    running.write(good)
    assert running.reload().status_code == 200
    assert running.page().value("klaxon_config_last_reload_successful") == 1
