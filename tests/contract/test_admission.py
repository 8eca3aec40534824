"""Which keys may submit a job, and which may read it afterwards."""

from dataclasses import replace

import pytest

from core.clock import to_ms
from core.errors import NotFound, NotPermitted, Unauthenticated
from core.jobs.job import JobRecord
from core.jobs.submission import IdempotencyRecord, Submission
from core.money import MicroUsd
from core.store.jobs import Projection
from core.tenants.api_keys import ApiKey, Credential, Scope
from core.tenants.tenant import Tenant
from core.transactions.admission import IdempotencyClaim
from tests.support.backends import StoreBackend
from tests.support.store_steps import (
    BODY,
    SECOND,
    admission_of,
    admit_job,
    new_job,
    tenant_credential,
)


async def add_key(backend: StoreBackend, tenant: str, **changes: object) -> Credential:
    """The credential of a third tenant; `changes` are fields of its key, or of the tenant."""
    now = backend.clock.now()
    disabled = bool(changes.pop("disabled", False))
    keep_inputs = bool(changes.pop("keep_inputs", True))
    record = replace(ApiKey(f"digest-{tenant}", tenant, now), **changes)  # type: ignore[arg-type]  # its fields
    assert await backend.tenants.create(
        Tenant(tenant, now, disabled=disabled, keep_inputs=keep_inputs), record
    )
    return Credential(tenant, record.digest)


async def test_an_admitted_job_is_all_there(backend: StoreBackend) -> None:
    job = await admit_job(backend)
    now = to_ms(backend.clock.now())
    assert await backend.jobs.load(job.id) == JobRecord(job)
    assert await backend.jobs.load_input(job.id) == BODY
    assert await backend.probe.due() == {job.id: now + 5000}
    assert await backend.probe.tenant_jobs("ada") == {job.id: now}
    assert await backend.probe.states() == {"queued": 1}
    assert await backend.probe.wake_queue() == {f"{job.id}:0": now}
    assert await backend.probe.in_doubt() == {}
    assert await backend.probe.ttl_of_job(job.id) is None


async def test_a_submit_gets_all_that_the_journal_keeps(backend: StoreBackend) -> None:
    job = replace(new_job(backend.clock.now()), estimate=MicroUsd(840_000))
    await backend.jobs.admit(
        replace(admission_of(job), idempotency=IdempotencyClaim("digest", "sent"))
    )
    assert await backend.jobs.load_submission(job) == Submission(
        BODY, MicroUsd(840_000), idempotency=IdempotencyRecord("digest", "sent")
    )


async def test_a_submit_knows_that_its_input_may_not_be_kept(backend: StoreBackend) -> None:
    credential = await add_key(backend, "cy", keep_inputs=False)
    job = new_job(backend.clock.now(), "req_1", "cy")
    await backend.jobs.admit(replace(admission_of(job), credential=credential))
    found = await backend.jobs.load_submission(job)
    assert found is not None
    assert (found.keeps_input, found.idempotency) == (False, None)


async def test_a_submit_without_an_input_is_none(backend: StoreBackend) -> None:
    assert await backend.jobs.load_submission(new_job(backend.clock.now())) is None


async def test_its_owner_reads_it_with_its_history(backend: StoreBackend) -> None:
    job = await admit_job(backend)
    view = await backend.jobs.read(tenant_credential(), job.id, Projection.ALL)
    assert view.record == JobRecord(job)
    assert [line.code for line in view.timeline] == ["admitted"]
    assert view.delivery_ids == ()


async def test_a_job_without_a_due_time_is_looked_for_after_the_ring(backend: StoreBackend) -> None:
    job = replace(new_job(backend.clock.now()), next_run_at=None)
    await backend.jobs.admit(admission_of(job))
    assert await backend.probe.due() == {job.id: to_ms(backend.clock.now()) + 5000}


async def assert_refused(backend: StoreBackend, presented: Credential) -> type[Exception]:
    """The error of a refused submit, of which nothing may be stored."""
    wish = replace(admission_of(new_job(backend.clock.now())), credential=presented)
    with pytest.raises((Unauthenticated, NotPermitted)) as refusal:
        await backend.jobs.admit(wish)
    assert await backend.jobs.load("req_1") is None
    assert await backend.jobs.load_input("req_1") is None
    assert await backend.probe.due() == {}
    assert await backend.probe.wake_queue() == {}
    assert await backend.probe.states() == {}
    assert await backend.probe.tenant_jobs(presented.tenant) == {}
    return refusal.type


async def test_an_unknown_key_is_refused(backend: StoreBackend) -> None:
    assert await assert_refused(backend, Credential("ada", "digest-nobody")) is Unauthenticated


async def test_another_tenants_key_is_refused(backend: StoreBackend) -> None:
    assert await assert_refused(backend, Credential("ada", "digest-bob")) is Unauthenticated


async def test_an_expired_key_is_refused_from_its_instant_on(backend: StoreBackend) -> None:
    ends = backend.clock.now() + SECOND
    presented = await add_key(backend, "cyd", expires_at=ends)
    await backend.jobs.authenticate(presented, Scope.SUBMIT)
    backend.clock.move(SECOND)
    assert await assert_refused(backend, presented) is Unauthenticated


async def test_a_disabled_tenant_is_refused(backend: StoreBackend) -> None:
    assert (
        await assert_refused(backend, await add_key(backend, "cyd", disabled=True))
        is Unauthenticated
    )


async def test_a_key_without_the_scope_is_refused(backend: StoreBackend) -> None:
    scopes = frozenset({Scope.READ, Scope.CANCEL})
    assert (
        await assert_refused(backend, await add_key(backend, "cyd", scopes=scopes)) is NotPermitted
    )


async def test_a_key_without_any_scope_is_known_and_may_nothing(backend: StoreBackend) -> None:
    presented = await add_key(backend, "cyd", scopes=frozenset())
    await backend.jobs.authenticate(presented)
    assert await assert_refused(backend, presented) is NotPermitted


@pytest.mark.parametrize("scope", Scope)
async def test_each_scope_opens_its_own_door_alone(backend: StoreBackend, scope: Scope) -> None:
    presented = await add_key(backend, "cyd", scopes=frozenset({scope}))
    for asked in Scope:
        if asked is scope:
            await backend.jobs.authenticate(presented, asked)
        else:
            with pytest.raises(NotPermitted):
                await backend.jobs.authenticate(presented, asked)


@pytest.mark.parametrize("depth", Projection)
async def test_another_tenants_job_is_not_there(backend: StoreBackend, depth: Projection) -> None:
    job = await admit_job(backend)
    with pytest.raises(NotFound):
        await backend.jobs.read(tenant_credential("bob"), job.id, depth)


async def test_a_job_that_never_was_is_not_there(backend: StoreBackend) -> None:
    with pytest.raises(NotFound):
        await backend.jobs.read(tenant_credential(), "req_none", Projection.ALL)
    assert await backend.jobs.load("req_none") is None
    assert await backend.jobs.load_input("req_none") is None


async def test_reading_takes_the_scope_that_it_is_for(backend: StoreBackend) -> None:
    job = await admit_job(backend, tenant="ada")
    presented = await add_key(backend, "cyd", scopes=frozenset({Scope.READ}))
    with pytest.raises(NotPermitted):
        await backend.jobs.read(presented, job.id, Projection.STATUS, Scope.CANCEL)
    with pytest.raises(NotFound):
        await backend.jobs.read(presented, job.id, Projection.STATUS)


async def test_a_wrong_key_learns_nothing_of_a_job(backend: StoreBackend) -> None:
    await admit_job(backend)
    with pytest.raises(Unauthenticated):
        await backend.jobs.read(Credential("ada", "digest-nobody"), "req_1", Projection.ALL)
