"""Reads YAML into nodes that know their lines, so that every fault in a file can say where it stands."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import TypeAlias

import yaml

_DEEPEST = 40


class YamlFault(Exception):
    """Text that is not the YAML it should be; ``line`` counts from 1, 0 where it is not known."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line = line
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Scalar:
    """One value as it is written; ``text`` is None for null."""

    text: str | None
    line: int


@dataclass(frozen=True, slots=True)
class Sequence:
    items: list[Node]
    line: int


@dataclass(frozen=True, slots=True)
class Mapping:
    """``entries`` in the order of the file; ``twice`` are keys that stand more than once, with the line of the second."""

    entries: dict[str, Node]
    lines: dict[str, int]
    line: int
    twice: list[tuple[str, int]] = field(default_factory=list)
    merged: set[str] = field(default_factory=set)
    """Keys that came from other mappings by ``<<``."""


Node: TypeAlias = Scalar | Sequence | Mapping


def read(text: str) -> Node | None:
    """The root of the only document, None for an empty one; raises YamlFault."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise YamlFault(mark.line + 1 if mark else 0, f"not valid YAML: {error.problem or error.context}") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise YamlFault(0, f"not valid YAML: {error}") from error
    return None if root is None else _node(root, 0)


def _node(node: yaml.Node, depth: int) -> Node:
    line = node.start_mark.line + 1
    if depth > _DEEPEST:
        raise YamlFault(line, f"nested deeper than {_DEEPEST} levels")
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, line, depth)
    if isinstance(node, yaml.SequenceNode):
        return Sequence([_node(child, depth + 1) for child in node.value], line)
    return Scalar(None if node.tag == "tag:yaml.org,2002:null" else str(node.value), line)


def _mapping(node: yaml.MappingNode, line: int, depth: int) -> Mapping:
    made = Mapping({}, {}, line)
    for key_node, value_node in node.value:
        key_line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            raise YamlFault(key_line, "a key must be a word")
        key = str(key_node.value)
        if key_node.tag == "tag:yaml.org,2002:merge":
            _merge(made, _node(value_node, depth + 1), key_line)
            continue
        if key in made.entries and key not in made.merged:
            made.twice.append((key, key_line))
        made.entries[key] = _node(value_node, depth + 1)
        made.lines[key] = key_line
        made.merged.discard(key)
    return made


def _merge(into: Mapping, node: Node, line: int) -> None:
    """``<<: *anchor``: the keys of other mappings, which a key of its own overrides."""
    for one in node.items if isinstance(node, Sequence) else [node]:
        if not isinstance(one, Mapping):
            raise YamlFault(line, "<<: takes a mapping or a list of mappings")
        for key, value in one.entries.items():
            if key not in into.entries:
                into.entries[key], into.lines[key] = value, one.lines[key]
                into.merged.add(key)


# --- taking nodes apart


Tell: TypeAlias = Callable[[int, str], None]
"""Takes a line and what is wrong there."""


def is_empty(node: Node | None) -> bool:
    """Whether nothing is given: the key is missing, or its value."""
    return node is None or (isinstance(node, Scalar) and node.text is None)


def keys(node: Node, allowed: Collection[str], what: str, tell: Tell) -> dict[str, Node]:
    """The entries of a mapping; every key that stands twice or is not allowed is told."""
    if not isinstance(node, Mapping):
        tell(node.line, f"{what} must be a mapping with the keys {', '.join(allowed)}")
        return {}
    for key, line in node.twice:
        tell(line, f"the key {key!r} stands twice; keep one of them")
    for key in node.entries:
        if key not in allowed:
            tell(node.lines[key], f"unknown key {key!r} (keys of {what}: {', '.join(allowed)})")
    return node.entries


def items(node: Node | None, what: str, tell: Tell) -> list[Node]:
    """The items of a list."""
    if node is None or is_empty(node):
        return []
    if not isinstance(node, Sequence):
        tell(node.line, f"{what} must be a list")
        return []
    return node.items
