"""The tests on real brokers, once per kind of cluster: Kafka's versions, combined and separate controllers, plain and secured."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from demo import runtime
from tests.klaxon_process import ROOT
from tests.proof.report import Row

CONTROLLERS = {"combined": 0, "separate": 3}
SECURITY = {"plain": "PLAINTEXT", "SASL_SSL": "SASL_SSL/SCRAM-SHA-512"}
LIMIT_S = 3600.0


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of cluster."""

    version: str
    topology: str
    security: str

    @property
    def name(self) -> str:
        return f"{self.version} {self.topology} {self.security}"

    @property
    def environment(self) -> dict[str, str]:
        return {
            "KLAXON_TEST_KAFKA_VERSION": self.version,
            "KLAXON_TEST_CONTROLLERS": str(CONTROLLERS[self.topology]),
            "KLAXON_TEST_SECURITY": SECURITY[self.security],
        }


KINDS = tuple(Kind(*each) for each in itertools.product(runtime.KNOWN_GOOD_VERSIONS, CONTROLLERS, SECURITY))


def prove(only: str | None) -> Iterator[list[Row]]:
    return ([prove_one(kind)] for kind in KINDS if only is None or only in kind.name)


def prove_one(kind: Kind) -> Row:
    print(f"matrix: {kind.name}", flush=True)
    environment = {k: v for k, v in os.environ.items() if k != "KLAXON_DEMO_FOLDER"} | kind.environment
    with tempfile.TemporaryDirectory(prefix="klaxon-matrix-") as folder:
        report = Path(folder) / "report.xml"
        argv = [sys.executable, "-m", "pytest", "tests/real", "-m", "not proof", f"--junitxml={report}"]
        try:
            subprocess.run(argv, cwd=ROOT, env=environment, timeout=LIMIT_S, check=False)
        except subprocess.TimeoutExpired:
            return Row(kind.name, False, f"not done within {LIMIT_S:.0f} s")
        if not report.exists():
            return Row(kind.name, False, "pytest wrote no report")
        return told(kind, list(outcomes(report)))


def told(kind: Kind, results: list[tuple[str, str, str]]) -> Row:
    """The row of one run; a run without any passed test shows nothing, nor does one that had no brokers."""
    counts = Counter(outcome for _, outcome, _ in results)
    failed = [name for name, outcome, _ in results if outcome == "failed"]
    missing = any("no brokers can be had" in why for _, _, why in results)
    measured = ", ".join(f"{counts[outcome]} {outcome}" for outcome in ("passed", "failed", "skipped"))
    named = f": {', '.join(failed)}" if failed else ""
    return Row(kind.name, not failed and counts["passed"] > 0 and not missing, measured + named)


def outcomes(report: Path) -> Iterator[tuple[str, str, str]]:
    """(test, passed or failed or skipped, why) of each test in pytest's JUnit report."""
    for case in ET.parse(report).iter("testcase"):
        found = {child.tag: child.get("message", "") for child in case}
        name = f"{case.get('classname', '').rpartition('.')[2]}.{case.get('name')}"
        if bad := [tag for tag in ("failure", "error") if tag in found]:
            yield name, "failed", found[bad[0]]
        elif "skipped" in found:
            yield name, "skipped", found["skipped"]
        else:
            yield name, "passed", ""
