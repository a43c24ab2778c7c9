"""The commands about rules and alerts, on files and on a running daemon."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog
import yaml
from typer.testing import CliRunner, Result

from klaxon import cli
from tests.klaxon.running import Run, Running, cluster, run
from tests.klaxon_process import wait_until

__all__ = ["run"]

MINE = """groups:
- name: mine
  interval: 5s
  rules:
  - alert: Always
    expr: kafka_brokers > 0
    labels: {severity: warning, subject: "broker/2"}
    annotations: {summary: "{{ $value }} brokers in {{ $externalLabels.dc }}"}
"""


def klaxon(*arguments: object) -> Result:
    return CliRunner().invoke(cli.app, [str(a) for a in arguments])


def found(*arguments: object) -> list[Any]:
    answer: list[Any] = json.loads(klaxon(*arguments).stdout)
    return answer


# --- check-rules


def test_the_shipped_rules_have_nothing_wrong() -> None:
    result = klaxon("check-rules", "--strict")
    assert result.stdout.splitlines()[-1].endswith(" 0 errors, 0 warnings"), result.stdout
    assert result.exit_code == 0


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ({"labels": {"severity": "page"}}, "severity 'page' is none of none, info, warning, critical: it counts as a warning"),
        ({"labels": {}}, "no label severity (none, info, warning, critical): it counts as a warning"),
        ({"annotations": {}}, "no annotation summary: say with the number and the subject what is wrong"),
        ({"annotations": {"summary": "bad"}}, "the summary names neither a number nor a subject; use {{ $value }} and {{ $labels.… }}"),
        ({"labels": {"severity": "info"}}, "no label tree: nothing will look for the cause"),
        ({"labels": {"severity": "info"}}, "no label subject: it counts as a fault of the whole cluster"),
        ({}, "no unit test expects it to fire (files like x.test.yaml beside the rules, or --tests)"),
        ({"labels": {"v": "{{ $value }}"}}, "a label changes with the value: each value is a new alert that waits from zero; put the value into an annotation"),
        ({"labels": {"severity": "critical"}}, "critical, but evaluated only every 1m; put it into a group of 15s or less"),
        (
            {"expr": "kafka_brokers > 1 and on (cluster) kafka_log_dir_size_bytes > 1", "for": "30s"},
            "joins collectors and waits 30s; for: must be at least 1m, twice the interval of log_dirs",
        ),
    ],
)  # fmt: skip
def test_what_a_rule_lacks(rule: dict[str, Any], reason: str, tmp_path: Path) -> None:
    whole = {"alert": "A", "expr": "kafka_brokers > 1", **rule}
    path = tmp_path / "r.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "g", "interval": "1m", "rules": [whole]}]}))
    said = [one for one in found("check-rules", path, "--json") if one["reason"] == reason]
    assert [(one["level"], one["group"], one["rule"]) for one in said] == [("warning", "g", "A")]
    assert klaxon("check-rules", path).exit_code == 0
    assert klaxon("check-rules", path, "--strict").exit_code == 1


def test_the_same_rule_twice_and_a_rule_that_is_tested(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(MINE + "  - {alert: B, expr: vector(1)}\n  - {alert: B, expr: vector(1)}\n")
    (tmp_path / "r.test.yaml").write_text(
        "rule_files: [r.yaml]\ntests: [{alert_rule_test: [{eval_time: 0m, alertname: B, exp_alerts: [{}]}]}]\n"
    )
    reasons = [(one["line"], one["reason"]) for one in found("check-rules", tmp_path, "--json") if one["rule"] == "B"]
    assert (10, "the same rule stands in line 9 too; remove one") in reasons
    assert not [reason for _, reason in reasons if "unit test" in reason]
    assert klaxon("test-rules", tmp_path / "r.test.yaml").exit_code == 1  # two rules of one name: two alerts
    (tmp_path / "r.test.yaml").write_text("tests: [{name: a, alert_rule: []}]\n")
    assert "error" in {one["level"] for one in found("check-rules", tmp_path, "--json")}


def test_an_error_is_exit_code_1(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(MINE.replace("kafka_brokers >", "kafka_broker >"))
    result = klaxon("check-rules", tmp_path / "r.yaml")
    assert result.exit_code == 1
    assert "r.yaml:5, group 'mine', rule 'Always': no metric 'kafka_broker' in the catalogue" in result.stdout


# --- test-rules


def test_unit_tests_pass_and_fail(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(MINE)
    test = {
        "rule_files": ["r.yaml", "nothing.yaml"],
        "tests": [
            {"name": "two", "input_series": [{"series": "kafka_brokers", "values": "2"}],
             "promql_expr_test": [{"expr": "kafka_brokers", "eval_time": "0m", "exp_samples": [{"labels": "kafka_brokers", "value": 2}]}]},
            {"name": "three", "promql_expr_test": [{"expr": "kafka_brokers", "eval_time": "0m", "exp_samples": [{"labels": "kafka_brokers", "value": 3}]}]},
        ],
    }  # fmt: skip
    path = tmp_path / "r.test.yaml"
    path.write_text(yaml.safe_dump(test))
    result = klaxon("test-rules", path)
    assert result.exit_code == 1
    assert "passed: two" in result.stdout
    assert "FAILED: three" in result.stdout
    assert "no file matches nothing.yaml" in result.output
    assert klaxon("test-rules", path, "--run", "tw").exit_code == 0
    assert klaxon("test-rules", tmp_path / "none.yaml").exit_code == 1
    assert klaxon("test-rules", path, "--run", "(").exit_code == 2


# --- on a running daemon


@pytest.fixture
def running(run: Run, tmp_path: Path) -> Iterator[Running]:
    # What the daemon logs must not stand in what a command prints: both are in this process.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    (tmp_path / "mine.yaml").write_text(MINE)
    yield run(
        {
            "clusters": {"orders": cluster("orders")},
            "rules": {"shipped": False, "files": ["mine.yaml"]},
            "external_labels": {"dc": "eu"},
            "incidents": {"settle": 5},  # time to open a window before anything is sent
        }
    )
    structlog.reset_defaults()


def state(running: Running) -> dict[str, Any]:
    """The alert, once there is one; {} before."""
    return next(iter(found("alerts", "--url", running.url, "--json")), {})


def test_alerts_and_maintenance_of_a_running_daemon(running: Running, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    assert (
        "patching: from "
        in klaxon("maintenance", "add", "patching", "-c", config, "--for", "1h", "--broker", "2").stdout
    )
    wait_until(
        lambda: bool(state(running).get("incidents") and running.get("/api/klaxon/incidents").json()),
        40,
        "the alert has its incident",
    )
    alert = state(running)
    assert (alert["alert"], alert["state"], alert["subject"], alert["maintenance"]) == (
        "Always",
        "firing",
        "broker/2",
        "patching",
    )
    assert alert["summary"] == "3 brokers in eu"
    (incident,) = running.get("/api/klaxon/incidents").json()
    assert (incident["id"], incident["maintenance"]) == (alert["incidents"][0], "patching")
    shown = klaxon("alerts", "--url", running.url)
    assert shown.exit_code == 1
    assert "not sent: maintenance patching" in " ".join(shown.stdout.split())
    (listed,) = found("maintenance", "list", "-c", config, "--json")
    assert (listed["name"], listed["active"], listed["broker"]) == ("patching", True, "2")
    assert klaxon("maintenance", "end", "patching", "-c", config).exit_code == 0
    wait_until(lambda: state(running)["maintenance"] == "", 20, "the window has ended in the daemon too")
    wait_until(lambda: running.daemon.incidents()[0].incident.postings != (), 20, "what is still there is sent")
    assert klaxon("maintenance", "end", "patching", "-c", config).exit_code == 1


def test_a_query_at_one_moment_and_over_a_range(running: Running) -> None:
    wait_until(lambda: "3" in klaxon("query", "kafka_brokers", "--url", running.url).stdout, 30, "it is in the history")
    assert klaxon("query", "kafka_brokers", "--url", running.url).stdout == 'kafka_brokers{cluster="orders"} 3\n'
    ranged = klaxon("query", "1 + 1", "--url", running.url, "--start", "-60", "--step", "30").stdout
    assert ranged.count("2 @") == 3
    assert klaxon("query", "kafka_brokers >", "--url", running.url).exit_code == 2
    assert klaxon("query", "1", "--url", running.url, "--step", "5").exit_code == 2
    assert klaxon("query", "1", "--url", "http://127.0.0.1:1").exit_code == 3


# --- maintenance without a daemon


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "give --for or --until, one of them"),
        (("--for", "1h", "--until", "2030-01-01T00:00:00Z"), "give --for or --until, one of them"),
        (("--for", "soon"), "'soon' is not a duration"),
        (("--until", "tomorrow"), "tomorrow is not a time with its zone"),
        (("--until", "2020-01-01T00:00:00Z"), "until: must be after from:"),
        (("--from", "2020-01-01T00:00:00Z", "--for", "1h"), "the window ended at 2020-01-01"),
    ],
)
def test_a_window_that_is_none(arguments: tuple[str, ...], says: str, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(f"clusters: {{a: {{bootstrap_servers: ['k:1']}}}}\ndata_dir: {tmp_path}\n")
    result = klaxon("maintenance", "add", "x", "-c", config, *arguments)
    assert (result.exit_code, says in result.output) == (2, True), result.output


def test_windows_of_the_configuration_are_listed_and_stay(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    soon = datetime.now(UTC) + timedelta(hours=1)
    windows = [
        {"name": "night", "topic": "batch-*", "weekly": {"days": ["sun"], "from": "02:00", "until": "04:00", "zone": "Europe/Berlin"}},
        {"name": "move", "cluster": "a", "from": datetime.now(UTC).isoformat(), "until": soon.isoformat(), "reason": "new racks"},
    ]  # fmt: skip
    config.write_text(
        yaml.safe_dump(
            {"clusters": {"a": {"bootstrap_servers": ["k:1"]}}, "data_dir": str(tmp_path), "maintenance": windows}
        )
    )
    first, second = klaxon("maintenance", "list", "-c", config).stdout.splitlines()
    assert first.endswith("sun from 02:00 to 04:00 Europe/Berlin, topic batch-* of cluster *")
    assert second.startswith("move: in force, from ")
    assert second.endswith("everything of cluster a (new racks)")
    assert "stands in" in klaxon("maintenance", "end", "move", "-c", config).output
    assert "stands in" in klaxon("maintenance", "add", "move", "-c", config, "--for", "1h").output
