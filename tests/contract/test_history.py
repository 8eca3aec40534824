"""Run times: what a success adds to its model's history, once, and what adds nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from core.jobs.job import Fact, Job, JobState
from core.jobs.run_times import KEPT, RunHistory
from core.transactions.job_update import Change, Outcome
from tests.contract.orders import SECOND, admission, moved, new_job

if TYPE_CHECKING:
    from tests.contract.subjects import Subject


async def collecting(subject: Subject, job_id: str = "req_1", model_id: str = "kling/a") -> Job:
    """A job whose result is there; RunComfy has had it for 42 s."""
    now = subject.clock.now()
    job = replace(
        new_job(now, job_id),
        state=JobState.COLLECTING,
        model_id=model_id,
        running_since=now - 42 * SECOND,
    )
    await subject.jobs.admit(admission(job))
    return job


async def test_nothing_has_run_yet(subject: Subject) -> None:
    assert await subject.histories.counts() == {}
    assert await subject.histories.load(["kling/a"]) == {"kling/a": RunHistory()}
    assert await subject.histories.load([]) == {}


async def test_a_success_is_remembered_with_its_end(subject: Subject) -> None:
    await moved(subject, await collecting(subject), Fact.COLLECTED)
    await moved(subject, await collecting(subject, "req_2", "kling/b"), Fact.COLLECTED)

    assert await subject.histories.counts() == {"kling/a": 1, "kling/b": 1}
    assert (await subject.histories.load(["kling/a"]))["kling/a"].times == (42 * SECOND,)


async def test_what_is_learnt_after_the_end_is_no_second_run(subject: Subject) -> None:
    ended = await moved(subject, await collecting(subject), Fact.COLLECTED)
    later = Change(ended, ended.noted(subject.clock.now(), errand=None))

    assert await subject.jobs.store(later) is Outcome.STORED
    assert await subject.histories.counts() == {"kling/a": 1}


async def test_failures_and_lost_races_are_not_remembered(subject: Subject) -> None:
    job = await collecting(subject)
    await moved(subject, job, Fact.BROKE)
    late = job.after(Fact.COLLECTED, subject.clock.now(), finished_at=subject.clock.now())

    assert await subject.jobs.store(Change(job, late)) is Outcome.STALE
    assert await subject.histories.counts() == {}


async def test_only_the_last_runs_are_kept(subject: Subject) -> None:
    for number in range(KEPT + 2):
        job = await collecting(subject, f"req_{number}")
        subject.clock.move(SECOND if number < 2 else 2 * SECOND)
        await moved(subject, job, Fact.COLLECTED)

    history = (await subject.histories.load(["kling/a"]))["kling/a"]
    assert history.times == (44 * SECOND,) * KEPT
    assert await subject.histories.counts() == {"kling/a": KEPT + 2}
