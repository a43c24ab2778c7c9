"""The commands that ask a running Klaxon for numbers and alerts: `klaxon query` and `klaxon alerts`."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from alerts.diagnosis.text import clock
from klaxon.console import DEFAULT_URL, FINDINGS, OK, JsonOption, UrlOption, get, usage

STEPS = 60
"""Steps of a range whose step is not named."""


def query(
    expr: Annotated[str, typer.Argument(help="PromQL.")],
    url: UrlOption = DEFAULT_URL,
    at: Annotated[float | None, typer.Option("--time", help="Unix seconds [now].")] = None,
    start: Annotated[float | None, typer.Option(help="Of a range: Unix seconds, or negative: so long ago.")] = None,
    end: Annotated[float | None, typer.Option(help="Of a range: Unix seconds, or negative: so long ago [now].")] = None,
    step: Annotated[float | None, typer.Option(help="Of a range: seconds [a sixtieth of it].")] = None,
    output: Annotated[str, typer.Option(help="text or json.")] = "text",
) -> None:
    """Evaluate PromQL on the history of a running Klaxon: at one moment, or from --start to --end."""
    if start is None and (end is not None or step is not None):
        usage("--end and --step belong to a range; give its --start")
    if start is not None and at is not None:
        usage("--time is for one moment, --start for a range; give one of them")
    now = time.time()
    if start is None:
        path, params = "/api/v1/query", {"query": expr, "time": str(at if at is not None else now)}
    else:
        begins, ends = _moment(start, now), _moment(0.0 if end is None else end, now)
        width = step if step is not None else max(1.0, (ends - begins) / STEPS)
        path = "/api/v1/query_range"
        params = {"query": expr, "start": str(begins), "end": str(ends), "step": str(width)}
    data = get(url, path, params).json()["data"]
    if output == "json":
        typer.echo(json.dumps(data, indent=1))
    elif data["resultType"] in ("scalar", "string"):
        typer.echo(data["result"][1])
    else:
        typer.echo("\n".join(map(_series, data["result"])) or "(no series)")


def _moment(given: float, now: float) -> float:
    return now + given if given <= 0 else given


def _series(series: Mapping[str, Any]) -> str:
    labels = dict(series["metric"])
    name = labels.pop("__name__", "")
    inside = ", ".join(f'{k}="{v}"' for k, v in labels.items())
    values = [series["value"][1]] if "value" in series else [f"{v} @{t}" for t, v in series["values"]]
    return f"{name}{{{inside}}} {' '.join(values)}"


def alerts(
    url: UrlOption = DEFAULT_URL,
    as_json: JsonOption = False,
    everything: Annotated[bool, typer.Option("--all", help="Resolved ones of the last 15 minutes too.")] = False,
) -> None:
    """Show the alerts of a running Klaxon; exits 1 when one at warning or above fires."""
    found = [a for a in get(url, "/api/klaxon/alerts").json() if everything or a["state"] != "resolved"]
    if as_json:
        typer.echo(json.dumps(found, indent=1))
    elif found:
        Console(width=None if sys.stdout.isatty() else 240).print(_table(found))
    else:
        typer.echo("No alert is pending or firing.")
    bad = any(a["state"] in ("firing", "keeping") and a["severity"] in ("warning", "critical") for a in found)
    raise typer.Exit(FINDINGS if bad else OK)


def _table(found: list[dict[str, Any]]) -> Table:
    table = Table("state", "severity", "alert", "cluster", "subject", "since", "says", "incident", box=None)
    for alert in found:
        says = [alert["summary"], *_notes(alert)]
        state = "unknown" if alert["unknown"] else "held" if alert["held_since"] is not None else alert["state"]
        table.add_row(
            state,
            alert["severity"],
            alert["alert"],
            alert["cluster"],
            alert["subject"],
            clock(alert["since"]),
            "; ".join(filter(None, says)),
            ", ".join(alert["incidents"]),
        )
    return table


def _notes(alert: Mapping[str, Any]) -> list[str]:
    notes = []
    if alert["held_since"] is not None:
        inputs = ", ".join(alert["held_inputs"])
        notes.append(f"{alert['state']}, no data since {clock(alert['held_since'])} from {inputs}")
    if alert["maintenance"]:
        notes.append(f"not sent: maintenance {alert['maintenance']}")
    return notes
