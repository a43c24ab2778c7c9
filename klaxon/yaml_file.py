"""Reads a YAML file that people write: line numbers for every key, no key twice, ${ENV} filled in, and what came from there never told."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

KeyPath = tuple[str | int, ...]

_SHORT = 4
"""Length below which a value from the environment is masked only where it stands in quotes."""
_DEEPEST = 50
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
        self._written: dict[str, str] = {}
        """What ${ENV} made of a text, and each variable's value -> how it is written in the file."""
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

    def masked(self, text: str) -> str:
        """``text`` with what came from the environment as it is written in the file: it may be a secret."""
        for value, written in sorted(self._written.items(), key=lambda pair: -len(pair[0])):
            escaped = repr(value)[1:-1]
            if len(value) < _SHORT:
                # So short a text may stand anywhere; quoted it is this one.
                text = text.replace(f"'{escaped}'", f"'{written}'")
                continue
            for form in (value, escaped):
                text = text.replace(form, written)
        return text

    def _value(self, node: yaml.Node, path: KeyPath, environment: Mapping[str, str]) -> Any:
        self._lines.setdefault(path, node.start_mark.line + 1)
        if len(path) > _DEEPEST:
            self._problems.append(
                f"{self.where(path[:3])}: is nested without end; an alias (*) stands inside its anchor (&)"
            )
            return None
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
            key = self._constructed(key_node, path)
            if not isinstance(key, str | int) or isinstance(key, bool):
                line = key_node.start_mark.line + 1
                self._problems.append(f"{self.name}:{line}: a key must be a word or a whole number; quote it")
                continue
            below = (*path, key)
            self._lines[below] = key_node.start_mark.line + 1
            if key in seen:
                self._problems.append(f"{self.where(below)}: the key stands twice; keep one of them")
            seen.add(key)
            yield key, self._value(value_node, below, environment)

    def _scalar(self, node: yaml.Node, path: KeyPath, environment: Mapping[str, str]) -> Any:
        value = self._constructed(node, path)
        if not isinstance(value, str):
            return value

        def fill(match: re.Match[str]) -> str:
            name = match.group(1)
            if name not in environment:
                self._problems.append(
                    f"{self.where(path)}: the environment variable {name} is not set; set it or write the value"
                )
            self._written[environment.get(name, "")] = match.group(0)
            return environment.get(name, "")

        filled = _VARIABLE.sub(fill, value)
        if filled != value:
            self._written[filled] = value
        return filled

    def _constructed(self, node: yaml.Node, path: KeyPath) -> Any:
        """The value of a scalar by YAML's rules; a fault and None for tags and dates that are none."""
        try:
            return yaml.SafeLoader("").construct_object(node, deep=True)
        except (yaml.YAMLError, ValueError, TypeError):
            where = f"{self.name}:{node.start_mark.line + 1}: {dotted(path)}".removesuffix(": ")
            said = f"the tag {node.tag} is unknown" if node.tag.startswith("!") else "this is no date or number"
            self._problems.append(f"{where}: {said}; for a text write it in quotes")
            return None


def read_yaml(path: Path, environment: Mapping[str, str]) -> YamlFile:
    """Read one file; raises YamlFileError with what is wrong and where."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise YamlFileError(
            [f"{path}: cannot be read: {error.strerror}; name a file that Klaxon's user may read"]
        ) from error
    except UnicodeDecodeError as error:
        raise YamlFileError([f"{path}: is not UTF-8 text (byte {error.start}); save it as UTF-8"]) from error
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
