"""Rule files: standard Prometheus YAML read into typed rules, every fault of every file found at once and named with file, group, rule and line."""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from alerts.engine.durations import parse_duration
from alerts.engine.names import Names
from alerts.engine.needs import Need, Recording, needs, retention
from alerts.engine.template import Template, TemplateError, read_template
from alerts.engine.yaml_nodes import Mapping as MappingNode
from alerts.engine.yaml_nodes import Node, Scalar, YamlFault, is_empty, items, keys, read
from alerts.model import Severity
from alerts.promql.errors import PromqlError
from alerts.promql.parse import parse
from alerts.promql.questions import rests_on_absence, selectors, variables
from alerts.promql.syntax import Expr, ValueType, value_type
from exporter.metrics.catalogue import MetricRow
from exporter.series import LABEL_NAME, METRIC_NAME

DEFAULT_INTERVAL: Final = 15.0
NO_TREE: Final = "none"
"""The label ``tree`` of a rule that no tree explains yet."""

_METRIC = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*", re.ASCII)
_GROUP_KEYS = ("name", "interval", "query_offset", "limit", "labels", "rules")
_ALERT_KEYS = ("alert", "expr", "for", "keep_firing_for", "labels", "annotations")
_RECORD_KEYS = ("record", "expr", "labels")


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong in a rule file; ``group`` and ``rule`` are "" where it is outside of one."""

    file: str
    line: int
    group: str
    rule: str
    reason: str

    def __str__(self) -> str:
        inside = "".join(f", {word} {name!r}" for word, name in (("group", self.group), ("rule", self.rule)) if name)
        return f"{self.file}:{self.line}{inside}: {self.reason}"


class RuleError(Exception):
    """Rule files that cannot be used; ``faults`` are all of all files."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(map(str, self.faults)))


@dataclass(frozen=True, slots=True)
class AlertingRule:
    """``for_`` and ``keep_firing_for`` in seconds. ``key`` names the rule over reloads and restarts: file, group, name and labels."""

    key: str
    name: str
    text: str
    expr: Expr
    for_: float
    keep_firing_for: float
    labels: tuple[tuple[str, Template], ...]
    annotations: tuple[tuple[str, Template], ...]
    file: str
    line: int
    needs: tuple[Need, ...] = ()
    absence: bool = False
    """Whether its expression can be true because series are missing, through recorded series too."""

    @property
    def severity(self) -> str:
        return next((t.text for name, t in self.labels if name == "severity"), Severity.WARNING.value)


@dataclass(frozen=True, slots=True)
class RecordingRule:
    key: str
    name: str
    text: str
    expr: Expr
    labels: tuple[tuple[str, str], ...]
    file: str
    line: int


Rule = AlertingRule | RecordingRule


@dataclass(frozen=True, slots=True)
class RuleGroup:
    """Rules that are evaluated one after the other; ``interval`` and ``query_offset`` in seconds, ``limit`` 0 for none.

    ``phase``: how many seconds after a whole interval since 1970 it is evaluated.
    """

    key: str
    name: str
    file: str
    interval: float
    limit: int
    query_offset: float
    rules: tuple[Rule, ...]
    phase: float = 0.0


@dataclass(frozen=True, slots=True)
class RuleSet:
    """All rules of all files."""

    groups: tuple[RuleGroup, ...] = ()

    @property
    def alerting(self) -> Iterator[AlertingRule]:
        return (rule for group in self.groups for rule in group.rules if isinstance(rule, AlertingRule))

    @property
    def recording(self) -> Iterator[RecordingRule]:
        return (rule for group in self.groups for rule in group.rules if isinstance(rule, RecordingRule))

    def history_requirements(self) -> dict[str, float]:
        """Seconds that History must keep of each metric for these rules, the queries of their templates included."""
        exprs = [rule.expr for group in self.groups for rule in group.rules]
        for rule in self.alerting:
            exprs += [query for _, template in (*rule.labels, *rule.annotations) for query in template.queries]
        kept = retention(exprs)
        later = max((group.query_offset for group in self.groups), default=0.0)
        return {metric: seconds + later for metric, seconds in kept.items()}


def phase(file: str, group: str, interval: float) -> float:
    """A group's place between two whole intervals, in seconds: the same as long as nobody renames file or group, and different from most others'."""
    whole = max(1, math.floor(interval))
    return float(zlib.crc32(f"{file}\xff{group}".encode()) % whole)


@dataclass(frozen=True, slots=True)
class RuleFile:
    """One file's text. ``shipped`` files must give severity, tree, problem, subject and summary; a user's may leave them out."""

    name: str
    text: str
    shipped: bool = False


def read_rule_files(paths: Iterable[Path], *, shipped: Collection[Path] = ()) -> tuple[RuleFile, ...]:
    """Reads files from disk; raises RuleError for those that cannot be read."""
    files, faults = [], []
    for path in paths:
        try:
            files.append(RuleFile(str(path), path.read_text(encoding="utf-8"), path in shipped))
        except OSError as error:
            faults.append(Fault(str(path), 1, "", "", f"cannot be read: {error.strerror}"))
        except UnicodeDecodeError as error:
            faults.append(Fault(str(path), 1, "", "", f"is not UTF-8 text (byte {error.start})"))
    if faults:
        raise RuleError(faults)
    return tuple(files)


def load_rules(
    files: Iterable[RuleFile],
    catalogue: Mapping[str, MetricRow] | None,
    *,
    default_interval: float = DEFAULT_INTERVAL,
    trees: Collection[str] | None = None,
) -> RuleSet:
    """Reads and checks all files together (a rule may use what another file records). ``trees``: the trees that exist, None if that is not checked here.

    Without a catalogue any metric may be named, as in a Prometheus, and nothing is known of what rules need.

    Raises RuleError with every fault.
    """
    loader = _Loader(default_interval, trees)
    groups = [group for file in files for group in loader.file(file)]
    done = tuple(groups if catalogue is None else _checked(loader, groups, catalogue))
    if loader.faults:
        raise RuleError(sorted(loader.faults, key=lambda fault: (fault.file, fault.line)))
    return RuleSet(done)


def _checked(loader: _Loader, groups: list[RuleGroup], catalogue: Mapping[str, MetricRow]) -> Iterator[RuleGroup]:
    """The groups with what follows from the catalogue."""
    recorded = _recorded(groups)
    names = Names(
        catalogue,
        {name: [(r.expr, [label for label, _ in r.labels]) for r in rules] for name, rules in _records(groups).items()},
    )
    for group in groups:
        rules = tuple(loader.checked(group, rule, names, catalogue, recorded) for rule in group.rules)
        yield replace(group, rules=rules)


def _records(groups: Iterable[RuleGroup]) -> dict[str, list[RecordingRule]]:
    found: dict[str, list[RecordingRule]] = {}
    for group in groups:
        for rule in group.rules:
            if isinstance(rule, RecordingRule):
                found.setdefault(rule.name, []).append(rule)
    return found


def _recorded(groups: Iterable[RuleGroup]) -> dict[str, Recording]:
    groups = list(groups)
    interval = {rule.key: group.interval for group in groups for rule in group.rules}
    return {
        name: Recording(tuple(r.expr for r in rules), max(interval[r.key] for r in rules))
        for name, rules in _records(groups).items()
    }


@dataclass(slots=True)
class _Place:
    """Where in which file, for messages."""

    loader: _Loader
    file: str
    group: str = ""
    rule: str = ""

    def fault(self, line: int, reason: str) -> None:
        self.loader.faults.append(Fault(self.file, line, self.group, self.rule, reason))


@dataclass(slots=True)
class _Loader:
    default_interval: float
    trees: Collection[str] | None
    faults: list[Fault] = field(default_factory=list)
    keys: dict[str, int] = field(default_factory=dict)
    shipped: dict[str, bool] = field(default_factory=dict)

    # --- files and groups

    def file(self, file: RuleFile) -> Iterator[RuleGroup]:
        place = _Place(self, file.name)
        self.shipped[file.name] = file.shipped
        try:
            root = read(file.text)
        except YamlFault as fault:
            place.fault(fault.line or 1, fault.reason)
            return
        if root is None:
            return
        entries = keys(root, ("groups",), "a rule file", place.fault)
        groups = items(entries.get("groups"), "groups", place.fault)
        seen: dict[str, int] = {}
        for node in groups:
            group = self._group(node, place.file, file.shipped)
            if group is None:
                continue
            if group.name in seen:
                place.fault(
                    node.line,
                    f"the group {group.name!r} stands twice (first in line {seen[group.name]}); give it another name",
                )
                continue
            seen[group.name] = node.line
            yield group

    def _group(self, node: Node, file: str, shipped: bool) -> RuleGroup | None:
        place = _Place(self, file)
        entries = keys(node, _GROUP_KEYS, "a group", place.fault)
        name = self._text(entries.get("name"), place, "name")
        if not name:
            place.fault(node.line, "the group has no name; add name: …")
            return None
        place.group = name
        interval = self._duration(entries, "interval", place, 0.0) or self.default_interval
        offset = self._duration(entries, "query_offset", place, 0.0)
        limit = self._limit(entries.get("limit"), place)
        labels = self._labels(entries.get("labels"), place, "labels")
        rules = [self._rule(rule, file, name, labels) for rule in items(entries.get("rules"), "rules", place.fault)]
        return RuleGroup(
            self._numbered(f"{Path(file).name};{name}"),
            name,
            file,
            interval,
            limit,
            offset,
            tuple(r for r in rules if r is not None),
            phase(Path(file).name, name, interval),
        )

    def _limit(self, node: Node | None, place: _Place) -> int:
        text = self._text(node, place, "limit")
        if text is None or node is None:
            return 0
        if not re.fullmatch(r"[0-9]+", text):
            place.fault(node.line, f"limit: {text!r} is not a whole number; 0 means no limit")
            return 0
        return int(text)

    # --- rules

    def _rule(self, node: Node, file: str, group: str, outer: Mapping[str, Scalar]) -> Rule | None:
        place = _Place(self, file, group)
        if not isinstance(node, MappingNode):
            place.fault(node.line, "a rule must be a mapping with alert: or record:")
            return None
        alert, record = (self._text(node.entries.get(key), place, key) for key in ("alert", "record"))
        place.rule = alert or record or ""
        if bool(alert) == bool(record):
            place.fault(node.line, "a rule needs either alert: or record:" + (", not both" if alert else ""))
            return None
        if alert:
            return self._alerting(node, alert, place, outer)
        return self._recording(node, record or "", place, outer)

    def _alerting(
        self, node: MappingNode, name: str, place: _Place, outer: Mapping[str, Scalar]
    ) -> AlertingRule | None:
        entries = keys(node, _ALERT_KEYS, "an alerting rule", place.fault)
        text, expr = self._expr(entries.get("expr"), node.line, place)
        labels = {**outer, **self._labels(entries.get("labels"), place, "labels")}
        annotations = self._labels(entries.get("annotations"), place, "annotations")
        self._wanted(labels, annotations, node.line, place)
        read_labels, read_annotations = self._templates(labels, place), self._templates(annotations, place)
        waits = self._duration(entries, "for", place, 0.0)
        keeps = self._duration(entries, "keep_firing_for", place, 0.0)
        if expr is None:
            return None
        key = self._key(place, (f"{label}={node.text}" for label, node in sorted(labels.items())))
        return AlertingRule(key, name, text, expr, waits, keeps, read_labels, read_annotations, place.file, node.line)

    def _recording(
        self, node: MappingNode, name: str, place: _Place, outer: Mapping[str, Scalar]
    ) -> RecordingRule | None:
        for key in ("for", "keep_firing_for", "annotations"):
            if key in node.entries:
                place.fault(node.lines[key], f"{key}: has no meaning in a recording rule; remove it")
        entries = keys(node, (*_RECORD_KEYS, "for", "keep_firing_for", "annotations"), "a recording rule", place.fault)
        if not _METRIC.fullmatch(name):
            place.fault(node.line, f"the recorded metric's name {name!r} must be a word of letters, digits, _ and :")
        text, expr = self._expr(entries.get("expr"), node.line, place)
        labels = {**outer, **self._labels(entries.get("labels"), place, "labels")}
        if expr is None:
            return None
        pairs = tuple((label, node.text or "") for label, node in labels.items())
        key = self._key(place, (f"{label}={value}" for label, value in sorted(pairs)))
        return RecordingRule(key, name, text, expr, pairs, place.file, node.line)

    def _key(self, place: _Place, labels: Iterable[str]) -> str:
        """A name that lasts as long as nobody renames the rule; a number tells rules apart that have all of it in common."""
        return self._numbered(";".join((Path(place.file).name, place.group, place.rule, ",".join(labels))))

    def _numbered(self, key: str) -> str:
        self.keys[key] = self.keys.get(key, 0) + 1
        return key if self.keys[key] == 1 else f"{key};{self.keys[key]}"

    def _expr(self, node: Node | None, line: int, place: _Place) -> tuple[str, Expr | None]:
        text = self._text(node, place, "expr")
        if node is not None and not isinstance(node, Scalar):
            return "", None
        if not text or node is None:
            place.fault(node.line if node else line, "the rule has no expr; add expr: …")
            return "", None
        try:
            expr = parse(text)
        except PromqlError as error:
            place.fault(node.line, f"expr: {error}")
            return text, None
        if value_type(expr) not in (ValueType.VECTOR, ValueType.SCALAR):
            place.fault(node.line, f"expr: is a {value_type(expr).value}; a rule needs an instant vector or a scalar")
            return text, None
        if names := variables(expr):
            place.fault(node.line, f"expr: ${min(names)} is a name of trees; write the value or leave the matcher out")
            return text, None
        return text, expr

    def _wanted(
        self, labels: Mapping[str, Scalar], annotations: Mapping[str, Scalar], line: int, place: _Place
    ) -> None:
        severity = labels.get("severity")
        if self.shipped[place.file] and severity is not None and severity.text not in {s.value for s in Severity}:
            place.fault(
                severity.line,
                f"labels: severity {severity.text!r} must be one of {', '.join(s.value for s in Severity)}",
            )
        tree = labels.get("tree")
        if tree is not None and self.trees is not None and tree.text not in (*self.trees, NO_TREE):
            place.fault(tree.line, f"labels: there is no tree {tree.text!r} (trees: {', '.join(sorted(self.trees))})")
        if not self.shipped[place.file]:
            return
        for key in ("severity", "tree", "problem", "subject"):
            if key not in labels and not (
                severity is not None and severity.text == Severity.NONE and key != "severity"
            ):
                place.fault(line, f"a shipped rule needs the label {key}")
        if "summary" not in annotations:
            place.fault(line, "a shipped rule needs the annotation summary")

    def _templates(self, texts: Mapping[str, Scalar], place: _Place) -> tuple[tuple[str, Template], ...]:
        read_ones = []
        for name, node in texts.items():
            try:
                read_ones.append((name, read_template(node.text or "")))
            except TemplateError as error:
                place.fault(node.line, f"{name}: {error}")
        return tuple(read_ones)

    # --- against the catalogue

    def checked(
        self,
        group: RuleGroup,
        rule: Rule,
        names: Names,
        catalogue: Mapping[str, MetricRow],
        recorded: Mapping[str, Recording],
    ) -> Rule:
        """The rule with what follows from the catalogue; faults for names that do not exist."""
        place = _Place(self, group.file, group.name, rule.name)
        found: list[str] = []
        labels = names.check(rule.expr, found)
        if isinstance(rule, RecordingRule):
            if rule.name in catalogue:
                found.append(
                    f"the recorded metric {rule.name!r} is one of Klaxon's own; give it a name like level:metric:operation"
                )
        else:
            for name, template in (*rule.labels, *rule.annotations):
                self._check_template(name, template, labels, rule, names, found)
        for reason in dict.fromkeys(found):
            place.fault(rule.line, reason)
        if isinstance(rule, RecordingRule) or found:
            return rule
        return replace(rule, needs=needs(rule.expr, catalogue, recorded), absence=_absence(rule.expr, recorded))

    def _check_template(
        self,
        name: str,
        template: Template,
        labels: Collection[str] | None,
        rule: AlertingRule,
        names: Names,
        found: list[str],
    ) -> None:
        for query in template.queries:
            below: list[str] = []
            names.check(query, below)
            found += [f"{name}: its query: {reason}" for reason in below]
        if template.unknown_queries:
            found.append(
                f"{name}: its query must be a string, or printf with a string, so that History keeps what it asks"
            )
        for label in template.labels:
            if labels is not None and label not in labels:
                found.append(
                    f"{name}: $labels.{label} is always empty, the expression's labels are {', '.join(sorted(labels)) or 'none'}"
                )

    # --- YAML

    def _text(self, node: Node | None, place: _Place, what: str) -> str | None:
        if node is None:
            return None
        if not isinstance(node, Scalar):
            place.fault(node.line, f"{what}: must be a text, not a list or mapping")
            return None
        return node.text

    def _duration(self, entries: Mapping[str, Node], key: str, place: _Place, default: float) -> float:
        node = entries.get(key)
        text = self._text(node, place, key)
        if node is None or text is None:
            return default
        try:
            return parse_duration(text)
        except ValueError as error:
            place.fault(node.line, f"{key}: {error}")
            return default

    def _labels(self, node: Node | None, place: _Place, what: str) -> dict[str, Scalar]:
        if node is None or is_empty(node):
            return {}
        if not isinstance(node, MappingNode):
            place.fault(node.line, f"{what} must be a mapping of names to texts")
            return {}
        for key, line in node.twice:
            place.fault(line, f"{what}: {key!r} stands twice; keep one of them")
        found: dict[str, Scalar] = {}
        for key, value in node.entries.items():
            if not LABEL_NAME.fullmatch(key) or (what == "labels" and key == METRIC_NAME):
                place.fault(node.lines[key], f"{what}: {key!r} is not a name; use letters, digits and _")
            elif not isinstance(value, Scalar):
                place.fault(node.lines[key], f"{what}: {key!r} must be a text; quote it if it begins with {{ or [")
            else:
                found[key] = value
        return found


def _absence(expr: Expr, recorded: Mapping[str, Recording], inside: frozenset[str] = frozenset()) -> bool:
    if rests_on_absence(expr):
        return True
    names = {s.name for s in selectors(expr) if s.name in recorded} - inside
    return any(_absence(e, recorded, inside | {n}) for n in names if n for e in recorded[n].exprs)
