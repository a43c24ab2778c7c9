"""From facts to samples: every family of the catalogue that a Snapshot can fill, as blocks with lasting label sets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from exporter.jmx.join import JmxBlocks
from exporter.metrics.families import (
    blast,
    certificates,
    cluster,
    configs,
    groups,
    itself,
    log_dirs,
    offsets,
    quorum,
    reassignments,
    topics,
    transactions,
)
from exporter.metrics.families.lasting import Blocks, Lasting
from exporter.snapshot import Snapshot

MAKERS: Mapping[str, Callable[[Lasting, Snapshot], Blocks]] = MappingProxyType(
    {
        "cluster": cluster.blocks,
        "legs": cluster.legs_blocks,
        "quorum": quorum.blocks,
        "topics": lambda keep, snapshot: [*topics.blocks(keep, snapshot), *blast.partition_blocks(keep, snapshot)],
        "offsets": offsets.blocks,
        "groups": lambda keep, snapshot: [*groups.blocks(keep, snapshot), *blast.group_blocks(keep, snapshot)],
        "log_dirs": log_dirs.blocks,
        "configs": configs.blocks,
        "topic_configs": configs.topic_blocks,
        "quotas": configs.quota_blocks,
        "certificates": certificates.blocks,
        "certificate_files": certificates.file_blocks,
        "reassignments": reassignments.blocks,
        "throttles": reassignments.throttle_blocks,
        "throttled_topics": reassignments.topic_blocks,
        "transactions": transactions.blocks,
        "stuck_offsets": transactions.stuck_blocks,
        "producers": transactions.producer_blocks,
        "self": itself.blocks,
    }
)
"""Owner -> what makes the blocks of its families; none where it has no fresh and trusted facts."""


class Families:
    """Makes the blocks of one cluster. It remembers label sets and whole blocks, so that what did not change is handed out again as the same object."""

    def __init__(self) -> None:
        self._keep = Lasting()
        self._joined_jmx = JmxBlocks()

    def blocks(self, snapshot: Snapshot) -> dict[str, Blocks]:
        """Owner -> blocks of its families."""
        jmx = self._joined_jmx(part.value for _, part in sorted(snapshot.jmx.fresh(snapshot.at).items()))
        return {**{owner: make(self._keep, snapshot) for owner, make in MAKERS.items()}, "jmx": jmx}
