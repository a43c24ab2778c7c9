"""What Grafana makes of a board: variables bound as it binds them, and the word and colour of a panel for a query's result."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent.parent.parent / "dashboards"
BOARDS: dict[str, dict[str, Any]] = {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}


def panels(board: Mapping[str, Any], rows: bool = False) -> Iterator[dict[str, Any]]:
    return (panel for panel in board["panels"] if rows or panel["type"] != "row")


def name(panel: Mapping[str, Any]) -> str:
    """The title, or the name inside of a tile."""
    return str(panel["title"] or panel["fieldConfig"]["defaults"].get("displayName") or panel["description"])


def exprs(board: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Name of the panel or annotation, and query."""
    for panel in panels(board):
        yield from ((name(panel), target["expr"]) for target in panel["targets"])
    yield from ((mark["name"], mark["expr"]) for mark in board["annotations"]["list"])


def bound(expr: str, values: Mapping[str, str], scrape_s: int = 15, step_s: int = 15) -> str:
    """With its variables replaced; the rate interval is four scrapes, or a step and a scrape."""
    rate_s = max(step_s + scrape_s, 4 * scrape_s)
    for variable, value in {"__rate_interval": f"{rate_s}s", "__interval": f"{step_s}s", **values}.items():
        expr = expr.replace(f"${variable}", value)
    assert "$" not in expr, expr
    return expr


@dataclass(frozen=True)
class Shown:
    """The text of a value, without its unit, and its colour."""

    text: str
    colour: str


def shown(panel: Mapping[str, Any], value: float | None) -> Shown:
    """One value of a panel, by its mappings, else its thresholds, as Grafana's display processor does it; None is a query that found nothing."""
    config = panel["fieldConfig"]["defaults"]
    word = _mapped(config.get("mappings", ()), value) or {}
    if value is None or math.isnan(value):
        text = word.get("text", config.get("noValue", ""))
        return Shown(text, word.get("color", _colour(config, -math.inf)))
    return Shown(word.get("text", f"{value:g}"), word.get("color", _colour(config, value)))


def drawn(panel: Mapping[str, Any], values: list[float]) -> list[Shown]:
    """All values of a stat panel; a query without a result is drawn as one null."""
    return [shown(panel, v) for v in values] or [shown(panel, None)]


def _mapped(mappings: list[dict[str, Any]], value: float | None) -> dict[str, Any] | None:
    nothing = value is None or math.isnan(value)
    for mapping in mappings:
        options = mapping["options"]
        if mapping["type"] == "special":
            match = options["match"]
            if (value is None and match in ("null", "null+nan")) or (nothing and match in ("nan", "null+nan")):
                return dict(options["result"])
        elif mapping["type"] == "value" and not nothing and f"{value:g}" in options:
            return dict(options[f"{value:g}"])
    return None


def _colour(config: Mapping[str, Any], value: float) -> str:
    steps = config["thresholds"]["steps"]
    reached = [s["color"] for s in steps if s["value"] is None or value >= s["value"]]
    return str(reached[-1])
