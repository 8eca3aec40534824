"""Health and figures, for machines that watch the process. No key is asked for."""

import asyncio
from typing import Final

import orjson
from starlette.requests import Request
from starlette.responses import Response

from core.circuit_breaker import Breaker, BreakerReason, BreakerState
from core.errors import StoreUnavailable
from service.api.schemas import HEALTH_EXAMPLE, READY_EXAMPLE, UNREADY_EXAMPLE
from service.context import Resources, resources_of
from service.http.endpoint import Document, Endpoint, Tag, json_answer, shown
from service.http.openapi import answer

OK: Final = "ok"
NO_ANSWER: Final = "no_answer"
NOT_SEEN: Final = "not_seen"
UNCHECKED: Final = "unchecked"
REFUSED: Final = "refused"
FAILING: Final = "failing"
UNREADY: Final = frozenset({NO_ANSWER, NOT_SEEN, REFUSED})
_ALIVE: Final = orjson.dumps({"status": OK})


async def healthz(_: Request) -> Response:
    """Alive: the process answers. Asks nobody else, so that an outage of Redis restarts nothing."""
    return json_answer(_ALIVE)


async def readyz(request: Request) -> Response:
    """Ready: the store answers, a worker was seen of late, and RunComfy did not refuse the account.

    Submits that merely fail make nobody unready: jobs wait, and reads are as good as ever.
    """
    checks = await _checks(resources_of(request.scope))
    ready = UNREADY.isdisjoint(checks.values())
    document = {"status": "ready" if ready else "not_ready", "checks": checks}
    return shown(document, 200 if ready else 503)


async def _checks(resources: Resources) -> dict[str, str]:
    try:
        seen, breaker = await asyncio.gather(
            resources.health.last_seen(), resources.breakers.load()
        )
    except StoreUnavailable:
        return {"redis": NO_ANSWER, "worker": UNCHECKED, "upstream": UNCHECKED}
    oldest = resources.clock.now() - resources.policy.worker_silence
    return {
        "redis": OK,
        "worker": OK if seen and seen >= oldest else NOT_SEEN,
        "upstream": _upstream(breaker),
    }


def _upstream(breaker: Breaker) -> str:
    if breaker.state is BreakerState.CLOSED:
        return OK
    return REFUSED if breaker.reason is BreakerReason.ACCOUNT_REFUSED else FAILING


async def metrics(request: Request) -> Response:
    """Figures in Prometheus' text format."""
    figures = resources_of(request.scope).figures
    return Response(await figures.render(), headers={"content-type": figures.content_type})


_PLAIN: Final[Document] = {"security": []}
_TEXT: Final = {
    "description": "The figures.",
    "content": {
        "text/plain": {
            "schema": {"type": "string"},
            "example": 'gateway_build_info{version="0.1.0"} 1.0\n',
        }
    },
}

ENDPOINTS: Final = (
    Endpoint(
        "GET",
        "/healthz",
        healthz,
        "healthz",
        "Alive?",
        Tag.HEALTH,
        {200: answer("The process answers.", "Health", HEALTH_EXAMPLE)},
        _PLAIN,
    ),
    Endpoint(
        "GET",
        "/readyz",
        readyz,
        "readyz",
        "Ready?",
        Tag.HEALTH,
        {
            200: answer(
                "Redis answers, a worker was seen, RunComfy takes the account.",
                "Readiness",
                READY_EXAMPLE,
            ),
            503: answer("A part is missing; `checks` says which.", "Readiness", UNREADY_EXAMPLE),
        },
        _PLAIN,
    ),
    Endpoint("GET", "/metrics", metrics, "metrics", "Figures", Tag.HEALTH, {200: _TEXT}, _PLAIN),
)
