"""Health checks and metrics, for monitoring. No authentication is required."""

import asyncio
from typing import Final

import orjson
from starlette.requests import Request
from starlette.responses import Response

from core.circuit_breaker import BreakerReason, BreakerState, CircuitBreaker
from core.errors import StoreUnavailable
from service.api.schemas import HEALTH_EXAMPLE, NOT_READY_EXAMPLE, READY_EXAMPLE
from service.context import AppContext, app_context
from service.http.api_operation import (
    ApiOperation,
    JsonObject,
    Tag,
    json_bytes_response,
    json_response,
)
from service.http.openapi import response_spec

OK: Final = "ok"
NO_ANSWER: Final = "no_answer"
NOT_SEEN: Final = "not_seen"
UNCHECKED: Final = "unchecked"
REFUSED: Final = "refused"
FAILING: Final = "failing"
UNREADY: Final = frozenset({NO_ANSWER, NOT_SEEN, REFUSED})
_ALIVE: Final = orjson.dumps({"status": OK})


async def healthz(_: Request) -> Response:
    """Report that the process answers. An outage of Redis must not restart it."""
    return json_bytes_response(_ALIVE)


async def readyz(request: Request) -> Response:
    """Report whether Redis answers, a worker was seen recently, and RunComfy accepts the account.

    An open circuit breaker alone does not make the service unready: jobs wait, and reads work.
    """
    checks = await _checks(app_context(request.scope))
    ready = UNREADY.isdisjoint(checks.values())
    document = {"status": "ready" if ready else "not_ready", "checks": checks}
    return json_response(document, 200 if ready else 503)


async def _checks(context: AppContext) -> dict[str, str]:
    try:
        seen, breaker = await asyncio.gather(
            context.worker_heartbeats.last_seen(), context.circuit_breaker.load()
        )
    except StoreUnavailable:
        return {"redis": NO_ANSWER, "worker": UNCHECKED, "upstream": UNCHECKED}
    oldest = context.clock.now() - context.policy.worker_timeout
    return {
        "redis": OK,
        "worker": OK if seen and seen >= oldest else NOT_SEEN,
        "upstream": _upstream_check(breaker),
    }


def _upstream_check(breaker: CircuitBreaker) -> str:
    if breaker.state is BreakerState.CLOSED:
        return OK
    return REFUSED if breaker.reason is BreakerReason.ACCOUNT_REFUSED else FAILING


async def metrics(request: Request) -> Response:
    """Return the metrics in Prometheus' text format."""
    renderer = app_context(request.scope).metrics
    return Response(await renderer.render(), headers={"content-type": renderer.content_type})


_NO_AUTHENTICATION: Final[JsonObject] = {"security": []}
_METRICS_RESPONSE: Final = {
    "description": "The metrics.",
    "content": {
        "text/plain": {
            "schema": {"type": "string"},
            "example": 'gateway_build_info{version="0.1.0"} 1.0\n',
        }
    },
}

OPERATIONS: Final = (
    ApiOperation(
        "GET",
        "/healthz",
        healthz,
        "healthz",
        "Liveness check",
        Tag.HEALTH,
        {200: response_spec("The process answers.", "Health", HEALTH_EXAMPLE)},
        _NO_AUTHENTICATION,
    ),
    ApiOperation(
        "GET",
        "/readyz",
        readyz,
        "readyz",
        "Readiness check",
        Tag.HEALTH,
        {
            200: response_spec(
                "Redis answers, a worker was seen, RunComfy accepts the account.",
                "Readiness",
                READY_EXAMPLE,
            ),
            503: response_spec(
                "A check failed; `checks` names it.", "Readiness", NOT_READY_EXAMPLE
            ),
        },
        _NO_AUTHENTICATION,
    ),
    ApiOperation(
        "GET",
        "/metrics",
        metrics,
        "metrics",
        "Metrics",
        Tag.HEALTH,
        {200: _METRICS_RESPONSE},
        _NO_AUTHENTICATION,
    ),
)
