"""Families of the features that brokers tell with ApiVersions."""

from __future__ import annotations

from exporter.facts.cluster import ClusterFacts, LegName, LegState, Pulse
from exporter.metrics.families.lasting import Blocks, Lasting


def blocks(keep: Lasting, facts: ClusterFacts) -> Blocks:
    """Of the brokers that answered; the cluster's levels from the one that has read furthest in the metadata log."""
    brokers = {b.id for b in facts.brokers}
    told = {
        n: p.features
        for n, p in sorted(facts.pulses.items())
        if n in brokers and p.features is not None and _answered(p)
    }
    newest = max(told.values(), key=lambda f: f.epoch, default=None)
    finalized = sorted(newest.finalized.items()) if newest is not None else ()
    return [
        keep.block("kafka_feature_finalized_level", ("feature",), (((name,), level) for name, level in finalized)),
        keep.block(
            "kafka_broker_feature_max_level",
            ("broker", "feature"),
            (
                ((str(node), name), highest)
                for node, features in told.items()
                for name, (_, highest) in sorted(features.supported.items())
            ),
        ),
    ]


def _answered(pulse: Pulse) -> bool:
    return pulse.legs[LegName.API_VERSIONS].state is LegState.OK
