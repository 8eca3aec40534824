"""Keys and arguments by which scripts count a job in its tenant's usage (`lib/usage.lua`)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Final

from core.billing.usage import usage_facts
from core.billing.usage_history import rows_of_job
from core.clock import to_ms
from core.jobs.job import Job
from core.retention import USAGE_RETENTION, WINDOW_RETENTION
from core.store import keys
from core.store.client import Argument, ttl_seconds
from core.tenants.windows import AccountingCalendar, window_names

_NEVER: Final = -1


@lru_cache(maxsize=64)
def day_text(day: date) -> str:
    """Return a day as the store names it."""
    # Cached: every admission and settlement needs the same few days, and strftime is slow.
    return f"{day:%Y%m%d}"


def usage_keys(job: Job) -> dict[str, str]:
    """Return the keys of the windows and of the day in which a job counts."""
    return {
        "usage": keys.usage(job.tenant),
        "usage_day": keys.usage_history(job.tenant, day_text(job.usage_day)),
    }


def usage_arguments(job: Job) -> dict[str, Argument]:
    """Return the windows and the rows in which a job counts."""
    return {"windows": " ".join(window_names(job.usage_day)), "rows": row_lines(job)}


def booking_arguments(job: Job) -> dict[str, Argument]:
    """Return where a job counts, for a script that does not have the keys of it in any case."""
    return usage_keys(job) | usage_arguments(job)


def usage_change_arguments(before: Job, after: Job) -> dict[str, Argument]:
    """Return what counts a job after a change; nothing if it counts as it did before."""
    was, now = usage_facts(before), usage_facts(after)
    if was == now and not after.is_final:
        return {}
    return {
        "usage_before": facts_text(was),
        "usage_after": facts_text(now),
        **booking_arguments(after),
    }


def row_lines(job: Job) -> str:
    """Return the names of the job's rows, one a line; no name has a line break."""
    return "\n".join(rows_of_job(job))


def facts_text(facts: Sequence[int]) -> str:
    """Return what a job counts as beside its amounts (`usage_facts`), as scripts take it."""
    return " ".join(map(str, facts))


def window_arguments(
    calendar: AccountingCalendar, day: date, now: datetime
) -> tuple[Argument, Argument]:
    """Return the names of a day's windows, and the milliseconds until each ends; -1 for never.

    A job that was created just before the end of a window is admitted just after it: 0 are left.
    """
    names, ends = _windows_of(calendar, day)
    now_ms = to_ms(now)
    return names, " ".join([str(_NEVER if end is None else max(end - now_ms, 0)) for end in ends])


@lru_cache(maxsize=1024)
def _windows_of(calendar: AccountingCalendar, day: date) -> tuple[str, tuple[int | None, ...]]:
    """Return the names of a day's windows, and when each ends (ms)."""
    # Cached, as in `day_text`.
    windows = calendar.windows_of(day)
    ends = (window.resets_at for window in windows)
    return (
        " ".join([window.name for window in windows]),
        tuple(None if end is None else to_ms(end) for end in ends),
    )


@dataclass(frozen=True, slots=True)
class UsageRetention:
    """How long usage is kept."""

    history: timedelta = USAGE_RETENTION

    def arguments(self, day: date) -> tuple[Argument, ...]:
        """Return what the admission script needs to begin a new day and a new window, in order."""
        return _retention_arguments(self, day)

    def history_arguments(self, day: date) -> Mapping[str, Argument]:
        """Return what a script needs to begin a new day."""
        return {
            "history_ttl": ttl_seconds(self.history),
            "history_day": day_text(day),
            "oldest_history_day": day_text(day - self.history),
        }


@lru_cache(maxsize=64)
def _retention_arguments(retention: UsageRetention, day: date) -> tuple[Argument, ...]:
    # Cached, as in `day_text`.
    return day_text(day - WINDOW_RETENTION), *retention.history_arguments(day).values()


DEFAULT_USAGE_RETENTION: Final = UsageRetention()
