"""Lists any tenant's jobs for operators."""

from core.jobs.job import Job
from core.jobs.query import Cursor, JobQuery
from core.page import Page
from service.operator_context import AdminContext
from service.tenants.tenants import load_tenant_or_deleted


async def list_jobs(admin: AdminContext, tenant: str, query: JobQuery) -> Page[Job, Cursor]:
    """Return a page of a tenant's jobs, newest first; also of a recently deleted tenant.

    Raises `NotFound`.
    """
    return await admin.stores.job_index.list_page_for_tenant(
        (await load_tenant_or_deleted(admin, tenant)).name, query
    )
