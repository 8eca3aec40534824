"""Lets submits leave only while the store is the known one and has forgotten nothing.

At a worker's start, and when the store went back, the journal is compared with the store first.
"""

from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final

from core.clock import Clock
from core.ids import IdSource
from core.journal.journal import Journal
from core.journal.objects import JournalUnavailable
from core.journal.position import StoreStatus, after_reconciliation, status_of
from core.observability.events import Emit, JobReconciled, SubmitsResumed, SubmitsStopped
from core.store.identity import StoreIdentityRepository, StorePosition
from worker.jobs.reconciliation import Reconciler

CLOCK_MARGIN: Final = timedelta(minutes=2)
"""How much the clocks of workers and journal may differ."""
MAX_LOOKBACK: Final = timedelta(days=30)
"""How far back entries are compared with a store that knows of no claim."""


class StoreGuard:
    """Watches the position of the store. All workers with one store stop and resume together."""

    def __init__(
        self,
        identity: StoreIdentityRepository,
        journal: Journal | None,
        clock: Clock,
        ids: IdSource,
        emit: Emit,
    ) -> None:
        """No submit may leave before the first `run_once`.

        Without a journal nothing is compared, and only positions that this process has seen are
        known.
        """
        self._identity = identity
        self._journal = journal
        self._clock = clock
        self._ids = ids
        self._emit = emit
        self._known: StorePosition | None = None
        self._saved: StorePosition | None = None
        self._status: StoreStatus | None = None
        self.is_open = False
        """Whether submits may leave, as far as this process knows."""

    async def allows_submit(self) -> bool:
        """Return whether the submit that was just claimed may leave.

        Raises `StoreUnavailable`.
        """
        return await self._check() is StoreStatus.CURRENT and self.is_open

    async def run_once(self, reconciler: Reconciler | None) -> None:
        """Read the position, and do what its status needs. Raises `StoreUnavailable`."""
        with suppress(JournalUnavailable):
            if self._known is None and self._journal is not None:
                self._known = await self._journal.load_position()
            status = await self._check()
            if status is StoreStatus.NEW:
                await self._identity.create(StorePosition(self._ids.secret().hex()[:32]))
                status = await self._check()
            if status is StoreStatus.WENT_BACK or (
                status is StoreStatus.CURRENT and not self.is_open
            ):
                await self._reconcile(reconciler)
            await self._save()

    async def _check(self) -> StoreStatus:
        position = await self._identity.load(self._known)
        status = status_of(position, self._known)
        if status is StoreStatus.CURRENT:
            self._known = position
        else:
            self.is_open = False
        if status not in {self._status, StoreStatus.CURRENT, StoreStatus.NEW}:
            self._emit(SubmitsStopped(status, f"{position}, known: {self._known}"))
        self._status = status
        if status is StoreStatus.WENT_BACK and position and position.went_back_at is None:
            await self._identity.mark_went_back(self._clock.now())
        return status

    async def _reconcile(self, reconciler: Reconciler | None) -> None:
        """Compare the journal with the store, then let submits leave."""
        position = await self._identity.load()
        if reconciler is not None:
            for found in await reconciler.run(compare_since(position, self._clock.now())):
                self._emit(JobReconciled(found.job_id, found.verdict, found.detail))
        position = await self._identity.load(self._known)
        if position is not None and status_of(position, self._known) is StoreStatus.WENT_BACK:
            await self._identity.settle(after_reconciliation(position, self._known))
        if await self._check() is StoreStatus.CURRENT:
            self.is_open = True
            self._emit(SubmitsResumed())

    async def _save(self) -> None:
        """Write the position to the journal, for workers that start without a memory."""
        known = self._known
        if self._journal is None or not self.is_open or known is None or known == self._saved:
            return
        await self._journal.save_position(known)
        self._saved = known


def compare_since(position: StorePosition | None, now: datetime) -> datetime:
    """Return since when entries may be missing: each was written after its claim was stored."""
    if position is None or position.claimed_at is None:
        return now - MAX_LOOKBACK
    return position.claimed_at - CLOCK_MARGIN
