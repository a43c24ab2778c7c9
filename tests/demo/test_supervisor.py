"""The supervisor with small processes instead of brokers: requests, what it notes, and that nothing survives it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from demo import ClusterGone, DemoError, control, state
from demo.cluster import python_path
from demo.state import State, Status

SLEEPER = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)",
]
CRASHER = [sys.executable, "-c", "import sys; sys.exit(3)"]


def wait_for(condition: Callable[[], object], limit: float = 20.0) -> None:
    deadline = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


class Stage:
    """A supervisor in a folder, owned by the test's process."""

    def __init__(self, folder: Path, keep: bool = False) -> None:
        self.folder = folder
        folder.mkdir()
        me = os.getpid()
        described = State(
            "4.3.1",
            "id",
            (),
            keep,
            owner_pid=me,
            owner_started=state.start_time(me),
            socket=str(folder / "control.sock"),
        )
        state.write(folder, described)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "demo.supervisor", str(folder)],
            stdin=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": python_path()},
            start_new_session=True,
        )
        wait_for(lambda: state.read(folder).supervisor_pid is not None)

    def ask(self, operation: str, **arguments: object) -> None:
        control.request(self.folder, operation, **arguments)

    def run(self, name: str, argv: list[str], keep_running: bool = False) -> None:
        self.ask(
            "define", name=name, argv=argv, env={}, log=str(self.folder / f"{name}.out"), keep_running=keep_running
        )
        self.ask("start", name=name)

    def found(self, name: str) -> state.Process:
        return state.read(self.folder).processes[name]

    def wait_up(self, name: str) -> None:
        wait_for(lambda: (self.folder / f"{name}.out").read_text())


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tmp_path / "folder")
    yield made
    made.process.kill()
    made.process.wait()
    assert made.process.stdin is not None
    made.process.stdin.close()


def test_a_process_lives_through_all_its_states(stage: Stage) -> None:
    stage.run("a", SLEEPER)
    pid = stage.found("a").pid
    assert state.is_same_process(pid, stage.found("a").started)
    stage.ask("pause", name="a")
    assert stage.found("a").status is Status.PAUSED
    with pytest.raises(DemoError, match="a is paused and cannot stop cleanly"):
        stage.ask("stop", name="a")
    with pytest.raises(DemoError, match="a is paused: resume it"):
        stage.ask("start", name="a")
    stage.ask("resume", name="a")
    stage.ask("start", name="a")
    assert stage.found("a").pid == pid
    stage.ask("stop", name="a")
    wait_for(lambda: stage.found("a").status is Status.STOPPED)
    assert stage.found("a").exit_code == -signal.SIGTERM
    with pytest.raises(DemoError, match="a is stopped and cannot be paused"):
        stage.ask("pause", name="a")
    stage.ask("start", name="a")
    stage.ask("pause", name="a")
    stage.ask("kill", name="a")
    assert stage.found("a").status is Status.KILLED
    assert state.start_time(pid or 0) is None


def test_a_process_that_ends_by_itself_has_died(stage: Stage) -> None:
    stage.run("a", CRASHER)
    wait_for(lambda: stage.found("a").status is Status.DIED)
    assert stage.found("a").exit_code == 3


def test_one_that_is_to_keep_running_comes_back_until_it_is_stopped(stage: Stage) -> None:
    stage.run("a", SLEEPER, keep_running=True)
    os.kill(stage.found("a").pid or 0, signal.SIGKILL)
    wait_for(lambda: stage.found("a").starts == 2)
    assert stage.found("a").status is Status.RUNNING
    stage.ask("kill", name="a")
    stage.ask("resume", name="a")
    assert stage.found("a").status is Status.KILLED


def test_a_request_that_makes_no_sense_is_answered(stage: Stage) -> None:
    with pytest.raises(DemoError, match="there is no process 'b'; there are: none"):
        stage.ask("kill", name="b")
    with pytest.raises(DemoError, match="fly"):
        stage.ask("fly")
    stage.run("a", SLEEPER)
    with pytest.raises(DemoError, match="a runs; stop it before"):
        stage.run("a", CRASHER)


def test_faults_are_noted_and_forgotten(stage: Stage) -> None:
    stage.ask("mark-broken", fault="broker-killed", details={"nodes": [2]})
    assert state.read(stage.folder).broken == {"broker-killed": {"nodes": [2]}}
    stage.ask("mark-healed", fault="broker-killed")
    stage.ask("mark-healed", fault="broker-killed")
    assert state.read(stage.folder).broken == {}


def test_a_node_that_joins_is_noted(stage: Stage) -> None:
    node = state.Node(4, ("broker",), {"PLAINTEXT": 20001, "jmx": 20002}, ("d1", "d2"), rack="a")
    stage.ask("add-node", node=asdict(node))
    assert state.read(stage.folder).nodes == (node,)


@pytest.mark.parametrize("ending", ["pipe", "request", "terminate", "kill"])
def test_children_end_with_the_supervisor_even_paused_and_stubborn_ones(stage: Stage, ending: str) -> None:
    for name, argv in {"plain": SLEEPER, "paused": SLEEPER, "stubborn": STUBBORN}.items():
        stage.run(name, argv)
        stage.wait_up(name)
    stage.ask("pause", name="paused")
    pids = [process.pid or 0 for process in state.read(stage.folder).processes.values()]
    assert all(state.start_time(pid) for pid in pids)
    if ending == "pipe":
        assert stage.process.stdin is not None
        stage.process.stdin.close()
    elif ending == "request":
        stage.ask("shutdown")
    elif ending == "terminate":
        stage.process.terminate()
    else:
        stage.process.kill()
    stage.process.wait(20)
    wait_for(lambda: not any(state.start_time(pid) for pid in pids))
    # Who was killed outright could not clean up; the owner does.
    assert stage.folder.exists() == (ending == "kill")
    with pytest.raises(ClusterGone):
        stage.ask("shutdown")


def test_a_kept_folder_stays_and_its_processes_stop_cleanly(tmp_path: Path) -> None:
    stage = Stage(tmp_path / "folder", keep=True)
    stage.run("a", SLEEPER)
    stage.wait_up("a")
    stage.ask("shutdown")
    stage.process.wait(20)
    assert stage.found("a").status is Status.STOPPED
    assert stage.process.stdin is not None
    stage.process.stdin.close()
