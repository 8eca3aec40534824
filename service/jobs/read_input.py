"""The use case of reading the input of a request that the tenant submitted."""

from core.store.interfaces import JobRepository
from core.store.jobs import Projection
from core.tenants.api_keys import Credential, Scope


async def read_input(jobs: JobRepository, credential: Credential, job_id: str) -> bytes | None:
    """Return the body that the caller sent; None if it is not kept.

    Raises as `JobRepository.read`.
    """
    view = await jobs.read(credential, job_id, Projection.STATUS, Scope.READ)
    submission = await jobs.load_submission(view.record.job)
    if submission is None or not submission.keeps_input:
        return None
    return submission.input
