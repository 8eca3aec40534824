"""Entries are deleted after their retention, and no earlier."""

from collections.abc import Sequence
from datetime import timedelta

from core.journal.journal import Journal
from core.journal.objects import JournalUnavailable
from core.settings.definitions import MIN_JOURNAL_RETENTION
from tests.support.clock import FakeClock
from tests.support.journal import JOURNAL_TIMEOUT, MemoryObjects
from worker.maintenance.journal_sweep import JournalSweeper

DAY = timedelta(days=1)


class RefusesDeletes(MemoryObjects):
    """Objects that cannot be deleted for a while."""

    is_refusing = True

    async def delete(self, names: Sequence[str]) -> None:
        if self.is_refusing:
            raise JournalUnavailable
        await super().delete(names)


def sweeper_over(objects: MemoryObjects, clock: FakeClock) -> JournalSweeper:
    journal = Journal(objects, clock, lambda _: None, JOURNAL_TIMEOUT)
    return JournalSweeper(journal, clock, MIN_JOURNAL_RETENTION)


def entry(clock: FakeClock, age: timedelta) -> str:
    return f"entries/{(clock.now() - age).date()}/a4/req_1.1.entry"


async def test_entries_past_their_retention_are_deleted() -> None:
    clock = FakeClock()
    objects = MemoryObjects(clock)
    kept = [entry(clock, MIN_JOURNAL_RETENTION), entry(clock, DAY), "store.json"]
    for name in [*kept, *(entry(clock, MIN_JOURNAL_RETENTION + n * DAY) for n in range(1, 31))]:
        objects.put(name, b"")
    await sweeper_over(objects, clock).run_once()
    assert sorted(objects.contents) == sorted(kept)


async def test_a_day_that_was_deleted_is_not_looked_at_again() -> None:
    clock = FakeClock()
    objects = MemoryObjects(clock)
    sweeper = sweeper_over(objects, clock)
    await sweeper.run_once()
    objects.put(entry(clock, MIN_JOURNAL_RETENTION + DAY), b"")
    await sweeper.run_once()
    assert len(objects.contents) == 1
    clock.shift(DAY)
    objects.put(entry(clock, MIN_JOURNAL_RETENTION + DAY), b"")
    await sweeper.run_once()
    assert len(objects.contents) == 1


async def test_a_journal_that_is_away_is_swept_later() -> None:
    clock = FakeClock()
    objects = RefusesDeletes(clock)
    objects.put(entry(clock, MIN_JOURNAL_RETENTION + DAY), b"")
    sweeper = sweeper_over(objects, clock)
    await sweeper.run_once()
    assert len(objects.contents) == 1
    objects.is_refusing = False
    await sweeper.run_once()
    assert objects.contents == {}
