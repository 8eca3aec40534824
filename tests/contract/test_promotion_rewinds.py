"""A follower that was promoted and paid for, and a store that goes back around its promotion."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final

import pytest

from core.billing.settlement import ReservationTotals
from core.billing.usage import Budget
from core.jobs.job import BillingStatus, Job, JobState
from core.jobs.submission import IdempotencyRecord, Submission
from core.money import MicroUsd
from core.tenants.cache_policy import CacheOption, TenantCachePolicy
from core.tenants.limits import Limits
from core.transactions.admission import CacheRequest, IdempotencyClaim
from core.transactions.job_update import Change, WriteResult
from core.transactions.restoration import Restoration
from service.jobs.cancel import decide_cancel
from tests.support.backends import StoreBackend
from tests.support.journalled_worker import CHARGE, STEP, JournalledWorker
from tests.support.store_steps import admission_of, new_job, timeline_entry
from worker.ports import Indeterminate, UpstreamFault

SHARING: Final = CacheRequest(CacheOption.USE)
PRICE: Final = MicroUsd(100)
NAMES: Final = ("req_lead", "req_next", "req_last")
LEAD, NEXT, LAST = NAMES


@dataclass(slots=True)
class Flight:
    """A leader and two followers of one input; each has a body of its own, to tell who paid."""

    backend: StoreBackend
    worker: JournalledWorker
    before: Any
    """A copy of the store before anything was admitted."""

    async def admit(self, name: str) -> None:
        now = self.backend.clock.now()
        job = replace(
            new_job(now, name),
            next_run_at=now,
            estimate=PRICE,
            deadline=now + timedelta(hours=1 + NAMES.index(name)),
            webhook="https://hooks.test/ada",
        )
        admission = replace(admission_of(job), input=name.encode(), cache=SHARING)
        key = IdempotencyClaim(f"key-{name}", "fp")
        await self.backend.jobs.admit(replace(admission, idempotency=key))

    async def job(self, name: str) -> Job:
        record = await self.backend.jobs.load(name)
        assert record is not None
        return record.job

    async def states(self) -> list[JobState]:
        return [(await self.job(name)).state for name in NAMES]

    async def cancel(self, name: str) -> None:
        job = await self.job(name)
        after = decide_cancel(job, self.backend.clock.now()).after
        assert after is not None
        assert await self.backend.jobs.store(Change(job, after)) is WriteResult.STORED

    async def step(self, times: int = 1) -> None:
        for _ in range(times):
            self.backend.clock.shift(STEP)
            await self.worker.run_due()

    async def totals(self) -> ReservationTotals:
        now = self.backend.clock.now()
        usage = await self.backend.tenants.read_usage("ada", Budget(Limits()), now)
        return usage.windows[0].total.reservations

    @property
    def paid(self) -> dict[str, int]:
        return {body.decode(): count for body, count in self.worker.upstream.paid.items()}

    async def ends_told(self) -> dict[str, tuple[str, ...]]:
        """The ids of the deliveries of each job."""
        views = {name: await self.backend.jobs.load_view(name) for name in NAMES}
        return {name: view.delivery_ids for name, view in views.items() if view is not None}


@pytest.fixture
async def flight(backend: StoreBackend) -> AsyncIterator[Flight]:
    """Checks the counters at the end."""
    await set_promotion(backend, promote=True)
    worker = JournalledWorker(backend, backend.clock)
    found = Flight(backend, worker, await backend.probe.copy())
    for name in NAMES:
        await found.admit(name)
    assert await found.states() == [JobState.QUEUED, JobState.FOLLOWING, JobState.FOLLOWING]
    yield found
    assert await backend.probe.inconsistencies() == []


async def set_promotion(backend: StoreBackend, *, promote: bool) -> None:
    ada = await backend.tenants.load("ada")
    assert ada is not None
    policy = TenantCachePolicy(promote=promote)
    after = replace(ada, cache_policy=policy, version=ada.version + 1)
    assert await backend.tenants.change(ada, after)


async def cancelled(flight: Flight) -> None:
    """Its leader is cancelled before it is sent: the last one takes its place, and is sent."""
    await flight.cancel(LEAD)


async def failed(flight: Flight) -> None:
    """Its leader is sent, and fails without a charge."""
    flight.worker.upstream.fails.add("up-1")
    await flight.step(2)
    flight.worker.upstream.ends_runs = True
    await flight.step()
    flight.worker.upstream.ends_runs = False
    assert (await flight.job(LEAD)).state is JobState.FAILED


ENDS: Final[dict[str, Any]] = {"cancelled": cancelled, "failed": failed}


async def promote_and_send(flight: Flight, end: Callable[[Flight], Any]) -> str:
    """End the leader; return the follower that was promoted and paid for."""
    await end(flight)
    await flight.step(3)
    promoted = [name for name in (NEXT, LAST) if flight.paid.get(name)]
    assert len(promoted) == 1
    assert (await flight.job(promoted[0])).state is JobState.RUNNING
    return promoted[0]


@pytest.mark.parametrize("end", ENDS)
async def test_a_promoted_job_stays_paid_for_once_whose_promotion_is_forgotten(
    flight: Flight, end: str
) -> None:
    """Regression: it followed its leader again, had the leader's result, and cost nothing."""
    copy = await flight.backend.probe.copy()
    promoted = await promote_and_send(flight, ENDS[end])
    await flight.backend.probe.go_back(copy)
    await flight.worker.reconcile()
    held = await flight.job(promoted)
    assert held.state is JobState.RUNNING
    assert held.leader is None
    flight.worker.upstream.ends_runs = True
    await flight.worker.run_until_idle()
    assert all(times == 1 for times in flight.paid.values())
    ended = await flight.job(promoted)
    assert (ended.state, ended.billed, ended.cost) == (
        JobState.SUCCEEDED,
        BillingStatus.YES,
        CHARGE,
    )


@pytest.mark.parametrize("end", ENDS)
async def test_a_promoted_job_without_an_answer_is_in_doubt_whose_promotion_is_forgotten(
    flight: Flight, end: str
) -> None:
    """Regression: it followed its leader again, and ended as free."""
    copy = await flight.backend.probe.copy()
    await ENDS[end](flight)
    flight.worker.upstream.answer = Indeterminate(UpstreamFault("read_timeout", "no answer"))
    await flight.step(3)
    promoted = next(name for name in (NEXT, LAST) if flight.paid.get(name))
    flight.worker.upstream.answer = None
    await flight.backend.probe.go_back(copy)
    await flight.worker.reconcile()
    held = await flight.job(promoted)
    assert (held.state, held.billed) == (JobState.IN_DOUBT, BillingStatus.UNKNOWN)
    assert held.leader is None
    flight.worker.upstream.ends_runs = True
    await flight.worker.run_until_idle()
    assert all(times == 1 for times in flight.paid.values())


@pytest.mark.parametrize("end", ENDS)
async def test_a_store_that_goes_back_to_the_promotion_attaches_what_was_paid(
    flight: Flight, end: str
) -> None:
    await ENDS[end](flight)
    copy, promoted = await copy_when_promoted(flight)
    await flight.step(2)
    assert flight.paid[promoted] == 1
    await flight.backend.probe.go_back(copy)
    await flight.worker.reconcile()
    flight.worker.upstream.ends_runs = True
    await flight.worker.run_until_idle()
    assert all(times == 1 for times in flight.paid.values())
    assert (await flight.job(promoted)).state is JobState.SUCCEEDED


async def copy_when_promoted(flight: Flight) -> tuple[Any, str]:
    """Promote a follower, and copy the store before it is sent."""
    flight.worker.guard.is_open = False
    await flight.step(2)
    flight.worker.guard.is_open = True
    queued = [name for name in (NEXT, LAST) if (await flight.job(name)).state is JobState.QUEUED]
    assert len(queued) == 1
    return await flight.backend.probe.copy(), queued[0]


@pytest.mark.parametrize("end", ENDS)
async def test_the_end_of_a_promoted_job_is_told_again_under_the_same_id(
    flight: Flight, end: str
) -> None:
    copy = await flight.backend.probe.copy()
    promoted = await promote_and_send(flight, ENDS[end])
    flight.worker.upstream.ends_runs = True
    await flight.worker.run_until_idle()
    told = (await flight.ends_told())[promoted]
    assert len(told) == 1
    await flight.backend.probe.go_back(copy)
    await flight.worker.reconcile()
    await flight.worker.run_until_idle()
    assert (await flight.ends_told())[promoted] == told
    assert all(times == 1 for times in flight.paid.values())


@pytest.mark.parametrize("end", ENDS)
async def test_a_promoted_job_that_is_gone_is_found_by_its_key(flight: Flight, end: str) -> None:
    promoted = await promote_and_send(flight, ENDS[end])
    await flight.backend.probe.go_back(flight.before)
    await flight.worker.reconcile()
    assert (await flight.job(promoted)).state is JobState.RUNNING
    now = flight.backend.clock.now()
    again = replace(admission_of(new_job(now, "req_again")), cache=SHARING)
    key = IdempotencyClaim(f"key-{promoted}", "fp")
    found = (await flight.backend.jobs.admit(replace(again, idempotency=key))).record
    assert found is not None
    assert found.job.id == promoted


@pytest.mark.parametrize("end", ENDS)
async def test_the_books_have_what_a_forgotten_promotion_cost(flight: Flight, end: str) -> None:
    copy = await flight.backend.probe.copy()
    await promote_and_send(flight, ENDS[end])
    await flight.backend.probe.go_back(copy)
    await flight.worker.reconcile()
    assert (await flight.totals()).reserved == 2 * PRICE, "of the leader, and again of this one"
    flight.worker.upstream.ends_runs = True
    await flight.worker.run_until_idle()
    charged = [name for name in flight.paid if (await flight.job(name)).state is JobState.SUCCEEDED]
    totals = await flight.totals()
    assert totals.settled == CHARGE * len(charged)
    assert totals.reserved == totals.settled + totals.released


async def repeat(flight: Flight, name: str) -> Job:
    """Send the request of a job again, with its key; return what it is answered with."""
    now = flight.backend.clock.now()
    again = new_job(now, f"{name}_again")
    again = replace(again, next_run_at=now, estimate=PRICE, deadline=now + timedelta(hours=5))
    admission = replace(admission_of(again), input=again.id.encode(), cache=SHARING)
    key = IdempotencyClaim(f"key-{name}", "fp")
    admitted = await flight.backend.jobs.admit(replace(admission, idempotency=key))
    return admitted.record.job if admitted.record else await flight.job(again.id)


@pytest.mark.parametrize("end", ENDS)
async def test_a_repetition_that_follows_another_job_is_not_promoted_beside_the_first(
    flight: Flight, end: str
) -> None:
    """Regression: it stayed a follower, and was paid for when its leader ended."""
    await flight.backend.probe.go_back(flight.before)
    await flight.admit(LAST)
    await flight.step()
    assert flight.paid == {LAST: 1}
    await flight.backend.probe.go_back(flight.before)
    await flight.admit(LEAD)
    again = await repeat(flight, LAST)
    assert (again.state, again.leader) == (JobState.FOLLOWING, LEAD)
    await flight.worker.reconcile()
    ended = await flight.job(again.id)
    assert ended.state is JobState.FAILED
    assert ended.error is not None
    assert (ended.error.code, ended.billed) == ("repeated_request", BillingStatus.NO)
    assert (await repeat(flight, LAST)).id == LAST
    if end == "failed":
        flight.worker.upstream.fails.add("up-2")
    await flight.step()
    if end == "cancelled":
        await flight.cancel(LEAD)
    flight.worker.upstream.ends_runs = True
    await flight.worker.run_until_idle()
    assert flight.paid == {LAST: 1, LEAD: 1}


async def test_a_follower_of_a_repetition_takes_its_place(flight: Flight) -> None:
    """Regression: it failed with the repetition, whose error names another caller's job."""
    await flight.backend.probe.go_back(flight.before)
    await flight.admit(LEAD)
    await flight.step()
    await flight.backend.probe.go_back(flight.before)
    again = await repeat(flight, LEAD)
    await flight.admit(NEXT)
    assert (await flight.job(NEXT)).leader == again.id
    await flight.worker.reconcile()
    assert (await flight.job(again.id)).state is JobState.FAILED
    await set_promotion(flight.backend, promote=False)
    flight.worker.upstream.ends_runs = True
    await flight.worker.run_until_idle()
    assert (await flight.job(NEXT)).state is JobState.SUCCEEDED
    assert flight.paid == {LEAD: 1, NEXT: 1}


async def test_a_repetition_is_not_ended_that_follows_again(flight: Flight) -> None:
    """The store went back once more between its end and the restoration of the first job."""
    now = flight.backend.clock.now()
    job = replace(new_job(now, "req_first"), state=JobState.SUBMITTING).accept("up-9", now, now)
    used = IdempotencyRecord(f"key-{NEXT}", "fp")
    submission = Submission(b"", PRICE, idempotency=used)
    line = timeline_entry(now, "restored", job.state)
    settled = Restoration(job, line, submission, None, NEXT, (NEXT,))
    await flight.backend.identity.mark_went_back(now)
    assert (await flight.backend.jobs.restore(settled)).repetition == NEXT
    await flight.cancel(NEXT)
    assert (await flight.backend.jobs.restore(settled)).is_stored
    await flight.backend.probe.go_back(flight.before)


async def test_a_follower_that_has_changed_or_is_gone_is_not_restored(flight: Flight) -> None:
    now = flight.backend.clock.now()
    follower = await flight.job(NEXT)
    job = replace(follower, state=JobState.SUBMITTING, version=3).accept("up-9", now, now)
    line = timeline_entry(now, "restored", job.state)
    restoration = Restoration(job, line, Submission(b"", PRICE), follower=follower)
    await flight.backend.identity.mark_went_back(now)
    changed = replace(restoration, follower=replace(follower, version=2))
    assert not (await flight.backend.jobs.restore(changed)).is_stored
    copy = await flight.backend.probe.copy()
    await flight.backend.probe.go_back(flight.before)
    await flight.backend.identity.mark_went_back(now)
    assert not (await flight.backend.jobs.restore(restoration)).is_stored
    await flight.backend.probe.go_back(copy)
    assert (await flight.backend.jobs.restore(restoration)).is_stored
    assert not (await flight.backend.jobs.restore(restoration)).is_stored
