"""Runs the parts of the proof that are named, or all, one after the other; exits 1 when a promise was not kept."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Iterator

from tests.proof.report import Row, keep

PARTS = {
    "faults": "One fault, one incident",
    "operations": "Healthy operations page nobody",
    "crash": "Nothing is lost when Klaxon is killed or Alertmanager is away",
    "outage": "All brokers down, and back again",
    "matrix": "The tests on real brokers pass on every kind of cluster",
    "churn": "A day of topics, groups, members and brokers that come and go, simulated",
    "endurance": "Coordinator moves, hung, starting and out-of-memory brokers",
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="make proof", description="Prove the long promises on real brokers.")
    parser.add_argument(
        "parts", nargs="*", choices=[*PARTS, []], metavar="PART", help=f"one or more of: {', '.join(PARTS)} (all)"
    )
    parser.add_argument("--only", help="within a part, only the rows whose promise contains this")
    chosen = parser.parse_args()
    failed = False
    for part in chosen.parts or PARTS:
        trials: Iterator[list[Row]] = importlib.import_module(f"tests.proof.{part}").prove(chosen.only)
        for rows in trials:
            # At once: a run that is broken off keeps what it has shown.
            keep(part, PARTS[part], rows)
            failed |= not all(row.held for row in rows)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
