"""An application of Kafka Streams, Kafka's own word count, as a streams group (KIP-1071) on a demo cluster."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator

from confluent_kafka import Producer

import demo
from demo import kafka, runtime, security

GROUP = "word-count"
READ, WRITTEN = "streams-plaintext-input", "streams-wordcount-processor-output"
CHANGELOG = f"{GROUP}-Counts-changelog"
PARTITIONS = 3
_MAIN = "org.apache.kafka.streams.examples.wordcount.WordCountProcessorDemo"
_STOP_LIMIT_S = 30.0


@contextlib.contextmanager
def running(cluster: demo.Cluster) -> Iterator[None]:
    """The application, with records to read; its stores are in memory, so it needs no RocksDB. Topics, group and commits stay: see ``forget``."""
    access = cluster.client_settings()
    for topic in (READ, WRITTEN):
        kafka.create_topic(access, topic, PARTITIONS)
    producer = Producer(kafka.client_settings(access))
    for number in range(300):
        producer.produce(READ, f"word {number % 7}", partition=number % PARTITIONS)
    assert producer.flush(30) == 0
    process = subprocess.Popen(
        _command(cluster), cwd=cluster.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(_STOP_LIMIT_S)
        finally:
            process.kill()
            process.wait()


def forget(cluster: demo.Cluster) -> None:
    """Delete what an application that has ended left: its topics, and with what it read its commits."""
    for topic in (READ, WRITTEN, CHANGELOG):
        kafka.delete_topic(cluster.client_settings(), topic)


def _command(cluster: demo.Cluster) -> list[str]:
    """With the settings in a file beside the cluster's own secrets, as the application wants them."""
    settings = {
        "bootstrap.servers": cluster.bootstrap_servers,
        "application.id": GROUP,
        "group.protocol": "streams",
        "state.dir": str(cluster.folder / "streams"),
        "commit.interval.ms": "1000",
    }
    secrets = cluster.secrets / security.TOOL_CONFIG
    lines = [f"{name}={value}" for name, value in settings.items()]
    lines += secrets.read_text().splitlines() if secrets.exists() else []
    file = cluster.folder / "streams.properties"
    file.touch(mode=0o600)
    file.write_text("\n".join(lines))
    kafka_runtime = runtime.get(cluster.version)
    jars = [
        str(runtime.jar("org.apache.kafka", name, cluster.version))
        for name in ("kafka-streams", "kafka-streams-examples")
    ]
    argv = kafka_runtime.command(_MAIN, str(file), jvm=("-Xmx96m",))
    argv[argv.index("-cp") + 1] += os.pathsep + os.pathsep.join(jars)
    return argv
