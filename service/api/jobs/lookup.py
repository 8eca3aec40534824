"""Whose job a call asks for, and its record: at once, or when it has ended (`Prefer: wait=N`)."""

from collections.abc import Mapping
from functools import partial

from starlette.requests import Request

from core.errors import NotFound
from core.ids import may_be_id
from core.store.jobs import Depth, JobView
from core.tenants.api_keys import Credential, Scope
from service.context import resources_of
from service.http.authentication import key_of
from service.http.prefer_header import PREFER, applied, wait_preference
from service.http.request_context import exchange_of
from service.streaming.long_poll import told_of_leaving, wait_for_end


async def named(request: Request, scope: Scope, name: str = "request_id") -> tuple[Credential, str]:
    """Whose request (or what `name` says) is asked for. What cannot be an id is not looked for."""
    credential = key_of(request)
    wanted: str = request.path_params[name]
    if not may_be_id(wanted):
        await resources_of(request.scope).jobs.authenticate(credential, scope)
        raise NotFound
    return credential, wanted


async def view_of(request: Request, depth: Depth) -> JobView:
    """The job as it stands."""
    credential, job_id = await named(request, Scope.READ)
    view = await resources_of(request.scope).jobs.read(credential, job_id, depth)
    exchange_of(request.scope).job_id = job_id
    return view


async def awaited(request: Request, depth: Depth) -> tuple[JobView, Mapping[str, str]]:
    """The job once it has ended, if the caller would rather wait; and the headers that say so."""
    resources, exchange = resources_of(request.scope), exchange_of(request.scope)
    wait = wait_preference(request.headers.getlist(PREFER), resources.policy.longest_wait)
    if wait is None:
        return await view_of(request, depth), {}
    credential, job_id = await named(request, Scope.READ)
    waiter = resources.waiters.join(job_id, ends_only=True)
    if waiter is None:
        return await view_of(request, depth), {}
    read = partial(resources.jobs.read, credential, job_id, depth)
    with waiter:
        view = await read()
        exchange.job_id = job_id
        if not view.record.job.final:
            async with told_of_leaving(waiter, request.receive):
                view = await wait_for_end(waiter, read, wait, resources.clock) or view
            exchange.waited = waiter.waited
        return view, applied(wait)
