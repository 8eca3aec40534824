"""Books a planned year by the functions that all scripts count with, without jobs around them.

A third of the time of admissions and settlements: a million are booked while one waits for them.
The rows, the windows, the days and what a job counts as are the product's; there are no charges.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from importlib.resources import files
from typing import Any, Final

from core.billing.settlement import settlement_of
from core.billing.usage import usage_facts
from core.jobs.job import Job, JobState
from core.money import MicroUsd
from core.store.booking import day_text, facts_text, usage_arguments, usage_keys
from core.store.client import Argument, RedisClient
from core.store.scripts import LuaScript, compile_script
from core.tenants.windows import AccountingCalendar
from tests.bench.books_plan import TENANTS
from tests.bench.books_tally import amounts_of_reuse
from tests.bench.books_year import Books, Event, apply_step

_SOURCE: Final = """
-- USES: usage ledger
-- ARGV: ...
-- ITEM: admits usage usage_day tenant day windows rows job before after status cost
for _, item in ipairs(read_items(ARGV, FIXED_ARGUMENTS)) do
  local windows, rows = split_words(item.windows), split_lines(item.rows)
  if item.admits == '1' then
    local counted, changes = usage_of_job(item.after, { tonumber(item.cost), 0, 0 }), {}
    for _, row in ipairs(rows) do changes[row] = counted end
    add_to_windows(item.usage, windows, counted)
    add_to_history(item.usage_day, rows, changes,
      { ttl = 34560000, number = item.day, oldest = '00000000', tenant = item.tenant })
    redis.call('HSET', item.job, 'reserved', item.cost)
  else
    local stored = redis.call('HMGET', item.job, 'reserved', 'settled', 'released')
    local amounts = { tonumber(stored[1]), tonumber(stored[2] or 0), tonumber(stored[3] or 0) }
    local after = amounts
    if item.status ~= 'held' then after = settle(item.job, amounts, item.status, item.cost) end
    book_usage({ usage = item.usage, day = item.usage_day, windows = windows, rows = rows },
      subtract_numbers(usage_of_job(item.after, after), usage_of_job(item.before, amounts)))
  end
end
"""
_CALENDARS: Final = {
    name: AccountingCalendar(plan.time_zone, plan.reset_hour) for name, plan in TENANTS.items()
}


def load_script() -> LuaScript:
    """Return the script that books many events."""
    folder = files("core.store") / "lua" / "lib"
    parts = {part.name.removesuffix(".lua"): part for part in folder.iterdir()}
    library = {name: parts[name].read_text(encoding="utf-8") for name in ("usage", "ledger")}
    return compile_script("book_events", _SOURCE, library)


class RowBooks(Books):
    """The books of a year, written by one script for many events."""

    def __init__(self, wire: RedisClient) -> None:
        """Nothing is written yet."""
        super().__init__(wire)
        self._script = load_script()
        self._running: asyncio.Task[Any] | None = None
        self._jobs: dict[int, Job] = {}
        """Those that something may still happen to."""

    async def happen(self, events: Sequence[Event]) -> Sequence[Event | None]:
        """See `Books`."""
        arguments = [argument for event in events for argument in self._book(event)]
        await self.finish()
        self._running = asyncio.create_task(
            self._wire.execute("EVAL", self._script.text, 0, *arguments)
        )
        return [self._follow(event) for event in events]

    async def finish(self) -> None:
        """Wait for the script that runs; the next one is prepared meanwhile."""
        if self._running is not None:
            await self._running

    def _book(self, event: Event) -> tuple[Argument, ...]:
        planned = event.job
        if event.step >= 0:
            before = self._jobs[planned.number]
            after = apply_step(before, event)
            cost = settlement_of(after).cost
        else:
            before = self._build_job(planned, "1:f")
            day = _CALENDARS[planned.tenant].day_of(planned.at)
            before = after = replace(before, accounting_day=day)
            cost = MicroUsd(planned.price)
            if event.repeats is not None:
                saved, cost = MicroUsd(event.repeats.cost), MicroUsd(0)
                after = replace(before, state=JobState.SUCCEEDED, leader="req_1", cost_saved=saved)
        self._jobs[planned.number] = after
        return _item(before, after, is_admission=event.step < 0, cost=cost, number=planned.number)

    def _follow(self, event: Event) -> Event | None:
        if event.step >= 0:
            following = self._after_step(event)
        elif event.repeats is not None:
            self.reused += 1
            self.tally.add(event.job, amounts_of_reuse(event.repeats))
            following = None
        else:
            self._count(event.job)
            following = self._next_step(event)
        if following is None or following.job is not event.job:
            del self._jobs[event.job.number]
        return following


def _item(
    before: Job, after: Job, *, is_admission: bool, cost: MicroUsd, number: int
) -> tuple[Argument, ...]:
    return (
        int(is_admission),
        *usage_keys(after).values(),
        after.tenant,
        day_text(after.usage_day),
        *usage_arguments(after).values(),
        f"bench:job:{number}",
        facts_text(usage_facts(before)),
        facts_text(usage_facts(after)),
        settlement_of(after).status,
        int(cost),
    )
