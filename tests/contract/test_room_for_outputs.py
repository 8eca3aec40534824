"""A request that waits for its outputs to be kept is refused while its tenant has no room."""

from dataclasses import replace

import pytest

from core.archive import ArchiveMode, ModelArchive
from core.errors import LimitReached
from core.files.records import FileRemoval, StoredFile
from core.quotas import QuotaPolicy
from core.tenants.cache_policy import CacheOption, CacheStatus
from core.tenants.limits import Limits
from core.transactions.admission import Admission, CacheRequest, IdempotencyClaim
from tests.support.backends import StoreBackend
from tests.support.store_steps import admission_of, new_job

BYTES = 10
BEFORE = ModelArchive(default=ArchiveMode.BEFORE)


async def fill(backend: StoreBackend, limit: int, archive: ArchiveMode | None = None) -> None:
    """Give the tenant one file of 10 bytes, and then its limit."""
    now = backend.clock.now()
    await backend.files.add(StoredFile("file_1", "ada", now, "image/png", BYTES, "ab", "00"))
    before = await backend.tenants.load("ada")
    assert before is not None
    after = replace(
        before, version=before.version + 1, limits=Limits(storage_bytes=limit), archive=archive
    )
    assert await backend.tenants.change(before, after)


def wish(backend: StoreBackend, job_id: str, archive: ModelArchive) -> Admission:
    return replace(admission_of(new_job(backend.clock.now(), job_id)), archive=archive)


@pytest.mark.parametrize(
    ("archive", "tenant", "policy"),
    [
        (ModelArchive(), None, None),
        (ModelArchive(), ArchiveMode.AFTER, None),
        (ModelArchive(), ArchiveMode.BEFORE, QuotaPolicy.STORAGE_BYTES),
        (BEFORE, None, QuotaPolicy.STORAGE_BYTES),
        (BEFORE, ArchiveMode.OFF, None),
        (ModelArchive(rule=ArchiveMode.BEFORE), ArchiveMode.OFF, QuotaPolicy.STORAGE_BYTES),
        (ModelArchive(rule=ArchiveMode.AFTER), ArchiveMode.BEFORE, None),
    ],
)
async def test_only_a_request_that_waits_for_its_outputs_needs_room(
    backend: StoreBackend,
    archive: ModelArchive,
    tenant: ArchiveMode | None,
    policy: QuotaPolicy | None,
) -> None:
    await fill(backend, BYTES, tenant)
    for is_dry_run in (True, False):
        admission = replace(wish(backend, "req_1", archive), dry_run=is_dry_run)
        if policy is None:
            await backend.jobs.admit(admission)
            continue
        with pytest.raises(LimitReached) as refused:
            await backend.jobs.admit(admission)
        assert (refused.value.policy, refused.value.retry_after) == (policy, None)
    assert (await backend.jobs.load("req_1") is None) == (policy is not None)


async def test_room_is_shown_and_comes_back_with_a_deleted_file(backend: StoreBackend) -> None:
    await fill(backend, BYTES + 1)
    admitted = await backend.jobs.admit(wish(backend, "req_1", BEFORE))
    rows = {quota.policy: (quota.limit, quota.remaining) for quota in admitted.quotas}
    assert rows[QuotaPolicy.STORAGE_BYTES] == (BYTES + 1, 1)
    await fill(backend, BYTES - 1)
    with pytest.raises(LimitReached):
        await backend.jobs.admit(wish(backend, "req_2", BEFORE))
    assert await backend.files.remove("ada", "file_1") is FileRemoval.REMOVED
    await backend.jobs.admit(wish(backend, "req_2", BEFORE))


async def test_what_costs_nothing_needs_no_room(backend: StoreBackend) -> None:
    """A repeated key and a joined request cost nothing, and share what is kept."""
    use = CacheRequest(CacheOption.USE)
    claim = IdempotencyClaim("digest", "1:sent")
    first = replace(wish(backend, "req_1", BEFORE), cache=use, idempotency=claim)
    await backend.jobs.admit(first)
    await fill(backend, BYTES)
    joined = await backend.jobs.admit(replace(wish(backend, "req_2", BEFORE), cache=use))
    assert joined.cache_status is CacheStatus.COLLAPSED
    repeated = await backend.jobs.admit(replace(first, job=replace(first.job, id="req_3")))
    assert repeated.cache_status is CacheStatus.REPLAYED
