"""The boards are what the Python says, Grafana can load them as they are, and everything that they name exists."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from alerts.engine.names import row_labels
from alerts.engine.rules import NO_TREE, AlertingRule
from alerts.promql.questions import selectors
from alerts.promql.syntax import Expr
from dashboards.boards import ALL
from dashboards.build import files
from dashboards.panels import Kind
from exporter.metrics.catalogue import complete
from klaxon.config import build
from klaxon.reference import SMALLEST
from tests.dashboards.drawing import BOARDS, bound, drawn, exprs, name, panels, shown

ROOT = Path(__file__).parent.parent.parent
KINDS = {kind.value for kind in Kind}
CHOICES = {
    "klaxon-wall": [],
    "klaxon-cluster": [],
    "klaxon-brokers": ["broker"],
    "klaxon-consumer-groups": ["consumergroup", "topic"],
}
VALUES = {"cluster": "demo", "broker": "(1|2)", "consumergroup": ".+", "topic": ".+"}
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
ALERT_LABELS = {"cluster", "alertname", "alertstate", "severity", "subject"}
"""Those of Klaxon's rules that boards look at."""

each_board = pytest.mark.parametrize("board", [pytest.param(b, id=i) for i, b in BOARDS.items()])
each_panel = pytest.mark.parametrize(
    ("board", "panel"), [pytest.param(b, p, id=f"{i}: {name(p)}") for i, b in BOARDS.items() for p in panels(b)]
)


@pytest.mark.parametrize("path", sorted(files()))
def test_generated_files_are_up_to_date(path: str) -> None:
    assert (ROOT / path).read_text(encoding="utf-8") == files()[path], "run `make dashboards`"


def test_every_board_is_committed() -> None:
    assert sorted(BOARDS) == sorted(CHOICES) == sorted(board.uid for board in ALL)


# --- the shape of the JSON --------------------------------------------------------------------------------------------------------------------------


@each_board
def test_a_board_can_be_provisioned_as_it_is(board: dict[str, Any]) -> None:
    assert board["uid"].startswith("klaxon-")
    assert len(board["uid"]) <= 40
    assert board["id"] is None
    assert board["schemaVersion"] == 39
    assert board["version"] == 1
    assert board["editable"] is False
    assert board["graphTooltip"] == 1
    assert board["refresh"] == "30s"
    assert board["timezone"]
    assert "klaxon" in board["tags"]
    assert not {"__inputs", "__requires", "gnetId"} & board.keys()
    (link,) = board["links"]
    assert (link["type"], link["tags"], link["keepTime"], link["includeVars"]) == ("dashboards", ["klaxon"], True, True)


@each_board
def test_every_data_source_is_the_variable(board: dict[str, Any]) -> None:
    sources = list(_values_of("datasource", {**board, "templating": _asked(board)}))
    assert len(sources) > len(board["panels"])
    assert all(source == SOURCE for source in sources)
    assert {p["uid"] for p in board["links"] if "uid" in p} == set()


def _asked(board: dict[str, Any]) -> list[dict[str, Any]]:
    return [v for v in board["templating"]["list"] if v["type"] == "query"]


def _values_of(key: str, node: Any) -> Iterator[Any]:
    if isinstance(node, dict):
        for k, v in node.items():
            if k == key:
                yield v
            else:
                yield from _values_of(key, v)
    elif isinstance(node, list):
        for item in node:
            yield from _values_of(key, item)


@each_board
def test_variables(board: dict[str, Any]) -> None:
    source, cluster, *rest = board["templating"]["list"]
    assert (source["type"], source["name"], source["query"]) == ("datasource", "datasource", "prometheus")
    assert (cluster["name"], cluster["multi"], cluster["includeAll"]) == ("cluster", False, False)
    assert [v["name"] for v in rest] == CHOICES[board["uid"]]
    for variable in (cluster, *rest):
        query = re.fullmatch(r"label_values\((\w+)(?:\{cluster=\"\$cluster\"\})?, (\w+)\)", variable["query"]["query"])
        assert query
        assert query[2] in row_labels(complete()[query[1]])
        assert variable["refresh"] == 2
    for variable in rest:
        assert (variable["multi"], variable["includeAll"], variable["allValue"]) == (True, True, ".+")
        # A choice of several values is a regular expression.
        used = [e for _, e in exprs(board) if f"${variable['name']}" in e]
        assert used
        assert not any(re.search(rf'[^~]"\${variable["name"]}"', e) for e in used)


@each_board
def test_panels_have_ids_of_their_own_and_do_not_overlap(board: dict[str, Any]) -> None:
    ids = [p["id"] for p in panels(board, rows=True)]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in panels(board, rows=True):
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, f"{panel['title']} lies on another panel"
        taken |= cells


@each_panel
def test_a_panel_says_what_it_is_and_what_it_lacks(board: dict[str, Any], panel: dict[str, Any]) -> None:
    config = panel["fieldConfig"]["defaults"]
    assert panel["type"] in KINDS
    assert len(panel["description"]) > 15
    assert panel["description"].rstrip()[-1] in ".:"
    assert panel["title"] or board["uid"] == "klaxon-wall"
    assert config["unit"]
    assert config["noValue"] == "NO DATA"
    steps = config["thresholds"]["steps"]
    values = [s["value"] for s in steps]
    assert values[0] is None
    assert values[1:] == sorted(set(values[1:]))
    assert all(a["color"] != b["color"] for a, b in pairwise(steps)), "a step that changes nothing"
    if config["unit"] == "percentunit" and panel["type"] == "timeseries":
        assert config["min"] == 0
    assert [t["refId"] for t in panel["targets"]] == list("ABCDEFGHIJKL"[: len(panel["targets"])])


@each_panel
def test_no_data_is_told_and_never_green(board: dict[str, Any], panel: dict[str, Any]) -> None:
    nothing = [shown(panel, None)] + ([] if panel["type"] == "table" else [shown(panel, float("nan"))])
    assert {(s.text, s.colour) for s in nothing} == {("NO DATA", "purple")}
    if panel["type"] == "stat":
        # The last point of a range is an old one when its series has ended.
        assert all(t["instant"] and not t["range"] for t in panel["targets"])
        assert panel["options"]["reduceOptions"]["calcs"] == ["last"]
    if panel["type"] == "timeseries":
        assert panel["fieldConfig"]["defaults"]["custom"]["spanNulls"] is False


@each_panel
def test_words_have_the_colour_of_their_number(board: dict[str, Any], panel: dict[str, Any]) -> None:
    if panel["type"] == "stat":
        config = panel["fieldConfig"]["defaults"]
        plain = {"fieldConfig": {"defaults": {**config, "mappings": []}}}
        for mapping in config["mappings"]:
            for value in mapping["options"] if mapping["type"] == "value" else ():
                assert shown(panel, float(value)).colour == shown(plain, float(value)).colour


@each_panel
def test_a_table_keeps_its_texts(board: dict[str, Any], panel: dict[str, Any]) -> None:
    """To Grafana a text is not a number: a mapping of NaN for all columns would turn every name into NO DATA."""
    if panel["type"] != "table":
        return
    assert panel["fieldConfig"]["defaults"]["mappings"][0]["options"]["match"] == "null"
    (arranged,) = (t["options"] for t in panel["transformations"] if t["id"] == "organize")
    titles = arranged["renameByName"]
    numbers = {t for source, t in titles.items() if source.startswith("Value")}
    told = {
        o["matcher"]["options"]: {p["id"]: p["value"] for p in o["properties"]}
        for o in panel["fieldConfig"]["overrides"]
    }
    assert numbers
    for title in numbers:
        assert told[title]["mappings"][0]["options"]["match"] == "null+nan"
        assert told[title]["unit"]
    assert told.keys() <= set(titles.values())
    many = len(panel["targets"]) > 1
    assert {s for s in titles if s.startswith("Value")} == (
        {f"Value #{t['refId']}" for t in panel["targets"]} if many else {"Value"}
    )


@each_panel
def test_links_lead_to_boards_with_cluster_and_time(board: dict[str, Any], panel: dict[str, Any]) -> None:
    for url in _values_of("url", panel):
        assert re.match(r"/d/(klaxon-[a-z-]+)/\?", url)[1] in BOARDS  # type: ignore[index]
        assert "${cluster:queryparam}" in url
        assert "${__url_time_range}" in url
        for variable in re.findall(r"var-(\w+)=", url):
            target = BOARDS[url.split("/")[2]]
            assert variable in [v["name"] for v in target["templating"]["list"]]


# --- the wall ----------------------------------------------------------------------------------------------------------------------------------


def test_the_wall_can_be_read_from_afar() -> None:
    wall = BOARDS["klaxon-wall"]
    tiles = list(panels(wall, rows=True))
    assert 12 <= len(tiles) <= 16
    first, *others = tiles
    assert (first["gridPos"]["x"], first["gridPos"]["y"]) == (0, 0)
    assert all(_area(first) > _area(tile) or tile["targets"][0]["legendFormat"].startswith("{{") for tile in others)
    assert max(t["gridPos"]["y"] + t["gridPos"]["h"] for t in tiles) <= 28, "1080 pixels hold 28 units"
    for tile in tiles:
        assert tile["type"] == "stat"
        assert tile["title"] == ""
        options = tile["options"]
        assert (options["colorMode"], options["graphMode"]) == ("background_solid", "none")
        assert options["text"]["titleSize"] >= 40
        in_rows = options["orientation"] == "horizontal"
        assert options["text"]["valueSize"] >= (40 if in_rows else 90)
    assert wall["timezone"] == "utc"


def _area(panel: dict[str, Any]) -> int:
    return int(panel["gridPos"]["w"] * panel["gridPos"]["h"])


def test_a_tile_without_data_keeps_its_name() -> None:
    """Grafana draws a query without any series as NO DATA without a name; a NaN keeps the name."""
    for tile in panels(BOARDS["klaxon-wall"]):
        (target,) = tile["targets"]
        assert target["expr"].endswith("or on () vector(NaN)")


# --- what is asked -----------------------------------------------------------------------------------------------------------------------------

each_query = pytest.mark.parametrize(
    "expr", [pytest.param(e, id=f"{i}: {n}") for i, b in BOARDS.items() for n, e in exprs(b)]
)


@each_query
def test_a_query_is_promql_and_rates_are_over_the_rate_interval(expr: str) -> None:
    promql_parser.parse(bound(expr, VALUES))
    assert "$__interval" not in expr
    assert set(re.findall(r"\bi?rate\([^[]*\[([^]]+)\]", expr)) <= {"$__rate_interval"}


@each_query
def test_every_metric_and_label_exists(expr: str) -> None:
    catalogue = complete()
    found = list(_selectors(expr))
    for metric, matchers in found:
        assert metric in catalogue, f"no metric {metric}"
        known = ALERT_LABELS if metric == "ALERTS" else row_labels(catalogue[metric])
        assert matchers.keys() <= known, f"{metric} has {sorted(known)}"
        if "cluster" in known:
            assert matchers.get("cluster") == "demo" or matchers.get("alertname") == "Watchdog", "of every cluster"
    labels = set().union(*(ALERT_LABELS if m == "ALERTS" else row_labels(catalogue[m]) for m, _ in found))
    for names in re.findall(r"\b(?:by|on|group_left) \(([^)]*)\)", expr):
        assert {n.strip() for n in names.split(",") if n.strip()} <= labels


def _selectors(expr: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Metric and matchers of every selector."""
    yield from _of_node(promql_parser.parse(bound(expr, VALUES)))


def _of_node(node: Any) -> Iterator[tuple[str, dict[str, str]]]:
    if isinstance(node, promql_parser.VectorSelector):
        yield node.name, {m.name: m.value for m in node.matchers.matchers}
    elif isinstance(node, promql_parser.MatrixSelector):
        yield from _of_node(node.vector_selector)
    elif isinstance(node, promql_parser.BinaryExpr):
        yield from (*_of_node(node.lhs), *_of_node(node.rhs))
    elif isinstance(node, promql_parser.Call):
        yield from (found for argument in node.args for found in _of_node(argument))
    elif not isinstance(node, promql_parser.NumberLiteral | promql_parser.StringLiteral):
        yield from _of_node(node.expr)


# --- alerts ------------------------------------------------------------------------------------------------------------------------------------

SHIPPED = build(SMALLEST, Path.cwd()).rules
NOT_SHOWN: dict[str, str] = {
    # metric of a rule -> why no board shows it
}


def _explained() -> Iterator[AlertingRule]:
    """The rules that a tree explains, and the watchdog; what has no tree yet has no board yet."""
    yield from (rule for rule in SHIPPED.alerting if ("tree", NO_TREE) not in {(n, t.text) for n, t in rule.labels})


def _looks_at(expr: Expr) -> set[str]:
    """The metrics that an expression reads, through recorded ones too."""
    names = {s.name for s in selectors(expr) if s.name}
    recorded = [rule for rule in SHIPPED.recording if rule.name in names]
    return (names - {rule.name for rule in recorded}).union(*(_looks_at(rule.expr) for rule in recorded))


@pytest.mark.parametrize("rule", [pytest.param(r, id=r.key) for r in _explained()])
def test_every_alert_has_panels_that_show_what_it_looks_at(rule: AlertingRule) -> None:
    on_boards = {
        metric for b in BOARDS.values() for p in panels(b) for t in p["targets"] for metric, _ in _selectors(t["expr"])
    }
    assert _looks_at(rule.expr) <= on_boards | NOT_SHOWN.keys()


def test_no_exception_is_left_over() -> None:
    assert set(NOT_SHOWN) <= {metric for rule in _explained() for metric in _looks_at(rule.expr)}


# --- the drawing itself ------------------------------------------------------------------------------------------------------------------------


def test_words_and_colours() -> None:
    tiles = {name(p): p for p in panels(BOARDS["klaxon-wall"])}
    brokers = tiles["BROKERS"]
    assert [(s.text, s.colour) for s in drawn(brokers, [0])] == [("OK", "green")]
    assert [(s.text, s.colour) for s in drawn(brokers, [2])] == [("2", "red")]
    assert brokers["fieldConfig"]["defaults"]["unit"] == "suffix:DOWN"
    assert [s.text for s in drawn(brokers, [])] == ["NO DATA"]
    words = [shown(tiles["IS EVERYTHING OK?"], level) for level in range(4)]
    assert [w.text for w in words] == ["OK", "PARTLY BLIND", "DEGRADED", "CRITICAL"]
    assert [w.colour for w in words] == ["green", "orange", "orange", "red"]
    assert shown(tiles["CONTROLLER"], 0).colour == "red", "no controller is not green"


def test_provisioning_names_the_folder_of_the_boards() -> None:
    (provider,) = yaml.safe_load((ROOT / "deploy/grafana/dashboards.yaml").read_text())["providers"]
    assert provider["disableDeletion"] is True
    assert provider["allowUiUpdates"] is False
    assert provider["folderUid"] == "klaxon"
    (source,) = yaml.safe_load((ROOT / "deploy/grafana/datasource.yaml").read_text())["datasources"]
    assert (source["type"], source["isDefault"]) == ("prometheus", True)
    assert json.dumps(source["jsonData"]["timeInterval"]) == '"15s"'
