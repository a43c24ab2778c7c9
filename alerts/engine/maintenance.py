"""Maintenance windows: when which brokers, topics and groups may be in trouble without a page; in the configuration, or put in force while Klaxon runs."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime, time, timedelta
from fnmatch import fnmatchcase
from typing import Annotated, Any, Final, Literal, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: Final[tuple[str, ...]] = get_args(Day)
KINDS: Final = ("broker", "topic", "group")
"""What a window can be about; the first word of an incident's subject."""

_CLOCK = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])", re.ASCII)
_CONFIG: Final = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Weekly(BaseModel):
    """A time of some days of the week, in a time zone; it goes over midnight if ``until`` is not after ``from``."""

    model_config = _CONFIG

    days: tuple[Day, ...]
    start: str = Field(alias="from")
    until: str
    zone: str = "UTC"

    @field_validator("days")
    @classmethod
    def _some(cls, value: tuple[Day, ...]) -> tuple[Day, ...]:
        if not value:
            raise ValueError(f"names no day; write some of {', '.join(DAYS)}")
        return value

    @field_validator("start", "until")
    @classmethod
    def _clock(cls, value: str) -> str:
        if not _CLOCK.fullmatch(value):
            raise ValueError(f"{value!r} is not a time of day; write for example '02:00'")
        return value

    @field_validator("zone")
    @classmethod
    def _zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(f"{value!r} is not a time zone; write for example Europe/Berlin or UTC") from None
        return value

    def active(self, at: float) -> bool:
        """Whether it holds at a time, Unix seconds."""
        local = datetime.fromtimestamp(at, ZoneInfo(self.zone)).replace(tzinfo=None)
        start, until = time.fromisoformat(self.start), time.fromisoformat(self.until)
        for day in (local.date(), local.date() - timedelta(days=1)):
            begins = datetime.combine(day, start)
            ends = datetime.combine(day if until > start else day + timedelta(days=1), until)
            if DAYS[day.weekday()] in self.days and begins <= local < ends:
                return True
        return False


class Window(BaseModel):
    """One window: once (``from`` and ``until``) or ``weekly``. Patterns are shell globs; one without broker, topic and group is for all of its clusters."""

    model_config = _CONFIG

    name: str = Field(min_length=1)
    cluster: str = Field(default="*", min_length=1)
    broker: Annotated[str | None, Field(min_length=1)] = None
    topic: Annotated[str | None, Field(min_length=1)] = None
    group: Annotated[str | None, Field(min_length=1)] = None
    start: datetime | None = Field(default=None, alias="from")
    until: datetime | None = None
    weekly: Weekly | None = None
    reason: str = ""

    @field_validator("broker", mode="before")
    @classmethod
    def _number(cls, value: Any) -> Any:
        return str(value) if isinstance(value, int) and not isinstance(value, bool) else value

    @field_validator("start", "until", mode="before")
    @classmethod
    def _time(cls, value: Any) -> Any:
        try:
            read = datetime.fromisoformat(value) if isinstance(value, str) else value
        except ValueError:
            read = None
        if read is not None and not isinstance(read, datetime):
            read = None
        if value is not None and (read is None or read.tzinfo is None):
            raise ValueError(f"{value!s} is not a time with its zone; write for example 2026-01-02T22:00:00+01:00")
        return read

    @model_validator(mode="after")
    def _once_or_weekly(self) -> Window:
        once = self.start is not None or self.until is not None
        if once == (self.weekly is not None):
            raise ValueError("a window needs from: and until:, or weekly:, one of them")
        if once and (self.start is None or self.until is None):
            raise ValueError("a window needs both from: and until:")
        if self.start is not None and self.until is not None and self.until <= self.start:
            raise ValueError("until: must be after from:")
        return self

    def active(self, at: float) -> bool:
        """Whether it holds at a time, Unix seconds."""
        if self.weekly is not None:
            return self.weekly.active(at)
        assert self.start is not None
        assert self.until is not None
        return self.start <= datetime.fromtimestamp(at, UTC) < self.until

    def over(self, at: float) -> bool:
        """Whether it will never hold again."""
        return self.until is not None and datetime.fromtimestamp(at, UTC) >= self.until

    def about(self, cluster: str, subject: str) -> bool:
        """Whether it is about a subject (``broker/2``, ``topic/orders``, ``group/billing``, ``cluster``)."""
        if not fnmatchcase(cluster, self.cluster):
            return False
        patterns = {kind: getattr(self, kind) for kind in KINDS}
        if not any(patterns.values()):
            return True
        kind, _, name = subject.partition("/")
        pattern = patterns.get(kind)
        return pattern is not None and fnmatchcase(name, pattern)


def window_of(windows: Iterable[Window], cluster: str, subject: str, at: float) -> Window | None:
    """The first window that holds now and is about the subject."""
    return next((window for window in windows if window.active(at) and window.about(cluster, subject)), None)
