"""The configuration: each room's section put together, read from a file, every fault told with file, line, key and what would be right."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import ErrorDetails

from alerts.diagnosis import tree as trees
from alerts.diagnosis.routing import Route
from alerts.diagnosis.tree import TreeError, Trees
from alerts.engine.maintenance import Window
from alerts.engine.rules import RuleError, RuleSet, load_rules, read_rule_files
from alerts.engine.thresholds import Thresholds
from alerts.notify.config import AlertmanagerPeer, Webhook
from exporter.config import ClusterConfig
from exporter.files import FOLDER
from exporter.metrics.catalogue import complete
from exporter.series import LABEL_NAME
from klaxon.web.config import WebConfig
from klaxon.yaml_file import KeyPath, YamlFile, YamlFileError, dotted, read_yaml

SHIPPED_RULES = Path(trees.__file__).parent.parent / "rules"

_CLUSTER_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")


def _cluster_name(value: str) -> str:
    if not _CLUSTER_NAME.match(value):
        raise ValueError(f"{value!r} cannot name a cluster; use letters, digits, '.', '_' and '-', at most 63")
    return value


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class RulesConfig(_Strict):
    """``files``: rule files and folders of your own, beside the configuration file or absolute; ``shipped`` loads Klaxon's."""

    shipped: bool = True
    files: list[str] = []


class IncidentsConfig(_Strict):
    """How alerts become incidents; seconds, and a count."""

    settle: Annotated[float, Field(ge=0, le=60, strict=False)] = 10.0
    close_after: Annotated[float, Field(ge=0, le=3600, strict=False)] = 120.0
    quiet_period: Annotated[float, Field(ge=0, le=86400, strict=False)] = 900.0
    storm_limit: Annotated[int, Field(ge=1)] = 20


class HistoryConfig(_Strict):
    """``keep``: metrics to keep for `klaxon query` beyond what rules and trees ask, each with its seconds."""

    keep: dict[str, Annotated[float, Field(gt=0, le=7 * 86400, strict=False)]] = {}


class LogConfig(_Strict):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"


class Config(_Strict):
    """Everything that a Klaxon is told."""

    clusters: Annotated[dict[Annotated[str, AfterValidator(_cluster_name)], ClusterConfig], Field(min_length=1)]
    alertmanagers: list[AlertmanagerPeer] = []
    webhooks: list[Webhook] = []
    routing: list[Route] = []
    instance: Annotated[int, Field(ge=0, le=9)] | None = None
    web: WebConfig = WebConfig()
    data_dir: str = "./klaxon-data"
    rules: RulesConfig = RulesConfig()
    trees: RulesConfig = RulesConfig()
    thresholds: Annotated[Thresholds, Field(strict=False)] = Thresholds()
    external_labels: dict[str, str] = {}
    maintenance: Annotated[tuple[Window, ...], Field(strict=False)] = ()
    incidents: IncidentsConfig = IncidentsConfig()
    history: HistoryConfig = HistoryConfig()
    log: LogConfig = LogConfig()

    @field_validator("clusters")
    @classmethod
    def _each_cluster_once(cls, clusters: dict[str, ClusterConfig]) -> dict[str, ClusterConfig]:
        first: dict[str, str] = {}
        for name, cluster in clusters.items():
            for server in cluster.bootstrap_servers:
                other = first.setdefault(server, name)
                if other != name:
                    raise ValueError(
                        f"{other} and {name} both have the bootstrap server {server}; watch a cluster once, under one name"
                    )
        return clusters

    @field_validator("external_labels")
    @classmethod
    def _label_names(cls, labels: dict[str, str]) -> dict[str, str]:
        for name in labels:
            if not LABEL_NAME.fullmatch(name) or name.startswith("__"):
                raise ValueError(f"{name!r} is not a label's name; use letters, digits and _")
        return labels

    @field_validator("maintenance")
    @classmethod
    def _each_window_once(cls, windows: tuple[Window, ...]) -> tuple[Window, ...]:
        names = [window.name for window in windows]
        twice = [name for i, name in enumerate(names) if name in names[:i]]
        if twice:
            raise ValueError(f"{twice[0]!r} stands twice; give each window a name of its own")
        return windows

    @field_validator("alertmanagers")
    @classmethod
    def _each_peer_once(cls, peers: list[AlertmanagerPeer]) -> list[AlertmanagerPeer]:
        urls = [peer.url or peer.srv for peer in peers]
        twice = [url for i, url in enumerate(urls) if url in urls[:i]]
        if twice:
            raise ValueError(f"{twice[0]} stands twice; name each peer once")
        return peers

    @field_validator("webhooks")
    @classmethod
    def _each_webhook_by_its_name(cls, webhooks: list[Webhook], info: ValidationInfo) -> list[Webhook]:
        taken = {peer.name for peer in info.data.get("alertmanagers", [])}
        for webhook in webhooks:
            if webhook.shown_name in taken:
                raise ValueError(f"{webhook.shown_name} is the name of two peers; give each webhook a name of its own")
            taken.add(webhook.shown_name)
        return webhooks


class ConfigError(Exception):
    """The configuration cannot be used; ``problems`` are complete sentences, each with file, line and key."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration with all that it names."""

    config: Config
    rules: RuleSet
    trees: Trees


def load(path: Path, environment: Mapping[str, str]) -> Loaded:
    """Read a configuration file with its rules and trees; raises ConfigError with every fault of all of them."""
    try:
        file = read_yaml(path, environment)
    except YamlFileError as error:
        raise ConfigError(error.problems) from error
    return build(file.data, path.parent, file)


def build(data: Any, folder: Path, file: YamlFile | None = None) -> Loaded:
    """Check plain data; relative paths of rules and trees start at ``folder``. Raises ConfigError."""
    config = _validated(data, folder, file)
    problems = _missing_files(config, folder, file)
    found_trees = _trees(config, folder, problems)
    rules = _rules(config, folder, problems, found_trees)
    problems += _unknown_metrics(config, file)
    if problems or found_trees is None or rules is None:
        raise ConfigError([file.masked(p) for p in problems] if file is not None else problems)
    return Loaded(config, rules, found_trees)


def _validated(data: Any, folder: Path, file: YamlFile | None) -> Config:
    if not isinstance(data, dict):
        name = file.name if file is not None else "the configuration"
        raise ConfigError(
            [f"{name}: is empty or no mapping; the smallest configuration has clusters: with bootstrap_servers"]
        )
    try:
        return Config.model_validate(data, context={FOLDER: folder})
    except ValidationError as error:
        # Not "from error": it quotes what it was given, which may be a secret.
        told = [_sentence(e, file) for e in error.errors()]
    raise ConfigError(told)


# --- faults in words


def _sentence(error: ErrorDetails, file: YamlFile | None) -> str:
    path: KeyPath = tuple(part for part in error["loc"] if part != "[key]")
    where = _where(path, file)
    told = f"{where}: {_reason(error, path)}" if where else _reason(error, path)
    return file.masked(told) if file is not None else told


_WANTED: Final[Mapping[str, str]] = {
    "dict_type": "must be a mapping of keys and values",
    "model_type": "must be a mapping of keys and values",
    "list_type": "must be a list: [a, b], or one after a dash on each line",
    "string_type": "must be text; quote it",
    "bool_type": "must be true or false",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "too_short": "must not be empty",
    "string_too_short": "must not be empty",
}
"""Kinds of faults of pydantic in words of the file."""


def _reason(error: ErrorDetails, path: KeyPath) -> str:
    kind, given = error["type"], error.get("input")
    if kind == "extra_forbidden":
        return _unknown_key(path)
    if kind == "missing":
        return "is missing; it has no default"
    if kind == "value_error":
        return str(error.get("ctx", {}).get("error", error["msg"]))
    wanted = _WANTED.get(kind) or error["msg"].replace("Input should be", "must be", 1).replace("True", "true")
    if given is None:
        return f"{wanted}; nothing stands there"
    if isinstance(given, dict | list) or _secret(path):
        return wanted
    return f"{wanted}, not {str(given).lower() if isinstance(given, bool) else repr(given)}"


def _secret(path: KeyPath) -> bool:
    """Whether the value at a path is not to be told."""
    return _at(path) is SecretStr


def _unknown_key(path: KeyPath) -> str:
    known = sorted(_keys_at(path[:-1]))
    near = difflib.get_close_matches(str(path[-1]), known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(known)}"
    return f"there is no such key; {hint}"


def _keys_at(path: KeyPath) -> Iterator[str]:
    """The keys of the section at a path."""
    model = _at(path)
    if isinstance(model, type) and issubclass(model, BaseModel):
        yield from (field.alias or name for name, field in model.model_fields.items())


def _at(path: KeyPath) -> Any:
    """What may stand at a path; None where nothing may."""
    found: Any = Config
    for part in path:
        found = _below(found, part)
    return found


def _below(annotation: Any, part: str | int) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        field = next((f for name, f in annotation.model_fields.items() if part in (name, f.alias)), None)
        return _unwrapped(field.annotation) if field is not None else None
    arguments = [argument for argument in get_args(annotation) if argument is not ...]
    return _unwrapped(arguments[-1]) if arguments else None


def _unwrapped(annotation: Any) -> Any:
    """X of Annotated[X, …] and of X | None."""
    arguments = [a for a in get_args(annotation) if a is not type(None)]
    if hasattr(annotation, "__metadata__"):
        return _unwrapped(arguments[0])
    if type(None) in get_args(annotation) and len(arguments) == 1:
        return _unwrapped(arguments[0])
    return annotation


# --- what it names


def _missing_files(config: Config, folder: Path, file: YamlFile | None) -> list[str]:
    named = {"rules": config.rules.files, "trees": config.trees.files}
    missing = [
        ((section, "files", i), name)
        for section, names in named.items()
        for i, name in enumerate(names)
        if not (folder / name).exists()
    ]
    return [
        f"{_where(path, file)}: there is no {name}; name a file or folder, absolute or from the configuration file's folder"
        for path, name in missing
    ]


def _where(path: KeyPath, file: YamlFile | None) -> str:
    return file.where(path) if file is not None else dotted(path)


def _trees(config: Config, folder: Path, problems: list[str]) -> Trees | None:
    paths = [trees.SHIPPED] if config.trees.shipped else []
    paths += [folder / name for name in config.trees.files if (folder / name).exists()]
    try:
        return trees.load(paths)
    except TreeError as error:
        problems += error.faults
    except OSError as error:
        problems.append(f"{error.filename}: cannot be read: {error.strerror}")
    return None


def _rules(config: Config, folder: Path, problems: list[str], known: Trees | None) -> RuleSet | None:
    shipped = sorted(SHIPPED_RULES.glob("*.yaml")) if config.rules.shipped else []
    own = [f for name in config.rules.files for f in _yaml_files(folder / name) if f.exists()]
    try:
        files = read_rule_files([*shipped, *own], shipped=shipped)
        return load_rules(files, complete(), trees=None if known is None else known.by_name.keys())
    except RuleError as error:
        problems += [str(fault) for fault in error.faults]
    return None


def _yaml_files(path: Path) -> list[Path]:
    return sorted([*path.glob("*.yaml"), *path.glob("*.yml")]) if path.is_dir() else [path]


def _unknown_metrics(config: Config, file: YamlFile | None) -> list[str]:
    known = complete()
    unknown = [name for name in config.history.keep if name not in known]
    where = {name: _where(("history", "keep", name), file) for name in unknown}
    near = {name: difflib.get_close_matches(name, known, n=1) for name in unknown}
    return [
        f"{where[n]}: there is no such metric"
        + (f"; did you mean {near[n][0]!r}?" if near[n] else "; see docs/metrics.md")
        for n in unknown
    ]
