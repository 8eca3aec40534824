"""Deleting a job at its owner's wish: only one that has ended, and of which nobody is to hear."""

from typing import Final

from core.errors import NotFound
from core.observability.events import JobDeleted
from core.store.job_index import Deletion
from core.store.jobs import Depth
from core.tenants.api_keys import Credential, Scope
from service.context import Resources
from service.errors import JobAwaited, JobContended, JobOpen

MOST_TRIES: Final = 5


async def delete_job(resources: Resources, credential: Credential, job_id: str) -> None:
    """Forget a job, its input and its output. What it cost stays in the books.

    Raises `NotFound`, `JobOpen`, `JobAwaited`, `JobContended` and the store's errors.
    """
    for _ in range(MOST_TRIES):
        view = await resources.jobs.read(credential, job_id, Depth.STATUS, Scope.CANCEL)
        job = view.record.job
        if not job.final:
            raise JobOpen
        match await resources.listed.delete(job):
            case Deletion.DELETED:
                resources.emit(JobDeleted(job.id, job.tenant, job.model_id, job.trace))
                return
            case Deletion.UNKNOWN:
                raise NotFound
            case Deletion.AWAITED:
                raise JobAwaited
            case Deletion.STALE:
                continue
    raise JobContended
