"""The web server's answers, on a daemon made of plain values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from alerts.model import Alert, AlertState, Incident, Severity, incident_id
from alerts.promql.errors import PromqlError
from alerts.promql.values import Scalar, Value, Vector
from exporter.facts.cluster import Node, Role
from exporter.metrics.page import EVERYTHING, Scope
from exporter.series import Labels, Series
from klaxon.web.app import create_app
from klaxon.web.view import AlertView, ClusterView, IncidentView

ID = incident_id("orders", "KafkaBrokerUnavailable", "broker/2")


class Plain:
    """A daemon without a Kafka: what it shows is set by the test."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        incident = Incident(
            ID,
            "orders",
            "KafkaBrokerUnavailable",
            "broker/2",
            Severity.WARNING,
            1000.0,
            (),
            summary="orders: broker 2 <down>",
        )
        self.view = IncidentView(
            incident,
            "WARNING · cluster orders · broker 2",
            ["KafkaBrokerDown"],
            ["00:16:40 opened"],
            ["nothing taken yet by <am>"],
            "the text",
        )

    def metrics(
        self, accept_encoding: str, scope: Scope = EVERYTHING, accept: str = ""
    ) -> tuple[Mapping[str, str], Iterable[bytes]]:
        return {"content-type": "text/plain"}, [b"a 1\n", f"b {scope.cluster} {scope.broker} {accept}\n".encode()]

    def own_metrics(self, accept_encoding: str, accept: str = "") -> tuple[Mapping[str, str], Iterable[bytes]]:
        return {"content-type": "text/plain"}, [b"klaxon 1\n"]

    def clusters(self) -> Sequence[str]:
        return ["orders"]

    def nodes(self, cluster: str) -> Sequence[Node]:
        return [
            Node(1, "kafka-1", 9092, "east", frozenset({Role.BROKER}), True, False),
            Node(2, "", 0, None, frozenset(), False, None),
        ]

    def states(self) -> Sequence[ClusterView]:
        return [ClusterView("orders", "warning", "one broker is down", ["81 partitions on 2 of 3 copies"])]

    def incidents(self) -> Sequence[IncidentView]:
        return [self.view]

    def alerts(self) -> Sequence[AlertView]:
        labels = {"alertname": "Down", "cluster": "orders", "severity": "warning", "subject": "broker/2"}
        down = Alert("Down", labels, {"summary": "2 is down"}, AlertState.FIRING, 1000.0, 1.0, 1030.0)
        held = replace(down, held_since=1100.0, held_inputs=("jmx of broker 2",))
        return [AlertView(down, [ID], ""), AlertView(held, [], "patching")]

    def incident(self, incident_id: str) -> IncidentView | None:
        return self.view if incident_id == ID else None

    def not_ready(self) -> Sequence[str]:
        return self.problems

    def unhealthy(self) -> Sequence[str]:
        return self.problems

    def reload(self) -> Sequence[str]:
        return self.problems

    def query(self, expr: str, at: float) -> Value:
        if expr == "1":
            return Scalar(1.0)
        if expr == "up":
            return Vector([Labels.of({"__name__": "up"})], np.array([np.inf]))
        raise PromqlError(expr, 0, "no such thing")

    def query_range(self, expr: str, start: float, end: float, step: float) -> Sequence[Series]:
        return [Series(Labels.of({"__name__": expr}), np.array([1000, 2000], dtype=np.int64), np.array([1.0, 0.5]))]

    def diagnose(self, cluster: str | None, tree: str | None, names: Mapping[str, str]) -> Sequence[Any]:
        raise LookupError(f"there is no tree {tree!r}")


@pytest.fixture
def plain() -> Plain:
    return Plain()


@pytest.fixture
def client(plain: Plain) -> TestClient:
    return TestClient(create_app(plain))


def test_metrics_are_joined_chunks(client: TestClient) -> None:
    assert client.get("/metrics?cluster=orders", headers={"accept": "x"}).text == "a 1\nb orders None x\n"
    assert client.get("/metrics", headers={"accept": ""}).text == "a 1\nb None None \n"
    answer = client.get("/metrics?cluster=oders")
    assert (answer.status_code, answer.text) == (404, "There is no cluster 'oders'; configured: orders\n")
    head = client.head("/metrics")
    assert (head.status_code, head.content) == (200, b"")
    assert client.get("/metrics/klaxon").text == "klaxon 1\n"


def test_metrics_of_one_broker(client: TestClient) -> None:
    assert client.get("/metrics?cluster=orders&broker=2", headers={"accept": ""}).text == "a 1\nb orders 2 \n"
    assert client.get("/metrics?broker=none", headers={"accept": ""}).text == "a 1\nb None none \n"
    answer = client.get("/metrics?cluster=orders&broker=7")
    assert (answer.status_code, answer.text) == (404, "There is no broker '7' in cluster orders; known: 1, 2\n")
    assert client.get("/metrics?broker=x").text == "There is no broker 'x'; known: 1, 2\n"


def test_service_discovery_names_every_part_of_the_page(client: TestClient) -> None:
    groups = client.get("/sd", headers={"host": "klaxon:9308"}).json()
    assert [group["targets"] for group in groups] == [["klaxon:9308"]] * 4
    own, cluster, first, second = (group["labels"] for group in groups)
    assert own == {"__scheme__": "http", "__metrics_path__": "/metrics/klaxon", "instance": "klaxon:9308"}
    common = {"__scheme__": "http", "__metrics_path__": "/metrics", "__param_cluster": "orders", "cluster": "orders"}
    assert cluster == {**common, "__param_broker": "none", "instance": "orders"}
    assert first == {**common, "__param_broker": "1", "instance": "kafka-1:9092", "broker": "1", "rack": "east"}
    assert second == {**common, "__param_broker": "2", "instance": "orders/2", "broker": "2"}


@pytest.mark.parametrize(("path", "method"), [("/-/healthy", "GET"), ("/-/ready", "GET"), ("/-/reload", "POST")])
def test_verdicts_name_the_problem(client: TestClient, plain: Plain, path: str, method: str) -> None:
    assert client.request(method, path).status_code == 200
    plain.problems = ["the rule loop has stopped"]
    answer = client.request(method, path)
    assert answer.status_code in (400, 503)
    assert "the rule loop has stopped" in answer.text


def test_a_reload_needs_a_post(client: TestClient) -> None:
    assert client.get("/-/reload").status_code == 405


def test_pages_escape_and_forbid_everything_foreign(client: TestClient) -> None:
    page = client.get("/")
    assert "orders: broker 2 &lt;down&gt;" in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    shown = client.get(f"/incidents/{ID}")
    assert shown.status_code == 200 and "nothing taken yet by &lt;am&gt;" in shown.text
    assert client.get(f"/incidents/{ID}.txt").text == "the text"
    assert client.get("/incidents/other").status_code == 404


def test_the_query_api_speaks_prometheus(client: TestClient) -> None:
    assert client.get("/api/v1/query?query=1&time=5").json() == {
        "status": "success",
        "data": {"resultType": "scalar", "result": [5.0, "1"]},
    }
    vector = client.get("/api/v1/query?query=up&time=5").json()["data"]
    assert vector == {"resultType": "vector", "result": [{"metric": {"__name__": "up"}, "value": [5.0, "+Inf"]}]}
    matrix = client.get("/api/v1/query_range?query=up&start=1&end=2&step=1").json()["data"]
    assert matrix["result"] == [{"metric": {"__name__": "up"}, "values": [[1.0, "1"], [2.0, "0.5"]]}]


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/api/v1/query", "the parameter query is missing"),
        ("/api/v1/query?query=%7B", "no such thing"),
        ("/api/v1/query?query=1&time=soon", "'soon' is not a number of seconds"),
        ("/api/v1/query_range?query=1&start=0&end=1&step=0", "step must be above 0"),
        ("/api/v1/query_range?query=1&start=0&end=99999&step=1", "more than 11000 steps"),
    ],
)
def test_bad_questions_are_answered_with_what_is_wrong(client: TestClient, path: str, why: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 400
    assert why in answer.json()["error"]


def test_incidents_as_json(client: TestClient) -> None:
    (incident,) = client.get("/api/klaxon/incidents").json()
    assert (incident["problem"], incident["subject"], incident["closed_at"]) == (
        "KafkaBrokerUnavailable",
        "broker/2",
        None,
    )
    assert client.get("/api/klaxon/diagnose?tree=x").status_code == 404
