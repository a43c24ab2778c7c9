"""A real Kafka cluster on this machine, with traffic and with faults to break it."""

from demo.cluster import Cluster
from demo.errors import ClusterGone, DemoError, DemoTimeout, DemoUnavailable, NodeDied

start = Cluster.start
load = Cluster.load

__all__ = [
    "Cluster",
    "ClusterGone",
    "DemoError",
    "DemoTimeout",
    "DemoUnavailable",
    "NodeDied",
    "load",
    "start",
]
