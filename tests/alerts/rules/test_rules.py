"""The shipped rules in our own engine, on every observed fault and on healthy operations: which fire, how fast, how severe, and which must not."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from alerts.diagnosis.tree import load
from alerts.engine.engine import Engine, NoBook
from alerts.engine.rules import RuleSet, load_rules, read_rule_files
from alerts.engine.thresholds import METRIC, Limits
from alerts.model import AlertState
from alerts.promql.evaluate import Evaluator
from alerts.promql.questions import selectors
from exporter.collectors import COLLECTORS, reading_interval
from exporter.metrics.catalogue import complete
from tests.alerts.diagnosis import scenes
from tests.alerts.diagnosis.scenes import FAULT, GIB, NODES, START, Scene, key

RULES = Path(__file__).parents[3] / "alerts" / "rules"
FILES = sorted(RULES.glob("*.yaml"))
TREES = load()


def shipped() -> RuleSet:
    return load_rules(read_rule_files(FILES, shipped=FILES), complete(), trees=TREES.by_name.keys())


RULE_SET = shipped()


def replay(
    scene: Scene, seconds: int, *, begin: float = FAULT - 30
) -> dict[tuple[str, str, str], tuple[float, float | None]]:
    """(rule, severity, subject) -> seconds after the fault when it fired and when it resolved; the watchdog left out."""
    until = FAULT + seconds
    every = 15 if until - begin > 600 else 5
    now = [begin]
    scene = covered(scene)
    engine = Engine(
        RULE_SET,
        Evaluator(scene.store(until, float(every))),
        lambda: {"orders": scene.coverage(at=now[0])},
        NoBook(),
        lambda: now[0],
    )
    fired: dict[tuple[str, str, str], tuple[float, float | None]] = {}
    while now[0] <= until:
        engine.evaluate_due(now[0])
        for alert in engine.alerts():
            one = (alert.rule, str(alert.severity), alert.subject)
            if alert.rule == "Watchdog":
                continue
            if alert.active:
                fired.setdefault(one, (now[0] - FAULT, None))
            elif alert.state is AlertState.RESOLVED and one in fired and fired[one][1] is None:
                fired[one] = (fired[one][0], now[0] - FAULT)
        now[0] += every
    for group in engine.status():
        assert not [r for r in group.rules if r.error]
    return fired


def covered(scene: Scene) -> Scene:
    """The series of the coverage follow what the scene says is silent."""
    for collector, source in scene.silent:
        label = "cluster" if source < 0 else str(source)
        scene.becomes("klaxon_collector_covered", 0, collector=collector, source=label)
    for collector in scene.withdrawn:
        scene.becomes("klaxon_collector_covered", 0, collector=collector, source="cluster")
    for node in NODES:
        scene.has("klaxon_collector_covered", 1, collector="legs", source=node)
    scene.has("klaxon_threshold", 0.8, name="disk_used_ratio")
    scene.has("klaxon_threshold", 100_000, name="group_lag", consumergroup="billing")
    return scene


def names(fired: Mapping[tuple[str, str, str], object]) -> set[tuple[str, str]]:
    return {(rule, severity) for rule, severity, _ in fired}


# --- what fires


def test_kill_fires_a_warning_after_half_a_minute_the_missing_copies_after_ten_and_their_minimum_after_fifteen() -> (
    None
):
    fired = replay(scenes.killed(), 930)
    assert set(fired) == {
        ("KafkaBrokerDown", "warning", "broker/2"),
        ("KafkaUnderReplicated", "warning", "cluster"),
        ("KafkaAtMinIsr", "warning", "cluster"),
    }
    assert 30 <= fired["KafkaBrokerDown", "warning", "broker/2"][0] <= 60
    assert 600 <= fired["KafkaUnderReplicated", "warning", "cluster"][0] <= 630
    assert 900 <= fired["KafkaAtMinIsr", "warning", "cluster"][0] <= 930


@pytest.mark.parametrize("scene", [scenes.hung, scenes.unreachable, scenes.zombie, scenes.fenced])
def test_every_other_way_to_lose_a_broker_fires_too(scene: object) -> None:
    assert callable(scene)
    assert ("KafkaBrokerDown", "warning") in names(replay(scene(), 120))


def test_clean_stop_is_told_after_five_minutes() -> None:
    fired = replay(scenes.stopped(), 420)
    assert names(fired) == {("KafkaBrokerStopped", "warning")}
    assert 300 <= fired["KafkaBrokerStopped", "warning", "broker/2"][0] <= 330


def test_where_nobody_can_tell_a_broker_counts_as_stopped() -> None:
    assert names(replay(scenes.gone(scenes.healthy(), 2, controlled=None), 420)) == {("KafkaBrokerStopped", "warning")}


def test_lost_quorum_is_critical_at_once_and_nothing_else_fires() -> None:
    fired = replay(scenes.quorum_lost(), 540)
    assert set(fired) == {("KafkaNoController", "critical", "cluster")}
    assert fired["KafkaNoController", "critical", "cluster"][0] <= 10


def test_all_brokers_gone_is_critical_at_once() -> None:
    fired = replay(scenes.all_down(), 300)
    assert names(fired) == {("KafkaAllBrokersUnavailable", "critical"), ("KafkaNoController", "critical")}
    assert fired["KafkaAllBrokersUnavailable", "critical", "cluster"][0] <= 15


def test_single_copy_on_a_dead_broker_is_critical_at_once() -> None:
    fired = replay(scenes.single_copy(), 120)
    assert names(fired) == {("KafkaLeaderless", "critical"), ("KafkaBrokerDown", "warning")}
    assert fired["KafkaLeaderless", "critical", "cluster"][0] <= 15


def test_single_copy_on_a_restarted_broker_is_a_warning() -> None:
    scene = scenes.single_copy()
    scene.becomes("kafka_broker_departure_controlled", 1, broker=2)
    assert names(replay(scene, 120)) == {("KafkaLeaderless", "warning")}


def test_too_few_copies_are_critical_at_once() -> None:
    fired = replay(scenes.needs_all_copies(), 120)
    assert names(fired) == {("KafkaUnderMinIsr", "critical"), ("KafkaBrokerDown", "warning")}
    assert fired["KafkaUnderMinIsr", "critical", "cluster"][0] <= 15


def test_too_few_copies_by_a_restart_are_a_warning_where_all_are_needed() -> None:
    assert names(replay(scenes.needs_all_copies(controlled=True), 120)) == {("KafkaUnderMinIsr", "warning")}


def test_too_few_copies_by_restarts_are_critical_where_a_spare_was_there() -> None:
    scene = scenes.gone(scenes.gone(scenes.healthy(), 2, controlled=True), 3, controlled=True)
    scene.becomes("kafka_partition_under_min_isr", 1, topic="orders", partition=0)
    assert ("KafkaUnderMinIsr", "critical") in names(replay(scene, 60))


def test_failed_log_dir_is_a_warning() -> None:
    fired = replay(scenes.dir_failed(), 900)
    assert set(fired) == {
        ("KafkaLogDirFailed", "warning", "broker/2"),
        ("KafkaReplicasBehind", "warning", "cluster"),
    }
    assert fired["KafkaLogDirFailed", "warning", "broker/2"][0] <= 75


def test_running_broker_that_stays_behind_is_told_after_ten_minutes() -> None:
    fired = replay(scenes.behind(), 600, begin=START)
    assert names(fired) == {("KafkaReplicasBehind", "warning")}


def test_full_and_filling_disks() -> None:
    full = scenes.healthy()
    full.has("kafka_log_dir_usable_bytes", 15 * GIB, broker=2, dir="/d1")
    fired = replay(full, 0, begin=START)
    assert set(fired) == {("KafkaDiskFilling", "warning", "broker/2")}


def test_disk_that_will_be_full_within_a_day() -> None:
    scene = scenes.healthy()
    hours = 4 * 3600
    times = range(int(FAULT) - hours, int(FAULT) + 601, 60)
    one = key("kafka_log_dir_usable_bytes", broker=2, dir="/d1")
    scene.steps[one] = [(t, 40 * GIB - 2 * GIB * (t - times[0]) / 3600) for t in times]
    scene.steps[key("klaxon_collector_covered", collector="log_dirs", source=2)] = [
        (t, 1.0) for t in range(times[0], int(FAULT) + 601, 15)
    ]
    assert set(replay(scene, 600, begin=START)) == {("KafkaDiskFullSoon", "warning", "broker/2")}


@pytest.mark.parametrize("state", ["Empty", "Stable", "PreparingRebalance"])
def test_group_that_stands_still(state: str) -> None:
    fired = replay(scenes.group(state=state), 0, begin=START)
    assert names(fired) == {("KafkaGroupStopped", "warning")}
    assert fired["KafkaGroupStopped", "warning", "group/billing"][0] + FAULT - START >= 600


def test_group_with_one_stuck_partition() -> None:
    assert names(replay(scenes.group(stands=[4]), 0, begin=START)) == {("KafkaGroupStopped", "warning")}


def test_group_that_falls_behind() -> None:
    scene = scenes.group(stands=[])
    one = key("kafka_consumergroup_lag_sum", consumergroup="billing", topic="orders")
    scene.steps[one] = [(t, 200_000 + (t - START)) for t, _ in scene.steps[one]]
    assert names(replay(scene, 0, begin=START)) == {("KafkaGroupBehind", "warning")}


def test_blind_for_one_broker_and_for_a_collector() -> None:
    scene = scenes.healthy()
    scene.silence("jmx", 2)
    scene.silence("topics", -1)
    fired = replay(scene, 300)
    assert set(fired) == {("KlaxonBlind", "warning", "broker/2"), ("KlaxonBlind", "warning", "cluster")}


def test_cluster_that_was_never_reached() -> None:
    scene = Scene()
    scene.has("klaxon_cluster_reachable", 0)
    assert names(replay(scene, 180)) == {("KlaxonCannotReachCluster", "warning")}


def test_detail_that_is_dropped_from_the_page_is_told_after_a_minute() -> None:
    scene = scenes.healthy()
    scene.becomes("klaxon_page_detail_dropped", 3, level="partition")
    fired = replay(scene, 180)
    assert set(fired) == {("KlaxonSeriesCeiling", "warning", "cluster")}
    assert 60 <= fired["KlaxonSeriesCeiling", "warning", "cluster"][0] <= 90


def test_detail_that_comes_back_is_resolved() -> None:
    scene = scenes.healthy()
    scene.has("klaxon_page_detail_dropped", 0, level="partition")
    scene.becomes("klaxon_page_detail_dropped", 3, level="partition")
    ((_, resolved),) = replay(back(scene, 120, FAULT + 300), 300).values()
    assert resolved is not None and 120 <= resolved <= 150


# --- what must not fire


def back(scene: Scene, seconds: float, end: float) -> Scene:
    """The fault is over after so many seconds."""
    scene = covered(scene)
    scene.heals_at = FAULT + seconds
    for one, value in list(scene.after.items()):
        samples = []
        at = START
        while at <= end:
            during = FAULT <= at < FAULT + seconds
            now = value if during else scene.before.get(one)
            samples.append((at, scenes.STALE_NAN if now is None else now))
            at += 5
        scene.steps[one] = samples
    return scene


def healthy() -> Mapping[str, Scene]:
    end = FAULT + 900
    starting = scenes.recovering()
    starting.becomes("kafka_broker_departure_controlled", None, broker=2)
    starting.after.pop(key("kafka_broker_departure_controlled", broker=2))
    burst = scenes.healthy()
    lag = key("kafka_consumergroup_lag_sum", consumergroup="billing", topic="orders")
    burst.steps[lag] = [(t, max(0.0, 300_000 - 1000 * (t - FAULT)) if t >= FAULT else 0.0) for t in _grid(end)]
    deploy = back(scenes.group(state="Empty"), 120, end)
    for one in [
        k
        for k in deploy.steps
        if dict(k)["__name__"].startswith(("kafka_consumergroup_lag", "kafka_consumergroup_current"))
    ]:
        is_lag = "lag" in dict(one)["__name__"]
        deploy.steps[one] = [
            (t, (t - FAULT if FAULT <= t < FAULT + 120 else 0.0) if is_lag else min(t, FAULT) if t < FAULT + 120 else t)
            for t in _grid(end)
        ]
    created = scenes.healthy()
    created.becomes("kafka_topic_replication_factor", 1, topic="new")
    created.becomes("kafka_topic_min_insync_replicas", 2, topic="new")
    created.becomes("kafka_partition_under_min_isr", 1, topic="new", partition=0)
    return {
        "nothing happens": scenes.healthy(),
        "clean restart of 90 s": back(scenes.stopped(), 90, end),
        "clean restart of 4 min": back(scenes.stopped(), 240, end),
        "a start with 10 min of log recovery": starting,
        "election of a controller within 3 s": back(scenes.quorum_lost(), 3, end),
        "reassignment of 15 min": scenes.behind(moving=True),
        "burst of 300,000 records that is worked off": burst,
        "deploy of a consumer, away for 2 min": deploy,
        "new topic with one copy under a default of two": created,
        "one lost sample of a broker": back(scenes.killed(), 10, end),
    }  # fmt: skip


def _grid(end: float) -> Sequence[float]:
    return [START + 5 * i for i in range(int((end - START) / 5) + 1)]


@pytest.mark.parametrize("name", healthy())
def test_healthy_operation_fires_nothing(name: str) -> None:
    assert replay(healthy()[name], 900) == {}


def test_resolves_when_the_broker_is_back() -> None:
    fired = replay(back(scenes.killed(), 120, FAULT + 300), 300)
    (end,) = (resolved for _, resolved in fired.values())
    assert end is not None and 120 <= end <= 150


# --- the files


@pytest.mark.prometheus
def test_promtool_finds_nothing() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("no promtool on the path")
    done = subprocess.run([promtool, "check", "rules", *map(str, FILES)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_severity_impact_and_a_tree_that_serves_it() -> None:
    for rule in RULE_SET.alerting:
        labels = dict(rule.labels)
        assert {"summary", "impact"} <= {name for name, _ in rule.annotations}, rule.name
        if rule.name != "Watchdog":
            assert {"severity", "problem", "subject", "tree"} <= labels.keys(), rule.name


def test_trees_serve_rules_that_exist() -> None:
    load(rules={rule.name for rule in RULE_SET.alerting})


def test_every_limit_is_joined_by_a_rule_and_every_joined_one_exists() -> None:
    joined = {
        matcher.value
        for rule in (*RULE_SET.alerting, *RULE_SET.recording)
        for selector in selectors(rule.expr)
        if selector.name == METRIC
        for matcher in selector.matchers
        if matcher.name == "name"
    }
    assert joined == set(Limits.model_fields)


def test_joins_by_hand_wait_for_the_slower_collector_twice() -> None:
    """``for`` is at least twice the slowest interval among the collectors that an expression joins (design 4.1)."""
    slow = {r: reading_interval(r, c.interval) for c in COLLECTORS for r in c.feeds}
    slow |= {"legs": slow["cluster"], "departures": slow["cluster"], "offsets": slow["groups"]}
    for rule in RULE_SET.alerting:
        inputs = {need.inputs for need in rule.needs if need.inputs}
        joined = {name for names in inputs for name in names}
        if len(inputs) > 1 and len(joined) > 1:  # one metric of several collectors is a derived fact of one poll
            assert rule.for_ >= 2 * max(slow[i] for i in joined), rule.name
