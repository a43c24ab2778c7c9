"""What Strimzi's rules for jmx_exporter make of a node's beans: the names of their metric families, by the kinds of rules that its kafka-metrics.yaml has."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

_SAMPLES = Path(__file__).with_name("samples")
_CHANNEL = ("incoming-byte-total", "outgoing-byte-total", "request-total", "response-total")


def seen_beans(version: str) -> dict[str, tuple[str, ...]]:
    """Bean (or pattern) -> attributes, as a combined node of that version had them."""
    lines = (_SAMPLES / f"beans-{version}.txt").read_text().splitlines()
    return {bean: tuple(attributes.split()) for bean, attributes in (line.split("\t") for line in lines)}


def families(beans: Iterable[tuple[str, tuple[str, ...]]]) -> set[str]:
    """The families of all beans."""
    return {_legal(name) for bean, attributes in beans for name in _names(bean, attributes)}


def _legal(name: str) -> str:
    """lowercaseOutputName, and what jmx_exporter does with characters that no metric name may have."""
    return re.sub(r"[^a-z0-9_:]", "_", name.lower())


def _names(bean: str, attributes: tuple[str, ...]) -> Iterator[str]:
    domain, _, text = bean.partition(":")
    keys = dict(part.split("=", 1) for part in text.split(","))
    kind, name = keys.pop("type", ""), keys.pop("name", "")
    if keys.keys() == {"clientId", "topic", "partition"}:
        yield f"kafka_server_{kind}_{name}"
    if "clientSoftwareName" in keys and "connections" in attributes:
        yield f"kafka_server_{kind}_connections_software"
    if kind == "socket-server-metrics" and keys.keys() == {"listener", "networkProcessor"}:
        yield "kafka_server_socket_server_metrics_connection_count"
    if kind == "raft-metrics":
        yield from (f"kafka_server_raftmetrics_{a}" for a in attributes)
    if kind == "raft-channel-metrics":
        yield from (f"kafka_server_raftchannelmetrics_{a}" for a in _CHANNEL)
    if kind == "broker-metadata-metrics":
        yield from (f"kafka_server_brokermetadatametrics_{a}" for a in attributes)
    # The general rules want one word after "kafka.": kafka.coordinator.group is not named by any.
    word = re.search(r"kafka\.(\w+)$", domain)
    if word is not None and name and len(keys) <= 2:
        yield from _general(f"kafka_{word[1]}_{kind}", kind, name, len(keys), attributes)


def _general(prefix: str, kind: str, name: str, keys: int, attributes: tuple[str, ...]) -> Iterator[str]:
    percent = re.fullmatch(r"(.+)Percent\w*", name)
    if percent is not None and "MeanRate" in attributes and not keys:
        yield f"{prefix}_{percent[1]}_percent"
    if "Value" in attributes:
        yield f"{prefix}_{percent[1]}_percent" if percent is not None and keys < 2 else f"{prefix}_{name}"
    if "Count" in attributes and kind != "RequestMetrics":
        per_second = re.fullmatch(r"(.+)PerSec\w*", name)
        yield f"{prefix}_{per_second[1]}_total" if per_second is not None else f"{prefix}_{name}_count"
    if "99thPercentile" in attributes and kind != "RequestMetrics":
        yield f"{prefix}_{name}"
