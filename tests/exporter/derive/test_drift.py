"""Drift is a setting with two values, unless it differs by nature, is secret, or is not known to one of them."""

from __future__ import annotations

import pytest

from exporter.derive.drift import PER_BROKER, drift
from exporter.facts.configs import ConfigSource, Setting, Settings


def told(**settings: str | None) -> Settings:
    return {name.replace("_", "."): Setting(value, ConfigSource.STATIC) for name, value in settings.items()}


def test_a_setting_with_two_values() -> None:
    brokers = {1: told(num_io_threads="8"), 2: told(num_io_threads="16"), 3: told(num_io_threads="8")}
    assert drift(brokers) == {"num.io.threads": {1: "8", 2: "16", 3: "8"}}


def test_a_value_beside_none_is_two_values() -> None:
    assert drift({1: told(log_retention_ms=None), 2: told(log_retention_ms="1000")}) == {
        "log.retention.ms": {1: "", 2: "1000"}
    }


@pytest.mark.parametrize("name", [*PER_BROKER, "listener.name.internal.ssl.keystore.location"])
def test_what_differs_by_nature_is_none(name: str) -> None:
    assert drift({b: {name: Setting(str(b), ConfigSource.STATIC)} for b in (1, 2)}) == {}


def test_what_only_one_version_knows_is_none() -> None:
    assert drift({1: told(num_io_threads="8", group_share_size="3"), 2: told(num_io_threads="8")}) == {}


def test_a_secret_is_none() -> None:
    secret = Setting(None, ConfigSource.STATIC, sensitive=True)
    assert drift({1: {"ssl.key.password": secret}, 2: {"ssl.key.password": Setting("x", ConfigSource.STATIC)}}) == {}


def test_brokers_that_agree_and_a_single_one() -> None:
    assert drift({1: told(a="1"), 2: told(a="1")}) == drift({1: told(a="1")}) == drift({}) == {}
