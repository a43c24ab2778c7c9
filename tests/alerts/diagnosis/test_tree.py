"""Loading trees: every fault of a file is named with its place, and what would be right."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import yaml

from alerts.diagnosis.template import Command, Template, TemplateError
from alerts.diagnosis.tree import TreeError, load, parse_trees

GOOD: dict[str, Any] = yaml.safe_load(
    """
tree: t
title: A tree
serves: [KafkaBrokerDown]
given: [cluster, broker]
facts:
  copies: {is: copies, expr: 'kafka_broker_replicas{cluster="$cluster", broker="$broker"}'}
steps:
  one:
    ask: Is $broker up?
    expr: kafka_broker_up{cluster="$cluster", broker="$broker"} == 1
    found: {cause: already-healed}
    none: two
  two:
    ask: Who?
    expr: count by (broker) (kafka_partition_replica_missing{cluster="$cluster"})
    each: broker
    found: {cause: gone}
    none: {cause: gone}
    unknown: {manual: "kafka-topics.sh --bootstrap-server $bootstrap --describe", reading: as it says}
causes:
  gone:
    problems: [KafkaBrokerUnavailable]
    subject: broker/$broker
    headline: [gone]
    says: "Gone with {copies|n:copy}."
    impact: Bad.
    do: [{title: Look, command: "ssh host-$broker ls", risk: no risk}]
    verify: kafka_broker_up{cluster="$cluster", broker="$broker"} == 1
"""
)


def faults(*trees: Any, rules: list[str] | None = None) -> list[str]:
    with pytest.raises(TreeError) as caught:
        parse_trees(
            [
                (f"{i}.yaml", t if isinstance(t, str) else yaml.safe_dump(t, sort_keys=False))
                for i, t in enumerate(trees)
            ],
            rules,
        )
    return list(caught.value.faults)


def changed(**paths: Any) -> dict[str, Any]:
    """GOOD with values at paths like ``steps__one__found``; None removes."""
    tree = copy.deepcopy(GOOD)
    for path, value in paths.items():
        *way, last = path.split("__")
        node = tree
        for part in way:
            node = node[int(part)] if isinstance(node, list) else node[part]
        if value is None:
            del node[last]
        else:
            node[last] = value
    return tree


def test_good_tree_loads() -> None:
    trees = parse_trees([("t.yaml", yaml.safe_dump(GOOD, sort_keys=False))])
    assert trees.serving("KafkaBrokerDown") is trees.by_name["t"]
    assert trees.by_name["t"].first == "one"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"steps__one__none": "three"}, "0.yaml: steps.one.none: there is no step 'three'"),
        ({"steps__one__none": {"cause": "nope"}}, "0.yaml: steps.one.none: there is no cause 'nope'"),
        ({"steps__one__none": {"tree": "nope"}}, "0.yaml: steps.one.none: there is no other tree 'nope'"),
        ({"steps__one__none": {"low": "x"}}, "steps.one.none: name one target"),
        ({"steps__one__none": {"cause": "gone"}}, "0.yaml: steps.two: no step leads here"),
        ({"steps__two__none": "one"}, "0.yaml: steps.one: leads back to itself (one -> two -> one)"),
        ({"steps__two__found": {"cause": "already-healed"}, "steps__two__none": {"cause": "unknown"}}, "causes.gone: no step leads here"),
        ({"steps__one__expr": "up =="}, "0.yaml: steps.one.expr:"),
        ({"steps__one__expr": "kafka_broker_upp == 1"}, "did you mean 'kafka_broker_up'"),
        ({"steps__one__expr": 'kafka_broker_up{brocker="1"} == 1'}, "kafka_broker_up has no label 'brocker'"),
        ({"steps__one__expr": 'kafka_broker_up{broker="$dir"} == 1'}, "steps.one.expr: $dir is not bound here"),
        ({"steps__one__ask": "Is $dir up?"}, "steps.one.ask: $dir is not bound here"),
        ({"given": ["cluster"]}, "causes.gone.subject: $broker is not bound here"),
        ({"causes__gone__do": []}, "causes.gone.do: "),
        ({"causes__gone__says": "{nope}"}, "there is no fact 'nope'"),
        ({"causes__gone__says": "Bad."}, "facts.copies: no sentence uses it"),
        ({"causes__gone__says": "{copies|shout}"}, "unknown filter 'shout'"),
        ({"causes__gone__says": "{copies"}, "a brace in '{copies' belongs to no {fact}"),
        ({"causes__gone__severity": "bad"}, "causes.gone.severity: 'bad' is none of"),
        ({"causes__gone__verify": None}, "causes.gone.verify: Field required"),
        ({"causes__gone__do__0__command": "ls | rm"}, "uses the shell operator |"),
        ({"causes__gone__do__0__command": "ssh 'x"}, "No closing quotation"),
        ({"causes__gone__do__0__command": "kafka-leader-election.sh --election-type unclean"}, "its title must begin with DESTROYS"),
        ({"steps__one__answers": {"maybe": "x"}}, "steps.one: 'maybe' is no verdict"),
        ({"steps__two__unknown__then": "three"}, "steps.two.unknown.then: there is no step 'three'"),
        ({"steps__one__colour": "red"}, "0.yaml: steps.one.colour: Extra inputs are not permitted"),
    ],
)  # fmt: skip
def test_faults_name_place_and_remedy(change: dict[str, Any], said: str) -> None:
    found = faults(changed(**change))
    assert any(said in fault for fault in found), found


def test_all_faults_are_listed_at_once() -> None:
    found = faults(changed(steps__one__none="three", causes__gone__says="{nope}"), "a: [", "- 1")
    assert {f.split(":")[0] for f in found} == {"0.yaml", "1.yaml", "2.yaml"}


def test_destroying_commands_come_last() -> None:
    look = {"title": "Look", "command": "ls", "risk": "no risk"}
    destroy = {"title": "DESTROYS data", "command": "kafka-leader-election.sh --election-type unclean", "risk": "loss"}
    assert "comes after a command that destroys data" in faults(changed(causes__gone__do=[destroy, look]))[0]
    parse_trees([("t.yaml", yaml.safe_dump(changed(causes__gone__do=[look, destroy]), sort_keys=False))])


def test_trees_share_no_rule_and_no_cause_and_run_in_no_circle() -> None:
    other = changed(tree="u")
    found = faults(GOOD, other)
    assert any("rule 'KafkaBrokerDown' is also in 0.yaml" in f for f in found)
    assert any("cause 'gone' is also in 0.yaml" in f for f in found)
    round_trip = [changed(steps__two__none={"tree": "u"}), changed(tree="u", serves=[], steps__two__none={"tree": "t"})]
    assert any("leads back to itself through other trees" in f for f in faults(*round_trip))


def test_a_tree_gets_what_it_needs_from_the_one_before() -> None:
    first = changed(
        given=["cluster"],
        steps={"one": {"ask": "?", "expr": "kafka_brokers", "found": {"tree": "u"}, "none": {"cause": "unknown"}}},
        causes={},
        facts={},
    )
    second = changed(tree="u", serves=[])
    assert "tree 'u' needs $broker, which is not bound here" in faults(first, second)[0]


def test_rules_that_are_served_must_exist() -> None:
    assert faults(GOOD, rules=["Other"]) == ["0.yaml: serves: there is no rule 'KafkaBrokerDown'"]


def test_shipped_trees_load_and_have_every_cause_of_the_list() -> None:
    causes = {c for t in load().by_name.values() for c in t.file.causes}
    assert {
        "broker-process-dead", "broker-hung", "broker-out-of-memory", "host-unreachable", "stopped-on-purpose", "broker-starting", "quorum-lost",
        "controller-hung", "log-dir-failed", "log-dir-full",
    } <= causes  # fmt: skip


# --- templates


@pytest.mark.parametrize(
    ("text", "value", "shown"),
    [
        ("{x}", 81.0, "81"),
        ("{x}", 12000.0, "12,000"),
        ("{x}", 0.123456, "0.123"),
        ("{x|n:partition}", 1.0, "1 partition"),
        ("{x|n:partition}", 81.0, "81 partitions"),
        ("{x|bytes}", 1536.0, "1.5 KiB"),
        ("{x|bytes}", 3.0 * 1024**4 * 1000, "3000 TiB"),
        ("{x|duration}", 125.0, "2 min 5 s"),
        ("{x|percent}", 0.384, "38.4 %"),
        ("{x|few}", tuple("abcdefg"), "a, b, c, d, e and 2 more"),
        ("{{x}} {x}", 1.0, "{x} 1"),
        ("{x}", None, "[no data]"),
    ],
)
def test_numbers_as_people_read_them(text: str, value: Any, shown: str) -> None:
    filled = Template.parse(text).fill({}, {"x": value})
    assert filled.text == shown
    assert filled.missing == (("x",) if value is None else ())


def test_whatever_fills_a_command_stays_one_word() -> None:
    command = Command.parse("kafka-consumer-groups.sh --group $g --describe").fill({"g": "a'; rm -rf / #"}, {})
    assert command.text == """kafka-consumer-groups.sh --group 'a'"'"'; rm -rf / #' --describe"""


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("ssh h journalctl -u kafka", "ssh h journalctl -u kafka"),
        ("ssh h journalctl --grep 'a|b'", """ssh h 'journalctl --grep '"'"'a|b'"'"''"""),
        ("ssh -t h du $d", """ssh -t h 'du '"'"'/d; rm x'"'"''"""),
    ],
)
def test_what_ssh_hands_on_is_quoted_for_the_second_shell(text: str, filled: str) -> None:
    assert Command.parse(text).fill({"d": "/d; rm x"}, {}).text == filled


def test_filter_n_needs_a_word() -> None:
    with pytest.raises(TemplateError, match="takes a word"):
        Template.parse("{x|n}")
