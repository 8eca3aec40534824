"""Batches: one decision for many jobs, counts of how they stand, and one telling of their end."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest

from core.batches import Admit, Batch, BatchCounts, BatchStatus
from core.errors import IdempotencyMismatch, LimitReached, NotFound, Unauthenticated
from core.jobs.job import Fact, Job, JobState
from core.store.batches import ItemSpan
from core.tenants.api_keys import Credential
from core.tenants.cache_policy import CacheOption, Reuse
from core.tenants.limits import Limits
from core.transactions.admission import Admission, BatchAdmission, Refused, ReuseRequest
from core.transactions.job_update import Change, Outcome
from tests.contract.orders import SECOND, admission, bare, credential, new_job

if TYPE_CHECKING:
    from core.transactions.admission import BatchAdmitted
    from tests.contract.subjects import Subject

ALL: Final = ItemSpan(0, 1000)
LEASE: Final = timedelta(seconds=30)
SHARING: Final = ReuseRequest(CacheOption.USE)


def jobs_of(subject: Subject, *names: str, batch: str = "bat_1") -> list[Job]:
    now = subject.clock.now()
    jobs = [new_job(now, f"req_{name}") for name in names]
    return [replace(job, fingerprint=f"1:{job.id}", batch=batch, due_at=None) for job in jobs]


def batch_of(subject: Subject, *admissions: Admission, **changes: Any) -> BatchAdmission:  # noqa: ANN401 - fields of the record
    """The jobs as a batch; `refused` items come in between."""
    refused = changes.pop("refused", ())
    key = changes.pop("idempotency", None)
    size = len(admissions) + len(refused)
    record = Batch("bat_1", "ada", subject.clock.now(), size, reference="films")
    return BatchAdmission(replace(record, **changes), admissions, "b1:x", refused, key)


async def taken(subject: Subject, *jobs: Job, **changes: Any) -> BatchAdmitted:  # noqa: ANN401 - fields of the record
    return await subject.batches.admit(batch_of(subject, *map(admission, jobs), **changes))


async def limited(subject: Subject, limits: Limits) -> None:
    before = await subject.tenants.load("ada")
    assert before is not None
    after = replace(before, limits=limits, version=before.version + 1)
    assert await subject.tenants.change(before, after)


async def ended(subject: Subject, job: Job, fact: Fact = Fact.CANCEL_ASKED) -> None:
    record = await subject.jobs.load(job.id)
    assert record is not None
    now = subject.clock.now()
    after = record.job.after(fact, now, due_at=None, finished_at=now)
    assert await subject.jobs.store(Change(record.job, after)) is Outcome.STORED


async def counts(subject: Subject, batch: str = "bat_1") -> BatchCounts:
    view = await subject.batches.load(batch)
    assert view is not None
    return view.counts


async def test_a_batch_is_read_as_it_was_taken_in(subject: Subject) -> None:
    jobs = jobs_of(subject, "a", "b")
    problem = Refused(1, b'{"code":"invalid_input"}')
    done = await taken(subject, *jobs, refused=(problem,), admit=Admit.FIT)
    assert done.stored
    view = await subject.batches.read(credential(), "bat_1", ALL)
    assert (view.batch.reference, view.batch.size, view.status) == ("films", 3, "in_progress")
    assert view.counts == BatchCounts(in_queue=2)
    assert [item.job_id for item in view.items] == ["req_a", None, "req_b"]
    assert [item.job.id for item in view.items if item.job] == ["req_a", "req_b"]
    assert view.items[1].refused == problem.problem
    assert {item.reuse for item in view.items} == {Reuse.OFF, None}


async def test_a_page_of_items_is_read(subject: Subject) -> None:
    await taken(subject, *jobs_of(subject, "a", "b", "c"))
    view = await subject.batches.read(credential(), "bat_1", ItemSpan(1, 1))
    assert [(item.index, item.job_id) for item in view.items] == [(1, "req_b")]
    assert (await subject.batches.read(credential(), "bat_1", ItemSpan(3, 5))).items == ()


async def test_nobody_else_reads_it(subject: Subject) -> None:
    await taken(subject, *jobs_of(subject, "a"))
    with pytest.raises(NotFound):
        await subject.batches.read(credential("bob"), "bat_1", ALL)
    with pytest.raises(NotFound):
        await subject.batches.read(credential(), "bat_2", ALL)
    with pytest.raises(Unauthenticated):
        await subject.batches.read(Credential("ada", "digest-bob"), "bat_1", ALL)


async def test_all_or_nothing(subject: Subject) -> None:
    await limited(subject, Limits(jobs_per_day=2))
    jobs = jobs_of(subject, "a", "b", "c")
    done = await taken(subject, *jobs)
    assert not done.stored
    assert [type(verdict) for verdict in done.verdicts] == [type(None), type(None), LimitReached]
    assert await subject.batches.load("bat_1") is None
    assert await subject.jobs.load("req_a") is None
    assert await subject.probe.states() == {}
    assert await subject.probe.tenant_jobs("ada") == {}
    assert (await taken(subject, *jobs[:2])).stored  # nothing was used up


async def test_what_fits_is_taken_in_and_the_rest_is_told_why(subject: Subject) -> None:
    await limited(subject, Limits(jobs_per_day=2))
    done = await taken(subject, *jobs_of(subject, "a", "b", "c"), admit=Admit.FIT)
    assert done.stored
    assert [type(verdict).__name__ for verdict in done.verdicts] == [
        "Admitted",
        "Admitted",
        "LimitReached",
    ]
    view = await subject.batches.read(credential(), "bat_1", ALL)
    refused = view.items[2].refused
    assert isinstance(refused, LimitReached)
    assert refused.policy == "jobs-per-day"
    assert view.counts.admitted == 2


async def test_of_what_does_not_fit_at_all_there_is_no_batch(subject: Subject) -> None:
    await limited(subject, Limits(jobs_per_day=0))
    done = await taken(subject, *jobs_of(subject, "a"), admit=Admit.FIT, idempotency="k")
    assert not done.stored
    assert await subject.batches.load("bat_1") is None
    await limited(subject, Limits())
    again = await taken(subject, *jobs_of(subject, "a"), admit=Admit.FIT, idempotency="k")
    assert again.stored  # the key was not used up


async def test_a_key_leads_to_the_first_batch(subject: Subject) -> None:
    await taken(subject, *jobs_of(subject, "a"), idempotency="k")
    second = jobs_of(subject, "b", batch="bat_2")
    again = await taken(subject, *second, id="bat_2", idempotency="k")
    assert (again.stored, again.earlier, again.verdicts) == (False, "bat_1", ())
    assert await subject.jobs.load("req_b") is None
    other = replace(
        batch_of(subject, *map(admission, second), id="bat_2", idempotency="k"), fingerprint="b1:y"
    )
    with pytest.raises(IdempotencyMismatch):
        await subject.batches.admit(other)


async def test_a_submit_may_not_use_a_batchs_key(subject: Subject) -> None:
    await taken(subject, *jobs_of(subject, "a"), idempotency="k")
    single = replace(admission(new_job(subject.clock.now(), "req_9")), idempotency="k")
    with pytest.raises(IdempotencyMismatch):
        await subject.jobs.admit(single)


async def test_identical_items_share_one_paid_job(subject: Subject) -> None:
    jobs = [replace(job, fingerprint="1:same") for job in jobs_of(subject, "a", "b", "c")]
    asked = [replace(admission(job), reuse=SHARING) for job in jobs]
    done = await subject.batches.admit(batch_of(subject, *asked))
    assert [verdict.reuse for verdict in done.verdicts] == ["miss", "joined", "joined"]  # type: ignore[union-attr]  # all were admitted
    assert await subject.probe.states() == {"queued": 1, "following": 2}
    assert await counts(subject) == BatchCounts(in_queue=3)
    record = await subject.jobs.load("req_c")
    assert record is not None
    assert record.job.leader == "req_a"


async def test_the_counts_go_with_the_jobs(subject: Subject) -> None:
    a, b = jobs_of(subject, "a", "b")
    await taken(subject, a, b)
    record = await subject.jobs.load(a.id)
    assert record is not None
    claimed = record.job.after(Fact.CLAIMED, subject.clock.now(), due_at=subject.clock.now())
    runs = claimed.after(Fact.ACCEPTED, subject.clock.now(), upstream_running=True)
    assert await subject.jobs.store(Change(record.job, claimed)) is Outcome.STORED
    assert await subject.jobs.store(Change(claimed, runs)) is Outcome.STORED
    assert await counts(subject) == BatchCounts(in_queue=1, in_progress=1)
    failed = runs.after(Fact.BROKE, subject.clock.now(), due_at=None)
    assert await subject.jobs.store(Change(runs, failed)) is Outcome.STORED
    assert await counts(subject) == BatchCounts(in_queue=1, failed=1)
    assert await subject.batches.claim_ended(LEASE, 10) == []


async def test_the_last_end_ends_the_batch_and_it_is_told_once(subject: Subject) -> None:
    a, b = jobs_of(subject, "a", "b")
    await taken(subject, a, b)
    await ended(subject, a)
    assert await subject.batches.claim_ended(LEASE, 10) == []
    subject.clock.move(SECOND)
    await ended(subject, b)
    view = await subject.batches.load("bat_1")
    assert view is not None
    assert (view.status, view.finished_at) == (BatchStatus.COMPLETED, subject.clock.now())
    assert view.counts == BatchCounts(cancelled=2)
    (batch,) = await subject.batches.claim_ended(LEASE, 10)
    assert await subject.batches.claim_ended(LEASE, 10) == []  # it is under a lease
    subject.clock.move(LEASE)
    assert list(await subject.batches.claim_ended(LEASE, 10)) == [batch]  # its worker died
    assert await subject.batches.tell(batch, (bare(subject, "msg_1"),))
    assert not await subject.batches.tell(batch, (bare(subject, "msg_2"),))
    assert set(await subject.probe.outbox()) == {"msg_1"}
    subject.clock.move(LEASE)
    assert await subject.batches.claim_ended(LEASE, 10) == []


async def test_a_record_that_changes_after_the_end_tells_nothing(subject: Subject) -> None:
    (a,) = jobs_of(subject, "a")
    await taken(subject, a)
    await ended(subject, a)
    (batch,) = await subject.batches.claim_ended(LEASE, 10)
    assert await subject.batches.tell(batch, ())
    record = await subject.jobs.load(a.id)
    assert record is not None
    late = record.job.noted(subject.clock.now(), late=True)
    assert await subject.jobs.store(Change(record.job, late)) is Outcome.STORED
    assert await counts(subject) == BatchCounts(cancelled=1)
    assert await subject.batches.claim_ended(LEASE, 10) == []


async def test_a_promoted_follower_is_counted_on(subject: Subject) -> None:
    jobs = [replace(job, fingerprint="1:same") for job in jobs_of(subject, "a", "b")]
    await subject.batches.admit(
        batch_of(subject, *(replace(admission(job), reuse=SHARING) for job in jobs))
    )
    await ended(subject, jobs[0])
    follower = await subject.jobs.load("req_b")
    assert follower is not None
    promoted = follower.job.after(Fact.PROMOTED, subject.clock.now(), leader=None, due_at=None)
    entry = admission(jobs[1]).entry
    outcome = await subject.jobs.store(
        Change(follower.job, promoted, entries=(entry,), instead_of="req_a")
    )
    assert outcome is Outcome.STORED
    assert await counts(subject) == BatchCounts(in_queue=1, cancelled=1)
    await ended(subject, jobs[1])
    assert len(await subject.batches.claim_ended(LEASE, 10)) == 1


async def test_batches_are_listed_newest_first(subject: Subject) -> None:
    for number in range(3):
        jobs = jobs_of(subject, str(number), batch=f"bat_{number}")
        await taken(subject, *jobs, id=f"bat_{number}")
        subject.clock.move(SECOND)
    first = await subject.batches.newest_first(credential(), None, 2)
    assert [view.batch.id for view in first.batches] == ["bat_2", "bat_1"]
    second = await subject.batches.newest_first(credential(), first.cursor, 2)
    assert ([view.batch.id for view in second.batches], second.cursor) == (["bat_0"], None)
    others = await subject.batches.newest_first(credential("bob"), None, 2)
    assert others.batches == ()


async def test_waiting_jobs_keep_the_order_of_their_items(subject: Subject) -> None:
    await limited(subject, Limits(running=1))
    jobs = jobs_of(subject, "a", "b", "c", "d")
    jobs[3] = replace(jobs[3], priority=0)
    done = await taken(subject, *jobs)
    running = [v.running for v in done.verdicts]  # type: ignore[union-attr]  # all were admitted
    assert running == [True, False, False, False]
    for expected in ("req_a", "req_d", "req_b", "req_c"):
        bell = await subject.probe.bell()
        assert f"{expected}:0" in bell
        await ended(subject, next(job for job in jobs if job.id == expected))
    assert await subject.probe.states() == {str(JobState.CANCELLED): 4}
