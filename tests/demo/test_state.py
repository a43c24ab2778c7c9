"""state.json: what is written is read back, what is not understood is refused, and a recycled pid is nobody's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from demo import ClusterGone, DemoError, load, state
from demo.state import Node, Process, State, Status


def described() -> State:
    node = Node(1, ("broker", "controller"), {"PLAINTEXT": 20001, "CONTROLLER": 20002, "jmx": 20003}, ("a/d1", "a/d2"))
    process = Process(
        "node-1", ("java", "kafka.Kafka"), {"A": "b"}, "node-1.out", status=Status.PAUSED, pid=7, started="9"
    )
    return State(
        "4.3.1", "id", (node,), socket="s", processes={"node-1": process}, broken={"broker-hung": {"nodes": [1]}}
    )


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    state.write(tmp_path, described())
    assert state.read(tmp_path) == described()
    assert [path.name for path in tmp_path.iterdir()] == [state.STATE_FILE]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "is not JSON"),
        ("[]", "another version of the demo"),
        ('{"format": 0}', "another version of the demo"),
        ('{"format": 2, "nodes": [], "processes": {}, "surprise": 1}', "is not a demo's state"),
        ('{"format": 2}', "is not a demo's state"),
    ],
)
def test_what_is_not_understood_is_refused(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / state.STATE_FILE).write_text(text)
    with pytest.raises(DemoError, match=complaint):
        state.read(tmp_path)


def test_a_folder_without_a_cluster_says_so(tmp_path: Path) -> None:
    with pytest.raises(ClusterGone, match=r"state\.json is missing"):
        load(tmp_path)


def test_a_cluster_whose_supervisor_is_gone_has_ended(tmp_path: Path) -> None:
    state.write(tmp_path, described())
    with pytest.raises(ClusterGone, match="has ended"):
        load(tmp_path)


def test_a_recycled_pid_is_another_process() -> None:
    started = state.start_time(os.getpid())
    assert state.is_same_process(os.getpid(), started)
    assert not state.is_same_process(os.getpid(), f"{started}0")
    assert not state.is_same_process(None, started)
