"""A FastAPI route with a pydantic body that does nothing, and one without a body."""

from uuid import uuid4

from fastapi import FastAPI

from tests.bench.floors.bodies import Accepted, Kling, accepted

app = FastAPI()


@app.post("/v1/models/{model_id:path}", status_code=202)
async def submit(model_id: str, body: Kling) -> Accepted:
    """Validate and answer."""
    return accepted(f"{model_id[:5]}-{uuid4().hex}-{len(body.prompt)}")


@app.get("/v1/requests/{request_id}/status")
async def status(request_id: str) -> Accepted:
    """Answer."""
    return accepted(request_id)


@app.get("/healthz")
async def alive() -> dict[str, str]:
    """It runs."""
    return {"status": "ok"}
