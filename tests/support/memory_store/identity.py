"""The fake of the store's identity; see `tests.support.memory_store.stores`."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from core.store.identity import StorePosition
from tests.support.memory_store.state import MemoryState


def _lost_of(position: StorePosition) -> tuple[str, str, datetime | None]:
    return position.lost_entry, position.journal_id, position.journal_since


class MemoryStoreIdentity:
    """Fake of `core.store.identity.StoreIdentity`."""

    def __init__(self, memory: MemoryState) -> None:
        """Share `memory` with the other stores."""
        self._memory = memory

    @property
    def connections(self) -> int:
        return self._memory.connections

    async def load(self, known: StorePosition | None = None) -> StorePosition | None:
        held, log = self._memory.position, self._memory.claim_log
        if held is None:
            return None
        has_known = True
        if known is not None and known.last_claim and known.epoch == held.epoch:
            later = held.claims - known.claims
            if 0 <= later < len(log):
                has_known = log[-1 - later] == known.last_claim
        return replace(
            held,
            last_claim=log[-1] if log else "",
            has_known=has_known,
            account=self._memory.account,
        )

    async def list_claims(self) -> Sequence[str]:
        return tuple(self._memory.claim_log)

    async def replace_journal(self, held: str, journal_id: str, since: datetime | None) -> bool:
        now = self._memory.position
        if now is None or now.journal_id != held:
            return False
        self._memory.position = replace(
            now, journal_id=journal_id, journal_since=since, newest_entry="", lost_entry=""
        )
        return True

    async def note_entry(self, job_id: str, number: int, name: str, journal_id: str) -> bool:
        now, row = self._memory.position, self._memory.job(job_id)
        if row is None or journal_id != ("" if now is None else now.journal_id):
            return False
        row.journal_entry = number
        if now is not None:
            self._memory.position = replace(now, newest_entry=name)
        return True

    async def load_noted_entry(self, job_id: str) -> int | None:
        row = self._memory.job(job_id)
        return None if row is None else row.journal_entry

    async def replace_lost_entry(self, before: StorePosition, lost: str) -> bool:
        now = self._memory.position
        if now is None or _lost_of(now) != _lost_of(before):
            return False
        self._memory.position = replace(now, lost_entry=lost)
        return True

    async def create(self, position: StorePosition) -> bool:
        if self._memory.position is not None:
            return False
        self._memory.position = position
        self._memory.account = self._memory.account or position.account
        return True

    async def mark_went_back(
        self, compare_since: datetime, doubt_until: datetime | None = None
    ) -> None:
        held = self._memory.position
        if held is None:
            return
        since = min(compare_since, held.compare_since or compare_since)
        held = replace(held, compare_since=since)
        if doubt_until is not None:
            held = replace(
                held,
                doubt_until=max(doubt_until, held.doubt_until or doubt_until),
                journal_since=max(doubt_until, held.journal_since or doubt_until),
            )
        self._memory.position = held

    async def settle(self, before: StorePosition, after: StorePosition) -> bool:
        now = await self.load()
        if now is None:
            return False
        if _compared(now) != _compared(before):
            return False
        self._memory.position = replace(
            now,
            epoch=after.epoch,
            claims=after.claims,
            compare_since=None,
            doubt_until=None,
            complete_since=after.complete_since,
        )
        return True

    async def load_account(self) -> str:
        return self._memory.account

    async def replace_account(self, held: str, account: str) -> bool:
        if self._memory.account != held:
            return False
        self._memory.account = account
        return True

    async def disconnect(self) -> None:
        """See `StoreIdentity.disconnect`; there is no connection, but a number of it."""
        self._memory.disconnects += 1
        self._memory.connections += 1


def _compared(position: StorePosition) -> tuple[object, ...]:
    """Return what `settle` compares."""
    at = position
    return at.store_id, at.epoch, at.claims, at.last_claim, at.compare_since, at.doubt_until
