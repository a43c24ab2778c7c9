"""Real brokers end with the process that started them, and a start that fails says why and leaves nothing."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import demo
from demo import runtime, settings, state
from demo.cluster import python_path
from demo.state import Status

pytestmark = pytest.mark.real

OWNER = """
import sys, time
from pathlib import Path
import demo
cluster = demo.start(Path(sys.argv[1]), nodes=1)
print("up", flush=True)
try:
    time.sleep(600)
finally:
    cluster.close()
"""


@pytest.fixture(scope="module", autouse=True)
def _brokers_can_be_had() -> None:
    try:
        runtime.get()
    except demo.DemoUnavailable as reason:
        pytest.skip(f"no brokers can be had: {reason}")


def wait_for(condition: Callable[[], object], limit: float = 30.0) -> None:
    deadline = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def java_processes(folder: Path) -> list[int]:
    """Pids of all processes that name the folder on their command line, the supervisor included."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and state.start_time(int(entry.name)):
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if str(folder).encode() in command and int(entry.name) != os.getpid():
                found.append(int(entry.name))
    return found


def test_a_killed_owner_leaves_neither_processes_nor_files(tmp_path: Path) -> None:
    folder = tmp_path / "cluster"
    environment = {**os.environ, "PYTHONPATH": python_path()}
    owner = subprocess.Popen([sys.executable, "-c", OWNER, str(folder)], stdout=subprocess.PIPE, env=environment)
    assert owner.stdout is not None
    with owner.stdout:
        assert owner.stdout.readline() == b"up\n"
    # Restarted on behalf of this process, then hung: it must go all the same.
    cluster = demo.load(folder)
    cluster.kill_node(1)
    cluster.start_node(1, wait=False)
    cluster.pause_node(1)
    assert len(java_processes(folder)) == 3
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    wait_for(lambda: not java_processes(folder))
    wait_for(lambda: not folder.exists())
    with pytest.raises(demo.ClusterGone):
        demo.load(folder)


def test_an_interrupted_owner_cleans_up_and_a_leftover_folder_can_be_used_again(tmp_path: Path) -> None:
    folder = tmp_path / "cluster"
    with demo.start(folder, nodes=1) as cluster:
        assert cluster.state.supervisor_pid is not None
        with pytest.raises(demo.DemoError, match=r"runs in .* already"):
            demo.start(folder, nodes=1)
        os.kill(cluster.state.supervisor_pid, signal.SIGKILL)
        wait_for(lambda: len(java_processes(folder)) == 0)
        with pytest.raises(demo.ClusterGone, match="does not answer"):
            cluster.kill_node(1)
        with demo.start(folder, nodes=1) as again:
            assert again.status(1) is Status.RUNNING
    assert not folder.exists()


def test_a_node_that_cannot_start_shows_the_end_of_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as busy:
        busy.bind((settings.HOST, 0))
        busy.listen()
        ports = [*settings.free_ports(2), busy.getsockname()[1]]
        monkeypatch.setattr(settings, "free_ports", lambda _count: ports)
        with pytest.raises(demo.NodeDied, match=r"java\.net\.BindException: Address already in use") as died:
            demo.start(tmp_path / "cluster", nodes=1)
    assert died.value.node == 1
    assert not (tmp_path / "cluster").exists()


def test_a_folder_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "precious").touch()
    with pytest.raises(demo.DemoError, match="not empty and was not left by a demo"):
        demo.start(tmp_path)
    assert (tmp_path / "precious").exists()


def test_settings_for_a_node_that_is_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(demo.DemoError, match=r"node_overrides names nodes \[4\]; there are \[1, 2, 3\]"):
        demo.start(tmp_path / "cluster", node_overrides={4: {}})
    assert not (tmp_path / "cluster").exists()
