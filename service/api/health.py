"""Health checks, for orchestrators. No authentication is required."""

import asyncio
from datetime import timedelta
from typing import Annotated, Any, Final, Literal

import orjson
from fastapi import Query
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from core.errors import StoreUnavailable
from core.runcomfy_account import account_issue
from core.upstream.circuit_breaker import BreakerReason, BreakerState, CircuitBreaker
from core.upstream.circuits import ACCOUNT
from service.context import AppContext
from service.http.dependencies import Context
from service.http.json_response import json_bytes_response, json_response
from service.http.openapi import Tag, json_content, problem_responses
from service.http.strict_route import FastRoute, api_router
from service.parsing.request_models import RequestModel

OK: Final = "ok"
NO_ANSWER: Final = "no_answer"
NOT_SEEN: Final = "not_seen"
UNCHECKED: Final = "unchecked"
REFUSED: Final = "refused"
FAILING: Final = "failing"
UNKNOWN: Final = "unknown"
"""Redis is empty: it has neither an identity nor a tenant."""
OTHER_ACCOUNT: Final = "other_account"
"""The jobs in Redis are paid by another RunComfy account, or are simulated and these are not."""
STOPPING: Final = "stopping"
"""The process ends soon: a balancer is to choose another."""
UNREADY_TO_SUBMIT: Final = frozenset({NO_ANSWER, UNKNOWN, OTHER_ACCOUNT, NOT_SEEN, REFUSED})
PATIENCE: Final = timedelta(seconds=2)
"""How long Redis may take: a load balancer gives up soon."""
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


class ReadinessQuery(RequestModel):
    """What to check readiness for."""

    question: Annotated[
        Literal["reads", "submit"],
        Field(
            alias="for",
            description="`reads`: Redis answers. `submit`: a worker can submit to RunComfy too.",
        ),
    ] = "reads"


check_router = api_router(Tag.HEALTH)


@check_router.get(
    "/readyz",
    responses={
        200: json_content("The service can do what `for` names.", "Readiness"),
        503: json_content("It cannot; `checks` names the reason.", "Readiness"),
        **problem_responses(400),
    },
    openapi_extra=_NO_AUTHENTICATION,
)
async def readyz(context: Context, query: Annotated[ReadinessQuery, Query()]) -> Response:
    """Readiness check.

    Whether the service can answer reads, for which it needs Redis alone: an absent worker or
    RunComfy must not take results, events and usage from a load balancer. `?for=submit` also
    requires a worker, and that RunComfy accepts the account. The document has both answers. A
    service that is about to stop (`GATEWAY_SHUTDOWN_DELAY`) is ready for neither.
    """
    checks = await _checks(context)
    ready = {
        "reads": checks["redis"] == OK,
        "submit": UNREADY_TO_SUBMIT.isdisjoint(checks.values()),
    }
    if context.is_stopping():
        checks |= {"service": STOPPING}
        ready = dict.fromkeys(ready, False)
    is_ready = ready[query.question]
    document = {"status": "ready" if is_ready else "not_ready", "ready_for": ready}
    return json_response(document | {"checks": checks}, 200 if is_ready else 503)


async def _checks(context: AppContext) -> dict[str, str]:
    try:
        async with asyncio.timeout(PATIENCE.total_seconds()):
            seen, breakers, position = await asyncio.gather(
                context.stores.heartbeats.last_seen(),
                context.stores.circuit_breakers.load_all(),
                context.stores.identity.load(),
            )
            if position is None and not await context.stores.tenants.list_names():
                return {"redis": UNKNOWN, "worker": UNCHECKED, "upstream": UNCHECKED}
            if position is not None and account_issue(position.account, context.policy.account):
                await context.stores.identity.disconnect()
                return {"redis": OTHER_ACCOUNT, "worker": UNCHECKED, "upstream": UNCHECKED}
    except (StoreUnavailable, TimeoutError):
        return {"redis": NO_ANSWER, "worker": UNCHECKED, "upstream": UNCHECKED}
    oldest = context.clock.now() - context.policy.worker_timeout
    return {
        "redis": OK,
        "worker": OK if seen and seen >= oldest else NOT_SEEN,
        "upstream": _upstream_check(breakers.get(ACCOUNT, CircuitBreaker())),
    }


def _upstream_check(breaker: CircuitBreaker) -> str:
    if breaker.state is BreakerState.CLOSED:
        return OK
    return REFUSED if breaker.reason is BreakerReason.ACCOUNT_REFUSED else FAILING
