"""Keeps the lease of a job while a worker is at work on it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final

from core.clock import Clock
from core.errors import Unavailable
from core.jobs.job import Job, JobState
from core.store.interfaces import JobRepository
from worker.jobs.answer_writer import is_same_submit
from worker.jobs.policies import LifecyclePolicy

STORE_RETRY_DELAY: Final = timedelta(milliseconds=500)


class JobLease:
    """Renews leases. A worker that dies renews no more, and another one takes the job."""

    def __init__(self, jobs: JobRepository, clock: Clock, policy: LifecyclePolicy) -> None:
        """How long a lease is, and how often it is renewed, is of `policy`."""
        self._jobs = jobs
        self._clock = clock
        self._policy = policy

    @asynccontextmanager
    async def hold(self, job: Job) -> AsyncIterator[None]:
        """Renew the job's lease until the body ends."""
        renewing = asyncio.create_task(self._renew_forever(job))
        try:
            yield
        finally:
            renewing.cancel()

    async def _renew_forever(self, held: Job) -> None:
        job, pause = held, self._policy.renew_interval
        while True:
            await self._clock.sleep(pause)
            try:
                renewed = await self._renew(job)
            except Unavailable:
                pause = STORE_RETRY_DELAY
                continue
            if renewed is None:
                return
            job, pause = renewed, self._policy.renew_interval

    async def _renew(self, job: Job) -> Job | None:
        """Return the record that the renewed lease is for; None if it went on without this worker.

        A cancel that is requested during a submit makes a new version of the record, and must not
        cost the lease.
        """
        until = self._clock.now() + self._policy.lease
        if await self._jobs.reschedule(job, until):
            return job
        record = await self._jobs.load(job.id)
        if record is None or not is_same_submit(record.job, job):
            return None
        if record.job.state is not JobState.SUBMITTING:
            return None
        await self._jobs.reschedule(record.job, until)
        return record.job
