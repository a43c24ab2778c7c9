"""Limits become series; the first override that matches wins; wrong names and patterns are refused in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from pydantic import ValidationError

from alerts.engine.thresholds import LEVELS, Limits, ThresholdBlocks, Thresholds


def rows(thresholds: Thresholds, cluster: str, topics: list[str], groups: list[str]) -> dict[tuple[str, ...], float]:
    block = ThresholdBlocks(thresholds, cluster).block(topics, groups)
    return dict(zip(block.labels.rows, block.values.tolist(), strict=True))


def test_every_limit_has_a_level() -> None:
    assert set(LEVELS) == set(Limits.model_fields)


def only(found: Mapping[tuple[str, ...], float], *names: str) -> dict[tuple[str, ...], float]:
    return {key: value for key, value in found.items() if key[0] in names}


def test_one_series_for_each_group_and_one_for_the_cluster() -> None:
    found = rows(Thresholds(), "orders", ["t"], ["a", "b"])
    assert only(found, "disk_used_ratio", "group_lag", "topic_silent_seconds") == {
        ("disk_used_ratio", "", ""): 0.8,
        ("group_lag", "", "a"): 100_000,
        ("group_lag", "", "b"): 100_000,
        ("topic_silent_seconds", "t", ""): 0,
    }
    assert {name for name, _, _ in found} == set(Limits.model_fields)


def test_the_first_override_that_matches_and_sets_the_limit_wins() -> None:
    thresholds = Thresholds.model_validate(
        {
            "group_lag": 10,
            "overrides": [
                {"cluster": "dev*", "set": {"disk_used_ratio": 0.95}},
                {"consumergroup": "batch-[a-c]*", "set": {"group_lag": 20}},
                {"consumergroup": "batch-*", "set": {"group_lag": 30}},
                {"cluster": "prod", "set": {"group_lag": 40}},
            ],
        }
    )
    found = rows(thresholds, "prod", [], ["batch-a1", "batch-z", "web"])
    assert only(found, "disk_used_ratio", "group_lag") == {
        ("disk_used_ratio", "", ""): 0.8,
        ("group_lag", "", "batch-a1"): 20,
        ("group_lag", "", "batch-z"): 30,
        ("group_lag", "", "web"): 40,
    }
    assert only(rows(thresholds, "dev1", [], ["web"]), "disk_used_ratio", "group_lag") == {
        ("disk_used_ratio", "", ""): 0.95,
        ("group_lag", "", "web"): 10,
    }


def test_own_limits_per_topic() -> None:
    thresholds = Thresholds.model_validate(
        {"own": {"rate": {"per": "topic", "value": 5}}, "overrides": [{"topic": "logs.*", "set": {"rate": 50}}]}
    )
    found = rows(thresholds, "c", ["logs.web", "orders"], [])
    assert found[("rate", "logs.web", "")] == 50
    assert found[("rate", "orders", "")] == 5


def test_the_block_stays_the_same_object_while_nothing_comes_or_goes() -> None:
    blocks = ThresholdBlocks(Thresholds(), "c")
    first = blocks.block(["t"], ["g"])
    assert blocks.block(["t"], ["g"]) is first
    assert blocks.block(["t"], ["g", "h"]) is not first


@pytest.mark.parametrize(
    ("section", "says"),
    [
        ({"disk_used": 1}, "disk_used"),
        ({"disk_used_ratio": 80}, "less than or equal to 1"),
        ({"group_lag": 0}, "greater than 0"),
        ({"group_lag": float("nan")}, "finite"),
        ({"overrides": [{"set": {"grup_lag": 1}}]}, "did you mean 'group_lag'?"),
        ({"overrides": [{"set": {}}]}, "at least 1"),
        ({"overrides": [{"topic": "x", "set": {"group_lag": 1}}]}, "remove topic:"),
        ({"overrides": [{"set": {"disk_used_ratio": 7}}]}, "less than or equal to 1"),
        ({"overrides": [{"consumergroup": "a[", "set": {"group_lag": 1}}]}, "'[' without ']'"),
        ({"overrides": [{"topic": "a", "consumergroup": "b", "set": {"group_lag": 1}}]}, "not both"),
        ({"own": {"Bad-Name": {"value": 1}}}, "is not a name"),
        ({"own": {"group_lag": {"value": 1}}}, "is a limit of Klaxon's"),
        ({"own": {"x": {"per": "partition", "value": 1}}}, "'cluster', 'topic' or 'consumergroup'"),
    ],
)
def test_what_is_wrong_is_said(section: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError) as error:
        Thresholds.model_validate(section)
    assert says in str(error.value)
