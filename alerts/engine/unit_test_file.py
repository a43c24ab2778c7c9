"""Unit-test files of rules in promtool's format, read into values; every fault named with file and line."""

from __future__ import annotations

import glob
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

from alerts.engine.durations import parse_duration
from alerts.engine.series_notation import NotationError, read_metric, read_values
from alerts.engine.yaml_nodes import Mapping as MappingNode
from alerts.engine.yaml_nodes import Node, Scalar, YamlFault, is_empty, items, keys, read
from exporter.series import Labels

DEFAULT_INTERVAL: Final = 60.0

_FILE_KEYS = ("rule_files", "evaluation_interval", "group_eval_order", "tests", "fuzzy_compare")
_TEST_KEYS = (
    "name", "interval", "input_series", "alert_rule_test", "promql_expr_test", "external_labels", "external_url", "start_timestamp",
)  # fmt: skip
_FLOAT = re.compile(
    r"[-+]?(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", re.ASCII
)


class UnitTestError(Exception):
    """A file that cannot be used; ``faults`` are sentences with file and line."""

    def __init__(self, faults: Collection[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = tuple(faults)


@dataclass(frozen=True, slots=True)
class InputSeries:
    """One value for each interval; None where there is no sample."""

    labels: Labels
    values: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class ExpectedAlert:
    labels: Mapping[str, str]
    annotations: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class AlertCase:
    """Which alerts of a rule fire at a time, seconds after the start."""

    at: float
    alertname: str
    expected: tuple[ExpectedAlert, ...]
    line: int


@dataclass(frozen=True, slots=True)
class QueryCase:
    """What an expression gives at a time, seconds after the start."""

    at: float
    expr: str
    expected: tuple[tuple[Labels, float], ...]
    line: int


@dataclass(frozen=True, slots=True)
class UnitTest:
    """``interval`` is that of the input series; ``start`` Unix seconds."""

    name: str
    line: int
    interval: float
    series: tuple[InputSeries, ...]
    alerts: tuple[AlertCase, ...]
    queries: tuple[QueryCase, ...]
    external_labels: Mapping[str, str]
    external_url: str
    start: float

    @property
    def seconds(self) -> float:
        """How long it runs."""
        return max([case.at for case in self.alerts] + [case.at for case in self.queries], default=0.0)


@dataclass(frozen=True, slots=True)
class UnitTestFile:
    """``missing``: patterns of ``rule_files`` that no file matches. ``fuzzy``: neighbouring floats count as equal."""

    path: Path
    rule_files: tuple[Path, ...]
    missing: tuple[str, ...]
    interval: float
    order: tuple[str, ...]
    tests: tuple[UnitTest, ...]
    fuzzy: bool


def read_unit_tests(path: Path) -> UnitTestFile:
    """Raises UnitTestError with every fault."""
    try:
        root = read(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UnitTestError([f"{path}: cannot be read: {error.strerror}"]) from error
    except UnicodeDecodeError as error:
        raise UnitTestError([f"{path}: is not UTF-8 text (byte {error.start})"]) from error
    except YamlFault as fault:
        raise UnitTestError([f"{path}:{fault.line or 1}: {fault.reason}"]) from fault
    reader = _Reader(path)
    found = reader.file(root)
    if reader.faults:
        raise UnitTestError(reader.faults)
    return found


@dataclass(slots=True)
class _Reader:
    path: Path
    faults: list[str] = field(default_factory=list)

    def tell(self, line: int, reason: str) -> None:
        self.faults.append(f"{self.path}:{line}: {reason}")

    def fault(self, node: Node | None, reason: str) -> None:
        self.tell(node.line if node is not None else 1, reason)

    # --- the parts of a file

    def file(self, root: Node | None) -> UnitTestFile:
        entries = self.keys(root, _FILE_KEYS, "a unit-test file")
        patterns = [text for node in self.list(entries, "rule_files") if (text := self.text(node)) is not None]
        found = {p: sorted(Path(f) for f in glob.glob(str(self.path.parent / p))) for p in patterns}  # noqa: PTH207 - they may be absolute
        interval = self.duration(entries, "evaluation_interval") or DEFAULT_INTERVAL
        order = tuple(self.text(node) or "" for node in self.list(entries, "group_eval_order"))
        for name in {name for name in order if order.count(name) > 1}:
            self.fault(entries["group_eval_order"], f"group_eval_order: the group {name!r} stands twice")
        tests = tuple(self.test(node, i, interval) for i, node in enumerate(self.list(entries, "tests")))
        fuzzy = self.flag(entries, "fuzzy_compare")
        files = tuple(file for matched in found.values() for file in matched)
        missing = tuple(p for p, matched in found.items() if not matched)
        return UnitTestFile(self.path, files, missing, interval, order, tests, fuzzy)

    def test(self, node: Node, number: int, interval: float) -> UnitTest:
        entries = self.keys(node, _TEST_KEYS, "a test")
        return UnitTest(
            self.text(entries.get("name")) or f"unnamed#{number}",
            node.line,
            self.duration(entries, "interval") or interval,
            tuple(one for s in self.list(entries, "input_series") if (one := self.series(s)) is not None),
            tuple(self.alert_case(case) for case in self.list(entries, "alert_rule_test")),
            tuple(self.query_case(case) for case in self.list(entries, "promql_expr_test")),
            self.texts(entries, "external_labels"),
            self.text(entries.get("external_url")) or "",
            self.start(entries.get("start_timestamp")),
        )

    def series(self, node: Node) -> InputSeries | None:
        entries = self.keys(node, ("series", "values"), "an input series")
        try:
            labels = read_metric(self.text(entries.get("series")) or "")
            return InputSeries(labels, tuple(read_values(self.text(entries.get("values")) or "")))
        except NotationError as error:
            self.fault(node, str(error))
            return None

    def alert_case(self, node: Node) -> AlertCase:
        entries = self.keys(node, ("eval_time", "alertname", "exp_alerts"), "an alert_rule_test")
        name = self.text(entries.get("alertname")) or ""
        if not name:
            self.fault(node, "an alert_rule_test needs alertname: …")
        expected = tuple(self.expected(alert) for alert in self.list(entries, "exp_alerts"))
        return AlertCase(self.duration(entries, "eval_time"), name, expected, node.line)

    def expected(self, node: Node) -> ExpectedAlert:
        entries = self.keys(node, ("exp_labels", "exp_annotations"), "an expected alert")
        return ExpectedAlert(self.texts(entries, "exp_labels"), self.texts(entries, "exp_annotations"))

    def query_case(self, node: Node) -> QueryCase:
        entries = self.keys(node, ("expr", "eval_time", "exp_samples"), "a promql_expr_test")
        samples = tuple(self.sample(one) for one in self.list(entries, "exp_samples"))
        return QueryCase(self.duration(entries, "eval_time"), self.text(entries.get("expr")) or "", samples, node.line)

    def sample(self, node: Node) -> tuple[Labels, float]:
        entries = self.keys(node, ("labels", "value", "histogram"), "an expected sample")
        if "histogram" in entries:
            self.fault(entries["histogram"], "native histograms are not supported")
        labels = Labels.of()
        try:
            labels = read_metric(self.text(entries.get("labels")) or "")
        except NotationError as error:
            self.fault(node, str(error))
        return labels, self.number(entries.get("value"))

    # --- values

    def keys(self, node: Node | None, allowed: Collection[str], what: str) -> Mapping[str, Node]:
        return {} if node is None or is_empty(node) else keys(node, allowed, what, self.tell)

    def list(self, entries: Mapping[str, Node], key: str) -> list[Node]:
        return items(entries.get(key), key, self.tell)

    def text(self, node: Node | None) -> str | None:
        if node is None or isinstance(node, Scalar):
            return None if node is None else node.text
        self.fault(node, "must be a text, not a list or mapping")
        return None

    def texts(self, entries: Mapping[str, Node], key: str) -> dict[str, str]:
        node = entries.get(key)
        if node is None or is_empty(node):
            return {}
        if not isinstance(node, MappingNode):
            self.fault(node, f"{key} must be a mapping of names to texts")
            return {}
        return {name: self.text(value) or "" for name, value in node.entries.items()}

    def duration(self, entries: Mapping[str, Node], key: str) -> float:
        text = self.text(entries.get(key))
        if text is None:
            return 0.0
        try:
            return parse_duration(text)
        except ValueError as error:
            self.fault(entries[key], f"{key}: {error}")
            return 0.0

    def number(self, node: Node | None) -> float:
        text = self.text(node)
        if text is None:
            return 0.0
        if not _FLOAT.fullmatch(text):
            self.fault(node, f"value: {text!r} is not a number; infinities are .inf and -.inf, not a number is .nan")
            return 0.0
        return float(re.sub(r"(?i)\.(?=inf|nan)", "", text))

    def flag(self, entries: Mapping[str, Node], key: str) -> bool:
        text = self.text(entries.get(key))
        if text is not None and text.lower() not in ("true", "false"):
            self.fault(entries[key], f"{key} must be true or false")
        return text is not None and text.lower() == "true"

    def start(self, node: Node | None) -> float:
        text = self.text(node)
        if text is None:
            return 0.0
        try:
            return float(text)
        except ValueError:
            pass
        try:
            return datetime.fromisoformat(text).timestamp()
        except ValueError:
            self.fault(node, f"start_timestamp: {text!r} is neither a time like 2026-01-02T15:04:05Z nor Unix seconds")
            return 0.0
