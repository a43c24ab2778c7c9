"""What the page says equals what Kafka's own command-line tools say, on a cluster that stands still."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import demo
from demo import traffic
from tests.klaxon_process import Klaxon, Page, wait_until
from tests.on_cluster import klaxon_config

pytestmark = pytest.mark.real

TOOLS = "org.apache.kafka.tools"
COMMAND = {
    "topics": f"{TOOLS}.TopicCommand",
    "groups": f"{TOOLS}.consumer.group.ConsumerGroupCommand",
    "log_dirs": f"{TOOLS}.LogDirsCommand",
    "quorum": f"{TOOLS}.MetadataQuorumCommand",
    "offsets": f"{TOOLS}.GetOffsetShell",
}


@pytest.fixture(scope="module")
def quiet(cluster: demo.Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[demo.Cluster, Klaxon]]:
    """Topics with records and groups with commits, traffic ended, and a Klaxon that has seen the end."""
    traffic.start(cluster)
    klaxon = Klaxon(tmp_path_factory.mktemp("klaxon"), klaxon_config(cluster))
    try:
        klaxon.start()
        wait_until(
            lambda: len(klaxon.page().select("kafka_consumergroup_lag_sum", consumergroup="billing")) == 2,
            60,
            "billing has commits for both topics",
        )
        traffic.stop(cluster)
        yield cluster, klaxon
    finally:
        klaxon.close()


def agree(klaxon: Klaxon, check: object) -> None:
    """The page catches up within two of its slowest intervals; then the last difference is shown."""
    last: list[AssertionError] = []

    def same() -> bool:
        try:
            check(klaxon.page())  # type: ignore[operator]
        except AssertionError as difference:
            last[:] = [difference]
            return False
        return True

    try:
        wait_until(same, 75, "page and tool agree", every=1)
    except AssertionError:
        raise last[0] from None


def test_topics(quiet: tuple[demo.Cluster, Klaxon]) -> None:
    cluster, klaxon = quiet
    told = cluster.kafka_tool(COMMAND["topics"], "--bootstrap-server", cluster.bootstrap_servers, "--describe")
    rows = re.findall(r"Topic: (\S+)\s+Partition: (\d+)\s+Leader: (\S+)\s+Replicas: (\S+)\s+Isr: (\S*)", told)
    assert rows

    def check(page: Page) -> None:
        leaders = page.by("kafka_topic_partition_leader", "topic", "partition")
        assert leaders == {(t, p): -1 if leader == "none" else float(leader) for t, p, leader, _, _ in rows}
        assert page.by("kafka_topic_partition_replicas", "topic", "partition") == {
            (t, p): len(r.split(",")) for t, p, _, r, _ in rows
        }
        assert page.by("kafka_topic_partition_in_sync_replica", "topic", "partition") == {
            (t, p): len(i.split(",")) for t, p, _, _, i in rows
        }
        assert page.value("kafka_partitions") == len(rows)

    agree(klaxon, check)


def test_end_offsets(quiet: tuple[demo.Cluster, Klaxon]) -> None:
    cluster, klaxon = quiet

    def check(page: Page) -> None:
        told = cluster.kafka_tool(
            COMMAND["offsets"],
            "--bootstrap-server",
            cluster.bootstrap_servers,
            "--topic-partitions",
            ",".join(traffic.TOPICS),
        )
        ends = {tuple(line.split(":")[:2]): float(line.split(":")[2]) for line in told.split() if line.count(":") == 2}
        assert ends
        page_ends = page.by("kafka_topic_partition_current_offset", "topic", "partition")
        assert {k: v for k, v in page_ends.items() if k[0] in traffic.TOPICS} == ends

    agree(klaxon, check)


@pytest.mark.parametrize("group", ["billing", pytest.param("warehouse", marks=pytest.mark.since("4.0")), "audit"])
def test_committed_offsets_and_lag(quiet: tuple[demo.Cluster, Klaxon], group: str) -> None:
    cluster, klaxon = quiet

    def check(page: Page) -> None:
        told = cluster.kafka_tool(
            COMMAND["groups"], "--bootstrap-server", cluster.bootstrap_servers, "--describe", "--group", group
        )
        rows = re.findall(rf"^{group}\s+(\S+)\s+(\d+)\s+(?:\S+\s+)?(\d+)\s+(\d+)\s+(\d+)\s", told, re.MULTILINE)
        assert rows, told
        assert page.by("kafka_consumergroup_current_offset", "topic", "partition", consumergroup=group) == {
            (t, p): float(c) for t, p, c, _, _ in rows
        }
        assert page.by("kafka_consumergroup_lag", "topic", "partition", consumergroup=group) == {
            (t, p): float(lag) for t, p, _, _, lag in rows
        }

    agree(klaxon, check)


def test_group_states_and_members(quiet: tuple[demo.Cluster, Klaxon]) -> None:
    cluster, klaxon = quiet

    def check(page: Page) -> None:
        told = cluster.kafka_tool(
            COMMAND["groups"], "--bootstrap-server", cluster.bootstrap_servers, "--describe", "--all-groups", "--state"
        )
        rows = re.findall(
            r"^(\S+)\s+.*\s(Stable|Empty|Dead|PreparingRebalance|CompletingRebalance|Assigning|Reconciling)\s+(\d+)\s*$",
            told,
            re.MULTILINE,
        )
        assert rows, told
        # The tool for consumer groups lists no others.
        types = page.by("kafka_consumergroup_state", "consumergroup", "type")
        others = {group for group, type in types if type in ("share", "streams")}
        members = page.by("kafka_consumergroup_members", "consumergroup")
        assert {g: m for g, m in members.items() if g[0] not in others} == {(g,): float(m) for g, _, m in rows}
        states = set(page.by("kafka_consumergroup_state", "consumergroup", "state"))
        assert {(g, s) for g, s in states if g not in others} == {(g, s) for g, s, _ in rows}

    agree(klaxon, check)


def test_log_dirs(quiet: tuple[demo.Cluster, Klaxon]) -> None:
    cluster, klaxon = quiet

    def check(page: Page) -> None:
        told = cluster.kafka_tool(COMMAND["log_dirs"], "--bootstrap-server", cluster.bootstrap_servers, "--describe")
        answer = json.loads(next(line for line in told.splitlines() if line.startswith("{")))
        sizes = {
            (str(b["broker"]), d["logDir"]): float(sum(p["size"] for p in d["partitions"]))
            for b in answer["brokers"]
            for d in b["logDirs"]
        }
        assert page.by("kafka_log_dir_size_bytes", "broker", "dir") == sizes
        assert all(v == 1 for v in page.select("kafka_log_dir_online").values())

    agree(klaxon, check)


def test_quorum(quiet: tuple[demo.Cluster, Klaxon]) -> None:
    cluster, klaxon = quiet

    def check(page: Page) -> None:
        told = cluster.kafka_tool(
            COMMAND["quorum"], "--bootstrap-server", cluster.bootstrap_servers, "describe", "--status"
        )
        leader, epoch = re.search(r"LeaderId:\s+(\d+)", told), re.search(r"LeaderEpoch:\s+(\d+)", told)
        assert leader is not None
        assert epoch is not None
        assert page.value("kafka_quorum_leader_id") == float(leader[1])
        assert page.value("kafka_quorum_epoch") == float(epoch[1])
        assert page.value("kafka_quorum_voters") == len([node for node in cluster.nodes if "controller" in node.roles])
        assert page.value("kafka_controller_alive") == 1

    agree(klaxon, check)


def test_promtool_is_silent_but_for_inherited_names(quiet: tuple[demo.Cluster, Klaxon], tmp_path: Path) -> None:
    import shutil
    import subprocess

    from exporter.jmx.catalogue import families as jmx_families
    from exporter.metrics.catalogue import KAFKA_ROWS

    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("no promtool on the path")
    _, klaxon = quiet
    inherited = {row.name for row in (*KAFKA_ROWS, *jmx_families()) if row.inherited}
    checked = subprocess.run(
        [promtool, "check", "metrics"],
        input=klaxon.page().text,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    complaints = [
        line for line in (checked.stdout + checked.stderr).splitlines() if line and line.split()[0] not in inherited
    ]
    assert not complaints
