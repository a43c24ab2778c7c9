"""Families of the collector ``certificates``."""

from __future__ import annotations

from collections.abc import Iterable

from exporter.facts.certificates import Shown
from exporter.metrics.families.lasting import Blocks, Lasting, Row
from exporter.snapshot import Snapshot

_LISTENER = ("broker", "listener", "address")


def blocks(keep: Lasting, snapshot: Snapshot) -> Blocks:
    shown = [s for _, p in sorted(snapshot.certificates.fresh(snapshot.at).items()) for s in p.value]
    if not shown:
        return []
    held = [((*_names(s), c.subject), c) for s in shown if s.chain is not None for c in s.chain.certificates]
    problems = [(s, "unverified", s.chain.problem) for s in shown if s.chain is not None and s.chain.verified is False]
    problems += [(s, s.kind, s.problem) for s in shown if s.chain is None]
    return [
        keep.block(
            "kafka_certificate_expiry_timestamp_seconds",
            (*_LISTENER, "subject"),
            _earliest((row, c.not_after) for row, c in held),
        ),
        keep.ones(
            "kafka_certificate_info",
            (*_LISTENER, "subject", "issuer"),
            list(dict.fromkeys((*row, c.issuer) for row, c in held)),
        ),
        keep.block(
            "kafka_certificate_verified",
            _LISTENER,
            ((_names(s), s.chain.verified) for s in shown if s.chain is not None and s.chain.verified is not None),
        ),
        keep.ones(
            "kafka_certificate_problem",
            (*_LISTENER, "kind", "problem"),
            [(*_names(s), kind, problem) for s, kind, problem in problems],
        ),
    ]


def file_blocks(keep: Lasting, snapshot: Snapshot) -> Blocks:
    files = snapshot.certificate_files.value(snapshot.at)
    if files is None:
        return []
    return [
        keep.block(
            "klaxon_certificate_expiry_timestamp_seconds",
            ("file", "subject"),
            _earliest(((f.path, c.subject), c.not_after) for f in files for c in f.certificates),
        ),
        keep.ones(
            "klaxon_certificate_file_problem", ("file", "problem"), [(f.path, f.problem) for f in files if f.problem]
        ),
    ]


def _names(shown: Shown) -> Row:
    at = shown.listener
    return str(at.node), at.name, at.address


def _earliest(rows: Iterable[tuple[Row, float]]) -> Iterable[tuple[Row, float]]:
    """Where one name stands for two certificates, the one that ends first."""
    found: dict[Row, float] = {}
    for row, at in rows:
        found[row] = min(at, found.get(row, at))
    return found.items()
