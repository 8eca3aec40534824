"""Deletes the journal's entries after their retention."""

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

from core.clock import Clock
from core.journal.journal import Journal
from core.journal.objects import JournalUnavailable

DAYS_BACK: Final = 30
"""So many days before the horizon are read: workers may have been stopped for as long."""
_DAY: Final = timedelta(days=1)


@dataclass(slots=True)
class JournalSweeper:
    """Deletes entries day by day. Every worker may do so: repeating it changes nothing."""

    journal: Journal
    clock: Clock
    retention: timedelta
    _swept_until: date | None = None

    async def run_once(self) -> None:
        """Delete the days that are past their retention and were not deleted by this process."""
        horizon = (self.clock.now() - self.retention).date()
        day = self._swept_until or horizon - DAYS_BACK * _DAY
        try:
            while day < horizon:
                await self.journal.delete_day(day)
                day += _DAY
                self._swept_until = day
        except JournalUnavailable:
            return  # the journal reports it; the rest is deleted by a later run
