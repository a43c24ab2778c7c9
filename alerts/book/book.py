"""The book's entries: alerts and evaluations for the engine, incidents and what was sent for delivery, expected nodes for the exporter."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, TypeVar

from alerts.book.store import Statement, Store, Warn
from alerts.codec import CodecError, dumps, loads
from alerts.engine.engine import StoredAlert
from alerts.engine.lifecycle import Tracked
from alerts.model import Incident, Sent
from exporter.facts.cluster import Node

T = TypeVar("T")

FILE_NAME: Final = "book.sqlite"
KEEP_CLOSED_SECONDS: Final = 30 * 86_400.0
KEEP_CLOSED_COUNT: Final = 10_000
MOST_BYTES: Final = 64 * 2**20
"""How large the file may be before closed incidents go before their time, the oldest first."""
_PRUNE_EACH: Final = 3600.0


class Book:
    """All of it goes through one connection behind a lock, so any thread may call.

    A write raises BookError when the file first fails; from then on, until the file works again, writes go to memory without an error and ``healthy`` is False.
    """

    def __init__(
        self,
        data_dir: Path,
        clock: Callable[[], float] = time.time,
        warn: Warn = lambda text: None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._warn = warn
        self._store = Store(data_dir / FILE_NAME, clock, warn, monotonic)
        self._pruned_at = float("-inf")

    @property
    def healthy(self) -> bool:
        """Whether the last write reached the file."""
        return self._store.healthy

    @property
    def path(self) -> Path:
        return self._store.path

    def close(self) -> None:
        self._store.close()

    # --- alerts

    def load_alerts(self) -> list[StoredAlert]:
        """Every stored alert, pending to resolved; entries that cannot be read are left out with a warning."""
        found = []
        for rule, body in self._store.read("SELECT rule, body FROM alerts ORDER BY rule, id"):
            tracked = self._load(Tracked, body, f"alert of {rule}")
            if tracked is not None:
                found.append(StoredAlert(rule, tracked))
        return found

    def load_evaluations(self) -> dict[str, float]:
        """Group key -> when it was last evaluated, Unix seconds."""
        return dict(self._store.read("SELECT rule_group, at FROM evaluations"))

    def save_alerts(
        self, written: Sequence[StoredAlert], removed: Sequence[tuple[str, str]], evaluations: Mapping[str, float]
    ) -> None:
        """Writes and removes (rule key, fingerprint) alerts, and replaces the evaluations, in one transaction."""
        statements: list[Statement] = [("DELETE FROM alerts WHERE rule = ? AND id = ?", key) for key in removed]
        statements += [
            (
                "INSERT OR REPLACE INTO alerts VALUES (?, ?, ?)",
                (s.rule_key, s.tracked.alert.fingerprint, dumps(s.tracked)),
            )
            for s in written
        ]
        groups = json.dumps(list(evaluations))
        statements.append(
            ("DELETE FROM evaluations WHERE rule_group NOT IN (SELECT value FROM json_each(?))", (groups,))
        )
        statements += [("INSERT OR REPLACE INTO evaluations VALUES (?, ?)", pair) for pair in evaluations.items()]
        self._store.write(statements)

    # --- incidents

    def load_incidents(self, *, closed: bool = True) -> list[Incident]:
        """Incidents by opening time, oldest first; without the closed ones if ``closed`` is False."""
        where = "" if closed else "WHERE closed_at IS NULL"
        rows = self._store.read(f"SELECT id, body FROM incidents {where} ORDER BY opened_at, id")
        found = [self._load(Incident, body, f"incident {incident}") for incident, body in rows]
        return [incident for incident in found if incident is not None]

    def save_incidents(self, incidents: Iterable[Incident]) -> None:
        """Writes incidents (by id and opening time); each hour old closed ones go: after 30 days, past the newest 10,000, or
        when the file is larger than 64 MiB; the file shrinks then."""
        statements: list[Statement] = [
            ("INSERT OR REPLACE INTO incidents VALUES (?, ?, ?, ?)", (i.id, i.opened_at, i.closed_at, dumps(i)))
            for i in incidents
        ]
        now = self._clock()
        due = abs(now - self._pruned_at) >= _PRUNE_EACH
        if due:
            self._pruned_at = now
            statements += _pruning(now)
        if statements:
            self._store.write(statements)
        if due:
            self._shrink()

    def _shrink(self) -> None:
        """Below its bound, and without the room that old entries left."""
        while self._store.used > MOST_BYTES:
            (closed,) = self._store.read("SELECT count(*) FROM incidents WHERE closed_at IS NOT NULL")[0]
            if not closed:
                break
            self._store.write([(_OLDEST, (max(1, closed // 4),)), _UNSENT])
        self._store.give_back()

    # --- deliveries

    def record_sent(self, incident: str, peer: str, what: str, at: float) -> None:
        """Remembers the last time that a peer took this."""
        self._store.write([("INSERT OR REPLACE INTO sent VALUES (?, ?, ?, ?)", (incident, peer, what, at))])

    def sent(self, incident: str | None = None) -> list[Sent]:
        """What was sent, of one incident or of all."""
        where, params = ("", ()) if incident is None else ("WHERE incident = ?", (incident,))
        return [
            Sent(*row)
            for row in self._store.read(f"SELECT incident, peer, what, at FROM sent {where} ORDER BY at", params)
        ]

    def sent_to(self, peer: str) -> list[tuple[str, str]]:
        """Incident and what, of all that a peer took."""
        return [
            (str(incident), str(what))
            for incident, what in self._store.read("SELECT incident, what FROM sent WHERE peer = ?", (peer,))
        ]

    # --- nodes

    def load_nodes(self, cluster: str) -> list[Node]:
        """The nodes that are expected in a cluster, by id."""
        rows = self._store.read("SELECT id, body FROM nodes WHERE cluster = ? ORDER BY id", (cluster,))
        found = [self._load(Node, body, f"node {node} of {cluster}") for node, body in rows]
        return [node for node in found if node is not None]

    def save_nodes(self, cluster: str, nodes: Iterable[Node]) -> None:
        """Replaces the expected nodes of a cluster."""
        statements: list[Statement] = [("DELETE FROM nodes WHERE cluster = ?", (cluster,))]
        statements += [("INSERT INTO nodes VALUES (?, ?, ?)", (cluster, n.id, dumps(n))) for n in nodes]
        self._store.write(statements)

    def forget_node(self, cluster: str, node: int) -> bool:
        """Removes an expected node; False if it was not known."""
        known = self._store.read("SELECT 1 FROM nodes WHERE cluster = ? AND id = ?", (cluster, node))
        self._store.write([("DELETE FROM nodes WHERE cluster = ? AND id = ?", (cluster, node))])
        return bool(known)

    # --- meta

    def get(self, key: str) -> str | None:
        """A remembered text."""
        rows = self._store.read("SELECT value FROM meta WHERE key = ?", (key,))
        return str(rows[0][0]) if rows else None

    def set(self, key: str, value: str) -> None:
        self._store.write([("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))])

    def _load(self, cls: type[T], body: str, what: str) -> T | None:
        try:
            return loads(cls, body)
        except CodecError as error:
            self._warn(f"{self.path}: {what} is left out: {error}")
            return None


_OLDEST: Final = (
    "DELETE FROM incidents WHERE (id, opened_at) IN "
    "(SELECT id, opened_at FROM incidents WHERE closed_at IS NOT NULL ORDER BY closed_at LIMIT ?)"
)
_UNSENT: Final[Statement] = ("DELETE FROM sent WHERE incident NOT IN (SELECT id FROM incidents)", ())


def _pruning(now: float) -> list[Statement]:
    newest = "SELECT closed_at FROM incidents WHERE closed_at IS NOT NULL ORDER BY closed_at DESC LIMIT 1 OFFSET ?"
    old = now - KEEP_CLOSED_SECONDS
    return [
        ("DELETE FROM incidents WHERE closed_at < ?", (old,)),
        (f"DELETE FROM incidents WHERE closed_at <= ({newest})", (KEEP_CLOSED_COUNT,)),
        # Of an incident that comes back again and again only the openings of late count.
        (
            "DELETE FROM sent WHERE at < ? AND incident NOT IN (SELECT id FROM incidents WHERE closed_at IS NULL)",
            (old,),
        ),
    ]
