"""The checks and writes of an admission, one Redis call after another."""

import hashlib
import os
import time
from typing import Annotated
from uuid import uuid4

from fastapi import FastAPI, Header, HTTPException
from redis.asyncio import Redis

from tests.bench.baselines.bodies import AcceptedResponse, Kling, accepted_response

app = FastAPI()
redis: Redis = Redis.from_url(os.environ["BENCH_REDIS_URL"])
UNREACHABLE_LIMIT = 10**9


async def count_in_window(key: str, by: int, life: int) -> None:
    """Count in a window, and refuse above its limit."""
    used = await redis.incrby(key, by)
    if used == by:
        await redis.expire(key, life)
    if used > UNREACHABLE_LIMIT:
        raise HTTPException(429)


@app.post("/v1/models/{model_id:path}", status_code=202)
async def submit(
    model_id: str,
    body: Kling,
    authorization: Annotated[str, Header()] = "",
    idempotency_key: Annotated[str, Header()] = "",
) -> AcceptedResponse:
    """Key, idempotency, rate, windows of jobs and money, record, indexes, queue."""
    now, job_id = time.time(), uuid4().hex
    digest = hashlib.sha256(authorization.encode()).hexdigest()
    tenant = await redis.hget("floor:keys", digest) or b"bench"  # type: ignore[misc]  # redis-py 5
    name = tenant.decode() if isinstance(tenant, bytes) else tenant
    if idempotency_key:
        fresh = await redis.set(f"floor:once:{idempotency_key}", job_id, nx=True, ex=86_400)
        if not fresh:
            raise HTTPException(409)
    await count_in_window(f"floor:rate:{name}:{int(now / 60)}", 1, 60)
    await count_in_window(f"floor:day:{name}", 1, 86_400)
    await count_in_window(f"floor:usd:{name}", 1, 86_400)
    document = body.model_dump_json()
    await redis.hset(f"floor:job:{job_id}", mapping={"model": model_id, "doc": document})  # type: ignore[misc]  # redis-py 5
    await redis.zadd(f"floor:jobs:{name}", {job_id: now})
    await redis.zadd("floor:due", {job_id: now})
    await redis.rpush("floor:waiting", job_id)  # type: ignore[misc]  # redis-py 5
    return accepted_response(job_id)


@app.get("/healthz")
async def alive() -> dict[str, str]:
    """Answer the liveness check."""
    return {"status": "ok"}
