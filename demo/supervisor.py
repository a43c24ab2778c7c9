"""The process that holds a demo cluster's children: it starts and signals them on request and takes all of them down with
their owner.

Nothing may be left behind, however the owner ends. The owner holds the writing end of a pipe that is this process's standard
input: end of file means that the owner is gone (SIGKILL included). Should this process itself be killed, the kernel kills its
children (PR_SET_PDEATHSIG; it is tied to the thread that forked, hence one thread only). SIGKILL ends paused processes too.
All nodes are children of this one process, also those that another process asked to restart.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from demo import state as states
from demo.errors import DemoError
from demo.state import Process, State, Status

PR_SET_PDEATHSIG = 1
READ_LIMIT_S = 5.0
TICK_S = 0.5
RESTART_PAUSE_S = 1.0
CLEAN_STOP_LIMIT_S = 20.0


class Supervisor:
    """Children by name, one request at a time, everything in one thread."""

    def __init__(self, folder: Path, state: State, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._folder = folder
        self._state = state
        self._monotonic = monotonic
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._restart_at: dict[str, float] = {}
        self._done = False
        self._operations: dict[str, Callable[..., Any]] = {
            "define": self.define,
            "start": self.start,
            "stop": self.stop,
            "kill": self.kill,
            "pause": self.pause,
            "resume": self.resume,
            "mark-broken": self.mark_broken,
            "mark-healed": self.mark_healed,
            "add-node": self.add_node,
            "shutdown": self.shutdown,
        }

    # Operations ------------------------------------------------------------------------------------------------------

    def define(self, name: str, argv: list[str], env: dict[str, str], log: str, keep_running: bool = False) -> None:
        """Say how a process is to be started; it must not run now."""
        known = self._state.processes.get(name)
        if known is not None and known.status.alive:
            raise DemoError(f"{name} runs; stop it before its command is changed")
        self._update(Process(name, tuple(argv), env, log, keep_running))

    def start(self, name: str) -> None:
        """Start a process that is defined; no-op when it runs."""
        process = self._process(name)
        if process.status is Status.PAUSED:
            raise DemoError(f"{name} is paused: resume it, or kill it first")
        if process.status is Status.STOPPING:
            raise DemoError(f"{name} is stopping: wait until it ended")
        if not process.status.alive:
            self._spawn(process)

    def stop(self, name: str) -> None:
        """SIGTERM; returns at once, the state says `stopped` when the process ended. No-op when it does not run."""
        process = self._process(name)
        self._restart_at.pop(name, None)
        if process.status is Status.PAUSED:
            raise DemoError(f"{name} is paused and cannot stop cleanly: resume it, or kill it")
        if process.status is Status.RUNNING:
            self._signal(name, signal.SIGTERM)
            self._update(replace(process, status=Status.STOPPING))
        elif process.status is Status.DIED:
            self._update(replace(process, status=Status.STOPPED))

    def kill(self, name: str) -> None:
        """SIGKILL, and wait until it is gone; paused processes end too. No-op when it does not run."""
        process = self._process(name)
        self._restart_at.pop(name, None)
        if process.status.alive:
            self._update(replace(process, status=Status.KILLED))
            self._signal(name, signal.SIGKILL)
            self._children[name].wait()
            self.reap()

    def pause(self, name: str) -> None:
        """SIGSTOP: the process lives and its ports stay open, but nothing answers."""
        process = self._process(name)
        if process.status is Status.RUNNING:
            self._signal(name, signal.SIGSTOP)
            self._update(replace(process, status=Status.PAUSED))
        elif process.status is not Status.PAUSED:
            raise DemoError(f"{name} is {process.status} and cannot be paused")

    def resume(self, name: str) -> None:
        """SIGCONT; no-op when it is not paused."""
        process = self._process(name)
        if process.status is Status.PAUSED:
            self._signal(name, signal.SIGCONT)
            self._update(replace(process, status=Status.RUNNING))

    def mark_broken(self, fault: str, details: dict[str, Any]) -> None:
        """Note a fault that was caused on purpose."""
        self._write(replace(self._state, broken={**self._state.broken, fault: details}))

    def mark_healed(self, fault: str) -> None:
        """Forget a fault; no-op when it is not noted."""
        self._write(replace(self._state, broken={k: v for k, v in self._state.broken.items() if k != fault}))

    def add_node(self, node: dict[str, Any]) -> None:
        """Note a node that joins the cluster."""
        self._write(replace(self._state, nodes=(*self._state.nodes, states.node_of(node))))

    def shutdown(self) -> None:
        """End everything after this request is answered."""
        self._done = True

    # Children --------------------------------------------------------------------------------------------------------

    def reap(self) -> None:
        """Note which children ended."""
        for name, child in list(self._children.items()):
            code = child.poll()
            if code is None:
                continue
            del self._children[name]
            process = self._state.processes[name]
            asked = {Status.STOPPING: Status.STOPPED, Status.KILLED: Status.KILLED}
            status = asked.get(process.status, Status.DIED)
            self._update(replace(process, status=status, exit_code=code, pid=None, started=None))
            if status is Status.DIED and process.keep_running:
                self._restart_at[name] = self._monotonic() + RESTART_PAUSE_S

    def restart_due(self) -> None:
        """Start those again that died and are to keep running."""
        for name, due in list(self._restart_at.items()):
            if self._monotonic() >= due:
                del self._restart_at[name]
                self.start(name)

    def _spawn(self, process: Process) -> None:
        with Path(process.log).open("ab") as log:
            child = subprocess.Popen(
                process.argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                env={**os.environ, **process.env},
                start_new_session=True,
                preexec_fn=_dies_with(os.getpid()),
            )
        self._children[process.name] = child
        self._update(
            replace(
                process,
                status=Status.RUNNING,
                pid=child.pid,
                started=states.start_time(child.pid),
                exit_code=None,
                starts=process.starts + 1,
            )
        )

    def _signal(self, name: str, number: signal.Signals) -> None:
        # Ours and not yet waited for: the pid cannot have been given to another process.
        child = self._children.get(name)
        if child is not None and child.poll() is None:
            child.send_signal(number)

    def _end_children(self) -> None:
        """Clean stop when the folder is kept, else the quick way: its data goes with it."""
        if self._state.keep:
            for process in self._state.processes.values():
                with contextlib.suppress(DemoError):
                    self.stop(process.name)
            limit = self._monotonic() + CLEAN_STOP_LIMIT_S
            for child in self._children.values():
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(max(0.0, limit - self._monotonic()))
            self.reap()
        for name in list(self._children):
            self.kill(name)

    # Serving ---------------------------------------------------------------------------------------------------------

    def serve(self, listener: socket.socket, owner: int) -> None:
        """Answer requests until the owner is gone or shutdown is asked for, then end all children."""
        wake_reader, wake_writer = socket.socketpair()
        wake_writer.setblocking(False)
        signal.set_wakeup_fd(wake_writer.fileno())
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: self.shutdown())
        # Ctrl-C is the owner's to handle; it asks for the shutdown.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        with selectors.DefaultSelector() as selector:
            for source in (listener, wake_reader, owner):
                selector.register(source, selectors.EVENT_READ)
            while not self._done:
                ready = {key.fileobj for key, _ in selector.select(TICK_S)}
                if wake_reader in ready:
                    wake_reader.recv(4096)
                self.reap()
                self.restart_due()
                if owner in ready and not os.read(owner, 4096):
                    self._done = True
                elif listener in ready:
                    self._answer(listener)
                if not states.is_same_process(self._state.owner_pid, self._state.owner_started):
                    self._done = True
        self._end_children()

    def _answer(self, listener: socket.socket) -> None:
        channel, _ = listener.accept()
        with channel, contextlib.suppress(OSError):
            channel.settimeout(READ_LIMIT_S)
            with channel.makefile("rb") as reader:
                line = reader.readline()
            if line:
                channel.sendall(json.dumps(self._perform(line)).encode() + b"\n")

    def _perform(self, line: bytes) -> dict[str, Any]:
        try:
            arguments = json.loads(line)
            operation = self._operations[arguments.pop("operation")]
            return {"result": operation(**arguments)}
        except (DemoError, OSError, KeyError, TypeError, ValueError) as error:
            return {"error": str(error) or type(error).__name__}

    # State -----------------------------------------------------------------------------------------------------------

    def _process(self, name: str) -> Process:
        self.reap()
        try:
            return self._state.processes[name]
        except KeyError:
            known = ", ".join(self._state.processes) or "none"
            raise DemoError(f"there is no process {name!r}; there are: {known}") from None

    def _update(self, process: Process) -> None:
        self._write(self._state.with_process(process))

    def _write(self, state: State) -> None:
        self._state = state
        states.write(self._folder, state)


def _dies_with(parent: int) -> Callable[[], None]:
    """What a child does between fork and exec: ask the kernel to be killed when its parent dies."""
    if not sys.platform.startswith("linux"):
        return lambda: None
    # Looked up before the fork: little is safe after it.
    prctl = ctypes.CDLL(None, use_errno=True).prctl

    def ask() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)  # The parent died in between; the kernel would not tell any more.

    return ask


def main(folder: Path) -> None:
    """Serve the folder until its owner is gone; then remove the folder unless it is to be kept."""
    state = states.read(folder)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(state.socket)
        listener.listen(16)
        # Written when requests can be answered: the owner waits for it.
        state = replace(state, supervisor_pid=os.getpid(), supervisor_started=states.start_time(os.getpid()))
        states.write(folder, state)
        Supervisor(folder, state).serve(listener, owner=sys.stdin.fileno())
    Path(state.socket).unlink(missing_ok=True)
    if Path(state.socket).parent != folder:
        shutil.rmtree(Path(state.socket).parent, ignore_errors=True)
    if not state.keep:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
