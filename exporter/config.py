"""The configuration section of one cluster: where it is, how to get in, and what is polled how often."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from exporter.jmx.transport import split_address
from exporter.kafka.security import SecurityConfig


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


class JmxConfig(_Strict):
    """``targets``: node id -> host:port of its JMX, brokers and controllers."""

    transport: Literal["jpype"] = "jpype"
    targets: dict[Annotated[int, Field(ge=0)], Address] = Field(min_length=1)

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

    @property
    def jmx_targets(self) -> dict[int, str]:
        """Node id -> JMX address; empty where JMX is not configured."""
        return self.jmx.targets if self.jmx is not None else {}
