"""Operators' commands about the store: make one, compare it with the journal."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime

from core.clock import Clock
from core.errors import Conflict, InvalidInput
from core.ids import IdSource
from core.jobs.job import Job, JobState
from core.journal.journal import Journal
from core.journal.position import (
    CLOCK_MARGIN,
    StoreStatus,
    after_reconciliation,
    compare_since,
    doubt_until,
    status_of,
)
from core.runcomfy_account import add_token
from core.store.identity import StoreIdentityRepository, StorePosition
from core.store.interfaces import JobRepository
from worker.jobs.answer_writer import AnswerWriter
from worker.jobs.reconciliation import FORGOTTEN, Finding, Reconciler, StoreUnmarked


@dataclass(frozen=True, slots=True)
class PositionChange:
    """The store's position after a command, and whether that changed anything."""

    position: StorePosition
    is_changed: bool = True


@dataclass(frozen=True, slots=True)
class Comparison:
    """What the store lacked of the journal, or lacks, and whether submits leave again."""

    found: Sequence[Finding]
    has_resumed: bool = False

    @property
    def is_changed(self) -> bool:
        """Return whether the store is another one than before, unless it was a dry run."""
        return self.has_resumed or any(each.is_resolved for each in self.found)


@dataclass(frozen=True, slots=True)
class StoreCommands:
    """What the commands work with. Without a journal both of the last are None."""

    identity: StoreIdentityRepository
    clock: Clock
    ids: IdSource
    jobs: JobRepository
    answers: AnswerWriter
    journal: Journal | None = None
    reconciler: Reconciler | None = None

    async def positions(self) -> tuple[StorePosition | None, StorePosition | None]:
        """Return the position of the store, and the furthest one that the journal knows."""
        known = None if self.journal is None else await self.journal.load_position()
        return await self.identity.load(known), known

    async def init(self, *, replace: bool) -> PositionChange:
        """Make an empty store this gateway's; do nothing if it is one already.

        Raises `Conflict` if the journal belongs to another store, unless that one is lost and
        `replace` is given: then its identity goes over to this store, which workers reconcile.
        """
        position, known = await self.positions()
        if position is not None and (known is None or known.store_id == position.store_id):
            return PositionChange(position, is_changed=False)
        if known is not None and not replace:
            raise Conflict(
                f"The journal belongs to store {known.store_id}. If that store is lost, use "
                "--replace; workers then restore its jobs from the journal."
            )
        if position is not None:
            raise Conflict(f"This is store {position.store_id}, of another journal.")
        name = self.ids.secret().hex()[:32] if known is None else known.store_id
        account = "" if known is None else known.account
        fresh = StorePosition(name, account=account, complete_since=self.clock.now())
        await self.identity.create(fresh)
        if self.journal is not None and known is None:
            await self.journal.save_position(fresh)
        return PositionChange(fresh)

    async def adopt(self, fingerprint: str) -> PositionChange:
        """Let a further token of the RunComfy account use the store.

        Raises `InvalidInput` for a malformed fingerprint or a simulated store, `Conflict` for a
        store without an identity.
        """
        position = await self.identity.load()
        if position is None:
            raise Conflict("This Redis is no gateway's store; see `gateway store init`.")
        while True:
            held = await self.identity.load_account()
            try:
                account = add_token(held, fingerprint)
            except ValueError as error:
                raise InvalidInput(str(error)) from None
            if await self.identity.replace_account(held, account):
                return PositionChange(replace(position, account=account), account != held)

    async def restored(self, at: datetime, *, dry_run: bool) -> Sequence[Job]:
        """Put in doubt what may have been paid for since `at`, the time of the copy in use.

        For a gateway without a journal, or whose journal is a copy of that time as well: a job that
        was queued then may have been submitted since, and a stored object may have lost its record.
        What the journal does know is compared first; a job that the journal alone has may have been
        submitted again after its copy was made. Returns the jobs that were queued. Raises
        `Conflict` if this is no gateway's store, or that of another journal.
        """
        position, known = await self._own_position()
        if self.reconciler is not None and not dry_run:
            since = await self._compare_since(position)
            await self._compare_marked(self.reconciler, since, is_copy=True)
        until = max(at, doubt_until(position, known) or at)
        listed = await self.jobs.list_unsubmitted()
        found = [job for job in listed if job.state is JobState.QUEUED and job.created_at <= until]
        if not dry_run:
            for job in found:
                await self.answers.record_unanswered(job, FORGOTTEN)
            if self.journal is not None:
                await self._replace_journal(position)
            await self._begin_epoch()
        return found

    async def _own_position(self) -> tuple[StorePosition, StorePosition | None]:
        """Return the positions of the store and of its own journal. Raises `Conflict`."""
        position, known = await self.positions()
        if position is None:
            raise Conflict("This Redis is no gateway's store; see `gateway store init`.")
        if known is not None and known.store_id != position.store_id:
            raise Conflict(f"This is the journal of store {known.store_id}; nothing was changed.")
        return position, known

    async def _compare_since(self, position: StorePosition) -> datetime:
        """Return since when the store may lack what the journal has."""
        _, known = await self.positions()
        since = compare_since(await self.identity.list_claims(), known, self.clock.now())
        return since if position.compare_since is None else min(since, position.compare_since)

    async def _begin_epoch(self) -> None:
        """Let the store count as one that went back; a claim in between is counted first."""
        while (position := await self.identity.load()) is not None:
            if await self.identity.settle(
                position, after_reconciliation(position, None, self.clock.now())
            ):
                return

    async def replace_journal(self, *, dry_run: bool) -> Sequence[Job]:
        """Begin a new journal in place of a lost one, or go on with one that went back, or none.

        Returns the jobs whose submit is in flight: those whose worker has died go in doubt when
        their lease ends. Raises `Conflict` if the store has no other journal, and all of it, or if
        it went back as well: then its queued jobs may have been submitted.
        """
        position, known = await self._own_position()
        if status_of(position, known) is StoreStatus.WENT_BACK:
            raise Conflict("Redis went back as well: use `gateway store restored`.")
        held = "" if self.journal is None else await self.journal.load_id()
        if held == position.journal_id and not position.lost_entry:
            raise Conflict("This is the journal of the store; nothing was changed.")
        listed = await self.jobs.list_unsubmitted()
        found = [job for job in listed if job.state is JobState.SUBMITTING]
        if not dry_run:
            await self._replace_journal(position)
        return found

    async def _replace_journal(self, position: StorePosition) -> None:
        """Let this journal, or none, be the store's; of claims until now it proves nothing."""
        since = self.clock.now() + CLOCK_MARGIN
        new = await self._begin_journal(replace(position, journal_since=since))
        await self.identity.replace_journal(position.journal_id, new, since)

    async def _begin_journal(self, position: StorePosition) -> str:
        """Have the journal know since when it has every claim: the store may forget it."""
        if self.journal is None:
            return ""
        await self.journal.save_position(position)
        return await self.journal.create_id(self.ids.secret().hex()[:32])

    async def reconcile(self, since: datetime | None, *, dry_run: bool) -> Comparison:
        """Compare the journal with the store; return what the store lacked, or lacks.

        Submits that had stopped because the store went back leave again. Raises `Conflict`.
        """
        if self.reconciler is None:
            raise Conflict("There is no journal: set GATEWAY_JOURNAL__URL as the workers have it.")
        position, known = await self.positions()
        status = status_of(position, known)
        if position is None or status not in {StoreStatus.CURRENT, StoreStatus.WENT_BACK}:
            raise Conflict("This is not the store of the journal; see `gateway store show`.")
        start, until = since or await self._compare_since(position), doubt_until(position, known)
        if dry_run:
            return Comparison(await self.reconciler.run(start, until, dry_run=True))
        if status is StoreStatus.CURRENT:
            with suppress(StoreUnmarked):
                return Comparison(await self.reconciler.run(start, until))
        found, compared = await self._compare_marked(self.reconciler, start, until)
        after = after_reconciliation(compared, known, self.clock.now())
        return Comparison(found, await self.identity.settle(compared, after))

    async def _compare_marked(
        self,
        reconciler: Reconciler,
        since: datetime,
        until: datetime | None = None,
        *,
        is_copy: bool = False,
    ) -> tuple[Sequence[Finding], StorePosition]:
        """Mark the store and compare it until it lacks nothing, as workers do.

        Returns what it lacked, and its position before the last comparison. Workers that end the
        mark meanwhile have compared it too. Raises `Conflict` if its identity is lost.
        """
        found: list[Finding] = []
        while True:
            await self.identity.mark_went_back(since, until)
            position, known = await self._own_position()
            start = min(since, await self._compare_since(position))
            with suppress(StoreUnmarked):
                new = await reconciler.run(start, doubt_until(position, known), is_copy=is_copy)
                found += new
                if not any(each.is_resolved for each in new):
                    return found, position
