"""A batch that is admitted in parts while its process dies, others submit, a tenant is deleted."""

from dataclasses import replace
from typing import Any, Final

import pytest

from core.batches import AdmissionMode, BatchCounts
from core.clock import to_ms
from core.errors import StoreRefused, StoreTimeout, StoreUnavailable
from core.jobs.job import JobState, Trigger
from core.store import keys
from core.store.batches import BatchStore
from core.tenants.cache_policy import CacheStatus
from core.tenants.limits import Limits
from core.transactions.admission import Admission, AdmissionResult, BatchAdmissionResult
from tests.support.batches import (
    LONG,
    PART_ITEMS,
    SHARING,
    BatchHarness,
    DyingScripts,
)
from tests.support.redis import every_key
from tests.support.store_steps import admission_of, tenant_credential


def statuses(done: BatchAdmissionResult) -> list[str]:
    return [one.cache_status if isinstance(one, AdmissionResult) else "" for one in done.results]


async def test_a_batch_in_parts_is_admitted_as_one(gateway: BatchHarness) -> None:
    await gateway.put_in_cache("known")
    done = await gateway.backend.batches.admit(gateway.mixed_batch())
    assert statuses(done) == ["off", "miss", "off", "joined", "off", "hit", "off", "off"]
    assert [one.has_slot for one in done.results if isinstance(one, AdmissionResult)][:3] == [
        True,
        True,
        False,
    ]
    view = await gateway.backend.batches.load("bat_1")
    assert view is not None
    assert view.counts == BatchCounts(in_queue=7, completed=1)
    assert await gateway.inconsistencies() == []
    assert [name for name in await every_key(gateway.wire) if ":part:" in name] == []


CALLS: Final = range(9)
"""Four parts are stored, one script decides, four parts are written: the last call is the ninth."""


@pytest.mark.parametrize("mode", AdmissionMode)
@pytest.mark.parametrize("calls", CALLS)
async def test_a_death_between_two_parts_leaves_all_or_nothing(
    gateway: BatchHarness, calls: int, mode: AdmissionMode
) -> None:
    await gateway.put_in_cache("known")
    before = set(await every_key(gateway.wire))
    admission = gateway.mixed_batch(admission_mode=mode, idempotency="k")
    with pytest.raises(StoreTimeout):
        await gateway.dying(calls).admit(admission)
    started = await gateway.backend.probe.states()
    await gateway.finish()
    view = await gateway.backend.batches.load("bat_1")
    assert await gateway.inconsistencies() == []
    rest = [name for name in await every_key(gateway.wire) if ":part:" in name or ":rest" in name]
    assert rest == []
    if calls <= len(CALLS) // 2:
        assert view is None
        assert started.get("queued", 0) == 0
        assert set(await every_key(gateway.wire)) <= before
    else:
        assert view is not None
        assert view.counts == BatchCounts(in_queue=7, completed=1)
        assert await gateway.backend.batches.claim_unwritten(10) == []
    again = gateway.mixed_batch(admission_mode=mode, idempotency="k", id="bat_2")
    again = replace(
        again,
        admissions=tuple(
            replace(one, job=replace(one.job, id=f"{one.job.id}_2")) for one in again.admissions
        ),
    )
    repeated = await gateway.backend.batches.admit(again)
    assert repeated.stored == (view is None)
    assert repeated.existing_batch_id == (None if view is None else "bat_1")
    assert await gateway.inconsistencies() == []


@pytest.mark.parametrize("error", [StoreUnavailable, StoreRefused])
@pytest.mark.parametrize("calls", CALLS)
async def test_a_store_that_fails_after_the_decision_is_not_said_to_have_accepted_nothing(
    gateway: BatchHarness, calls: int, error: type[StoreUnavailable]
) -> None:
    with pytest.raises(StoreUnavailable) as raised:
        await gateway.dying(calls, error).admit(gateway.mixed_batch())
    await gateway.finish()
    is_accepted = await gateway.backend.batches.load("bat_1") is not None
    assert isinstance(raised.value, StoreTimeout) == is_accepted


@pytest.mark.parametrize("calls", [5, 7])
async def test_whoever_reads_an_accepted_batch_first_writes_the_rest(
    gateway: BatchHarness, calls: int
) -> None:
    with pytest.raises(StoreTimeout):
        await gateway.dying(calls).admit(gateway.mixed_batch())
    view = await gateway.backend.batches.read(tenant_credential(), "bat_1", range(8))
    assert [item.job is not None for item in view.items] == [True] * 8
    assert await gateway.inconsistencies() == []
    assert await gateway.backend.batches.claim_unwritten(10) == []


async def test_two_that_write_the_rest_write_each_part_once(gateway: BatchHarness) -> None:
    with pytest.raises(StoreTimeout):
        await gateway.dying(5).admit(gateway.mixed_batch())
    one, other = gateway.dying(1), gateway.dying(-1)
    with pytest.raises(StoreTimeout):
        await one.write_rest("bat_1")
    await other.write_rest("bat_1")
    await other.write_rest("bat_2")  # which is none
    assert await gateway.backend.probe.states() == {"queued": 7, "following": 1}
    assert await gateway.inconsistencies() == []


async def test_stored_items_that_expired_are_stored_again(gateway: BatchHarness) -> None:
    class Slow(DyingScripts):
        async def call(self, name: str, *rest: Any, **more: Any) -> Any:  # noqa: ANN401 - as above
            if name == "accept_batch" and self.left == -5:
                await self._client.execute("DEL", keys.batch_part("bat_1", "2"))
            return await super().call(name, *rest, **more)

    slow = Slow(gateway.wire, -1)
    store = BatchStore(gateway.wire, slow, gateway.backend.clock, max_part_items=PART_ITEMS)
    assert (await store.admit(gateway.mixed_batch())).stored
    assert slow.left == -1 - 4 - 1 - 4 - 1 - 4
    assert await gateway.inconsistencies() == []


async def accept(gateway: BatchHarness, *admissions: Admission) -> BatchStore:
    """Accept a batch of which no job is written; return a process that can write it."""
    parts = -(-len(admissions) // PART_ITEMS)
    with pytest.raises(StoreTimeout):
        await gateway.dying(parts + 1).admit(gateway.batch(*admissions))
    return gateway.dying(-1)


async def test_an_identical_request_that_came_between_is_joined(gateway: BatchHarness) -> None:
    jobs = [gateway.job("a"), gateway.job("same"), gateway.job("b")]
    shared = [replace(admission_of(job), cache=SHARING) for job in jobs]
    process = await accept(gateway, *shared)
    between = gateway.job("between", fingerprint="1:same")
    admitted = await gateway.backend.jobs.admit(replace(admission_of(between), cache=SHARING))
    assert admitted.cache_status is CacheStatus.MISS
    await process.write_rest("bat_1")
    record = await gateway.backend.jobs.load("req_same")
    assert record is not None
    assert (record.job.state, record.job.leader) == (JobState.FOLLOWING, "req_between")
    view = await gateway.backend.batches.read(tenant_credential(), "bat_1", range(3))
    assert [item.cache_status for item in view.items] == ["miss", "joined", "miss"]
    assert await gateway.inconsistencies() == []


async def test_a_result_that_came_between_is_served(gateway: BatchHarness) -> None:
    await gateway.set_limits(Limits())
    jobs = [gateway.job("a"), gateway.job("b"), gateway.job("known")]
    process = await accept(gateway, *(replace(admission_of(job), cache=SHARING) for job in jobs))
    await gateway.put_in_cache("known")
    await process.write_rest("bat_1")
    view = await gateway.backend.batches.read(tenant_credential(), "bat_1", range(3))
    assert [item.cache_status for item in view.items] == ["miss", "miss", "hit"]
    assert view.counts == BatchCounts(in_queue=2, completed=1)
    assert await gateway.inconsistencies() == []


async def test_nothing_is_paid_for_in_place_of_a_request_that_was_lost_between(
    gateway: BatchHarness,
) -> None:
    leader = gateway.job("leader", fingerprint="1:same")
    await gateway.backend.jobs.admit(replace(admission_of(leader), cache=SHARING))
    await gateway.put_in_cache("known")
    jobs = [gateway.job("a"), gateway.job("same"), gateway.job("known")]
    process = await accept(gateway, *(replace(admission_of(job), cache=SHARING) for job in jobs))
    await gateway.end(leader, Trigger.RUN_FAILED)
    (found,) = await gateway.wire.execute("KEYS", "gw:dedup:*known")
    await gateway.wire.execute("DEL", found)
    await process.write_rest("bat_1")
    view = await gateway.backend.batches.read(tenant_credential(), "bat_1", range(3))
    assert [item.cache_status for item in view.items] == ["miss", "joined", "joined"]
    assert [item.job.leader for item in view.items if item.job] == [
        None,
        "req_leader",
        "req_first_known",
    ]
    assert await gateway.inconsistencies() == []


async def test_a_batch_of_hits_alone_is_completed_with_its_last_part(gateway: BatchHarness) -> None:
    await gateway.put_in_cache("known")
    jobs = [gateway.job(name, fingerprint="1:known") for name in "abc"]
    process = await accept(gateway, *(replace(admission_of(job), cache=SHARING) for job in jobs))
    assert await gateway.backend.batches.claim_completed(LONG, 10) == []
    await process.write_rest("bat_1")
    (batch,) = await gateway.backend.batches.claim_completed(LONG, 10)
    assert batch.id == "bat_1"


async def test_what_is_reserved_counts_for_others_at_once(gateway: BatchHarness) -> None:
    await gateway.set_limits(Limits(jobs_per_day=4, running=1, waiting=2))
    process = await accept(gateway, *(admission_of(gateway.job(name)) for name in "abc"))
    one = gateway.batch(admission_of(gateway.job("late")), id="bat_2")
    refused = await gateway.backend.batches.admit(one)
    assert not refused.stored
    assert getattr(refused.results[0], "policy", None) == "waiting"
    await process.write_rest("bat_1")
    assert await gateway.inconsistencies() == []


async def test_a_job_that_the_journal_brought_back_is_not_written_again(
    gateway: BatchHarness,
) -> None:
    process = await accept(gateway, *(admission_of(gateway.job(name)) for name in "abc"))
    await gateway.backend.jobs.admit(admission_of(gateway.job("b")))
    await process.write_rest("bat_1")
    assert (await gateway.backend.probe.states())["queued"] == 3
    assert await gateway.inconsistencies() == []


async def test_a_tenant_that_is_deleted_between_leaves_no_key_for_ever(
    gateway: BatchHarness,
) -> None:
    process = await accept(gateway, *(admission_of(gateway.job(name)) for name in "abc"))
    tenant = await gateway.backend.tenants.load("ada")
    assert tenant is not None
    after = replace(tenant, version=tenant.version + 1, disabled=True)
    assert await gateway.backend.tenants.delete(tenant, after)
    await process.write_rest("bat_1")
    of_jobs = keys.tenant_jobs("ada"), keys.references("ada")
    owned = [name for name in await every_key(gateway.wire) if name.startswith(of_jobs)]
    assert owned
    assert [name for name in owned if await gateway.wire.execute("PTTL", name) < 0] == []


async def test_a_hopeless_batch_stores_nothing_of_its_items(gateway: BatchHarness) -> None:
    await gateway.set_limits(Limits(requests_per_minute=4))
    scripts = DyingScripts(gateway.wire, -1)
    store = BatchStore(gateway.wire, scripts, gateway.backend.clock, max_part_items=PART_ITEMS)
    before = set(await every_key(gateway.wire))
    done = await store.admit(gateway.mixed_batch())
    assert not done.stored
    assert [None if one is None else getattr(one, "policy", "") for one in done.results] == [
        *([None] * 4),
        *(["requests-per-minute"] * 4),
    ]
    assert scripts.left == -3  # one for the first part, one for the decision
    assert set(await every_key(gateway.wire)) == before
    now = to_ms(gateway.backend.clock.now())
    assert await gateway.wire.execute("ZCOUNT", keys.UNWRITTEN_BATCHES, "-inf", now) == 0
