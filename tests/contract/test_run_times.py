"""Run times: a success adds one to its model's history; nothing else does."""

from dataclasses import replace

from core.jobs.job import BillingStatus, Job, JobError, JobState, Trigger
from core.jobs.refusal_costs import RUN_FAILED_CODE, RefusalCosts
from core.jobs.run_times import MAX_RUNS, RunHistory
from core.money import MicroUsd
from core.transactions.job_update import Change, WriteResult
from tests.support.backends import StoreBackend
from tests.support.store_steps import SECOND, admission_of, apply_triggers, new_job


async def collecting_job(
    backend: StoreBackend, job_id: str = "req_1", model_id: str = "kling/a"
) -> Job:
    """A job that has run for 42 s and now has its result."""
    now = backend.clock.now()
    job = replace(
        new_job(now, job_id),
        state=JobState.COLLECTING,
        model_id=model_id,
        running_since=now - 42 * SECOND,
    )
    await backend.jobs.admit(admission_of(job))
    return job


async def test_nothing_has_run_yet(backend: StoreBackend) -> None:
    assert await backend.run_times.load_counts() == {}
    assert await backend.run_times.load(["kling/a"]) == {"kling/a": RunHistory()}
    assert await backend.run_times.load([]) == {}


async def test_a_success_is_remembered_with_its_end(backend: StoreBackend) -> None:
    await apply_triggers(backend, await collecting_job(backend), Trigger.COLLECTED)
    await apply_triggers(
        backend, await collecting_job(backend, "req_2", "kling/b"), Trigger.COLLECTED
    )

    assert await backend.run_times.load_counts() == {"kling/a": 1, "kling/b": 1}
    assert (await backend.run_times.load(["kling/a"]))["kling/a"].times == (42 * SECOND,)


async def test_a_change_after_the_end_is_no_second_run(backend: StoreBackend) -> None:
    ended = await apply_triggers(backend, await collecting_job(backend), Trigger.COLLECTED)
    later = Change(ended, ended.evolve(backend.clock.now(), follow_up=None))

    assert await backend.jobs.store(later) is WriteResult.STORED
    assert await backend.run_times.load_counts() == {"kling/a": 1}


async def test_failures_and_lost_races_are_not_remembered(backend: StoreBackend) -> None:
    job = await collecting_job(backend)
    await apply_triggers(backend, job, Trigger.RUN_FAILED)
    late = job.transition(Trigger.COLLECTED, backend.clock.now(), finished_at=backend.clock.now())

    assert await backend.jobs.store(Change(job, late)) is WriteResult.CONFLICT
    assert await backend.run_times.load_counts() == {}


async def test_only_the_last_runs_are_kept(backend: StoreBackend) -> None:
    for number in range(MAX_RUNS + 2):
        job = await collecting_job(backend, f"req_{number}")
        backend.clock.move(SECOND if number < 2 else 2 * SECOND)
        await apply_triggers(backend, job, Trigger.COLLECTED)

    history = (await backend.run_times.load(["kling/a"]))["kling/a"]
    assert history.times == (44 * SECOND,) * MAX_RUNS
    assert await backend.run_times.load_counts() == {"kling/a": MAX_RUNS + 2}


async def fail_run(
    backend: StoreBackend, job_id: str, billed: BillingStatus, cost: int | None
) -> Job:
    """A job whose run RunComfy failed; its cost may be known later."""
    job, now = await collecting_job(backend, job_id, "a b/c|d"), backend.clock.now()
    price = None if cost is None else MicroUsd(cost)
    error = JobError(RUN_FAILED_CODE, "It was refused.")
    failed = job.transition(
        Trigger.RUN_FAILED, now, error=error, billed=billed, cost=price, finished_at=now
    )
    assert await backend.jobs.store(Change(job, failed)) is WriteResult.STORED
    return failed


async def test_what_failed_runs_cost_is_counted_once_it_is_known(backend: StoreBackend) -> None:
    assert await backend.run_times.load_refusal_costs() == {}
    await fail_run(backend, "req_1", BillingStatus.NO, 0)
    await fail_run(backend, "req_2", BillingStatus.YES, 84_000)
    later = await fail_run(backend, "req_3", BillingStatus.UNKNOWN, None)
    assert await backend.run_times.load_refusal_costs() == {"a b/c|d": RefusalCosts(1, 1)}
    now = backend.clock.now()
    known = later.evolve(now, billed=BillingStatus.YES, cost=MicroUsd(1))
    for change in (Change(later, known), Change(known, known.evolve(now, follow_up=None))):
        assert await backend.jobs.store(change) is WriteResult.STORED
    assert await backend.run_times.load_refusal_costs() == {"a b/c|d": RefusalCosts(2, 1)}
