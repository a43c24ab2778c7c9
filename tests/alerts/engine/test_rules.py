"""Rule files: what is right is read, what is wrong is named with file, group, rule and line, all of it at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from alerts.engine.durations import format_duration, parse_duration
from alerts.engine.needs import COVERED_METRIC
from alerts.engine.rules import AlertingRule, RuleError, RuleFile, RuleSet, load_rules, read_rule_files
from exporter.metrics.catalogue import KAFKA_ROWS, PROCESS_ROWS, by_name

CATALOGUE = by_name([*KAFKA_ROWS, *PROCESS_ROWS])

GOOD = """groups:
  - name: brokers
    interval: 5s
    limit: 100
    rules:
      - record: cluster:partitions:sum
        expr: sum by (cluster) (kafka_topic_partitions)
      - alert: BrokerDown
        expr: kafka_broker_up == 0
        for: 1m30s
        keep_firing_for: 2m
        labels:
          severity: warning
          subject: "broker/{{ $labels.broker }}"
        annotations:
          summary: "Broker {{ $labels.broker }} is down"
"""


def load(text: str, *, shipped: bool = False, trees: set[str] | None = None) -> RuleSet:
    return load_rules([RuleFile("r.yaml", text, shipped)], CATALOGUE, trees=trees)


def only(rules: RuleSet) -> AlertingRule:
    (rule,) = rules.alerting
    return rule


def alert(expr: str, extra: str = "") -> str:
    return f"groups:\n- name: g\n  rules:\n  - alert: A\n    expr: {expr}\n{extra}"


def test_a_file_is_read() -> None:
    rules = load(GOOD)
    (group,) = rules.groups
    assert (group.name, group.interval, group.limit) == ("brokers", 5.0, 100)
    rule = only(rules)
    assert (rule.name, rule.for_, rule.keep_firing_for, rule.severity, rule.line) == (
        "BrokerDown",
        90.0,
        120.0,
        "warning",
        8,
    )
    assert [r.name for r in rules.recording] == ["cluster:partitions:sum"]


@pytest.mark.parametrize(
    ("text", "line", "rule", "says"),
    [
        ("groups: [", 1, "", "not valid YAML"),
        ("groups:\n- name: g\n  rules: 5", 3, "", "rules must be a list"),
        ("rules: []", 1, "", "unknown key 'rules'"),
        ("groups:\n- rules: []", 2, "", "the group has no name"),
        ("groups:\n- name: g\n- name: g", 3, "", "stands twice"),
        ("groups:\n- name: g\n  intervall: 5s", 3, "", "unknown key 'intervall'"),
        ("groups:\n- name: g\n  interval: 5 s", 3, "", "is not a duration"),
        ("groups:\n- name: g\n  limit: many", 3, "", "is not a whole number"),
        ("groups:\n- name: g\n  rules:\n  - expr: kafka_brokers", 4, "", "either alert: or record:"),
        ("groups:\n- name: g\n  rules:\n  - alert: A\n    record: b\n    expr: kafka_brokers", 4, "A", "not both"),
        ("groups:\n- name: g\n  rules:\n  - alert: A", 4, "A", "has no expr"),
        ("groups:\n- name: g\n  rules:\n  - record: a-b\n    expr: kafka_brokers", 4, "a-b", "must be a word"),
        (
            "groups:\n- name: g\n  rules:\n  - record: a\n    for: 5m\n    expr: kafka_brokers",
            5,
            "a",
            "has no meaning in a recording rule",
        ),
        (
            "groups:\n- name: g\n  rules:\n  - record: kafka_brokers\n    expr: sum(kafka_broker_up)",
            4,
            "kafka_brokers",
            "one of Klaxon's own",
        ),
        (alert("kafka_brokers <"), 5, "A", "expr:"),
        (alert("kafka_brokers[5m]"), 5, "A", "needs an instant vector"),
        (alert("mad_over_time(kafka_brokers[5m])"), 5, "A", "'mad_over_time' is not supported, it is experimental"),
        (alert("histogram_quantile(0.9, kafka_brokers)"), 4, "A", "no label 'le'"),
        (alert("max_over_time((kafka_broker > 1)[5m:1m])"), 4, "A", "did you mean 'kafka_brokers'?"),
        (alert("kafka_brokers @ 1609746000 > 1"), 4, "A", "'@ 1609746000' is a fixed moment"),
        (alert("max_over_time(kafka_brokers[5m:1m] @ 1.5)"), 4, "A", "'@ 1.5' is a fixed moment"),
        (alert("kafka_broker > 1"), 4, "A", "did you mean 'kafka_brokers'?"),
        (alert('kafka_broker_up{brokr="1"}'), 4, "A", "kafka_broker_up has no label 'brokr'"),
        (alert("sum by (topic) (kafka_broker_up)"), 4, "A", "no label 'topic'"),
        (alert("'{cluster=\"a\"}'"), 4, "A", "must name its metric"),
        (alert('kafka_broker_up{broker="$broker"}'), 5, "A", "$broker is a name of trees"),
        (alert("kafka_brokers", "    for: 5x"), 6, "A", "for: '5x' is not a duration"),
        (alert("kafka_brokers", "    keep_for: 5m"), 6, "A", "unknown key 'keep_for'"),
        (alert("kafka_brokers", "    for: 5m\n    for: 6m"), 7, "A", "'for' stands twice"),
        (alert("kafka_brokers", "    labels: {1a: b}"), 6, "A", "'1a' is not a name"),
        (alert("kafka_brokers", "    labels:\n      a: [b]"), 7, "A", "must be a text"),
        (alert("kafka_brokers", "    annotations:\n      a: '{{ $labels.x '"), 7, "A", "'{{' without '}}'"),
        (
            alert("kafka_brokers", "    annotations:\n      a: '{{ $value | humanise }}'"),
            7,
            "A",
            "function 'humanise' is not defined",
        ),
        (
            alert("kafka_brokers", "    annotations:\n      a: 'b {{ $labels.broker }}'"),
            4,
            "A",
            "$labels.broker is always empty",
        ),
        (
            alert("kafka_brokers", "    annotations:\n      a: '{{ query \"nope\" | first | value }}'"),
            4,
            "A",
            "its query: no metric 'nope'",
        ),
        (alert("kafka_brokers", "    annotations:\n      a: '{{ if $value }}x'"), 7, "A", "'if' without 'end'"),
    ],
)
def test_what_is_wrong_is_said(text: str, line: int, rule: str, says: str) -> None:
    with pytest.raises(RuleError) as error:
        load(text)
    assert [(f.file, f.line, f.rule) for f in error.value.faults if says in f.reason] == [("r.yaml", line, rule)], str(
        error.value
    )
    assert str(error.value).startswith("r.yaml:")


def test_a_shipped_rule_needs_more() -> None:
    with pytest.raises(RuleError) as error:
        load(alert("kafka_brokers"), shipped=True)
    wanted = ("label severity", "label tree", "label problem", "label subject", "annotation summary")
    assert [next((w for w in wanted if w in f.reason), None) for f in error.value.faults] == list(wanted)
    load(alert("kafka_brokers"))


def test_a_tree_must_exist() -> None:
    text = alert("kafka_brokers", "    labels: {tree: nope}")
    with pytest.raises(RuleError, match="there is no tree 'nope'"):
        load(text, trees={"broker-unavailable"})
    load(text)


def test_all_faults_of_all_files_come_together() -> None:
    files = [
        RuleFile("a.yaml", alert("nope_one")),
        RuleFile("b.yaml", alert("kafka_brokers", "    for: x\n    until: y")),
    ]
    with pytest.raises(RuleError) as error:
        load_rules(files, CATALOGUE)
    assert [(f.file, f.line) for f in error.value.faults] == [("a.yaml", 4), ("b.yaml", 6), ("b.yaml", 7)]


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"\xff")
    with pytest.raises(RuleError) as error:
        read_rule_files([tmp_path / "none.yaml", tmp_path / "latin.yaml"])
    assert [f.reason.split(":")[0] for f in error.value.faults] == ["cannot be read", "is not UTF-8 text (byte 0)"]


def test_keys_tell_rules_of_the_same_name_apart() -> None:
    text = (
        "groups:\n- name: g\n  rules:\n"
        + "  - {alert: A, expr: kafka_brokers, labels: {severity: info}}\n" * 2
        + "  - {alert: A, expr: kafka_brokers}\n"
    )
    assert len({r.key for r in load(text).alerting}) == 3


def test_inputs_follow_the_labels() -> None:
    (need,) = only(load(alert("kafka_log_dir_online == 0"))).needs
    assert (need.inputs, need.narrowed) == (("log_dirs",), frozenset({"broker", "cluster"}))
    (need,) = only(load(alert("sum by (cluster) (kafka_log_dir_online) < 3"))).needs
    assert need.narrowed == frozenset({"cluster"})
    needs = only(
        load(alert("kafka_broker_up == 0 and on (cluster) (count by (cluster) (kafka_log_dir_online) > 1)"))
    ).needs
    assert [(n.metric, sorted(n.narrowed)) for n in needs] == [
        ("kafka_broker_up", ["broker", "cluster"]),
        ("kafka_log_dir_online", ["cluster"]),
    ]
    needs = only(load(alert('kafka_log_dir_online{broker="2"} * on (cluster) group_left () kafka_brokers'))).needs
    assert [(n.metric, sorted(n.narrowed)) for n in needs] == [
        ("kafka_log_dir_online", ["broker", "cluster"]),
        ("kafka_brokers", ["cluster"]),
    ]
    needs = only(load(alert("kafka_brokers * on (cluster) group_right () kafka_log_dir_online"))).needs
    assert [(n.metric, sorted(n.narrowed)) for n in needs] == [
        ("kafka_brokers", ["cluster"]),
        ("kafka_log_dir_online", ["broker", "cluster"]),
    ]
    needs = only(load(alert("kafka_log_dir_online == 0 and on (cluster) kafka_log_dir_total_bytes > 1"))).needs
    assert [sorted(n.narrowed) for n in needs] == [["broker", "cluster"], ["cluster"]]


def test_subqueries_widen_what_a_rule_needs() -> None:
    expr = "max_over_time(kafka_brokers[1h:1m] offset 5m) > 3 and min_over_time(rate(klaxon_kafka_requests_total[5m])[10m:]) > 1"
    rules = load(alert(expr))
    assert [(n.metric, n.range_ms, n.offset_ms) for n in only(rules).needs] == [
        ("kafka_brokers", 3_600_000, 300_000),
        ("klaxon_kafka_requests_total", 900_000, 0),
    ]
    kept = rules.history_requirements()
    assert kept["kafka_brokers"] == 3600 + 300 + 300 and kept["klaxon_kafka_requests_total"] == 900 + 300
    (need,) = only(load(alert("max_over_time((kafka_brokers @ end())[1h:1m]) > 3"))).needs
    assert (need.range_ms, need.offset_ms) == (0, 0)


def test_labels_that_functions_take_and_leave() -> None:
    for expr in (
        "predict_linear(kafka_log_dir_usable_bytes[1h], 3600) < 0",
        "kafka_log_dir_online == 0 and on () day_of_week() > 0",
        "deriv(kafka_log_dir_usable_bytes[1h:1m]) < 0 and on () (vector(pi()) > 3)",
    ):
        load(alert(expr, "    annotations: {a: '{{ $value }}'}"))
    with pytest.raises(RuleError, match=r"labels\.topic is always empty"):
        load(alert("deriv(kafka_log_dir_usable_bytes[1h:1m]) < 0", "    annotations: {a: '{{ $labels.topic }}'}"))


def test_what_a_recorded_series_needs_is_what_its_rule_needs() -> None:
    text = """groups:
- name: g
  interval: 5m
  rules:
  - {record: x, expr: max by (cluster) (kafka_log_dir_online unless kafka_log_dir_total_bytes)}
  - {alert: A, expr: x > 1}
"""
    rule = only(load(text))
    assert {n.metric for n in rule.needs} == {"x", "kafka_log_dir_online", "kafka_log_dir_total_bytes"}
    assert rule.absence
    assert not only(load(alert("kafka_brokers > 1"))).absence


def test_what_the_history_must_keep() -> None:
    text = alert(
        "rate(klaxon_kafka_requests_total[1h]) > 5 and on (cluster) kafka_brokers offset 2h",
        "    annotations: {a: '{{ with query \"max(kafka_partitions)\" }}{{ . | first | value }}{{ end }}'}",
    )
    kept = load(text).history_requirements()
    assert kept == {
        "klaxon_kafka_requests_total": 3900.0,
        "kafka_brokers": 7500.0,
        "kafka_partitions": 300.0,
        COVERED_METRIC: 7500.0,
    }


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0), ("15s", 15), ("1h30m", 5400), ("1d", 86400), ("1y2w", 32745600), ("250ms", 0.25), ("5m1s", 301)],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "s", "5 m", "1m1h", "-5m", "1.5h", "5M", "１s"])
def test_bad_durations(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (90, "1m30s"), (86400 * 3, "3d"), (0.5, "500ms"), (3600, "1h")]
)
def test_durations_in_words(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text
