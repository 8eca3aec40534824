"""Any tenant's jobs, for operators."""

from core.listing import JobPage, JobQuery
from service.administration.desk import Desk
from service.administration.tenants import load_tenant


async def list_jobs(desk: Desk, tenant: str, query: JobQuery) -> JobPage:
    """A page of a tenant's jobs, newest first. Raises `NotFound` for an unknown tenant."""
    return await desk.listed.page_of((await load_tenant(desk, tenant)).name, query)
