"""The kept outputs of a job that a cached result has just served."""

from dataclasses import replace

from core.jobs.job import JobRecord
from core.store.interfaces import JobRepository


async def with_kept_outputs(jobs: JobRepository, served: JobRecord) -> JobRecord:
    """Return a cache hit with the outputs that the job of its result has kept.

    A worker makes the hit a user of them when it creates the hit's deliveries; here they are only
    shown, so that the first answer has durable links too. Those of another tenant are not shared.
    """
    job = served.job
    source = None if job.leader is None else await jobs.load(job.leader)
    if source is None or source.job.tenant != job.tenant or not source.job.has_kept_all:
        return served
    shown = replace(
        job,
        archive=source.job.archive,
        outputs=source.job.outputs,
        kept_until=source.job.kept_until,
        link_secret=source.job.link_secret,
    )
    return replace(served, job=shown)
