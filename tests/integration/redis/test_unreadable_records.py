"""A record of another release is set aside: no worker dies of it, no other job waits for it."""

from collections.abc import AsyncIterator
from datetime import timedelta

import orjson
import pytest

from core.errors import RecordUnreadable
from core.jobs.query import JobQuery
from core.store import keys
from core.store.client import RedisClient
from core.store.jobs import Projection
from core.tenants.api_keys import ApiKey
from core.tenants.tenant import Tenant
from tests.support.backends import StoreBackend, redis_backend
from tests.support.clock import FakeClock
from tests.support.redis import redis_client
from tests.support.store_steps import admit_job, tenant_credential

LEASE = timedelta(seconds=15)


@pytest.fixture
async def wire(redis_flushed: str) -> AsyncIterator[RedisClient]:
    """A client of an empty Redis."""
    async with redis_client(redis_flushed) as client:
        yield client


@pytest.fixture
async def backend(wire: RedisClient) -> StoreBackend:
    """Stores over Redis with one tenant."""
    backend = redis_backend(FakeClock(), wire)
    now = backend.clock.now()
    await backend.tenants.create(Tenant("ada", now), ApiKey("digest-ada", "ada", now))
    return backend


async def rewrite(wire: RedisClient, job_id: str, state: str) -> None:
    """Store a state in a job's record as another release would."""
    document = orjson.loads(await wire.execute("HGET", keys.job(job_id), "doc"))
    await wire.execute("HSET", keys.job(job_id), "doc", orjson.dumps(document | {"state": state}))


async def test_others_are_claimed_and_it_is_claimed_again_when_requeued(
    backend: StoreBackend, wire: RedisClient
) -> None:
    broken = (await admit_job(backend, "req_1")).id
    whole = (await admit_job(backend, "req_2")).id
    backend.clock.shift(LEASE)
    await rewrite(wire, broken, "dreaming")
    assert [job.id for job in await backend.jobs.claim_due(LEASE, 10)] == [whole]
    assert [job.job_id for job in await backend.admin.list_unreadable(10)] == [broken]
    backend.clock.shift(LEASE * 2)
    assert [job.id for job in await backend.jobs.claim_due(LEASE, 10)] == [whole]
    await rewrite(wire, broken, "queued")
    assert await backend.admin.requeue_unreadable(broken)
    assert not await backend.admin.requeue_unreadable(broken)
    assert [job.id for job in await backend.jobs.claim_due(LEASE, 10)] == [broken]
    assert not await backend.admin.list_unreadable(10)


async def test_its_owner_reads_503_and_the_lists_leave_it_out(
    backend: StoreBackend, wire: RedisClient
) -> None:
    broken = (await admit_job(backend, "req_1")).id
    whole = (await admit_job(backend, "req_2")).id
    backend.clock.shift(LEASE)
    await rewrite(wire, broken, "dreaming")
    with pytest.raises(RecordUnreadable):
        await backend.jobs.read(tenant_credential("ada"), broken, Projection.ALL)
    page = await backend.job_index.list_page(tenant_credential("ada"), JobQuery())
    assert [job.id for job in page.items] == [whole]
