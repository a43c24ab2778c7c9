"""Settings that differ between brokers though they should not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from exporter.facts.configs import Settings

PER_BROKER: Final[Mapping[str, str]] = {
    "node.id": "names the broker",
    "broker.id": "names the broker",
    "broker.rack": "where the broker stands",
    "process.roles": "some brokers may be controllers too",
    "listeners": "the broker's own addresses",
    "advertised.listeners": "the broker's own addresses",
    "log.dir": "the host's own disks",
    "log.dirs": "the host's own disks",
    "metadata.log.dir": "the host's own disks",
    "cordoned.log.dirs": "the host's own disks",
    "ssl.keystore.location": "the broker's own certificate",
    "leader.replication.throttled.rate": "set by a reassignment on the brokers that take part",
    "follower.replication.throttled.rate": "set by a reassignment on the brokers that take part",
    "replica.alter.log.dirs.io.max.bytes.per.second": "set by a move between one broker's disks",
}
"""Settings that differ by nature, each with the reason."""

Drift = Mapping[str, Mapping[int, str]]
"""Setting -> broker -> value in force, for settings with more than one value."""

NONE: Final = ""
"""How a setting without a value is written."""


def drift(brokers: Mapping[int, Settings]) -> Drift:
    """By setting, sorted. What one broker's version does not know is compared among the others; sensitive values are never known."""
    values: dict[str, dict[int, str]] = {}
    for broker, settings in sorted(brokers.items()):
        for name, setting in settings.items():
            if not setting.sensitive and _plain(name) not in PER_BROKER:
                values.setdefault(name, {})[broker] = NONE if setting.value is None else setting.value
    return {name: by_broker for name, by_broker in sorted(values.items()) if len(set(by_broker.values())) > 1}


def _plain(name: str) -> str:
    """The setting behind the prefix of one listener (``listener.name.internal.ssl.keystore.location``)."""
    parts = name.split(".", 3)
    return parts[3] if len(parts) == 4 and name.startswith("listener.name.") else name
