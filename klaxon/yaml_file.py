"""Reads a YAML file that people write: line numbers for every key, no key twice, ${ENV} filled in."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

KeyPath = tuple[str | int, ...]

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


class YamlFileError(Exception):
    """The file cannot be read as YAML; ``problems`` are complete sentences that name file and line."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class YamlFile:
    """One parsed file: ``data`` with ${ENV} filled in, and the line of every key."""

    def __init__(self, name: str, text: str, environment: Mapping[str, str]) -> None:
        self.name = name
        self._lines: dict[KeyPath, int] = {}
        self._problems: list[str] = []
        root = _compose(name, text)
        self.data: Any = self._value(root, (), environment) if root is not None else None
        if self._problems:
            raise YamlFileError(self._problems)

    def line(self, path: KeyPath) -> int:
        """The line of a key, or of the nearest key above it."""
        for size in range(len(path), -1, -1):
            if path[:size] in self._lines:
                return self._lines[path[:size]]
        return 1

    def where(self, path: KeyPath) -> str:
        """``file:line: a.b[0]`` for messages."""
        return f"{self.name}:{self.line(path)}: {dotted(path)}" if path else f"{self.name}:{self.line(path)}"

    def _value(self, node: yaml.Node, path: KeyPath, environment: Mapping[str, str]) -> Any:
        self._lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            return dict(self._pairs(node, path, environment))
        if isinstance(node, yaml.SequenceNode):
            return [self._value(child, (*path, i), environment) for i, child in enumerate(node.value)]
        return self._scalar(node, path, environment)

    def _pairs(
        self, node: yaml.MappingNode, path: KeyPath, environment: Mapping[str, str]
    ) -> Iterator[tuple[Any, Any]]:
        seen: set[Any] = set()
        for key_node, value_node in node.value:
            key = yaml.SafeLoader("").construct_object(key_node)
            below = (*path, key)
            self._lines[below] = key_node.start_mark.line + 1
            if key in seen:
                self._problems.append(f"{self.where(below)}: the key stands twice; keep one of them")
            seen.add(key)
            yield key, self._value(value_node, below, environment)

    def _scalar(self, node: yaml.Node, path: KeyPath, environment: Mapping[str, str]) -> Any:
        value = yaml.SafeLoader("").construct_object(node)
        if not isinstance(value, str):
            return value

        def fill(match: re.Match[str]) -> str:
            name = match.group(1)
            if name not in environment:
                self._problems.append(
                    f"{self.where(path)}: the environment variable {name} is not set; set it or write the value"
                )
            return environment.get(name, "")

        return _VARIABLE.sub(fill, value)


def read_yaml(path: Path, environment: Mapping[str, str]) -> YamlFile:
    """Read one file; raises YamlFileError with what is wrong and where."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise YamlFileError([f"{path}: cannot be read: {error.strerror}"]) from error
    except UnicodeDecodeError as error:
        raise YamlFileError([f"{path}: is not UTF-8 text (byte {error.start})"]) from error
    return YamlFile(str(path), text, environment)


def dotted(path: KeyPath) -> str:
    """``clusters.orders.bootstrap_servers[0]``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.lstrip(".")


def _compose(name: str, text: str) -> yaml.Node | None:
    try:
        return yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name
        raise YamlFileError([f"{where}: not valid YAML: {error.problem}"]) from error
    except yaml.YAMLError as error:
        raise YamlFileError([f"{name}: not valid YAML: {error}"]) from error
