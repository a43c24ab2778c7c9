"""The configuration: the example has every key, defaults are as it says, and faults are told with line, key and cure."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from alerts.notify.config import AlertmanagerPeer
from exporter.config import ClusterConfig
from klaxon.config import Config, ConfigError, build, load

EXAMPLE = Path(__file__).parent.parent.parent / "config.example.yaml"
SMALLEST: dict[str, Any] = {"clusters": {"orders": {"bootstrap_servers": ["kafka-1:9092"]}}}


def keys(model: type[BaseModel]) -> set[str]:
    """Every key of a section and of the sections in it."""
    found: set[str] = set()
    for name, field in model.model_fields.items():
        found.add(field.alias or name)
        for part in (field.annotation, *get_args(field.annotation)):
            if isinstance(part, type) and issubclass(part, BaseModel):
                found |= keys(part)
    return found


def test_the_example_is_good_and_only_says_defaults() -> None:
    told = load(EXAMPLE, {}).config
    plain = build(
        {
            "clusters": {"orders": {"bootstrap_servers": ["kafka-1:9092"]}},
            "alertmanagers": [{"url": "http://127.0.0.1:9093"}],
        },
        EXAMPLE.parent,
    ).config
    assert told.model_copy(update={"clusters": plain.clusters}) == plain
    orders, default = told.clusters["orders"], plain.clusters["orders"]
    assert orders.security == default.security


@pytest.mark.parametrize("section", [Config, ClusterConfig, AlertmanagerPeer])
def test_the_example_has_every_key(section: type[BaseModel]) -> None:
    text = EXAMPLE.read_text()
    assert sorted(key for key in keys(section) if f"{key}:" not in text) == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty or no mapping"),
        ("clusters: {}", "1: clusters: "),
        ("clusters: [a]", "clusters: must be a mapping of keys and values"),
        ("clusters:\n  orders: {}", "2: clusters.orders.bootstrap_servers: is missing"),
        ("clusters: {orders: {bootstrap_servers: [kafka]}}", "'kafka' is not host:port"),
        ("clusters: {orders: {bootstrap_servers: 'kafka:9092'}}", "clusters.orders.bootstrap_servers: "),
        ("clusters: {orders: {bootstrap_servers: ['k:1'], jmxx: 1}}", "there is no such key; did you mean 'jmx'?"),
        ("clusters: {'a b': {bootstrap_servers: ['k:1']}}", "cannot name a cluster"),
        (
            "clusters: {a: {bootstrap_servers: ['k:1'], security: {protocol: SASL_SSL}}}",
            "protocol SASL_SSL needs a mechanism, one of PLAIN",
        ),
        ("clusters: {a: {bootstrap_servers: ['k:1'], security: {protocol: TLS}}}", "'PLAINTEXT'"),
        ("clusters: {a: {bootstrap_servers: ['k:1'], security: {ca_file: config.yaml}}}", "belong to protocol SSL"),
        (
            "clusters: {a: {bootstrap_servers: ['k:1'], jmx: {targets: {1: 'k:2', 2: 'k:2'}}}}",
            "nodes 1 and 2 both have k:2",
        ),
        (
            "clusters: {a: {bootstrap_servers: ['k:1'], jmx: {transport: jolokia, targets: {1: 'k:2'}}}}",
            "'jpype', 'jmxquery' or 'prometheus'",
        ),
        (
            "clusters: {a: {bootstrap_servers: ['k:1'], jmx: {targets: {1: 'k:2'}, username: u}}}",
            "clusters.a.jmx: username and password_file belong together",
        ),
        (
            "clusters: {a: {bootstrap_servers: ['k:1'], jmx: {targets: {1: 'k:2'}, tls: {key_file: /dev/null}}}}",
            "clusters.a.jmx.tls: certificate_file and key_file belong together",
        ),
        (
            "clusters: {a: {bootstrap_servers: ['k:1'], jmx: {transport: jmxquery, targets: {1: 'k:2'}, tls: {}}}}",
            "jmxquery cannot use TLS; choose transport jpype",
        ),
        (
            "clusters: {a: {bootstrap_servers: ['k:1'], jmx: {transport: prometheus, targets: {1: 'k:2'}, tls: {registry: false}}}}",
            "tls.registry is about RMI",
        ),
        (
            "clusters: {a: {bootstrap_servers: ['k:1'], collectors: {cluster: {enabled: false}}}}",
            "collectors.cluster.enabled",
        ),
        (
            "clusters: {a: {bootstrap_servers: ['k:1'], metrics: {topics: {exclude: ['a', '(b']}}}}",
            "clusters.a.metrics.topics.exclude[1]: '(b': not a regular expression: missing ), unterminated subpattern",
        ),
        ("clusters: {a: {bootstrap_servers: ['k:1']}, a: {}}", "the key stands twice"),
        ("clusters: {a: {bootstrap_servers: ['${NOWHERE}:1']}}", "the environment variable NOWHERE is not set"),
        ("clusters: {a: {bootstrap_servers: ['k:1'\n", "not valid YAML"),
        (
            "clusters: {a: {bootstrap_servers: ['k:1']}}\nweb: {listen: '9308'}",
            "2: web.listen: '9308' is not host:port",
        ),
        ("clusters: {a: {bootstrap_servers: ['k:1']}}\nalertmanagers: [{url: 'x'}]", "2: alertmanagers[0].url: "),
        (
            "clusters: {a: {bootstrap_servers: ['k:1']}}\nhistory: {keep: {kafka_brokrs: 60}}",
            "did you mean 'kafka_brokers'?",
        ),
        ("clusters: {a: {bootstrap_servers: ['k:1']}}\nrules: {files: [nowhere.yaml]}", "nowhere.yaml"),
        ("clusters: {a: {bootstrap_servers: ['k:1']}}\ntrees: {files: [nowhere.yaml]}", "nowhere.yaml"),
        ("clusters: {a: {bootstrap_servers: ['k:1']}}\nthresholds: {group_lag: -1}", "2: thresholds.group_lag: "),
        ("clusters: {a: {bootstrap_servers: ['k:1']}}\nincidents: {settle: soon}", "2: incidents.settle: "),
        ("clusters: {a: {bootstrap_servers: ['k:1']}}\nlog: {level: loud}", "2: log.level: "),
    ],
)
def test_faults_say_where_and_what_would_be_right(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(file, {})
    (problem,) = caught.value.problems
    assert problem.startswith(str(tmp_path))
    assert says in problem


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("clusters: {a: {bootstrap_servers: ['k']}}\nweb: {listen: x}\nlogs: {}\n")
    with pytest.raises(ConfigError) as caught:
        load(file, {})
    assert len(caught.value.problems) == 3


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load(tmp_path / "none.yaml", {})


def test_environment_variables_are_filled_in(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("clusters: {a: {bootstrap_servers: ['${HOST}:9092']}}")
    assert load(file, {"HOST": "kafka-7"}).config.clusters["a"].bootstrap_servers == ["kafka-7:9092"]
