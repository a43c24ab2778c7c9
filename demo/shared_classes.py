"""Lets the JVMs of the demo share one prepared copy of Kafka's classes, which halves what their start costs.

This is Java's class-data sharing (`java -Xshare:dump`): a first cluster of one node, and the tools that ask it, write down which classes they load; the
archive that is made of these is mapped by every later JVM of that Kafka version. A JVM that cannot use it starts without.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from demo.runtime import Runtime, locked, say

LISTS = "%p.classes"
DUMP_LIMIT_S = 120.0


def with_shared_classes(kafka_runtime: Runtime, train: Callable[[Runtime], None]) -> Runtime:
    """The runtime with its archive, which the first call makes in about 15 seconds. Safe in several processes at once.

    `train` is to run what is worth it, with the runtime that it is given. Whatever it raises is raised, and nothing is kept.
    """
    archive = kafka_runtime.archive
    if not archive.exists():
        with locked(archive.parent, archive.name, f"preparing Kafka {kafka_runtime.version}"):
            if not archive.exists():
                say(f"preparing Kafka {kafka_runtime.version} for quick starts (about 15 seconds, once)")
                _make(archive, kafka_runtime, train)
    return kafka_runtime


def _make(archive: Path, kafka_runtime: Runtime, train: Callable[[Runtime], None]) -> None:
    with tempfile.TemporaryDirectory(dir=archive.parent) as folder:
        training = replace(kafka_runtime, flags=(f"-XX:DumpLoadedClassList={Path(folder) / LISTS}",))
        train(training)
        named = {name for file in Path(folder).glob("*.classes") for name in _classes(file.read_text())}
        chosen, made = Path(folder) / "all", Path(folder) / archive.name
        chosen.write_text("".join(f"{name}\n" for name in sorted(named)))
        flags = ("-Xshare:dump", f"-XX:SharedClassListFile={chosen}", f"-XX:SharedArchiveFile={made}")
        _dump([str(kafka_runtime.java), *flags, "-Xlog:disable", "-cp", kafka_runtime.class_path])
        if made.exists():
            made.replace(archive)
        else:
            # An empty file stands for "it cannot be made with this Java", so that nobody tries again at every start.
            archive.touch()


def _classes(text: str) -> list[str]:
    """The names in a list that a JVM wrote; what else it says of them holds for that JVM alone."""
    return [line.split()[0] for line in text.splitlines() if line and line[0] not in "#@" and "source:" not in line]


def _dump(argv: list[str]) -> None:
    try:
        subprocess.run(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=DUMP_LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        return
