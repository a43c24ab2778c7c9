"""The history: a bounded columnar store of the series that rules, trees and pages ask for."""

from exporter.history.errors import CheckpointError, HistoryError, NotKept
from exporter.history.history import History, HistoryStats, Loaded

__all__ = ["CheckpointError", "History", "HistoryError", "HistoryStats", "Loaded", "NotKept"]
