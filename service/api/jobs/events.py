"""The event stream of a request (server-sent events)."""

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
from core.jobs.run_times import Estimate, estimate_finish
from core.store.jobs import JobView, Projection
from core.tenants.api_keys import Scope
from service.api.jobs.lookup import credential_and_id, load_view
from service.api.jobs.parameters import JOB_ID, LAST_EVENT_ID
from service.context import AppContext, app_context
from service.errors import TooManyWaiters
from service.http.authentication import output_links
from service.http.openapi import Tag, ref
from service.http.request_context import request_context
from service.http.strict_route import FastRoute, api_router
from service.streaming.event_stream import (
    MEDIA_TYPE,
    EstimateFinish,
    EventStreamSession,
    parse_last_event_id,
    pending_events,
)
from service.streaming.long_poll import watch_disconnect

LAST_EVENT_ID_HEADER: Final = "last-event-id"


_MAX_UNREAD_HEARTBEATS: Final = 2
"""A caller who reads nothing for so many heartbeats is disconnected."""


router = api_router(Tag.REQUESTS, 400, 401, 403, 404, 429, 503, route=FastRoute)
_STREAM: Final = {"text/event-stream": {"schema": ref("ServerSentEvent")}}


@router.get(
    "/v1/requests/{request_id}/events",
    responses={
        200: {"description": "The events.", "content": _STREAM},
        204: {"description": "The request has ended, and `Last-Event-ID` is its last event."},
    },
    openapi_extra={"parameters": [JOB_ID, LAST_EVENT_ID]},
    name="events",
)
async def stream_events(request: Request) -> Response:
    """Stream the events of a request.

    Server-sent events with the names and fields of webhooks: past events first, then live ones,
    until the request ends. Resumes after `Last-Event-ID`. A comment is sent as heartbeat.
    """
    if request_context(request.scope).is_head:
        await load_view(request, Projection.STATUS)
        return Response(media_type=MEDIA_TYPE)
    credential, job_id = await credential_and_id(request, Scope.READ)
    context = app_context(request.scope)
    subscription = context.subscriptions.subscribe(job_id, credential.tenant)
    if subscription is None:
        await load_view(request, Projection.STATUS)  # an invalid key or id is reported first
        raise TooManyWaiters
    read = partial(context.stores.jobs.read, credential, job_id, Projection.ALL)
    with ExitStack() as stack:
        stack.enter_context(subscription)
        first = await read()
        request_context(request.scope).job_id = job_id
        seen = parse_last_event_id(request.headers.get(LAST_EVENT_ID_HEADER))
        if first.record.job.is_final and not pending_events(first, seen):
            # It stops a browser from reconnecting.
            return Response(status_code=204)
        stack.pop_all()  # the response ends the subscription
    heartbeat = context.policy.heartbeat
    session = EventStreamSession(
        subscription,
        read,
        _finish_estimator(context),
        heartbeat,
        seen,
        partial(output_links, request),
    )
    return EventStreamResponse(session, first, _MAX_UNREAD_HEARTBEATS * heartbeat)


def _finish_estimator(context: AppContext) -> EstimateFinish:
    def estimate(job: Job) -> Estimate | None:
        return estimate_finish(job, context.run_times.get(job.model_id), context.clock.now())

    return estimate


class EventStreamResponse(Response):
    """Sends the events of a session, and disconnects a caller who does not read in time."""

    def __init__(
        self, session: EventStreamSession, first: JobView, send_timeout: timedelta
    ) -> None:
        """`first` is the job as it was read after the subscription had begun."""
        self.status_code = 200
        self.media_type = MEDIA_TYPE
        self.background = None
        # A proxy that compresses would hold events back until its buffer is full.
        self.init_headers({"cache-control": "no-store, no-transform", "x-accel-buffering": "no"})
        self._session = session
        self._first: JobView | None = first
        self._send_timeout = send_timeout.total_seconds()

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Send until the end, and always end the subscription."""
        first, self._first = self._first, None
        with self._session.subscription as subscription:
            try:
                async with watch_disconnect(subscription, receive):
                    if first is not None:
                        await self._send_events(send, first)
            finally:
                request_context(scope).wait_duration = subscription.wait_duration

    async def _send_events(self, send: Send, first: JobView) -> None:
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(start)
        try:
            async for chunk in self._session.stream(first):
                async with asyncio.timeout(self._send_timeout):
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
        except TimeoutError as error:
            raise ClientDisconnect from error
        except CallerError:
            pass  # the key was revoked, or the job was deleted: end the stream
        await send({"type": "http.response.body", "body": b"", "more_body": False})
