"""Deleting a job that has ended and has no delivery or settlement pending."""

from typing import Final

from core.errors import NotFound
from core.observability.events import Emit, JobDeleted
from core.store.interfaces import JobIndexRepository, JobRepository
from core.store.job_index import DeletionResult
from core.store.jobs import Projection
from core.tenants.api_keys import Credential, Scope
from service.errors import JobContended, JobHasPendingWork, JobOpen

MAX_TRIES: Final = 5


async def delete_job(
    jobs: JobRepository,
    job_index: JobIndexRepository,
    emit: Emit,
    credential: Credential,
    job_id: str,
) -> None:
    """Delete a job, its input and its output. Its cost stays in the tenant's usage.

    Raises `NotFound`, `JobOpen`, `JobHasPendingWork`, `JobContended` and the store's errors.
    """
    for _ in range(MAX_TRIES):
        view = await jobs.read(credential, job_id, Projection.STATUS, Scope.CANCEL)
        job = view.record.job
        if not job.is_final:
            raise JobOpen
        match await job_index.delete(job):
            case DeletionResult.DELETED:
                emit(JobDeleted(job.id, job.tenant, job.model_id, job.trace))
                return
            case DeletionResult.NOT_FOUND:
                raise NotFound
            case DeletionResult.HAS_PENDING_WORK:
                raise JobHasPendingWork
            case DeletionResult.CONFLICT:
                continue
    raise JobContended
