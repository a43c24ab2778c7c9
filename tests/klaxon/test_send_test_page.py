"""``klaxon send-test-page`` against a real Alertmanager, a webhook, and peers that are broken in one way each."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
import yaml
from typer.testing import CliRunner

from klaxon.cli import app
from tests.alertmanager import NO_BINARY, CountingWebhook, RealAlertmanager, binary, wait_until
from tests.alerts.notify.test_alertmanager import Server


@pytest.fixture(autouse=True)
def own_log() -> Iterator[None]:
    """The command sets up the log of its process, which here is that of all tests."""
    yield
    structlog.reset_defaults()


@pytest.fixture
def server() -> Iterator[Server]:
    one = Server()
    yield one
    one.close()


def sent(folder: Path, sections: dict[str, Any], *more: str) -> tuple[int, str]:
    """Exit code and what was printed."""
    file = folder / "klaxon.yaml"
    file.write_text(yaml.safe_dump({"clusters": {"orders": {"bootstrap_servers": ["kafka:9092"]}}, **sections}))
    done = CliRunner().invoke(app, ["send-test-page", "--config", str(file), "--hold", "0", *more])
    return done.exit_code, done.output


@pytest.mark.prometheus
@pytest.mark.skipif(binary() is None, reason=NO_BINARY)
def test_through_every_peer(tmp_path: Path, server: Server) -> None:
    with CountingWebhook() as pager, RealAlertmanager(tmp_path / "am", pager) as alertmanager:
        peers = {
            "alertmanagers": [{"url": alertmanager.url}],
            "webhooks": [{"url": f"{server.url}/hook", "name": "tickets"}],
        }
        code, said = sent(tmp_path, peers, "--severity", "critical", "--hold", "2")
        assert code == 0, said
        lines = said.splitlines()
        assert lines[0].split(maxsplit=2)[1:] == ["arrived", "took the page, showed it, took its end"]
        assert lines[1].split(maxsplit=2) == ["tickets", "arrived", "took the page and its end"]
        assert [body["event"] for _, _, body in server.requests] == ["opened", "resolved"]
        wait_until("the pager was told", lambda: len(pager.pages("pager", "firing")) == 1)
        assert pager.pages("pager")[0].of("KlaxonTestPage")
        wait_until("it is over", lambda: not alertmanager.alerts())

        peers["alertmanagers"].append({"url": "http://127.0.0.1:1"})
        code, said = sent(tmp_path, peers, "--output", "json")
        assert code == 1
        assert [row["outcome"] for row in json.loads(said)] == ["arrived", "failed", "arrived"]


def test_a_peer_that_takes_it_and_does_not_show_it(tmp_path: Path, server: Server) -> None:
    peers = {"alertmanagers": [{"url": server.url}], "external_labels": {"env": "prod", "severity": "none"}}
    code, said = sent(tmp_path, peers, "--limit", "0.1")
    assert (code, "did not show it within 0.1 s" in said) == (3, True)
    told = [alert["labels"] for _, _, body in server.requests for alert in body]
    assert [(labels["env"], labels["severity"]) for labels in told] == [("prod", "warning")] * 2, (
        "as every page is sent"
    )


def test_nobody_to_send_to(tmp_path: Path) -> None:
    code, said = sent(tmp_path, {})
    assert code == 2 and "names no alertmanagers and no webhooks" in said


def test_an_unknown_severity(tmp_path: Path) -> None:
    code, said = sent(tmp_path, {}, "--severity", "high")
    assert code == 2 and "it is critical, warning or info" in said
