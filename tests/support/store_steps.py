"""Calls that the contract tests make to a store: admissions, changes, deliveries."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from core.jobs.job import Job, JobState, Trigger
from core.jobs.timeline import TimelineEntry, TimelineKind
from core.tenants.api_keys import Credential
from core.transactions.admission import Admission
from core.transactions.job_update import Change, WriteResult
from core.webhooks.circuit_breaker import EndpointCircuit
from core.webhooks.delivery import (
    CircuitUpdate,
    ClaimedDelivery,
    Delivery,
    DeliveryAttempt,
    DeliveryState,
    DeliveryUpdate,
    WebhookEventType,
)
from tests.support.backends import StoreBackend

SECOND: Final = timedelta(seconds=1)


BODY: Final = '{"prompt": "ünïcode \\u0000", "n": 1.50}'.encode()


WEBHOOK: Final = "https://hooks.test/ada"


def tenant_credential(tenant: str = "ada") -> Credential:
    """The credential of the tenant's key."""
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
        next_run_at=now + 5 * SECOND,
    )


def timeline_entry(now: datetime, what: str, state: JobState = JobState.QUEUED) -> TimelineEntry:
    """An entry of a timeline."""
    return TimelineEntry(now, TimelineKind.TRANSITION, what, state)


def admission_of(job: Job) -> Admission:
    """The admission of the job by its tenant."""
    return Admission(tenant_credential(job.tenant), job, BODY)


async def admit_job(backend: StoreBackend, job_id: str = "req_1", tenant: str = "ada") -> Job:
    """Admit a new job and return it."""
    job = new_job(backend.clock.now(), job_id, tenant)
    await backend.jobs.admit(admission_of(job))
    return job


async def apply_triggers(backend: StoreBackend, before: Job, *facts: Trigger) -> Job:
    """Store these transitions and return the job; it is due in a second unless it has ended."""
    for fact in facts:
        now = backend.clock.now()
        after = before.transition(fact, now, next_run_at=now + SECOND)
        if after.is_final:
            after = before.transition(fact, now, next_run_at=None, finished_at=now)
        assert await backend.jobs.store(Change(before, after)) is WriteResult.STORED
        before = after
    return before


def delivery_for(job: Job, delivery_id: str = "msg_1") -> Delivery:
    """A delivery for the job's end."""
    return Delivery(
        id=delivery_id,
        job_id=job.id,
        tenant=job.tenant,
        event=WebhookEventType.CANCELLED,
        url=WEBHOOK,
        created_at=job.updated_at,
        next_attempt_at=job.updated_at,
    )


def cancellation_change(before: Job, now: datetime, *notices: Delivery) -> Change:
    """The change that cancels a queued job, with its deliveries."""
    after = before.transition(Trigger.CANCEL_REQUESTED, now, next_run_at=None, finished_at=now)
    line = timeline_entry(now, "cancel_asked", after.state)
    return Change(before, after, entry=line, deliveries=notices)


def enqueue_jobless_delivery(backend: StoreBackend, name: str, **changes: Any) -> Delivery:  # noqa: ANN401 - fields of the record
    """A delivery of no job, due now, in the queue `a`."""
    now = backend.clock.now()
    plain = Delivery(
        id=name,
        job_id=None,
        tenant="ada",
        event=WebhookEventType.TEST,
        url="https://hooks.example/",
        created_at=now,
        next_attempt_at=now,
        endpoint_id="default",
        queue="a",
        data="{}",
    )
    return replace(plain, **changes)


LEASE = 30 * SECOND


def attempt_completion(
    claimed: ClaimedDelivery,
    channel: EndpointCircuit | None = None,
    **changes: Any,  # noqa: ANN401 - fields of the record
) -> DeliveryUpdate:
    """The completion of an attempt: delivered, unless `changes` differ."""
    before = claimed.delivery
    ended = {
        "state": DeliveryState.DELIVERED,
        "next_attempt_at": None,
        "attempts": before.attempts + 1,
    }
    after = replace(before, version=before.version + 1, **(ended | changes))
    move = CircuitUpdate(before.queue, claimed.circuit, channel or claimed.circuit)
    attempt = DeliveryAttempt(before.created_at, after.attempts, "delivered", 5)
    return DeliveryUpdate(before, after, move, attempt)


async def claim_deliveries(backend: StoreBackend, available: int) -> list[ClaimedDelivery]:
    """Claim up to `available` deliveries."""
    return list(await backend.deliveries.claim_due(LEASE, available))
