"""With Redis's memory full nothing new is admitted, and everything that was paid for goes on."""

from pathlib import Path
from typing import Final

import httpx

from core.store.client import RedisClient
from core.store.server_check import parse_info
from simulator.demo import wait_for
from simulator.stack import Stack
from tests.support.redis import redis_client
from tests.support.stack import (
    END_TIMEOUT,
    TenantClient,
    paid_submits,
    runcomfy_pace,
    running_stack,
    tenant_client,
)

JOBS: Final = 60
FILLING: Final = b"x" * 65536
RUN_SECONDS: Final = "20..25"
"""Long enough for all to be submitted, and the memory filled, before the first one ends."""


async def test_with_memory_full_open_jobs_end_and_their_webhooks_leave(tmp_path: Path) -> None:
    pace = runcomfy_pace("0..0", RUN_SECONDS)
    with running_stack(tmp_path, runcomfy_options=pace) as stack, tenant_client(stack, "t") as t:
        ids = [t.submitted() for _ in range(JOBS)]
        wait_for(lambda: paid_submits(stack) == JOBS or None, END_TIMEOUT, "all paid submits")
        async with redis_client(stack.redis_url) as admin:
            await fill_memory(admin)
            refused = t.submit()
            assert (refused.status_code, refused.json()["code"]) == (503, "store_unavailable")
            assert "memory is full" in refused.json()["detail"]
            assert readiness(stack) == 200
            assert {t.wait_for_end(request_id) for request_id in ids} == {"completed"}
            wait_for(lambda: webhooks(stack) == JOBS or None, END_TIMEOUT, "all webhooks")
            assert await used_memory(admin) > 0
            assert t.submit().status_code == 503
        assert paid_submits(stack) == JOBS
        assert billed(t, ids) == {"yes"}
        assert readiness(stack) == 200


async def fill_memory(admin: RedisClient) -> None:
    """Leave no free memory: the next write that needs some is refused."""
    await admin.execute("CONFIG", "SET", "maxmemory-policy", "noeviction")
    used = await used_memory(admin)
    for number in range(32):
        await admin.execute("SET", f"filling:{number}", FILLING)
    await admin.execute("CONFIG", "SET", "maxmemory", used + len(FILLING))


async def used_memory(admin: RedisClient) -> int:
    """Redis's memory in use, in bytes."""
    return int(parse_info(await admin.execute("INFO", "memory"))["used_memory"])


def readiness(stack: Stack) -> int:
    """The status of the service's check for reads."""
    return httpx.get(f"{stack.url}/readyz", trust_env=False).status_code


def webhooks(stack: Stack) -> int:
    """How many events of ends the receiver has, each counted once."""
    answer = httpx.get(f"{stack.receiver.url}/_recv/calls?name=t", trust_env=False)
    return len({call["webhook_id"] for call in answer.json()["calls"]})


def billed(tenant: TenantClient, ids: list[str]) -> set[str]:
    """What the results say of the charge."""
    return {str(tenant.http.get(f"/v1/requests/{each}/result").json()["billed"]) for each in ids}
