"""Answers about settings, quotas and offers are read as kafka-python reads them, and no sensitive value is kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka.protocol.admin import (
    DescribeClientQuotasRequest,
    DescribeClientQuotasResponse,
    DescribeConfigsRequest,
    DescribeConfigsResponse,
)
from kafka.protocol.metadata import ApiVersionsRequest, ApiVersionsResponse

from exporter.facts.configs import DEFAULT_ENTITY, ConfigSource, Quota
from exporter.kafka import api_versions, configs
from exporter.kafka.errors import BadAnswer, BrokerError

Result = DescribeConfigsResponse.DescribeConfigsResult
Entry = Result.DescribeConfigsResourceResult
Quotas = DescribeClientQuotasResponse.EntryData

names = st.text(st.characters(codec="utf-8"), max_size=12)
entries = st.lists(
    st.tuples(names, st.none() | names, st.integers(0, 7), st.booleans()), max_size=4, unique_by=lambda e: e[0]
)
resources = st.lists(st.tuples(names, st.sampled_from([0, 0, 29]), entries), max_size=5, unique_by=lambda r: r[0])


def answer(rows: Sequence[Any]) -> memoryview:
    results = [
        Result(
            error_code=error, error_message=None, resource_type=2, resource_name=name,
            configs=[
                Entry(
                    name=n, value=v, read_only=False, config_source=source, is_sensitive=secret,
                    synonyms=[Entry.DescribeConfigsSynonym(name=n, value=v, source=source)], config_type=2,
                    documentation=None,
                )
                for n, v, source, secret in told
            ],
        )
        for name, error, told in rows
    ]  # fmt: skip
    return memoryview(DescribeConfigsResponse(throttle_time_ms=0, results=results).encode(version=4))


@given(resources)
def test_topic_settings(rows: list[Any]) -> None:
    if rows and all(error for _, error, _ in rows):
        with pytest.raises(BrokerError):
            configs.topic_settings(answer(rows))
        return
    told = configs.topic_settings(answer(rows))
    assert set(told) == {name for name, error, _ in rows if not error}
    for name, error, settings in rows:
        for key, value, source, secret in settings if not error else ():
            found = told[name][key]
            assert (found.value, found.sensitive) == (None if secret else value, secret)
            assert (found.source is ConfigSource.DYNAMIC_TOPIC) == (source == 1)


def test_topics_that_are_alike_share_one_object() -> None:
    alike = [("retention.ms", "1", 5, False)]
    told = configs.topic_settings(
        answer([("a", 0, alike), ("b", 0, [("retention.ms", "2", 1, False)]), ("c", 0, alike)])
    )
    assert told["a"] is told["c"] is not told["b"]


def test_settings_of_one_broker() -> None:
    told = configs.broker_settings(answer([("1", 0, [("a", "x", 4, False), ("b", "secret", 2, True)])]))
    assert {n: (s.value, s.source) for n, s in told.items()} == {
        "a": ("x", ConfigSource.STATIC),
        "b": (None, ConfigSource.DYNAMIC_BROKER),
    }
    with pytest.raises(BrokerError, match="CLUSTER_AUTHORIZATION_FAILED"):
        configs.broker_settings(answer([("1", 31, [])]))
    with pytest.raises(BadAnswer):
        configs.broker_settings(answer([]))


@given(st.data())
def test_garbage_is_a_bad_answer(data: st.DataObject) -> None:
    body = bytes(answer([("a", 0, [("retention.ms", "1", 5, False)] * 3)]))
    cut = body[: data.draw(st.integers(0, len(body) - 1))]
    with pytest.raises(BadAnswer):
        configs.topic_settings(memoryview(cut))


def test_requests_are_what_the_library_would_send() -> None:
    resource = DescribeConfigsRequest.DescribeConfigsResource
    broker = [resource(resource_type=4, resource_name="3", configuration_keys=None)]
    assert configs.broker_settings_request(3) == DescribeConfigsRequest(resources=broker).encode(version=4)
    topics = [
        resource(resource_type=2, resource_name=t, configuration_keys=list(configs.TOPIC_KEYS)) for t in ("a", "b")
    ]
    assert configs.topic_settings_request(["a", "b"]) == DescribeConfigsRequest(resources=topics).encode(version=4)
    asked = DescribeClientQuotasRequest(components=[], strict=False)
    assert configs.client_quotas_request() == asked.encode(version=1)
    for version in (3, 4):
        hello = ApiVersionsRequest(client_software_name="klaxon", client_software_version="1")
        assert api_versions.request() == hello.encode(version=version)


def test_quotas() -> None:
    entity, value = Quotas.EntityData, Quotas.ValueData
    entries = [
        Quotas(
            entity=[entity(entity_type="user", entity_name="ann"), entity(entity_type="client-id", entity_name=None)],
            values=[value(key="producer_byte_rate", value=1.5), value(key="consumer_byte_rate", value=2.0)],
        ),
        Quotas(entity=[entity(entity_type="ip", entity_name="::1")], values=[value(key="connection_creation_rate", value=3)]),
    ]  # fmt: skip
    body = DescribeClientQuotasResponse(throttle_time_ms=0, error_code=0, error_message=None, entries=entries)
    assert configs.client_quotas(memoryview(body.encode(version=1))) == (
        Quota(None, None, "::1", "connection_creation_rate", 3.0),
        Quota("ann", DEFAULT_ENTITY, None, "consumer_byte_rate", 2.0),
        Quota("ann", DEFAULT_ENTITY, None, "producer_byte_rate", 1.5),
    )
    denied = DescribeClientQuotasResponse(throttle_time_ms=0, error_code=31, error_message="no", entries=None)
    with pytest.raises(BrokerError, match="CLUSTER_AUTHORIZATION_FAILED"):
        configs.client_quotas(memoryview(denied.encode(version=1)))


@pytest.mark.parametrize("version", [3, 4])
def test_offers(version: int) -> None:
    features = {"metadata.version": (7, 29), "kraft.version": (0, 1)}
    body = ApiVersionsResponse(
        error_code=0,
        throttle_time_ms=0,
        api_keys=[ApiVersionsResponse.ApiVersion(api_key=3, min_version=0, max_version=13)],
        supported_features=[
            ApiVersionsResponse.SupportedFeatureKey(name=n, min_version=low, max_version=high)
            for n, (low, high) in features.items()
        ],
        finalized_features_epoch=7,
        finalized_features=[
            ApiVersionsResponse.FinalizedFeatureKey(name="metadata.version", max_version_level=28, min_version_level=28)
        ],
        zk_migration_ready=True,
    )
    told = api_versions.offer(memoryview(body.encode(version=version)))
    assert told.versions == {3: (0, 13)}
    assert told.features.supported == features
    assert (told.features.finalized, told.features.epoch) == ({"metadata.version": 28}, 7)


def test_an_offer_without_features() -> None:
    body = ApiVersionsResponse(error_code=0, throttle_time_ms=0, api_keys=[])
    told = api_versions.offer(memoryview(body.encode(version=3)))
    assert (told.features.supported, told.features.finalized, told.features.epoch) == ({}, {}, -1)
