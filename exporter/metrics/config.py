"""The configuration section ``clusters.<name>.metrics``: how much detail of a cluster stands on the metrics page."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from exporter.series import compile_regex


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def _expression(value: str) -> str:
    compile_regex(value)
    return value


Expression = Annotated[str, AfterValidator(_expression)]
"""A regular expression as Prometheus reads them (RE2), matched against the whole name."""

GroupState = Literal[
    "Stable",
    "Empty",
    "Dead",
    "PreparingRebalance",
    "CompletingRebalance",
    "Assigning",
    "Reconciling",
    "NotReady",
    "Unknown",
]
"""States of groups in Kafka's words (org.apache.kafka.common.GroupState)."""


class NamesConfig(_Strict):
    """Shown are names that one of ``include`` matches and none of ``exclude``."""

    include: list[Expression] = [".*"]
    exclude: list[Expression] = []


class TopicsDetail(NamesConfig):
    """``level``: down to the partition, or no further than the topic."""

    level: Literal["partition", "topic"] = "partition"


class GroupsDetail(NamesConfig):
    """``level``: down to the partition, to the topic, or no further than the group. Groups in one of ``exclude_states`` are not shown."""

    level: Literal["partition", "topic", "group"] = "partition"
    exclude_states: list[GroupState] = []


class MetricsConfig(_Strict):
    """``ceiling``: series of the cluster on the page above which detail is dropped."""

    topics: TopicsDetail = TopicsDetail()
    groups: GroupsDetail = GroupsDetail()
    ceiling: Annotated[int, Field(ge=1000)] = 2_000_000


EVERY_DETAIL = MetricsConfig()
"""The defaults."""
