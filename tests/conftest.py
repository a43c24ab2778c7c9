"""Shared helpers whose assertions pytest explains like those of the tests themselves."""

from pathlib import Path

import pytest

pytest.register_assert_rewrite("tests.exporter.kafka.contract")

REAL = Path(__file__).parent / "real"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With several workers the tests on real brokers stay together: they share one cluster."""
    for item in items:
        if REAL in item.path.parents:
            item.add_marker(pytest.mark.xdist_group("real"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many tests had no brokers: a skip must not look like a pass."""
    skipped = [r for r in terminalreporter.stats.get("skipped", []) if "no brokers can be had" in str(r.longrepr)]
    if skipped:
        terminalreporter.write_line(f"{len(skipped)} tests on real brokers were skipped: {skipped[0].longrepr[2]}")
