"""The catalogue's names are what promtool wants but for the inherited ones, and docs/metrics.md says what the catalogue says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from exporter.blocks import Block, LabelSets
from exporter.metrics.catalogue import MetricType, complete
from exporter.metrics.document import render_metrics_doc
from exporter.metrics.writer import Writer, header

ROOT = Path(__file__).parents[3]
PROMTOOL = os.environ.get("PROMTOOL") or shutil.which("promtool")


def test_docs_metrics_is_made_from_the_catalogue() -> None:
    said = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    assert said == render_metrics_doc(complete().values()), "run: python -m exporter.metrics.document > docs/metrics.md"


def test_the_page_about_metrics_names_every_family_with_its_labels() -> None:
    page = render_metrics_doc(complete().values())
    for row in complete().values():
        (line,) = re.findall(rf"^\| `{row.name}`.*$", page, re.MULTILINE)
        assert all(f"`{label}`" in line for label in row.labels)


@pytest.mark.parametrize("row", complete().values(), ids=lambda row: row.name)
def test_names_are_legal(row) -> None:  # type: ignore[no-untyped-def]
    assert re.fullmatch(r"[a-zA-Z_:][a-zA-Z0-9_:]*", row.name)
    assert all(re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]*", label) and not label.startswith("__") for label in row.labels)
    assert "cluster" not in row.labels and len(set(row.labels)) == len(row.labels)
    assert row.help.strip() == row.help != ""
    if row.type is MetricType.COUNTER and not row.inherited:
        assert row.name.endswith("_total")


def test_every_family_of_kafka_exporter_is_there_with_its_labels_and_type() -> None:
    golden = (Path(__file__).parent / "kafka_exporter.golden.txt").read_text().splitlines()[1:]
    assert len(golden) == 15
    for line in golden:
        name, kind, *labels = line.split()
        row = complete()[name]
        assert (row.type, row.labels, row.cluster, row.sparse) == (kind, tuple(labels), True, False), name


def test_what_belongs_to_kafka_exporter_or_to_zookeeper_alone_is_not_there() -> None:
    assert not {"kafka_exporter_build_info", "kafka_consumergroupzookeeper_lag_zookeeper"} & complete().keys()


@pytest.mark.prometheus
@pytest.mark.skipif(PROMTOOL is None, reason="no promtool: set PROMTOOL=")
def test_promtool_only_objects_to_inherited_names() -> None:
    writer, page = Writer(), b""
    for row in complete().values():
        block = Block(row.name, LabelSets(row.labels, [("x",) * len(row.labels)]), np.array([1]))
        page += header(row) + b"".join(writer.render(row, "c" if row.cluster else None, block))
    assert PROMTOOL is not None
    told = subprocess.run([PROMTOOL, "check", "metrics"], input=page, capture_output=True, check=False)
    said = (told.stdout + told.stderr).decode().splitlines()
    inherited = {row.name for row in complete().values() if row.inherited}
    assert [line for line in said if line.split()[0] not in inherited] == []
    assert len(said) > 0, "promtool was not asked"
