"""The configuration section of a cluster: what is accepted, and that every fault is told with its path."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from exporter.collectors import COLLECTORS
from exporter.config import ClusterConfig, CollectorsConfig

SMALLEST = {"bootstrap_servers": ["kafka-1:9092"]}


def faults(section: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(ValidationError) as raised:
        ClusterConfig.model_validate(section)
    return {".".join(map(str, e["loc"])): e["msg"] for e in raised.value.errors()}


def test_the_smallest_section() -> None:
    config = ClusterConfig.model_validate(SMALLEST)
    assert config.jmx_targets == {} and config.collectors.jmx.enabled


def test_a_whole_section() -> None:
    config = ClusterConfig.model_validate({
        "bootstrap_servers": ["kafka-1:9092", "[2001:db8::1]:9092"],
        "security": {"protocol": "PLAINTEXT"},
        "jmx": {"transport": "jpype", "targets": {1: "kafka-1:9999", 2: "kafka-2:9999"}},
        "collectors": {"log_dirs": {"interval": 60}, "jmx": {"enabled": False}},
    })  # fmt: skip
    assert config.jmx_targets == {1: "kafka-1:9999", 2: "kafka-2:9999"}
    assert config.collectors.of("log_dirs").interval == 60


def test_every_collector_has_its_key() -> None:
    assert set(CollectorsConfig.model_fields) == {c.name for c in COLLECTORS}


def test_every_fault_is_listed() -> None:
    told = faults({
        "bootstrap_servers": ["kafka-1", "kafka-2:99999"],
        "bootstrap": "kafka:9092",
        "jmx": {"targets": {1: "a:1", 2: "a:1"}, "transport": "telnet"},
        "collectors": {"log_dirs": {"interval": 0}, "cluster": {"enabled": False}, "weather": {}},
    })  # fmt: skip
    assert {
        "bootstrap_servers.0",
        "bootstrap_servers.1",
        "bootstrap",
        "jmx.transport",
        "collectors.log_dirs.interval",
        "collectors.cluster.enabled",
        "collectors.weather",
    } <= told.keys()
    assert "kafka-1:9092" in told["bootstrap_servers.0"], "says what would be right"


@pytest.mark.parametrize(("section", "path"), [
    ({"bootstrap_servers": []}, "bootstrap_servers"),
    ({**SMALLEST, "jmx": {"targets": {}}}, "jmx.targets"),
    ({**SMALLEST, "jmx": {"targets": {1: "a:1", 2: "a:1"}}}, "jmx"),
    ({**SMALLEST, "jmx": {"targets": {-1: "a:1"}}}, "jmx.targets.-1.[key]"),
    ({**SMALLEST, "collectors": {"offsets": {"interval": 15}}}, "collectors"),
])  # fmt: skip
def test_single_faults(section: dict[str, Any], path: str) -> None:
    assert path in faults(section)
