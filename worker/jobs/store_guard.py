"""Lets submits leave only while the store is the known one and has forgotten nothing.

At a worker's start, and when the store went back, the journal is compared with the store first.
"""

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from core.clock import Clock
from core.ids import IdSource
from core.journal.journal import Journal
from core.journal.objects import JournalUnavailable
from core.journal.position import (
    CLOCK_MARGIN,
    StoreStatus,
    after_reconciliation,
    compare_since,
    status_of,
)
from core.observability.events import Emit, JobReconciled, SubmitsResumed, SubmitsStopped
from core.store.identity import StoreIdentityRepository, StorePosition, bind_account
from worker.jobs.reconciliation import Reconciler

_OWN_STORE: Final = frozenset(
    {StoreStatus.NEW, StoreStatus.CURRENT, StoreStatus.WENT_BACK, StoreStatus.OTHER_JOURNAL}
)


@dataclass(frozen=True, slots=True)
class GuardPolicy:
    """What a guard depends on.

    A submit that was claimed before the store went back may reach the journal until `settle_delay`
    after that was noticed, the lease of a submit: the last comparison comes after it. `account` is
    this worker's (`core.runcomfy_account`); empty: any store.
    """

    settle_delay: timedelta = timedelta(0)
    account: str = ""


class StoreGuard:
    """Watches the position of the store. All workers with one store stop and resume together."""

    def __init__(
        self,
        identity: StoreIdentityRepository,
        journal: Journal | None,
        clock: Clock,
        ids: IdSource,
        emit: Emit,
        policy: GuardPolicy,
    ) -> None:
        """No submit may leave before the first `run_once`.

        Without a journal nothing is compared, and only positions that this process has seen are
        known.
        """
        self._identity = identity
        self._policy = policy
        self._journal = journal
        self._clock = clock
        self._ids = ids
        self._emit = emit
        self._known: StorePosition | None = None
        self._saved: StorePosition | None = None
        self._status: StoreStatus | None = None
        self._went_back_at: timedelta | None = None
        self._journal_id = ""
        self._has_own_journal: bool | None = None
        self.is_open = False
        """Whether submits may leave, as far as this process knows."""

    async def allows_submit(self) -> bool:
        """Return whether the submit that was just claimed may leave.

        Raises `StoreUnavailable`.
        """
        return await self._check() is StoreStatus.CURRENT and self.is_open

    async def report_missing(self, claimed_at: datetime) -> None:
        """Have the journal compared with the store again, from a claim that the store lost.

        A submit that was in flight while the store went back may reach the journal after the
        comparison. Raises `StoreUnavailable`.
        """
        self.is_open = False
        await self._identity.mark_went_back(claimed_at - CLOCK_MARGIN)

    async def check_journal(self) -> datetime | None:
        """Return since when each claim has its entry in this worker's journal; None: always.

        Raises `JournalUnavailable`, also if the journal is not known to be the one of the store:
        then a missing entry proves nothing. Raises `StoreUnavailable`.
        """
        position = await self._identity.load(self._known)
        if position is None or not position.journal_id or not await self._is_journal(position):
            raise JournalUnavailable("It is not known to be the journal of this store.")
        return position.journal_since

    async def is_in_own_journal(self) -> bool:
        """Return whether what was just written to the journal is in the one of the store.

        Its folder may have been unmounted meanwhile. Raises `JournalUnavailable`.
        """
        return self._journal is None or await self._journal.load_id() == self._journal_id

    async def run_once(self, reconciler: Reconciler | None) -> None:
        """Read the position, and do what its status needs. Raises `StoreUnavailable`."""
        with suppress(JournalUnavailable):
            if self._known is None and self._journal is not None:
                self._known = await self._journal.load_position()
            if self._policy.account and not self.is_open:
                await bind_account(self._identity, self._policy.account)
            status = await self._check()
            if status is StoreStatus.NEW:
                await self._identity.create(StorePosition(self._ids.secret().hex()[:32]))
            if status in _OWN_STORE:
                await self._identify_journal()
                status = await self._check()
            if status is StoreStatus.WENT_BACK or (
                status is StoreStatus.CURRENT and not self.is_open
            ):
                await self._reconcile(reconciler)
            await self._save()

    async def _identify_journal(self) -> None:
        """Find out whether this worker's journal is the store's; make it that if none is.

        A worker without a journal must not submit beside others that have one.
        """
        position = await self._identity.load(self._known)
        if position is None:
            return
        if self._journal is not None and not position.journal_id:
            journal_id = await self._journal.create_id(self._ids.secret().hex()[:32])
            since = self._clock.now() + CLOCK_MARGIN if position.claims else None
            await self._identity.replace_journal("", journal_id, since)
            position = await self._identity.load(self._known) or position
        self._journal_id = position.journal_id
        self._has_own_journal = await self._is_journal(position)

    async def _is_journal(self, position: StorePosition) -> bool:
        own = "" if self._journal is None else await self._journal.load_id()
        return own == position.journal_id

    async def _check(self) -> StoreStatus:
        position = await self._identity.load(self._known)
        status = self._status_of(position)
        if status in {StoreStatus.UNKNOWN, StoreStatus.OTHER} and await self._learn_identity():
            status = self._status_of(position)
        if status is StoreStatus.CURRENT:
            self._known, self._went_back_at = position, None
        else:
            self.is_open = False
        if status is StoreStatus.WENT_BACK and self._went_back_at is None:
            self._went_back_at = self._clock.monotonic()
        if status not in {self._status, StoreStatus.CURRENT, StoreStatus.NEW}:
            self._emit(SubmitsStopped(status, f"{position}, known: {self._known}"))
        self._status = status
        if status is StoreStatus.OTHER_ACCOUNT:
            # Not one more poll: RunComfy does not know these jobs under this worker's token.
            await self._identity.disconnect()
            return status
        known = self._known
        if position is not None and known is not None and position.is_behind(known):
            await self._identity.mark_went_back(await self._compare_since())
        return status

    def _status_of(self, position: StorePosition | None) -> StoreStatus:
        is_other = self._has_own_journal is False
        return status_of(position, self._known, self._policy.account, is_other_journal=is_other)

    async def _learn_identity(self) -> bool:
        """Read the identity from the journal again: it counts, not what this process remembers.

        Another worker's first identity may have replaced one that the store forgot immediately.
        """
        if self._journal is None:
            return False
        with suppress(JournalUnavailable):
            found = await self._journal.load_position()
            if found is not None and self._known is not None:
                is_other = found.store_id != self._known.store_id
                self._known = found if is_other else self._known
                return is_other
        return False

    async def _reconcile(self, reconciler: Reconciler | None) -> None:
        """Compare the journal with the store until they agree, then let submits leave.

        The store may go back again meanwhile: then its position is another one.
        """
        started = self._clock.monotonic()
        while True:
            before = await self._identity.load(self._known)
            if before is None or await self._compare(reconciler, before.compare_since) == 0:
                break
        if before is not None and status_of(before, self._known) is StoreStatus.WENT_BACK:
            if self._may_submits_arrive(started):
                return
            after = after_reconciliation(before, self._known)
            if not await self._identity.settle(before, after):
                return
            self._known = after
        if await self._check() is StoreStatus.CURRENT:
            self.is_open = True
            self._emit(SubmitsResumed())

    def _may_submits_arrive(self, comparison_started: timedelta) -> bool:
        """Return whether the journal may get entries that the comparison has not seen."""
        noticed = self._went_back_at
        return noticed is None or comparison_started < noticed + self._policy.settle_delay

    async def _compare(self, reconciler: Reconciler | None, marked: datetime | None) -> int:
        """Return of how many jobs the store lacked something."""
        if reconciler is None:
            return 0
        since = await self._compare_since()
        found = await reconciler.run(since if marked is None else min(since, marked))
        for each in found:
            self._emit(JobReconciled(each.job_id, each.difference, each.detail))
        return sum(each.is_resolved for each in found)

    async def _compare_since(self) -> datetime:
        claims = await self._identity.list_claims()
        return compare_since(claims, self._known, self._clock.now())

    async def _save(self) -> None:
        """Write the position to the journal, for workers that start without a memory."""
        known = self._known
        if self._journal is None or not self.is_open or known is None:
            return
        if known != self._saved:
            await self._journal.save_position(known)
            self._saved = known
