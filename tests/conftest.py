"""How the tests are shared out, and shared helpers whose assertions pytest explains like those of the tests themselves."""

import pytest
from xdist.scheduler import LoadScopeScheduling

pytest.register_assert_rewrite("tests.exporter.kafka.contract")


APART = ("test_demo_owner.py", "test_kafka_security.py", "test_kerberos.py")
"""Files of tests/real whose tests start brokers of their own."""


REAL = "real"


def shares_the_cluster(file: str) -> bool:
    return file.startswith("tests/real/") and not file.endswith(APART)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest begins first, so that no other worker is left waiting for it."""
    items.sort(key=lambda item: not shares_the_cluster(item.nodeid.partition("::")[0]))


class RealTogether(LoadScopeScheduling):  # type: ignore[misc]
    """One worker runs all tests on the shared real cluster; the others go by file."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return REAL if shares_the_cluster(file) else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> RealTogether:
    config.option.loadscopereorder = False
    return RealTogether(config, log)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many tests had no brokers: a skip must not look like a pass."""
    skipped = [r for r in terminalreporter.stats.get("skipped", []) if "no brokers can be had" in str(r.longrepr)]
    if skipped:
        terminalreporter.write_line(f"{len(skipped)} tests on real brokers were skipped: {skipped[0].longrepr[2]}")
