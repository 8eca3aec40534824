"""Admissions in the days of their tenant's calendar."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, Final

from core.errors import Unavailable
from core.store.admission import AdmissionScriptCall, admission_arguments, admission_keys
from core.store.booking import DEFAULT_USAGE_RETENTION, UsageRetention
from core.store.scripts import LuaScripts
from core.tenants.windows import UTC_CALENDAR, AccountingCalendar

OTHER_CALENDAR: Final = b"other_calendar"
MAX_CALENDARS: Final = 10_000
MAX_CHANGES: Final = 3
"""Times that a tenant's calendar may change during one admission."""


class TenantCalendars:
    """Remembers the calendars of tenants, so that an admission needs no second call.

    The script refuses a calendar that is not the tenant's any more and names the right one: what is
    remembered may be old, and no window is wrong.
    """

    def __init__(
        self, scripts: LuaScripts, retention: UsageRetention = DEFAULT_USAGE_RETENTION
    ) -> None:
        """Remember nothing: a tenant's days are UTC days until a script returns another.

        `retention` is how long the days and windows are kept that admissions begin.
        """
        self._scripts = scripts
        self.retention = retention
        self._known: dict[str, AccountingCalendar] = {}

    async def admit(self, call: AdmissionScriptCall, now: datetime, *, replicated: bool) -> Any:  # noqa: ANN401 - answers of a script
        """Return the answers of the admission script."""

        async def send(calendar: AccountingCalendar) -> Any:  # noqa: ANN401 - as above
            placed = call.in_calendar(calendar)
            return await self._scripts.call(
                "admit_jobs",
                admission_keys(placed),
                admission_arguments(placed, calendar, self.retention, now),
                replicated=replicated,
            )

        return await self.call(call.admissions[0].credential.tenant, send)

    async def call(self, tenant: str, send: Callable[[AccountingCalendar], Awaitable[Any]]) -> Any:  # noqa: ANN401 - as above
        """Return the answers of `send`, which is called again if the tenant's calendar differs."""
        for _ in range(MAX_CHANGES):
            answers = await send(self._known.get(tenant, UTC_CALENDAR))
            if answers[0][0] != OTHER_CALENDAR:
                return answers
            self._remember(tenant, AccountingCalendar.parse(answers[0][1].decode()))
        raise Unavailable("The tenant's calendar changed too often meanwhile; try again.")

    def _remember(self, tenant: str, calendar: AccountingCalendar) -> None:
        if len(self._known) >= MAX_CALENDARS:
            self._known.clear()
        self._known[tenant] = calendar
