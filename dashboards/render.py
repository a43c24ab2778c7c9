"""Turns boards into the classic JSON that Grafana 11 to 13 load: layout, variables, links and annotations included."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from grafana_foundation_sdk.builders import common as c
from grafana_foundation_sdk.builders import dashboard as d
from grafana_foundation_sdk.builders import prometheus, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as cm
from grafana_foundation_sdk.models import dashboard as dm
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from dashboards.looks import NEUTRAL, NO_DATA, PURPLE, RED, Steps, Words
from dashboards.panels import Board, Choice, Column, Kind, Panel
from dashboards.promql import of

COLUMNS: Final = 24
SCHEMA_VERSION: Final = 39
SOURCE: Final = dm.DataSourceRef(type_val="prometheus", uid="${datasource}")
TAG: Final = "klaxon"
LABEL_VALUES: Final = 1
"""The kind of a variable's query, as Grafana's own editor writes it."""


def to_json(board: Board) -> str:
    """The file's text."""
    raw: dict[str, Any] = json.loads(json.dumps(_dashboard(board).build(), cls=JSONEncoder))
    # The builders write the newest schema and leave out a null id; annotations' texts they do not know.
    raw |= {"id": None, "schemaVersion": SCHEMA_VERSION, "version": 1, "annotations": {"list": _annotations(board)}}
    return json.dumps(raw, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _dashboard(board: Board) -> d.Dashboard:
    made = (
        d.Dashboard(board.title)
        .uid(board.uid)
        .description(board.says)
        .tags([TAG, "kafka"])
        .readonly()
        .tooltip(dm.DashboardCursorSync.CROSSHAIR)
        .timezone("utc" if board.wall else "browser")
        .time("now-3h", "now")
        .refresh("30s")
        .link(
            d.DashboardLink("Klaxon's boards")
            .type(dm.DashboardLinkType.DASHBOARDS)
            .tags([TAG])
            .as_dropdown(True)
            .keep_time(True)
            .include_vars(True)
        )
        .with_variable(d.DatasourceVariable("datasource").label("Data source").type("prometheus"))
        .with_variable(_cluster())
    )
    for choice in board.choices:
        made.with_variable(_choice(choice))
    for number, (position, placed) in enumerate(_layout(board), start=1):
        if isinstance(placed, str):
            made.with_row(d.Row(placed).id(number).grid_pos(position))
        else:
            made.with_panel(_panel(placed, number, position))
    return made


def _cluster() -> d.QueryVariable:
    return _variable("cluster", "label_values(klaxon_cluster_reachable, cluster)").multi(False).include_all(False)


def _choice(choice: Choice) -> d.QueryVariable:
    query = f"label_values({of(choice.metric)}, {choice.label})"
    everything = dm.VariableOption(selected=True, text=["All"], value=["$__all"])
    return _variable(choice.name, query).multi(True).include_all(True).all_value(".+").current(everything)


def _variable(name: str, query: str) -> d.QueryVariable:
    return (
        d.QueryVariable(name)
        .label(name.capitalize())
        .query({"qryType": LABEL_VALUES, "query": query, "refId": "PrometheusVariableQueryEditor-VariableQuery"})
        .datasource(SOURCE)
        .refresh(dm.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(dm.VariableSort.NATURAL_ASC)
    )


# --- layout -------------------------------------------------------------------------------------------------------------------------------------


def _layout(board: Board) -> Iterator[tuple[dm.GridPos, Panel | str]]:
    """Every panel with its place: from left to right, a line as high as its highest panel; or where the panel says."""
    top = 0
    for section in board.sections:
        if section.title:
            yield dm.GridPos(h=1, w=COLUMNS, x=0, y=top), section.title
            top += 1
        left = line = 0
        for panel in section.panels:
            if panel.at is not None:
                yield dm.GridPos(h=panel.height, w=panel.width, x=panel.at[0], y=panel.at[1]), panel
                continue
            if left + panel.width > COLUMNS:
                top, left, line = top + line, 0, 0
            yield dm.GridPos(h=panel.height, w=panel.width, x=left, y=top), panel
            left, line = left + panel.width, max(line, panel.height)
        top += line


# --- panels -------------------------------------------------------------------------------------------------------------------------------------

AnyPanel = stat.Panel | timeseries.Panel | table.Panel | statetimeline.Panel


def _panel(panel: Panel, number: int, position: dm.GridPos) -> AnyPanel:
    made = _MAKERS[panel.kind](panel)
    made.id(number).grid_pos(position).datasource(SOURCE).description(panel.says)
    made.title("" if panel.large else panel.name).transparent(False)
    made.unit(panel.unit).thresholds(_thresholds(panel.steps)).no_value(NO_DATA).mappings(_mappings(panel))
    for letter, query in zip("ABCDEFGHIJKLMN", panel.queries, strict=False):
        target = prometheus.Dataquery().expr(query.expr).ref_id(letter).datasource(SOURCE)
        target.legend_format(query.legend or "__auto")
        if panel.kind is Kind.TABLE:
            target.format(PromQueryFormat.TABLE)
        made.with_target(target.instant() if panel.instant else target.range())
    if panel.link:
        made.data_links([d.DashboardLink("Open the board").url(panel.link)])
    if panel.least is not None:
        made.min(panel.least)
    if panel.most is not None:
        made.max(panel.most)
    return made


def _thresholds(steps: Steps) -> d.ThresholdsConfig:
    made = [dm.Threshold(value, colour) for value, colour in steps]
    return d.ThresholdsConfig().mode(dm.ThresholdsMode.ABSOLUTE).steps(made)


def _mappings(panel: Panel) -> list[dm.ValueMapping]:
    # To Grafana a text is not a number (NaN): in a table, whose cells are texts too, only null may mean NO DATA; its columns of numbers say the rest.
    match = dm.SpecialValueMatch.NULL if panel.kind is Kind.TABLE else dm.SpecialValueMatch.NULL_AND_NAN
    return _words(panel.words, match)


def _words(words: Words, match: dm.SpecialValueMatch = dm.SpecialValueMatch.NULL_AND_NAN) -> list[dm.ValueMapping]:
    nothing = dm.ValueMappingResult(text=NO_DATA, color=PURPLE, index=0)
    made: list[dm.ValueMapping] = [
        dm.SpecialValueMap(options=dm.DashboardSpecialValueMapOptions(match=match, result=nothing))
    ]
    if words:
        results = {
            str(value): dm.ValueMappingResult(text=word, color=colour, index=place)
            for place, (value, (word, colour)) in enumerate(words.items(), start=1)
        }
        made.append(dm.ValueMap(options=results))
    return made


def _by_thresholds() -> d.FieldColor:
    return d.FieldColor().mode(dm.FieldColorModeId.THRESHOLDS)


def _stat(panel: Panel) -> stat.Panel:
    # Instant queries give one point for each series, and that is the value.
    made = stat.Panel().reduce_options(c.ReduceDataOptions().calcs(["last"]).values(False).fields(""))
    made.color_scheme(_by_thresholds()).graph_mode(cm.BigValueGraphMode.NONE).decimals(0)
    made.color_mode(cm.BigValueColorMode.BACKGROUND_SOLID).justify_mode(cm.BigValueJustifyMode.CENTER)
    if panel.large is None:
        return made.text_mode(cm.BigValueTextMode.VALUE).orientation(cm.VizOrientation.AUTO)
    if not panel.large.across:
        made.display_name(panel.name)
    way = cm.VizOrientation.HORIZONTAL if panel.large.across else cm.VizOrientation.AUTO
    sizes = c.VizTextDisplayOptions().value_size(panel.large.value).title_size(panel.large.title)
    return made.text_mode(cm.BigValueTextMode(panel.large.text)).orientation(way).text(sizes)


def _graph(panel: Panel) -> timeseries.Panel:
    marks = len(panel.steps) > 1
    style = cm.GraphThresholdsStyleMode.DASHED if marks else cm.GraphThresholdsStyleMode.OFF
    legend = c.VizLegendOptions().display_mode(cm.LegendDisplayMode.TABLE).placement(cm.LegendPlacement.RIGHT)
    return (
        timeseries.Panel()
        .color_scheme(d.FieldColor().mode(dm.FieldColorModeId.PALETTE_CLASSIC))
        .thresholds_style(c.GraphThresholdsStyleConfig().mode(style))
        .span_nulls(False)
        .fill_opacity(5)
        .line_width(1)
        .show_points(cm.VisibilityMode.AUTO)
        .legend(legend.show_legend(True).calcs(["lastNotNull", "max"]))
        .tooltip(c.VizTooltipOptions().mode(cm.TooltipDisplayMode.MULTI).sort(cm.SortOrder.DESCENDING))
    )


def _timeline(panel: Panel) -> statetimeline.Panel:
    return (
        statetimeline.Panel()
        .color_scheme(_by_thresholds())
        .show_value(cm.VisibilityMode.AUTO)
        .merge_values(True)
        .row_height(0.85)
        .fill_opacity(85)
        .legend(
            c.VizLegendOptions()
            .display_mode(cm.LegendDisplayMode.LIST)
            .placement(cm.LegendPlacement.BOTTOM)
            .show_legend(True)
            .calcs([])
        )
    )


def _table(panel: Panel) -> table.Panel:
    shown = {column.source: place for place, column in enumerate(panel.columns)}
    hidden = {name: True for name in ("Time", "cluster") if name not in shown}
    titles = {column.source: column.title for column in panel.columns}
    made = table.Panel().show_header(True).cell_height(cm.TableCellHeight.SM).filterable(True)
    if len(panel.queries) > 1:
        made.with_transformation(dm.DataTransformerConfig(id_val="merge", options={}))
    arranged = {"excludeByName": hidden, "indexByName": shown, "renameByName": titles}
    made.with_transformation(dm.DataTransformerConfig(id_val="organize", options=arranged))
    for column in panel.columns:
        if properties := list(_column(column)):
            made.override_by_name(column.title, properties)
    if panel.sort:
        made.sort_by([c.TableSortByFieldState().display_name(panel.sort).desc(True)])
    return made


def _column(column: Column) -> Iterator[dm.DynamicConfigValue]:
    if column.source.startswith("Value"):
        yield dm.DynamicConfigValue("mappings", _words(column.words))
        yield dm.DynamicConfigValue("unit", column.unit or "none")
        if column.steps:
            yield dm.DynamicConfigValue("thresholds", _thresholds(column.steps).build())
            yield dm.DynamicConfigValue("color", {"mode": "thresholds"})
        if column.steps or column.words:
            yield dm.DynamicConfigValue("custom.cellOptions", {"type": "color-background", "mode": "basic"})
    if column.link:
        yield dm.DynamicConfigValue("links", [{"title": "Open the board", "url": column.link}])


_MAKERS: Final[Mapping[Kind, Callable[[Panel], AnyPanel]]] = {
    Kind.STAT: _stat,
    Kind.GRAPH: _graph,
    Kind.TABLE: _table,
    Kind.TIMELINE: _timeline,
}


# --- annotations --------------------------------------------------------------------------------------------------------------------------------


def _annotations(board: Board) -> list[dict[str, Any]]:
    marks = (
        (
            "New controller",
            f"max by (cluster) (changes({of('kafka_quorum_epoch')}[1m])) > 0",
            "New controller",
            "The epoch of the quorum rose",
            NEUTRAL,
        ),
        (
            "Broker restarted",
            f"max by (cluster, broker) (changes({of('process_start_time_seconds', broker='~.+')}[1m])) > 0",
            "Broker {{broker}} restarted",
            "Its process is a new one",
            NEUTRAL,
        ),
        (
            "Alert firing",
            f"max by (cluster, alertname, severity, subject) ({of('ALERTS', alertstate='firing', severity='~critical|warning')})",
            "{{alertname}}",
            "{{severity}}: {{subject}}",
            RED,
        ),
    )
    return [
        {
            "name": name,
            "datasource": SOURCE.to_json(),
            "enable": not board.wall,
            "hide": False,
            "expr": expr,
            "step": "1m",
            "titleFormat": title,
            "textFormat": text,
            "iconColor": colour,
            "useValueForTime": False,
        }
        for name, expr, title, text, colour in marks
    ]
