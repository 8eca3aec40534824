"""A FastAPI route with a pydantic body that does nothing, and one without a body."""

from uuid import uuid4

from fastapi import FastAPI

from tests.bench.baselines.bodies import AcceptedResponse, Kling, accepted_response

app = FastAPI()


@app.post("/v1/models/{model_id:path}", status_code=202)
async def submit(model_id: str, body: Kling) -> AcceptedResponse:
    """Validate and answer."""
    return accepted_response(f"{model_id[:5]}-{uuid4().hex}-{len(body.prompt)}")


@app.get("/v1/requests/{request_id}/status")
async def status(request_id: str) -> AcceptedResponse:
    """Answer."""
    return accepted_response(request_id)


@app.get("/healthz")
async def alive() -> dict[str, str]:
    """Answer the liveness check."""
    return {"status": "ok"}
