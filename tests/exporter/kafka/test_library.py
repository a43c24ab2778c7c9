"""Every name of kafka-python that we use, in one place: they are its inside rather than its API, hence the exact pin."""

from __future__ import annotations

import ast
import configparser
import importlib
import importlib.metadata
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.kafka import messages, messages_moves, messages_transactions, sasl
from exporter.kafka.api import Api

ROOT = Path(__file__).parents[3]
PINNED = "3.0.12"

MESSAGES = {
    "kafka.protocol.admin": (
        "DescribeCluster",
        "DescribeProducers",
        "DescribeQuorum",
        "DescribeTopicPartitions",
        "DescribeTransactions",
        "ListGroups",
        "ListPartitionReassignments",
        "ListTransactions",
    ),
    "kafka.protocol.metadata": ("Metadata",),
    "kafka.protocol.sasl": ("SaslAuthenticate", "SaslHandshake"),
}
NAMES = {
    "kafka.errors.for_code",
    "kafka.net.sasl.get_sasl_mechanism",
    "kafka.net.sasl.oauth.AbstractTokenProvider",
    *(
        f"{module}.{name}{kind}"
        for module, names in MESSAGES.items()
        for name in names
        for kind in ("Request", "Response")
    ),
}
APIS = [
    api
    for room in (messages, messages_moves, messages_transactions, sasl)
    for api in vars(room).values()
    if isinstance(api, Api)
]
PLACES = {name: module for module, names in MESSAGES.items() for name in names}


def imported() -> Iterator[str]:
    for path in sorted((ROOT / "exporter" / "kafka").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "kafka":
                yield from (f"{node.module}.{alias.name}" for alias in node.names)
            elif isinstance(node, ast.Import):
                assert not any(alias.name.split(".")[0] in ("kafka", "confluent_kafka") for alias in node.names), path


def test_the_list_is_what_is_imported() -> None:
    assert set(imported()) == NAMES


def test_the_version_is_pinned_and_installed() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    assert f"kafka-python=={PINNED}" in setup["options"]["install_requires"].replace(" ", "").split()
    assert importlib.metadata.version("kafka-python") == PINNED


@pytest.mark.parametrize("name", sorted(NAMES))
def test_each_name_is_there(name: str) -> None:
    module, _, attribute = name.rpartition(".")
    assert hasattr(importlib.import_module(module), attribute)


@pytest.mark.parametrize("api", [a for a in APIS if a.name in PLACES], ids=lambda a: f"{a.name} v{a.version}")
def test_the_library_speaks_the_versions_that_we_send(api: Api) -> None:
    module = importlib.import_module(PLACES[api.name])
    for kind in ("Request", "Response"):
        message = getattr(module, api.name + kind)
        assert api.key == message.API_KEY
        assert message.min_version <= api.version <= message.max_version
        assert message.flexible_version_q(api.version) == api.flexible


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_mechanisms_have_the_steps_that_we_take(mechanism: str) -> None:
    settings = {"sasl_mechanism": mechanism, "sasl_plain_username": "u", "sasl_plain_password": "p"}
    made = importlib.import_module("kafka.net.sasl").get_sasl_mechanism(mechanism)(host="h", **settings)
    assert made.auth_bytes()
    assert not made.is_done()
    assert not made.is_authenticated()


def test_the_mechanism_of_aws_takes_our_session() -> None:
    """The one attribute that is set from outside: where it gets botocore's session from."""
    mechanism = importlib.import_module("kafka.net.sasl").get_sasl_mechanism("AWS_MSK_IAM")
    assert "_boto_session_cls" in vars(mechanism(host="h", security_protocol="SASL_SSL"))
