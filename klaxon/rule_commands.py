"""The commands about rule files: `klaxon check-rules` and `klaxon test-rules`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated

import typer

from alerts.diagnosis import tree as trees
from alerts.diagnosis.tree import TreeError
from alerts.engine.rules import RuleSet
from alerts.engine.unit_test_file import UnitTestError, read_unit_tests
from alerts.engine.unit_tests import run_file
from exporter.metrics.catalogue import complete
from klaxon.check_rules import Found, Level, check
from klaxon.config import SHIPPED_RULES
from klaxon.console import FINDINGS, OK, JsonOption, say, usage


def check_rules(
    files: Annotated[
        list[Path] | None, typer.Argument(help="Rule files and folders of them; Klaxon's own if none.")
    ] = None,
    tests: Annotated[
        list[Path] | None, typer.Option("--tests", help="A file or folder of unit tests; once for each.")
    ] = None,
    tree_files: Annotated[
        list[Path] | None, typer.Option("--trees", help="Trees of your own beside Klaxon's; once for each.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit 1 for warnings too.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Check rule files: syntax, metrics and labels against Klaxon's catalogue, and what a good rule has; exits 1 on an error."""
    shipped = sorted(SHIPPED_RULES.glob("*.yaml"))
    chosen = [file for given in files or [] for file in _rule_files(given)] if files else shipped
    try:
        known = trees.load([trees.SHIPPED, *(tree_files or [])])
    except TreeError as error:
        usage("\n".join(error.faults))
    except OSError as error:
        usage(f"{error.filename}: {error.strerror}")
    rules, found = check(chosen, [f for f in chosen if f in shipped], complete(), known.by_name.keys(), tests or [])
    if as_json:
        typer.echo(json.dumps([_as_json(one) for one in found], indent=1))
    else:
        _tell(chosen, rules, found)
    bad = [one for one in found if strict or one.level is Level.ERROR]
    raise typer.Exit(FINDINGS if bad else OK)


def _rule_files(given: Path) -> list[Path]:
    """A folder's rule files, its unit tests left out; a file as it is."""
    if not given.is_dir():
        return [given]
    found = sorted([*given.glob("*.yaml"), *given.glob("*.yml")])
    return [f for f in found if not re.search(r"[._]test\.ya?ml$", f.name)]


def _as_json(found: Found) -> dict[str, object]:
    fault = found.fault
    return {
        "level": found.level,
        "file": fault.file,
        "line": fault.line,
        "group": fault.group,
        "rule": fault.rule,
        "reason": fault.reason,
    }


def _tell(files: list[Path], rules: RuleSet | None, found: list[Found]) -> None:
    for one in found:
        typer.echo(f"{one.level}: {one.fault}")
    count = {level: sum(one.level is level for one in found) for level in Level}
    held = (
        ""
        if rules is None
        else f"{len(list(rules.alerting))} alerting and {len(list(rules.recording))} recording rules, "
    )
    typer.echo(f"{len(files)} files: {held}{count[Level.ERROR]} errors, {count[Level.WARNING]} warnings")


def test_rules(
    files: Annotated[list[Path], typer.Argument(help="Unit-test files in promtool's format.")],
    only: Annotated[
        str | None, typer.Option("--run", help="Only tests whose name this regular expression finds.")
    ] = None,
) -> None:
    """Run unit tests of rules, as `promtool test rules` does: the same format, meaning and exit code."""
    try:
        chosen = re.compile(only) if only is not None else None
    except re.error as error:
        usage(f"--run {only}: not a regular expression: {error}")
    failed = False
    for path in files:
        typer.echo(f"{path}:")
        try:
            file = read_unit_tests(path)
        except UnitTestError as error:
            typer.echo("  FAILED: " + "\n  ".join(error.faults))
            failed = True
            continue
        for pattern in file.missing:
            say(f"{path}: no file matches {pattern} of rule_files")
        for result in run_file(file, chosen):
            typer.echo(f"  {'FAILED' if result.failures else 'passed'}: {result.name}")
            for failure in result.failures:
                typer.echo("    " + failure.replace("\n", "\n    "))
            failed = failed or bool(result.failures)
    raise typer.Exit(FINDINGS if failed else OK)
