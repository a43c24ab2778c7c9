"""The command `demo`: a real cluster with traffic under a Klaxon, and the faults to break it with from a second terminal."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

import demo
from demo import faults, runtime, security, traffic

CLUSTER_NAME = "demo"


def default_folder() -> Path:
    """Where the running demo keeps its state, so that a second terminal finds it."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "klaxon" / "demo"


def configuration(cluster: demo.Cluster, listen: str, alertmanagers: list[str]) -> dict[str, Any]:
    """The configuration of a Klaxon that watches this demo cluster."""
    return {
        "clusters": {
            CLUSTER_NAME: {
                "bootstrap_servers": cluster.bootstrap_servers.split(","),
                "security": cluster.klaxon_security(),
                "jmx": {"transport": "jpype", **cluster.klaxon_jmx},
            }
        },
        "alertmanagers": [{"url": url} for url in alertmanagers],
        "web": {"listen": listen},
        "data_dir": str(cluster.folder / "klaxon-data"),
    }


@dataclass(frozen=True, slots=True)
class Wish:
    """The cluster that was asked for; `security` is a listener, with a mechanism as in SASL_SSL/PLAIN."""

    nodes: int = 3
    controllers: int = 0
    kafka_version: str = runtime.DEFAULT_VERSION
    security: str = "PLAINTEXT"
    racks: tuple[str, ...] = ()


def run(
    folder: Path | None,
    wish: Wish,
    listen: str,
    alertmanagers: list[str],
    daemon: Callable[[dict[str, Any]], int] | None,
) -> int:
    """Start cluster and traffic, then ``daemon`` on them until it ends; None waits for Ctrl-C instead. All of it ends with this process."""
    folder = folder or default_folder()
    secured = security.named(wish.security)
    say(f"Starting a Kafka cluster of {wish.nodes + wish.controllers} nodes in {folder}")
    with demo.start(
        folder, wish.nodes, wish.kafka_version, controllers=wish.controllers, racks=wish.racks, security=secured
    ) as cluster:
        say(f"Kafka {cluster.version} answers at {cluster.bootstrap_servers} ({wish.security})")
        if secured.secrets:
            say(f"Passwords and certificates are in {cluster.secrets}")
        traffic.start(cluster)
        say(f"Traffic: topics {', '.join(traffic.TOPICS)}; groups {described(traffic.groups(cluster))}")
        if missing := traffic.left_out(cluster):
            say(f"Kafka {cluster.version} is too old for: {described(missing)}")
        say("Break something from a second terminal: klaxon demo break broker-killed")
        if daemon is None:
            wait_for_signal()
            return 0
        return daemon(configuration(cluster, listen, alertmanagers))


def described(groups: Iterable[traffic.Group]) -> str:
    return ", ".join(f"{g.name} ({g.protocol})" for g in groups)


def break_(folder: Path | None, fault: str, node: int | None) -> str:
    """Cause a fault in the running demo; returns what was done."""
    details = faults.break_(demo.load(folder or default_folder()), fault, node)
    return ", ".join(f"{key} {value}" for key, value in details.items() if key != "at") or "done"


def heal(folder: Path | None, fault: str | None) -> list[str]:
    """Undo one fault of the running demo, or all."""
    return faults.heal(demo.load(folder or default_folder()), fault)


def known_faults() -> dict[str, str]:
    """Fault -> what it does."""
    return {fault.name: fault.description for fault in faults.FAULTS.values()}


def say(text: str) -> None:
    """Progress for the person who waits."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def wait_for_signal() -> None:
    """Until SIGINT or SIGTERM."""
    ended = Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    while not ended.wait(3600):
        pass
