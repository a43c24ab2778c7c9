"""A real KRaft cluster on this machine: start it, and start, stop, kill, pause or resume each node, from any process."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import TracebackType
from typing import Any

from demo import control, kafka, logs, runtime, security, settings, setup, shared_classes, state
from demo.errors import ClusterGone, DemoError, DemoTimeout, NodeDied
from demo.security import ADMIN, PLAINTEXT, Security
from demo.setup import Overrides, Wanted
from demo.state import Node, State, Status

START_LIMIT_S = 120.0
STOP_LIMIT_S = 60.0
SUPERVISOR_LIMIT_S = 30.0
TOOL_LIMIT_S = 60.0
POLL_S = 0.1
TRAINING_TOOLS = (
    ("org.apache.kafka.tools.TopicCommand", ("--create", "--topic", "training")),
    ("org.apache.kafka.tools.TopicCommand", ("--describe",)),
    ("org.apache.kafka.tools.consumer.group.ConsumerGroupCommand", ("--list",)),
)
"""(main class, arguments): what the first cluster of a Kafka version is asked, for the classes that this loads."""


class Cluster:
    """A running demo cluster. The process that started it owns it: the cluster ends with that process, whatever happens.

    Any other process gets a handle by `Cluster.load(folder)` and may do to the nodes whatever the owner may.
    """

    def __init__(self, folder: Path, owned: State | None = None) -> None:
        """A handle; `owned` is the description that the starting process made. Use `start` or `load`."""
        self.folder = folder
        self._owned = owned
        self._supervisor: subprocess.Popen[bytes] | None = None

    # Beginning and end -----------------------------------------------------------------------------------------------

    @classmethod
    def start(
        cls,
        folder: Path | None = None,
        nodes: int = 3,
        version: str = runtime.DEFAULT_VERSION,
        *,
        controllers: int = 0,
        racks: Sequence[str] = (),
        security: Security = PLAINTEXT,
        overrides: Overrides | None = None,
        node_overrides: Mapping[int, Overrides] | None = None,
        heap_mb: int = 384,
        node_heap_mb: Mapping[int, int] | None = None,
        keep: bool = False,
        jmx_exporter: bool = False,
        limit: float = START_LIMIT_S,
    ) -> Cluster:
        """Start a new cluster and wait until every broker is unfenced.

        `folder` must be empty, missing, or left by a demo that has ended; None makes a temporary one. `nodes` are
        brokers 1, 2, …; each is a controller too unless `controllers` asks for separate ones (101, 102, …). `racks` are
        dealt to the brokers in turn. `overrides` are Kafka settings for all nodes, `node_overrides` for one node id, as
        `node_heap_mb` is to `heap_mb`. With `keep` the folder stays after the end,
        with `jmx_exporter` every node runs that agent beside its JMX.
        Raises DemoUnavailable (no brokers on this machine), NodeDied, DemoTimeout, DemoError (what cannot be).
        """
        wanted = Wanted(
            nodes, controllers, version, overrides or {}, node_overrides or {}, heap_mb, node_heap_mb or {}, racks,
            security, keep, jmx_exporter,
        )  # fmt: skip
        wanted.check()
        kafka_runtime = shared_classes.with_shared_classes(runtime.get(version), cls._train)
        return cls._start(folder, wanted, kafka_runtime, limit)

    @classmethod
    def _train(cls, kafka_runtime: runtime.Runtime) -> None:
        """Loads the classes of a broker and of the tools that ask it."""
        with cls._start(None, Wanted(1, version=kafka_runtime.version), kafka_runtime, START_LIMIT_S) as cluster:
            for tool, arguments in TRAINING_TOOLS:
                cluster._run_tool(kafka_runtime, tool, "--bootstrap-server", cluster.bootstrap_servers, *arguments)

    @classmethod
    def _start(cls, folder: Path | None, wanted: Wanted, kafka_runtime: runtime.Runtime, limit: float) -> Cluster:
        folder = setup.claim_folder(folder)
        described = setup.describe(folder, wanted)
        cluster = cls(folder, described)
        try:
            setup.write_configuration(folder, described, wanted, kafka_runtime.uses_log4j2)
            setup.format_log_dirs(folder, described, kafka_runtime)
            cluster._start_supervisor(described)
            for node in described.nodes:
                cluster._define_node(node, kafka_runtime)
            cluster.start_nodes(limit=limit)
        except BaseException:
            # A start that was broken off (Ctrl-C too) leaves nothing behind either.
            cluster.close()
            raise
        return cluster

    @classmethod
    def load(cls, folder: Path) -> Cluster:
        """A handle on a cluster that another process started; raises ClusterGone when it does not run."""
        cluster = cls(Path(folder))
        found = cluster.state
        if not state.is_same_process(found.supervisor_pid, found.supervisor_started):
            raise ClusterGone(f"the demo cluster in {folder} has ended; start one with: klaxon demo")
        return cluster

    def _start_supervisor(self, described: State) -> None:
        state.write(self.folder, described)
        with (self.folder / "supervisor.log").open("ab") as log:
            # Its standard input is the owner's pipe: whatever ends this process closes it.
            process = subprocess.Popen(
                [sys.executable, "-m", "demo.supervisor", str(self.folder)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": python_path()},
                start_new_session=True,
            )
        self._supervisor = process

        def answers() -> bool:
            if process.poll() is not None:
                raise DemoError(
                    f"the supervisor ended at once:\n{logs.summary(logs.read(self.folder / 'supervisor.log'))}"
                )
            return self.state.supervisor_pid is not None

        self._wait(answers, SUPERVISOR_LIMIT_S, "the supervisor answers")

    def close(self) -> None:
        """End the cluster. The owner waits until nothing is left of it; harmless when it has ended already."""
        with contextlib.suppress(ClusterGone):
            control.request(self.folder, "shutdown")
        if self._owned is None:
            return
        if self._supervisor is not None:
            self._end_supervisor(self._supervisor)
        # The supervisor does this itself unless it was killed or never came to life.
        if not self._owned.keep:
            shutil.rmtree(self.folder, ignore_errors=True)
            if Path(self._owned.socket).parent != self.folder:
                shutil.rmtree(Path(self._owned.socket).parent, ignore_errors=True)

    def _end_supervisor(self, process: subprocess.Popen[bytes]) -> None:
        if process.stdin is not None:
            process.stdin.close()
        try:
            process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            # The kernel kills its children with it.
            process.kill()
            process.wait()

    def __enter__(self) -> Cluster:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # What it is ------------------------------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """The state as it is now; raises ClusterGone when the folder has gone."""
        return state.read(self.folder)

    @property
    def version(self) -> str:
        return self.state.version

    @property
    def cluster_id(self) -> str:
        return self.state.cluster_id

    @property
    def nodes(self) -> tuple[Node, ...]:
        return self.state.nodes

    @property
    def node_ids(self) -> tuple[int, ...]:
        return tuple(node.id for node in self.nodes)

    @property
    def broker_ids(self) -> tuple[int, ...]:
        return tuple(node.id for node in self.nodes if "broker" in node.roles)

    @property
    def controller_ids(self) -> tuple[int, ...]:
        return tuple(node.id for node in self.nodes if "controller" in node.roles)

    @property
    def bootstrap_servers(self) -> str:
        """All brokers, running or not, as a client would be configured."""
        return ",".join(self.address(node) for node in self.broker_ids)

    @property
    def live_brokers(self) -> tuple[int, ...]:
        """The brokers whose process runs (not paused); raises DemoError when there is none."""
        running = tuple(node for node in self.broker_ids if self.status(node) is Status.RUNNING)
        if not running:
            raise DemoError("no broker runs")
        return running

    @property
    def live_bootstrap_servers(self) -> str:
        """The addresses of `live_brokers`."""
        return ",".join(self.address(node) for node in self.live_brokers)

    @property
    def jmx_targets(self) -> dict[int, str]:
        """Node id to "127.0.0.1:port" of its JMX."""
        return {node.id: f"{settings.HOST}:{node.ports['jmx']}" for node in self.nodes}

    @property
    def jmx_exporter_targets(self) -> dict[int, str]:
        """Node id to "127.0.0.1:port" of its jmx_exporter agent; empty where none was asked for."""
        ports = {node.id: node.ports.get(settings.JMX_EXPORTER) for node in self.nodes}
        return {node: f"{settings.HOST}:{port}" for node, port in ports.items() if port is not None}

    def node(self, node_id: int) -> Node:
        """One node; raises DemoError when there is no such node."""
        for node in self.nodes:
            if node.id == node_id:
                return node
        raise DemoError(f"there is no node {node_id}; there are: {', '.join(map(str, self.node_ids))}")

    def address(self, node_id: int, listener: str | None = None) -> str:
        """host:port of a broker's listener; without a name, of the one for clients and brokers."""
        return f"{settings.HOST}:{self.node(node_id).ports[listener or self.security.listener]}"

    def status(self, node_id: int) -> Status:
        """What the node's process does now."""
        return self.state.processes[self.node(node_id).process].status

    def log_text(self, node_id: int) -> str:
        """All that the node's log file and standard streams hold now."""
        return "\n".join(line for kind in ("out", "log") for line in logs.read(self.folder / f"node-{node_id}.{kind}"))

    def log_tail(self, node_id: int) -> str:
        """The end of what the node wrote: its standard streams, then the last errors and lines of its log."""
        return "".join(logs.summary(logs.read(self.folder / f"node-{node_id}.{kind}")) for kind in ("out", "log"))

    # How to get in ---------------------------------------------------------------------------------------------------

    @property
    def security(self) -> Security:
        return self.state.security

    @property
    def secrets(self) -> Path:
        """The folder of passwords and certificates."""
        return self.folder / security.FOLDER

    def client_settings(
        self,
        user: str = ADMIN,
        *,
        brokers: Iterable[int] | None = None,
        listener: str | None = None,
        mechanism: str | None = None,
    ) -> dict[str, Any]:
        """What a client of confluent-kafka needs to come in as `user`: addresses of `brokers` (default: all) and secrets."""
        wanted = self.broker_ids if brokers is None else brokers
        return {
            "bootstrap.servers": ",".join(self.address(node, listener) for node in wanted),
            **security.client_settings(self.secrets, self.security, user, listener, mechanism),
        }

    @property
    def live(self) -> dict[str, Any]:
        """Client settings of the demo itself, with the running brokers only; raises DemoError when there is none."""
        return self.client_settings(brokers=self.live_brokers)

    def klaxon_security(
        self, user: str = "klaxon", *, listener: str | None = None, mechanism: str | None = None
    ) -> dict[str, Any]:
        """The `security` section of a Klaxon that comes in as `user`."""
        return security.klaxon_block(self.secrets, self.security, user, listener, mechanism)

    @property
    def klaxon_jmx(self) -> dict[str, Any]:
        """The `jmx` section of a Klaxon: the targets, and user and TLS where they are asked for."""
        return {"targets": self.jmx_targets, **security.jmx_block(self.secrets, self.security)}

    # Nodes -----------------------------------------------------------------------------------------------------------

    def start_node(self, node_id: int, *, wait: bool = True, limit: float = START_LIMIT_S) -> None:
        """Start a node that is down; no-op when it runs. With `wait`, until it is unfenced."""
        self._node_operation("start", node_id)
        if wait:
            self.wait_unfenced([node_id], limit)

    def start_nodes(self, node_ids: Iterable[int] | None = None, *, limit: float = START_LIMIT_S) -> None:
        """Start several nodes (default: all) at the same time and wait until all are unfenced."""
        wanted = list(self.node_ids if node_ids is None else node_ids)
        for node_id in wanted:
            self._node_operation("start", node_id)
        self.wait_unfenced(wanted, limit)

    def stop_node(self, node_id: int, *, wait: bool = True, limit: float = STOP_LIMIT_S) -> None:
        """Stop a node cleanly (SIGTERM, controlled shutdown); raises DemoTimeout when it does not end in time."""
        self._node_operation("stop", node_id)
        if wait:
            self._wait(lambda: not self.status(node_id).alive, limit, f"node {node_id} has stopped")

    def kill_node(self, node_id: int) -> None:
        """SIGKILL: the node is gone when this returns."""
        self._node_operation("kill", node_id)

    def pause_node(self, node_id: int) -> None:
        """SIGSTOP: the node hangs, its ports stay open."""
        self._node_operation("pause", node_id)

    def resume_node(self, node_id: int, *, wait: bool = True, limit: float = START_LIMIT_S) -> None:
        """SIGCONT. With `wait`, until it is unfenced."""
        self._node_operation("resume", node_id)
        if wait:
            self.wait_unfenced([node_id], limit)

    def restart_node(self, node_id: int, *, wait: bool = True, limit: float = START_LIMIT_S) -> None:
        """Stop cleanly and start again."""
        self.stop_node(node_id)
        self.start_node(node_id, wait=wait, limit=limit)

    def _node_operation(self, operation: str, node_id: int) -> None:
        control.request(self.folder, operation, name=self.node(node_id).process)

    def add_broker(self, overrides: Overrides | None = None, *, limit: float = START_LIMIT_S) -> int:
        """A further broker joins, no controller, with no replica until some are moved to it; waits until it is unfenced and returns its id.

        `overrides` are Kafka settings for it. Raises DemoError on a secured cluster.
        """
        described = self.state
        node = setup.further_broker(self.folder, described)
        kafka_runtime = runtime.get(described.version)
        setup.write_node(self.folder, node, described, overrides or {})
        setup.format_log_dirs(self.folder, described, kafka_runtime, [node])
        control.request(self.folder, "add-node", node=asdict(node))
        self._define_node(node, kafka_runtime)
        self.start_node(node.id, limit=limit)
        return node.id

    def set_heap(self, node_id: int, heap_mb: int) -> None:
        """Give a node that is down another heap (-Xmx, MB), from its next start on."""
        self._define_node(replace(self.node(node_id), heap_mb=heap_mb), runtime.get(self.version))

    def _define_node(self, node: Node, kafka_runtime: runtime.Runtime) -> None:
        log4j2 = kafka_runtime.uses_log4j2
        flags = settings.jvm_flags(
            node,
            self.folder / settings.log_configuration(log4j2)[0],
            self.folder / f"node-{node.id}.log",
            log4j2,
            self.security,
            self.secrets,
        )
        if settings.JMX_EXPORTER in node.ports:
            flags += settings.jmx_exporter_flags(node, runtime.jmx_exporter())
        argv = kafka_runtime.command("kafka.Kafka", str(setup.properties_path(self.folder, node)), jvm=flags)
        self.define_process(node.process, argv)

    # Other processes that live and die with the cluster ---------------------------------------------------------------

    def define_process(self, name: str, argv: list[str], *, python: bool = False, keep_running: bool = False) -> None:
        """Say how a process is to be run under this cluster's supervisor; a running one cannot be redefined.

        Its output goes to NAME.out in the folder. `python`: it runs a module of this package. `keep_running`: it is
        started again when it dies.
        """
        control.request(
            self.folder,
            "define",
            name=name,
            argv=argv,
            env={"PYTHONPATH": python_path()} if python else {},
            log=str(self.folder / f"{name}.out"),
            keep_running=keep_running,
        )

    def process_operation(self, operation: str, name: str) -> None:
        """start, stop, kill, pause or resume a process by its name."""
        control.request(self.folder, operation, name=name)

    def stop_process(self, name: str, limit: float = STOP_LIMIT_S) -> None:
        """SIGTERM and wait until it ended; no-op when it does not run."""
        self.process_operation("stop", name)
        self._wait(lambda: not self.state.processes[name].status.alive, limit, f"{name} has stopped")

    def mark_broken(self, fault: str, details: dict[str, Any]) -> None:
        """Note in the state that a fault was caused on purpose, with what is needed to undo it."""
        control.request(self.folder, "mark-broken", fault=fault, details=details)

    def mark_healed(self, fault: str) -> None:
        """Take a fault out of the state; no-op when it is not there."""
        control.request(self.folder, "mark-healed", fault=fault)

    # Conditions ------------------------------------------------------------------------------------------------------

    def wait_unfenced(self, node_ids: Iterable[int] | None = None, limit: float = START_LIMIT_S) -> None:
        """Wait until each broker among these nodes (default: all) counts itself as unfenced, and each controller listens.

        Each is asked itself: what the others say of it may be from before its restart. Raises NodeDied, DemoTimeout.
        """
        wanted = list(self.node_ids if node_ids is None else node_ids)

        def up(node_id: int) -> bool:
            if "broker" in self.node(node_id).roles:
                return node_id in kafka.unfenced_brokers(self.client_settings(brokers=[node_id]))
            return settings.listens(self.node(node_id).ports["CONTROLLER"])

        def all_up() -> bool:
            self._raise_if_died(wanted)
            return all(up(node_id) for node_id in wanted)

        self.wait_until(all_up, limit, f"nodes {wanted} are up, brokers unfenced")

    def wait_healthy(self, limit: float = START_LIMIT_S) -> None:
        """Wait until every broker is unfenced and no partition lacks a replica or a leader."""
        deadline = time.monotonic() + limit
        self.wait_unfenced(limit=limit)
        seen: list[str] = []

        def healthy() -> bool:
            seen[:] = kafka.under_replicated(self.live)
            return not seen

        self.wait_until(
            healthy, max(1.0, deadline - time.monotonic()), "no partition is under-replicated", lambda: ", ".join(seen)
        )

    def wait_until(
        self, condition: Callable[[], bool], limit: float, what: str, last_seen: Callable[[], str] = str
    ) -> None:
        """Wait until a condition on the cluster is true; clients that fail meanwhile count as "not yet"."""

        def holds() -> bool:
            try:
                return condition()
            except kafka.NO_ANSWER:
                return False

        self._wait(holds, limit, what, last_seen)

    def _wait(self, condition: Callable[[], bool], limit: float, what: str, last_seen: Callable[[], str] = str) -> None:
        deadline = time.monotonic() + limit
        while not condition():
            if time.monotonic() > deadline:
                raise DemoTimeout(what, limit, last_seen())
            time.sleep(POLL_S)

    def _raise_if_died(self, node_ids: Iterable[int]) -> None:
        processes = self.state.processes
        for node_id in node_ids:
            process = processes[f"node-{node_id}"]
            if not process.status.alive:
                raise NodeDied(node_id, process.exit_code, self.log_tail(node_id))

    # Tools -----------------------------------------------------------------------------------------------------------

    def kafka_tool(self, main_class: str, *args: str, limit: float = TOOL_LIMIT_S) -> str:
        """Run one of Kafka's own command-line tools and return its standard output.

        `main_class` is for example org.apache.kafka.tools.TopicCommand; arguments are as for the script of that tool.
        On a secured cluster it comes in as the super user. Raises DemoError with what the tool wrote when it fails or takes
        longer than `limit` seconds.
        """
        return self._run_tool(runtime.get(self.version), main_class, *self._let_in(main_class, args), limit=limit)

    def _run_tool(
        self, kafka_runtime: runtime.Runtime, main_class: str, *args: str, limit: float = TOOL_LIMIT_S
    ) -> str:
        argv = kafka_runtime.command(main_class, *args, jvm=("-Xmx256m",))
        try:
            done = subprocess.run(argv, capture_output=True, text=True, timeout=limit, check=False, cwd=self.folder)
        except subprocess.TimeoutExpired as error:
            raise DemoError(f"{main_class} did not end within {limit:.0f} s") from error
        if done.returncode != 0:
            raise DemoError(f"{main_class} ended with status {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout

    def _let_in(self, main_class: str, args: Sequence[str]) -> list[str]:
        """The arguments with the file that lets a tool in, behind the address that it is to ask."""
        given = list(args)
        config = self.secrets / security.TOOL_CONFIG
        for option in ("--bootstrap-server", "--bootstrap-controller"):
            if option in given and config.exists():
                # The one tool of these that calls it differently up to 4.1.
                elects = main_class.endswith(".LeaderElectionCommand")
                behind = given.index(option) + 2
                given[behind:behind] = ["--admin.config" if elects else "--command-config", str(config)]
        return given


def python_path() -> str:
    """The PYTHONPATH with which `python -m demo.…` finds this package, wherever the caller stands."""
    return os.pathsep.join(
        filter(None, (str(Path(__file__).resolve().parent.parent), os.environ.get("PYTHONPATH", "")))
    )
