"""The position of the store: it moves with each claim, and shows what was forgotten."""

from dataclasses import replace

import pytest

from core.billing.usage import Budget
from core.errors import StoreUnknown, Unauthenticated
from core.jobs.job import BillingStatus, Job, JobState, Trigger
from core.jobs.submission import IdempotencyRecord, Submission
from core.money import MicroUsd
from core.store.identity import StorePosition, bind_account
from core.tenants.cache_policy import CacheOption
from core.tenants.limits import Limits
from core.transactions.admission import CacheRequest, IdempotencyClaim
from core.transactions.job_update import Change, WriteResult
from core.transactions.restoration import Restoration, RestorationResult
from tests.support.backends import StoreBackend
from tests.support.store_steps import (
    BODY,
    SECOND,
    admission_of,
    admit_job,
    apply_triggers,
    new_job,
    tenant_credential,
    timeline_entry,
)

STORE = StorePosition("store-1")
NOBODY = tenant_credential("nobody")
MINE = "real 1111111111111111"


@pytest.fixture
async def backend(backend: StoreBackend) -> StoreBackend:
    """Without an identity."""
    await backend.probe.forget_identity()
    return backend


async def claim(backend: StoreBackend, job_id: str) -> Job:
    backend.clock.move(SECOND)
    return await apply_triggers(backend, await admit_job(backend, job_id), Trigger.CLAIMED)


async def test_a_store_gets_one_identity(backend: StoreBackend) -> None:
    assert await backend.identity.load() is None
    assert await backend.identity.create(STORE)
    assert not await backend.identity.create(StorePosition("store-2"))
    assert await backend.identity.load() == STORE


async def test_a_position_that_is_read_over_another_connection_is_recognized(
    backend: StoreBackend,
) -> None:
    await backend.identity.create(STORE)
    numbers = []
    for _ in range(2):
        await backend.identity.load()
        numbers.append(backend.identity.connections)
    await backend.identity.disconnect()
    await backend.identity.load()
    assert numbers[0] == numbers[1] != backend.identity.connections


async def test_a_new_store_lacks_what_was_stored_before(backend: StoreBackend) -> None:
    new = replace(STORE, complete_since=backend.clock.now().replace(microsecond=0))
    await backend.identity.create(new)
    assert await backend.identity.load() == new


async def test_the_store_knows_its_journal(backend: StoreBackend) -> None:
    await backend.identity.create(STORE)
    since = backend.clock.now().replace(microsecond=0)
    assert await backend.identity.replace_journal("", "journal-1", None)
    assert await backend.identity.load() == replace(STORE, journal_id="journal-1")
    assert not await backend.identity.replace_journal("", "journal-2", None)
    assert await backend.identity.replace_journal("journal-1", "journal-2", since)
    known = replace(STORE, journal_id="journal-2", journal_since=since)
    assert await backend.identity.load() == known
    assert await backend.identity.settle(STORE, replace(STORE, epoch=2)), "no claim was made"


async def test_the_store_notes_the_entry_of_a_claim(backend: StoreBackend) -> None:
    await backend.identity.create(STORE)
    await backend.identity.replace_journal("", "journal-1", None)
    assert await backend.identity.load_noted_entry("req_1") is None
    assert not await backend.identity.note_entry("req_1", 1, "e/1", "journal-1"), "no such job"
    job = await claim(backend, "req_1")
    assert await backend.identity.load_noted_entry("req_1") is None
    assert not await backend.identity.note_entry("req_1", 1, "e/1", "journal-2")
    assert await backend.identity.note_entry("req_1", 1, "e/1", "journal-1")
    assert await backend.identity.load_noted_entry("req_1") == 1
    position = await backend.identity.load()
    assert position is not None
    assert position.newest_entry == "e/1"
    await apply_triggers(backend, job, Trigger.NOT_SENT, Trigger.CLAIMED)
    assert await backend.identity.load_noted_entry("req_1") is None, "of the last claim"


async def test_a_lost_entry_stays_noted_until_it_is_found(backend: StoreBackend) -> None:
    await backend.identity.create(STORE)
    await backend.identity.replace_journal("", "journal-1", None)
    before = replace(STORE, journal_id="journal-1")
    assert await backend.identity.replace_lost_entry(before, "e/1")
    assert not await backend.identity.replace_lost_entry(before, "e/2")
    known = replace(before, lost_entry="e/1")
    assert await backend.identity.load() == known
    assert await backend.identity.replace_lost_entry(known, "")
    assert await backend.identity.load() == before


@pytest.mark.parametrize("journal_id", ["journal-1", "journal-2"])
async def test_a_former_journals_entry_is_not_noted_as_lost(
    backend: StoreBackend, journal_id: str
) -> None:
    """An operator went on with the journal while a worker found that it lacks the entry."""
    await backend.identity.create(STORE)
    await backend.identity.replace_journal("", "journal-1", None)
    read = await backend.identity.load()
    assert read is not None
    since = backend.clock.now().replace(microsecond=0)
    await backend.identity.replace_journal("journal-1", journal_id, since)
    assert not await backend.identity.replace_lost_entry(read, "e/1")
    after = await backend.identity.load()
    assert after is not None
    assert after.lost_entry == ""
    assert await backend.identity.replace_lost_entry(after, "e/1")


async def test_a_new_journal_lacks_nothing_of_the_former_one(backend: StoreBackend) -> None:
    await backend.identity.create(STORE)
    await backend.identity.replace_journal("", "journal-1", None)
    await claim(backend, "req_1")
    await backend.identity.note_entry("req_1", 1, "e/1", "journal-1")
    await backend.identity.replace_lost_entry(replace(STORE, journal_id="journal-1"), "e/1")
    since = backend.clock.now().replace(microsecond=0)
    assert await backend.identity.replace_journal("journal-1", "journal-1", since)
    position = await backend.identity.load()
    assert position is not None
    assert (position.newest_entry, position.lost_entry) == ("", "")


async def test_each_claim_moves_the_position(backend: StoreBackend) -> None:
    await backend.identity.create(STORE)
    before = await backend.identity.load()
    await claim(backend, "req_1")
    job = await claim(backend, "req_2")
    after = await backend.identity.load(before)
    assert after is not None
    assert (after.epoch, after.claims, after.has_known) == (1, 2, True)
    assert after.claimed_at == backend.clock.now()
    assert after.last_claim.startswith("req_2 ")
    await apply_triggers(backend, job, Trigger.ACCEPTED)
    assert await backend.identity.load() == after


async def test_a_store_with_other_claims_than_known_went_back(backend: StoreBackend) -> None:
    await backend.identity.create(STORE)
    await claim(backend, "req_1")
    known = await backend.identity.load()
    assert known is not None
    await claim(backend, "req_2")
    now = await backend.identity.load(known)
    assert now is not None
    assert now.has_known
    assert not now.is_behind(known)
    forgotten = replace(known, last_claim="req_0 1")
    now = await backend.identity.load(forgotten)
    assert now is not None
    assert now.is_behind(forgotten)
    ahead = replace(known, claims=7)
    now = await backend.identity.load(ahead)
    assert now is not None
    assert now.is_behind(ahead)


async def test_a_settled_store_is_in_a_new_epoch(backend: StoreBackend) -> None:
    await backend.identity.create(STORE)
    await claim(backend, "req_1")
    at = backend.clock.now()
    await backend.identity.mark_went_back(at)
    await backend.identity.mark_went_back(at - SECOND)
    await backend.identity.mark_went_back(at + SECOND)
    marked = await backend.identity.load()
    assert marked is not None
    assert marked.compare_since == at - SECOND
    after = replace(marked, epoch=2, claims=9, complete_since=at.replace(microsecond=0))
    assert await backend.identity.settle(marked, after)
    settled = await backend.identity.load(marked)
    assert settled is not None
    assert (settled.epoch, settled.claims, settled.compare_since) == (2, 9, None)
    assert settled.complete_since == after.complete_since
    assert settled.has_known
    await claim(backend, "req_2")
    later = await backend.identity.load(settled)
    assert later is not None
    assert (later.claims, later.has_known) == (10, True)


async def test_a_position_that_has_moved_is_not_settled(backend: StoreBackend) -> None:
    await backend.identity.create(STORE)
    await backend.identity.mark_went_back(backend.clock.now())
    before = await backend.identity.load()
    assert before is not None
    await claim(backend, "req_1")
    assert not await backend.identity.settle(before, replace(before, epoch=2))
    moved = await backend.identity.load()
    assert moved is not None
    assert moved.compare_since == before.compare_since
    await backend.identity.mark_went_back(backend.clock.now() - 60 * SECOND)
    assert not await backend.identity.settle(moved, replace(moved, epoch=2))


async def test_a_store_from_before_its_journal_is_marked_until_it_is_settled(
    backend: StoreBackend,
) -> None:
    await backend.identity.create(STORE)
    now = backend.clock.now().replace(microsecond=0)
    await backend.identity.mark_went_back(now, now - SECOND)
    before = await backend.identity.load()
    for until in (now, now - 60 * SECOND, None):
        await backend.identity.mark_went_back(now, until)
    marked = await backend.identity.load()
    assert before is not None
    assert marked is not None
    assert (marked.doubt_until, marked.journal_since) == (now, now)
    assert not await backend.identity.settle(before, replace(before, epoch=2))
    assert await backend.identity.settle(marked, replace(marked, epoch=2))
    after = await backend.identity.load()
    assert after is not None
    assert (after.doubt_until, after.journal_since) == (None, now)


async def test_a_restored_job_moves_the_position(backend: StoreBackend) -> None:
    await backend.identity.create(STORE)
    await restore(backend, restoration_of(running_job(backend)))
    after = await backend.identity.load()
    assert after is not None
    assert after.claims == 1
    assert [one.partition(" ")[0] for one in await backend.identity.list_claims()] == ["req_1"]


# --- jobs that the store has forgotten


def restoration_of(job: Job, **changes: object) -> Restoration:
    submission = Submission(BODY, MicroUsd(500), idempotency=IdempotencyRecord("d", "fp"))
    line = timeline_entry(job.updated_at, "restored", job.state)
    return Restoration(job, line, replace(submission, **changes))  # type: ignore[arg-type]  # its fields


def running_job(backend: StoreBackend, job_id: str = "req_1") -> Job:
    now = backend.clock.now()
    job = replace(new_job(now, job_id), state=JobState.SUBMITTING, reference="a", version=2)
    return job.accept("up-1", now, now)


async def restore(backend: StoreBackend, restoration: Restoration) -> RestorationResult:
    """Restore a job in a store that is marked as gone back."""
    await backend.identity.create(STORE)
    await backend.identity.mark_went_back(backend.clock.now())
    return await backend.jobs.restore(restoration)


async def test_a_store_that_is_not_marked_as_gone_back_gets_no_job_again(
    backend: StoreBackend,
) -> None:
    """The claim of a restored job hid that the store had forgotten earlier ones."""
    job = running_job(backend)
    refused = RestorationResult(is_stored=False, is_marked=False)
    assert await backend.jobs.restore(restoration_of(job)) == refused
    assert (await restore(backend, restoration_of(job))).is_stored
    marked = await backend.identity.load()
    assert marked is not None
    assert await backend.identity.settle(marked, replace(marked, epoch=2))
    other = running_job(backend, "req_2")
    assert await backend.jobs.restore(restoration_of(other)) == refused
    assert await backend.jobs.load(other.id) is None


async def test_a_restored_job_is_all_there(backend: StoreBackend) -> None:
    job = running_job(backend)
    assert (await restore(backend, restoration_of(job))).is_stored
    view = await backend.jobs.load_view(job.id)
    assert view is not None
    assert view.record.job == job
    assert [line.code for line in view.timeline] == ["restored"]
    assert await backend.jobs.load_input(job.id) == BODY
    assert await backend.probe.states() == {"running": 1}
    assert list(await backend.probe.due()) == [job.id]
    assert list(await backend.probe.tenant_jobs("ada")) == [job.id]
    found = await backend.jobs.load_submission(job)
    assert found is not None
    assert (found.reserved, found.idempotency) == (500, IdempotencyRecord("d", "fp"))


async def test_a_restored_job_reserves_and_settles_as_any(backend: StoreBackend) -> None:
    job = running_job(backend)
    await restore(backend, restoration_of(job))
    usage = await backend.tenants.read_usage("ada", Budget(Limits()), backend.clock.now())
    assert [window.total.reservations.reserved for window in usage.windows] == [500] * 4
    collecting = await apply_triggers(backend, job, Trigger.FINISHED)
    now = backend.clock.now()
    ended = collecting.transition(
        Trigger.COLLECTED,
        now,
        next_run_at=None,
        finished_at=now,
        billed=BillingStatus.YES,
        cost=MicroUsd(300),
    )
    assert await backend.jobs.store(Change(collecting, ended)) is WriteResult.STORED
    usage = await backend.tenants.read_usage("ada", Budget(Limits()), now)
    totals = usage.windows[0].total.reservations
    assert (totals.reserved, totals.settled, totals.released) == (500, 300, 200)


async def test_a_restored_job_in_doubt_is_listed(backend: StoreBackend) -> None:
    now = backend.clock.now()
    job = replace(new_job(now), state=JobState.IN_DOUBT, in_doubt_since=now, next_run_at=now)
    await restore(backend, restoration_of(job))
    assert [each.id for each in await backend.jobs.list_in_doubt(9)] == [job.id]


async def test_a_job_that_is_there_is_not_restored(backend: StoreBackend) -> None:
    job = await admit_job(backend)
    assert not (await restore(backend, restoration_of(running_job(backend)))).is_stored
    record = await backend.jobs.load(job.id)
    assert record is not None
    assert record.job == job


async def test_a_key_that_was_used_for_another_request_since_stays(backend: StoreBackend) -> None:
    other = new_job(backend.clock.now(), "req_2")
    claim = IdempotencyClaim("d", "another")
    await backend.jobs.admit(replace(admission_of(other), idempotency=claim))
    job = running_job(backend)
    assert (await restore(backend, restoration_of(job))).is_stored
    kept, lost = (
        await backend.jobs.load_submission(other),
        await backend.jobs.load_submission(job),
    )
    assert kept is not None
    assert kept.idempotency is not None
    assert lost is not None
    assert lost.idempotency is None


async def test_a_request_that_was_repeated_since_is_named_before_anything_is_stored(
    backend: StoreBackend,
) -> None:
    again = new_job(backend.clock.now(), "req_2")
    await backend.jobs.admit(replace(admission_of(again), idempotency=IdempotencyClaim("d", "fp")))
    job = running_job(backend)
    found = await restore(backend, restoration_of(job))
    assert found == RestorationResult(is_stored=False, repetition="req_2")
    assert await backend.jobs.load(job.id) is None
    unsettled = replace(
        restoration_of(job), settled_repetition="req_2", settled_jobs=("req_2", "req_3")
    )
    assert await restore(backend, unsettled) == found
    settled = replace(restoration_of(job), settled_repetition="req_2", settled_jobs=("req_3",))
    assert (await restore(backend, settled)).is_stored
    held = await backend.jobs.load_submission(job)
    assert held is not None
    assert held.idempotency == IdempotencyRecord("d", "fp")


async def test_a_repetition_that_follows_another_job_is_not_settled(backend: StoreBackend) -> None:
    leader, again = (
        replace(new_job(backend.clock.now(), name), fingerprint="1:same")
        for name in ("req_2", "req_3")
    )
    shared = replace(admission_of(leader), cache=CacheRequest(CacheOption.USE))
    await backend.jobs.admit(shared)
    claim = IdempotencyClaim("d", "fp")
    joined = await backend.jobs.admit(replace(shared, job=again, idempotency=claim))
    assert joined.cache_status == "joined"
    restoration = replace(
        restoration_of(running_job(backend)), settled_repetition="req_3", settled_jobs=("req_3",)
    )
    assert (await restore(backend, restoration)).repetition == "req_3"


async def test_the_key_of_a_batch_leads_to_the_batch_of_a_restored_job(
    backend: StoreBackend,
) -> None:
    first, second = running_job(backend), replace(running_job(backend, "req_2"), batch="bat_1")
    for job in (replace(first, batch="bat_1"), second):
        restoration = replace(restoration_of(job), batch="bat_1")
        assert (await restore(backend, restoration)).is_stored
    found = await backend.batches.find_replay(tenant_credential(), IdempotencyClaim("d", "fp"))
    assert found == "bat_1"


async def test_its_key_finds_a_restored_job(backend: StoreBackend) -> None:
    job = running_job(backend)
    await restore(backend, restoration_of(job))
    again = replace(new_job(backend.clock.now(), "req_9"), fingerprint=job.fingerprint)
    admitted = await backend.jobs.admit(
        replace(admission_of(again), idempotency=IdempotencyClaim("d", "fp"))
    )
    assert admitted.record is not None
    assert admitted.record.job.id == job.id
    assert tenant_credential().tenant == job.tenant


async def test_an_empty_store_refuses_no_key(backend: StoreBackend) -> None:
    """Nor one that an operator fills again: its first tenant says nothing of all others' keys."""
    await backend.jobs.authenticate(tenant_credential("ada"))
    with pytest.raises(StoreUnknown):
        await backend.jobs.authenticate(NOBODY)
    await backend.identity.create(STORE)
    with pytest.raises(Unauthenticated):
        await backend.jobs.authenticate(NOBODY)
    await backend.probe.forget_tenants()
    with pytest.raises(StoreUnknown):
        await backend.jobs.authenticate(NOBODY)


async def test_the_key_of_the_last_tenant_is_refused_after_its_deletion(
    backend: StoreBackend,
) -> None:
    await backend.identity.create(STORE)
    for name in ("ada", "bob"):
        tenant = await backend.tenants.load(name)
        assert tenant is not None
        deleted = replace(tenant, disabled=True, version=tenant.version + 1)
        assert await backend.tenants.delete(tenant, deleted)
    with pytest.raises(Unauthenticated):
        await backend.jobs.authenticate(tenant_credential("ada"))
    with pytest.raises(StoreUnknown):
        await backend.jobs.authenticate(NOBODY)


async def test_an_account_is_replaced_only_as_it_was_read(backend: StoreBackend) -> None:
    assert await backend.identity.load_account() == ""
    assert await bind_account(backend.identity, "real") == "real"
    assert not await backend.identity.replace_account("", "simulated")
    assert await bind_account(backend.identity, MINE) == MINE
    assert await bind_account(backend.identity, "simulated") == MINE
    await backend.identity.create(replace(STORE, account="simulated"))
    assert await backend.identity.load() == replace(STORE, account=MINE)


async def test_an_account_alone_is_no_identity(backend: StoreBackend) -> None:
    await bind_account(backend.identity, MINE)
    await backend.probe.forget_tenants()
    assert await backend.identity.load() is None
    with pytest.raises(StoreUnknown):
        await backend.jobs.authenticate(NOBODY)
    await backend.identity.create(STORE)
    assert await backend.identity.load() == replace(STORE, account=MINE)
