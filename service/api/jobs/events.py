"""One request's events as they happen (server-sent events)."""

import asyncio
from contextlib import ExitStack
from datetime import timedelta
from functools import partial
from typing import Final

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Send
from starlette.types import Scope as AsgiScope

from core.errors import CallerError
from core.jobs.job import Job
from core.jobs.run_times import Estimate, estimate
from core.store.jobs import Depth, JobView
from core.tenants.api_keys import Scope
from service.api.jobs.lookup import named, view_of
from service.api.jobs.parameters import JOB_ID, LAST_EVENT_ID
from service.api.schemas import EVENTS
from service.context import Resources, resources_of
from service.errors import TooManyWaiters
from service.http.endpoint import Endpoint, Tag
from service.http.openapi import problems
from service.http.request_context import exchange_of
from service.streaming.event_stream import MEDIA_TYPE, Following, Foretell, last_seen, unseen
from service.streaming.long_poll import told_of_leaving

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


class EventStream(Response):
    """Sends what `following` finds. Whoever does not take it within `patience` is dropped."""

    def __init__(self, following: Following, first: JobView, patience: timedelta) -> None:
        """Begin with the view `first`, read after the place was taken."""
        self.status_code = 200
        self.media_type = MEDIA_TYPE
        self.background = None
        self.init_headers({"x-accel-buffering": "no"})
        self._following = following
        self._first: JobView | None = first
        self._patience = patience.total_seconds()

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Send until the end; the place is given up whatever happens."""
        first, self._first = self._first, None
        with self._following.waiter as waiter:
            try:
                async with told_of_leaving(waiter, receive):
                    if first is not None:
                        await self._put(send, first)
            finally:
                exchange_of(scope).waited = waiter.waited

    async def _put(self, send: Send, first: JobView) -> None:
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(start)
        try:
            async for piece in self._following.frames(first):
                async with asyncio.timeout(self._patience):
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
        except TimeoutError as error:
            raise ClientDisconnect from error
        except CallerError:
            pass  # the key was revoked, or the record is gone: there is nothing more to tell
        await send({"type": "http.response.body", "body": b"", "more_body": False})
