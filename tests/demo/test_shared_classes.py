"""The archive of Kafka's classes: made once, of what was loaded, and never in the way of a JVM that cannot use it."""

from __future__ import annotations

from pathlib import Path

import pytest

from demo.runtime import Runtime
from demo.shared_classes import with_shared_classes

LIST = """\
# NOTE: Do not modify this file.
java/lang/Object id: 0
kafka/Kafka$ id: 7
@lambda-proxy kafka/Kafka$ run ()Ljava/lang/Runnable;
com/sun/Proxy12 id: 8 super: 0 source: /somewhere.jar
"""
DUMPS = """\
#!/bin/sh
for flag in "$@"; do case "$flag" in
    -XX:SharedClassListFile=*) list="${flag#*=}" ;;
    -XX:SharedArchiveFile=*) archive="${flag#*=}" ;;
esac; done
cp "$list" "$archive"
"""
"""A Java whose archives are the lists that they are made of."""


def runtime(folder: Path, java: str) -> Runtime:
    (folder / "java").write_text(java)
    (folder / "java").chmod(0o755)
    return Runtime("4.3.1", folder / "java", (folder / "kafka.jar",), folder / "classes.jsa")


def train(given: Runtime) -> None:
    (flag,) = given.flags or ()
    option, file = flag.split("=")
    assert option == "-XX:DumpLoadedClassList"
    Path(file.replace("%p", "17")).write_text(LIST)
    Path(file.replace("%p", "18")).write_text("java/lang/String id: 3\n")


def never(given: Runtime) -> None:
    raise AssertionError("it was made before")


def test_it_is_made_once_of_all_that_was_loaded(tmp_path: Path) -> None:
    plain = runtime(tmp_path, DUMPS)
    assert not any("SharedArchiveFile" in word for word in plain.command("kafka.Kafka"))
    made = with_shared_classes(plain, train)
    assert made.archive.read_text().split() == ["java/lang/Object", "java/lang/String", "kafka/Kafka$"]
    assert f"-XX:SharedArchiveFile={made.archive}" in with_shared_classes(plain, never).command("kafka.Kafka")
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []


def test_without_it_everything_starts_all_the_same(tmp_path: Path) -> None:
    plain = runtime(tmp_path, "#!/bin/sh\nexit 1\n")
    made = with_shared_classes(plain, train)
    assert made.command("kafka.Kafka") == with_shared_classes(plain, never).command("kafka.Kafka")
    assert not any("SharedArchiveFile" in word for word in made.command("kafka.Kafka"))


def test_training_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        with_shared_classes(runtime(tmp_path, DUMPS), never)
    assert not (tmp_path / "classes.jsa").exists()
