"""Turns a cluster's description into files: server.properties per node, the log4j configuration, and free ports."""

from __future__ import annotations

import random
import socket
from collections.abc import Mapping
from pathlib import Path

from demo import security
from demo.errors import DemoError
from demo.security import LISTENERS, PLAINTEXT, Security
from demo.state import Node

HOST = "127.0.0.1"
# Below the range from which the kernel takes the source ports of outgoing connections (32768 upwards): else a client's
# connection may sit on the port of a node that is down just now.
PORT_RANGE = range(20_000, 32_000)
JMX_EXPORTER = "jmx_exporter"
"""Name of the port of a node's jmx_exporter agent, where it runs."""
JMX_EXPORTER_RULES = Path(__file__).with_name("jmx_exporter.yaml")
LOG_FILE_SIZE = "20MB"


def free_ports(count: int, chooser: random.Random | None = None) -> list[int]:
    """Ports on 127.0.0.1 on which nothing listens now."""
    chooser = chooser or random.Random()
    found: list[int] = []
    for port in chooser.sample(PORT_RANGE, len(PORT_RANGE)):
        if len(found) == count:
            break
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
        found.append(port)
    if len(found) < count:
        raise DemoError(
            f"{count} free ports wanted between {PORT_RANGE.start} and {PORT_RANGE.stop}, found {len(found)}"
        )
    return found


def listens(port: int) -> bool:
    """Whether somebody accepts connections on a port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((HOST, port)) == 0


def server_properties(node: Node, nodes: tuple[Node, ...], secured: Security = PLAINTEXT) -> dict[str, str]:
    """A node's settings: Kafka's defaults but for what three brokers on one small machine need."""
    made = {
        "process.roles": ",".join(node.roles),
        "node.id": str(node.id),
        "controller.quorum.voters": ",".join(
            f"{n.id}@{HOST}:{n.ports['CONTROLLER']}" for n in nodes if "controller" in n.roles
        ),
        "controller.listener.names": "CONTROLLER",
        "listeners": ",".join(
            f"{name}://{HOST}:{port}" for name, port in node.ports.items() if name not in ("jmx", JMX_EXPORTER)
        ),
        "listener.security.protocol.map": ",".join(
            f"{name}:{protocol}" for name, protocol in (*LISTENERS.items(), ("CONTROLLER", LISTENERS[secured.listener]))
        ),
        "log.dirs": ",".join(node.log_dirs),
        "metadata.log.dir": node.log_dirs[0],
        "num.network.threads": "2",
        "num.io.threads": "4",
        **_replication(len([n for n in nodes if "broker" in n.roles])),
        "group.initial.rebalance.delay.ms": "500",
        # A lost log dir shows at its next write; this one comes each second even where nothing is produced.
        "replica.high.watermark.checkpoint.interval.ms": "1000",
        # A demo that runs for days must not fill the disk.
        "log.retention.ms": "21600000",
        "log.retention.bytes": "100000000",
        "log.segment.bytes": "20000000",
    }
    if "broker" in node.roles:
        made["inter.broker.listener.name"] = secured.listener
    if node.rack is not None:
        made["broker.rack"] = node.rack
    return made


def _replication(brokers: int) -> dict[str, str]:
    """Three replicas where there are three brokers, with room for one to fail. Controllers create topics, so they are told too."""
    replicas = min(3, brokers)
    min_isr = max(1, replicas - 1)
    return {
        "auto.create.topics.enable": "false",
        "default.replication.factor": str(replicas),
        "min.insync.replicas": str(min_isr),
        "offsets.topic.replication.factor": str(replicas),
        "offsets.topic.num.partitions": "12",
        "transaction.state.log.replication.factor": str(replicas),
        "transaction.state.log.min.isr": str(min_isr),
        "transaction.state.log.num.partitions": "6",
        "share.coordinator.state.topic.replication.factor": str(replicas),
        "share.coordinator.state.topic.min.isr": str(min_isr),
        "share.coordinator.state.topic.num.partitions": "6",
    }


def render(properties: Mapping[str, str]) -> str:
    """Java's properties format; a backslash is its escape."""
    return "".join(f"{key}={value}\n".replace("\\", "\\\\") for key, value in properties.items())


def jvm_flags(
    node: Node, log_configuration: Path, server_log: Path, log4j2: bool, secured: Security, secrets: Path
) -> list[str]:
    """Heap, logging, and JMX on loopback, its RMI port fixed so that one port is enough."""
    jmx = node.ports["jmx"]
    logging_key = "log4j2.configurationFile" if log4j2 else "log4j.configuration"
    return [
        f"-Xmx{node.heap_mb}m",
        "-Xms64m",
        "-Djava.net.preferIPv4Stack=true",
        f"-D{logging_key}={log_configuration.as_uri()}",
        f"-Dklaxon.server.log={server_log}",
        f"-Dcom.sun.management.jmxremote.port={jmx}",
        f"-Dcom.sun.management.jmxremote.rmi.port={jmx}",
        f"-Dcom.sun.management.jmxremote.host={HOST}",
        "-Dcom.sun.management.jmxremote.local.only=false",
        *security.jmx_flags(secrets, secured, node.id),
        f"-Djava.rmi.server.hostname={HOST}",
    ]


def jmx_exporter_flags(node: Node, jar: Path) -> list[str]:
    """The flag that loads the jmx_exporter agent."""
    return [f"-javaagent:{jar}={HOST}:{node.ports[JMX_EXPORTER]}:{JMX_EXPORTER_RULES}"]


def log_configuration(log4j2: bool) -> tuple[str, str]:
    """(file name, text): one rolling file per node, so that a demo with broken brokers does not fill the disk with logs."""
    if log4j2:
        return (
            "log4j2.properties",
            f"""\
status = error
appender.file.type = RollingFile
appender.file.name = file
appender.file.fileName = ${{sys:klaxon.server.log}}
appender.file.filePattern = ${{sys:klaxon.server.log}}.%i
appender.file.layout.type = PatternLayout
appender.file.layout.pattern = [%d] %p %m (%c)%n
appender.file.policies.type = Policies
appender.file.policies.size.type = SizeBasedTriggeringPolicy
appender.file.policies.size.size = {LOG_FILE_SIZE}
appender.file.strategy.type = DefaultRolloverStrategy
appender.file.strategy.max = 1
rootLogger.level = info
rootLogger.appenderRef.file.ref = file
logger.config.name = org.apache.kafka.common.config.AbstractConfig
logger.config.level = warn
""",
        )
    return (
        "log4j.properties",
        f"""\
log4j.rootLogger = INFO, file
log4j.appender.file = org.apache.log4j.RollingFileAppender
log4j.appender.file.File = ${{klaxon.server.log}}
log4j.appender.file.MaxFileSize = {LOG_FILE_SIZE}
log4j.appender.file.MaxBackupIndex = 1
log4j.appender.file.layout = org.apache.log4j.PatternLayout
log4j.appender.file.layout.ConversionPattern = [%d] %p %m (%c)%n
""",
    )
