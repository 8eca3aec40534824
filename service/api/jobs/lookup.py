"""Whose job a call asks for, and its record: at once, or when it has ended (`Prefer: wait=N`)."""

from collections.abc import Mapping
from functools import partial

from starlette.requests import Request

from core.errors import NotFound
from core.ids import is_valid_id
from core.store.jobs import JobView, Projection
from core.tenants.api_keys import Credential, Scope
from service.context import app_context
from service.http.authentication import request_credential
from service.http.prefer_header import PREFER, parse_wait_preference, preference_applied_header
from service.http.request_context import request_context
from service.streaming.long_poll import wait_for_end, watch_disconnect


async def credential_and_id(
    request: Request, scope: Scope, parameter: str = "request_id"
) -> tuple[Credential, str]:
    """Whose request (or what `name` says) is asked for. What cannot be an id is not looked for."""
    credential = request_credential(request)
    wanted: str = request.path_params[parameter]
    if not is_valid_id(wanted):
        await app_context(request.scope).jobs.authenticate(credential, scope)
        raise NotFound
    return credential, wanted


async def load_view(request: Request, projection: Projection) -> JobView:
    """The job as it stands."""
    credential, job_id = await credential_and_id(request, Scope.READ)
    view = await app_context(request.scope).jobs.read(credential, job_id, projection)
    request_context(request.scope).job_id = job_id
    return view


async def load_view_when_ended(
    request: Request, projection: Projection
) -> tuple[JobView, Mapping[str, str]]:
    """The job once it has ended, if the caller would rather wait; and the headers that say so."""
    resources, exchange = app_context(request.scope), request_context(request.scope)
    wait = parse_wait_preference(request.headers.getlist(PREFER), resources.policy.max_wait)
    if wait is None:
        return await load_view(request, projection), {}
    credential, job_id = await credential_and_id(request, Scope.READ)
    waiter = resources.subscriptions.subscribe(job_id, final_only=True)
    if waiter is None:
        return await load_view(request, projection), {}
    read = partial(resources.jobs.read, credential, job_id, projection)
    with waiter:
        view = await read()
        exchange.job_id = job_id
        if not view.record.job.is_final:
            async with watch_disconnect(waiter, request.receive):
                view = await wait_for_end(waiter, read, wait, resources.clock) or view
            exchange.wait_time = waiter.wait_time
        return view, preference_applied_header(wait)
