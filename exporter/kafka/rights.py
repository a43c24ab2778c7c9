"""Which right a request needs (StandardAuthorizer), and the command that grants it: a denied answer says what to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

NOT_PERMITTED: Final = frozenset({29, 30, 31, 53})
"""TOPIC_, GROUP_, CLUSTER_ and TRANSACTIONAL_ID_AUTHORIZATION_FAILED."""

TOPIC_NOT_PERMITTED: Final = 29

_CLUSTER, _TOPIC, _GROUP, _TRANSACTION = "--cluster", "--topic '*'", "--group '*'", "--transactional-id '*'"
_ON: Final[Mapping[int, str]] = {TOPIC_NOT_PERMITTED: _TOPIC, 30: _GROUP, 31: _CLUSTER, 53: _TRANSACTION}
"""What the error's own words say that the right is missing on."""

_OPERATIONS: Final[Mapping[str, str]] = {
    "DescribeConfigs": "DescribeConfigs",
    "DescribeClientQuotas": "DescribeConfigs",
    "DescribeProducers": "Read",
}
"""Operation by request; Describe for all others that only look."""


def missing_right(request: str, code: int) -> str:
    """The right in words with the command; ``code`` is the error that the broker gave."""
    operation, resource = _OPERATIONS.get(request, "Describe"), _ON[code]
    return (
        f"Klaxon's user needs {operation} on {resource.removeprefix('--')}: kafka-acls.sh --bootstrap-server HOST:PORT --add "
        f"--allow-principal User:NAME --operation {operation} {resource}"
    )
