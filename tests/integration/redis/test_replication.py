"""With `GATEWAY_REDIS_REPLICAS` nothing counts as stored that a fail-over could lose."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from datetime import timedelta

import pytest

from core.errors import StoreTimeout
from core.jobs.job import JobState
from core.store.client import RedisClient
from core.store.scripts import LuaScripts, load_scripts
from core.store.stores import Stores, open_stores
from core.tenants.api_keys import ApiKey
from core.tenants.tenant import Tenant
from core.transactions.job_update import WriteResult
from simulator.private_redis import LOOPBACK, PrivateRedis, private_redis
from tests.support.clock import FakeClock
from tests.support.records import POLICY, MidpointRandom
from tests.support.redis import redis_client
from tests.support.store_steps import admission_of, new_job, tenant_credential
from worker.jobs.decisions.submit import claim_submit
from worker.jobs.decisions.transition import DecisionContext

LIMIT = timedelta(seconds=60)
CLOCK = FakeClock()


@pytest.fixture
def replica() -> Iterator[PrivateRedis]:
    with private_redis() as server:
        yield server


@pytest.fixture
async def wire(own_redis: PrivateRedis, replica: PrivateRedis) -> AsyncIterator[RedisClient]:
    """A client that waits for one replica, which is in step."""
    async with redis_client(replica.url) as follower:
        await follower.execute("REPLICAOF", LOOPBACK, own_redis.port)
    async with redis_client(own_redis.url, replicas=1) as client:
        async with asyncio.timeout(LIMIT.total_seconds()):
            while await client.execute("WAIT", 1, 1000) < 1:
                pass
        yield client


async def stores_with_a_tenant(client: RedisClient) -> Stores:
    stores = open_stores(client, LuaScripts(client, load_scripts()), CLOCK)
    credential = tenant_credential()
    key = ApiKey(credential.digest, credential.tenant, CLOCK.now())
    await stores.tenants.create(Tenant(credential.tenant, CLOCK.now()), key)
    return stores


async def test_many_writes_wait_for_the_replica_together(wire: RedisClient) -> None:
    await wire.execute("CONFIG", "RESETSTAT")
    answers = await asyncio.gather(
        *(wire.execute_replicated("SET", f"k{number}", number) for number in range(50))
    )
    assert set(answers) == {b"OK"}
    stats = await wire.execute("INFO", "commandstats")
    assert b"cmdstat_wait:calls=1," in stats


async def test_what_was_accepted_is_on_the_replica(
    wire: RedisClient, replica: PrivateRedis
) -> None:
    stores = await stores_with_a_tenant(wire)
    job = new_job(CLOCK.now())
    await stores.jobs.admit(admission_of(job))
    claim = claim_submit(job, CLOCK.now(), DecisionContext("w", POLICY, MidpointRandom()))
    assert await stores.jobs.store(claim) is WriteResult.STORED
    async with redis_client(replica.url) as follower:
        copies = open_stores(follower, LuaScripts(follower, load_scripts()), CLOCK)
        record = await copies.jobs.load(job.id)
    assert record is not None
    assert record.job.state is JobState.SUBMITTING


async def test_without_the_replica_nothing_is_accepted_or_claimed(
    wire: RedisClient, replica: PrivateRedis
) -> None:
    stores = await stores_with_a_tenant(wire)
    first, second = new_job(CLOCK.now()), new_job(CLOCK.now(), "req_2")
    await stores.jobs.admit(admission_of(first))
    replica.kill()
    with pytest.raises(StoreTimeout, match="replicas"):
        await stores.jobs.admit(admission_of(second))
    claim = claim_submit(first, CLOCK.now(), DecisionContext("w", POLICY, MidpointRandom()))
    with pytest.raises(StoreTimeout):
        await stores.jobs.store(claim)
    record = await stores.jobs.load(first.id)
    assert record is not None, "reads go on"
    assert record.job.state is JobState.SUBMITTING, "the claim is stored, and is taken back"


async def test_a_command_that_fails_leaves_no_wait_behind(wire: RedisClient) -> None:
    with suppress(Exception):
        await wire.execute_replicated("EVAL", "return redis.error_reply('no')", 0)
    assert await wire.execute_replicated("SET", "k", 1) == b"OK"


async def test_without_replicas_nothing_waits(own_redis: PrivateRedis) -> None:
    async with redis_client(own_redis.url) as client:
        await client.execute_replicated("SET", "k", 1)
        assert b"cmdstat_wait" not in await client.execute("INFO", "commandstats")
