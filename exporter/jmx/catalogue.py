"""The bean catalogue: which attribute of which bean becomes which metric, read from beans/ and checked row by row."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from exporter.facts.cluster import Role
from exporter.jmx.errors import CatalogueError
from exporter.jmx.transport import Attribute, BeanRequest, Kind, Plan

CATALOGUE_FOLDER = Path(__file__).with_name("beans")
DEFAULT_REFRESH_S = 60.0

QUANTILES = {"50thPercentile": "0.50", "99thPercentile": "0.99", "999thPercentile": "0.999"}
"""Percentile attributes of Kafka's histograms and jmx_exporter's spelling of them in the label ``quantile``."""


class MetricType(StrEnum):
    GAUGE = "gauge"
    COUNTER = "counter"


class Gate(StrEnum):
    """When a bean's values may be shown; see beans/README.md."""

    RUNNING = "running"
    CONTROLLER = "controller"
    NEVER = "never"


class Aggregate(StrEnum):
    """How a gauge of several nodes becomes one number; ``none`` forbids it."""

    MAX = "max"
    MIN = "min"
    ACTIVE_CONTROLLER = "active_controller"
    NONE = "none"


# --- the file's form ----------------------------------------------------------------------------------------------------------------------

_Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")]
_Label = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z][a-zA-Z0-9_]*$")]
_Key = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z][a-zA-Z0-9_-]*$")]
_Word = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
_Version = Annotated[str, StringConstraints(pattern=r"^\d+\.\d+$")]
_Help = Annotated[str, StringConstraints(min_length=10, pattern=r"\.$")]
_Bean = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z.]*:[A-Za-z]+=")]
_Unit = Literal["", "seconds", "milliseconds", "bytes", "ratio"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class _MetricEntry(_Strict):
    attribute: _Word
    item: _Word | None = None
    state: _Label | None = None
    name: _Name
    type: Annotated[MetricType, Field(strict=False)]
    unit: _Unit = ""
    scale: Annotated[float, Field(gt=0)] = 1.0
    aggregate: Annotated[Aggregate, Field(strict=False)] | None = None
    labels: dict[_Label, str] = {}
    help: _Help


class _SummaryEntry(_Strict):
    name: _Name
    unit: _Unit = ""
    aggregate: Annotated[Aggregate, Field(strict=False)]
    help: _Help


class _BeanEntry(_Strict):
    bean: _Bean
    each: Annotated[dict[_Key, list[str]], Field(max_length=1)] = {}
    role: Literal["broker", "controller", "any"]
    gate: Annotated[Gate, Field(strict=False)] | None = None
    optional: bool = False
    since: _Version | None = None
    until: _Version | None = None
    refresh: Annotated[float, Field(strict=False, gt=0)] = DEFAULT_REFRESH_S
    every: Annotated[float, Field(strict=False, ge=0)] = 0.0
    labels: dict[_Key, _Label] = {}
    metrics: list[_MetricEntry] = []
    summary: _SummaryEntry | None = None


class _File(_Strict):
    beans: Annotated[list[_BeanEntry], Field(min_length=1)]


# --- the typed rows -----------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Family:
    """One metric family of the page. ``labels`` begin with ``broker`` (the node that says so) and do not hold ``cluster``."""

    name: str
    help: str
    type: MetricType
    unit: str
    labels: tuple[str, ...]
    aggregate: Aggregate
    inherited: bool = True
    """Named by Kafka's beans, Strimzi's rules or jmx_exporter, not by us: promtool's naming advice does not apply."""


@dataclass(frozen=True, slots=True)
class Column:
    """One value of a bean that becomes a sample: ``index`` into the bean's values, and the constant labels of the series.

    With ``state`` the value is a word, which becomes the label of that name, and the sample is 1.
    """

    index: int
    family: Family
    scale: float
    labels: Mapping[str, str]
    state: str | None = None


@dataclass(frozen=True, slots=True)
class BeanSpec:
    """A named bean or pattern with what becomes of it. ``labels``: key of the ObjectName -> label."""

    request: BeanRequest
    columns: tuple[Column, ...]
    role: Role | None
    gate: Gate
    optional: bool
    since: tuple[int, int] | None
    until: tuple[int, int] | None
    labels: Mapping[str, str]

    def exists_in(self, version: tuple[int, int] | None) -> bool:
        """Whether that Kafka version has the bean; an unknown version may."""
        if version is None:
            return True
        return (self.since is None or version >= self.since) and (self.until is None or version <= self.until)

    def belongs_to(self, roles: frozenset[Role]) -> bool:
        """Whether a node with these roles has the bean; a node of unknown roles may."""
        return self.role is None or not roles or self.role in roles

    def label_rows(self, bean: str) -> Iterator[dict[str, str]]:
        """The labels of each column for one bean, ``broker`` and state labels apart."""
        keys = key_properties(bean) if self.labels else {}
        named = {label: keys.get(key, "") for key, label in self.labels.items()}
        for column in self.columns:
            yield {**named, **column.labels}


# Beans that tell what a node is: asked of every node, whatever is known of it.
BROKER_STATE = "kafka.server:type=KafkaServer,name=BrokerState"
ACTIVE_CONTROLLER = "kafka.controller:type=KafkaController,name=ActiveControllerCount"
_ALWAYS_ASKED = frozenset({BROKER_STATE, ACTIVE_CONTROLLER})

DERIVED_FAMILIES = (
    Family(
        "klaxon_jmx_beans_expected",
        "Beans of the catalogue that a node of this version and roles has.",
        MetricType.GAUGE,
        "",
        ("broker",),
        Aggregate.NONE,
        inherited=False,
    ),
    Family(
        "klaxon_jmx_beans_missing",
        "Beans of the catalogue that this node should have and that it did not give; most of them missing on a node that answers means that it ran out of memory.",
        MetricType.GAUGE,
        "",
        ("broker",),
        Aggregate.MAX,
        inherited=False,
    ),
    Family(
        "klaxon_jmx_broker_bean_lost",
        "1 if the node is a broker, runs for a while and does not have the bean of its broker any more: the process lives, the broker in it does not.",
        MetricType.GAUGE,
        "",
        ("broker",),
        Aggregate.MAX,
        inherited=False,
    ),
    Family(
        "klaxon_jmx_beans_untold",
        "Beans of the catalogue of which the page of the node's jmx_exporter has never told, since its rules leave them out: what they say is unknown. 0 with other transports.",
        MetricType.GAUGE,
        "",
        ("broker",),
        Aggregate.MAX,
        inherited=False,
    ),
)
"""What the answers as a whole say about a node."""


class Catalogue:
    """All rows. Plans are made once per version and roles, so that the same object stands for the same question."""

    def __init__(self, specs: Iterable[BeanSpec]) -> None:
        self.specs = tuple(specs)
        self.by_bean: Mapping[str, BeanSpec] = MappingProxyType({s.request.bean: s for s in self.specs})
        families = {c.family.name: c.family for s in self.specs for c in s.columns}
        self._families = MappingProxyType({**families, **{f.name: f for f in DERIVED_FAMILIES}})
        self._plans: dict[tuple[tuple[int, int] | None, frozenset[Role]], Plan] = {}

    def families(self) -> Mapping[str, Family]:
        """Every family by name, in the order of the file; the derived ones last."""
        return self._families

    def plan(self, version: str | None = None, roles: frozenset[Role] = frozenset()) -> Plan:
        """What to ask of a node; with unknown version (``4.3.1``) or roles everything that it might have."""
        key = (parse_version(version), roles)
        if key not in self._plans:
            wanted = [s for s in self.specs if s.exists_in(key[0])]
            self._plans[key] = Plan(
                tuple(s.request for s in wanted if s.belongs_to(roles) or s.request.bean in _ALWAYS_ASKED)
            )
        return self._plans[key]


def parse_version(version: str | None) -> tuple[int, int] | None:
    """``4.3.1`` or ``4.4.0-SNAPSHOT`` as (4, 3); None where it is unknown or of another form."""
    match = re.match(r"(\d+)\.(\d+)", version or "")
    return (int(match[1]), int(match[2])) if match else None


_PROPERTY = re.compile(r'([^=,]+)=("(?:\\.|[^"\\])*"|[^,]*)')


def key_properties(bean: str) -> dict[str, str]:
    """The key properties of an ObjectName, quoted values (ObjectName.quote) unquoted."""
    _, _, keys = bean.partition(":")
    return {key: unquoted(value) for key, value in _PROPERTY.findall(keys)}


def unquoted(value: str) -> str:
    """A value of an ObjectName without its quotes (ObjectName.unquote), if it has them."""
    if not value.startswith('"'):
        return value
    return re.sub(r"\\(.)", lambda m: "\n" if m[1] == "n" else m[1], value[1:-1])


# --- loading ------------------------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def shipped() -> Catalogue:
    """The catalogue that comes with Klaxon."""
    return load(CATALOGUE_FOLDER)


def families() -> tuple[Family, ...]:
    """Every JMX family, for the metric catalogue."""
    return tuple(shipped().families().values())


def load(folder: Path) -> Catalogue:
    """Read and check the catalogue's files, in the order of their names; CatalogueError lists every fault of a file with its row and key."""
    try:
        files = {path.name: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.yaml"))}
    except OSError as error:
        raise CatalogueError(folder.name, [str(error)]) from error
    specs = [spec for name, text in files.items() for spec in _rows(text, name)]
    if not specs:
        raise CatalogueError(folder.name, ["has no files, or no beans in them"])
    return _sound(specs, folder.name)


def parse(text: str, file: str) -> Catalogue:
    """A catalogue from YAML text; ``file`` is what errors call it."""
    return _sound(_rows(text, file), file)


def _sound(specs: list[BeanSpec], file: str) -> Catalogue:
    if faults := list(_common_faults(specs)):
        raise CatalogueError(file, faults)
    return Catalogue(specs)


def _rows(text: str, file: str) -> list[BeanSpec]:
    """The rows of a file, each sound by itself."""
    try:
        raw = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise CatalogueError(file, [f"not YAML: {error}"]) from error
    try:
        entries = _File.model_validate(raw).beans
    except ValidationError as error:
        raise CatalogueError(file, [_fault(raw, e["loc"], e["msg"]) for e in error.errors()]) from error
    faults: list[str] = []
    specs: list[BeanSpec] = []
    for index, entry in enumerate(entries):
        found = [f"beans[{index}] ({entry.bean}): {fault}" for fault in _entry_faults(entry)]
        faults += found
        if not found:
            specs += _specs(entry)
    if faults:
        raise CatalogueError(file, faults)
    return specs


def _fault(raw: Any, loc: tuple[int | str, ...], message: str) -> str:
    """``beans[3] (kafka.server:type=X) metrics[0].type: Input should be …``"""
    path, bean = "", ""
    for step in loc:
        path += f"[{step}]" if isinstance(step, int) else f".{step}" if path else str(step)
        raw = _child(raw, step)
        if isinstance(raw, dict) and "bean" in raw:
            bean = f" ({raw['bean']})"
    return f"{path or 'the file'}{bean}: {message}"


def _child(raw: Any, step: int | str) -> Any:
    try:
        return raw[step]
    except (KeyError, IndexError, TypeError):
        return None


def _entry_faults(entry: _BeanEntry) -> Iterator[str]:
    """What is wrong with one row beyond its form."""
    keys = key_properties(entry.bean)
    domain = entry.bean.partition(":")[0]
    if "*" in domain or "*" in keys or any("*" in v and v != "*" for v in keys.values()) or "?" in entry.bean:
        yield "bean: a pattern may only have key=*, for named keys"
    if {"topic", "partition"} & keys.keys():
        yield "bean: never a bean per topic or partition, there may be tens of thousands of them"
    if bool(entry.metrics) == (entry.summary is not None):
        yield "metrics: give either metrics or summary"
    for key in entry.each:
        if keys.get(key) != f"${key}":
            yield f"each.{key}: the bean must have {key}=${key}"
    unnamed = [k for k, v in keys.items() if v == "*" and k not in entry.labels and k != "id"]
    if unnamed:
        yield f"labels: {', '.join(unnamed)} varies from bean to bean and names no label"
    for key, label in entry.labels.items():
        if key not in keys:
            yield f"labels.{key}: the bean has no key {key}"
        if label in ("broker", "cluster", "quantile"):
            yield f"labels.{key}: {label} is taken, choose another name"
    if entry.since and entry.until and parse_version(entry.since) > parse_version(entry.until):  # type: ignore[operator]
        yield f"until: {entry.until} is before since {entry.since}"
    for index, metric in enumerate(entry.metrics):
        yield from (f"metrics[{index}].{fault}" for fault in _metric_faults(metric))
    if sum(1 for a in {m.attribute for m in entry.metrics if m.state}) > 1:
        yield "metrics: one state per bean at most"


def _metric_faults(metric: _MetricEntry) -> Iterator[str]:
    counter = metric.type is MetricType.COUNTER
    if counter and metric.aggregate is not None:
        yield "aggregate: a sum of counters falls when a node leaves and rate() reads a reset; leave it out"
    if not counter and metric.aggregate is None:
        yield "aggregate: a gauge needs one of max, min, active_controller, none"
    if metric.state and (metric.item or counter or metric.scale != 1.0):
        yield "state: a state is a gauge without item and scale"
    if metric.name.endswith("_total") and not counter:
        yield "type: a name that ends in _total is a counter"


def _specs(entry: _BeanEntry) -> Iterator[BeanSpec]:
    """The rows that an entry stands for: one, or one per value of ``each``."""
    beans = [entry.bean]
    for key, values in entry.each.items():
        beans = [entry.bean.replace(f"${key}", value) for value in values]
    metrics = _summary_metrics(entry.summary) if entry.summary else entry.metrics
    attributes = _attributes(metrics)
    columns = tuple(_column(entry, metric, attributes) for metric in metrics)
    for bean in beans:
        # Whether an optional bean is there is looked up as rarely as a pattern's names: to ask for an absent one costs an exception in the node each time.
        looked_up = entry.optional or "*" in key_properties(bean).values()
        yield BeanSpec(
            request=BeanRequest(bean, attributes, entry.refresh if looked_up else None, entry.every),
            columns=columns,
            role=None if entry.role == "any" else Role(entry.role),
            gate=entry.gate or (Gate.RUNNING if bean.startswith("kafka.") else Gate.NEVER),
            optional=entry.optional,
            since=parse_version(entry.since),
            until=parse_version(entry.until),
            labels=entry.labels,
        )


def _summary_metrics(summary: _SummaryEntry) -> list[_MetricEntry]:
    def metric(attribute: str, name: str, type_: MetricType, help_: str, **more: Any) -> _MetricEntry:
        aggregate = summary.aggregate if type_ is MetricType.GAUGE else None
        return _MetricEntry(attribute=attribute, name=name, type=type_, help=help_, aggregate=aggregate, **more)

    rows = [
        metric(a, summary.name, MetricType.GAUGE, summary.help, unit=summary.unit, labels={"quantile": q})
        for a, q in QUANTILES.items()
    ]
    mean = f"{summary.help.removesuffix('.')}: mean."
    count = f"{summary.help.removesuffix('.')}: how many."
    rows.append(metric("Mean", f"{summary.name}_mean", MetricType.GAUGE, mean, unit=summary.unit))
    rows.append(metric("Count", f"{summary.name}_count", MetricType.COUNTER, count))
    return rows


def _attributes(metrics: Iterable[_MetricEntry]) -> tuple[Attribute, ...]:
    """The attributes to ask for: each once, the text last."""
    wanted: dict[str, Attribute] = {}
    for metric in metrics:
        known = wanted.get(metric.attribute)
        if metric.item is not None:
            items = known.items if known else ()
            items = items if metric.item in items else (*items, metric.item)
            wanted[metric.attribute] = Attribute(metric.attribute, Kind.COMPOSITE, items)
        else:
            wanted[metric.attribute] = Attribute(metric.attribute, Kind.TEXT if metric.state else Kind.NUMBER)
    return tuple(sorted(wanted.values(), key=lambda a: a.kind is Kind.TEXT))


def _column(entry: _BeanEntry, metric: _MetricEntry, attributes: tuple[Attribute, ...]) -> Column:
    index = 0
    for attribute in attributes:
        if attribute.name == metric.attribute:
            index += attribute.items.index(metric.item) if metric.item is not None else 0
            break
        index += attribute.width
    labels = ("broker", *entry.labels.values(), *metric.labels, *((metric.state,) if metric.state else ()))
    family = Family(metric.name, metric.help, metric.type, metric.unit, labels, metric.aggregate or Aggregate.NONE)
    return Column(index, family, metric.scale, metric.labels, metric.state)


def _common_faults(specs: list[BeanSpec]) -> Iterator[str]:
    """What is wrong between rows: a bean twice, or one name that means two things."""
    names = sorted(s.request.bean for s in specs)
    for bean, same in groupby(names):
        if len(list(same)) > 1:
            yield f"bean {bean} stands twice"
    first: dict[str, tuple[Family, str]] = {}
    for spec in specs:
        for column in spec.columns:
            family, bean = first.setdefault(column.family.name, (column.family, spec.request.bean))
            if family != column.family:
                differing = [
                    f
                    for f in ("help", "type", "unit", "labels", "aggregate")
                    if getattr(family, f) != getattr(column.family, f)
                ]
                yield f"metric {family.name}: {', '.join(differing)} of {spec.request.bean} differ from {bean}"
    for derived in DERIVED_FAMILIES:
        if derived.name in first:
            yield f"metric {derived.name}: the name is taken"
