"""librdkafka's calls to a group's coordinator abort the whole process when a coordinator moves (issues 4605 and 5040): nothing of ours may make them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
ROOMS = ("exporter", "alerts", "operations", "klaxon", "demo", "dashboards")
FORBIDDEN = frozenset(
    {
        "list_consumer_group_offsets",
        "describe_consumer_groups",
        "delete_consumer_groups",
        "delete_consumer_group_offsets",
        "alter_consumer_group_offsets",
        "list_consumer_groups",
    }
)


def forbidden_uses(source: str) -> Iterator[tuple[int, str]]:
    """Line and name of every use: as an attribute, a bare name, an import, or a name in a string (getattr)."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Attribute(attr=name) | ast.Name(id=name) | ast.alias(name=name) | ast.Constant(value=str(name)):
                if name in FORBIDDEN:
                    yield node.lineno, name


def sources() -> list[Path]:
    return sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))


def test_no_room_calls_a_coordinator_through_librdkafka() -> None:
    assert len(sources()) > 50, "the rooms are where this test looks"
    found = [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for path in sources()
        for line, name in forbidden_uses(path.read_text(encoding="utf-8"))
    ]
    assert found == [], "use exporter.kafka.reader for groups"


@pytest.mark.parametrize(
    "source",
    [
        "admin.list_consumer_groups()",
        "call = admin.describe_consumer_groups",
        "from somewhere import alter_consumer_group_offsets",
        "getattr(admin, 'delete_consumer_groups')()",
        "list_consumer_group_offsets([])",
    ],
)
def test_every_way_of_calling_is_seen(source: str) -> None:
    assert list(forbidden_uses(source))


def test_other_calls_are_not_meant() -> None:
    assert not list(forbidden_uses("admin.list_offsets({})  # not list_consumer_groups\nreader.list_groups([1])"))
