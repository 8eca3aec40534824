"""What jobs count as: in the windows of budgets, and in the history. Pure; money in micro-dollars.

Invariant: a row is the sum of `usage_of_job` over its jobs. The store adds the difference that a
change makes, so that a repeated change adds nothing.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from operator import attrgetter
from typing import Final, Self

from core.billing.settlement import ReservationTotals, SettlementStatus, settlement_of
from core.files.records import FileUsage
from core.jobs.job import Job, JobState, PublicStatus
from core.money import MicroUsd
from core.tenants.limits import Limits
from core.tenants.tenant import Tenant
from core.tenants.top_ups import TopUp, limit_with_top_ups
from core.tenants.windows import UTC_CALENDAR, AccountingCalendar, UsageWindow, Window

_NUMBER_BYTES: Final = 8
USD_LIMIT_OF_WINDOW: Final[Mapping[Window, str]] = {
    Window.DAY: "usd_per_day",
    Window.WEEK: "usd_per_week",
    Window.MONTH: "usd_per_month",
    Window.TOTAL: "usd_total",
}
"""The field of `Limits` that is a window's budget."""


@dataclass(frozen=True, slots=True)
class UsageTotals:
    """Sums over jobs. The order of the fields is that of the numbers in the store."""

    jobs: int = 0
    reserved: int = 0
    settled: int = 0
    released: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    reused_jobs: int = 0
    """The part of `jobs` that got the result of another job."""
    cost_saved: int = 0
    """What these would have cost."""
    in_doubt: int = 0
    """Jobs that are in doubt now."""
    in_doubt_held: int = 0
    estimated: int = 0
    """Jobs that ended without a reported cost although something may have been charged."""
    estimated_cost: int = 0
    """The part of `settled` that is an estimate."""
    charged_failures: int = 0
    """Jobs that were paid for and did not complete."""
    charged_failures_cost: int = 0
    video_ms: int = 0
    """The length of the videos that were made, as the inputs requested it."""

    def __add__(self, other: "UsageTotals") -> "UsageTotals":
        """Return the sums over both."""
        return UsageTotals(*map(int.__add__, self.numbers, other.numbers))

    @property
    def numbers(self) -> tuple[int, ...]:
        """The fields in the order of the store."""
        return _NUMBERS_OF(self)

    @property
    def reservations(self) -> ReservationTotals:
        """The amounts that budgets are about."""
        return ReservationTotals(self.reserved, self.settled, self.released)

    @property
    def used(self) -> int:
        """What counts against a budget."""
        return self.reserved - self.released

    @property
    def held(self) -> int:
        """What is neither spent nor released."""
        return self.reserved - self.settled - self.released

    @property
    def open(self) -> int:
        """Jobs that have not ended."""
        return self.jobs - self.completed - self.failed - self.cancelled

    @classmethod
    def parse(cls, row: bytes) -> Self:
        """Parse a row of the store, which are 64-bit integers; those that it lacks are 0.

        A later release may write more of them.
        """
        numbers = struct.unpack(f">{len(row) // _NUMBER_BYTES}q", row)
        return cls(*numbers[: len(fields(cls))])


_NUMBERS_OF: Final = attrgetter(*(field.name for field in fields(UsageTotals)))
"""A tenth of the time of `astuple`: a report of a year adds 100,000 rows."""
NO_USAGE: Final = UsageTotals()


def usage_facts(job: Job) -> tuple[int, ...]:
    """Return what the store needs of a job, beside its amounts, to count it (`lib/usage.lua`).

    Completed, failed, cancelled, reused, saved, in doubt, estimated, milliseconds of video.
    """
    if not job.is_final:
        return _IN_DOUBT if job.state is JobState.IN_DOUBT else _OPEN
    done, served = job.state is JobState.SUCCEEDED, job.leader is not None
    status = job.status
    return (
        int(done),
        int(status is PublicStatus.FAILED),
        int(status is PublicStatus.CANCELLED),
        int(done and served),
        int(job.cost_saved or 0) if done and served else 0,
        0,
        int(settlement_of(job).status is SettlementStatus.ESTIMATED),
        (job.video_ms or 0) if done and not served else 0,
    )


_OPEN: Final = (0, 0, 0, 0, 0, 0, 0, 0)
_IN_DOUBT: Final = (0, 0, 0, 0, 0, 1, 0, 0)


def usage_of_job(job: Job, amounts: ReservationTotals) -> UsageTotals:
    """Return what one job counts as."""
    completed, failed, cancelled, reused, saved, in_doubt, estimated, video = usage_facts(job)
    charged = int((failed or cancelled) and amounts.settled > 0)
    return UsageTotals(
        jobs=1,
        reserved=amounts.reserved,
        settled=amounts.settled,
        released=amounts.released,
        completed=completed,
        failed=failed,
        cancelled=cancelled,
        reused_jobs=reused,
        cost_saved=saved,
        in_doubt=in_doubt,
        in_doubt_held=in_doubt * amounts.held,
        estimated=estimated,
        estimated_cost=estimated * amounts.settled,
        charged_failures=charged,
        charged_failures_cost=charged * amounts.settled,
        video_ms=video,
    )


@dataclass(frozen=True, slots=True)
class WindowUsage:
    """Usage in one window, in total and by model; the total of all time has no models."""

    window: UsageWindow
    total: UsageTotals
    models: Mapping[str, UsageTotals]


@dataclass(frozen=True, slots=True)
class Budget:
    """A tenant's budgets: its limits, and what raises them."""

    limits: Limits
    calendar: AccountingCalendar = UTC_CALENDAR
    top_ups: tuple[TopUp, ...] = ()

    @classmethod
    def of_tenant(cls, tenant: Tenant) -> "Budget":
        """Return the budgets of a tenant."""
        return cls(tenant.limits, tenant.calendar, tenant.top_ups)

    def of_window(
        self, window: UsageWindow, past: Mapping[str, UsageTotals], now: datetime
    ) -> MicroUsd | None:
        """Return the budget of a window, top-ups included; None without one."""
        limit: MicroUsd | None = getattr(self.limits, USD_LIMIT_OF_WINDOW[window.kind])
        if limit is None or not self.top_ups:
            return limit
        used = {
            name: use.reservations.used for name, use in past.items() if name[0] == window.name[0]
        }
        named = (window.kind, window.name)
        return MicroUsd(limit_with_top_ups(limit, named, used, self.top_ups, now))


@dataclass(frozen=True, slots=True)
class Usage:
    """A tenant's present usage and budgets."""

    budget: Budget
    windows: tuple[WindowUsage, ...]
    running: int
    waiting: int
    at: datetime
    past: Mapping[str, UsageTotals]
    """All windows that are kept, by name."""
    files: FileUsage = FileUsage()  # noqa: RUF009 - frozen

    @property
    def limits(self) -> Limits:
        """The tenant's limits."""
        return self.budget.limits

    def budget_of(self, window: UsageWindow) -> MicroUsd | None:
        """Return the budget of one of the windows, top-ups included; None without one."""
        return self.budget.of_window(window, self.past, self.at)

    @property
    def remaining_budget(self) -> MicroUsd | None:
        """What the tightest budget of a window leaves, at least 0; None without a budget."""
        left = [
            max(budget - one.total.reservations.used, 0)
            for one in self.windows
            if (budget := self.budget_of(one.window)) is not None
        ]
        return MicroUsd(min(left)) if left else None
