"""One SQLite file that is never in the way: set aside when it is corrupt, replaced by memory while it cannot be written, and written again by itself."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from alerts.book.errors import BookError
from alerts.book.schema import NewerBook, migrate

Statement = tuple[str, Sequence[Any]]
Warn = Callable[[str], None]

RETRY_AFTER: Final = 5.0
"""Seconds between two tries to write to the file again."""

GIVE_BACK_FROM: Final = 0.25
"""Share of the file that is free before it is written anew without it."""

_SIDE_FILES: Final = ("-wal", "-shm", "-journal")
_BUSY_SECONDS: Final = 2.0

_FAILURES: Final = (sqlite3.Error, UnicodeDecodeError)
"""What SQLite raises: of a broken file it quotes names, and of one that is no UTF-8 Python cannot make the error's text."""

_BROKEN: Final = (sqlite3.DatabaseError, UnicodeDecodeError)
"""Those of them that tell of a broken file, but for the OperationalErrors among them."""


class Store:
    """A connection behind a lock, in WAL mode. ``clock`` gives Unix seconds, ``monotonic`` seconds; ``warn`` is told sentences for the log."""

    def __init__(
        self, path: Path, clock: Callable[[], float], warn: Warn, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self.path = path
        self._clock = clock
        self._monotonic = monotonic
        self._warn = warn
        self._lock = threading.RLock()
        self._healthy = True
        self._tried_at = 0.0
        self._inode = 0
        self._connection = self._begin()

    @property
    def healthy(self) -> bool:
        """Whether the last write reached the file."""
        return self._healthy

    def read(self, sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        with self._lock:
            try:
                return self._connection.execute(sql, params).fetchall()
            except _FAILURES as error:
                if not self._healthy:
                    raise BookError(self.path, f"cannot be read: {error}") from error
                self._leave_file(error)
                return self._connection.execute(sql, params).fetchall()

    def write(self, statements: Sequence[Statement]) -> None:
        """Runs the statements in one transaction. Raises BookError when the file first fails; they are in memory then, and so are all that follow."""
        with self._lock:
            if not self._healthy:
                _transaction(self._connection, statements)
                self._try_again()
                return
            try:
                self._check_place()
                _transaction(self._connection, statements)
            except (*_FAILURES, OSError) as error:
                self._fail(error, statements)

    @property
    def used(self) -> int:
        """Bytes of the file that hold something."""
        with self._lock:
            pages, free, size = (self._pragma(name) for name in ("page_count", "freelist_count", "page_size"))
            return (pages - free) * size

    def give_back(self) -> None:
        """Let the file shrink when much of it is free. Where there is no room for that it stays as it is."""
        with self._lock:
            if self._healthy and self._pragma("freelist_count") > GIVE_BACK_FROM * self._pragma("page_count"):
                with suppress(*_FAILURES):
                    self._connection.execute("VACUUM")
                    self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _pragma(self, name: str) -> int:
        try:
            return int(self._connection.execute(f"PRAGMA {name}").fetchone()[0])
        except _FAILURES:
            return 0

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    # --- the file

    def _begin(self) -> sqlite3.Connection:
        try:
            return self._open_or_set_aside()
        except (*_FAILURES, OSError) as error:
            self._healthy, self._tried_at = False, self._monotonic()
            self._warn(str(BookError(self.path, f"cannot be opened: {error}")))
            return _in_memory()

    def _open_or_set_aside(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            return self._open()
        except (*_BROKEN, NewerBook) as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
            self._set_aside(str(error))
            return self._open()

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        # What cannot be decoded is found out by who reads the entry, and left out.
        connection.text_factory = lambda given: given.decode(errors="replace")
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("PRAGMA journal_size_limit = 4194304")
            (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if verdict != "ok":
                raise sqlite3.DatabaseError(verdict)
            migrate(connection)
            _transaction(connection, [("INSERT OR REPLACE INTO meta VALUES ('opened_at', ?)", (str(self._clock()),))])
        except BaseException:
            connection.close()
            raise
        self._inode = self.path.stat().st_ino
        return connection

    def _set_aside(self, reason: str) -> None:
        moment = datetime.fromtimestamp(self._clock(), UTC).strftime("%Y%m%dT%H%M%SZ")
        aside = self.path.with_name(f"{self.path.name}.corrupt-{moment}")
        for side in ("", *_SIDE_FILES):
            with suppress(FileNotFoundError):
                Path(f"{self.path}{side}").rename(f"{aside}{side}")
        self._warn(
            f"{self.path}: cannot be used ({reason}); set aside as {aside.name}, a new book begins: alerts and incidents from before are not known"
        )

    def _check_place(self) -> None:
        """A file that was removed under us still takes writes, and none of them lasts."""
        if self.path.stat().st_ino != self._inode:
            raise FileNotFoundError(f"{self.path} was replaced")

    # --- without the file

    def _fail(self, error: Exception, statements: Sequence[Statement]) -> None:
        self._leave_file(error)
        _transaction(self._connection, statements)
        self._tried_at = -RETRY_AFTER + self._monotonic()
        self._try_again()
        if not self._healthy:
            raise BookError(self.path, f"cannot be written: {error}") from error

    def _leave_file(self, error: Exception) -> None:
        """From now on in memory, with all of the file that can still be read."""
        memory = _in_memory()
        _salvage(self._connection, memory)
        with suppress(*_FAILURES):
            self._connection.close()
        self._connection, self._healthy = memory, False
        if isinstance(error, _BROKEN) and not isinstance(error, sqlite3.OperationalError):
            with suppress(OSError):
                self._set_aside(str(error))

    def _try_again(self) -> None:
        """Writes all of memory into a new file that takes the old one's place; on failure the next write comes here again."""
        if self._monotonic() - self._tried_at < RETRY_AFTER:
            return
        self._tried_at = self._monotonic()
        fresh = Path(f"{self.path}.new")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            fresh.unlink(missing_ok=True)
            _copy(self._connection, fresh)
            for side in _SIDE_FILES:
                Path(f"{self.path}{side}").unlink(missing_ok=True)
            os.replace(fresh, self.path)  # noqa: PTH105 - the atomic one, by its own name
            connection = self._open()
        except (*_FAILURES, OSError):
            with suppress(OSError):
                fresh.unlink(missing_ok=True)
            return
        self._connection.close()
        self._connection, self._healthy = connection, True
        self._warn(f"{self.path}: can be written again; all that was in memory is in it")


def _in_memory() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    migrate(connection)
    return connection


def _salvage(source: sqlite3.Connection, target: sqlite3.Connection) -> None:
    """Every row that can still be read."""
    tables = [name for (name,) in target.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
    for table in tables:
        # A broken page ends the walk through its table only.
        with suppress(*_FAILURES):
            for row in source.execute(f"SELECT * FROM {table}"):
                with suppress(*_FAILURES):
                    target.execute(f"INSERT OR REPLACE INTO {table} VALUES ({', '.join('?' * len(row))})", row)


def _copy(source: sqlite3.Connection, path: Path) -> None:
    target = sqlite3.connect(path, isolation_level=None)
    try:
        source.backup(target)
        target.execute("PRAGMA user_version").fetchone()
    finally:
        target.close()


def _transaction(connection: sqlite3.Connection, statements: Sequence[Statement]) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        for sql, params in statements:
            connection.execute(sql, params)
        connection.execute("COMMIT")
    except BaseException:
        with suppress(*_FAILURES):
            connection.execute("ROLLBACK")
        raise
