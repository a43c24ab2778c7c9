"""Runs the collectors of one cluster and publishes its Snapshots."""

from exporter.runner.runner import NodeBook, Runner

__all__ = ["NodeBook", "Runner"]
