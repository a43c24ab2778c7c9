"""The boards on a real Prometheus that scrapes a Klaxon on real brokers: all are answered, a dead broker turns the right tiles, a dead Klaxon leaves none green."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import demo
from dashboards.boards import ALL
from tests.dashboards.drawing import BOARDS, Shown, bound, drawn, name, panels
from tests.klaxon_process import ROOT, Klaxon, wait_until
from tests.on_cluster import klaxon_config
from tests.prometheus import NO_BINARY, RealPrometheus, binary

pytestmark = [
    pytest.mark.real,
    pytest.mark.prometheus,
    pytest.mark.skipif(binary() is None, reason=NO_BINARY),
]
WALL = BOARDS["klaxon-wall"]
QUIET = {query.expr for board in ALL for panel in board.panels for query in panel.queries if query.quiet}
"""Queries that may find nothing on a healthy cluster."""
NEVER_GREEN_BUT_TOLD = {"NOT OK FOR", "TIME"}
"""Tiles that go on without Klaxon, since they ask for no state."""


@pytest.fixture
def klaxon(busy_cluster: demo.Cluster, tmp_path: Path) -> Iterator[Klaxon]:
    made = Klaxon(tmp_path / "klaxon", klaxon_config(busy_cluster))
    try:
        yield made.start(limit=90)
    finally:
        made.close()


@pytest.fixture
def prometheus(klaxon: Klaxon, tmp_path: Path) -> Iterator[RealPrometheus]:
    rules = sorted((ROOT / "alerts" / "rules").glob("*.yaml"))
    with RealPrometheus(tmp_path / "prometheus", [f"127.0.0.1:{klaxon.port}"], rules) as made:
        yield made


@pytest.mark.proof
def test_boards(busy_cluster: demo.Cluster, klaxon: Klaxon, prometheus: RealPrometheus) -> None:
    everything_is_answered(prometheus)
    until_none(lambda: not_well(prometheus), 90, "tiles are not well")
    assert tiles(prometheus)["IS EVERYTHING OK?"] == Shown("OK", "green")
    a_dead_broker_turns_the_right_tiles(busy_cluster, prometheus)
    without_klaxon_no_tile_is_green(klaxon, prometheus)


def until_none(found: Callable[[], Any], limit: float, what: str) -> None:
    """Wait until nothing is found; AssertionError with what was found last."""
    last: list[Any] = []

    def none() -> bool:
        last[:] = [found()]
        return not last[0]

    try:
        wait_until(none, limit, what, every=2)
    except AssertionError as error:
        raise AssertionError(f"after {limit:.0f} s {what}: {last}") from error


# --- while all is well --------------------------------------------------------------------------------------------------------------------------


def everything_is_answered(prometheus: RealPrometheus) -> None:
    """With one value, with all, and with several chosen, as Grafana writes each."""
    wait_until(lambda: prometheus.query('kafka_brokers{cluster="demo"} == 3'), 60, "Prometheus has Klaxon's page")
    for several in (False, True):
        until_none(lambda several=several: unanswered(prometheus, several), 150, "queries find nothing")


def unanswered(prometheus: RealPrometheus, several: bool) -> list[str]:
    """Queries without a result. Raises AssertionError for one that is refused, or a table with a label that is not shown."""
    empty = []
    for board in BOARDS.values():
        values = choices(prometheus, board, several)
        for panel in panels(board):
            for target in panel["targets"]:
                found = ask(prometheus, panel, bound(target["expr"], values))
                if not has_values(found) and target["expr"] not in QUIET:
                    empty.append(f"{board['uid']}: {name(panel)}: {target['expr']}")
                if panel["type"] == "table":
                    labels = {label for series in found for label in series["metric"]} - {"cluster"}
                    assert labels <= shown_columns(panel), f"{name(panel)} hides {labels - shown_columns(panel)}"
    return empty


def choices(prometheus: RealPrometheus, board: Mapping[str, Any], several: bool) -> dict[str, str]:
    """Variable -> what Grafana puts in its place: the cluster by itself, others as All or as several values."""
    values = {"cluster": "demo"}
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            metric, label = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"]).groups()  # type: ignore[union-attr]
            found = prometheus.label_values(bound(metric, {"cluster": "demo"}), label)
            assert found, f"nothing to choose for {variable['name']}"
            if variable["multi"]:
                chosen = f"({'|'.join(re.escape(value) for value in found)})".replace("\\", "\\\\")
                values[variable["name"]] = chosen if several else variable["allValue"]
    return values


def ask(prometheus: RealPrometheus, panel: Mapping[str, Any], expr: str) -> list[dict[str, Any]]:
    if panel["type"] in ("stat", "table"):
        return prometheus.query(expr)
    return prometheus.query_range(expr, 120)


def has_values(found: list[dict[str, Any]]) -> bool:
    return any(value != "NaN" for series in found for _, value in series.get("values") or [series["value"]])


def shown_columns(panel: Mapping[str, Any]) -> set[str]:
    (arranged,) = (t["options"] for t in panel["transformations"] if t["id"] == "organize")
    return set(arranged["renameByName"])


# --- what the tiles say -------------------------------------------------------------------------------------------------------------------------------------


def tiles(prometheus: RealPrometheus, board: Mapping[str, Any] = WALL) -> dict[str, Shown]:
    """Name of each stat panel -> the worst of what it shows now; what is green last."""
    found = {}
    for panel in panels(board):
        if panel["type"] == "stat":
            series = prometheus.query(bound(panel["targets"][0]["expr"], choices(prometheus, board, False)))
            every = drawn(panel, [float(s["value"][1]) for s in series])
            found[name(panel)] = sorted(every, key=lambda s: s.colour == "green")[0]
    return found


def not_well(prometheus: RealPrometheus) -> dict[str, Shown]:
    return {n: s for n, s in tiles(prometheus).items() if s.colour in ("red", "orange", "purple")}


def a_dead_broker_turns_the_right_tiles(cluster: demo.Cluster, prometheus: RealPrometheus) -> None:
    cluster.kill_node(2)
    turning = {"BROKERS", "UNDER-REPLICATED", "IS EVERYTHING OK?"}
    until_none(lambda: turning - not_well(prometheus).keys(), 90, "tiles have not turned")
    assert tiles(prometheus)["BROKERS"] == Shown("1", "red")
    assert tiles(prometheus)["IS EVERYTHING OK?"].text in ("DEGRADED", "CRITICAL")
    assert tiles(prometheus, BOARDS["klaxon-cluster"])["Brokers"] == Shown("1", "red")
    rows = prometheus.query(bound(table("Missing replicas")["targets"][0]["expr"], {"cluster": "demo"}))
    assert {row["metric"]["broker"] for row in rows} == {"2"}


def table(title: str) -> dict[str, Any]:
    return next(p for p in panels(BOARDS["klaxon-cluster"]) if p["title"] == title)


def without_klaxon_no_tile_is_green(klaxon: Klaxon, prometheus: RealPrometheus) -> None:
    green = {n for n, s in tiles(prometheus).items() if s.colour == "green"}
    assert {"CONTROLLER", "DATA AGE"} <= green, "there is something to lose"
    klaxon.stop()
    wait_until(lambda: prometheus.query('up{job="klaxon"} == 0'), 20, "a scrape has failed")
    told = {n for n, s in tiles(prometheus).items() if s != Shown("NO DATA", "purple")}
    assert told <= NEVER_GREEN_BUT_TOLD
    for board in BOARDS.values():
        assert {n for n, s in tiles(prometheus, board).items() if s.colour == "green"} == set(), board["uid"]
        values = choices(prometheus, board, False)
        for panel in panels(board):
            if panel["type"] == "table":
                rows = [s for t in panel["targets"] for s in prometheus.query(bound(t["expr"], values))]
                assert rows == [], f"{board['uid']}: {name(panel)} has rows"
