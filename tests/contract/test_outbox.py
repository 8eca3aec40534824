"""The outbox: turns over channels, breakers over them, leases, what is kept and for how long."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from core.clock import to_ms
from core.retention import DELIVERY_LIFE, KEEP_AFTER, RETENTION
from core.store.deliveries import Span
from core.store.jobs import Depth
from core.transactions.job_update import Outcome
from core.webhooks.circuit_breaker import Channel, ChannelPolicy
from core.webhooks.delivery import (
    ChannelMove,
    DeliveryAttempt,
    DeliveryState,
    EventType,
    Settlement,
)
from tests.contract.orders import SECOND, admitted, bare, cancelled, credential, entry

if TYPE_CHECKING:
    from datetime import timedelta

    from core.jobs.job import Job
    from core.webhooks.delivery import Claimed, Delivery
    from tests.contract.subjects import Subject

LEASE = 30 * SECOND
AT_ONCE = ChannelPolicy().at_once


def about(life: timedelta | None, span: timedelta) -> bool:
    """Whether a record lives so long: Redis' own clock runs on while a test looks."""
    return life is not None and abs(life - span) < SECOND


async def posted(subject: Subject, channel: str, number: int) -> list[str]:
    """So many deliveries in one channel."""
    names = [f"msg_{channel}_{index:04}" for index in range(number)]
    for name in names:
        assert await subject.deliveries.post(None, bare(subject, name, channel=channel))
    return names


def settlement(claimed: Claimed, channel: Channel | None = None, **changes: Any) -> Settlement:  # noqa: ANN401 - fields of the record
    """What an attempt came to: delivered, unless `changes` say otherwise."""
    before = claimed.delivery
    ended = {"state": DeliveryState.DELIVERED, "due_at": None, "attempts": before.attempts + 1}
    after = replace(before, version=before.version + 1, **(ended | changes))
    move = ChannelMove(before.channel, claimed.channel, channel or claimed.channel)
    attempt = DeliveryAttempt(before.created_at, after.attempts, "delivered", 5)
    return Settlement(before, after, move, attempt)


async def claim(subject: Subject, room: int) -> list[Claimed]:
    """What couriers with so much room are given."""
    return list(await subject.deliveries.claim_due(LEASE, room))


async def test_a_claim_is_shared_out_over_the_channels(subject: Subject) -> None:
    await posted(subject, "a", 50)
    await posted(subject, "b", 3)
    await posted(subject, "c", 50)
    first = Counter(each.delivery.channel for each in await claim(subject, 9))
    assert first == {"a": 3, "b": 3, "c": 3}


async def test_one_channel_has_no_more_under_way_than_its_bound(subject: Subject) -> None:
    await posted(subject, "a", 2 * AT_ONCE)
    assert len(await claim(subject, 100)) == AT_ONCE
    assert await claim(subject, 100) == []
    subject.clock.move(LEASE)
    assert len(await claim(subject, 100)) == AT_ONCE


async def test_a_place_that_is_given_back_is_used_at_once(subject: Subject) -> None:
    names = await posted(subject, "a", AT_ONCE + 1)
    claimed = await claim(subject, 100)
    stored = await subject.deliveries.settle(settlement(claimed[0]))
    assert (stored.outcome, stored.learnt) == (Outcome.STORED, True)
    (last,) = await claim(subject, 100)
    assert last.delivery.id == names[-1]


async def test_a_claimed_delivery_is_nobody_elses_until_its_lease_ends(subject: Subject) -> None:
    (name,) = await posted(subject, "a", 1)
    assert [each.delivery.id for each in await claim(subject, 5)] == [name]
    subject.clock.move(LEASE - SECOND)
    assert await claim(subject, 5) == []
    assert await subject.probe.channels() == {"a": to_ms(subject.clock.now() + SECOND)}
    subject.clock.move(SECOND)
    assert [each.delivery.id for each in await claim(subject, 5)] == [name]


async def test_a_closed_channel_holds_back_and_lets_one_probe_through(subject: Subject) -> None:
    await posted(subject, "a", 10)
    until = subject.clock.now() + 60 * SECOND
    broken = Channel(1, at_once=1, until=until, broken=True, failures=3)
    assert await subject.deliveries.move_channel(ChannelMove("a", Channel(), broken))
    assert await claim(subject, 100) == []
    assert await subject.probe.channels() == {"a": to_ms(until)}
    subject.clock.move(60 * SECOND)
    (probe,) = await claim(subject, 100)
    assert probe.channel == broken
    assert await claim(subject, 100) == []
    healed = Channel(2)
    await subject.deliveries.settle(settlement(probe, healed))
    assert await subject.deliveries.channel("a") == healed
    assert len(await claim(subject, 100)) == 9


async def test_a_new_delivery_does_not_open_a_closed_channel(subject: Subject) -> None:
    until = subject.clock.now() + 60 * SECOND
    closed = Channel(1, at_once=1, until=until)
    assert await subject.deliveries.move_channel(ChannelMove("a", Channel(), closed))
    await posted(subject, "a", 1)
    assert await claim(subject, 100) == []
    assert await subject.probe.channels() == {"a": to_ms(until)}


async def test_a_breaker_is_moved_by_one_of_many(subject: Subject) -> None:
    one = ChannelMove("a", Channel(), Channel(1, failures=1))
    assert await subject.deliveries.move_channel(one)
    assert not await subject.deliveries.move_channel(one)
    assert await subject.deliveries.channel("a") == Channel(1, failures=1)


async def test_a_settlement_says_when_others_moved_the_breaker(subject: Subject) -> None:
    await posted(subject, "a", 1)
    (claimed,) = await claim(subject, 1)
    theirs = Channel(1, failures=1)
    assert await subject.deliveries.move_channel(ChannelMove("a", Channel(), theirs))
    stored = await subject.deliveries.settle(settlement(claimed, Channel(1, failures=2)))
    assert (stored.outcome, stored.learnt) == (Outcome.STORED, False)
    assert await subject.deliveries.channel("a") == theirs


async def test_an_attempt_is_kept_although_the_delivery_was_sent_anew(subject: Subject) -> None:
    await posted(subject, "a", 1)
    (claimed,) = await claim(subject, 1)
    before = claimed.delivery
    assert await subject.deliveries.post(before, before.resent(subject.clock.now()))
    assert (await subject.deliveries.settle(settlement(claimed))).outcome is Outcome.STALE
    assert len(await subject.deliveries.attempts(before.id)) == 1
    (again,) = await claim(subject, 1)
    assert (again.delivery.version, again.delivery.id) == (2, before.id)


async def test_a_delivery_that_is_written_by_two_is_written_once(subject: Subject) -> None:
    (name,) = await posted(subject, "a", 1)
    assert not await subject.deliveries.post(None, bare(subject, name))
    before = await subject.deliveries.load(name)
    assert before is not None
    now = subject.clock.now()
    assert await subject.deliveries.post(before, before.resent(now))
    assert not await subject.deliveries.post(before, before.resent(now))


async def test_a_vanished_record_leaves_the_channel(subject: Subject) -> None:
    await posted(subject, "a", 1)
    (claimed,) = await claim(subject, 1)
    never = replace(claimed.delivery, id="msg_never")
    stray = settlement(replace(claimed, delivery=never))
    assert (await subject.deliveries.settle(stray)).outcome is Outcome.UNKNOWN
    await subject.deliveries.settle(settlement(claimed))
    assert await subject.probe.channels() == {}


async def test_what_is_held_waits_in_no_channel_and_is_listed(subject: Subject) -> None:
    held = bare(subject, "msg_held", state=DeliveryState.HELD, due_at=None)
    assert await subject.deliveries.post(None, held)
    assert await subject.probe.channels() == {}
    now = subject.clock.now()
    assert await subject.deliveries.newest_first("ada", Span(now, now), 5) == ["msg_held"]


async def ended_job(subject: Subject) -> tuple[Job, Delivery]:
    """A job that has ended, with its callback."""
    job = await admitted(subject)
    now = subject.clock.now()
    told = bare(subject, "msg_job", job_id=job.id, event=EventType.CANCELLED, data=None)
    change = cancelled(job, now, told)
    assert await subject.jobs.store(change) is Outcome.STORED
    return change.after, told


async def test_a_result_outlives_its_last_callback_by_a_day(subject: Subject) -> None:
    job, _ = await ended_job(subject)
    (claimed,) = await claim(subject, 1)
    await subject.deliveries.settle(settlement(claimed))
    assert about(await subject.probe.life_of_job(job.id), RETENTION)
    due_at = subject.clock.now() + RETENTION
    late = settlement(
        replace(claimed, delivery=replace(claimed.delivery, version=2)),
        state=DeliveryState.PENDING,
        due_at=due_at,
    )
    assert (await subject.deliveries.settle(late)).outcome is Outcome.STORED
    assert about(await subject.probe.life_of_job(job.id), RETENTION + KEEP_AFTER)


async def test_every_attempt_is_in_the_jobs_history_and_kept_longer_than_it(
    subject: Subject,
) -> None:
    job, told = await ended_job(subject)
    (claimed,) = await claim(subject, 1)
    line = entry(subject.clock.now(), "delivered", job.state)
    await subject.deliveries.settle(replace(settlement(claimed), entry=line))
    view = await subject.jobs.read(credential(), job.id, Depth.ALL)
    assert view.timeline[-1] == line
    assert view.delivery_ids == (told.id,)
    assert about(await subject.probe.life_of_delivery(told.id), DELIVERY_LIFE)


async def test_a_tenants_deliveries_are_paged_by_age(subject: Subject) -> None:
    names = []
    start = subject.clock.now()
    for number in range(7):
        names += [f"msg_{number}"]
        assert await subject.deliveries.post(None, bare(subject, names[-1]))
        subject.clock.move(SECOND)
    span = Span(start + SECOND, start + 5 * SECOND)
    store = subject.deliveries
    assert await store.oldest_first("ada", span, 10) == names[1:6]
    assert await store.newest_first("ada", span, 10) == names[5:0:-1]
    after = replace(span, after="msg_4")
    assert await store.oldest_first("ada", after, 10) == ["msg_5"]
    assert await store.newest_first("ada", after, 2) == ["msg_3", "msg_2"]
    assert await store.newest_first("ada", replace(span, after="msg_gone"), 1) == ["msg_5"]
    assert await store.newest_first("bob", span, 10) == []


async def test_what_is_too_old_is_no_longer_listed(subject: Subject) -> None:
    await posted(subject, "a", 1)
    start = subject.clock.now()
    subject.clock.move(DELIVERY_LIFE + SECOND)
    await subject.deliveries.post(None, bare(subject, "msg_new"))
    span = Span(start, subject.clock.now())
    assert await subject.deliveries.oldest_first("ada", span, 10) == ["msg_new"]
