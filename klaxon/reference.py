"""Writes the reference pages from the catalogues: `python -m klaxon.reference docs`."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path

from alerts.diagnosis.tree import Trees
from alerts.engine.rules import AlertingRule, RuleSet
from alerts.engine.template import Template
from alerts.engine.thresholds import METRIC
from alerts.promql.questions import selectors
from alerts.promql.text import to_text
from exporter.jmx.strimzi import render_strimzi_doc
from exporter.metrics.catalogue import complete
from exporter.metrics.document import render_metrics_doc
from klaxon.config import build

SMALLEST = {"clusters": {"kafka": {"bootstrap_servers": ["kafka:9092"]}}}


def pages() -> dict[str, str]:
    """File name -> text of every generated page."""
    loaded = build(SMALLEST, Path.cwd())
    return {
        "metrics.md": render_metrics_doc(complete().values()),
        "strimzi.md": render_strimzi_doc(),
        "alerts.md": alerts_page(loaded.rules, loaded.trees),
    }


def alerts_page(rules: RuleSet, trees: Trees) -> str:
    """Every shipped rule, then every cause that the shipped trees may find."""
    return "\n".join([*_head(), *_rules(rules), *_causes(trees)]) + "\n"


def _head() -> Iterator[str]:
    yield "# Alerts"
    yield ""
    yield "Generated from `alerts/rules/` and `alerts/trees/` by `make docs`. The rule files are standard Prometheus files and load in a Prometheus unchanged."
    yield "Alerts of one problem and subject are one incident; the trees say whose fault an alert is, so it may join another problem's incident."


def _rules(rules: RuleSet) -> Iterator[str]:
    for file, groups in groupby(rules.groups, key=lambda group: group.file):
        yield f"\n## Rules: {Path(file).stem}"
        for group in groups:
            for rule in group.rules:
                if isinstance(rule, AlertingRule):
                    yield from _rule(rule, group.interval)


def _rule(rule: AlertingRule, interval: float) -> Iterator[str]:
    labels, annotations = _texts(rule.labels), _texts(rule.annotations)
    yield f"\n### {rule.name}\n"
    yield f"{annotations.get('summary', '')}.".replace("..", ".")
    if "impact" in annotations:
        yield annotations["impact"]
    yield ""
    told = [f"severity `{rule.severity}`", f"for {_seconds(rule.for_)}", f"evaluated every {_seconds(interval)}"]
    if rule.keep_firing_for:
        told.append(f"kept for {_seconds(rule.keep_firing_for)}")
    told += [f"{name} `{labels[name]}`" for name in ("problem", "subject", "tree") if name in labels]
    told += [f"limit `thresholds.{name}`" for name in _limits(rule)]
    yield f"{' · '.join(told)}\n"
    yield f"```promql\n{to_text(rule.expr)}\n```"


def _limits(rule: AlertingRule) -> list[str]:
    """The limits of the configuration that a rule joins."""
    joined = [s for s in selectors(rule.expr) if s.name == METRIC]
    return sorted({m.value for s in joined for m in s.matchers if m.name == "name" and m.op == "="})


def _texts(templates: Iterable[tuple[str, Template]]) -> dict[str, str]:
    return {name: template.text for name, template in templates}


def _seconds(seconds: float) -> str:
    """In the largest unit of which there are two or more: 90 s, 60 min, 6 h, 7 d."""
    size, unit = next(((s, u) for s, u in ((86_400, "d"), (3600, "h"), (60, "min")) if seconds >= 2 * s), (1, "s"))
    return f"{seconds / size:g} {unit}"


def _causes(trees: Trees) -> Iterator[str]:
    yield "\n## Causes"
    for name, tree in sorted(trees.by_name.items()):
        yield f"\n### {name}: {tree.file.title}\n"
        for cause, leaf in tree.file.causes.items():
            yield f"- **{cause}**: {' '.join(sentence.say for sentence in leaf.says)}"


if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "docs")
    for file, text in pages().items():
        (folder / file).write_text(text, encoding="utf-8")
