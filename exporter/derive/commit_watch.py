"""Since when each commit stands though there is something to read, and how often commits went back: what one poll of the commits cannot say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from exporter.derive.lag import GroupLag
from exporter.facts.groups import CommitTable
from exporter.facts.partitions import F64, I64, Bool, PartitionTable

FORGET_S: Final = 3600.0
"""A commit that nobody has told of for so long (its coordinator was silent, or it expired) is forgotten."""
_NONE: Final = -2
"""No offset is remembered."""
_BITS: Final = 21
"""Of a topic's number and of a partition in a key: two millions of each."""
_FULL: Final = 1 << _BITS - 1


@dataclass(frozen=True, slots=True, eq=False)
class _Followed:
    """A table of commits with what was made of it; ``place`` are its rows' places among the remembered commits."""

    commits: CommitTable
    lag: GroupLag
    place: I64
    edition: int
    since: F64


class CommitWatch:
    """The commits of one cluster, by group, topic and partition, whoever coordinates them. It changes in place and belongs to one thread."""

    def __init__(self) -> None:
        self.rewinds: Counter[tuple[str, str]] = Counter()
        """(group, topic) -> commits that went back."""
        self._numbers: dict[str, int] = {}
        """Names of groups and topics, numbered."""
        self._next = 0
        self._key: I64 = np.zeros(0, dtype=np.int64)
        """Sorted: group, topic and partition of each remembered commit."""
        self._offset: I64 = np.zeros(0, dtype=np.int64)
        self._since: F64 = np.zeros(0, dtype=np.float64)
        self._seen: F64 = np.zeros(0, dtype=np.float64)
        self._topic_ids: Mapping[str, str] = {}
        self._edition = 0
        """Counts how often the remembered commits changed places."""
        self._followed: dict[int, _Followed] = {}

    def follow(
        self, lags: Mapping[int, GroupLag], idle: Mapping[int, Bool], at: Mapping[int, float], table: PartitionTable
    ) -> Mapping[int, F64]:
        """Take the commits of each coordinator, read ``at``; for each of its rows since when the commit stands while there is something to read (Unix seconds).

        That is when it last moved or there was nothing to read (``idle``), and for a commit that is new to us the moment of this poll. The same arrays while nothing is newer.
        """
        self._renew_topics(table)
        newer = [c for c, lag in lags.items() if c not in self._followed or self._followed[c].lag is not lag]
        for coordinator in newer:
            self._meet(coordinator, lags[coordinator].commits, at[coordinator])
        for coordinator in newer:
            self._take(coordinator, lags[coordinator], idle[coordinator], at[coordinator])
        self._followed = {c: self._followed[c] for c in lags}
        return {c: f.since for c, f in self._followed.items()}

    def _renew_topics(self, table: PartitionTable) -> None:
        """What was committed for a topic that has been made again says nothing about the new one."""
        ids = dict(zip(table.topics, table.topic_ids, strict=True))
        if ids == self._topic_ids:
            return
        anew = [self._numbers[t] for t, k in ids.items() if self._topic_ids.get(t, k) != k and t in self._numbers]
        if anew:
            self._offset[np.isin(self._key >> _BITS & (1 << _BITS) - 1, anew)] = _NONE
        # A topic that is gone stays known as long as commits for it do: it may come back under another id.
        gone = {t: k for t, k in self._topic_ids.items() if t not in ids and t in self._numbers}
        self._topic_ids = {**gone, **ids}

    def _meet(self, coordinator: int, commits: CommitTable, at: float) -> None:
        """Remember the commits that are new, and find the places of all."""
        before = self._followed.get(coordinator)
        if before is not None and before.edition == self._edition and _same_keys(before.commits, commits):
            return
        self._forget(at)
        new = np.setdiff1d(self._keys(commits), self._key)
        if len(new):
            key = np.concatenate([self._key, new])
            order = np.argsort(key, kind="stable")
            self._key = key[order]
            self._offset = np.concatenate([self._offset, np.full(len(new), _NONE)])[order]
            self._since = np.concatenate([self._since, np.full(len(new), at)])[order]
            self._seen = np.concatenate([self._seen, np.full(len(new), at - 1.0)])[order]
            self._edition += 1

    def _forget(self, now: float) -> None:
        # Numbers are not given twice; before they no longer fit into a key, all is forgotten.
        kept = (now - self._seen <= FORGET_S) & (self._next < _FULL)
        self._next = 0 if self._next >= _FULL else self._next
        if kept.all():
            return
        for column in ("_key", "_offset", "_since", "_seen"):
            setattr(self, column, getattr(self, column)[kept])
        used = set((self._key >> 2 * _BITS).tolist()) | set((self._key >> _BITS & (1 << _BITS) - 1).tolist())
        names = {number: name for name, number in self._numbers.items() if number in used}
        groups = {names[n] for n in set((self._key >> 2 * _BITS).tolist())}
        self._numbers = {name: number for number, name in names.items()}
        self.rewinds = Counter({key: n for key, n in self.rewinds.items() if key[0] in groups})
        self._edition += 1

    def _keys(self, commits: CommitTable) -> I64:
        group = np.array([self._number(g) for g in commits.groups], dtype=np.int64)
        topic = np.array([self._number(t) for t in commits.topics], dtype=np.int64)
        if not len(commits):
            return np.zeros(0, dtype=np.int64)
        return group[commits.group] << 2 * _BITS | topic[commits.topic] << _BITS | commits.partition

    def _number(self, name: str) -> int:
        known = self._numbers.get(name)
        if known is None:
            known = self._numbers[name] = self._next
            self._next += 1
        return known

    def _take(self, coordinator: int, lag: GroupLag, idle: Bool, at: float) -> None:
        commits, before = lag.commits, self._followed.get(coordinator)
        if before is not None and before.edition == self._edition and _same_keys(before.commits, commits):
            place = before.place
        else:
            place = np.searchsorted(self._key, self._keys(commits)).astype(np.int64)
        # The same commits come again when only Metadata is newer.
        old, current = self._offset[place], at > self._seen[place]
        told = (commits.offset >= 0) & (commits.error == 0) & current
        moved = told & (commits.offset != old)
        since = np.where(moved | (told & idle), at, self._since[place])
        back = moved & (old >= 0) & (commits.offset < old)
        for row in np.flatnonzero(back).tolist():
            self.rewinds[commits.groups[commits.group[row]], commits.topics[commits.topic[row]]] += 1
        self._offset[place] = np.where(told, commits.offset, old)
        self._since[place] = since
        self._seen[place] = np.maximum(self._seen[place], at)
        self._followed[coordinator] = _Followed(commits, lag, place, self._edition, since)

    # --- what survives a restart

    def state(self) -> Mapping[str, Any]:
        """Everything, as arrays and JSON values of its own."""
        return {
            "numbers": dict(self._numbers),
            "topic_ids": dict(self._topic_ids),
            "rewinds": [[group, topic, count] for (group, topic), count in self.rewinds.items()],
            "key": self._key.copy(),
            "offset": self._offset.copy(),
            "since": self._since.copy(),
            "seen": self._seen.copy(),
        }

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> CommitWatch:
        """Raises ValueError, KeyError or TypeError for what makes no sense."""
        self = cls()
        self._numbers = {str(name): int(number) for name, number in state["numbers"].items()}
        self._next = max(self._numbers.values(), default=-1) + 1
        self._topic_ids = {str(topic): str(topic_id) for topic, topic_id in state["topic_ids"].items()}
        self.rewinds = Counter({(str(g), str(t)): int(n) for g, t, n in state["rewinds"]})
        self._key, self._offset = np.asarray(state["key"], np.int64), np.asarray(state["offset"], np.int64)
        self._since, self._seen = np.asarray(state["since"], np.float64), np.asarray(state["seen"], np.float64)
        if len({len(c) for c in (self._key, self._offset, self._since, self._seen)}) != 1:
            raise ValueError("the columns of the remembered commits differ in length")
        return self


def _same_keys(old: CommitTable, new: CommitTable) -> bool:
    return all(getattr(old, c) is getattr(new, c) for c in ("groups", "topics", "group", "topic", "partition"))
