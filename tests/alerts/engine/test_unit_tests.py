"""Unit tests of rules have promtool's verdict: files written by hand, broken ones, and generated ones whose expectations promtool must confirm."""

from __future__ import annotations

import math
import os
import random
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from alerts.engine.rules import load_rules, read_rule_files
from alerts.engine.series_notation import NotationError, read_metric, read_values
from alerts.engine.unit_test_file import UnitTestError, read_unit_tests
from alerts.engine.unit_tests import Run, run_file
from exporter.series import STALE_NAN

PROMTOOL = os.environ.get("PROMTOOL") or shutil.which("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="no promtool")


def passes(path: Path) -> bool:
    """Whether all tests of a file pass; a file that cannot be read fails."""
    try:
        return not any(result.failures for result in run_file(read_unit_tests(path)))
    except UnitTestError:
        return False


def promtool(paths: Sequence[Path]) -> dict[Path, bool]:
    """What promtool says of each file."""
    done = subprocess.run(
        [str(PROMTOOL), "test", "rules", *map(str, paths)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    parts = re.split(r"Unit Testing: +(.*)\n", done.stdout)[1:]
    verdicts = {Path(name): "SUCCESS" in said for name, said in zip(parts[::2], parts[1::2], strict=True)}
    assert (done.returncode == 0) == all(verdicts.values())
    return verdicts


# --- the notation of series


def test_the_notation_of_series() -> None:
    assert read_values("1 2.5 -3 _ _x2 1x2 0+10x3 5-1.5x2 -1+.5x1 1e3 0x0") == [
        1, 2.5, -3, None, None, None, 1, 1, 1, 0, 10, 20, 30, 5, 3.5, 2, -1, -0.5, 1000, 0,
    ]  # fmt: skip
    (stale, plus, minus, nan) = read_values("stale Inf -inf NaN")
    assert (math.isnan(stale or 0), plus, minus, math.isnan(nan or 0)) == (True, math.inf, -math.inf, True)
    assert stale is STALE_NAN
    assert dict(read_metric(r"""up{a="b\"\\\u00e9", c='d', e=`f`,}""")) == {
        "__name__": "up",
        "a": 'b"\\é',
        "c": "d",
        "e": "f",
    }
    assert dict(read_metric('{__name__="x"}')) == {"__name__": "x"}
    assert dict(read_metric("")) == dict(read_metric("{}")) == {}


@pytest.mark.parametrize("text", ["1+1", "stalex3", "1x", "x3", "1,2", "1+-1x2", "Infx2", "{{schema:0}}", "a", "1x2x3", "_+1x2", "1x99999999999"])  # fmt: skip
def test_values_that_are_none(text: str) -> None:
    with pytest.raises(NotationError):
        read_values(text)


@pytest.mark.parametrize("text", ["up{", "up{a}", "up{a=b}", 'up{a="b" c="d"}', 'up{a="b"}x', 'up{a="b",a="c"}', 'up{a="\\q"}'])  # fmt: skip
def test_metrics_that_are_none(text: str) -> None:
    with pytest.raises(NotationError):
        read_metric(text)


# --- files written by hand

RULES = """
groups:
- name: later
  rules:
  - {alert: Both, expr: "sum:x > 4", for: 1m, labels: {severity: page, sum: "{{ $value }}"}}
- name: first
  interval: 10s
  rules:
  - {record: "sum:x", expr: sum(x)}
  - alert: High
    expr: x > 3
    for: 2m
    keep_firing_for: 2m
    labels: {severity: page}
    annotations: {said: "{{ $labels.i }} is {{ $value }} in {{ $externalLabels.dc }}"}
- name: limited
  limit: 1
  rules:
  - {record: "all:y", expr: y}
"""

GOOD = """
rule_files: [rules.yml, "no*.yml"]
evaluation_interval: 1m
group_eval_order: [first, later]
tests:
- name: high
  interval: 1m
  input_series:
  - {series: 'x{i="1"}', values: "1+1x6 1x4 _ stale"}
  external_labels: {dc: eu}
  alert_rule_test:
  - {eval_time: 4m, alertname: High}
  - eval_time: 5m30s
    alertname: High
    exp_alerts:
    - exp_labels: {i: "1", severity: page}
      exp_annotations: {said: "1 is 6 in eu"}
  - eval_time: 8m
    alertname: High
    exp_alerts:
    - exp_labels: {i: "1", severity: page}
      exp_annotations: {said: "1 is 7 in eu"}
  - {eval_time: 9m, alertname: High}
  - {eval_time: 9m, alertname: NoSuchAlert}
  - {eval_time: 6m, alertname: Both, exp_alerts: []}
  promql_expr_test:
  - {expr: "sum:x + 0", eval_time: 3m, exp_samples: [{labels: "{}", value: 4}]}
  - {expr: "sum:x", eval_time: 13m}
  - {expr: 'ALERTS{alertname="High"}', eval_time: 3m, exp_samples: [{labels: 'ALERTS{alertname="High",alertstate="pending",i="1",severity="page"}', value: 1}]}
  - {expr: 'ALERTS_FOR_STATE{alertname="High"}', eval_time: 8m, exp_samples: [{labels: 'ALERTS_FOR_STATE{alertname="High",i="1",severity="page"}', value: 180}]}
  - {expr: "scalar(x) * 2", eval_time: 1m, exp_samples: [{labels: "", value: 4}]}
  - {expr: "1 / 0", eval_time: 1m, exp_samples: [{labels: "", value: .inf}]}
"""

EDITS: Mapping[str, tuple[str, str]] = {
    "another value": ("value: 4}", "value: 5}"),
    "another label": ('i: "1", severity: page}\n      exp_annotations: {said: "1 is 6', 'i: "2", severity: page}\n      exp_annotations: {said: "1 is 6'),
    "an empty label too many": ('i: "1", severity: page}', 'i: "1", e: "", severity: page}'),
    "another text": ("1 is 6 in eu", "1 is 5 in eu"),
    "no alert expected": ("{eval_time: 9m, alertname: High}", "{eval_time: 8m, alertname: High}"),
    "a step too late": ("eval_time: 5m30s", "eval_time: 4m59s"),
    "order does not matter to a name": ("group_eval_order: [first, later]", "group_eval_order: [first, nobody, later]"),
    "a group twice": ("group_eval_order: [first, later]", "group_eval_order: [first, first]"),
    "unknown key": ("evaluation_interval: 1m", "evaluation_intervall: 1m"),
    "unknown key of a test": ("  interval: 1m", "  intervall: 1m"),
    "bad duration": ("eval_time: 4m", "eval_time: 4"),
    "no name": ("{eval_time: 9m, alertname: High}", "{eval_time: 9m}"),
    "bad expression": ('expr: "sum:x + 0"', 'expr: "sum:x +"'),
    "a range": ('expr: "sum:x + 0"', 'expr: "sum:x[5m]"'),
    "bad series": ('x{i="1"}', "x{i=1}"),
    "bad values": ("1+1x6", "1+1"),
    "no number": ("value: 4}", "value: four}"),
    "not a number is equal to nothing": ("1 / 0\", eval_time: 1m, exp_samples: [{labels: \"\", value: .inf}", "0 / 0\", eval_time: 1m, exp_samples: [{labels: \"\", value: .nan}"),
    "a rule that fails": ('{series: \'x{i="1"}\'', '{series: \'y{i="1"}\', values: "1 1 1"}\n  - {series: \'y{i="2"}\', values: "1 1 1"}\n  - {series: \'x{i="1"}\''),
    "a bad file": ("rules.yml", "bad.yml"),
    "no tests": ("tests:", "tests: []\n#"),
    "a default interval": ("evaluation_interval: 1m\n", ""),
    "no YAML": ("tests:", "tests: ["),
}  # fmt: skip


def written(folder: Path, text: str, name: str = "test") -> Path:
    (folder / "rules.yml").write_text(RULES)
    (folder / "bad.yml").write_text("groups: [{name: g, rules: [{alert: A, expr: 'sum('}]}]")
    (folder / f"{name}.test.yml").write_text(text)
    return folder / f"{name}.test.yml"


def test_a_good_file_passes(tmp_path: Path) -> None:
    results = run_file(read_unit_tests(written(tmp_path, GOOD)))
    assert [(r.name, r.failures) for r in results] == [("high", ())]


def test_a_failure_says_what_was_expected_and_what_is(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD.replace("1 is 6 in eu", "1 is 5 in eu").replace("value: 180", "value: 181"))
    ((first, second),) = [r.failures for r in run_file(read_unit_tests(path))]
    assert first.startswith("line 13: alert High at 5m30s:\n  expected:\n")
    assert "said='1 is 5 in eu'" in first
    assert "said='1 is 6 in eu'" in first
    assert "181.0" in second
    assert "180.0" in second


def test_every_fault_of_a_file_is_told(tmp_path: Path) -> None:
    text = GOOD.replace("1+1x6", "1+1").replace("eval_time: 4m", "eval_time: 4").replace("  name", "  nam")
    with pytest.raises(UnitTestError) as error:
        read_unit_tests(written(tmp_path, text))
    assert [re.sub(r".*:(\d+): (\S+).*", r"\1 \2", fault) for fault in error.value.faults] == [
        "9 '1+1'",
        "12 eval_time:",
    ]


def test_only_the_chosen_tests_run(tmp_path: Path) -> None:
    assert run_file(read_unit_tests(written(tmp_path, GOOD)), re.compile("low")) == ()


@needs_promtool
@pytest.mark.prometheus
def test_the_same_verdicts_as_promtool_on_files_written_by_hand(tmp_path: Path) -> None:
    paths = [written(tmp_path, GOOD)]
    for i, (said, (old, new)) in enumerate(EDITS.items()):
        assert old in GOOD, said
        paths.append(written(tmp_path, GOOD.replace(old, new, 1), f"edit{i}"))
    theirs = promtool(paths)
    ours = {path: passes(path) for path in theirs}
    names = dict(zip(paths, ["good", *EDITS], strict=True))
    assert {names[p]: v for p, v in ours.items()} == {names[p]: v for p, v in theirs.items()}
    assert 3 <= sum(theirs.values()) < len(theirs)


# --- generated files

FILES = int(os.environ.get("KLAXON_TEST_RULE_FILES", "10"))


def generated(rng: random.Random) -> tuple[dict[str, Any], dict[str, Any]]:
    """A rule file and a test file without expectations. Samples stay off the edges of windows and of the look-back, where 2.x and 3.x differ."""
    thresholds = [rng.randint(1, 8) for _ in range(3)]
    exprs = [
        f"x > {thresholds[0]}",
        f"sum by (job) (x) > {thresholds[1]}",
        f"max_over_time(x[4m]) - x > {thresholds[2]}",
        f"count_over_time(x[3m]) < {thresholds[0]}",
        "x unless on (i) y",
        "absent(y)",
        f"max:x > {thresholds[1]}",
        f"x > on (i) group_left () y + {thresholds[0]}",
        f'ALERTS{{alertname="A0"}} and on (i) x < {thresholds[0]}',
    ]
    durations = ["0s", "1m", "2m", "5m"]
    rules: list[dict[str, Any]] = [
        {"record": "max:x", "expr": "max by (i) (x)"},
        {"record": "level:x", "expr": f"x > {thresholds[2]}", "labels": {"level": "high"}},
    ]
    for number, expr in enumerate(rng.sample(exprs, 4)):
        rule: dict[str, Any] = {"alert": f"A{number}", "expr": expr, "for": rng.choice(durations)}
        if rng.random() < 0.5:
            rule["keep_firing_for"] = rng.choice(durations)
        if rng.random() < 0.3:
            rule["labels"] = {"value": "{{ $value | humanize }}"}
        rule["annotations"] = {"said": "{{ $labels.i }}: {{ $value }}, {{ with query `max:x` }}{{ len . }}{{ end }}"}
        rules.append(rule)
    series = [
        {"series": f'{name}{{i="{i}",job="j{i % 2}"}}', "values": "_ " + " ".join(_values(rng))}
        for name in ("x", "y")
        for i in range(rng.randint(1, 3))
    ]
    test = {"name": "generated", "interval": "59s", "input_series": series}
    return {"groups": [{"name": "g", "rules": rules}]}, test


def _values(rng: random.Random) -> list[str]:
    items: list[str] = []
    length = 0
    while length < 45:
        kind = rng.random()
        if kind < 0.15:
            items.append(rng.choice(["_", "_x2", "_x3", "stale"]))
            length += 3
        elif kind < 0.5:
            items.append(f"{rng.randint(0, 5)}{rng.choice(['+', '-'])}{rng.randint(0, 3)}x{rng.randint(1, 4)}")
            length += 5
        else:
            items.append(str(rng.choice([rng.randint(0, 9), round(rng.uniform(0, 9), 3)])))
            length += 1
    return items


def with_expectations(folder: Path, number: int, rng: random.Random) -> tuple[Path, Path]:
    """A generated file with what our engine gives, and the same with one expectation changed."""
    rules, test = generated(rng)
    (folder / f"r{number}.yml").write_text(yaml.safe_dump(rules))
    whole: dict[str, Any] = {"rule_files": [f"r{number}.yml"], "evaluation_interval": "1m", "tests": [test]}
    path = folder / f"r{number}.test.yml"
    times = [60 * m for m in sorted(rng.sample(range(2, 40), 8))]
    names = [r["alert"] for r in rules["groups"][0]["rules"] if "alert" in r]
    exprs = ["max:x", "level:x", "ALERTS", "ALERTS_FOR_STATE", "x"]
    test["alert_rule_test"] = [{"eval_time": f"{at}s", "alertname": name} for at in times for name in names]
    test["promql_expr_test"] = [{"eval_time": f"{at}s", "expr": expr} for at in times for expr in exprs]
    path.write_text(yaml.safe_dump(whole))
    file = read_unit_tests(path)
    run = Run(file.tests[0], load_rules(read_rule_files(file.rule_files), None).groups, file)
    for minute in range(40):
        assert run.evaluate(minute * 60) == []
        for case in test["alert_rule_test"]:
            if case["eval_time"] == f"{minute * 60}s":
                case["exp_alerts"] = [
                    {"exp_labels": {k: v for k, v in labels if k != "alertname"}, "exp_annotations": dict(annotations)}
                    for labels, annotations in run.firing(case["alertname"])
                ]
    for case in test["promql_expr_test"]:
        found = run.samples(case["expr"], float(case["eval_time"].removesuffix("s")))
        case["exp_samples"] = [{"labels": _metric(labels), "value": value} for labels, value in found]
    path.write_text(yaml.safe_dump(whole, width=10_000))
    changed = rng.choice([c for c in test["alert_rule_test"] if c["exp_alerts"]] or test["promql_expr_test"])
    if changed.get("exp_alerts"):
        changed["exp_alerts"].pop()
    else:
        changed["exp_samples"].append({"labels": "no_such_series", "value": 1})
    wrong = folder / f"w{number}.test.yml"
    wrong.write_text(yaml.safe_dump(whole, width=10_000))
    return path, wrong


def _metric(labels: Mapping[str, str]) -> str:
    inside = ",".join(f'{k}="{v}"' for k, v in labels.items() if k != "__name__")
    return f"{labels.get('__name__', '')}{{{inside}}}"


@needs_promtool
@pytest.mark.prometheus
def test_promtool_confirms_what_our_engine_gives(tmp_path: Path) -> None:
    rng = random.Random(6)
    pairs = [with_expectations(tmp_path, number, rng) for number in range(FILES)]
    theirs = promtool([path for pair in pairs for path in pair])
    fired = sum("exp_labels" in right.read_text() for right, _ in pairs)
    assert fired > FILES // 2
    for right, wrong in pairs:
        assert (right.name, theirs[right], theirs[wrong]) == (right.name, True, False)
        assert (passes(right), passes(wrong)) == (True, False)
