"""Health checks and metrics, for monitoring. No authentication is required."""

import asyncio
from typing import Any, Final

import orjson
from starlette.requests import Request
from starlette.responses import Response

from core.circuit_breaker import BreakerReason, BreakerState, CircuitBreaker
from core.errors import StoreUnavailable
from service.context import AppContext, app_context
from service.http.json_response import json_bytes_response, json_response
from service.http.openapi import Tag, json_content, ref
from service.http.strict_route import FastRoute, api_router

OK: Final = "ok"
NO_ANSWER: Final = "no_answer"
NOT_SEEN: Final = "not_seen"
UNCHECKED: Final = "unchecked"
REFUSED: Final = "refused"
FAILING: Final = "failing"
UNKNOWN: Final = "unknown"
"""Redis is empty: it has neither an identity nor a tenant."""
UNREADY: Final = frozenset({NO_ANSWER, UNKNOWN, NOT_SEEN, REFUSED})
_ALIVE: Final = orjson.dumps({"status": OK})


router = api_router(Tag.HEALTH, route=FastRoute)
_NO_AUTHENTICATION: Final[dict[str, Any]] = {"security": []}


@router.get(
    "/healthz",
    responses={200: json_content("The process answers.", "Health")},
    openapi_extra=_NO_AUTHENTICATION,
)
async def healthz(_: Request) -> Response:
    """Liveness check.

    Only that the process answers: an outage of Redis must not restart it.
    """
    return json_bytes_response(_ALIVE)


@router.get(
    "/readyz",
    responses={
        200: json_content(
            "Redis answers, a worker was seen, RunComfy accepts the account.", "Readiness"
        ),
        503: json_content("A check failed; `checks` names it.", "Readiness"),
    },
    openapi_extra=_NO_AUTHENTICATION,
)
async def readyz(request: Request) -> Response:
    """Readiness check.

    Whether Redis answers, a worker was seen recently, and RunComfy accepts the account. An open
    circuit breaker alone does not make the service unready: jobs wait, and reads work.
    """
    checks = await _checks(app_context(request.scope))
    ready = UNREADY.isdisjoint(checks.values())
    document = {"status": "ready" if ready else "not_ready", "checks": checks}
    return json_response(document, 200 if ready else 503)


async def _checks(context: AppContext) -> dict[str, str]:
    try:
        seen, breaker, position = await asyncio.gather(
            context.stores.heartbeats.last_seen(),
            context.stores.circuit_breakers.load(),
            context.stores.identity.load(),
        )
        if position is None and not await context.stores.tenants.list_names():
            return {"redis": UNKNOWN, "worker": UNCHECKED, "upstream": UNCHECKED}
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


@router.get(
    "/metrics",
    responses={
        200: {
            "description": "The metrics.",
            "content": {"text/plain": {"schema": ref("PrometheusText")}},
        }
    },
    openapi_extra=_NO_AUTHENTICATION,
)
async def metrics(request: Request) -> Response:
    """Metrics in Prometheus' text format."""
    renderer = app_context(request.scope).metrics
    return Response(await renderer.render(), headers={"content-type": renderer.content_type})
