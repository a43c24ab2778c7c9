"""One file for each board."""

from __future__ import annotations

from dashboards.boards import brokers, cluster, groups, wall
from dashboards.panels import Board

ALL: tuple[Board, ...] = (wall.BOARD, cluster.BOARD, brokers.BOARD, groups.BOARD)
