"""What an attempt at a callback met is stored with what follows from it, once."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from core.clock import to_ms
from core.jobs.job import JobState
from core.retention import DELIVERY_LIFE
from core.store.jobs import Depth
from core.transactions.job_update import Outcome
from core.webhooks.circuit_breaker import Channel
from core.webhooks.delivery import ChannelMove, Delivery, DeliveryAttempt, DeliveryState, Settlement
from tests.contract.orders import SECOND, admitted, cancelled, credential, entry, notice

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.contract.subjects import Subject


JOB = "req_1"


async def born(subject: Subject) -> Delivery:
    """A delivery as its job's end wrote it."""
    job = await admitted(subject)
    delivery = notice(job)
    await subject.jobs.store(cancelled(job, subject.clock.now(), delivery))
    return delivery


async def settled(subject: Subject, before: Delivery, after: Delivery) -> Outcome:
    """Store one more attempt."""
    now = subject.clock.now()
    attempt = DeliveryAttempt(now, after.attempts, "server_error", 12, 500, "oops ü")
    line = entry(now, "server_error", JobState.CANCELLED)
    calm = ChannelMove(before.channel, Channel(), Channel())
    settlement = Settlement(before, after, calm, attempt, line)
    return (await subject.deliveries.settle(settlement)).outcome


def failed_once(before: Delivery) -> Delivery:
    """To be tried again five seconds after it was due."""
    assert before.due_at is not None
    due_at = before.due_at + 5 * SECOND
    return replace(before, version=before.version + 1, attempts=before.attempts + 1, due_at=due_at)


def ended(before: Delivery) -> Delivery:
    """Delivered."""
    return replace(
        before,
        version=before.version + 1,
        attempts=before.attempts + 1,
        state=DeliveryState.DELIVERED,
        due_at=None,
    )


async def test_a_failed_attempt_is_kept_and_the_next_one_is_due(subject: Subject) -> None:
    before = await born(subject)
    after = failed_once(before)
    assert await settled(subject, before, after) is Outcome.STORED
    assert await subject.deliveries.load(before.id) == after
    assert after.due_at is not None
    assert await subject.probe.outbox() == {before.id: to_ms(after.due_at)}
    attempts = await subject.deliveries.attempts(before.id)
    assert [(each.number, each.outcome, each.excerpt) for each in attempts] == [
        (1, "server_error", "oops ü")
    ]
    view = await subject.jobs.read(credential(), JOB, Depth.ALL)
    assert [line.what for line in view.timeline][-1] == "server_error"


@pytest.mark.parametrize("next_of", [failed_once, ended])
async def test_a_delivery_is_kept_for_its_time_after_each_attempt(
    subject: Subject, next_of: Callable[[Delivery], Delivery]
) -> None:
    before = await born(subject)
    assert await settled(subject, before, next_of(before)) is Outcome.STORED
    life = await subject.probe.life_of_delivery(before.id)
    assert life is not None
    assert DELIVERY_LIFE - timedelta(minutes=1) < life <= DELIVERY_LIFE


async def test_the_last_attempt_takes_it_out_of_the_outbox(subject: Subject) -> None:
    before = await born(subject)
    assert await settled(subject, before, ended(before)) is Outcome.STORED
    assert await subject.probe.outbox() == {}
    assert list(await subject.deliveries.claim_due(SECOND, 9)) == []


async def test_of_many_couriers_exactly_one_settles_and_what_each_did_is_kept(
    subject: Subject,
) -> None:
    before = await born(subject)
    outcomes = await asyncio.gather(
        *(settled(subject, before, failed_once(before)) for _ in range(20))
    )
    assert Counter(outcomes) == {Outcome.STORED: 1, Outcome.STALE: 19}
    assert len(await subject.deliveries.attempts(before.id)) == 20


async def test_an_unknown_delivery_is_not_brought_to_life(subject: Subject) -> None:
    never = replace(notice(await admitted(subject)), id="msg_never")
    assert await settled(subject, never, failed_once(never)) is Outcome.UNKNOWN
    assert await subject.deliveries.load(never.id) is None
    assert await subject.probe.outbox() == {}


async def test_a_vanished_jobs_timeline_is_not_begun_anew(subject: Subject) -> None:
    """Its callbacks may outlive it; a timeline without a record would never expire."""
    before = await born(subject)
    await subject.probe.forget_job(JOB)
    assert await settled(subject, before, failed_once(before)) is Outcome.STORED
    assert await subject.probe.lines(JOB) == 0
