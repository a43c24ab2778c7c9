"""The rooms of the house import one way only, and each library is imported in the room it belongs to."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("demo", "exporter", "alerts", "operations", "klaxon")
OUTSIDE = ("dashboards", "tests")
"""They may import anything, and nothing imports them."""

LAYERS: dict[str, int] = {
    # exporter: facts <- kafka, jmx <- collectors, derive <- snapshot <- metrics, history <- runner
    "exporter": 0,
    "exporter.blocks": 0,
    "exporter.series": 0,
    "exporter.label_table": 0,
    "exporter.address": 0,
    "exporter.files": 0,
    "exporter.memo": 0,
    "exporter.quiet_log": 0,
    "exporter.reading": 1,
    "exporter.facts": 1,
    "exporter.kafka": 2,
    "exporter.jmx": 2,
    "exporter.collectors": 3,
    "exporter.derive": 4,
    "exporter.snapshot": 5,
    "exporter.metrics": 6,
    "exporter.history": 6,
    "exporter.config": 7,
    "exporter.runner": 7,
    # alerts: promql <- engine <- diagnosis <- notify, book
    "alerts": 10,
    "alerts.model": 10,
    "alerts.codec": 11,
    "alerts.promql": 11,
    "alerts.engine": 12,
    "alerts.diagnosis": 13,
    "alerts.book": 14,
    "alerts.notify": 14,
    "operations": 20,
    "klaxon": 30,
}
ABOVE_ITS_LAYER = {
    # (importer, imported): why it may
}
LIBRARIES = {
    "kafka": ("exporter.kafka", "demo"),
    "confluent_kafka": ("exporter.kafka", "demo"),
    "jpype": ("exporter.jmx",),
    "jmxquery": ("exporter.jmx",),
    "starlette": ("klaxon.web",),
    "uvicorn": ("klaxon.web",),
    "promql_parser": ("alerts.promql",),
    "apscheduler": ("exporter.runner", "klaxon"),
    "sqlite3": ("alerts.book",),
    "dns": ("alerts.notify",),
}


def modules(rooms: Iterable[str] = ROOMS) -> Iterator[tuple[str, Path]]:
    for room in rooms:
        for path in sorted((ROOT / room).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}:{node.lineno} uses a relative import; write the whole name"
            base = node.module or ""
            yield base
            yield from (
                f"{base}.{alias.name}"
                for alias in node.names
                if (ROOT / base.replace(".", "/") / f"{alias.name}.py").exists()
            )


def layer(module: str) -> int:
    parts = module.split(".")
    for size in range(len(parts), 0, -1):
        known = LAYERS.get(".".join(parts[:size]))
        if known is not None and (size > 1 or len(parts) == 1 or parts[0] in ("klaxon", "operations")):
            return known
    raise AssertionError(f"{module} has no layer: name it in tests/test_imports.py")


def inside(module: str, rooms: tuple[str, ...]) -> bool:
    return any(module == room or module.startswith(room + ".") for room in rooms)


@pytest.mark.parametrize(("module", "path"), [pytest.param(m, p, id=m) for m, p in modules()])
def test_imports_point_one_way(module: str, path: Path) -> None:
    for name in imports(path):
        room = name.split(".")[0]
        if room in LIBRARIES:
            assert inside(module, LIBRARIES[room]), (
                f"{module} imports {name}; that library belongs to {LIBRARIES[room]}"
            )
        assert room not in OUTSIDE, f"{module} imports {name}: nothing imports these"
        if room not in ROOMS:
            continue
        if module.split(".")[0] == "demo":
            assert room == "demo", f"{module} imports {name}: demo is a leaf"
        elif room == "demo":
            assert inside(module, ("klaxon.demo", "klaxon.cli")), (
                f"{module} imports {name}: only klaxon's demo command may"
            )
        elif (module, name) not in ABOVE_ITS_LAYER:
            assert layer(name) <= layer(module), f"{module} imports {name}, which lies above it"


def test_every_module_opens_with_a_sentence() -> None:
    for module, path in modules((*ROOMS, "dashboards")):
        text = ast.get_docstring(ast.parse(path.read_text()))
        assert text, f"{module} has no opening sentence"
        first = text.split("\n\n")[0].rstrip()
        assert first.endswith("."), f"{module}: the opening paragraph is a whole sentence"
