"""The periods of a tenant's budgets, in its time zone. Pure.

Everything follows from one date, the *accounting day* on which a job was admitted: a job keeps it,
so that its money stays in its windows when the clock, the time zone or its rules change later.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo, available_timezones

MAX_RESET_HOUR: Final = 23
_DAY: Final = timedelta(days=1)


class Window(StrEnum):
    """The periods over which usage is counted. A week begins on Monday, as in ISO 8601."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    TOTAL = "total"
    """Since the tenant was created."""


@dataclass(frozen=True, slots=True)
class UsageWindow:
    """One window: its name in the store, and when it ends; None: never.

    Names of one kind sort by time. `first_day` is None for the total.
    """

    kind: Window
    name: str
    first_day: date | None
    resets_at: datetime | None


@dataclass(frozen=True, slots=True)
class AccountingCalendar:
    """When a tenant's days begin: at `reset_hour` of the wall clock of `time_zone`."""

    time_zone: str = "UTC"
    reset_hour: int = 0

    def __post_init__(self) -> None:
        """Raises `ValueError` for an unknown time zone or hour."""
        if self.time_zone != "UTC" and self.time_zone not in _known_zones():
            raise ValueError("time_zone must be a name of the IANA database, such as Europe/Rome")
        if not 0 <= self.reset_hour <= MAX_RESET_HOUR:
            raise ValueError(f"reset_hour must be from 0 to {MAX_RESET_HOUR}")

    def __str__(self) -> str:
        """Return the text by which the store recognizes an outdated calendar; '' for UTC."""
        return "" if self == UTC_CALENDAR else f"{self.time_zone} {self.reset_hour}"

    @classmethod
    def parse(cls, text: str) -> "AccountingCalendar":
        """Return the calendar of a text that `__str__` made."""
        zone, _, hour = text.partition(" ")
        return cls(zone, int(hour)) if zone else UTC_CALENDAR

    def day_of(self, now: datetime) -> date:
        """Return the accounting day of an instant."""
        if self == UTC_CALENDAR:
            return now.astimezone(UTC).date()
        day = now.astimezone(_zone(self.time_zone)).date()
        if now < self.start_of(day):
            return day - _DAY
        return day + _DAY if now >= self.start_of(day + _DAY) else day

    def start_of(self, day: date) -> datetime:
        """Return the instant at which a day begins, in UTC.

        Of a wall-clock hour that is repeated the first counts; one that is skipped begins as much
        later as the clock is put forward (PEP 495, `fold=0`).
        """
        local = datetime.combine(day, time(self.reset_hour), _zone(self.time_zone))
        return local.astimezone(UTC)

    def windows_of(self, day: date) -> tuple[UsageWindow, UsageWindow, UsageWindow, UsageWindow]:
        """Return the day, week, month and total of an accounting day."""
        return _windows_of(self, day)

    def windows_at(
        self, now: datetime
    ) -> tuple[UsageWindow, UsageWindow, UsageWindow, UsageWindow]:
        """Return the windows of an instant."""
        return _windows_of(self, self.day_of(now))


UTC_CALENDAR: Final = AccountingCalendar()


@lru_cache(maxsize=1)
def _known_zones() -> frozenset[str]:
    return frozenset(available_timezones())


@lru_cache(maxsize=256)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


@lru_cache(maxsize=1024)
def _windows_of(
    calendar: AccountingCalendar, day: date
) -> tuple[UsageWindow, UsageWindow, UsageWindow, UsageWindow]:
    # Cached: every admission needs them, and strftime is slow.
    monday, first = day - day.weekday() * _DAY, day.replace(day=1)
    following = (first + 32 * _DAY).replace(day=1)
    at = calendar.start_of
    return (
        UsageWindow(Window.DAY, window_name(Window.DAY, day), day, at(day + _DAY)),
        UsageWindow(Window.WEEK, window_name(Window.WEEK, day), monday, at(monday + 7 * _DAY)),
        UsageWindow(Window.MONTH, window_name(Window.MONTH, day), first, at(following)),
        UsageWindow(Window.TOTAL, window_name(Window.TOTAL, day), None, None),
    )


_PREFIXES: Final = {Window.DAY: "D", Window.WEEK: "W", Window.MONTH: "M"}


def window_name(kind: Window, day: date) -> str:
    """Return the name of the window of a kind in which an accounting day lies."""
    if kind is Window.TOTAL:
        return "T"
    first = {
        Window.DAY: day,
        Window.WEEK: day - day.weekday() * _DAY,
        Window.MONTH: day.replace(day=1),
    }[kind]
    return f"{_PREFIXES[kind]}{first:%Y%m%d}"


@lru_cache(maxsize=1024)
def window_names(day: date) -> tuple[str, ...]:
    """Return the names of the four windows of an accounting day."""
    return tuple(window_name(kind, day) for kind in Window)


def days_from(first: date, last: date) -> Iterator[date]:
    """Yield the days from the first to the last, both included."""
    for number in range((last - first).days + 1):
        yield first + number * _DAY
