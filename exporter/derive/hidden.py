"""Topics that Klaxon may not see: all-topics Metadata leaves them out without a word, the active controller counts them (GlobalTopicCount)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from exporter.derive.witnesses import active_by_jmx, testimony
from exporter.jmx.facts import JmxNode
from exporter.reading import Reading

TOPICS = "kafka_controller_kafkacontroller_globaltopiccount"


@dataclass(frozen=True, slots=True)
class HiddenTopics:
    """What the controller counted last, the most topics that were shown since, and what was ``missing`` of the count before it.

    ``hidden`` is the verdict, None while nobody can tell: what was missing of two counts in a row. A topic that has just been made is counted before it is shown, one that was
    deleted is shown for a while longer, and one that was made and deleted between two looks at the topics is counted and never shown.
    """

    counted_at: float | None = None
    counted: int = 0
    most_shown: int = 0
    missing: int | None = None
    hidden: int | None = None


def fold(before: HiddenTopics, jmx: Reading[JmxNode], shown: int | None, now: float) -> HiddenTopics:
    """The next state; ``shown``: how many topics Metadata shows, None where that is not known or not trusted."""
    parts = testimony(jmx, jmx.max_age, now)
    active = active_by_jmx(parts)
    total = parts[active].value.value(TOPICS) if active is not None else None
    if active is None or total is None or shown is None:
        return HiddenTopics()
    at = parts[active].taken_at
    if before.counted_at is None:
        return HiddenTopics(at, int(total), shown)
    most = max(before.most_shown, shown)
    if at == before.counted_at:
        return replace(before, most_shown=most)
    missing = max(0, before.counted - most)
    hidden = 0 if missing == 0 else min(missing, before.missing) if before.missing is not None else None
    return HiddenTopics(at, int(total), shown, missing, hidden)
