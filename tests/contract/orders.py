"""What the tests of the contract ask of a store: admissions, changes, deliveries."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from core.jobs.job import Fact, Job, JobState
from core.jobs.timeline import Note, TimelineEntry
from core.tenants.api_keys import Credential
from core.transactions.admission import Admission
from core.transactions.job_update import Change, Outcome
from core.webhooks.delivery import Delivery, EventType

if TYPE_CHECKING:
    from datetime import datetime

    from tests.contract.subjects import Subject

SECOND: Final = timedelta(seconds=1)
BODY: Final = '{"prompt": "ünïcode \\u0000", "n": 1.50}'.encode()
WEBHOOK: Final = "https://hooks.test/ada"


def credential(tenant: str = "ada") -> Credential:
    """The tenant's own key."""
    return Credential(tenant, f"digest-{tenant}")


def new_job(now: datetime, job_id: str = "req_1", tenant: str = "ada") -> Job:
    """A job that is due in five seconds."""
    return Job(
        id=job_id,
        tenant=tenant,
        model_id="kling/standard",
        fingerprint="1:f",
        created_at=now,
        updated_at=now,
        due_at=now + 5 * SECOND,
    )


def entry(now: datetime, what: str, state: JobState = JobState.QUEUED) -> TimelineEntry:
    """A line of a timeline."""
    return TimelineEntry(now, Note.MOVED, what, state)


def admission(job: Job) -> Admission:
    """Its owner's wish to have it taken in."""
    line = TimelineEntry(job.created_at, Note.ADMITTED, "admitted", job.state)
    return Admission(credential(job.tenant), job, BODY, line)


async def admitted(subject: Subject, job_id: str = "req_1", tenant: str = "ada") -> Job:
    """A job that was taken in this moment."""
    job = new_job(subject.clock.now(), job_id, tenant)
    await subject.jobs.admit(admission(job))
    return job


async def moved(subject: Subject, before: Job, *facts: Fact) -> Job:
    """The job after these facts, each stored; due in a second, or nothing to do after the end."""
    for fact in facts:
        now = subject.clock.now()
        after = before.after(fact, now, due_at=now + SECOND)
        if after.final:
            after = before.after(fact, now, due_at=None, finished_at=now)
        assert await subject.jobs.store(Change(before, after)) is Outcome.STORED
        before = after
    return before


def notice(job: Job, delivery_id: str = "msg_1") -> Delivery:
    """A callback that tells of the job's end."""
    return Delivery(
        id=delivery_id,
        job_id=job.id,
        tenant=job.tenant,
        event=EventType.CANCELLED,
        url=WEBHOOK,
        created_at=job.updated_at,
        due_at=job.updated_at,
    )


def cancelled(before: Job, now: datetime, *notices: Delivery) -> Change:
    """A queued job's end, with its callbacks."""
    after = before.after(Fact.CANCEL_ASKED, now, due_at=None, finished_at=now)
    line = entry(now, "cancel_asked", after.state)
    return Change(before, after, entries=(line,), deliveries=notices)


def bare(subject: Subject, name: str, **changes: Any) -> Delivery:  # noqa: ANN401 - fields of the record
    """A delivery about no job, due now, in the channel `a`."""
    now = subject.clock.now()
    plain = Delivery(
        id=name,
        job_id=None,
        tenant="ada",
        event=EventType.TEST,
        url="https://hooks.example/",
        created_at=now,
        due_at=now,
        endpoint="default",
        channel="a",
        data="{}",
    )
    return replace(plain, **changes)
