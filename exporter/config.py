"""The configuration section of one cluster: where it is, how to get in, and what is polled how often."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from exporter.files import GivenFile
from exporter.jmx.access import OPEN, Access, TlsFiles
from exporter.jmx.transport import JmxTransport, split_address
from exporter.jmx.transports import TransportName, Transports
from exporter.kafka.security import SecurityConfig
from exporter.metrics.config import MetricsConfig


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def _host_and_port(value: str) -> str:
    try:
        split_address(value)
    except ValueError:
        raise ValueError(f"{value!r} is not host:port; write for example kafka-1:9092, or [2001:db8::1]:9092") from None
    return value


Address = Annotated[str, AfterValidator(_host_and_port)]
"""``host:port``, IPv6 in brackets."""


class CollectorConfig(_Strict):
    """``interval`` in seconds; without it the collector's own default."""

    interval: Annotated[float, Field(ge=1.0, le=3600.0)] | None = None
    enabled: bool = True


class AlwaysOn(CollectorConfig):
    """A collector on which all others rest."""

    enabled: Literal[True] = True


class CollectorsConfig(_Strict):
    """A key per job of :data:`exporter.collectors.COLLECTORS`. End offsets have no key of their own: they are read with the groups, after their commits."""

    cluster: AlwaysOn = AlwaysOn()
    quorum: CollectorConfig = CollectorConfig()
    topics: CollectorConfig = CollectorConfig()
    groups: CollectorConfig = CollectorConfig()
    log_dirs: CollectorConfig = CollectorConfig()
    configs: CollectorConfig = CollectorConfig()
    certificates: CollectorConfig = CollectorConfig()
    reassignments: CollectorConfig = CollectorConfig()
    transactions: CollectorConfig = CollectorConfig()
    jmx: CollectorConfig = CollectorConfig()

    def of(self, name: str) -> CollectorConfig:
        """The settings of a collector by its name."""
        found: CollectorConfig = getattr(self, name)
        return found

    @model_validator(mode="before")
    @classmethod
    def _offsets_ride_with_groups(cls, data: Any) -> Any:
        if isinstance(data, dict) and "offsets" in data:
            raise ValueError(
                "offsets are polled in one job with groups, after the commits; set collectors.groups instead"
            )
        return data


class JmxTlsConfig(_Strict):
    """TLS to a node's JMX, or https to its jmx_exporter; file names are kept, contents are read when they are needed."""

    ca_file: GivenFile | None = None
    """Certificates that sign the nodes'; the system's when it is not set."""
    certificate_file: GivenFile | None = None
    key_file: GivenFile | None = None
    registry: bool = True
    """The RMI registry uses TLS too (com.sun.management.jmxremote.registry.ssl)."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("certificate_file and key_file belong together; set both or none")
        return self


class JmxConfig(_Strict):
    """``targets``: node id -> host:port of its JMX, brokers and controllers; with ``prometheus`` that of its jmx_exporter agent."""

    transport: TransportName = "jpype"
    targets: dict[Annotated[int, Field(ge=0)], Address] = Field(min_length=1)
    username: str | None = None
    password_file: GivenFile | None = None
    tls: JmxTlsConfig | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if (self.username is None) != (self.password_file is None):
            raise ValueError("username and password_file belong together; set both or none")
        if self.tls is not None and self.transport == "jmxquery":
            raise ValueError("jmxquery cannot use TLS; choose transport jpype, or prometheus where a jmx_exporter runs")
        if self.tls is not None and not self.tls.registry and self.transport != "jpype":
            raise ValueError(f"tls.registry is about RMI; transport {self.transport} has none, leave it out")
        return self

    @property
    def access(self) -> Access:
        """How the nodes' JMX is entered."""
        tls = TlsFiles(**self.tls.model_dump()) if self.tls is not None else None
        return Access(self.username, self.password_file, tls)

    @model_validator(mode="after")
    def _no_address_twice(self) -> Self:
        first: dict[str, int] = {}
        for node, address in self.targets.items():
            if address in first:
                raise ValueError(
                    f"nodes {first[address]} and {node} both have {address}; each node has a JMX port of its own"
                )
            first[address] = node
        return self


class ClusterConfig(_Strict):
    """What ``clusters.<name>`` holds."""

    bootstrap_servers: Annotated[list[Address], Field(min_length=1)]
    security: SecurityConfig = SecurityConfig()
    jmx: JmxConfig | None = None
    collectors: CollectorsConfig = CollectorsConfig()
    metrics: MetricsConfig = MetricsConfig()

    @property
    def jmx_targets(self) -> dict[int, str]:
        """Node id -> JMX address; empty where JMX is not configured."""
        return self.jmx.targets if self.jmx is not None else {}

    @property
    def jmx_access(self) -> Access:
        """How the nodes' JMX is entered."""
        return self.jmx.access if self.jmx is not None else OPEN

    def jmx_transport(self, transports: Transports) -> JmxTransport | None:
        """The transport that was chosen; None where JMX is not configured."""
        return transports.get(self.jmx.transport, self.jmx.access) if self.jmx is not None else None


def same_connections(one: ClusterConfig, other: ClusterConfig) -> bool:
    """Whether both reach the same Kafka the same way, so that only what is asked there can differ."""
    asked = {"collectors", "metrics", "jmx"}
    return one.model_dump(exclude=asked) == other.model_dump(exclude=asked)
