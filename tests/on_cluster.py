"""What a Klaxon and its reader are told of a demo cluster, however that one is secured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import demo
from exporter.config import ClusterConfig
from exporter.kafka.reader import Reader


def cluster_section(cluster: demo.Cluster) -> dict[str, Any]:
    """What `clusters.<name>` holds for this cluster."""
    return {
        "bootstrap_servers": cluster.bootstrap_servers.split(","),
        "security": cluster.klaxon_security(),
        "jmx": {"transport": "jpype", **cluster.klaxon_jmx},
    }


def klaxon_config(cluster: demo.Cluster, alertmanagers: Sequence[str] = (), **extra: Any) -> dict[str, Any]:
    """The configuration of a Klaxon that watches this cluster under the name demo."""
    return {
        "clusters": {"demo": cluster_section(cluster)},
        "alertmanagers": [{"url": u} for u in alertmanagers],
        **extra,
    }


def reader_for(
    cluster: demo.Cluster, name: str = "demo", servers: Sequence[str] | None = None, **options: Any
) -> Reader:
    """A reader with this cluster's security; `servers` replaces its addresses, `options` are the reader's own."""
    config = ClusterConfig.model_validate(cluster_section(cluster))
    return Reader(name, servers or config.bootstrap_servers, config.security, **options)
