"""The same route with one Redis call by redis-py."""

import os
from uuid import uuid4

from fastapi import FastAPI
from redis.asyncio import Redis

from tests.bench.baselines.bodies import AcceptedResponse, Kling, accepted_response

app = FastAPI()
redis: Redis = Redis.from_url(os.environ["BENCH_REDIS_URL"])


@app.post("/v1/models/{model_id:path}", status_code=202)
async def submit(model_id: str, body: Kling) -> AcceptedResponse:
    """Validate, store, answer."""
    job_id = uuid4().hex
    await redis.set(f"floor:{job_id}", body.model_dump_json(), ex=600)
    return accepted_response(f"{model_id[:5]}-{job_id}")


@app.get("/v1/requests/{request_id}/status")
async def status(request_id: str) -> AcceptedResponse:
    """Look up and answer."""
    await redis.get(f"floor:{request_id}")
    return accepted_response(request_id)


@app.get("/healthz")
async def alive() -> dict[str, str]:
    """Answer the liveness check."""
    return {"status": "ok"}
