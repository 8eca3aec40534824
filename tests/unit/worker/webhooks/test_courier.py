"""One attempt for each delivery that is due: what is sent, what is stored, what is told."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

import orjson
import pytest

from core.changes import Outcome as Stored
from core.deliveries import DeliveryAttempt, DeliveryState, EventType
from core.errors import StoreUnavailable
from core.events import DeliveryAttempted
from core.jobs import Billed, JobRecord, JobState, Note, TimelineEntry
from core.money import MicroUsd
from core.tenants import mint_webhook_secret
from tests.builders import NOW, SECOND, MiddleChance, at, delivery, job, tenant
from tests.fakes.clock import FakeClock
from tests.unit.worker.rig import Roll, Shelf
from worker.webhooks.courier import Courier, CourierHands, settled
from worker.webhooks.outcomes import Delivered, Kind, Outcome, Refused
from worker.webhooks.schedule import SchedulePolicy

if TYPE_CHECKING:
    from core.deliveries import Delivery
    from core.events import Event
    from worker.webhooks.sender import Attempt

D = DeliveryState
TOOK = timedelta(milliseconds=42.4)
OK = Delivered(204, TOOK)
BROKEN = Refused(Kind.SERVER_ERROR, TOOK, 500, excerpt="oops")
GONE = Refused(Kind.GONE, TOOK, 410)
UNREACHED = Refused(Kind.CONNECT_ERROR, TOOK)
NEW, OLD = mint_webhook_secret(b"n" * 32), mint_webhook_secret(b"o" * 32)
DONE = job(
    JobState.SUCCEEDED,
    updated_at=at(90),
    billed=Billed.YES,
    cost=MicroUsd(840_000),
    cost_source="runcomfy",
)


@dataclass
class Desk:
    """A courier, what it sends and what it settles."""

    answers: deque[Outcome]
    sent: list[Attempt] = field(default_factory=list)
    rows: list[tuple[Delivery, Delivery, DeliveryAttempt, TimelineEntry]] = field(
        default_factory=list
    )
    events: list[Event] = field(default_factory=list)
    shelf: Shelf = field(default_factory=Shelf)
    roll: Roll = field(default_factory=Roll)
    clock: FakeClock = field(default_factory=FakeClock)

    def __post_init__(self) -> None:
        self.shelf.records[DONE.id] = JobRecord(DONE, 3, b'{"a":1}')
        self.roll.tenant = tenant(webhook_secrets=(NEW, OLD))
        self.courier = Courier(
            CourierHands(
                outbox=self,
                jobs=self.shelf,
                tenants=self.roll,
                sender=self,
                clock=self.clock,
                rng=MiddleChance(),
                emit=self.events.append,
            ),
            SchedulePolicy(),
        )

    async def send(self, attempt: Attempt) -> Outcome:
        self.sent.append(attempt)
        return self.answers.popleft()

    async def settle(
        self, before: Delivery, after: Delivery, attempt: DeliveryAttempt, entry: TimelineEntry
    ) -> Stored:
        self.rows.append((before, after, attempt, entry))
        return Stored.STORED


async def deliver(delivery: Delivery, *answers: Outcome) -> Desk:
    """Make as many attempts as there are answers."""
    desk = Desk(deque(answers))
    for _ in answers:
        await desk.courier.deliver(delivery)
        delivery = desk.rows[-1][1]
    return desk


async def test_what_is_sent() -> None:
    desk = await deliver(delivery(), OK)
    (attempt,) = desk.sent
    assert (attempt.webhook_id, attempt.url, attempt.number) == (
        "msg_1",
        "https://hooks.example/done",
        1,
    )
    assert attempt.secrets == (NEW, OLD)
    body = orjson.loads(attempt.body)
    assert (body["type"], body["timestamp"]) == ("request.completed", "2026-03-01T12:00:00Z")
    assert (body["data"]["output"], body["data"]["cost"]) == ({"a": 1}, 0.84)


async def test_every_attempt_has_the_same_id_and_body() -> None:
    desk = Desk(deque([BROKEN, UNREACHED, BROKEN, OK]))
    due = delivery()
    for _ in range(4):
        await desk.courier.deliver(due)
        await desk.clock.advance(3600 * SECOND)
        due = desk.rows[-1][1]
    assert len({(sent.webhook_id, sent.body, sent.url) for sent in desk.sent}) == 1
    assert [sent.number for sent in desk.sent] == [1, 2, 3, 4]


async def test_secrets_are_those_of_the_moment() -> None:
    desk = Desk(deque([BROKEN, OK]))
    await desk.courier.deliver(delivery())
    desk.roll.tenant = tenant(webhook_secrets=(NEW,))
    await desk.courier.deliver(desk.rows[-1][1])
    assert [sent.secrets for sent in desk.sent] == [(NEW, OLD), (NEW,)]


# What the attempt came to -> the state, when it is due again (seconds).
SETTLED: dict[str, tuple[Outcome, DeliveryState, float | None]] = {
    "delivered": (OK, D.DELIVERED, None),
    "an error": (BROKEN, D.PENDING, 5),
    "not reached": (UNREACHED, D.PENDING, 5),
    "told to wait": (Refused(Kind.SLOW_DOWN, TOOK, 429, 20 * SECOND), D.PENDING, 21),
    "gone": (GONE, D.FAILED, None),
}


@pytest.mark.parametrize(("outcome", "state", "due"), SETTLED.values(), ids=SETTLED)
async def test_what_an_attempt_comes_to(
    outcome: Outcome, state: DeliveryState, due: float | None
) -> None:
    desk = await deliver(delivery(), outcome)
    ((before, after, attempt, entry),) = desk.rows
    assert before == delivery()
    assert (after.state, after.attempts, after.version) == (state, 1, 2)
    assert after.due_at == (None if due is None else at(due))
    assert after.finished_at == (NOW if due is None else None)
    assert after.last_outcome == outcome.word
    assert attempt == DeliveryAttempt(
        at=NOW,
        number=1,
        outcome=outcome.word,
        took_ms=42,
        http_status=outcome.status,
        excerpt=outcome.excerpt or None,
    )
    assert (entry.note, entry.what, entry.detail) == (Note.DELIVERY, outcome.word, "msg_1")
    assert (entry.state, entry.count) == (JobState.SUCCEEDED, 1)
    assert desk.events == [
        DeliveryAttempted(
            delivery_id="msg_1",
            job_id="req_1",
            tenant="video-team",
            number=1,
            outcome=outcome.word,
            http_status=outcome.status,
            took=TOOK,
        )
    ]


async def test_the_twelfth_failure_is_the_last() -> None:
    desk = await deliver(delivery(), *[BROKEN] * 12)
    states = [after.state for _, after, _, _ in desk.rows]
    assert states == [D.PENDING] * 11 + [D.FAILED]
    last = desk.rows[-1][1]
    assert (last.due_at, last.finished_at, last.attempts) == (None, NOW, 12)


@pytest.mark.parametrize("missing", ["job", "tenant"])
async def test_what_nobody_is_left_for_is_given_up_without_a_call(missing: str) -> None:
    desk = Desk(deque())
    if missing == "job":
        desk.shelf.records.clear()
    else:
        desk.roll.tenant = None
    await desk.courier.deliver(delivery(attempts=2, version=3))
    ((_, after, attempt, _),) = desk.rows
    assert (after.state, after.due_at, after.last_outcome) == (D.FAILED, None, "orphaned")
    assert (after.attempts, after.version, attempt.number) == (2, 4, 2)
    assert desk.sent == []


async def test_a_store_that_is_away_sends_nothing() -> None:
    desk = Desk(deque())
    desk.shelf.away = True
    with pytest.raises(StoreUnavailable):
        await desk.courier.deliver(delivery())
    assert (desk.sent, desk.rows) == ([], [])


@pytest.mark.parametrize("event", EventType)
async def test_the_event_is_the_deliverys_own(event: EventType) -> None:
    desk = await deliver(delivery(event=event), OK)
    assert orjson.loads(desk.sent[0].body)["type"] == event.value


def test_a_failure_keeps_the_attempts_that_went_before() -> None:
    after = settled(delivery(attempts=4, version=5), BROKEN, at(5), NOW)
    assert (after.attempts, after.version, after.due_at) == (5, 6, at(5))
