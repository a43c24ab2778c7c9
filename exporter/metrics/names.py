"""Which topics and groups are shown on the page, by name and by the group's state."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from exporter.blocks import Block, LabelSets
from exporter.metrics.config import MetricsConfig, NamesConfig
from exporter.metrics.subsets import Subsets
from exporter.series import compile_regex

GROUP_STATE: Final = "kafka_consumergroup_state"
"""The family that says which state a group is in."""

Blocks = Mapping[str, Sequence[Block]]
"""By owner."""


class Names:
    """Leaves out series of topics and groups that are not to be shown; asks each label set once."""

    def __init__(self, config: MetricsConfig) -> None:
        self._topic = _shown(config.topics)
        self._group = _shown(config.groups)
        self._states = frozenset(config.groups.exclude_states)
        self._idle = self._topic is None and self._group is None and not self._states
        self._by_topic, self._by_group = Subsets(), Subsets()
        self._state_labels: tuple[LabelSets, ...] = ()
        self._hidden: frozenset[str] = frozenset()
        self._before: dict[int, tuple[Block, Block]] = {}

    def shown(self, blocks: Blocks) -> Blocks:
        """The blocks without series that are not to be shown."""
        if self._idle:
            return blocks
        self._look_at_states(b for some in blocks.values() for b in some if b.metric == GROUP_STATE)
        before, self._before = self._before, {}
        return {owner: [self._some(block, before) for block in some] for owner, some in blocks.items()}

    def _look_at_states(self, blocks: Iterable[Block]) -> None:
        """Which groups are in a state that is left out; only looked at anew when a group's state has changed."""
        labels = tuple(block.labels for block in blocks)
        if not self._states or labels == self._state_labels:
            return
        self._state_labels = labels
        hidden = frozenset(name for of in labels for name, state in _pairs(of) if state in self._states)
        if hidden != self._hidden:
            self._hidden, self._by_group, self._before = hidden, Subsets(), {}

    def _some(self, block: Block, before: Mapping[int, tuple[Block, Block]]) -> Block:
        names = block.labels.names
        if "topic" not in names and "consumergroup" not in names:
            return block
        # The block that it was made of is kept beside it, so its id is no other block's.
        known = before.get(id(block))
        subsets = self._by_group if "consumergroup" in names else self._by_topic
        some = known[1] if known is not None else subsets.of(block, None, self._rows)
        self._before[id(block)] = block, some
        return some

    def _rows(self, labels: LabelSets) -> list[int]:
        topic, group = _place(labels, "topic"), _place(labels, "consumergroup")
        topics = {name: self._topic_shown(name) for name in {row[topic] for row in labels.rows}} if topic >= 0 else {}
        groups = {name: self._group_shown(name) for name in {row[group] for row in labels.rows}} if group >= 0 else {}
        return [
            i
            for i, row in enumerate(labels.rows)
            if (topic < 0 or topics[row[topic]]) and (group < 0 or groups[row[group]])
        ]

    def _topic_shown(self, name: str) -> bool:
        """The empty name is no name: the series is about something else."""
        return not name or self._topic is None or self._topic(name)

    def _group_shown(self, name: str) -> bool:
        return not name or (name not in self._hidden and (self._group is None or self._group(name)))


def _shown(config: NamesConfig) -> Callable[[str], bool] | None:
    """Whether a name is shown; None where all are."""
    if ".*" in config.include and not config.exclude:
        return None
    include = [compile_regex(expression) for expression in config.include]
    exclude = [compile_regex(expression) for expression in config.exclude]
    return lambda name: any(e.fullmatch(name) for e in include) and not any(e.fullmatch(name) for e in exclude)


def _place(labels: LabelSets, name: str) -> int:
    return labels.names.index(name) if name in labels.names else -1


def _pairs(labels: LabelSets) -> Iterable[tuple[str, str]]:
    group, state = _place(labels, "consumergroup"), _place(labels, "state")
    return ((row[group], row[state]) for row in labels.rows)
