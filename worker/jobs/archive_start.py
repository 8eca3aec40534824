"""Decides for each job that gets an output whether the files that it names are kept."""

from contextlib import suppress
from dataclasses import dataclass, replace

from core.archive import ArchiveRules
from core.errors import RecordUnreadable
from core.ids import IdSource
from core.jobs.job import Job
from core.store.stores import Stores
from core.tenants.tenant import Tenant
from core.transactions.job_update import Change
from worker.jobs.decisions.archive import ArchivePolicy, begin_archive, share_outputs


@dataclass(frozen=True, slots=True)
class ArchiveStarter:
    """Adds the archive to the changes that bring an output."""

    stores: Stores
    rules: ArchiveRules
    ids: IdSource
    policy: ArchivePolicy

    async def begin(self, change: Change, output: bytes) -> Change:
        """Return the change; it begins the archive of `output` unless the mode is off.

        A job that has the result of another one of its tenant shares what that one has kept.
        """
        job = change.after
        tenant = await load_tenant(self.stores, job.tenant)
        mode = self.rules.mode_for(None if tenant is None else tenant.archive, job.model_id)
        begun = begin_archive(change, output, mode, self.ids.secret().hex(), self.policy)
        if begun is change:
            return change
        source = await find_source(self.stores, job)
        if source is None or not await share(self.stores, job, source):
            return begun
        shared = share_outputs(source, begun.after.updated_at, tenant)
        return replace(begun, after=replace(begun.after, **shared))


async def load_tenant(stores: Stores, name: str) -> Tenant | None:
    """Return a tenant; None if its record cannot be read: its paid results must not wait for it."""
    with suppress(RecordUnreadable):
        return await stores.tenants.load(name)
    return None


async def find_source(stores: Stores, job: Job) -> Job | None:
    """Return the job of the same tenant whose result this one has; None if there is none."""
    if job.leader is None:
        return None
    record = None
    with suppress(RecordUnreadable):  # the outputs are kept once more
        record = await stores.jobs.load(job.leader)
    is_own = record is not None and record.job.tenant == job.tenant
    return record.job if record is not None and is_own else None


async def share(stores: Stores, job: Job, source: Job) -> bool:
    """Make a job a user of all outputs of another one; False if that one has not kept them all."""
    ids = {output.file_id for output in source.outputs if output.file_id is not None}
    return source.has_kept_all and await stores.files.use(job.tenant, job.id, ids)
