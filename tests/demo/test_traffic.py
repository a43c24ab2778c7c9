"""Which groups a version can serve, and how Kafka's tools are let in."""

from __future__ import annotations

from pathlib import Path

import pytest

from demo import setup, traffic
from demo.cluster import Cluster
from demo.setup import Wanted


class Described(Cluster):
    """A cluster that was never started."""

    def __init__(self, folder: Path, wanted: Wanted) -> None:
        super().__init__(folder)
        self._state = setup.describe(folder, wanted)

    @property
    def state(self):  # type: ignore[no-untyped-def]
        return self._state


@pytest.mark.parametrize(
    ("version", "served", "left_out"),
    [
        ("4.3.1", ["billing", "warehouse", "audit", "dispatch"], []),
        ("4.1.0", ["billing", "warehouse", "audit"], ["dispatch"]),
        ("3.9.1", ["billing", "audit"], ["warehouse", "dispatch"]),
    ],
)
def test_a_version_serves_the_groups_that_it_is_ready_for(
    tmp_path: Path, version: str, served: list[str], left_out: list[str]
) -> None:
    cluster = Described(tmp_path, Wanted(version=version))
    assert [group.name for group in traffic.groups(cluster)] == served
    assert [group.name for group in traffic.left_out(cluster)] == left_out


class Deployed(Described):
    """Notes what is done to processes."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, Wanted())
        self.done: list[tuple[str, str]] = []

    def define_process(self, name: str, argv: list[str], *, python: bool = False, keep_running: bool = False) -> None:
        self.done.append(("define", name))

    def process_operation(self, operation: str, name: str) -> None:
        self.done.append((operation, name))

    def stop_process(self, name: str, limit: float = 0) -> None:
        self.done.append(("stop", name))


def test_a_deploy_takes_one_member_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traffic, "MEMBER_PAUSE_S", 0.0)
    cluster = Deployed(tmp_path)
    traffic.deploy_group(cluster, "billing")
    members = ["group-billing-1", "group-billing-2"]
    assert cluster.done == [(did, name) for name in members for did in ("stop", "define", "start")]


def test_a_share_group_has_one_member(tmp_path: Path) -> None:
    assert traffic.find_group(Described(tmp_path, Wanted()), "dispatch").processes == ("group-dispatch-1",)


def test_a_tool_gets_its_way_in_behind_the_address(tmp_path: Path) -> None:
    cluster = Described(tmp_path, Wanted())
    asked = ("--bootstrap-controller", "x:1", "describe")
    assert cluster._let_in("a.Tool", asked) == list(asked)
    config = tmp_path / "security" / "tools.properties"
    config.parent.mkdir()
    config.touch()
    assert cluster._let_in("a.Tool", asked) == [
        "--bootstrap-controller",
        "x:1",
        "--command-config",
        str(config),
        "describe",
    ]
    assert "--admin.config" in cluster._let_in("a.LeaderElectionCommand", ("--bootstrap-server", "x:1"))
    assert cluster._let_in("a.StorageTool", ("format",)) == ["format"]
