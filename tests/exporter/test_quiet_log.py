"""A repeated failure is told once, each ten minutes, and when it ends."""

from __future__ import annotations

from structlog.testing import CapturingLogger

from exporter.quiet_log import REMIND_S, QuietLog


def test_changes_are_told_and_repeats_are_counted() -> None:
    log, now = CapturingLogger(), [0.0]
    quiet = QuietLog(log, lambda: now[0])
    for _ in range(130):
        quiet.failed("topics", "timeout", "failing", broker=1)
        now[0] += 5
    for kind in ("refused", "timeout", "refused"):
        quiet.failed("topics", kind, "failing", broker=1)
    quiet.ended("topics", "works again")
    quiet.ended("topics", "works again")
    quiet.failed("topics", "timeout", "failing", broker=1)
    told = [
        (c.method_name, c.kwargs.get("kind"), c.kwargs.get("times") or c.kwargs.get("failed_times")) for c in log.calls
    ]
    at_reminder = int(REMIND_S / 5) + 1
    assert told == [
        ("warning", "timeout", None),
        ("warning", "timeout", at_reminder),
        ("warning", "refused", 131),
        ("info", None, 133),
        ("warning", "timeout", None),
    ]
