"""A caller repeats a request as soon as a store is back that has forgotten its idempotency key."""

import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Final

import orjson
import pytest

from core.errors import StoreUnavailable
from core.jobs.job import BillingStatus, JobState
from core.transactions.admission import Admission, AdmissionResult, IdempotencyClaim
from simulator.private_redis import PrivateRedis
from tests.support.batches import SHARING, BatchHarness, open_batches
from tests.support.ids import SeededIds
from tests.support.journalled_worker import STEP, JournalledWorker
from tests.support.redis import StoreCopy, copy_store, put_back, redis_client
from tests.support.store_steps import admission_of, tenant_credential
from worker.jobs.store_guard import GuardPolicy, StoreGuard
from worker.ports import Indeterminate, UpstreamFault

KEY: Final = IdempotencyClaim("k", "fp")
BATCH_KEY: Final = IdempotencyClaim("k", "b1:x")
NAMES: Final = "abc"


def request(gateway: BatchHarness, name: str, job_id: str = "") -> Admission:
    job = gateway.job(name, next_run_at=gateway.backend.clock.now())
    job = replace(job, id=job_id or job.id)
    return replace(admission_of(job), input=orjson.dumps({"prompt": name}))


async def submit_and_go_back(
    gateway: BatchHarness, worker: JournalledWorker, copy: StoreCopy, paid: int
) -> None:
    gateway.backend.clock.shift(STEP)
    await worker.run_due()
    assert worker.upstream.paid.total() == paid
    await put_back(gateway.wire, copy)


async def started_guard(gateway: BatchHarness, worker: JournalledWorker) -> StoreGuard:
    backend, ids = gateway.backend, SeededIds(Random(1))
    emit = worker.events.append
    guard = StoreGuard(backend.identity, worker.journal, backend.clock, ids, emit, GuardPolicy())
    await guard.run_once(worker.reconciler)
    assert await guard.allows_submit()
    return guard


async def admitted(gateway: BatchHarness, admission: Admission) -> AdmissionResult:
    """Admit a job; the first call finds that the connection is lost."""
    try:
        return await gateway.backend.jobs.admit(admission)
    except StoreUnavailable:
        return await gateway.backend.jobs.admit(admission)


async def state_of(gateway: BatchHarness, job_id: str) -> JobState:
    record = await gateway.backend.jobs.load(job_id)
    assert record is not None
    return record.job.state


@pytest.mark.parametrize("is_claimed", [0, 1], ids=["queued", "claimed"])
async def test_a_repeated_request_is_not_paid_for_again(
    gateway: BatchHarness, worker: JournalledWorker, is_claimed: int
) -> None:
    copy = await copy_store(gateway.wire)
    await gateway.backend.jobs.admit(replace(request(gateway, "a"), idempotency=KEY))
    await submit_and_go_back(gateway, worker, copy, paid=1)
    again = replace(request(gateway, "a", "req_again"), idempotency=KEY)
    assert (await gateway.backend.jobs.admit(again)).record is None
    for _ in range(is_claimed):  # by a worker that has died since
        assert await gateway.claim("req_again")
    await worker.reconcile()
    assert await state_of(gateway, "req_again") is JobState.FAILED
    third = replace(request(gateway, "a", "req_third"), idempotency=KEY)
    replayed = (await gateway.backend.jobs.admit(third)).record
    assert replayed is not None
    assert replayed.job.id == "req_a"
    worker.upstream.ends_runs = True
    for _ in range(4):
        await worker.run_due()
        gateway.backend.clock.shift(STEP)
    assert await state_of(gateway, "req_a") is JobState.SUCCEEDED
    assert worker.upstream.paid.total() == 1
    ended = await gateway.backend.jobs.load("req_again")
    assert ended is not None
    assert ended.job.error is not None
    assert (ended.job.error.code, ended.job.billed) == ("repeated_request", BillingStatus.NO)
    assert "req_a," in ended.job.error.message
    assert await gateway.inconsistencies() == []


async def test_a_repetition_that_has_joined_another_request_is_not_paid_for_in_its_place(
    gateway: BatchHarness, worker: JournalledWorker
) -> None:
    """It would have been promoted, had the other one been cancelled."""
    copy = await copy_store(gateway.wire)
    await gateway.backend.jobs.admit(replace(request(gateway, "a"), idempotency=KEY))
    await submit_and_go_back(gateway, worker, copy, paid=1)
    other = replace(request(gateway, "a", "req_other"), cache=SHARING)
    await gateway.backend.jobs.admit(other)
    again = replace(request(gateway, "a", "req_again"), cache=SHARING, idempotency=KEY)
    await gateway.backend.jobs.admit(again)
    assert await state_of(gateway, "req_again") is JobState.FOLLOWING
    await worker.reconcile()
    assert await state_of(gateway, "req_again") is JobState.FAILED
    assert await state_of(gateway, "req_other") is JobState.QUEUED
    assert await gateway.inconsistencies() == []


async def test_another_request_with_the_key_is_left_alone(
    gateway: BatchHarness, worker: JournalledWorker
) -> None:
    copy = await copy_store(gateway.wire)
    await gateway.backend.jobs.admit(replace(request(gateway, "a"), idempotency=KEY))
    await submit_and_go_back(gateway, worker, copy, paid=1)
    other = replace(request(gateway, "b"), idempotency=IdempotencyClaim("k", "another"))
    await gateway.backend.jobs.admit(other)
    await worker.reconcile()
    assert await state_of(gateway, "req_b") is JobState.QUEUED
    assert await state_of(gateway, "req_a") is JobState.RUNNING


async def test_a_forgotten_batch_is_not_paid_for_again(
    gateway: BatchHarness, worker: JournalledWorker
) -> None:
    copy = await copy_store(gateway.wire)
    batch = gateway.batch(*(request(gateway, name) for name in NAMES), idempotency="k")
    assert (await gateway.backend.batches.admit(batch)).stored
    await submit_and_go_back(gateway, worker, copy, paid=2)
    items = (request(gateway, name, f"req_again_{name}") for name in NAMES)
    again = gateway.batch(*items, idempotency="k", id="bat_2")
    assert (await gateway.backend.batches.admit(again)).stored
    await worker.reconcile()
    states = [await state_of(gateway, f"req_again_{name}") for name in NAMES]
    assert states == [JobState.FAILED, JobState.FAILED, JobState.QUEUED]
    assert await gateway.inconsistencies() == []


async def test_of_equal_items_of_a_batch_those_that_were_not_submitted_are_left_alone(
    gateway: BatchHarness, worker: JournalledWorker
) -> None:
    def equal_items(prefix: str) -> list[Admission]:
        return [request(gateway, "a", f"req_{prefix}_{number}") for number in range(4)]

    copy = await copy_store(gateway.wire)
    batch = gateway.batch(*equal_items("first"), idempotency="k")
    assert (await gateway.backend.batches.admit(batch)).stored
    await submit_and_go_back(gateway, worker, copy, paid=2)
    again = gateway.batch(*equal_items("again"), idempotency="k", id="bat_2")
    assert (await gateway.backend.batches.admit(again)).stored
    await worker.reconcile()
    jobs = [await state_of(gateway, f"req_again_{number}") for number in range(4)]
    assert sorted(jobs) == [JobState.FAILED, JobState.FAILED, JobState.QUEUED, JobState.QUEUED]
    assert await gateway.inconsistencies() == []


async def test_the_key_of_a_forgotten_batch_is_not_free(
    gateway: BatchHarness, worker: JournalledWorker
) -> None:
    copy = await copy_store(gateway.wire)
    batch = gateway.batch(*(request(gateway, name) for name in NAMES), idempotency="k")
    await gateway.backend.batches.admit(batch)
    await submit_and_go_back(gateway, worker, copy, paid=2)
    await worker.reconcile()
    found = await gateway.backend.batches.find_replay(tenant_credential(), BATCH_KEY)
    assert found == "bat_1"


@pytest.mark.parametrize("kept", ["nothing", "the repetition", "its doubt"])
async def test_a_repetition_that_was_submitted_is_kept_and_not_the_request_that_was_not(
    gateway: BatchHarness, worker: JournalledWorker, kept: str
) -> None:
    """Regression: the repetition ended as free, and the first one was submitted as well.

    A worker that had not seen the first one's claim sent the repetition before the comparison.
    """
    copies = {"nothing": await copy_store(gateway.wire)}
    await gateway.backend.jobs.admit(replace(request(gateway, "a"), idempotency=KEY))
    worker.guard.knows_jobs = False  # the store has gone back: the submit does not leave
    await submit_and_go_back(gateway, worker, copies["nothing"], paid=0)
    worker.guard.knows_jobs = True
    again = replace(request(gateway, "a", "req_again"), idempotency=KEY)
    await gateway.backend.jobs.admit(again)
    copies["the repetition"] = await copy_store(gateway.wire)
    worker.upstream.answer = Indeterminate(UpstreamFault("read_timeout", "no answer"))
    gateway.backend.clock.shift(STEP)
    await worker.run_due()
    copies["its doubt"] = await copy_store(gateway.wire)
    worker.upstream.answer = None
    await put_back(gateway.wire, copies[kept])
    await worker.reconcile()
    assert await state_of(gateway, "req_again") is JobState.IN_DOUBT
    for _ in range(4):
        await worker.run_due()
        gateway.backend.clock.shift(STEP)
    assert worker.upstream.paid.total() == 1
    assert await gateway.backend.jobs.load("req_a") is None
    assert await gateway.inconsistencies() == []


async def test_a_server_that_came_back_with_less_gets_no_repetition_before_it_was_compared(
    own_redis: PrivateRedis, tmp_path: Path
) -> None:
    """Regression: this worker had not seen the claim; who had is dead."""
    async with redis_client(own_redis.url) as wire:
        gateway = await open_batches(wire)
        other = JournalledWorker(gateway.backend, gateway.backend.clock)
        guard = await started_guard(gateway, other)
        copy, held = tmp_path / "copy", own_redis.directory / "appendonlydir"
        shutil.copytree(held, copy)
        await gateway.backend.jobs.admit(replace(request(gateway, "a"), idempotency=KEY))
        gateway.backend.clock.shift(STEP)
        await other.run_due()
        own_redis.stop()
        shutil.rmtree(held)
        shutil.copytree(copy, held)
        own_redis.start()
        again = replace(request(gateway, "a", "req_again"), idempotency=KEY)
        assert (await admitted(gateway, again)).record is None
        assert not await guard.allows_submit()
        for _ in range(2):
            await guard.run_once(other.reconciler)
        assert await guard.allows_submit()
        assert await state_of(gateway, "req_again") is JobState.FAILED
        assert await state_of(gateway, "req_a") is JobState.RUNNING


async def test_a_server_that_came_back_with_all_stops_submits_for_one_check(
    own_redis: PrivateRedis,
) -> None:
    async with redis_client(own_redis.url) as wire:
        gateway = await open_batches(wire)
        other = JournalledWorker(gateway.backend, gateway.backend.clock)
        guard = await started_guard(gateway, other)
        await gateway.backend.jobs.admit(request(gateway, "a"))
        await other.run_due()
        own_redis.restart()
        with suppress(StoreUnavailable):
            await guard.allows_submit()
        assert not await guard.allows_submit()
        await guard.run_once(other.reconciler)
        assert await guard.allows_submit()
