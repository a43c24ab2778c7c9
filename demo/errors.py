"""What can go wrong in the demo, as a small tree of errors."""

from __future__ import annotations


class DemoError(Exception):
    """Anything that the demo cannot do; the message says what would be right."""


class DemoUnavailable(DemoError):
    """Brokers cannot be had on this machine: no Java runtime, no Kafka jars and no way to fetch them."""


class ClusterGone(DemoError):
    """The folder's cluster does not run (any more): nobody answers on its control socket."""


class NodeDied(DemoError):
    """A node ended while it was expected to run.

    Attributes: `node` (id), `exit_code` (negative: minus the signal), `log_tail` (last lines of its log).
    """

    def __init__(self, node: int, exit_code: int | None, log_tail: str) -> None:
        super().__init__(f"node {node} ended with status {exit_code}; the end of its log:\n{log_tail}")
        self.node = node
        self.exit_code = exit_code
        self.log_tail = log_tail


class DemoTimeout(DemoError):
    """A condition did not come true in time.

    Attributes: `condition` (what was awaited), `limit` (seconds).
    """

    def __init__(self, condition: str, limit: float, last_seen: str = "") -> None:
        super().__init__(
            f"waited {limit:.0f} s in vain until {condition}" + (f"; last seen: {last_seen}" if last_seen else "")
        )
        self.condition = condition
        self.limit = limit
