"""What bounds a call: its deadline, and threads that can be left behind with what cannot be interrupted."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

T = TypeVar("T")
Resolve = Callable[..., list[Any]]
Monotonic = Callable[[], float]


class Deadline:
    """A moment on the monotonic clock by which a call ends; knows in which phase it is."""

    __slots__ = ("_at", "_monotonic", "phase")

    def __init__(self, seconds: float, monotonic: Monotonic) -> None:
        self._monotonic = monotonic
        self._at = monotonic() + seconds
        self.phase = "queue"

    def left(self) -> float:
        """Seconds that remain; raises TimeoutError when none do."""
        left = self._at - self._monotonic()
        if left <= 0:
            raise TimeoutError
        return left


class Detached(Generic[T]):
    """Calls that cannot be interrupted, each in a thread of its own: a key has at most one thread that may hang, and all who ask meanwhile share its outcome."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._running: dict[Hashable, _Running[T]] = {}

    def run(self, key: Hashable, call: Callable[[], T], timeout: float) -> T:
        """What ``call`` returns or raises; raises TimeoutError when it takes longer, and then it goes on by itself."""
        with self._lock:
            running = self._running.get(key)
            if running is None:
                running = self._running[key] = _Running(call)
                threading.Thread(target=self._run, args=(key, running), name=self._name, daemon=True).start()
        if not running.done.wait(timeout):
            raise TimeoutError
        return running.outcome()

    def _run(self, key: Hashable, running: _Running[T]) -> None:
        running.run()
        with self._lock:
            self._running.pop(key, None)
        running.done.set()


class _Running(Generic[T]):
    def __init__(self, call: Callable[[], T]) -> None:
        self._call = call
        self.done = threading.Event()
        self._found: list[T] = []
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            self._found.append(self._call())
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that asked
            self._error = error

    def outcome(self) -> T:
        if self._error is not None:
            raise self._error
        return self._found[0]


class Resolver:
    """Name look-ups within a time: getaddrinfo cannot be interrupted."""

    def __init__(self, resolve: Resolve) -> None:
        self._resolve = resolve
        self._look_ups: Detached[list[Any]] = Detached("resolve")

    def addresses(self, host: str, port: int, timeout: float) -> list[Any]:
        """getaddrinfo's answer; raises TimeoutError, OSError."""
        return self._look_ups.run((host, port), lambda: self._look_up(host, port), timeout)

    def _look_up(self, host: str, port: int) -> list[Any]:
        try:
            return self._resolve(host, port, type=socket.SOCK_STREAM)
        except UnicodeError as error:
            # A label of the name is empty or too long (RFC 1035).
            raise socket.gaierror(socket.EAI_NONAME, f"not a host name ({error})") from error
