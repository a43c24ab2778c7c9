"""Makes the folder of a new cluster: its description, its files, and formatted log dirs."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from demo import control, runtime, security, settings, state
from demo.errors import DemoError
from demo.security import PLAINTEXT, Security
from demo.state import Node, State

FORMAT_LIMIT_S = 120.0
FIRST_CONTROLLER = 101
"""Id of the first separate controller: brokers keep 1, 2, 3 in every topology."""

Overrides = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a new cluster is to be; see `Cluster.start` for each."""

    nodes: int = 3
    controllers: int = 0
    version: str = runtime.DEFAULT_VERSION
    overrides: Overrides = field(default_factory=dict)
    node_overrides: Mapping[int, Overrides] = field(default_factory=dict)
    heap_mb: int = 384
    node_heap_mb: Mapping[int, int] = field(default_factory=dict)
    racks: Sequence[str] = ()
    security: Security = PLAINTEXT
    keep: bool = False
    jmx_exporter: bool = False

    @property
    def broker_ids(self) -> tuple[int, ...]:
        return tuple(range(1, self.nodes + 1))

    @property
    def controller_ids(self) -> tuple[int, ...]:
        return tuple(range(FIRST_CONTROLLER, FIRST_CONTROLLER + self.controllers))

    def check(self) -> None:
        """Raises DemoError for what cannot be."""
        if self.nodes < 1:
            raise DemoError(f"a cluster needs at least one node, not {self.nodes}")
        if self.controllers < 0:
            raise DemoError(f"there cannot be {self.controllers} controllers; 0 makes every broker one")
        known = {*self.broker_ids, *self.controller_ids}
        for name, by_node in (("node_overrides", self.node_overrides), ("node_heap_mb", self.node_heap_mb)):
            if strangers := sorted(set(by_node) - known):
                raise DemoError(f"{name} names nodes {strangers}; there are {sorted(known)}")


def claim_folder(folder: Path | None) -> Path:
    """An empty folder to work in; raises DemoError when somebody else's things are in it."""
    if folder is None:
        return Path(tempfile.mkdtemp(prefix="klaxon-demo-"))
    folder = Path(folder).resolve()
    if (folder / state.STATE_FILE).exists():
        _remove_remains(folder)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if any(folder.iterdir()):
        raise DemoError(f"{folder} is not empty and was not left by a demo; choose another folder")
    return folder


def _remove_remains(folder: Path) -> None:
    found = state.read(folder)
    if state.is_same_process(found.supervisor_pid, found.supervisor_started):
        raise DemoError(f"a demo cluster runs in {folder} already (process {found.supervisor_pid})")
    if found.keep:
        raise DemoError(f"{folder} holds a cluster that was to be kept; remove the folder or choose another one")
    shutil.rmtree(folder)


def describe(folder: Path, wanted: Wanted) -> State:
    """The description of a new cluster: ids, roles, ports, folders."""
    listeners = wanted.security.listeners
    combined = not wanted.controllers
    brokers = [_node(folder, wanted, n, combined, listeners) for n in wanted.broker_ids]
    controllers = [_node(folder, wanted, n, True, ()) for n in wanted.controller_ids]
    nodes = (*brokers, *controllers)
    ports = iter(settings.free_ports(sum(len(node.ports) for node in nodes)))
    return State(
        version=wanted.version,
        cluster_id=_random_cluster_id(),
        nodes=tuple(replace(node, ports={name: next(ports) for name in node.ports}) for node in nodes),
        keep=wanted.keep,
        security=wanted.security,
        owner_pid=os.getpid(),
        owner_started=state.start_time(os.getpid()),
        socket=str(_socket_path(folder)),
    )


def _node(folder: Path, wanted: Wanted, node_id: int, controller: bool, listeners: tuple[str, ...]) -> Node:
    """A node whose ports are still to be found."""
    roles = (*(("broker",) if listeners else ()), *(("controller",) if controller else ()))
    names = (*listeners, *(("CONTROLLER",) if controller else ()), "jmx")
    names += (settings.JMX_EXPORTER,) if wanted.jmx_exporter else ()
    # Only brokers have topics to spread over several.
    log_dirs = ("d1", "d2") if listeners else ("d1",)
    racks = wanted.racks if listeners else ()
    return Node(
        id=node_id,
        roles=roles,
        ports=dict.fromkeys(names, 0),
        log_dirs=tuple(str(folder / f"node-{node_id}" / name) for name in log_dirs),
        heap_mb=wanted.node_heap_mb.get(node_id, wanted.heap_mb),
        rack=racks[(node_id - 1) % len(racks)] if racks else None,
    )


def _random_cluster_id() -> str:
    """Kafka's form: 16 random bytes in URL-safe base64; a leading dash would read as an option of the format tool."""
    while True:
        made = base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
        if not made.startswith("-"):
            return made


def _socket_path(folder: Path) -> Path:
    path = folder / "control.sock"
    if len(str(path)) <= control.SOCKET_PATH_LIMIT:
        return path
    return Path(tempfile.mkdtemp(prefix="klaxon-demo-")) / "control.sock"


def properties_path(folder: Path, node: Node) -> Path:
    return folder / f"node-{node.id}.properties"


def write_configuration(folder: Path, described: State, wanted: Wanted, log4j2: bool) -> None:
    """Secrets, server.properties of each node, the log4j configuration, and empty log dirs."""
    secured = described.security
    secrets = folder / security.FOLDER
    if secured.secrets:
        security.write_files(secrets, secured, {node.id: settings.HOST for node in described.nodes})
    name, text = settings.log_configuration(log4j2)
    (folder / name).write_text(text)
    for node in described.nodes:
        overrides = {**wanted.overrides, **wanted.node_overrides.get(node.id, {})}
        write_node(folder, node, described, overrides)


def write_node(folder: Path, node: Node, described: State, overrides: Overrides) -> None:
    """A node's server.properties and empty log dirs."""
    secured = described.security
    for log_dir in node.log_dirs:
        Path(log_dir).mkdir(parents=True)
    made = {
        **settings.server_properties(node, described.nodes, secured),
        **(
            security.broker_settings(folder / security.FOLDER, secured, node.id, tuple(node.ports))
            if secured.secrets
            else {}
        ),
        **overrides,
    }
    path = properties_path(folder, node)
    # Passwords stand in it.
    path.touch(mode=0o600)
    path.write_text(settings.render(made))


def further_broker(folder: Path, described: State) -> Node:
    """Another broker for a running cluster, no controller; raises DemoError where it would need a certificate or password of its own."""
    if described.security.secrets:
        raise DemoError("no broker can be added to a secured demo cluster: its certificates are made at the start")
    brokers = [node for node in described.nodes if "broker" in node.roles]
    like = brokers[0]
    wanted = Wanted(
        heap_mb=like.heap_mb,
        racks=[node.rack for node in brokers if node.rack is not None],
        jmx_exporter=settings.JMX_EXPORTER in like.ports,
    )
    node = _node(folder, wanted, max(node.id for node in brokers) + 1, False, described.security.listeners)
    return replace(node, ports=dict(zip(node.ports, settings.free_ports(len(node.ports)), strict=True)))


def format_log_dirs(
    folder: Path, described: State, kafka_runtime: runtime.Runtime, nodes: Sequence[Node] | None = None
) -> None:
    """Kafka's own format of these nodes (default: all) at once, the users' SCRAM credentials in it; raises DemoError."""
    nodes = described.nodes if nodes is None else nodes
    secured = described.security
    scram = security.scram_credentials(folder / security.FOLDER, secured) if secured.secrets else []

    def format_node(node: Node) -> None:
        arguments = ("format", "-t", described.cluster_id, "-c", str(properties_path(folder, node)), *scram)
        argv = kafka_runtime.command("kafka.tools.StorageTool", *arguments, jvm=("-Xmx128m",))
        done = subprocess.run(argv, capture_output=True, text=True, timeout=FORMAT_LIMIT_S, check=False, cwd=folder)
        if done.returncode != 0:
            raise DemoError(f"formatting node {node.id} failed:\n{done.stdout}{done.stderr}")

    with ThreadPoolExecutor(len(nodes)) as pool:
        list(pool.map(format_node, nodes))
