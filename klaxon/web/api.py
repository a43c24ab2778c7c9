"""The JSON answers: Prometheus's query API on Klaxon's own history, incidents, and a diagnosis on demand."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from alerts.model import Finding
from alerts.promql.errors import QueryError
from alerts.promql.values import Matrix, Scalar, String, Value, Vector
from exporter.history.errors import HistoryError
from exporter.series import Series, is_stale
from klaxon.web.view import AlertView, IncidentView

MAX_POINTS = 11_000
"""Steps of one range query, Prometheus's own limit."""


class Asked(Protocol):
    """What the API asks of the daemon."""

    def query(self, expr: str, at: float) -> Value:
        """Raises QueryError."""
        ...

    def query_range(self, expr: str, start: float, end: float, step: float) -> Sequence[Series]:
        """Raises QueryError."""
        ...

    def incidents(self) -> Sequence[IncidentView]: ...

    def alerts(self) -> Sequence[AlertView]: ...

    def diagnose(
        self, cluster: str | None, tree: str | None, names: Mapping[str, str]
    ) -> Sequence[tuple[Finding, str]]:
        """Walk the trees now with ``names`` bound: each finding with its text. Raises LookupError for an unknown cluster or tree, or a name that is needed."""
        ...


def routes(asked: Asked, clock: Callable[[], float] = time.time) -> list[Route]:
    """The routes below /api."""

    async def query(request: Request) -> Response:
        params = request.query_params
        return await _answer(
            lambda: _vector(
                asked.query(_needed(request, "query"), _time(params.get("time"), clock())),
                _time(params.get("time"), clock()),
            )
        )

    async def query_range(request: Request) -> Response:
        def run() -> dict[str, Any]:
            start, end, step = (_time(_needed(request, name), 0.0) for name in ("start", "end", "step"))
            if step <= 0 or end < start:
                raise ValueError("end must not be before start, and step must be above 0")
            if (end - start) / step > MAX_POINTS:
                raise ValueError(f"more than {MAX_POINTS} steps; make step larger")
            series = asked.query_range(_needed(request, "query"), start, end, step)
            return {"resultType": "matrix", "result": [_series(s) for s in series]}

        return await _answer(run)

    async def incidents(_: Request) -> Response:
        return JSONResponse([_incident(v) for v in asked.incidents()])

    async def alerts(_: Request) -> Response:
        return JSONResponse([_alert(v) for v in asked.alerts()])

    async def diagnose(request: Request) -> Response:
        params = request.query_params
        names = dict(one.split("=", 1) for one in params.getlist("set") if "=" in one)
        try:
            walked = await asyncio.to_thread(asked.diagnose, params.get("cluster"), params.get("tree"), names)
        except LookupError as error:
            return PlainTextResponse(f"{error.args[0]}\n", 404)
        if params.get("output") == "json":
            return JSONResponse([asdict(finding) for finding, _ in walked])
        return PlainTextResponse("\n\n".join(text for _, text in walked) + "\n")

    return [
        Route("/api/v1/query", query),
        Route("/api/v1/query_range", query_range),
        Route("/api/klaxon/incidents", incidents),
        Route("/api/klaxon/alerts", alerts),
        Route("/api/klaxon/diagnose", diagnose),
    ]


async def _answer(run: Callable[[], dict[str, Any]]) -> Response:
    """Prometheus's envelope around a result or an error."""
    try:
        return JSONResponse({"status": "success", "data": await asyncio.to_thread(run)})
    except (QueryError, HistoryError, ValueError) as error:
        return JSONResponse({"status": "error", "errorType": "bad_data", "error": str(error)}, 400)


def _needed(request: Request, name: str) -> str:
    value = request.query_params.get(name)
    if not value:
        raise ValueError(f"the parameter {name} is missing")
    return value


def _time(text: str | None, default: float) -> float:
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a number of seconds") from None
    if not math.isfinite(value):
        raise ValueError(f"{text!r} is not a number of seconds")
    return value


def _vector(value: Value, at: float) -> dict[str, Any]:
    if isinstance(value, Vector):
        return {
            "resultType": "vector",
            "result": [{"metric": dict(s.labels), "value": [at, _number(s.value)]} for s in value],
        }
    if isinstance(value, Matrix):
        return {"resultType": "matrix", "result": [_series(s) for s in value.series]}
    if isinstance(value, Scalar):
        return {"resultType": "scalar", "result": [at, _number(value.value)]}
    assert isinstance(value, String)
    return {"resultType": "string", "result": [at, value.value]}


def _series(series: Series) -> dict[str, Any]:
    live = ~is_stale(series.values)
    points = zip(series.timestamps[live].tolist(), series.values[live].tolist(), strict=True)
    return {"metric": dict(series.labels), "values": [[t / 1000, _number(v)] for t, v in points]}


def _number(value: float) -> str:
    """As Prometheus writes numbers in JSON: a string."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return repr(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)


def _incident(view: IncidentView) -> dict[str, Any]:
    incident = view.incident
    finding = incident.finding
    return {
        "id": incident.id,
        "cluster": incident.cluster,
        "problem": incident.problem,
        "subject": incident.subject,
        "severity": incident.severity,
        "summary": incident.summary,
        "opened_at": incident.opened_at,
        "ended_at": incident.ended_at,
        "closed_at": incident.closed_at,
        "parent": incident.parent,
        "maintenance": incident.maintenance,
        "cause": finding.cause if finding else None,
        "confidence": finding.confidence if finding else None,
        "alerts": list(view.alerts),
        "text": view.text,
    }


def _alert(view: AlertView) -> dict[str, Any]:
    alert = view.alert
    return {
        "alert": alert.rule,
        "state": alert.state,
        "severity": alert.severity,
        "cluster": alert.cluster,
        "subject": alert.subject,
        "since": alert.active_at,
        "fired_at": alert.fired_at,
        "resolved_at": alert.resolved_at,
        "held_since": alert.held_since,
        "held_inputs": list(alert.held_inputs),
        "unknown": alert.unknown,
        "maintenance": view.maintenance,
        "incidents": list(view.incidents),
        "value": _number(alert.value),
        "summary": alert.annotations.get("summary", ""),
        "labels": dict(alert.labels),
        "annotations": dict(alert.annotations),
    }
