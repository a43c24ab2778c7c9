"""Bad rule files: each kind gives one message that names file, line, group and rule and what would be right, and a running Klaxon goes on with the old set."""

from __future__ import annotations

from pathlib import Path

import pytest

from klaxon.config import ConfigError, load
from tests.klaxon.running import Run, run

__all__ = ["run"]

CONFIG = "clusters: {a: {bootstrap_servers: ['k:1']}}\nrules: {shipped: false, files: [r.yaml]}\n"

BAD = {
    "no YAML": ("groups: [\n", "r.yaml:2: not valid YAML: expected the node content, but found '<stream end>'"),
    "a tab": ("groups:\n\t- name: g\n", "r.yaml:2: not valid YAML: found character '\\t' that cannot start any token"),
    "two documents": ("groups: []\n---\ngroups: []\n", "r.yaml:2: not valid YAML: but found another document"),
    "a list instead of a mapping": ("- groups\n", "r.yaml:1: a rule file must be a mapping with the keys groups"),
    "groups that are no list": ("groups: {name: g}\n", "r.yaml:1: groups must be a list"),
    "an unknown key of the file": ("group: []\n", "r.yaml:1: unknown key 'group' (keys of a rule file: groups)"),
    "an unknown key of a group": (
        "groups:\n- name: g\n  intervall: 5s\n  rules: []\n",
        "r.yaml:3: unknown key 'intervall' (keys of a group: name, interval, query_offset, limit, labels, rules)",
    ),
    "an unknown key of a rule": (
        "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: kafka_brokers\n    fore: 5m\n",
        "r.yaml:6, group 'g', rule 'A': unknown key 'fore' (keys of an alerting rule: alert, expr, for, keep_firing_for, labels, annotations)",
    ),
    "a key twice": (
        "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: kafka_brokers\n    for: 5m\n    for: 6m\n",
        "r.yaml:7, group 'g', rule 'A': the key 'for' stands twice; keep one of them",
    ),
    "no name of a group": ("groups:\n- rules: []\n", "r.yaml:2: the group has no name; add name: …"),
    "an empty name of a group": ("groups:\n- name: ''\n  rules: []\n", "r.yaml:2: the group has no name; add name: …"),
    "a group twice": (
        "groups:\n- name: g\n- name: g\n",
        "r.yaml:3: the group 'g' stands twice (first in line 2); give it another name",
    ),
    "rules that are no list": ("groups:\n- name: g\n  rules: 5\n", "r.yaml:3, group 'g': rules must be a list"),
    "a rule that is a text": (
        "groups:\n- name: g\n  rules:\n  - up == 0\n",
        "r.yaml:4, group 'g': a rule must be a mapping with alert: or record:",
    ),
    "alert and record": (
        "groups:\n- name: g\n  rules:\n  - alert: A\n    record: a\n    expr: kafka_brokers\n",
        "r.yaml:4, group 'g', rule 'A': a rule needs either alert: or record:, not both",
    ),
    "neither alert nor record": (
        "groups:\n- name: g\n  rules:\n  - expr: kafka_brokers\n",
        "r.yaml:4, group 'g': a rule needs either alert: or record:",
    ),
    "no expression": (
        "groups:\n- name: g\n  rules:\n  - alert: A\n",
        "r.yaml:4, group 'g', rule 'A': the rule has no expr; add expr: …",
    ),
    "an expression that is a list": (
        "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: [a]\n",
        "r.yaml:5, group 'g', rule 'A': expr: must be a text, not a list or mapping",
    ),
    "syntax": (
        "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: kafka_brokers >\n",
        "r.yaml:5, group 'g', rule 'A': expr: …",
    ),
    "a bracket that stays open": (
        "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: sum(kafka_brokers\n",
        "r.yaml:5, group 'g', rule 'A': expr: …",
    ),
    "an unknown function": (
        "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: rat(kafka_brokers[5m])\n",
        "r.yaml:5, group 'g', rule 'A': expr: …rat",
    ),
    "a wrong type of argument": (
        "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: rate(kafka_brokers)\n",
        "r.yaml:5, group 'g', rule 'A': expr: …",
    ),
    "too few arguments": (
        "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: round()\n",
        "r.yaml:5, group 'g', rule 'A': expr: …",
    ),
    "a comparison of scalars": (
        "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: 1 > 2\n",
        "r.yaml:5, group 'g', rule 'A': expr: …",
    ),
    "a range as a result": (
        "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: kafka_brokers[5m]\n",
        "r.yaml:5, group 'g', rule 'A': expr: is a range vector; a rule needs an instant vector or a scalar",
    ),
    "a string as a result": (
        "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: '\"a\"'\n",
        "r.yaml:5, group 'g', rule 'A': expr: is a string; a rule needs an instant vector or a scalar",
    ),
    "a bad regular expression": (
        "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: 'kafka_broker_up{broker=~\"(\"}'\n",
        "r.yaml:5, group 'g', rule 'A': expr: …(",
    ),
    "what is behind a feature flag": (
        "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: limitk(1, kafka_broker_up)\n",
        "r.yaml:5, group 'g', rule 'A': expr: …limitk",
    ),
    "an unknown metric": (
        "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: kafka_broker > 1\n",
        "r.yaml:4, group 'g', rule 'A': no metric 'kafka_broker' in the catalogue; did you mean 'kafka_brokers'?",
    ),
    "an unknown label": (
        'groups:\n- name: g\n  rules:\n  - alert: A\n    expr: kafka_broker_up{brokr="1"} == 0\n',
        "r.yaml:4, group 'g', rule 'A': kafka_broker_up has no label 'brokr' (its labels: broker, cluster)",
    ),
    "an unknown label to group by": (
        "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: sum by (topik) (kafka_topic_partitions) > 0\n",
        "r.yaml:4, group 'g', rule 'A': sum: what it aggregates has no label 'topik' (its labels: cluster, topic)",
    ),
    "no metric": (
        "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: '{cluster=\"a\"} > 1'\n",
        "r.yaml:4, group 'g', rule 'A': a selector must name its metric, like kafka_brokers{…}",
    ),
    "a name of trees": (
        'groups:\n- name: g\n  rules:\n  - alert: A\n    expr: kafka_broker_up{broker="$broker"} == 0\n',
        "r.yaml:5, group 'g', rule 'A': expr: $broker is a name of trees; write the value or leave the matcher out",
    ),
    "a bad duration": (
        "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: kafka_brokers\n    for: 5 minutes\n",
        "r.yaml:6, group 'g', rule 'A': for: '5 minutes' is not a duration; write it like 30s, 5m, 1h30m or 1d (largest unit first, whole numbers)",
    ),
    "a duration that is a list": (
        "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: kafka_brokers\n    for: [5m]\n",
        "r.yaml:6, group 'g', rule 'A': for: must be a text, not a list or mapping",
    ),
    "a bad interval": (
        "groups:\n- name: g\n  interval: 1.5m\n  rules: []\n",
        "r.yaml:3, group 'g': interval: '1.5m' is not a duration; write it like 30s, 5m, 1h30m or 1d (largest unit first, whole numbers)",
    ),
    "a bad limit": (
        "groups:\n- name: g\n  limit: -1\n  rules: []\n",
        "r.yaml:3, group 'g': limit: '-1' is not a whole number; 0 means no limit",
    ),
    "for in a recording rule": (
        "groups:\n- name: g\n  rules:\n  - record: a\n    expr: kafka_brokers\n    for: 5m\n",
        "r.yaml:6, group 'g', rule 'a': for: has no meaning in a recording rule; remove it",
    ),
    "annotations in a recording rule": (
        "groups:\n- name: g\n  rules:\n  - record: a\n    expr: kafka_brokers\n    annotations: {summary: x}\n",
        "r.yaml:6, group 'g', rule 'a': annotations: has no meaning in a recording rule; remove it",
    ),
    "a bad name of a recorded metric": (
        "groups:\n- name: g\n  rules:\n  - record: a-b\n    expr: kafka_brokers\n",
        "r.yaml:4, group 'g', rule 'a-b': the recorded metric's name 'a-b' must be a word of letters, digits, _ and :",
    ),
    "a recorded metric of Klaxon's": (
        "groups:\n- name: g\n  rules:\n  - record: kafka_brokers\n    expr: sum(kafka_broker_up)\n",
        "r.yaml:4, group 'g', rule 'kafka_brokers': the recorded metric 'kafka_brokers' is one of Klaxon's own; give it a name like level:metric:operation",
    ),
    "a bad name of a label": (
        "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: kafka_brokers\n    labels: {1a: b}\n",
        "r.yaml:6, group 'g', rule 'A': labels: '1a' is not a name; use letters, digits and _",
    ),
    "the name as a label": (
        "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: kafka_brokers\n    labels: {__name__: b}\n",
        "r.yaml:6, group 'g', rule 'A': labels: '__name__' is not a name; use letters, digits and _",
    ),
    "labels that are a list": (
        "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: kafka_brokers\n    labels: [a]\n",
        "r.yaml:6, group 'g', rule 'A': labels must be a mapping of names to texts",
    ),
    "a label that is a list": (
        "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: kafka_brokers\n    labels:\n      a: [b]\n",
        "r.yaml:7, group 'g', rule 'A': labels: 'a' must be a text; quote it if it begins with { or [",
    ),
    "an unknown tree": (
        "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: kafka_brokers\n    labels: {tree: nope}\n",
        "r.yaml:6, group 'g', rule 'A': …there is no tree 'nope'",
    ),
    "a template that stays open": (
        "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: kafka_brokers\n    annotations:\n      summary: '{{ $value'\n",
        "r.yaml:7, group 'g', rule 'A': summary: template, line 1, column 1: '{{' without '}}'",
    ),
    "an unknown function of a template": (
        "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: kafka_brokers\n    annotations:\n      summary: '{{ humanise $value }}'\n",
        "r.yaml:7, group 'g', rule 'A': summary: template, line 1, column 4: function 'humanise' is not defined; did you mean 'humanize'?",
    ),
    "an undefined variable of a template": (
        "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: kafka_brokers\n    annotations:\n      summary: '{{ $lables.broker }}'\n",
        "r.yaml:7, group 'g', rule 'A': summary: template, line 1, column 4: undefined variable '$lables' (there are: $labels, $externalLabels, $externalURL, $value)",
    ),
    "a label that is always empty": (
        "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: kafka_brokers\n    annotations:\n      summary: '{{ $labels.broker }}'\n",
        "r.yaml:4, group 'g', rule 'A': summary: $labels.broker is always empty, the expression's labels are cluster",
    ),
    "a template's query of an unknown metric": (
        "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: kafka_brokers\n    annotations:\n      summary: '{{ query \"kafka_broker\" | first | value }}'\n",
        "r.yaml:4, group 'g', rule 'A': summary: its query: no metric 'kafka_broker' in the catalogue; did you mean 'kafka_brokers'?",
    ),
    "a template's query that nobody can know": (
        "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: kafka_brokers\n    annotations:\n      summary: '{{ query $labels.cluster | first | value }}'\n",
        "r.yaml:4, group 'g', rule 'A': summary: its query must be a string, or printf with a string, so that History keeps what it asks",
    ),
}
"""Kind -> file and message; … stands for what the evaluator or a list of names says, with a word that must be in it."""


def problems(folder: Path) -> list[str]:
    (folder / "klaxon.yaml").write_text(CONFIG)
    with pytest.raises(ConfigError) as error:
        load(folder / "klaxon.yaml", {})
    return [problem.replace(f"{folder}/", "") for problem in error.value.problems]


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_file_gives_one_message(kind: str, tmp_path: Path) -> None:
    text, wanted = BAD[kind]
    (tmp_path / "r.yaml").write_text(text)
    (said,) = problems(tmp_path)
    begin, open_end, word = (
        wanted.partition("…") if wanted.endswith(("…", "rat", "limitk", "'nope'", "(")) else (wanted, "", "")
    )
    if open_end:
        assert said.startswith(begin)
        assert word in said[len(begin) :]
    else:
        assert said == wanted


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    assert problems(tmp_path) == [
        "klaxon.yaml:2: rules.files[0]: there is no r.yaml; name a file or folder, absolute or from the configuration file's folder"
    ]
    (tmp_path / "r.yaml").write_bytes(b"groups: [] # \xff\n")
    assert problems(tmp_path) == ["r.yaml:1: is not UTF-8 text (byte 13)"]
    (tmp_path / "r.yaml").unlink()
    (tmp_path / "r.yaml").mkdir()
    (tmp_path / "r.yaml" / "a.yaml").mkdir()
    assert problems(tmp_path) == ["r.yaml/a.yaml:1: cannot be read: Is a directory"]


def test_a_running_klaxon_goes_on_with_the_old_rules(run: Run, tmp_path: Path) -> None:
    rules = tmp_path / "r.yaml"
    rules.write_text("groups: [{name: g, rules: [{alert: Mine, expr: vector(1), labels: {severity: info}}]}]\n")
    running = run({"clusters": {"a": {"bootstrap_servers": ["k:1"]}}, "rules": {"shipped": False, "files": ["r.yaml"]}})
    rules.write_text(BAD["an unknown metric"][0] + "  - {alert: B, expr: kafka_brokers, for: soon}\n")
    answer = running.reload()
    assert answer.status_code != 200
    assert "r.yaml:4, group 'g', rule 'A': no metric 'kafka_broker'" in answer.text
    assert "r.yaml:6, group 'g', rule 'B': for: 'soon' is not a duration" in answer.text
    assert running.page().value("klaxon_config_last_reload_successful") == 0
    assert [rule.name for rule in running.daemon._loaded.rules.alerting] == ["Mine"]
    rules.write_text("groups: [{name: g, rules: [{alert: Yours, expr: vector(1), labels: {severity: info}}]}]\n")
    assert running.reload().status_code == 200
    assert [rule.name for rule in running.daemon._loaded.rules.alerting] == ["Yours"]
