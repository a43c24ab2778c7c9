"""CPU and wall time of named steps, gathered round by round."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import psutil

T = TypeVar("T")


@dataclass(slots=True)
class Samples:
    """Seconds, one value per round."""

    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)

    def row(self) -> tuple[str, str, str, str]:
        """CPU median and max, wall median and max, in milliseconds."""
        return (*milliseconds(self.cpu), *milliseconds(self.wall))


class Meter:
    """Adds up the steps of a round by name; ``end`` closes the round. CPU is that of the whole process, its other threads included."""

    def __init__(self) -> None:
        self.steps: dict[str, Samples] = {}
        self._open: dict[str, tuple[float, float]] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        cpu, wall = time.process_time(), time.perf_counter()
        try:
            yield
        finally:
            self.add(name, time.process_time() - cpu, time.perf_counter() - wall)

    def add(self, name: str, cpu: float, wall: float) -> None:
        before = self._open.get(name, (0.0, 0.0))
        self._open[name] = (before[0] + cpu, before[1] + wall)

    def end(self) -> None:
        for name, (cpu, wall) in self._open.items():
            samples = self.steps.setdefault(name, Samples())
            samples.cpu.append(cpu)
            samples.wall.append(wall)
        self._open = {}

    def total(self, names: Sequence[str]) -> Samples:
        """The sum of some steps, round by round."""
        parts = [self.steps[n] for n in names if n in self.steps]
        return Samples(
            [sum(values) for values in zip(*(p.cpu for p in parts), strict=True)],
            [sum(values) for values in zip(*(p.wall for p in parts), strict=True)],
        )


def milliseconds(values: Sequence[float]) -> tuple[str, str]:
    """Median and maximum of seconds, printed in milliseconds."""
    return f"{statistics.median(values) * 1e3:.1f}", f"{max(values) * 1e3:.1f}"


def p99(values: Sequence[float]) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]


def spent(call: Callable[[], T]) -> tuple[T, float, float]:
    """What it gives, and its CPU and wall seconds."""
    cpu, wall = time.process_time(), time.perf_counter()
    value = call()
    return value, time.process_time() - cpu, time.perf_counter() - wall


def cpu_seconds(process: psutil.Process) -> float:
    """CPU of another process so far; the kernel tells it in hundredths, so divide many rounds of it."""
    times = process.cpu_times()
    return float(times.user + times.system)


def megabytes(process: psutil.Process) -> float:
    """Resident memory; of two processes what they share is counted twice."""
    return float(process.memory_info().rss / 1e6)


def proportional_megabytes(*processes: psutil.Process) -> float:
    """Memory of all, what they share with others counted by its share (PSS)."""
    return float(sum(p.memory_full_info().pss for p in processes) / 1e6)


def peak_megabytes(pid: int) -> float:
    """The largest resident size of a process so far (VmHWM)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1000 for line in lines if line.startswith("VmHWM"))
