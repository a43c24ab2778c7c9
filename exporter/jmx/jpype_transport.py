"""The default transport: a child process with a Java machine reads the beans; a hang or crash there is a lost JMX leg and nothing else."""

from __future__ import annotations

import itertools
import logging
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from weakref import WeakKeyDictionary

from exporter.jmx.access import Pem, TlsFiles
from exporter.jmx.errors import BY_KIND, JmxChildDied, JmxDenied, JmxError, JmxHung, JmxTimeout
from exporter.jmx.frames import Frame, FrameError, encode, read_frame
from exporter.jmx.transport import BeanValues, JmxAnswer, Plan, Target, split_address

log = logging.getLogger(__name__)

GRACE_S = 0.2
"""The child is told to end this much before the deadline (at most a tenth of it), so that its own words arrive in time."""
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0
STEADY_S = 60.0
"""After a child that lived so long the pauses begin anew."""
START_LIMIT_S = 30.0
"""A child that is not ready after so long is killed."""
MOST_HUNG = 8
HUNG_S = 30.0
"""So many targets hung for so long, and the child is started anew."""
HUNG_FOREVER_S = 120.0
"""One target hung for so long, and the child is started anew: its thread will not come back, though the node may have."""
SILENT_READS = 2
"""The child itself hangs when it said nothing at all during so many reads in a row: a hung target alone is answered at once from the second read on."""
_STARTER = "import sys; sys.modules['numpy'] = None; from exporter.jmx.jpype_child import main; main()"
"""JPype loads numpy where it finds one; the child has no use for it, and it is an eighth of its memory."""


@dataclass(slots=True)
class _Read:
    """A read that waits for its answers."""

    open: dict[int, Target]
    answers: dict[int, JmxAnswer] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Request:
    """A target, ready for the child."""

    target: Target
    host: str
    port: int
    credentials: tuple[str, str] | None = field(repr=False)


class _Child:
    """One life of the child process, with the TLS files' text as it was when the life began."""

    def __init__(self, started: float, pem: Pem | None) -> None:
        self.started = started
        self.pem = pem
        self.ready = False
        self.over = False
        self.write_lock = threading.Lock()
        self.plan_ids = itertools.count(1)
        self.plans: WeakKeyDictionary[Plan, int] = WeakKeyDictionary()
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", _STARTER, str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            env=_environment(),
        )
        assert self.process.stdin is not None and self.process.stdout is not None
        self.stdin = self.process.stdin.fileno()
        self.stdout = self.process.stdout.fileno()
        os.set_blocking(self.stdin, False)

    def write(self, data: bytes, until: float, monotonic: Callable[[], float]) -> bool:
        """Write all of it, or False when the child does not take it in time: then it is broken, since a frame may be cut."""
        view = memoryview(data)
        while view:
            if self.over:
                return False
            wait = until - monotonic()
            if wait <= 0 or not select.select([], [self.stdin], [], wait)[1]:
                return False
            try:
                view = view[os.write(self.stdin, view) :]
            except BlockingIOError:
                continue
            except OSError:
                return False
        return True

    def end(self) -> None:
        """Kill, reap and close; needs the write lock, since the numbers of closed pipes are given to others."""
        self.over = True
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


class JpypeTransport:
    """Reads over JPype in a child process that is started at the first read and again whenever it dies, with growing pauses.

    Safe for several threads. With ``tls`` every node must use TLS; when those files change, the child is started anew with them. ``clock`` gives Unix seconds for
    ``taken_at``.
    """

    def __init__(
        self,
        tls: TlsFiles | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tls = tls
        self._clock = clock
        self._monotonic = monotonic
        self._changed = threading.Condition()
        self._reads: dict[int, _Read] = {}
        self._next_id = 0
        self._child: _Child | None = None
        self._supervisor: threading.Thread | None = None
        self._last_end = ""
        self._tls_fault = ""
        self._faulty: Pem | None = None
        """The files' text that the fault is about."""
        self._frames = 0
        self._silent_reads = 0
        self._hung: dict[str, float] = {}
        self._closed = threading.Event()

    @property
    def child_pid(self) -> int | None:
        """Process id of the child while there is one."""
        child = self._child
        return child.process.pid if child is not None else None

    # --- reading

    def read(self, targets: Sequence[Target], deadline_s: float) -> Mapping[int, JmxAnswer]:
        """See JmxTransport. Until the Java machine runs (0.4 s), reads wait within their deadline."""
        started = self._monotonic()
        deadline = started + deadline_s
        requests, denied = self._requests(targets, started)
        targets = [r.target for r in requests]
        if not targets:
            return denied
        try:
            self._renew()
        except JmxDenied as error:
            return denied | {t.node: self._failed(t, started, JmxDenied(error.args[0])) for t in targets}
        self._start()
        child = self._ready_child(deadline)
        if child is None:
            return denied | self._all_failed(targets, started, self._no_child())
        with self._changed:
            read_id = self._next_id = self._next_id + 1
            read = self._reads[read_id] = _Read({t.node: t for t in targets}, denied)
            frames_before = self._frames
        try:
            if not self._send(child, read_id, requests, deadline, deadline_s):
                self._kill(child, "it takes no requests")
                read.answers.update(self._all_failed(targets, started, "the Java process ended"))
                read.open.clear()
            with self._changed:
                self._changed.wait_for(lambda: not read.open, max(0.0, deadline - self._monotonic()))
        finally:
            with self._changed:
                del self._reads[read_id]
                late = tuple(read.open.values())
                read.open.clear()
        for target in late:
            message = f"no answer within {deadline_s:g} s"
            read.answers[target.node] = self._failed(target, started, JmxTimeout(message))
        self._judge(child, silent=bool(late) and self._frames == frames_before)
        return read.answers

    def _requests(self, targets: Sequence[Target], started: float) -> tuple[list[_Request], dict[int, JmxAnswer]]:
        """What the child is to read, and the answers of those whose password cannot be read. ValueError for an address that is none."""
        requests: list[_Request] = []
        denied: dict[int, JmxAnswer] = {}
        for target in targets:
            host, port = split_address(target.address)
            try:
                requests.append(_Request(target, host, port, target.access.credentials()))
            except JmxDenied as error:
                denied[target.node] = self._failed(target, started, error)
        return requests, denied

    def _renew(self) -> None:
        """End a child that was given other TLS files than there are now. Raises JmxDenied where they cannot be used."""
        if self._tls is None:
            return
        pem = self._tls.read()
        with self._changed:
            child = self._child
            if self._faulty != pem:
                # Known of the files as they were: a child that ended meanwhile said it.
                self._tls_fault = ""
        if child is not None and child.pem != pem:
            self._kill(child, "the files of jmx.tls have changed")

    def _send(
        self, child: _Child, read_id: int, requests: Sequence[_Request], deadline: float, deadline_s: float
    ) -> bool:
        frames: list[bytes] = []
        child_deadline = deadline - self._monotonic() - min(GRACE_S, deadline_s / 10)
        with child.write_lock:
            for request in requests:
                plan = request.target.plan
                plan_id = child.plans.get(plan)
                if plan_id is None:
                    plan_id = child.plans[plan] = next(child.plan_ids)
                    frames.append(encode(_plan_frame(plan_id, plan)))
                frames.append(
                    encode(
                        {
                            "read": read_id,
                            "node": request.target.node,
                            "host": request.host,
                            "port": request.port,
                            "plan": plan_id,
                            "credentials": request.credentials,
                            "deadline": max(0.05, child_deadline),
                        }
                    )
                )
            return child.write(b"".join(frames), deadline, self._monotonic)

    def _ready_child(self, deadline: float) -> _Child | None:
        def ready() -> bool:
            over = self._closed.is_set() or bool(self._tls_fault)
            return over or (self._child is not None and self._child.ready)

        with self._changed:
            self._changed.wait_for(ready, max(0.0, deadline - self._monotonic()))
            return self._child if self._child is not None and self._child.ready else None

    def _no_child(self) -> str:
        if self._closed.is_set():
            return "the transport is closed"
        return f"the Java process is not ready yet{self._last_end and f'; before, it ended: {self._last_end}'}"

    def _all_failed(self, targets: Iterable[Target], started: float, message: str) -> dict[int, JmxAnswer]:
        fault = self._tls_fault
        return {t.node: self._failed(t, started, JmxDenied(fault) if fault else JmxChildDied(message)) for t in targets}

    def _failed(self, target: Target, started: float, error: JmxError) -> JmxAnswer:
        error.node, error.address = target.node, target.address
        return JmxAnswer(target.node, target.address, self._clock(), self._monotonic() - started, error=error)

    # --- answers

    def _take(self, frame: Frame) -> None:
        """One frame of the child; answers that nobody waits for any more are dropped."""
        with self._changed:
            self._frames += 1
            if "ready" in frame:
                self._tls_fault = ""
                if self._child is not None:
                    self._child.ready = True
            elif "tls" in frame:
                self._tls_fault = f"jmx.tls cannot be used: {frame['tls']}"
                self._faulty = self._child.pem if self._child is not None else None
            else:
                read = self._reads.get(frame["read"])
                target = read.open.pop(frame["node"], None) if read is not None else None
                if read is not None and target is not None:
                    read.answers[target.node] = self._answer(target, frame)
            self._changed.notify_all()

    def _answer(self, target: Target, frame: Frame) -> JmxAnswer:
        at = self._clock()
        if "error" in frame:
            error = self._error(target, frame)
            return JmxAnswer(target.node, target.address, at, frame.get("seconds", 0.0), error=error)
        self._hung.pop(target.address, None)
        return JmxAnswer(
            node=target.node,
            address=target.address,
            taken_at=at,
            seconds=frame["seconds"],
            beans=tuple([BeanValues(request, bean, tuple(values)) for request, bean, values in frame["beans"]]),
            missing=tuple(frame["missing"]),
            failed=frame["failed"],
            warnings=tuple(frame["warnings"]),
        )

    def _error(self, target: Target, frame: Frame) -> JmxError:
        message = frame["message"]
        if "hung" in frame:
            self._hung[target.address] = frame["hung"]
            return JmxHung(message, seconds=frame["hung"], node=target.node, address=target.address)
        self._hung.pop(target.address, None)
        return BY_KIND.get(frame["error"], JmxError)(message, node=target.node, address=target.address)

    # --- the child's life

    def _start(self) -> None:
        with self._changed:
            if self._supervisor is None and not self._closed.is_set():
                self._supervisor = threading.Thread(target=self._supervise, name="jmx-child", daemon=True)
                self._supervisor.start()

    def _supervise(self) -> None:
        """Start the child and read from it, again and again. This one thread starts them all: the kernel ends the child with the *thread* that started it."""
        pause = FIRST_PAUSE_S
        while not self._closed.is_set():
            started = self._monotonic()
            self._one_life(started)
            if self._monotonic() - started >= STEADY_S:
                pause = FIRST_PAUSE_S
            if self._closed.wait(pause):
                return
            pause = min(2 * pause, LONGEST_PAUSE_S)

    def _one_life(self, started: float) -> None:
        try:
            child = _Child(started, self._tls.read() if self._tls is not None else None)
            child.write(encode({"tls": self._tls_frame(child.pem)}), started + START_LIMIT_S, self._monotonic)
        except (OSError, JmxDenied) as error:
            self._last_end = f"it cannot be started: {error}"
            log.error("JMX: the Java process cannot be started: %s", error)
            return
        with self._changed:
            self._child = child
            self._hung.clear()
            self._silent_reads = 0
        watchdog = threading.Timer(START_LIMIT_S, self._end_unless_ready, (child,))
        watchdog.daemon = True
        watchdog.start()
        reason = ""
        try:
            while (frame := read_frame(lambda size: os.read(child.stdout, size))) is not None:
                self._take(frame)
        except (OSError, FrameError, KeyError, TypeError, ValueError) as error:
            reason = f"it sent nonsense ({error})"
        watchdog.cancel()
        self._bury(child, reason)

    def _tls_frame(self, pem: Pem | None) -> Frame | None:
        return {**asdict(pem), "registry": self._tls.registry} if self._tls is not None and pem is not None else None

    def _bury(self, child: _Child, reason: str) -> None:
        with self._changed:
            self._child = None
        with child.write_lock:
            child.end()
        with self._changed:
            self._last_end = reason or _end_of(child.process.returncode)
            for read in self._reads.values():
                for target in read.open.values():
                    error = JmxChildDied(f"the Java process ended: {self._last_end}")
                    read.answers[target.node] = self._failed(target, self._monotonic(), error)
                read.open.clear()
            self._changed.notify_all()
        if not self._closed.is_set():
            log.warning("JMX: the Java process ended: %s; it is started again", self._last_end)

    def _end_unless_ready(self, child: _Child) -> None:
        if not child.ready:
            self._kill(child, f"it was not ready after {START_LIMIT_S:g} s")

    def _judge(self, child: _Child, *, silent: bool) -> None:
        """End a child that hangs as a whole, or that has too many hung threads or one that will not come back."""
        with self._changed:
            self._silent_reads = self._silent_reads + 1 if silent else 0
            long_hung = [s for s in self._hung.values() if s > HUNG_S]
            if self._silent_reads >= SILENT_READS:
                reason = f"it said nothing during {self._silent_reads} reads"
            elif len(long_hung) >= MOST_HUNG or any(s > HUNG_FOREVER_S for s in long_hung):
                reason = f"{len(long_hung)} reads hang in it, the longest for {max(long_hung):.0f} s"
            else:
                return
        self._kill(child, reason)

    def _kill(self, child: _Child, reason: str) -> None:
        """The supervisor notices, buries it and starts the next."""
        with self._changed:
            child.ready = False
            if child.over:
                return
        log.warning("JMX: ending the Java process: %s", reason)
        child.process.kill()

    def close(self) -> None:
        """See JmxTransport."""
        self._closed.set()
        with self._changed:
            child, supervisor = self._child, self._supervisor
            self._changed.notify_all()
        if child is not None:
            child.process.kill()
        if supervisor is not None:
            supervisor.join(5)


def _plan_frame(plan_id: int, plan: Plan) -> Frame:
    return {
        "plan": plan_id,
        "beans": [
            [b.bean, b.refresh_s, b.every_s, [[a.name, a.kind.value, list(a.items)] for a in b.attributes]]
            for b in plan.beans
        ],
    }


def _environment() -> dict[str, str]:
    """Ours, so that the child finds this package wherever we run, without options that others meant for their own Java."""
    environment = {
        k: v for k, v in os.environ.items() if k not in ("JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "JDK_JAVA_OPTIONS")
    }
    root = str(Path(__file__).parents[2])
    environment["PYTHONPATH"] = os.pathsep.join([root, *filter(None, [environment.get("PYTHONPATH")])])
    return environment


def _end_of(returncode: int | None) -> str:
    if returncode is None:
        return "nobody knows how"
    return f"signal {-returncode}" if returncode < 0 else f"exit status {returncode}"
