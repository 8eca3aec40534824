"""The job that a call is about: its id, its record, and its record once it has ended."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import partial

from starlette.requests import Request

from core.errors import MalformedId
from core.ids import is_valid_id
from core.store.jobs import JobView, Projection
from core.tenants.api_keys import Credential, Scope
from service.context import app_context
from service.http.authentication import request_credential
from service.http.prefer_header import PREFER, parse_wait_preference, preference_applied_header
from service.http.request_context import request_context
from service.streaming.long_poll import ReadJob, has_ended, wait_until, watch_disconnect
from service.streaming.subscriptions import Subscription


async def credential_and_id(
    request: Request, scope: Scope, parameter: str = "request_id"
) -> tuple[Credential, str]:
    """Return the caller's credential, and the id in the path.

    A malformed id is `MalformedId` to a valid key, without a read of the store's data.
    """
    credential = request_credential(request)
    path_id: str = request.path_params[parameter]
    if not is_valid_id(path_id):
        await app_context(request.scope).stores.jobs.authenticate(credential, scope)
        raise MalformedId
    return credential, path_id


async def load_view(request: Request, projection: Projection) -> JobView:
    """Return the job as it is now."""
    credential, job_id = await credential_and_id(request, Scope.READ)
    view = await app_context(request.scope).stores.jobs.read(credential, job_id, projection)
    request_context(request.scope).job_id = job_id
    return view


async def load_view_when_ended(
    request: Request, projection: Projection
) -> tuple[JobView, Mapping[str, str]]:
    """Return the job, after its end if the caller prefers to wait, and headers for the response."""
    context = app_context(request.scope)
    wait = parse_wait_preference(request.headers.getlist(PREFER), context.policy.max_wait)
    if wait is None:
        return await load_view(request, projection), {}
    credential, job_id = await credential_and_id(request, Scope.READ)
    subscription = context.subscriptions.subscribe(job_id, credential.tenant, final_only=True)
    if subscription is None:
        # This process has no capacity for another wait: the caller gets the present status.
        return await load_view(request, projection), {}
    read = partial(context.stores.jobs.read, credential, job_id, projection)
    with subscription:
        view = await read()
        request_context(request.scope).job_id = job_id
        if not view.record.job.is_final:
            view = await wait_until_ended(request, subscription, read, wait) or view
        return view, preference_applied_header(wait)


async def wait_until_ended(
    request: Request, subscription: Subscription, read: ReadJob, max_wait: timedelta
) -> JobView | None:
    """Return the job after its end, or as it is after `max_wait`; None: it cannot be read now.

    Raises `ClientDisconnect`; the job goes on.
    """
    return await wait_for_change(request, has_ended, subscription, read, max_wait)


async def wait_for_change(
    request: Request,
    is_reached: Callable[[JobView], bool],
    subscription: Subscription,
    read: ReadJob,
    max_wait: timedelta,
) -> JobView | None:
    """Return the job once `is_reached`, else as `wait_until_ended` does."""
    try:
        async with watch_disconnect(subscription, request.receive):
            clock = app_context(request.scope).clock
            return await wait_until(is_reached, subscription, read, max_wait, clock)
    finally:
        # Latency metrics leave out the time that the caller chose to wait.
        request_context(request.scope).wait_duration = subscription.wait_duration
