"""What a store takes in, from whom, and who may read it afterwards."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from core.clock import to_ms
from core.errors import NotFound, NotPermitted, Unauthenticated
from core.jobs.job import JobRecord
from core.store.jobs import Depth
from core.tenants.api_keys import Credential, KeyRecord, Scope
from core.tenants.tenant import Tenant
from tests.contract.orders import BODY, SECOND, admission, admitted, credential, new_job

if TYPE_CHECKING:
    from tests.contract.subjects import Subject


async def key(subject: Subject, tenant: str, **changes: object) -> Credential:
    """A further tenant's key; `changes` are fields of the key or the tenant's `disabled`."""
    now = subject.clock.now()
    disabled = bool(changes.pop("disabled", False))
    record = replace(KeyRecord(f"digest-{tenant}", tenant, now), **changes)  # type: ignore[arg-type]  # its fields
    assert await subject.tenants.create(Tenant(tenant, now, disabled=disabled), record)
    return Credential(tenant, record.digest)


async def test_an_admitted_job_is_all_there(subject: Subject) -> None:
    job = await admitted(subject)
    now = to_ms(subject.clock.now())
    assert await subject.jobs.load(job.id) == JobRecord(job)
    assert await subject.jobs.input(job.id) == BODY
    assert await subject.probe.due() == {job.id: now + 5000}
    assert await subject.probe.tenant_jobs("ada") == {job.id: now}
    assert await subject.probe.states() == {"queued": 1}
    assert await subject.probe.bell() == {f"{job.id}:0": now}
    assert await subject.probe.doubts() == {}
    assert await subject.probe.life_of_job(job.id) is None


async def test_its_owner_reads_it_with_its_history(subject: Subject) -> None:
    job = await admitted(subject)
    view = await subject.jobs.read(credential(), job.id, Depth.ALL)
    assert view.record == JobRecord(job)
    assert [line.what for line in view.timeline] == ["admitted"]
    assert view.delivery_ids == ()


async def test_a_job_without_a_due_time_is_looked_for_after_the_ring(subject: Subject) -> None:
    job = replace(new_job(subject.clock.now()), due_at=None)
    await subject.jobs.admit(admission(job))
    assert await subject.probe.due() == {job.id: to_ms(subject.clock.now()) + 5000}


async def refused(subject: Subject, presented: Credential) -> type[Exception]:
    """The refusal of a submit; nothing of it may have been kept."""
    wish = replace(admission(new_job(subject.clock.now())), credential=presented)
    with pytest.raises((Unauthenticated, NotPermitted)) as refusal:
        await subject.jobs.admit(wish)
    assert await subject.jobs.load("req_1") is None
    assert await subject.jobs.input("req_1") is None
    assert await subject.probe.due() == {}
    assert await subject.probe.bell() == {}
    assert await subject.probe.states() == {}
    assert await subject.probe.tenant_jobs(presented.tenant) == {}
    return refusal.type


async def test_an_unknown_key_is_refused(subject: Subject) -> None:
    assert await refused(subject, Credential("ada", "digest-nobody")) is Unauthenticated


async def test_another_tenants_key_is_refused(subject: Subject) -> None:
    assert await refused(subject, Credential("ada", "digest-bob")) is Unauthenticated


async def test_an_expired_key_is_refused_from_its_instant_on(subject: Subject) -> None:
    ends = subject.clock.now() + SECOND
    presented = await key(subject, "cyd", expires_at=ends)
    await subject.jobs.authenticate(presented, Scope.SUBMIT)
    subject.clock.move(SECOND)
    assert await refused(subject, presented) is Unauthenticated


async def test_a_disabled_tenant_is_refused(subject: Subject) -> None:
    assert await refused(subject, await key(subject, "cyd", disabled=True)) is Unauthenticated


async def test_a_key_without_the_scope_is_refused(subject: Subject) -> None:
    scopes = frozenset({Scope.READ, Scope.CANCEL})
    assert await refused(subject, await key(subject, "cyd", scopes=scopes)) is NotPermitted


async def test_a_key_without_any_scope_is_known_and_may_nothing(subject: Subject) -> None:
    presented = await key(subject, "cyd", scopes=frozenset())
    await subject.jobs.authenticate(presented)
    assert await refused(subject, presented) is NotPermitted


@pytest.mark.parametrize("scope", Scope)
async def test_each_scope_opens_its_own_door_alone(subject: Subject, scope: Scope) -> None:
    presented = await key(subject, "cyd", scopes=frozenset({scope}))
    for asked in Scope:
        if asked is scope:
            await subject.jobs.authenticate(presented, asked)
        else:
            with pytest.raises(NotPermitted):
                await subject.jobs.authenticate(presented, asked)


@pytest.mark.parametrize("depth", Depth)
async def test_another_tenants_job_is_not_there(subject: Subject, depth: Depth) -> None:
    job = await admitted(subject)
    with pytest.raises(NotFound):
        await subject.jobs.read(credential("bob"), job.id, depth)


async def test_a_job_that_never_was_is_not_there(subject: Subject) -> None:
    with pytest.raises(NotFound):
        await subject.jobs.read(credential(), "req_none", Depth.ALL)
    assert await subject.jobs.load("req_none") is None
    assert await subject.jobs.input("req_none") is None


async def test_reading_takes_the_scope_that_it_is_for(subject: Subject) -> None:
    job = await admitted(subject, tenant="ada")
    presented = await key(subject, "cyd", scopes=frozenset({Scope.READ}))
    with pytest.raises(NotPermitted):
        await subject.jobs.read(presented, job.id, Depth.STATUS, Scope.CANCEL)
    with pytest.raises(NotFound):
        await subject.jobs.read(presented, job.id, Depth.STATUS)


async def test_a_wrong_key_learns_nothing_of_a_job(subject: Subject) -> None:
    await admitted(subject)
    with pytest.raises(Unauthenticated):
        await subject.jobs.read(Credential("ada", "digest-nobody"), "req_1", Depth.ALL)
