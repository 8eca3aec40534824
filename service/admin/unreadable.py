"""Records that this release cannot read, as operators give them back to workers."""

from collections.abc import Sequence

from service.operator_context import AdminContext


async def requeue_jobs(admin: AdminContext, job_ids: Sequence[str]) -> int:
    """Have workers claim unreadable jobs again; return how many were unreadable."""
    found = 0
    for job_id in job_ids:
        if await admin.stores.admin.requeue_unreadable(job_id):
            await admin.record_action("job.requeue", job_id)
            found += 1
    return found


async def requeue_deliveries(admin: AdminContext, delivery_ids: Sequence[str]) -> int:
    """Have workers claim unreadable deliveries again; return how many were unreadable."""
    found = 0
    for delivery_id in delivery_ids:
        if await admin.stores.deliveries.requeue_unreadable(delivery_id):
            await admin.record_action("webhook.requeue", delivery_id)
            found += 1
    return found
