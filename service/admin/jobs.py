"""Any tenant's jobs, for operators."""

from core.jobs.query import JobPage, JobQuery
from service.operator_context import Desk
from service.tenants.tenants import recall_tenant


async def list_jobs(desk: Desk, tenant: str, query: JobQuery) -> JobPage:
    """A page of a tenant's jobs, newest first; also of one deleted of late. Raises `NotFound`."""
    return await desk.listed.page_of((await recall_tenant(desk, tenant)).name, query)
