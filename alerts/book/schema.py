"""The book's tables, as the migrations that lead to them."""

from __future__ import annotations

import sqlite3
from typing import Final

MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (
    (
        "CREATE TABLE alerts (rule TEXT NOT NULL, id TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (rule, id)) WITHOUT ROWID",
        "CREATE TABLE evaluations (rule_group TEXT PRIMARY KEY, at REAL NOT NULL) WITHOUT ROWID",
        "CREATE TABLE incidents (id TEXT NOT NULL, opened_at REAL NOT NULL, closed_at REAL, body TEXT NOT NULL, PRIMARY KEY (id, opened_at)) WITHOUT ROWID",
        "CREATE INDEX incidents_closed ON incidents (closed_at)",
        "CREATE TABLE sent (incident TEXT NOT NULL, peer TEXT NOT NULL, what TEXT NOT NULL, at REAL NOT NULL, PRIMARY KEY (incident, peer, what)) WITHOUT ROWID",
        "CREATE TABLE nodes (cluster TEXT NOT NULL, id INTEGER NOT NULL, body TEXT NOT NULL, PRIMARY KEY (cluster, id)) WITHOUT ROWID",
        "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    ),
)
"""Statements by version: those of index n lead from version n to n + 1."""

VERSION: Final = len(MIGRATIONS)


class NewerBook(Exception):
    """The file was written by a newer Klaxon."""

    def __init__(self, version: int) -> None:
        super().__init__(f"its version {version} is newer than {VERSION}, which this Klaxon knows")
        self.version = version


def migrate(connection: sqlite3.Connection) -> None:
    """Brings a file to the newest version, in one transaction each."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > VERSION:
        raise NewerBook(version)
    for number in range(version, VERSION):
        connection.execute("BEGIN IMMEDIATE")
        try:
            for statement in MIGRATIONS[number]:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number + 1}")
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise
