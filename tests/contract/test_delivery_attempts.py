"""The outcome of a delivery attempt is stored once, with its consequences."""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from core.clock import to_ms
from core.jobs.job import JobState
from core.retention import DELIVERY_RETENTION
from core.store.jobs import Projection
from core.transactions.job_update import WriteResult
from core.webhooks.circuit_breaker import EndpointCircuit
from core.webhooks.delivery import (
    CircuitUpdate,
    Delivery,
    DeliveryAttempt,
    DeliveryState,
    DeliveryUpdate,
)
from tests.support.backends import StoreBackend
from tests.support.store_steps import (
    SECOND,
    admit_job,
    cancellation_change,
    delivery_for,
    tenant_credential,
    timeline_entry,
)

JOB = "req_1"


async def store_ended_job(backend: StoreBackend) -> Delivery:
    """The delivery that a job's end has written."""
    job = await admit_job(backend)
    delivery = delivery_for(job)
    await backend.jobs.store(cancellation_change(job, backend.clock.now(), delivery))
    return delivery


async def store_attempt(backend: StoreBackend, before: Delivery, after: Delivery) -> WriteResult:
    """Store the next attempt."""
    now = backend.clock.now()
    attempt = DeliveryAttempt(now, after.attempts, "server_error", 12, 500, "oops ü")
    line = timeline_entry(now, "server_error", JobState.CANCELLED)
    calm = CircuitUpdate(before.queue, EndpointCircuit(), EndpointCircuit())
    settlement = DeliveryUpdate(before, after, calm, attempt, line)
    return (await backend.deliveries.complete_attempt(settlement)).result


def failed_attempt(before: Delivery) -> Delivery:
    """A failed attempt, to be retried five seconds after it was due."""
    assert before.next_attempt_at is not None
    due_at = before.next_attempt_at + 5 * SECOND
    return replace(
        before, version=before.version + 1, attempts=before.attempts + 1, next_attempt_at=due_at
    )


def delivered(before: Delivery) -> Delivery:
    """A successful attempt."""
    return replace(
        before,
        version=before.version + 1,
        attempts=before.attempts + 1,
        state=DeliveryState.DELIVERED,
        next_attempt_at=None,
    )


async def test_a_failed_attempt_is_kept_and_the_next_one_is_due(backend: StoreBackend) -> None:
    before = await store_ended_job(backend)
    after = failed_attempt(before)
    assert await store_attempt(backend, before, after) is WriteResult.STORED
    assert await backend.deliveries.load(before.id) == after
    assert after.next_attempt_at is not None
    assert await backend.probe.outbox() == {before.id: to_ms(after.next_attempt_at)}
    attempts = await backend.deliveries.list_attempts(before.id)
    assert [(each.number, each.outcome, each.response_excerpt) for each in attempts] == [
        (1, "server_error", "oops ü")
    ]
    view = await backend.jobs.read(tenant_credential(), JOB, Projection.ALL)
    assert [line.code for line in view.timeline][-1] == "server_error"


@pytest.mark.parametrize("next_of", [failed_attempt, delivered])
async def test_a_delivery_is_kept_for_its_time_after_each_attempt(
    backend: StoreBackend, next_of: Callable[[Delivery], Delivery]
) -> None:
    before = await store_ended_job(backend)
    assert await store_attempt(backend, before, next_of(before)) is WriteResult.STORED
    life = await backend.probe.ttl_of_delivery(before.id)
    assert life is not None
    assert DELIVERY_RETENTION - timedelta(minutes=1) < life <= DELIVERY_RETENTION


async def test_the_last_attempt_takes_it_out_of_the_outbox(backend: StoreBackend) -> None:
    before = await store_ended_job(backend)
    assert await store_attempt(backend, before, delivered(before)) is WriteResult.STORED
    assert await backend.probe.outbox() == {}
    assert list(await backend.deliveries.claim_due(SECOND, 9)) == []


async def test_of_many_workers_exactly_one_completes_and_every_attempt_is_kept(
    backend: StoreBackend,
) -> None:
    before = await store_ended_job(backend)
    outcomes = await asyncio.gather(
        *(store_attempt(backend, before, failed_attempt(before)) for _ in range(20))
    )
    assert Counter(outcomes) == {WriteResult.STORED: 1, WriteResult.CONFLICT: 19}
    assert len(await backend.deliveries.list_attempts(before.id)) == 20


async def test_an_unknown_delivery_is_not_brought_to_life(backend: StoreBackend) -> None:
    never = replace(delivery_for(await admit_job(backend)), id="msg_never")
    assert await store_attempt(backend, never, failed_attempt(never)) is WriteResult.NOT_FOUND
    assert await backend.deliveries.load(never.id) is None
    assert await backend.probe.outbox() == {}


async def test_a_vanished_jobs_timeline_is_not_created_again(backend: StoreBackend) -> None:
    """Deliveries may outlive their job; a timeline without a record would never expire."""
    before = await store_ended_job(backend)
    await backend.probe.forget_job(JOB)
    assert await store_attempt(backend, before, failed_attempt(before)) is WriteResult.STORED
    assert await backend.probe.timeline_length(JOB) == 0
