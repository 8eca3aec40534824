"""Lets submits leave only while the store is the known one and has forgotten nothing.

At a worker's start, and when the store went back, the journal is compared with the store first.
"""

from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from core.clock import Clock
from core.ids import IdSource
from core.jobs.job import Job
from core.journal.journal import Journal
from core.journal.objects import JournalUnavailable
from core.journal.position import (
    CLOCK_MARGIN,
    StoreStatus,
    after_reconciliation,
    compare_since,
    doubt_until,
    entries_to_find,
    status_of,
)
from core.journal.records import attempts_prefix, entry_name
from core.observability.events import Emit, JobReconciled, SubmitsResumed, SubmitsStopped
from core.store.identity import StoreIdentityRepository, StorePosition, bind_account
from worker.jobs.reconciliation import Reconciler, StoreUnmarked

_OWN_STORE: Final = frozenset(
    {
        StoreStatus.CURRENT,
        StoreStatus.UNCOMPARED,
        StoreStatus.WENT_BACK,
        StoreStatus.OTHER_JOURNAL,
        StoreStatus.JOURNAL_WENT_BACK,
    }
)
MAX_IDENTITY_AGE: Final = timedelta(seconds=2)
"""For so long after `run_once`, which runs each second, a bucket is known to be the journal."""
REPORT_DELAY: Final = timedelta(seconds=2)
"""So long after a reconnect without a journal nothing leaves: each other worker has checked then,
and has reported what the store has forgotten."""


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
        self._position: StorePosition | None = None
        self._connection = 0
        self._connected_at: timedelta | None = None
        self._compared: int | None = None
        self._confirmed: StorePosition | None = None
        self._noted: StorePosition | None = None
        self._journal_id = ""
        self._journal_issue: StoreStatus | None = None
        self._identified_at: timedelta | None = None
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
        self._stop()
        since = min(claimed_at - CLOCK_MARGIN, await self._compare_since())
        await self._identity.mark_went_back(since)

    async def check_journal(self) -> datetime | None:
        """Return since when each claim has its entry in this worker's journal; None: always.

        Raises `JournalUnavailable`, also if the journal is not known to be the one of the store, or
        went back: then a missing entry proves nothing. Raises `StoreUnavailable`.
        """
        position = await self._identity.load(self._known)
        if position is None or not position.journal_id or not await self._is_journal(position):
            raise JournalUnavailable("It is not known to be the journal of this store.")
        if position.lost_entry:
            raise JournalUnavailable(f"It lacks {position.lost_entry}.")
        seen = (position,) if self._known is None else (position, self._known)
        begun = [each.journal_since for each in seen if each.journal_since is not None]
        return max(begun, default=None)

    async def is_in_own_journal(self) -> bool:
        """Return whether what was just written to the journal is in the one of the store.

        Its folder may have been unmounted meanwhile. A bucket is read by `run_once` only. Raises
        `JournalUnavailable`.
        """
        if self._journal is None:
            return True
        if not self._journal.is_mounted and self._was_identified():
            return True
        return await self._journal.load_id() == self._journal_id

    async def note_entry(self, claimed: Job, number: int) -> bool:
        """Have the store note the entry that a claimed submit has; return whether it may leave.

        A journal without it went back. The store may have lost the job, or have got another
        journal. Raises `StoreUnavailable`.
        """
        name = entry_name(attempts_prefix(claimed), number)
        if not await self._identity.note_entry(claimed.id, number, name, self._journal_id):
            return False
        if self._known is not None:
            self._noted = replace(self._known, newest_entry=name)
        return True

    async def load_noted_entry(self, claimed: Job) -> int | None:
        """Return the number of the entry that a claim had; None: it has sent nothing.

        Raises `StoreUnavailable`.
        """
        return await self._identity.load_noted_entry(claimed.id)

    async def report_lost_entry(self, claimed: Job, number: int) -> None:
        """Stop all submits: the journal lacks an entry. Raises `StoreUnavailable`.

        Not if an operator has accepted meanwhile that claims until then may lack their entry.
        """
        self._stop()
        lost, position = entry_name(attempts_prefix(claimed), number), await self._identity.load()
        if position is None or position.lost_entry:
            return
        since = position.journal_since
        if since is None or (claimed.sent_at is not None and claimed.sent_at >= since):
            await self._identity.replace_lost_entry(position, lost)

    async def run_once(self, reconciler: Reconciler | None) -> None:
        """Read the position, and do what its status needs. Raises `StoreUnavailable`."""
        with suppress(JournalUnavailable):
            if self._known is None and self._journal is not None:
                self._known = await self._journal.load_position()
            if self._policy.account and not self.is_open:
                await bind_account(self._identity, self._policy.account)
            status = await self._check()
            if status is StoreStatus.NEW:
                await self._identity.create(self._first_position())
                status = await self._check()
            if status in _OWN_STORE and await self._has_journal_changed():
                status = await self._check()
            if status is StoreStatus.UNCOMPARED and self._compared is not None:
                await self._check_forgotten(reconciler)
            elif status in {StoreStatus.WENT_BACK, StoreStatus.UNCOMPARED}:
                await self._reconcile(reconciler)
            elif status is StoreStatus.CURRENT and not self.is_open:
                await self._open()
            await self._save()

    def _stop(self) -> None:
        """Let nothing leave until all of the journal was compared."""
        self.is_open, self._compared = False, None

    def _first_position(self) -> StorePosition:
        name, now = self._ids.secret().hex()[:32], self._clock.now()
        return StorePosition(name, complete_since=now)

    async def _has_journal_changed(self) -> bool:
        """Find out whether the journal can be used; return whether that is another answer."""
        before, position = self._journal_issue, self._position
        if position is not None:
            self._journal_issue = await self._find_journal_issue(position)
        return self._journal_issue is not before

    async def _find_journal_issue(self, position: StorePosition) -> StoreStatus | None:
        """Return why the journal is not the store's, or not all of it; None: it can be used.

        A worker without a journal must not submit beside others that have one.
        """
        self._identified_at, started = None, self._clock.monotonic()
        if self._journal is not None and not position.journal_id:
            position = await self._adopt(self._journal, position)
        self._journal_id = position.journal_id
        if not await self._is_journal(position):
            return StoreStatus.OTHER_JOURNAL
        if self._journal is not None and await self._went_back(self._journal, position):
            return StoreStatus.JOURNAL_WENT_BACK
        self._identified_at = started
        return None

    async def _adopt(self, journal: Journal, position: StorePosition) -> StorePosition:
        """Make this worker's journal that of a store that has none. Returns the position then."""
        journal_id = await journal.create_id(self._ids.secret().hex()[:32])
        since = self._clock.now() + CLOCK_MARGIN if position.claims else None
        await self._identity.replace_journal("", journal_id, since)
        return await self._identity.load(self._known) or position

    async def _went_back(self, journal: Journal, position: StorePosition) -> bool:
        """Return whether the journal lacks an entry, and let all workers know."""
        remembered = (self._confirmed, self._known, self._noted)
        for name in entries_to_find(position, remembered, self._clock.now().date()):
            if not await journal.has_entry(name):
                if not position.lost_entry:
                    await self._identity.replace_lost_entry(position, name)
                return True
        if position.lost_entry:
            await self._identity.replace_lost_entry(position, "")
        self._confirmed = position
        return False

    async def _is_journal(self, position: StorePosition) -> bool:
        own = "" if self._journal is None else await self._journal.load_id()
        return own == position.journal_id

    def _was_identified(self) -> bool:
        at = self._identified_at
        return at is not None and self._clock.monotonic() - at < MAX_IDENTITY_AGE

    async def _check(self) -> StoreStatus:
        position = await self._load()
        status = self._status_of(position)
        if status in {StoreStatus.UNKNOWN, StoreStatus.OTHER} and await self._learn_identity():
            status = self._status_of(position)
        if status is StoreStatus.CURRENT:
            self._known, self._went_back_at = position, None
        elif status is StoreStatus.UNCOMPARED:
            self.is_open = False
        else:
            self._stop()
        if status is StoreStatus.WENT_BACK and self._went_back_at is None:
            self._went_back_at = self._clock.monotonic()
        if status is not self._status and self._is_stopped_by(status):
            self._emit(SubmitsStopped(status, f"{position}, known: {self._known}"))
        self._status = status
        if status is StoreStatus.OTHER_ACCOUNT:
            # Not one more poll: RunComfy does not know these jobs under this worker's token.
            await self._identity.disconnect()
            return status
        await self._mark()
        return status

    async def _load(self) -> StorePosition | None:
        """Read the position, and over which connection."""
        position = self._position = await self._identity.load(self._known)
        if self._connection != self._identity.connections:
            self._connection = self._identity.connections
            self._connected_at = self._clock.monotonic()
        return position

    def _is_stopped_by(self, status: StoreStatus) -> bool:
        """Return whether it is news that nothing leaves, as it is not at the start."""
        if status is StoreStatus.UNCOMPARED:
            return self._compared is not None
        return status not in {StoreStatus.CURRENT, StoreStatus.NEW}

    async def _mark(self) -> None:
        """Let all workers know of a store that went back; again, if it goes back behind that."""
        known = self._known
        while (
            (position := self._position) is not None
            and known is not None
            and position.is_behind(known)
        ):
            await self._mark_since_forgotten(doubt_until(position, known))
            self._position = await self._identity.load(known)
            if self._position is None or self._position.compare_since is not None:
                return

    async def _mark_since_forgotten(self, doubt: datetime | None = None) -> None:
        """Mark the store as gone back, since what it has forgotten.

        It may go back again between the two: then it has forgotten more than was read of it.
        """
        while True:
            since = await self._compare_since()
            await self._identity.mark_went_back(since, doubt)
            if await self._compare_since() >= since:
                return

    def _status_of(self, position: StorePosition | None) -> StoreStatus:
        status = status_of(position, self._known, self._policy.account, self._journal_issue)
        if status is StoreStatus.CURRENT and self._connection != self._compared:
            return StoreStatus.UNCOMPARED
        return status

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

    async def _check_forgotten(self, reconciler: Reconciler | None) -> None:
        """Find out whether the server of a new connection has forgotten what others submitted.

        The worker that submitted it may be dead. If anything is missing, the store went back.
        """
        connection = self._connection
        if reconciler is None:
            if not self._was_reported():
                return
        elif await reconciler.has_forgotten(await self._compare_since()):
            await self._stop_until_compared(self._known)
            return
        self._compared = connection
        await self._open()

    async def _stop_until_compared(self, seen: StorePosition | None) -> None:
        """Let all workers compare the store, which was at `seen`, and store again what it lacks."""
        self._stop()
        now = await self._identity.load(seen)
        doubt = None if now is None else doubt_until(now, seen)
        await self._mark_since_forgotten(doubt)

    def _was_reported(self) -> bool:
        """Return whether other workers have checked the store since this one's reconnect."""
        at = self._connected_at
        return at is not None and self._clock.monotonic() - at >= REPORT_DELAY

    async def _open(self) -> None:
        """Let submits leave, if the connection is still the one that was compared."""
        if await self._check() is StoreStatus.CURRENT:
            self.is_open = True
            self._emit(SubmitsResumed())

    async def _reconcile(self, reconciler: Reconciler | None) -> None:
        """Compare the journal with the store until they agree, then let submits leave.

        The store may go back again meanwhile: then its position is another one.
        """
        started, connection = self._clock.monotonic(), self._connection
        before = None
        try:
            while True:
                before = await self._identity.load(self._known)
                if before is None or await self._compare(reconciler, before) == 0:
                    break
        except StoreUnmarked:
            await self._stop_until_compared(before)
            return
        if before is None or status_of(before, self._known) is not StoreStatus.WENT_BACK:
            if await self._is_behind(before):
                await self._stop_until_compared(before)
                return
        elif not await self._settle(before, started):
            return
        self._compared = connection
        await self._open()

    async def _is_behind(self, before: StorePosition | None) -> bool:
        """Return whether the store went back while it was compared, unmarked.

        If not, what it has is known from now on, however little the journal knew.
        """
        now = await self._identity.load(before)
        if before is None or now is None or now.store_id != before.store_id:
            return False
        if not now.is_behind(before):
            self._known = now
            return False
        return True

    async def _settle(self, before: StorePosition, comparison_started: timedelta) -> bool:
        """End the mark of a store that was compared, unless it is still to be compared."""
        if self._may_submits_arrive(comparison_started):
            return False
        after = after_reconciliation(before, self._known, self._clock.now())
        if not await self._identity.settle(before, after):
            return False
        self._known = after
        return True

    def _may_submits_arrive(self, comparison_started: timedelta) -> bool:
        """Return whether the journal may get entries that the comparison has not seen."""
        noticed = self._went_back_at
        return noticed is None or comparison_started < noticed + self._policy.settle_delay

    async def _compare(self, reconciler: Reconciler | None, position: StorePosition) -> int:
        """Return of how many jobs the store lacked something."""
        if reconciler is None:
            return 0
        since, marked = await self._compare_since(), position.compare_since
        since = since if marked is None else min(since, marked)
        found = await reconciler.run(since, position.doubt_until)
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
