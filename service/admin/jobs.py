"""Lists any tenant's jobs, and all tenants' jobs, for operators."""

import asyncio
from typing import Final

from core.jobs.job import Job
from core.jobs.query import Cursor, JobQuery, score_of
from core.page import Page
from service.operator_context import AdminContext
from service.tenants.tenants import load_tenant_or_deleted

_PAGES_AT_ONCE: Final = 50
Place = tuple[float, str]


async def list_jobs(admin: AdminContext, tenant: str, query: JobQuery) -> Page[Job, Cursor]:
    """Return a page of a tenant's jobs, newest first; also of a recently deleted tenant.

    Raises `NotFound`.
    """
    return await admin.stores.job_index.list_page_for_tenant(
        (await load_tenant_or_deleted(admin, tenant)).name, query
    )


async def list_all_jobs(admin: AdminContext, query: JobQuery) -> Page[Job, Cursor]:
    """Return a page of all tenants' jobs, newest first. It reads one page of each tenant."""
    names = sorted(await admin.stores.tenants.list_names())
    pages: list[Page[Job, Cursor]] = []
    for start in range(0, len(names), _PAGES_AT_ONCE):
        few = names[start : start + _PAGES_AT_ONCE]
        read = admin.stores.job_index.list_page_for_tenant
        pages += await asyncio.gather(*(read(name, query) for name in few))
    return merge_pages(pages, query)


def merge_pages(pages: list[Page[Job, Cursor]], query: JobQuery) -> Page[Job, Cursor]:
    """Return the newest jobs of several lists as one page; a cursor is valid in each of them."""
    unread = [page.cursor for page in pages if page.cursor is not None]
    # Behind the earliest end of a page, jobs of that list are not known yet.
    end = max(unread, key=lambda cursor: _place(cursor, query), default=None)
    placed = [
        (_place(Cursor(score_of(job), job.id), query), job) for page in pages for job in page.items
    ]
    known = [one for one in placed if end is None or one[0] >= _place(end, query)]
    known.sort(key=lambda one: one[0], reverse=True)
    jobs = tuple(job for _, job in known[: query.limit])
    if len(known) > query.limit:
        end = Cursor(score_of(jobs[-1]), jobs[-1].id)
    return Page(jobs, end)


def _place(cursor: Cursor, query: JobQuery) -> Place:
    """Return by what a list is sorted; that of a reference by ids alone."""
    return (0.0 if query.reference is not None else cursor.score), cursor.job_id
