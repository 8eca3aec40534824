"""A minimal gateway: FastAPI, pydantic, arq's `enqueue_job`. No key, no limits."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated
from uuid import uuid4

from arq import create_pool
from arq.connections import ArqRedis, RedisSettings
from fastapi import Depends, FastAPI, Request

from tests.bench.baselines.bodies import AcceptedResponse, Kling, accepted_response


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Open arq's pool."""
    settings = RedisSettings.from_dsn(os.environ["BENCH_REDIS_URL"])
    app.state.queue = await create_pool(settings, default_queue_name="floor:queue")
    yield
    await app.state.queue.close()


app = FastAPI(lifespan=lifespan)


def queue(request: Request) -> ArqRedis:
    """The pool."""
    pool: ArqRedis = request.app.state.queue
    return pool


@app.post("/v1/models/{model_id:path}", status_code=202)
async def submit(
    model_id: str, body: Kling, pool: Annotated[ArqRedis, Depends(queue)]
) -> AcceptedResponse:
    """Validate, enqueue, answer."""
    job_id = uuid4().hex
    await pool.enqueue_job("run", model_id, body.model_dump(), _job_id=job_id)
    return accepted_response(job_id)


@app.get("/healthz")
async def alive() -> dict[str, str]:
    """Answer the liveness check."""
    return {"status": "ok"}
