"""Shared helpers whose assertions pytest explains like those of the tests themselves."""

import pytest

pytest.register_assert_rewrite("tests.exporter.kafka.contract")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many tests had no brokers: a skip must not look like a pass."""
    skipped = [r for r in terminalreporter.stats.get("skipped", []) if "no brokers can be had" in str(r.longrepr)]
    if skipped:
        terminalreporter.write_line(f"{len(skipped)} tests on real brokers were skipped: {skipped[0].longrepr[2]}")
