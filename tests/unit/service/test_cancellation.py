"""What a cancel means in each state, and that races end in one clear outcome."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from core.billing.settlement import Verdict
from core.jobs.job import Billed, CancelOutcome, Fact, Job, JobState, PublicStatus
from core.jobs.timeline import Note
from core.observability.events import CostSettled, JobAdmitted, JobTransitioned
from core.store.codecs import DELIVERIES, ENTRIES, JOBS
from core.tenants.api_keys import Scope
from core.transactions.job_update import Change, Outcome
from core.webhooks.delivery import EventType
from service.jobs.cancel import DECISIONS, MOST_TRIES, decide_cancel
from tests.fakes.face import KLING, KLING_INPUT, KLING_PATH, Face
from tests.fakes.jobs import MemoryJobStore

if TYPE_CHECKING:
    import httpx

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
S, C = JobState, CancelOutcome


def job(state: JobState, **parts: object) -> Job:
    """A job in `state`."""
    known = Job("req_1", "video-team", KLING, "1:x", NOW, NOW, state=state, due_at=NOW)
    return known.noted(NOW, **parts) if parts else known


def test_every_state_has_its_decision() -> None:
    assert set(DECISIONS) == set(JobState)


@pytest.mark.parametrize(
    ("state", "outcome", "after"),
    [
        (S.QUEUED, C.CANCELLED, S.CANCELLED),
        (S.SUBMITTING, C.REQUESTED, S.SUBMITTING),
        (S.IN_DOUBT, C.REQUESTED, S.IN_DOUBT),
        (S.RUNNING, C.REQUESTED, S.CANCELLING),
        (S.CANCELLING, C.REQUESTED, None),
        (S.COLLECTING, C.NOT_CANCELLABLE, None),
        (S.SUCCEEDED, C.NOT_CANCELLABLE, None),
        (S.FAILED, C.NOT_CANCELLABLE, None),
        (S.EXPIRED, C.NOT_CANCELLABLE, None),
        (S.CANCELLED, C.CANCELLED, None),
    ],
)
def test_a_cancel_means(state: JobState, outcome: CancelOutcome, after: JobState | None) -> None:
    decision = decide_cancel(job(state), NOW)
    assert decision.outcome is outcome
    assert (decision.after.state if decision.after else None) is after


def test_a_waiting_job_ends_at_once_and_free() -> None:
    after = decide_cancel(job(S.QUEUED), NOW).after
    assert after is not None
    assert (after.finished_at, after.due_at) == (NOW, None)
    assert (after.billed, after.cancel_outcome) == (Billed.NO, C.CANCELLED)


def test_a_job_that_waits_for_its_second_submit_is_not_called_free() -> None:
    after = decide_cancel(job(S.QUEUED, resends_approved=1), NOW).after
    assert after is not None
    assert after.billed is Billed.UNKNOWN


def test_a_running_job_is_rung_for_now() -> None:
    later = NOW + timedelta(seconds=9)
    decision = decide_cancel(job(S.RUNNING, due_at=later), NOW)
    assert decision.ring
    assert decision.after is not None
    assert decision.after.due_at == NOW


@pytest.mark.parametrize("state", [S.SUBMITTING, S.IN_DOUBT])
def test_a_wish_is_written_down_once_and_keeps_the_lease(state: JobState) -> None:
    lease = NOW + timedelta(seconds=15)
    first = decide_cancel(job(state, due_at=lease), NOW).after
    assert first is not None
    assert (first.cancel_asked_at, first.due_at) == (NOW, lease)
    assert decide_cancel(first, NOW).after is None
    assert decide_cancel(first, NOW).outcome is C.REQUESTED


def test_runcomfy_s_refusal_is_told_and_not_asked_for_again() -> None:
    told = job(S.RUNNING, cancel_outcome=C.NOT_CANCELLABLE)
    decision = decide_cancel(told, NOW)
    assert (decision.outcome, decision.after) == (C.NOT_CANCELLABLE, None)


# --- through the face


async def submitted(caller: httpx.AsyncClient) -> str:
    """A new job's id."""
    answer = await caller.post(KLING_PATH, json=KLING_INPUT)
    job_id: str = answer.json()["request_id"]
    return job_id


async def cancel(caller: httpx.AsyncClient, job_id: str) -> httpx.Response:
    """Ask for it."""
    return await caller.post(f"/v1/requests/{job_id}/cancel")


async def test_cancelling_a_waiting_job(face: Face, caller: httpx.AsyncClient) -> None:
    job_id = await submitted(caller)

    answer = await cancel(caller, job_id)

    assert answer.status_code == 200
    assert answer.json() == {
        "request_id": job_id,
        "status": PublicStatus.CANCELLED,
        "outcome": "cancelled",
    }
    entries = [ENTRIES.read(entry) for entry in face.stores.memory.timelines[job_id]]
    assert (entries[-1].note, entries[-1].what) == (Note.CALLER, "cancel_asked")
    assert job_id not in face.stores.memory.due
    (moved,) = face.of(JobTransitioned)
    assert (moved.trigger, moved.after) == (Fact.CANCEL_ASKED, S.CANCELLED)
    (admitted,), (settled,) = face.of(JobAdmitted), face.of(CostSettled)
    assert (settled.settlement, settled.amount) == (Verdict.FREE, admitted.estimate)


async def test_who_follows_another_s_work_has_nothing_to_be_given_back(
    face: Face, caller: httpx.AsyncClient
) -> None:
    ids = [
        (await caller.post(KLING_PATH, params={"cache": "use"}, json=KLING_INPUT)).json()
        for _ in range(2)
    ]
    assert (await cancel(caller, ids[1]["request_id"])).json()["outcome"] == "cancelled"
    assert [moved.before for moved in face.of(JobTransitioned)] == [S.FOLLOWING]
    assert face.of(CostSettled) == []


async def test_twice_is_one_cancel(face: Face, caller: httpx.AsyncClient) -> None:
    job_id = await submitted(caller)
    answers = [(await cancel(caller, job_id)).json()["outcome"] for _ in range(2)]
    assert answers == ["cancelled", "cancelled"]
    assert len(face.of(JobTransitioned)) == 1


async def test_the_tenant_s_own_webhook_hears_of_it(face: Face) -> None:
    key = await face.tenant("called-back", webhook="https://hooks.example.com/")
    async with face.client(key) as caller:
        await cancel(caller, await submitted(caller))

    (row,) = face.stores.memory.deliveries.values()
    delivery = DELIVERIES.read(row.doc)
    assert (delivery.event, delivery.url) == (EventType.CANCELLED, "https://hooks.example.com/")


async def test_a_job_s_own_webhook_comes_first(face: Face) -> None:
    key = await face.tenant("called-back", webhook="https://hooks.example.com/")
    async with face.client(key) as caller:
        answer = await caller.post(
            KLING_PATH, params={"webhook": "https://own.example.com/"}, json=KLING_INPUT
        )
        await cancel(caller, answer.json()["request_id"])

    (row,) = face.stores.memory.deliveries.values()
    assert DELIVERIES.read(row.doc).url == "https://own.example.com/"


async def test_another_tenant_s_job_is_not_there(face: Face, caller: httpx.AsyncClient) -> None:
    job_id = await submitted(caller)
    other = await face.tenant("other-team")
    async with face.client(other) as stranger:
        assert (await cancel(stranger, job_id)).status_code == 404
    assert face.stores.memory.every_job()[0].state is S.QUEUED


async def test_a_key_that_may_only_read_cannot_cancel(
    face: Face, caller: httpx.AsyncClient
) -> None:
    job_id = await submitted(caller)
    reader = await face.tenant("reader", scopes=frozenset({Scope.READ}))
    async with face.client(reader) as stranger:
        assert (await cancel(stranger, job_id)).status_code == 403


class Raced(MemoryJobStore):
    """A worker writes the record first, `losses` times."""

    losses = 1

    async def store(self, change: Change) -> Outcome:
        if self.losses:
            self.losses -= 1
            row = self._memory.jobs[change.before.id]
            won = (
                change.before.after(Fact.CLAIMED, NOW)
                if change.before.allows(Fact.CLAIMED)
                else change.before.noted(NOW, cancel_asked_at=None)
            )
            row.version, row.doc = won.version, JOBS.write(won)
            return Outcome.STALE
        return await super().store(change)


async def test_a_cancel_that_lost_to_a_claim_is_decided_anew(face: Face, key: str) -> None:
    face.change(jobs=Raced(face.stores.memory))
    async with face.client(key) as caller:
        answer = await cancel(caller, await submitted(caller))

    assert answer.json()["outcome"] == "requested"
    (stored,) = face.stores.memory.every_job()
    assert (stored.state, stored.cancel_asked_at) == (S.SUBMITTING, face.clock.now())


async def test_a_race_without_end_is_told_as_such(face: Face, key: str) -> None:
    raced = Raced(face.stores.memory)
    raced.losses = MOST_TRIES
    face.change(jobs=raced)
    async with face.client(key) as caller:
        answer = await cancel(caller, await submitted(caller))
    assert (answer.status_code, answer.json()["code"]) == (409, "job_contended")
    assert answer.json()["retryable"] is True


class Forgetful(MemoryJobStore):
    """The record is gone between reading and writing."""

    async def store(self, change: Change) -> Outcome:
        assert change.after.id
        return Outcome.UNKNOWN


async def test_a_job_that_is_gone_by_then_is_404(face: Face, key: str) -> None:
    face.change(jobs=Forgetful(face.stores.memory))
    async with face.client(key) as caller:
        assert (await cancel(caller, await submitted(caller))).status_code == 404
