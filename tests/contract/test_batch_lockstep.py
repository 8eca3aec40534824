"""Batches in one step and in parts, on Redis and in memory: the same limits, the same answers."""

from dataclasses import replace
from random import Random
from typing import Any, Final

import pytest

from core.batches import AdmissionMode, Batch
from core.errors import CallerError
from core.money import MicroUsd
from core.tenants.api_keys import ApiKey
from core.tenants.cache_policy import CacheOption
from core.tenants.limits import Limits
from core.tenants.tenant import Tenant
from core.transactions.admission import (
    Admission,
    AdmissionResult,
    BatchAdmission,
    BatchAdmissionResult,
    CacheRequest,
)
from service.batches.admission import quotas_after
from tests.support.backends import StoreBackend, memory_backend, redis_backend
from tests.support.clock import FakeClock
from tests.support.redis import redis_client
from tests.support.store_steps import SECOND, admission_of, new_job

BATCHES: Final = 6
MAX_ITEMS: Final = 7


def some_limits(rng: Random) -> Limits:
    """A few limits that a batch or two use up."""

    def maybe(*values: int) -> Any:  # noqa: ANN401 - counts and amounts
        return rng.choice([None, None, *values])

    return Limits(
        requests_per_minute=maybe(0, 3, 8, 600),
        burst=maybe(1, 4),
        jobs_per_day=maybe(0, 5, 12),
        jobs_per_month=maybe(6, 9),
        usd_per_request=maybe(30, 300),
        usd_per_day=maybe(100, 400),
        usd_per_week=maybe(90, 1000),
        running=maybe(1, 3),
        waiting=maybe(0, 2, 5),
        stored_bytes=maybe(100, 400),
        models=rng.choice([(), (), ("kling/*",)]),
    )


def some_item(rng: Random, name: str, batch: str, backend: StoreBackend) -> Admission:
    now = backend.clock.now()
    job = replace(
        new_job(now, name),
        next_run_at=None,
        batch=batch,
        fingerprint=f"1:{rng.randrange(6)}",
        model_id=rng.choice(["kling/standard", "kling/pro", "flux"]),
        estimate=rng.choice([MicroUsd(10), MicroUsd(50), MicroUsd(200), None]),
        priority=rng.choice([0, 1, 2]),
        not_before=rng.choice([None, None, now + 60 * SECOND]),
    )
    cache = CacheRequest(rng.choice(list(CacheOption)))
    return replace(admission_of(job), cache=cache, input=b"x" * rng.randrange(2, 60))


def some_batch(seed: int, number: int, backend: StoreBackend) -> BatchAdmission:
    rng, batch = Random(f"{seed} {number}"), f"bat_{number}"
    size = rng.randrange(1, MAX_ITEMS + 1)
    items = tuple(some_item(rng, f"req_{number}_{at}", batch, backend) for at in range(size))
    mode = rng.choice(list(AdmissionMode))
    return BatchAdmission(Batch(batch, "ada", backend.clock.now(), size, mode), items)


def readable(done: BatchAdmissionResult) -> list[object]:
    """What a caller learns from an admission."""
    found: list[object] = [done.stored]
    for one in done.results:
        if isinstance(one, AdmissionResult):
            found.append((one.cache_status, one.reserved, one.has_slot))
        elif isinstance(one, CallerError):
            wait = one.retry_after and round(one.retry_after.total_seconds())
            found.append((type(one), getattr(one, "policy", None), wait))
        else:
            found.append(one)
    return [*found, *quotas_after(done)]


async def state_of(backend: StoreBackend) -> list[object]:
    return [
        await backend.probe.states(),
        await backend.probe.tenant_jobs("ada"),
        sorted(await backend.probe.due()),
    ]


async def run(backend: StoreBackend, seed: int) -> list[object]:
    """Everything that can be seen of a few random batches."""
    rng, now = Random(seed), backend.clock.now()
    tenant = Tenant("ada", now, limits=some_limits(rng))
    assert await backend.tenants.create(tenant, ApiKey("digest-ada", "ada", now))
    seen: list[object] = []
    for number in range(BATCHES):
        seen.append(readable(await backend.batches.admit(some_batch(seed, number, backend))))
        seen.append(await state_of(backend))
        backend.clock.move(rng.choice([1, 20]) * SECOND)
    return seen


@pytest.mark.parametrize("seed", range(30))
async def test_parts_change_no_answer(redis_flushed: str, seed: int) -> None:
    expected = await run(memory_backend(FakeClock()), seed)
    for part_items in (100, 1, 3):
        async with redis_client(redis_flushed) as wire:
            await wire.execute("FLUSHALL")
            seen = await run(redis_backend(FakeClock(), wire, part_items), seed)
        for number, (one, other) in enumerate(zip(seen, expected, strict=True)):
            assert one == other, f"step {number} in parts of {part_items}"
