"""What can go wrong between us and a broker, as a small tree that names the cluster's node and the request."""

from __future__ import annotations


class KafkaError(Exception):
    """Any failure of a request; ``kind`` is a short stable word for logs, failures and metric labels."""

    kind = "error"

    def __init__(self, message: str, *, node: int | None = None, address: str = "", request: str = "") -> None:
        super().__init__(message)
        self.node = node
        self.address = address
        self.request = request

    def __str__(self) -> str:
        where = f"node {self.node} " if self.node is not None else ""
        address = f"({self.address}) " if self.address else ""
        request = f"{self.request}: " if self.request else ""
        return f"{where}{address}{request}{self.args[0]}"


class Refused(KafkaError):
    """The host answered that nothing listens on the port."""

    kind = "refused"


class NameLookupFailed(KafkaError):
    """The host name could not be resolved."""

    kind = "name"


class TimedOut(KafkaError):
    """The deadline passed; ``phase`` says in what: name look-up, connect, TLS handshake, authentication or answer."""

    kind = "timeout"

    def __init__(
        self, message: str, *, phase: str, node: int | None = None, address: str = "", request: str = ""
    ) -> None:
        super().__init__(message, node=node, address=address, request=request)
        self.phase = phase


class ConnectionLost(KafkaError):
    """The connection ended before the answer was whole."""

    kind = "disconnected"


class BadAnswer(KafkaError):
    """The answer could not be decoded: garbage, too large, or not what was asked for."""

    kind = "garbage"


class AuthenticationFailed(KafkaError):
    """TLS or SASL was refused."""

    kind = "authentication"


class Skipped(KafkaError):
    """The circuit breaker is open: the node timed out before and is tried again later."""

    kind = "skipped"


class Unsupported(KafkaError):
    """The broker does not offer the request, or not in a version that carries the fact."""

    kind = "unsupported"


class BrokerError(KafkaError):
    """The broker answered with an error code of Kafka's table; ``code`` and ``name`` are Kafka's."""

    kind = "broker"

    def __init__(self, code: int, name: str, *, node: int | None = None, address: str = "", request: str = "") -> None:
        super().__init__(f"{name} (error {code})", node=node, address=address, request=request)
        self.code = code
        self.name = name
