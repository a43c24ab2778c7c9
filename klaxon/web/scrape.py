"""What Prometheus asks: the metrics page, whole or in parts, and the list of those parts as scrape targets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Protocol

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from exporter.facts.cluster import Node
from exporter.metrics.negotiation import Format, negotiated
from exporter.metrics.page import EVERYTHING, NO_BROKER, Scope

OWN_PATH: Final = "/metrics/klaxon"

Answer = tuple[Mapping[str, str], Iterable[bytes]]
"""Headers and body."""


class Scraped(Protocol):
    """What scrapes need of the daemon; both texts of a scrape are the request's headers ``Accept-Encoding`` and ``Accept``."""

    def metrics(self, accept_encoding: str, scope: Scope = EVERYTHING, accept: str = "") -> Answer:
        """The page, or what of it is in the scope."""
        ...

    def own_metrics(self, accept_encoding: str, accept: str = "") -> Answer:
        """The metrics of the process alone."""
        ...

    def clusters(self) -> Sequence[str]: ...

    def nodes(self, cluster: str) -> Sequence[Node]:
        """Every node of the cluster that should be there, whether Kafka answers or not."""
        ...


def routes(scraped: Scraped) -> list[Route]:
    """``/metrics``, ``/metrics/klaxon`` and ``/sd``."""

    async def metrics(request: Request) -> Response:
        scope = Scope(request.query_params.get("cluster"), request.query_params.get("broker"))
        problem = _unknown(scraped, scope)
        if problem:
            return PlainTextResponse(f"{problem}\n", 404)
        accept = request.headers.get("accept", "")
        encoding = request.headers.get("accept-encoding", "")
        if scope.whole and negotiated(accept) is Format.TEXT:
            return _sent(scraped.metrics(encoding))
        # Everything else may have to be put together first, which must not hold up other requests.
        return _sent(await asyncio.to_thread(scraped.metrics, encoding, scope, accept))

    async def own(request: Request) -> Response:
        headers = request.headers
        return _sent(scraped.own_metrics(headers.get("accept-encoding", ""), headers.get("accept", "")))

    async def discovery(request: Request) -> Response:
        return JSONResponse(target_groups(scraped, request.url.netloc, request.url.scheme))

    return [Route("/metrics", metrics), Route(OWN_PATH, own), Route("/sd", discovery)]


def _sent(answer: Answer) -> Response:
    headers, chunks = answer
    if "content-encoding" in headers:
        return Response(b"".join(chunks), headers=dict(headers))
    # Plain text of a large cluster is a hundred megabytes: it goes out as it is unpacked.
    return StreamingResponse(_one_by_one(chunks), headers=dict(headers))


async def _one_by_one(chunks: Iterable[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


def _unknown(scraped: Scraped, scope: Scope) -> str:
    """Why the scope cannot be shown; empty when it can."""
    clusters = scraped.clusters()
    if scope.cluster is not None and scope.cluster not in clusters:
        return f"There is no cluster {scope.cluster!r}; configured: {', '.join(clusters)}"
    if scope.broker is None or scope.broker == NO_BROKER:
        return ""
    within = clusters if scope.cluster is None else [scope.cluster]
    known = sorted({node.id for cluster in within for node in scraped.nodes(cluster)})
    if scope.broker in map(str, known):
        return ""
    where = f" in cluster {scope.cluster}" if scope.cluster is not None else ""
    return f"There is no broker {scope.broker!r}{where}; known: {', '.join(map(str, known)) or 'none yet'}"


# --- service discovery


def target_groups(scraped: Scraped, address: str, scheme: str) -> list[dict[str, Any]]:
    """Prometheus's http_sd format: Klaxon itself, each cluster, and each of its nodes; together they have every series of the page exactly once.

    Every target is ``address``, this Klaxon, told apart by path and parameters; ``instance`` is what it is about.
    """
    return [{"targets": [address], "labels": {"__scheme__": scheme, **labels}} for labels in _targets(scraped, address)]


def _targets(scraped: Scraped, address: str) -> Iterator[dict[str, str]]:
    yield {"__metrics_path__": OWN_PATH, "instance": address}
    for cluster in scraped.clusters():
        of_cluster = {"__metrics_path__": "/metrics", "__param_cluster": cluster, "cluster": cluster}
        yield {**of_cluster, "__param_broker": NO_BROKER, "instance": cluster}
        for node in scraped.nodes(cluster):
            # Of a node that is only named by replica assignments nobody knows the address.
            instance = node.address if node.host else f"{cluster}/{node.id}"
            own = {"__param_broker": str(node.id), "instance": instance, "broker": str(node.id)}
            yield {**of_cluster, **own, **({"rack": node.rack} if node.rack else {})}
