"""The state file of a demo folder: what runs, on which ports, and what was broken on purpose."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from demo.errors import ClusterGone, DemoError
from demo.security import PLAINTEXT, Security

STATE_FILE = "state.json"
FORMAT = 2


class Status(StrEnum):
    """Where a process is in its life."""

    RUNNING = "running"
    PAUSED = "paused"
    STOPPING = "stopping"
    STOPPED = "stopped"
    """Ended because it was asked to."""
    KILLED = "killed"
    """Ended by a kill that was asked for."""
    DIED = "died"
    """Ended although nobody asked."""

    @property
    def alive(self) -> bool:
        return self in (Status.RUNNING, Status.PAUSED, Status.STOPPING)


@dataclass(frozen=True, slots=True)
class Process:
    """One child of the supervisor. A pid is only ever used together with its start time, so a recycled pid is nobody's."""

    name: str
    argv: tuple[str, ...]
    env: dict[str, str]
    log: str
    keep_running: bool = False
    """Started again when it dies (traffic); a node stays down until somebody starts it."""
    status: Status = Status.STOPPED
    pid: int | None = None
    started: str | None = None
    """The kernel's start time of that pid, as text (clock ticks since boot on Linux)."""
    exit_code: int | None = None
    starts: int = 0


@dataclass(frozen=True, slots=True)
class Node:
    """One Kafka node: its roles, its ports on 127.0.0.1 and its log dirs (the first one holds the metadata log)."""

    id: int
    roles: tuple[str, ...]
    ports: dict[str, int]
    """Listener name (and "jmx") to port; kept over restarts."""
    log_dirs: tuple[str, ...]
    heap_mb: int = 384
    rack: str | None = None

    @property
    def process(self) -> str:
        return f"node-{self.id}"


@dataclass(frozen=True, slots=True)
class State:
    """All of state.json. Only the supervisor writes it while a cluster runs."""

    version: str
    cluster_id: str
    nodes: tuple[Node, ...]
    keep: bool = False
    security: Security = PLAINTEXT
    supervisor_pid: int | None = None
    supervisor_started: str | None = None
    owner_pid: int | None = None
    owner_started: str | None = None
    socket: str = ""
    processes: dict[str, Process] = field(default_factory=dict)
    broken: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Fault name to what was done (node, time, …): what `heal` needs to undo it."""

    def with_process(self, process: Process) -> State:
        return replace(self, processes={**self.processes, process.name: process})


def read(folder: Path) -> State:
    """The state of a demo folder; raises ClusterGone when there is none, DemoError when it is not understood."""
    path = folder / STATE_FILE
    try:
        raw = json.loads(path.read_text())
    except FileNotFoundError:
        raise ClusterGone(f"no demo cluster in {folder}: {STATE_FILE} is missing") from None
    except json.JSONDecodeError as error:
        raise DemoError(f"{path} is not JSON: {error}") from error
    if not isinstance(raw, dict) or raw.pop("format", None) != FORMAT:
        raise DemoError(
            f"{path} was written by another version of the demo; stop that one, remove the folder, start again"
        )
    try:
        return State(
            **{
                **raw,
                "nodes": tuple(node_of(node) for node in raw["nodes"]),
                "security": _security(raw["security"]),
                "processes": {name: _process(process) for name, process in raw["processes"].items()},
            }
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DemoError(f"{path} is not a demo's state: {error}") from error


def write(folder: Path, state: State) -> None:
    """Replace state.json as a whole, so that a reader never sees half of it."""
    temporary = folder / f".{STATE_FILE}.{os.getpid()}"
    temporary.write_text(json.dumps({"format": FORMAT, **asdict(state)}, indent=1))
    temporary.replace(folder / STATE_FILE)


def start_time(pid: int) -> str | None:
    """The start time of a process, as the kernel tells it; None when there is no such process or it is a zombie."""
    if not Path("/proc/self/stat").exists():
        asked = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
        return asked.stdout.strip() or None
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The command name may hold spaces and parentheses; what follows the last one is plain.
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else fields[19]


def is_same_process(pid: int | None, started: str | None) -> bool:
    """Whether that very process still lives: a recycled pid has another start time."""
    return pid is not None and started is not None and start_time(pid) == started


def node_of(raw: dict[str, Any]) -> Node:
    """A node from what JSON holds of it."""
    return Node(**{**raw, "roles": tuple(raw["roles"]), "log_dirs": tuple(raw["log_dirs"])})


def _security(raw: dict[str, Any]) -> Security:
    return Security(**{**raw, "also": tuple(raw["also"]), "users": tuple(raw["users"])})


def _process(raw: dict[str, Any]) -> Process:
    return Process(**{**raw, "argv": tuple(raw["argv"]), "status": Status(raw["status"])})
