"""No submit leaves without an entry of its own in the journal."""

import asyncio
from dataclasses import replace

import pytest

from core.errors import StoreTimeout, StoreUnavailable
from core.jobs.job import JobState
from core.journal.records import (
    JournalAnswer,
    Outcome,
    attempts_prefix,
    encode_answer,
    entry_name,
    parse_attempts,
)
from core.observability.events import JournalDisconnected, JournalReconnected, SubmitAnswered
from tests.support.journal import StubGuard
from tests.support.records import NOW, POLICY, SECOND, fault, job
from tests.support.worker import BODY, WorkerHarness
from worker.jobs.paid_submit import replayed
from worker.ports import (
    Accepted,
    Indeterminate,
    NotSent,
    RefusalScope,
    Rejected,
    SubmitAnswer,
)

S = JobState
NOT_SENT = NotSent(fault("connect_error", None))


@pytest.fixture
def worker() -> WorkerHarness:
    return WorkerHarness()


def outcomes(worker: WorkerHarness) -> list[Outcome | None]:
    return [attempt.outcome for attempt in parse_attempts(worker.objects.contents)]


async def answered(worker: WorkerHarness, *answers: SubmitAnswer) -> None:
    """Submit the job, which gets these answers one after the other."""
    worker.upstream.submits.extend(answers)
    for _ in answers:
        current = worker.now_is() or job()
        await worker.advance(current)


def forget(worker: WorkerHarness) -> None:
    """Let the store forget that the job was ever submitted."""
    worker.jobs.records.clear()


async def test_the_entry_is_there_before_the_submit_leaves(worker: WorkerHarness) -> None:
    async def look() -> None:
        assert outcomes(worker) == [None]
        entry = await worker.journal.read_entry(attempts_prefix(job()), 1)
        assert entry is not None
        assert entry.submission.input == BODY
        assert entry.job == worker.jobs.job()

    worker.upstream.during_submit = look
    await answered(worker, Accepted("up-1"))
    assert worker.upstream.sent == 1
    assert outcomes(worker) == [Outcome.ACCEPTED]


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (Accepted("up-1"), Outcome.ACCEPTED),
        (Rejected(fault("invalid_input", 422)), Outcome.REJECTED),
        (NOT_SENT, Outcome.NOT_SENT),
        (Indeterminate(fault("read_timeout", None)), None),
    ],
)
async def test_the_answer_is_written_beside_the_entry(
    worker: WorkerHarness, answer: SubmitAnswer, outcome: Outcome | None
) -> None:
    await answered(worker, answer)
    assert outcomes(worker) == [outcome]


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        (Accepted("up-1"), S.RUNNING),
        (Rejected(fault("invalid_input", 422)), S.FAILED),
        (Indeterminate(fault("read_timeout", None)), S.IN_DOUBT),
    ],
)
async def test_a_submit_that_the_store_forgot_is_not_sent_again(
    worker: WorkerHarness, answer: SubmitAnswer, state: JobState
) -> None:
    await answered(worker, answer)
    before = worker.now_is()
    forget(worker)
    after = await worker.advance(job())
    assert before is not None
    assert after is not None
    assert after.state is state
    assert (after.upstream_id, after.error) == (before.upstream_id, before.error)
    assert worker.upstream.sent == 1
    assert len([event for event in worker.events if isinstance(event, SubmitAnswered)]) == 1
    assert len(worker.gate.recorded) == 1, "RunComfy has not answered a second time"


async def test_a_submit_that_was_not_sent_leaves_again_under_the_next_number(
    worker: WorkerHarness,
) -> None:
    await answered(worker, NOT_SENT, NOT_SENT)
    forget(worker)
    await answered(worker, Accepted("up-1"))
    assert outcomes(worker) == [Outcome.NOT_SENT, Outcome.NOT_SENT, Outcome.ACCEPTED]
    assert worker.upstream.sent == 3


@pytest.mark.parametrize("scope", [RefusalScope.BALANCE, RefusalScope.ACCOUNT])
async def test_a_refusal_that_lets_the_job_wait_leaves_again_under_the_next_number(
    worker: WorkerHarness, scope: RefusalScope
) -> None:
    await answered(worker, Rejected(fault("balance_rejected", 402), scope))
    waiting = worker.now_is()
    assert waiting is not None
    assert waiting.waiting_for is not None
    await worker.advance(waiting)  # it queues for a slot again
    await answered(worker, Accepted("up-1"))
    assert worker.upstream.sent == 2
    assert outcomes(worker) == [Outcome.NOT_SENT, Outcome.ACCEPTED]


async def test_an_approved_resend_leaves_once_however_often_the_store_forgets_it(
    worker: WorkerHarness,
) -> None:
    await answered(worker, Indeterminate(fault("read_timeout", None)))
    approved = replace(job(), resends_approved=1)
    worker.upstream.submits.append(Indeterminate(fault("read_timeout", None)))
    for _ in range(3):
        forget(worker)
        after = await worker.advance(approved)
        assert after is not None
        assert after.state is S.IN_DOUBT
    assert worker.upstream.sent == 2


async def test_nothing_is_sent_while_the_journal_is_away(worker: WorkerHarness) -> None:
    worker.objects.failures = 1_000_000
    worker.upstream.submits.append(Accepted("up-1"))
    step = asyncio.create_task(worker.advance(job()))
    for _ in range(60):
        await worker.clock.advance(SECOND)
    assert worker.upstream.sent == 0
    assert worker.jobs.job().state is S.SUBMITTING
    other = await worker.advance(job(id="req_2"))
    assert other is not None
    assert other.state is S.QUEUED, "no further submit is claimed"
    assert worker.jobs.due["req_2"] == worker.clock.now() + SECOND
    worker.objects.failures = 0
    while not step.done():
        await worker.clock.advance(SECOND)
    after = worker.jobs.job()
    assert (after.state, worker.upstream.sent) == (S.QUEUED, 0), "the claim is a minute old"
    assert outcomes(worker) == [Outcome.NOT_SENT]
    kinds = [type(event) for event in worker.events]
    assert kinds.count(JournalDisconnected) == kinds.count(JournalReconnected) == 1


async def test_a_create_whose_answer_was_lost_is_recognized(worker: WorkerHarness) -> None:
    worker.objects.lost_answers = 1
    worker.upstream.submits.append(Accepted("up-1"))
    step = asyncio.create_task(worker.advance(job()))
    while not step.done():
        await worker.clock.advance(SECOND / 2)
    assert worker.jobs.job().state is S.RUNNING
    assert outcomes(worker) == [Outcome.ACCEPTED]


async def test_an_answer_that_the_journal_does_not_take_is_written_later(
    worker: WorkerHarness,
) -> None:
    async def lose_the_journal() -> None:
        worker.objects.failures = 1

    worker.upstream.during_submit = lose_the_journal
    await answered(worker, Accepted("up-1"))
    assert worker.jobs.job().state is S.RUNNING
    assert outcomes(worker) == [None]
    await worker.paid.write_answers()
    assert outcomes(worker) == [Outcome.ACCEPTED]


async def test_the_store_notes_the_entry_before_the_submit_leaves(worker: WorkerHarness) -> None:
    async def look() -> None:
        assert worker.guard.noted == {"req_1": 1}

    worker.upstream.during_submit = look
    await answered(worker, Accepted("up-1"))
    assert worker.upstream.sent == 1


@pytest.mark.parametrize(
    "guard",
    [
        StubGuard(failure=StoreUnavailable("Redis does not answer.")),
        StubGuard(failure=StoreTimeout("Redis does not answer.")),
        StubGuard(knows_jobs=False),
    ],
)
async def test_a_submit_whose_entry_the_store_did_not_note_is_not_sent(guard: StubGuard) -> None:
    worker = WorkerHarness(guard=guard)
    after = await worker.advance(job())
    assert worker.upstream.sent == 0
    assert after is not None
    assert after.state is S.QUEUED
    assert outcomes(worker) == [Outcome.NOT_SENT]


async def test_a_process_that_was_frozen_after_its_claim_sends_nothing(
    worker: WorkerHarness,
) -> None:
    create = worker.objects.create

    async def freeze(name: str, content: bytes) -> bool:
        await worker.clock.advance(POLICY.lease)
        return await create(name, content)

    worker.objects.create = freeze  # type: ignore[method-assign]  # a fake of our own
    after = await worker.advance(job())
    assert worker.upstream.sent == 0
    assert after is not None
    assert after.state is S.QUEUED


async def test_an_entry_that_cannot_be_read_leaves_the_job_in_doubt(worker: WorkerHarness) -> None:
    worker.objects.put(entry_name(attempts_prefix(job()), 1), b'{"fo')
    after = await worker.advance(job())
    assert after is not None
    assert (after.state, worker.upstream.sent) == (S.IN_DOUBT, 0)


# --- a worker that died


async def died(worker: WorkerHarness, outcome: Outcome | None, *, sent: bool = True) -> JobState:
    """Let the lease of a submit run out that has this in the journal; return the job's state."""
    claimed = job(S.SUBMITTING, lease_holder="worker-b", sent_at=NOW, attempts=1)
    if sent:
        worker.objects.put(entry_name(attempts_prefix(claimed), 1), b"")
    if outcome is not None:
        content = encode_answer(JournalAnswer(outcome, NOW, "up-1"))
        worker.objects.put(
            entry_name(attempts_prefix(claimed), 1).replace("entry", outcome), content
        )
    await worker.lifecycle.advance(worker.jobs.add(claimed))
    return worker.jobs.job().state


@pytest.mark.parametrize(
    ("outcome", "state"),
    [
        (None, S.IN_DOUBT),
        (Outcome.ACCEPTED, S.RUNNING),
        (Outcome.REJECTED, S.FAILED),
        (Outcome.NOT_SENT, S.QUEUED),
    ],
)
async def test_the_answer_of_a_dead_worker_is_found_in_the_journal(
    worker: WorkerHarness, outcome: Outcome | None, state: JobState
) -> None:
    assert await died(worker, outcome) is state
    assert worker.upstream.sent == 0


async def test_a_worker_that_died_before_its_entry_has_sent_nothing(worker: WorkerHarness) -> None:
    assert await died(worker, None, sent=False) is S.QUEUED
    assert worker.jobs.job().attempts == 0


@pytest.mark.parametrize("sent", [True, False])
async def test_a_dead_workers_entry_that_the_journal_lost_is_not_judged(
    worker: WorkerHarness, *, sent: bool
) -> None:
    """The journal went back: the job was queued again, and paid for twice."""
    worker.guard.noted["req_1"] = 2 if sent else 1
    assert await died(worker, Outcome.NOT_SENT if sent else None, sent=sent) is S.SUBMITTING
    assert worker.guard.lost == [("req_1", 2 if sent else 1)]


async def test_while_the_journal_is_away_a_dead_workers_submit_is_not_judged(
    worker: WorkerHarness,
) -> None:
    worker.objects.failures = 1
    assert await died(worker, None) is S.SUBMITTING
    assert worker.jobs.due["req_1"] == worker.clock.now() + SECOND


def test_an_answer_without_its_id_is_no_acceptance() -> None:
    assert isinstance(replayed(JournalAnswer(Outcome.ACCEPTED, NOW)), Indeterminate)
