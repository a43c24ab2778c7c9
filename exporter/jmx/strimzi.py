"""Which of the metric families of Strimzi's rules Klaxon has under the same name, and why it has not the others: strimzi.yaml as a page."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import yaml

from exporter.jmx.catalogue import families

STRIMZI_FILE = Path(__file__).with_name("strimzi.yaml")

_HEAD = """\
# Strimzi's JMX families

This page is made from `exporter/jmx/strimzi.yaml` and `exporter/jmx/beans/` by `make docs`. A dashboard or rule for Strimzi's metrics goes on working with the
families of the first table, with the label `broker` (the node id) where Strimzi has `pod`. Their request metrics (`kafka_network_requestmetrics_*`) are left out of the
rules of late; Klaxon has them for the requests that matter.

One thing differs on purpose: `kafka_server_kafkarequesthandlerpool_*_percent` are the last minute here and the mean since the node's start there, which hides a busy hour."""


@dataclass(frozen=True, slots=True)
class Strimzi:
    """All families of the rules, and (pattern, reason) of those that Klaxon does not read."""

    families: tuple[str, ...]
    exceptions: tuple[tuple[str, str], ...]

    def why_not(self, family: str) -> str | None:
        """The reason of the first exception that fits."""
        return next((why for pattern, why in self.exceptions if fnmatchcase(family, pattern)), None)


def strimzi() -> Strimzi:
    """What strimzi.yaml says."""
    raw = yaml.safe_load(STRIMZI_FILE.read_text(encoding="utf-8"))
    return Strimzi(tuple(raw["families"]), tuple((e["families"], e["why"]) for e in raw["exceptions"]))


def render_strimzi_doc() -> str:
    """The page as Markdown."""
    known, told = {f.name: f for f in families()}, strimzi()
    rows = [f"| `{n}` | {', '.join(f'`{label}`' for label in known[n].labels)} |" for n in told.families if n in known]
    missing = [f"| `{n}` | {told.why_not(n) or ''} |" for n in told.families if n not in known]
    return "\n".join(
        [
            _HEAD,
            "",
            f"## Under the same name ({len(rows)})",
            "",
            "| family | labels |",
            "|---|---|",
            *rows,
            "",
            f"## Not read ({len(missing)})",
            "",
            "| family | why |",
            "|---|---|",
            *missing,
            "",
        ]
    )
