"""Templates print what Prometheus prints, and what is not supported is refused by name and position."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from alerts.engine import go_format
from alerts.engine.template import QueryRow, Scope, TemplateError, read_template
from alerts.promql.errors import PromqlEvaluationError

VALUES = (0.0, 1.0, -0.5, 1234567.0, 0.00001234, 1e15, 1434405000.001, 90061.5, 59.99, 999.96, 1023.99, 1234567890123456.0, 100000.0, 0.8512, math.inf, -math.inf, math.nan)  # fmt: skip


def expand(text: str, value: float = 1.5, rows: list[QueryRow] | None = None, **labels: str) -> str:
    return read_template(text).expand(Scope(labels, value, lambda expr: rows or [], "http://klaxon"))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("{{ $labels.a }}/{{ .Labels.b }}/{{ $labels.nope }}|", "x/y/|"),
        ("{{ $value }} {{ .Value }}", "1.5 1.5"),
        ('{{ index $labels "a" | toUpper }}', "X"),
        ('{{ printf "%.1f%% of %s" $value $labels.a }}', "1.5% of x"),
        ("{{ $value | humanizeDuration | printf `%q` }}", '"1.5s"'),
        ("{{ if gt $value 1.0 }}big{{ else }}small{{ end }}", "big"),
        ("{{ if lt $value 1.0 }}a{{ else if eq $labels.a `x` `z` }}b{{ else }}c{{ end }}", "b"),
        ("{{ if and $labels.a (not $labels.nope) }}yes{{ end }}", "yes"),
        ("a {{- /* no */ -}} b {{- $labels.a -}} c", "abxc"),
        ("a {{/* no */}} b", "a  b"),
        ("{{ $externalURL }}", "http://klaxon"),
        ("{{ len $labels.a }}", "1"),
        ('{{ with query "kafka_brokers" }}{{ . | first | value | humanize }}{{ end }}', "3k"),
        (
            '{{ range query "kafka_brokers" }}{{ .Labels.c }}={{ .Value }}{{ if $value }};{{ end }}{{ end }}',
            "one=3000;two=4;",
        ),
        ('{{ query "kafka_brokers" | first | label "c" }}', "one"),
    ],
)
def test_what_is_printed(text: str, shown: str) -> None:
    rows = [QueryRow({"c": "one"}, 3000.0), QueryRow({"c": "two"}, 4.0)]
    assert expand(text, rows=rows, a="x", b="y") == shown


@pytest.mark.parametrize(
    ("text", "column", "says"),
    [
        ("ab {{ humanise $value }}", 7, "the function 'humanise' is not supported"),
        ("{{ $x := 1 }}", 4, "the variable $x is not supported"),
        ("{{ $value | reReplaceAll `a` `b` }}", 13, "the function 'reReplaceAll' is not supported"),
        ("{{ template `x` }}", 4, "'template' is not supported"),
        ("{{ .Lables.a }}", 4, "the field .Lables is not supported"),
        ("{{ $labels.a.b }}", 4, "has no field .b"),
        ("{{ end }}", 4, "outside of if"),
        ("{{ if $value }}{{ else }}", 4, "'if' without 'end'"),
        ("{{ }}", 1, "missing value"),
        ("{{ $value", 1, "without '}}'"),
        ("{{ humanize }}", 4, "wrong number of arguments for humanize: want 1, got 0"),
        ("{{ printf `%d %s` $value }}", 4, "needs 2 arguments, got 1"),
        ("{{ printf `%x` $value }}", 4, "%x is not supported"),
        ("{{ (humanize $value }}", 4, "'(' without ')'"),
        ("{{ $value humanize }}", 11, "$value is no function"),
        ("{{ query `up{` | first | value }}", 4, "its query"),
        ("{{ query $labels.a }}", 4, "query needs a string"),
        ("x\n {{ nope }}", 5, "is not supported"),
    ],
)
def test_what_is_refused(text: str, column: int, says: str) -> None:
    with pytest.raises(TemplateError) as error:
        read_template(text)
    assert says in str(error.value)
    assert f"line {text.count(chr(10)) + 1}, column {column}:" in str(error.value) or error.value.position == column - 1


def test_a_failing_template_gives_its_error_as_text() -> None:
    assert (
        expand('{{ query "kafka_brokers" | first | value }}')
        == "<error expanding template: first() called on vector with no elements>"
    )
    assert expand("{{ humanize $labels.a }}", a="x").startswith("<error expanding template: strconv.ParseFloat")

    def fails(expr: object) -> list[QueryRow]:
        raise PromqlEvaluationError("no")

    assert (
        read_template('{{ range query "kafka_brokers" }}{{ end }}').expand(Scope({}, 1.0, fails))
        == "<error expanding template: no>"
    )


def test_queries_and_labels_are_known_before() -> None:
    template = read_template(
        '{{ $labels.a }}{{ with printf "kafka_brokers{cluster=%q}" $labels.cluster | query }}{{ . | first | value }}{{ end }}'
    )
    assert list(template.labels) == ["a", "cluster"]
    assert len(template.queries) == 1
    assert not template.uses_value


@given(st.floats())
def test_the_shortest_text_reads_back(value: float) -> None:
    text = go_format.shortest(value)
    assert math.isnan(float(text)) if math.isnan(value) else float(text) == value


PROMTOOL = os.environ.get("PROMTOOL") or shutil.which("promtool")

TEMPLATES = {
    "plain": "{{ $value }} {{ 1e6 }} {{ 5 }} {{ true }} {{ $labels.nope }}",
    "printf": '{{ printf "%g|%v|%+v|%5.1f|%d|%s|%e|%q|%05.1f|%-6.1f|%.3g|%t|%%" $value $value $value $value $value $value $value $labels.i $value $value $value true }}',
    "humanize": "{{ humanize $value }}|{{ $value | humanize1024 }}|{{ humanizeDuration $value }}|{{ humanizePercentage $value }}",
    "words": "{{ .Labels.i | title }}|{{ toUpper .Labels.i }}|{{ toLower .Labels.i }}|{{ len .Labels.i }}",
    "flow": "{{ if gt $value 10.0 }}big{{ else if lt $value 0.0 }}minus{{ else }}small{{ end }} {{- /* c */ -}} x",
}


@pytest.mark.prometheus
@pytest.mark.skipif(PROMTOOL is None, reason="no promtool")
def test_the_same_text_as_prometheus(tmp_path: Path) -> None:
    """promtool says what it expands; ours must be equal for every template and value."""
    templates = dict(TEMPLATES)
    series = {f"vAL n{i}": value for i, value in enumerate(VALUES)}
    rule = {"alert": "A", "expr": "x", "annotations": templates}
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "g", "rules": [rule]}]}))

    def number(value: float) -> str:
        return {"inf": "Inf", "-inf": "-Inf", "nan": "NaN"}.get(str(value), repr(value))

    expected: list[dict[str, Any]] = [
        {"exp_labels": {"i": i}, "exp_annotations": {k: expand(t, value, i=i) for k, t in templates.items()}}
        for i, value in series.items()
    ]
    test = {
        "interval": "1m",
        "input_series": [{"series": f'x{{i="{i}"}}', "values": number(value)} for i, value in series.items()],
        "alert_rule_test": [{"eval_time": "0m", "alertname": "A", "exp_alerts": expected}],
    }
    (tmp_path / "test.yml").write_text(yaml.safe_dump({"rule_files": ["rules.yml"], "tests": [test]}, width=10_000))
    done = subprocess.run(
        [str(PROMTOOL), "test", "rules", "test.yml"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
