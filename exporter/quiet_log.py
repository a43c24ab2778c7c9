"""Logs changes of state only: a failure that repeats is told once, then every ten minutes with its count, and when it ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog

REMIND_S = 600.0


@dataclass(slots=True)
class _Trouble:
    kinds: set[str]
    since: float
    told_at: float
    count: int


class QuietLog:
    """Safe for several threads. ``key`` names what fails; a failure of a ``kind`` that was not told yet is news."""

    def __init__(self, logger: Any = None, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._log = logger if logger is not None else structlog.get_logger()
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._troubles: dict[str, _Trouble] = {}

    def failed(self, key: str, kind: str, event: str, **fields: Any) -> None:
        """Count a failure, and tell it when it is new or has not been told for ten minutes."""
        now = self._monotonic()
        with self._lock:
            trouble = self._troubles.get(key)
            if trouble is None:
                trouble = self._troubles[key] = _Trouble({kind}, now, now, 1)
                tell = True
            else:
                trouble.count += 1
                tell = kind not in trouble.kinds or now - trouble.told_at >= REMIND_S
                trouble.kinds.add(kind)
            if not tell:
                return
            trouble.told_at = now
            count, seconds = trouble.count, now - trouble.since
        repeats = {"times": count, "for_seconds": round(seconds)} if count > 1 else {}
        self._log.warning(event, kind=kind, **fields, **repeats)

    def ended(self, key: str, event: str, **fields: Any) -> None:
        """Tell that it works again; nothing when it had not failed."""
        with self._lock:
            trouble = self._troubles.pop(key, None)
        if trouble is not None:
            seconds = round(self._monotonic() - trouble.since)
            self._log.info(event, **fields, failed_times=trouble.count, after_seconds=seconds)
