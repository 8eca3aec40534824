"""Submits in doubt: everything known is shown, and each decision does what it says, once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from core.billing.settlement import Verdict
from core.errors import Conflict, InvalidInput, NotFound
from core.jobs.in_doubt import Attach, Lost, Resend
from core.jobs.job import Billed, Fact, JobState
from core.jobs.timeline import Note, TimelineEntry
from core.observability.events import AdminAction, CostSettled, JobTransitioned
from core.store.codecs import DELIVERIES, JOBS
from core.transactions.job_update import Change, Outcome
from service.admin.in_doubt import list_doubts, resolve_doubt
from tests.builders import SECOND
from tests.fakes.face import KLING, KLING_INPUT, KLING_PATH, Face
from tests.fakes.jobs import MemoryJobStore

if TYPE_CHECKING:
    import httpx

    from core.jobs.in_doubt import Resolution
    from core.jobs.job import Job
    from service.operator_context import Desk

TOKEN = "operators-token-of-32-characters"


@pytest.fixture
def desk(face: Face) -> Desk:
    """An operator over the face's stores."""
    return face.resources.desk


@pytest.fixture
async def doubtful(face: Face) -> Job:
    """A job whose submit got no answer, of a tenant with a webhook."""
    key = await face.tenant("ads", webhook="https://hooks.example.com/x")
    async with face.client(key) as caller:
        answer = await caller.post(f"{KLING_PATH}?reference=order-7", json=KLING_INPUT)
    sent = await move(face, answer.json()["request_id"], Fact.CLAIMED, sent_at=face.clock.now())
    return await move(
        face,
        sent.id,
        Fact.NO_ANSWER,
        doubt_since=face.clock.now(),
        due_at=face.clock.now() + 900 * SECOND,
        billed=Billed.UNKNOWN,
    )


async def move(face: Face, job_id: str, fact: Fact, **parts: Any) -> Job:  # noqa: ANN401 - fields of a job
    before = JOBS.read(face.stores.memory.jobs[job_id].doc)
    now = face.clock.now()
    after = before.after(fact, now, **parts)
    status = 502 if fact is Fact.NO_ANSWER else None
    entry = TimelineEntry(now, Note.UPSTREAM, fact, after.state, "server_error: no", status)
    assert await face.stores.jobs.store(Change(before, after, (entry,))) is Outcome.STORED
    return after


async def test_all_that_is_known_is_shown(face: Face, doubtful: Job) -> None:
    async with operator(face) as http:
        answer = await http.get("/admin/v1/doubts")
    (doubt,) = answer.json()["doubts"]
    assert doubt["request_id"] == doubtful.id
    assert (doubt["tenant"], doubt["model_id"]) == ("ads", KLING)
    assert doubt["sent_at"] == "2026-03-01T12:00:00Z"
    assert doubt["held_until"] == "2026-03-01T12:15:00Z"
    assert doubt["what_came_back"] == "HTTP 502: server_error: no"
    assert doubt["fingerprint"] == doubtful.fingerprint
    assert doubt["estimated_cost"] == 0.63
    assert doubt["reference"] == "order-7"
    assert [entry["what"] for entry in doubt["submits"]] == ["claimed", "no_answer"]


def operator(face: Face) -> httpx.AsyncClient:
    face.admit_operators(TOKEN)
    return face.client(TOKEN)


@pytest.mark.parametrize(
    ("resolution", "state", "rung", "settled"),
    [
        (Attach("up-7"), JobState.RUNNING, True, []),
        (Resend(), JobState.QUEUED, True, []),
        (Lost(), JobState.FAILED, False, [Verdict.ESTIMATED]),
    ],
)
async def test_a_decision_is_carried_out_told_and_noted(
    face: Face,
    desk: Desk,
    doubtful: Job,
    resolution: Resolution,
    state: JobState,
    settled: list[Verdict],
    *,
    rung: bool,
) -> None:
    face.stores.memory.bell.clear()
    job = await resolve_doubt(desk, doubtful.id, resolution)

    assert job.state is state
    assert JOBS.read(face.stores.memory.jobs[job.id].doc) == job
    assert (f"{job.id}:{job.version}" in face.stores.memory.bell) is rung
    assert [moved.after for moved in face.of(JobTransitioned)] == [state]
    assert [cost.settlement for cost in face.of(CostSettled)] == settled
    assert [done.action for done in face.of(AdminAction)] == ["doubt.resolve"]
    (entry,) = await desk.controls.audit(10)
    assert (entry.actor, entry.subject) == ("admin-api", job.id)
    assert await list_doubts(desk) == []


async def test_a_lost_one_is_called_back_and_may_have_been_charged(
    face: Face, desk: Desk, doubtful: Job
) -> None:
    job = await resolve_doubt(desk, doubtful.id, Lost())
    assert job.billed is Billed.UNKNOWN
    (row,) = face.stores.memory.deliveries.values()
    assert DELIVERIES.read(row.doc).url == "https://hooks.example.com/x"


async def test_what_is_not_in_doubt_is_no_matter_for_a_decision(desk: Desk, doubtful: Job) -> None:
    await resolve_doubt(desk, doubtful.id, Resend())
    with pytest.raises(Conflict):
        await resolve_doubt(desk, doubtful.id, Resend())
    with pytest.raises(NotFound):
        await resolve_doubt(desk, "req_0", Lost())
    assert len(await desk.controls.audit(10)) == 1


@pytest.mark.parametrize("upstream_id", ["", "../x", "a b", "x" * 129, "é"])
async def test_what_can_be_no_id_is_not_attached(
    desk: Desk, doubtful: Job, upstream_id: str
) -> None:
    with pytest.raises(InvalidInput):
        await resolve_doubt(desk, doubtful.id, Attach(upstream_id))
    assert len(await list_doubts(desk)) == 1


async def test_a_worker_that_comes_first_is_built_upon(face: Face, doubtful: Job) -> None:
    """A cancel was noted between the operator's look and the decision."""

    class Overtaken(MemoryJobStore):
        async def store(self, change: Change) -> Outcome:
            if not face.of(AdminAction) and self.first:
                self.first = False
                noted = change.before.noted(face.clock.now(), cancel_asked_at=face.clock.now())
                await super().store(Change(change.before, noted))
            return await super().store(change)

        first = True

    face.change(desk=face.desk_with(jobs=Overtaken(face.stores.memory)))
    job = await resolve_doubt(face.resources.desk, doubtful.id, Attach("up-7"))
    assert job.cancel_asked_at is not None
    assert job.upstream_id == "up-7"
