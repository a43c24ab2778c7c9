"""The routes of the web server, on what the daemon shows of itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from jinja2 import Environment, FileSystemLoader, select_autoescape
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from klaxon.web import api
from klaxon.web.view import ClusterView, IncidentView

SECURITY_HEADERS = (
    (
        b"content-security-policy",
        b"default-src 'none'; style-src 'self'; img-src 'self'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
)


class Shown(api.Asked, Protocol):
    """What the web server needs to see of the daemon. Every method answers from memory at once, whatever Kafka does."""

    def metrics(self, accept_encoding: str, cluster: str | None) -> tuple[Mapping[str, str], Iterable[bytes]]: ...

    def clusters(self) -> Sequence[str]: ...

    def states(self) -> Sequence[ClusterView]: ...

    def incident(self, incident_id: str) -> IncidentView | None: ...

    def not_ready(self) -> Sequence[str]:
        """Why Klaxon is not ready yet; empty when it is."""

    def unhealthy(self) -> Sequence[str]:
        """Which part of Klaxon has stopped working; empty when none has. Kafka being away is no fault of Klaxon's."""

    def reload(self) -> Sequence[str]:
        """Read the configuration, rules and trees again; problems, and then the old ones stay in force."""


class Hardened:
    """Adds the headers that tell browsers to trust nothing else."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *SECURITY_HEADERS]
            await send(message)

        await self._app(scope, receive, with_headers)


def create_app(shown: Shown) -> Starlette:
    """The web application."""
    folder = Path(__file__).parent
    templates = Environment(
        loader=FileSystemLoader(folder / "templates"),
        autoescape=select_autoescape(),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = (folder / "style.css").read_text()

    async def metrics(request: Request) -> Response:
        cluster = request.query_params.get("cluster")
        if cluster is not None and cluster not in shown.clusters():
            return PlainTextResponse(
                f"There is no cluster {cluster!r}; configured: {', '.join(shown.clusters())}\n", 404
            )
        headers, chunks = shown.metrics(request.headers.get("accept-encoding", ""), cluster)
        if "content-encoding" in headers:
            return Response(b"".join(chunks), headers=dict(headers))
        # Plain text of a large cluster is a hundred megabytes: it goes out as it is unpacked.
        return StreamingResponse(_one_by_one(chunks), headers=dict(headers))

    async def index(_: Request) -> Response:
        return HTMLResponse(
            templates.get_template("index.html").render(clusters=shown.states(), incidents=shown.incidents())
        )

    async def incident(request: Request) -> Response:
        view = shown.incident(request.path_params["id"])
        if view is None:
            return HTMLResponse(templates.get_template("missing.html").render(id=request.path_params["id"]), 404)
        return HTMLResponse(templates.get_template("incident.html").render(incident=view))

    async def incident_text(request: Request) -> Response:
        view = shown.incident(request.path_params["id"])
        return PlainTextResponse(view.text if view else "No such incident.\n", 200 if view else 404)

    async def healthy(_: Request) -> Response:
        return _verdict(shown.unhealthy(), "Klaxon is healthy.")

    async def ready(_: Request) -> Response:
        return _verdict(shown.not_ready(), "Klaxon is ready.")

    async def reload(_: Request) -> Response:
        problems = await asyncio.to_thread(shown.reload)
        if problems:
            return PlainTextResponse("Nothing was changed:\n" + "\n".join(problems) + "\n", 400)
        return PlainTextResponse("Reloaded.\n")

    async def css(_: Request) -> Response:
        return Response(style, media_type="text/css", headers={"cache-control": "max-age=3600"})

    return Starlette(
        routes=[
            Route("/", index),
            Route("/metrics", metrics),
            Route("/incidents/{id}.txt", incident_text),
            Route("/incidents/{id}", incident),
            Route("/-/healthy", healthy),
            Route("/-/ready", ready),
            Route("/-/reload", reload, methods=["POST", "PUT"]),
            Route("/style.css", css),
            *api.routes(shown),
        ],
        middleware=[Middleware(Hardened)],
    )


async def _one_by_one(chunks: Iterable[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


def _verdict(problems: Sequence[str], good: str) -> Response:
    return PlainTextResponse("\n".join(problems or [good]) + "\n", 503 if problems else 200)
