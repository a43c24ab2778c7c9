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
from exporter.series import Labels

VALUES = (0.0, 1.0, -0.5, 1234567.0, 0.00001234, 1e15, 1434405000.001, 90061.5, 59.99, 999.96, 1023.99, 1234567890123456.0, 100000.0, 0.8512, math.inf, -math.inf, math.nan)  # fmt: skip


def expand(text: str, value: float = 1.5, rows: list[QueryRow] | None = None, **labels: str) -> str:
    return read_template(text).expand(
        Scope(labels, value, lambda expr: rows or [], "http://klaxon/p", {"dc": "eu"}, 1_500_000_000.0)
    )


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
        ("{{ $externalURL }}", "http://klaxon/p"),
        ("{{ len $labels.a }}", "1"),
        ('{{ with query "kafka_brokers" }}{{ . | first | value | humanize }}{{ end }}', "3k"),
        (
            '{{ range query "kafka_brokers" }}{{ .Labels.c }}={{ .Value }}{{ if $value }};{{ end }}{{ end }}',
            "one=3000;two=4;",
        ),
        ('{{ query "kafka_brokers" | first | label "c" }}', "one"),
        ("{{ $x := 1 }}{{ if true }}{{ $x = 2 }}{{ $y := 3 }}{{ end }}{{ $x }}", "2"),
        ('{{ range $i, $r := query "kafka_brokers" }}{{ $i }}:{{ $r.Labels.c }} {{ end }}', "0:one 1:two "),
        (
            '{{ range query "kafka_brokers" }}{{ if eq .Value 4.0 }}{{ continue }}{{ end }}{{ .Value }}{{ break }}{{ end }}',
            "3000",
        ),
        ("{{ range $k, $v := $labels }}{{ $k }}={{ $v }};{{ else }}none{{ end }}", "a=x;b=y;"),
        ("{{ range 3 }}{{ . }}{{ end }}", "012"),
        ('{{ define "d" }}<{{ .arg0 }}{{ .arg1 }}>{{ end }}{{ template "d" args 1 $labels.a }}', "<1x>"),
        ('{{ block "d" $value }}{{ . }}{{ end }}', "1.5"),
        ("{{ (query `kafka_brokers` | first).Labels.c }}", "one"),
        ("{{ with $x := $labels.a }}{{ $x }}{{ . }}{{ else with $labels.b }}no{{ end }}", "xx"),
        ("{{ with $labels.nope }}no{{ else with $labels.b }}{{ . }}{{ end }}", "y"),
        (
            "{{ $externalLabels.dc }} {{ .ExternalLabels.dc }} {{ externalURL }}{{ pathPrefix }}",
            "eu eu http://klaxon/p/p",
        ),
        (
            "{{ now }} {{ toTime now }} {{ (toTime now).Format `02 Jan 2006 15:04` }}",
            "1.5e+09 2017-07-14 02:40:00 +0000 UTC 14 Jul 2017 02:40",
        ),
        ("{{ toDuration $value }} {{ 3723 | toDuration }} {{ (toDuration 90).Minutes }}", "1.5s 1h2m3s 1.5"),
        ("{{ urlQueryEscape `a b/c` }} {{ `a b/c` | urlquery }}", "a+b%2Fc a+b%2Fc"),
        ('{{ range sortByLabel "c" (query "kafka_brokers") }}{{ .Labels.c }} {{ end }}', "one two "),
        ("{{ $q := `kafka_brokers` }}{{ query $q | first | value }}", "3000"),
        (r"""{{ `\x` }}{{ "\u00e9\n" }}{{ 'a' }} {{ 0x1F }} {{ args nil | len }}""", "\\x\u00e9\n97 31 1"),
    ],
)
def test_what_is_printed(text: str, shown: str) -> None:
    rows = [QueryRow({"c": "one"}, 3000.0), QueryRow({"c": "two"}, 4.0)]
    assert expand(text, rows=rows, a="x", b="y") == shown


@pytest.mark.parametrize(
    ("text", "column", "says"),
    [
        ("ab {{ humanise $value }}", 7, "function 'humanise' is not defined; did you mean 'humanize'?"),
        ("{{ $x }}", 4, "undefined variable '$x' (there are: $labels, $externalLabels, $externalURL, $value)"),
        ("{{ if true }}{{ $x := 1 }}{{ end }}{{ $x }}", 39, "undefined variable '$x'"),
        ("{{ define `d` }}{{ $labels.a }}{{ end }}", 20, "undefined variable '$labels'"),
        ("{{ break }}", 4, "outside {{range}}"),
        ("{{ nil }}", 4, "nil is not a command"),
        ("{{ $value 1 }}", 11, "$value is no function"),
        ("{{ $labels.a 1 }}", 4, "it takes no arguments"),
        ("{{ $labels := 1 }}", 4, "$labels is the alert's"),
        ("{{ tmpl `x` . }}", 4, "function 'tmpl' is not defined"),
        ("{{ $value | reReplaceAll `a` }}", 13, "wrong number of arguments for reReplaceAll: want 3, got 2"),
        ("{{ template `x` }}", 4, "there is no template 'x'"),
        ("{{ .Lables.a }}", 4, "there is no field .Lables"),
        ("{{ $labels.a.b }}", 4, "has no field .b"),
        ("{{ end }}", 4, "outside of if"),
        ("{{ if $value }}{{ else }}", 4, "'if' without 'end'"),
        ("{{ }}", 1, "missing value"),
        ("{{ $value", 1, "without '}}'"),
        ("{{ humanize }}", 4, "wrong number of arguments for humanize: want 1, got 0"),
        ("{{ printf `%d %s` $value }}", 4, "needs 2 arguments, got 1"),
        ("{{ printf `%U` $value }}", 4, "%U is not supported"),
        ("{{ (humanize $value }}", 4, "'(' without ')'"),
        ("{{ $value humanize }}", 11, "$value is no function"),
        ("{{ query `up{` | first | value }}", 4, "its query"),
        ("x\n {{ nope }}", 5, "is not defined"),
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
    assert not template.unknown_queries


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
    "variables": "{{ $x := $value }}{{ $y := 1 }}{{ if gt $value 0.0 }}{{ $x = 7 }}{{ $y := 2 }}{{ $y }}{{ end }}{{ $x }}{{ $y }}",
    "ranges": "{{ range $i, $c := args $value 2 }}{{ $i }}={{ $c }} {{ if eq $i `arg1` }}{{ break }}{{ end }}{{ end }}{{ range $k, $v := $labels }}{{ $k }}={{ $v }} {{ end }}",
    "define": "{{ define `d` }}[{{ .arg0 }} {{ . }}]{{ end }}{{ template `d` (args $value `b`) }}{{ block `e` 5 }}{{ . }}{{ end }}",
    "regex": "{{ reReplaceAll `(n)(\\d+)` `$2-${1}x$$` .Labels.i }}|{{ match `n1.$` .Labels.i }}|{{ reReplaceAll `^v` `` `vv` }}",
    "hosts": "{{ stripPort `a.b.c:99` }} {{ stripPort `a.b` }} {{ stripPort `[::1]:5` }} {{ stripDomain `a.b.c:99` }} {{ stripDomain `10.1.1.1:9` }} {{ stripDomain `a.b` }} {{ stripPort `a:b:c` }}",
    "links": '{{ graphLink `up{a="b c"} > 1` }} {{ tableLink `a+b` }} {{ $externalURL }} {{ .ExternalLabels.dc }} {{ $externalLabels.dc }}',
    "durations": "{{ parseDuration `1h30m` }} {{ parseDuration `5d` | humanizeDuration }} {{ toTime 1434405000.5 }} {{ (toTime 1434405000).Year }}",
    "text": "{{ print 1 2 `a` `b` 3 }}|{{ println 1 `a` }}|{{ html `<a href='x'>&` }}|{{ js `it's <b>` }}|{{ urlquery `a b&c/d~` }}|{{ safeHtml `<` }}|{{ slice `abcdef` 1 3 }}|{{ index (args 1 2) `arg1` }}",
    "values": "{{ args 1 `b` 2.5 }} {{ len (args 1) }} {{ (args 1).arg0 }} {{ (args 1).nope }} {{ 0x1F }} {{ 'a' }} {{ \"\\t|\\u00e9\" }} {{ printf `%x %o %b %5d|%-5d|` 255 8 5 42 42 }} {{ not 0 }} {{ and 1 0 }} {{ or 0 `z` }}",
    "row": "{{ with query `x` }}{{ $n := len . }}{{ $n }} {{ range sortByLabel `i` . }}{{ . | label `i` }}={{ . | value | printf `%.2g` }},{{ end }}{{ (. | sortByLabel `i` | first).Labels.i }} {{ . | first | strvalue }}{{ end }}",
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

    rows = [QueryRow(Labels.of({"__name__": "x", "i": i}), value) for i, value in series.items()]
    expected: list[dict[str, Any]] = [
        {
            "exp_labels": {"i": i},
            "exp_annotations": {k: expand(t, value, rows, i=i, __name__="x") for k, t in templates.items()},
        }
        for i, value in series.items()
    ]
    test = {
        "interval": "1m",
        "external_labels": {"dc": "eu"},
        "external_url": "http://klaxon/p",
        "input_series": [{"series": f'x{{i="{i}"}}', "values": number(value)} for i, value in series.items()],
        "alert_rule_test": [{"eval_time": "0m", "alertname": "A", "exp_alerts": expected}],
    }
    (tmp_path / "test.yml").write_text(yaml.safe_dump({"rule_files": ["rules.yml"], "tests": [test]}, width=10_000))
    done = subprocess.run(
        [str(PROMTOOL), "test", "rules", "test.yml"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
