"""What can go wrong between us and a node's JMX, as a small tree that names the node and its address."""

from __future__ import annotations


class JmxError(Exception):
    """Any failure to read a node's beans; ``kind`` is a short stable word for logs, failures and metric labels."""

    kind = "error"

    def __init__(self, message: str, *, node: int | None = None, address: str = "") -> None:
        super().__init__(message)
        self.node = node
        self.address = address

    def __str__(self) -> str:
        where = f"node {self.node} " if self.node is not None else ""
        address = f"({self.address}) " if self.address else ""
        return f"{where}{address}JMX: {self.args[0]}"


class JmxRefused(JmxError):
    """The host answered that nothing listens on the JMX port."""

    kind = "refused"


class JmxTimeout(JmxError):
    """The deadline passed; the message says in what."""

    kind = "timeout"


class JmxHung(JmxTimeout):
    """An earlier read of this node has not come back yet, so no new one is tried; ``seconds`` is for how long."""

    def __init__(self, message: str, *, seconds: float, node: int | None = None, address: str = "") -> None:
        super().__init__(message, node=node, address=address)
        self.seconds = seconds


class JmxConnectError(JmxError):
    """No JMX connection came about: name look-up, unreachable host, no RMI registry or no ``jmxrmi`` in it."""

    kind = "connect"


class JmxDenied(JmxConnectError):
    """The node wants credentials, or refused those given."""

    kind = "authentication"


class JmxConnectionLost(JmxError):
    """The connection ended while beans were read."""

    kind = "disconnected"


class JmxBadAnswer(JmxError):
    """What came back could not be understood."""

    kind = "garbage"


class JmxChildDied(JmxError):
    """The process that holds the Java machine ended, or cannot be started; it says nothing about the node."""

    kind = "child"


class CatalogueError(ValueError):
    """The bean catalogue is wrong; each fault names file, row and key."""

    def __init__(self, file: str, faults: list[str]) -> None:
        super().__init__("\n".join(f"{file}: {fault}" for fault in faults))
        self.file = file
        self.faults = faults


BY_KIND: dict[str, type[JmxError]] = {
    c.kind: c for c in (JmxRefused, JmxTimeout, JmxConnectError, JmxDenied, JmxConnectionLost, JmxBadAnswer)
}
"""Error classes by their kind, for errors that crossed a process border."""
