"""Turns the page of a jmx_exporter agent back into beans: whose metric is it, under the names of Strimzi's rules and of the agent itself."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as plain_text

from exporter.jmx.catalogue import BeanSpec, Catalogue, Column, key_properties, unquoted
from exporter.jmx.errors import JmxBadAnswer
from exporter.jmx.transport import BeanRequest, BeanValues, Plan, Value

OPEN_METRICS = "application/openmetrics-text"

OLD_NAMES = {
    "jvm_memory_bytes_used": "jvm_memory_used_bytes",
    "jvm_memory_bytes_committed": "jvm_memory_committed_bytes",
    "jvm_memory_bytes_max": "jvm_memory_max_bytes",
    "jvm_memory_pool_bytes_used": "jvm_memory_pool_used_bytes",
    "jvm_memory_pool_bytes_committed": "jvm_memory_pool_committed_bytes",
    "jvm_memory_pool_bytes_max": "jvm_memory_pool_max_bytes",
    "jvm_classes_loaded": "jvm_classes_currently_loaded",
}
"""What the agent called its own metrics before 1.0, and what it calls them since."""

DROPPED_SUFFIXES = ("_info", "_total")
"""Agents since 1.0 take these off the names of gauges, since OpenMetrics has them reserved."""

SAME_NAME = "_objectname"
"""The label by which agents tell beans apart that their rules give one name."""

LAST_MINUTE = "_oneminuterate"
"""Strimzi's rules give a meter in percent as its mean since the start, under the name that here means the last minute. The mean hides a busy hour, so only what
carries this suffix is taken for the last minute."""

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_UNQUOTED = re.compile(r"[\w%. \t-]*")


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a sample belongs: a column of a bean or pattern. ``keys``: key of the ObjectName -> the names that its label may have; ``unnamed`` keys may have one."""

    spec: BeanSpec
    column: Column
    keys: Mapping[str, tuple[str, ...]]
    unnamed: tuple[str, ...]

    def bean(self, labels: Mapping[str, str]) -> str | None:
        """The bean that the labels mean, None where they mean another one of that name (one per topic, say)."""
        left = {name: value for name, value in labels.items() if name != SAME_NAME}
        values: dict[str, str] = {}
        for key, names in self.keys.items():
            found = next((left.pop(name) for name in names if name in left), None)
            if found is None:
                return None
            values[key] = unquoted(found)
        values |= {key: left.pop(key) for key in self.unnamed if key in left}
        if any(left.pop(name, None) != value for name, value in self.column.labels.items()):
            return None
        if self.column.state is not None:
            left.pop(self.column.state, None)
        return None if left else _named(self.spec.request, values)


def _named(request: BeanRequest, values: Mapping[str, str]) -> str | None:
    wanted = key_properties(request.bean)
    if any(wanted[key] not in ("*", value) for key, value in values.items()):
        return None
    if not request.is_pattern:
        return request.bean
    domain = request.bean.partition(":")[0]
    keys = {**wanted, **values}
    return f"{domain}:{','.join(f'{k}={_quoted(v)}' for k, v in sorted(keys.items()))}"


def _quoted(value: str) -> str:
    """As Kafka writes a value in an ObjectName (org.apache.kafka.common.utils.Sanitizer, ObjectName.quote)."""
    if _UNQUOTED.fullmatch(value) or value == "*":
        return value
    escaped = re.sub(r'([\\"*?])', r"\\\1", value).replace("\n", r"\n")
    return f'"{escaped}"'


@dataclass(slots=True)
class PageReader:
    """Knows the metric names of a catalogue and finds them again on pages."""

    catalogue: Catalogue
    _places: dict[str, list[_Place]] = field(init=False)

    def __post_init__(self) -> None:
        self._places = {}
        for spec in self.catalogue.specs:
            for column in spec.columns:
                self._places.setdefault(page_name(spec, column), []).append(_place(spec, column))
        for old, new in OLD_NAMES.items():
            self._places.setdefault(old, self._places[new])
        for name in list(self._places):
            for suffix in DROPPED_SUFFIXES:
                if name.endswith(suffix):
                    self._places.setdefault(name.removesuffix(suffix), self._places[name])

    def beans(self, page: str, content_type: str, plan: Plan) -> tuple[BeanValues, ...]:
        """The beans of the plan that the page tells of, in the plan's order. Raises JmxBadAnswer for a page that is none."""
        wanted = {request.bean for request in plan.beans}
        found: dict[str, dict[str, list[Value]]] = {}
        for name, labels, value in self._samples(page, content_type):
            for place in self._places[name]:
                request = place.spec.request
                bean = place.bean(labels) if request.bean in wanted else None
                if bean is not None:
                    empty: list[Value] = [None] * sum(a.width for a in request.attributes)
                    row = found.setdefault(request.bean, {}).setdefault(bean, empty)
                    row[place.column.index] = _value(place.column, labels, value, row[place.column.index])
        return tuple(
            BeanValues(request.bean, bean, tuple(values))
            for request in plan.beans
            for bean, values in sorted(found.get(request.bean, {}).items())
        )

    def _samples(self, page: str, content_type: str) -> Iterator[tuple[str, Mapping[str, str], float]]:
        """Only lines of known names are parsed: a broker's page may have a hundred thousand others, one per topic and partition."""
        known = [line for line in page.splitlines() if self._known(line)]
        is_open = content_type.startswith(OPEN_METRICS)
        if is_open:
            # Without the lines that say which names are one family, these must not take turns.
            known = [*sorted(known, key=_name), "# EOF"]
        text = "".join(f"{line}\n" for line in known)
        try:
            families: Iterable[Metric] = open_metrics(text) if is_open else plain_text(text)  # type: ignore[no-untyped-call]
            for family in families:
                for sample in family.samples:
                    yield sample.name, sample.labels, sample.value
        except (ValueError, KeyError, IndexError) as error:
            raise JmxBadAnswer(f"the page is not understood: {error}") from error

    def _known(self, line: str) -> bool:
        return _name(line) in self._places and 'topic="' not in line


def _name(line: str) -> str:
    """The metric name with which a line begins; empty where it begins with none."""
    name = _NAME.match(line)
    return name[0] if name is not None else ""


def page_name(spec: BeanSpec, column: Column) -> str:
    """The name under which an agent with Strimzi's rules shows a column."""
    name = column.family.name
    position = 0
    for attribute in spec.request.attributes:
        if position == column.index and attribute.name == "OneMinuteRate":
            return name + LAST_MINUTE
        position += attribute.width
    return name


def _place(spec: BeanSpec, column: Column) -> _Place:
    # Rules that name no label for a key give it under the key's own name; a dash is none in a label.
    keys = {key: (label, key.replace("-", "_")) for key, label in spec.labels.items()}
    unnamed = tuple(k for k, v in key_properties(spec.request.bean).items() if v == "*" and k not in keys)
    return _Place(spec, column, keys, unnamed)


def _value(column: Column, labels: Mapping[str, str], value: float, before: Value) -> Value:
    """The attribute's value; of a word's label sets the one that is 1 counts."""
    if column.state is None:
        return value / column.scale
    return labels.get(column.state) if value == 1 else before
