"""What the wall says of a cluster in each state, worked out on series as a Prometheus has them: its own labels, and two Klaxons on one cluster."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from alerts.promql.evaluate import evaluate
from alerts.promql.parse import parse
from alerts.promql.store import MemoryStore
from alerts.promql.values import Vector
from exporter.series import Labels
from tests.dashboards.drawing import BOARDS, bound, drawn, name, panels

World = dict[str, float]
"""Series in PromQL's notation, without the labels that all have -> value."""

TILES = {
    name(p): p
    for p in panels(BOARDS["klaxon-wall"])
    # These ask for the past or the time, which our own evaluator does not answer as subqueries.
    if "3h:" not in p["targets"][0]["expr"]
}
COLLECTORS = {"cluster": "cluster", "topics": "cluster", "groups": "1", "offsets": "1", "log_dirs": "1", "jmx": "1"}
METADATA = ("kafka_partition", "kafka_broker_up", "kafka_consumergroup")
WATCHDOG = 'ALERTS{alertname="Watchdog", alertstate="firing"}'

HEALTHY: World = {
    "kafka_controller_alive": 1,
    "kafka_brokers_expected": 3,
    "kafka_brokers_answering": 3,
    **{f'kafka_broker_up{{broker="{b}"}}': 1 for b in (1, 2, 3)},
    "kafka_partitions_leaderless": 0,
    "kafka_partitions_under_min_isr": 0,
    "kafka_partitions_under_replicated": 0,
    'kafka_log_dir_online{broker="1", dir="/a"}': 1,
    'kafka_log_dir_usable_bytes{broker="1", dir="/a"}': 60,
    'kafka_log_dir_total_bytes{broker="1", dir="/a"}': 100,
    'kafka_consumergroup_lag_sum{consumergroup="g", topic="t"}': 5,
    'klaxon_threshold{name="group_lag", consumergroup="g"}': 1000,
    "klaxon_cluster_reachable": 1,
    **{f'klaxon_collector_covered{{collector="{c}", source="{s}"}}': 1 for c, s in COLLECTORS.items()},
    **{f'klaxon_collector_supported{{collector="{c}", source="{s}"}}': 1 for c, s in COLLECTORS.items()},
    **{f'klaxon_collector_age_seconds{{collector="{c}", source="{s}"}}': 3 for c, s in COLLECTORS.items()},
    WATCHDOG: 1,
}


def without(*begins: str) -> World:
    return {series: value for series, value in HEALTHY.items() if not series.startswith(begins)}


def uncovered(*collectors: str) -> World:
    return {f'klaxon_collector_covered{{collector="{c}", source="{COLLECTORS[c]}"}}': 0 for c in collectors}


def alert(severity: str) -> World:
    return {f'ALERTS{{alertname="A", alertstate="firing", severity="{severity}", subject="cluster"}}': 1}


def says(world: World, scrapers: Iterable[str] = ("k1:9308",)) -> dict[str, str]:
    """Tile -> its word."""
    return {tile: text for tile, (text, _) in seen(world, scrapers).items()}


def seen(world: World, scrapers: Iterable[str] = ("k1:9308",)) -> dict[str, tuple[str, str]]:
    store = MemoryStore()
    for scraper in scrapers:
        for series, value in world.items():
            store.add(labels(series, scraper), [(1000.0, value)])
    return {tile: _seen(panel, store) for tile, panel in TILES.items()}


def _seen(panel: dict[str, Any], store: MemoryStore) -> tuple[str, str]:
    found = evaluate(parse(bound(panel["targets"][0]["expr"], {"cluster": "demo"})), 1000.0, store)
    assert isinstance(found, Vector)
    (only,) = drawn(panel, [sample.value for sample in found])
    return only.text, only.colour


def labels(series: str, scraper: str) -> Labels:
    selector = parse(series)
    told = {m.name: m.value for m in selector.matchers}  # type: ignore[union-attr]
    if series == WATCHDOG:
        return Labels.of(told)
    return Labels.of({"cluster": "demo", "job": "klaxon", "instance": scraper, **told})


@pytest.mark.parametrize("scrapers", [("k1:9308",), ("k1:9308", "k2:9308")])
def test_all_is_well(scrapers: tuple[str, ...]) -> None:
    told = says(HEALTHY, scrapers)
    assert told["IS EVERYTHING OK?"] == "OK"
    areas = ("BROKERS", "CONTROLLER", "NO LEADER", "WRITES BLOCKED", "UNDER-REPLICATED", "GROUPS")
    assert {told[tile] for tile in areas} == {"OK"}
    assert (told["FULLEST DISK"], told["CRITICAL ALERTS"], told["DATA AGE"]) == ("0.4", "NONE", "3")


def test_nothing_is_known() -> None:
    told = seen({})
    assert {tile for tile, state in told.items() if state != ("NO DATA", "purple")} == {"TIME"}


def test_klaxon_is_gone_and_the_rules_go_on() -> None:
    told = seen({WATCHDOG: 1})
    assert {tile for tile, state in told.items() if state != ("NO DATA", "purple")} == {"TIME"}


@pytest.mark.parametrize(
    ("world", "level"),
    [
        pytest.param({**HEALTHY, "kafka_partitions_leaderless": 2}, "CRITICAL", id="leaderless"),
        pytest.param({**HEALTHY, "kafka_partitions_under_min_isr": 2}, "CRITICAL", id="min ISR"),
        pytest.param({**without(*METADATA), "kafka_controller_alive": 0}, "CRITICAL", id="no controller"),
        pytest.param({**without(*METADATA), "kafka_brokers_answering": 0}, "CRITICAL", id="no broker answers"),
        pytest.param({**HEALTHY, **alert("critical")}, "CRITICAL", id="critical alert"),
        pytest.param({**HEALTHY, **alert("warning")}, "DEGRADED", id="warning"),
        pytest.param({**HEALTHY, **alert("info")}, "OK", id="info"),
        pytest.param({**HEALTHY, "kafka_brokers_answering": 2}, "DEGRADED", id="a broker does not answer"),
        pytest.param({**HEALTHY, 'kafka_broker_up{broker="2"}': 0}, "DEGRADED", id="a broker is fenced"),
        pytest.param({**HEALTHY, 'kafka_log_dir_online{broker="1", dir="/a"}': 0}, "DEGRADED", id="log dir"),
        pytest.param({**HEALTHY, **uncovered("jmx")}, "PARTLY BLIND", id="no JMX"),
        pytest.param(
            {**HEALTHY, **uncovered("jmx"), 'klaxon_collector_supported{collector="jmx", source="1"}': 0},
            "OK",
            id="JMX is not supported",
        ),
        pytest.param(without("kafka_partitions_leaderless"), "NO DATA", id="metadata is old"),
        pytest.param(without("kafka_controller_alive"), "NO DATA", id="nobody knows of a controller"),
    ],
)
def test_everything(world: World, level: str) -> None:
    assert says(world)["IS EVERYTHING OK?"] == level


def test_metadata_that_may_be_frozen_is_no_data() -> None:
    told = says({**without(*METADATA), "kafka_controller_alive": 0, **uncovered("topics", "groups", "offsets")})
    assert told["CONTROLLER"] == "NONE"
    assert {told[tile] for tile in ("NO LEADER", "WRITES BLOCKED", "UNDER-REPLICATED", "GROUPS")} == {"NO DATA"}
    assert told["BROKERS"] == "OK", "that every broker answers needs no trust in metadata"


def test_brokers_count_what_does_not_answer_and_what_the_cluster_lacks() -> None:
    assert says({**HEALTHY, "kafka_brokers_answering": 1})["BROKERS"] == "2"
    assert says({**HEALTHY, 'kafka_broker_up{broker="2"}': 0})["BROKERS"] == "1"


def test_groups_behind_are_counted_and_none_needs_coverage() -> None:
    behind: World = {**HEALTHY, 'kafka_consumergroup_lag_sum{consumergroup="g", topic="t"}': 5000}
    assert seen(behind)["GROUPS"] == ("1", "orange")
    assert seen({**behind, **uncovered("groups")})["GROUPS"] == ("1", "orange")
    assert says({**HEALTHY, **uncovered("groups")})["GROUPS"] == "NO DATA"


def test_a_failed_log_dir_is_worse_than_any_full_one() -> None:
    assert seen({**HEALTHY, 'kafka_log_dir_online{broker="1", dir="/a"}': 0})["FULLEST DISK"] == ("FAILED", "red")
    assert seen({**HEALTHY, 'kafka_log_dir_usable_bytes{broker="1", dir="/a"}': 10})["FULLEST DISK"][1] == "red"


def test_no_critical_alert_needs_rules_and_a_reachable_cluster() -> None:
    assert seen({**HEALTHY, **alert("critical")})["CRITICAL ALERTS"] == ("1", "red")
    assert says(without("ALERTS"))["CRITICAL ALERTS"] == "NO DATA"
    assert says({**HEALTHY, "klaxon_cluster_reachable": 0})["CRITICAL ALERTS"] == "NO DATA"
