"""Whether the journal answers: a storage that can be read and not written to does not."""

from dataclasses import dataclass, replace
from datetime import timedelta

import pytest

from core.journal.journal import Journal
from core.journal.objects import JournalUnavailable
from core.observability.events import Event, JournalDisconnected, JournalReconnected
from core.store.identity import StorePosition
from tests.support.clock import FakeClock
from tests.support.journal import JOURNAL_TIMEOUT, MemoryObjects

SECOND = timedelta(seconds=1)


@dataclass
class FullObjects(MemoryObjects):
    """Can be read; takes no write while it is full."""

    is_full: bool = True

    async def create(self, name: str, content: bytes) -> bool:
        self._refuse()
        return await super().create(name, content)

    async def replace(self, name: str, content: bytes) -> None:
        self._refuse()
        await super().replace(name, content)

    def _refuse(self) -> None:
        if self.is_full:
            raise JournalUnavailable("No space left on device.")


async def test_a_journal_that_can_only_be_read_stays_away_until_it_takes_a_write() -> None:
    clock, objects, events = FakeClock(), FullObjects(), list[Event]()
    journal = Journal(objects, clock, events.append, JOURNAL_TIMEOUT)
    with pytest.raises(JournalUnavailable):
        await journal.create_id("one")
    for _ in range(3):
        assert await journal.load_id() == ""
        with pytest.raises(JournalUnavailable):
            await journal.probe()
        assert journal.failed_within(SECOND)
    objects.is_full = False
    await journal.probe()
    assert not journal.failed_within(SECOND)
    changes = [one for one in events if isinstance(one, JournalDisconnected | JournalReconnected)]
    assert list(map(type, changes)) == [JournalDisconnected, JournalReconnected]


async def test_a_read_ends_what_a_read_began() -> None:
    objects, events = MemoryObjects(failures=1), list[Event]()
    journal = Journal(objects, FakeClock(), events.append, JOURNAL_TIMEOUT)
    with pytest.raises(JournalUnavailable):
        await journal.probe()
    await journal.probe()
    assert not journal.failed_within(SECOND)
    assert objects.contents == {}


async def test_the_time_since_when_it_has_every_claim_moves_forward_only() -> None:
    """Whatever a worker saves that has not seen it yet, or whose store is further."""
    clock, objects = FakeClock(), MemoryObjects()
    journal = Journal(objects, clock, lambda _: None, JOURNAL_TIMEOUT)
    began = clock.now()
    await journal.save_position(StorePosition("a", epoch=2, journal_since=began))
    further = StorePosition("a", epoch=2, claims=5)
    await journal.save_position(replace(further, journal_since=began - SECOND))
    behind = StorePosition("a", journal_since=began + SECOND)
    await journal.save_position(behind)
    assert await journal.load_position() == replace(further, journal_since=began + SECOND)
    await journal.save_position(StorePosition("b"))
    assert await journal.load_position() == StorePosition("b")


async def test_a_position_that_is_behind_is_not_written() -> None:
    objects = FullObjects(is_full=False)
    journal = Journal(objects, FakeClock(), lambda _: None, JOURNAL_TIMEOUT)
    await journal.save_position(StorePosition("a", epoch=2))
    objects.is_full = True
    await journal.save_position(StorePosition("a"))
