"""The configuration section ``routing``: labels for the incidents of clusters, topics, groups and problems, by which Alertmanager finds who is to be told."""

from __future__ import annotations

import re
from typing import Annotated, Final, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from exporter.series import LABEL_NAME

OWN_LABELS: Final = frozenset({"alertname", "cluster", "subject", "severity", "instance"})


def _label(name: str) -> str:
    if not LABEL_NAME.fullmatch(name) or name.startswith("__"):
        raise ValueError(f"{name!r} cannot name a label; use letters, digits and '_', no digit first")
    if name in OWN_LABELS:
        raise ValueError(f"{name} is a label of every incident; choose another name")
    return name


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"{text!r} is no regular expression: {error}") from None
    return text


Pattern = Annotated[str, AfterValidator(_pattern)]


class Route(BaseModel):
    """Labels for every incident that all given patterns match; regular expressions for whole names."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    cluster: Pattern | None = None
    topic: Pattern | None = None
    group: Pattern | None = None
    problem: Pattern | None = None
    labels: Annotated[
        dict[Annotated[str, AfterValidator(_label)], Annotated[str, Field(min_length=1)]], Field(min_length=1)
    ]

    @model_validator(mode="after")
    def _one_subject(self) -> Self:
        if self.topic is not None and self.group is not None:
            raise ValueError("give topic or group: the subject of an incident is one of them")
        return self

    def matches(self, cluster: str, problem: str, subject: str) -> bool:
        kind, _, name = subject.partition("/")
        asked = (
            (self.cluster, cluster),
            (self.problem, problem),
            (self.topic, name if kind == "topic" else None),
            (self.group, name if kind == "group" else None),
        )
        return all(
            pattern is None or (given is not None and re.fullmatch(pattern, given) is not None)
            for pattern, given in asked
        )


def routed(routes: tuple[Route, ...], cluster: str, problem: str, subject: str) -> dict[str, str]:
    """The labels of an incident; where several routes give the same label the first one counts."""
    labels: dict[str, str] = {}
    for route in routes:
        if route.matches(cluster, problem, subject):
            labels = {**route.labels, **labels}
    return dict(sorted(labels.items()))
