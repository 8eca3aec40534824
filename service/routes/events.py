"""One request's events as they happen (server-sent events)."""

from contextlib import ExitStack
from functools import partial
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from core.history import Estimate, estimate
from core.jobs import Job
from core.store.jobs import Depth
from core.tenants import Scope
from service.errors import TooManyWaiters
from service.exchange import exchange_of, resources_of
from service.openapi import JOB_ID, LAST_EVENT_ID, problems
from service.resources import Resources
from service.routes.asked import named, view_of
from service.routes.endpoint import Endpoint, Tag
from service.schemas import EVENTS
from service.streams import (
    MEDIA_TYPE,
    EventStream,
    Following,
    Foretell,
    last_seen,
    unseen,
)

LAST_SEEN: Final = "last-event-id"
_PATIENCE: Final = 2
"""Heartbeats that a caller may leave unread."""


async def events(request: Request) -> Response:
    """History first, then live, until the end. 204, which ends a browser's calls, after that."""
    if exchange_of(request.scope).bodyless:
        await view_of(request, Depth.STATUS)
        return Response(media_type=MEDIA_TYPE)
    credential, job_id = await named(request, Scope.READ)
    resources = resources_of(request.scope)
    waiter = resources.waiters.join(job_id)
    if waiter is None:
        await view_of(request, Depth.STATUS)
        raise TooManyWaiters
    read = partial(resources.jobs.read, credential, job_id, Depth.ALL)
    with ExitStack() as place:
        place.enter_context(waiter)
        first = await read()
        exchange_of(request.scope).job_id = job_id
        seen = last_seen(request.headers.get(LAST_SEEN))
        if first.record.job.final and not unseen(first, seen):
            return Response(status_code=204)
        place.pop_all()  # from here on the stream keeps the place
    heartbeat = resources.policy.heartbeat
    following = Following(waiter, read, _foretelling(resources), heartbeat, seen)
    return EventStream(following, first, _PATIENCE * heartbeat)


def _foretelling(resources: Resources) -> Foretell:
    def foretell(job: Job) -> Estimate | None:
        return estimate(job, resources.histories.of(job.model_id), resources.clock.now())

    return foretell


ENDPOINTS: Final = (
    Endpoint(
        "GET",
        "/v1/requests/{request_id}/events",
        events,
        "events",
        "Follow a request's events",
        Tag.REQUESTS,
        {
            200: EVENTS,
            204: {"description": "It has ended, and all of it was seen (`Last-Event-ID`)."},
            **problems(401, 403, 404, 503),
        },
        {"parameters": [JOB_ID, LAST_EVENT_ID]},
        "Server-sent events, named and shaped as callbacks are: first what has been, then what "
        "happens, until the end. Resumes after `Last-Event-ID`; a comment shows that it lives.",
    ),
)
