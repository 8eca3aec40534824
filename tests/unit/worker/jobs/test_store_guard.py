"""Submits leave only while the store is the known one; a store that went back is reconciled first.

Over the in-memory stores, which go back by snapshots.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import pytest

from core.errors import Conflict, InvalidInput, StoreUnavailable
from core.jobs.in_doubt import resolve
from core.jobs.job import BillingStatus, Job
from core.journal.journal import Journal
from core.journal.objects import JournalUnavailable
from core.journal.position import CLOCK_MARGIN, MAX_LOOKBACK
from core.journal.records import JournalAnswer, Outcome, attempts_prefix, entry_name
from core.observability.events import SubmitsResumed
from core.store.codecs import JOB_CODEC
from core.store.identity import StorePosition
from core.transactions.job_update import Change
from tests.support.clock import START
from tests.support.guard_harness import MINE, GuardHarness, S
from tests.support.journal import MemoryObjects
from tests.support.memory_store.snapshots import Snapshot
from tests.support.records import POLICY, SECOND
from worker.jobs.decisions.submit import cancel_unsubmitted
from worker.jobs.store_guard import MAX_IDENTITY_AGE, REPORT_DELAY, StoreGuard
from worker.ports import Indeterminate, NotSent


@pytest.fixture
def gateway() -> GuardHarness:
    return GuardHarness()


async def test_nothing_leaves_before_the_first_check(gateway: GuardHarness) -> None:
    guard = gateway.guard()
    assert not guard.is_open
    assert not await guard.allows_submit()


async def test_a_new_store_and_a_new_journal_belong_together(gateway: GuardHarness) -> None:
    guard = await gateway.started()
    assert await guard.allows_submit()
    here, known = await gateway.commands().positions()
    assert here is not None
    assert known is not None
    assert here.store_id == known.store_id
    assert gateway.stops == []


@pytest.mark.parametrize("fails", [1, 2, 3])
async def test_while_the_journal_is_away_nothing_leaves(gateway: GuardHarness, fails: int) -> None:
    gateway.objects.failures = 20 * fails
    guard = gateway.guard()
    await guard.run_once(gateway.reconciler)
    assert not guard.is_open
    gateway.objects.failures = 0
    await guard.run_once(gateway.reconciler)
    assert guard.is_open


async def test_a_lost_journal_stops_submits(gateway: GuardHarness) -> None:
    guard = await gateway.started()
    gateway.lose_journal()
    await guard.run_once(gateway.reconciler)
    assert not await guard.allows_submit()
    assert gateway.stops == ["other_journal"]
    restarted = gateway.guard()
    await restarted.run_once(gateway.reconciler)
    assert not restarted.is_open


async def test_a_journal_that_comes_back_lets_submits_leave(gateway: GuardHarness) -> None:
    guard = await gateway.started()
    held = gateway.lose_journal()
    await guard.run_once(gateway.reconciler)
    gateway.objects.contents |= held
    await guard.run_once(gateway.reconciler)
    assert await guard.allows_submit()


async def test_an_entry_that_a_lost_journal_lacks_proves_nothing(gateway: GuardHarness) -> None:
    """Found by reading: the job was queued again, and paid for twice."""
    guard = await gateway.started()
    claimed = await gateway.claim(await gateway.admit())
    gateway.lose_journal()
    with pytest.raises(JournalUnavailable):
        await gateway.paid(guard).find_answer(claimed)


async def test_a_new_journal_decides_nothing_about_older_claims(gateway: GuardHarness) -> None:
    guard = await gateway.started()
    claimed = await gateway.claim(await gateway.admit())
    gateway.lose_journal()
    assert await gateway.commands().replace_journal(dry_run=True) == [claimed]
    await guard.run_once(gateway.reconciler)
    assert not guard.is_open
    assert await gateway.commands().replace_journal(dry_run=False) == [claimed]
    await guard.run_once(gateway.reconciler)
    assert await guard.allows_submit()
    assert isinstance(await gateway.paid(guard).find_answer(claimed), Indeterminate)
    await gateway.clock.advance(600 * SECOND)
    later = await gateway.claim_without_entry(await gateway.admit("req_2"))
    assert isinstance(await gateway.paid(guard).find_answer(later), NotSent)


async def test_a_first_journal_decides_nothing_about_older_claims(gateway: GuardHarness) -> None:
    """Until now the gateway had none."""
    await gateway.stores.identity.create(StorePosition("here"))
    claimed = await gateway.claim_without_entry(await gateway.admit())
    with pytest.raises(JournalUnavailable):
        await gateway.paid(gateway.guard()).find_answer(claimed)
    guard = await gateway.started()
    assert isinstance(await gateway.paid(guard).find_answer(claimed), Indeterminate)


async def test_a_worker_without_a_journal_submits_nothing_beside_one(gateway: GuardHarness) -> None:
    """Its submit had no entry, which to the others meant that nothing was sent."""
    await gateway.started()
    other = gateway.guard(timedelta(0), "", None)
    await other.run_once(None)
    assert not other.is_open
    assert gateway.stops == ["other_journal"]
    gateway.has_commands_journal = False
    await gateway.commands().replace_journal(dry_run=False)
    await other.run_once(None)
    assert other.is_open


async def test_a_journal_that_is_away_at_the_start_counts_as_no_journal(
    gateway: GuardHarness,
) -> None:
    """The failed check counted as passed, and submits left with entries in an empty folder."""
    await gateway.started()
    objects = MemoryObjects(gateway.clock)
    guard = gateway.guard(timedelta(0), "", Journal(objects, *gateway.rest))
    for failures in (1, 2, 3):
        objects.failures = failures
        await guard.run_once(gateway.reconciler)
        assert not guard.is_open


async def test_an_entry_in_another_folder_than_the_journals_lets_nothing_leave(
    gateway: GuardHarness,
) -> None:
    guard = await gateway.started()
    assert await guard.is_in_own_journal()
    gateway.lose_journal()
    assert not await guard.is_in_own_journal()


# --- a journal that went back


async def noted(gateway: GuardHarness, guard: StoreGuard, job_id: str) -> Job:
    """Return a claimed job whose entry the store has noted."""
    claimed = await gateway.claim(await gateway.admit(job_id))
    assert await guard.note_entry(claimed, 1)
    return claimed


async def test_a_journal_without_the_entry_noted_last_stops_submits(gateway: GuardHarness) -> None:
    guard = await gateway.started()
    copy = gateway.copy_journal()
    claimed = await noted(gateway, guard, "req_1")
    newer = gateway.copy_journal()
    gateway.swap_journal(copy)
    await guard.run_once(gateway.reconciler)
    assert not await guard.allows_submit()
    assert gateway.stops == ["journal_went_back"]
    restarted = gateway.guard()
    await restarted.run_once(gateway.reconciler)
    assert not restarted.is_open
    with pytest.raises(JournalUnavailable):
        await gateway.paid(guard).find_answer(claimed)
    gateway.swap_journal(newer)
    for each in (guard, restarted):
        await each.run_once(gateway.reconciler)
        assert await each.allows_submit()
    assert isinstance(await gateway.paid(guard).find_answer(claimed), Indeterminate)


async def test_entries_written_since_do_not_hide_that_a_journal_went_back(
    gateway: GuardHarness,
) -> None:
    """Between two checks: the entry noted last is there. A worker that starts then is told."""
    guard = await gateway.started()
    copy = gateway.copy_journal()
    lost = await noted(gateway, guard, "req_1")
    await guard.run_once(gateway.reconciler)
    gateway.swap_journal(copy)
    await noted(gateway, guard, "req_2")
    await guard.run_once(gateway.reconciler)
    assert gateway.stops == ["journal_went_back"]
    restarted = gateway.guard()
    await restarted.run_once(gateway.reconciler)
    assert not restarted.is_open
    position = await gateway.stores.identity.load()
    assert position is not None
    assert position.lost_entry == entry_name(attempts_prefix(lost), 1)


async def test_a_dead_workers_claim_shows_that_the_journal_went_back(gateway: GuardHarness) -> None:
    """Found by reading: a copy of the same identity was believed, and the job paid for twice."""
    guard = await gateway.started()
    copy = gateway.copy_journal()
    lost = await noted(gateway, guard, "req_1")
    gateway.swap_journal(copy)
    await noted(gateway, guard, "req_2")
    restarted = await gateway.started()
    with pytest.raises(JournalUnavailable):
        await gateway.paid(restarted).find_answer(lost)
    assert not restarted.is_open
    await restarted.run_once(gateway.reconciler)
    assert gateway.stops == ["journal_went_back"]


async def test_going_on_with_a_journal_that_went_back_leaves_its_claims_in_doubt(
    gateway: GuardHarness,
) -> None:
    guard = await gateway.started()
    copy = gateway.copy_journal()
    lost = await noted(gateway, guard, "req_1")
    gateway.swap_journal(copy)
    await guard.run_once(gateway.reconciler)
    assert await gateway.commands().replace_journal(dry_run=True) == [lost]
    assert await gateway.commands().replace_journal(dry_run=False) == [lost]
    await guard.run_once(gateway.reconciler)
    assert await guard.allows_submit()
    assert isinstance(await gateway.paid(guard).find_answer(lost), Indeterminate)
    await guard.run_once(gateway.reconciler)
    assert guard.is_open
    with pytest.raises(Conflict):
        await gateway.commands().replace_journal(dry_run=False)


async def test_a_claim_that_noted_no_entry_has_sent_nothing(gateway: GuardHarness) -> None:
    guard = await gateway.started()
    await noted(gateway, guard, "req_1")
    claimed = await gateway.claim_without_entry(await gateway.admit("req_2"))
    assert isinstance(await gateway.paid(guard).find_answer(claimed), NotSent)


async def test_an_entry_in_a_journal_that_was_replaced_meanwhile_is_not_noted(
    gateway: GuardHarness,
) -> None:
    guard = await gateway.started()
    claimed = await gateway.claim(await gateway.admit())
    gateway.lose_journal()
    await gateway.commands().replace_journal(dry_run=False)
    assert not await guard.note_entry(claimed, 1)


async def test_old_entries_are_not_missed(gateway: GuardHarness) -> None:
    """The sweeper deletes them."""
    guard = await gateway.started()
    await noted(gateway, guard, "req_1")
    await guard.run_once(gateway.reconciler)
    await gateway.clock.advance(MAX_LOOKBACK)
    gateway.drop_entries()
    await guard.run_once(gateway.reconciler)
    assert await guard.allows_submit()


# --- what a check reads


async def test_a_check_reads_the_position_once(gateway: GuardHarness) -> None:
    guard = await gateway.started()
    loads = gateway.count_loads()
    await guard.run_once(gateway.reconciler)
    assert loads == ["load"]


async def test_a_bucket_is_identified_by_the_last_check(gateway: GuardHarness) -> None:
    """A folder is identified for each submit: it may be unmounted."""
    gateway.objects.is_mounted = False
    guard = await gateway.started()
    gateway.lose_journal()
    assert await guard.is_in_own_journal()
    await gateway.clock.advance(MAX_IDENTITY_AGE)
    assert not await guard.is_in_own_journal()
    await guard.run_once(gateway.reconciler)
    assert not await guard.is_in_own_journal()


async def test_another_gateways_journal_is_not_taken_over(gateway: GuardHarness) -> None:
    await gateway.started()
    gateway.lose_journal()
    await gateway.journal.save_position(StorePosition("elsewhere"))
    with pytest.raises(Conflict, match="elsewhere"):
        await gateway.commands().replace_journal(dry_run=False)


async def test_of_two_first_journals_one_counts(gateway: GuardHarness) -> None:
    await gateway.started()
    objects = MemoryObjects(gateway.clock)
    second = gateway.guard(timedelta(0), "", Journal(objects, *gateway.rest))
    await second.run_once(gateway.reconciler)
    assert not second.is_open
    assert gateway.stops == ["other_journal"]


async def test_a_journal_that_is_the_stores_is_not_replaced(gateway: GuardHarness) -> None:
    await gateway.started()
    with pytest.raises(Conflict):
        await gateway.commands().replace_journal(dry_run=False)


async def test_a_forgotten_job_comes_back_running_before_anything_leaves(
    gateway: GuardHarness,
) -> None:
    guard = await gateway.gone_back()
    assert not await guard.allows_submit()
    assert gateway.stops == ["went_back"]
    await guard.run_once(gateway.reconciler)
    assert await gateway.state_of() == (S.RUNNING, "up-1")
    assert gateway.differences == ["restore"]
    assert await guard.allows_submit()
    assert isinstance(gateway.events[-1], SubmitsResumed)
    booking = gateway.stores.memory.accounts["req_1"].booking
    assert booking.reserved == 500


async def test_a_submit_in_flight_while_the_store_went_back_is_restored(
    gateway: GuardHarness,
) -> None:
    """Found by simulation: its entry came after the comparison, and the paid job was lost."""
    guard = gateway.guard(POLICY.lease)
    await guard.run_once(gateway.reconciler)
    before = gateway.snapshot()
    claimed = await gateway.claim(await gateway.admit())
    assert await guard.allows_submit()
    gateway.go_back_to(before)
    await guard.run_once(gateway.reconciler)
    await gateway.accepted(claimed)
    assert not guard.is_open
    await gateway.clock.advance(POLICY.lease)
    await guard.run_once(gateway.reconciler)
    assert await gateway.state_of() == (S.RUNNING, "up-1")
    assert guard.is_open


async def test_a_job_that_its_worker_misses_has_the_journal_compared_again(
    gateway: GuardHarness,
) -> None:
    guard = await gateway.started()
    before = gateway.snapshot()
    claimed = await gateway.claim(await gateway.admit())
    gateway.go_back_to(before)
    await gateway.accepted(claimed)
    await guard.report_missing(gateway.clock.now())
    assert not guard.is_open
    await guard.run_once(gateway.reconciler)
    assert await gateway.state_of() == (S.RUNNING, "up-1")


async def test_a_forgotten_acceptance_is_attached(gateway: GuardHarness) -> None:
    guard = await gateway.started()
    queued = await gateway.admit()
    before = gateway.snapshot()
    await gateway.accepted(await gateway.claim(queued))
    await guard.allows_submit()
    gateway.go_back_to(before)
    await guard.run_once(gateway.reconciler)
    assert await gateway.state_of() == (S.RUNNING, "up-1")
    assert gateway.differences == ["attach"]


async def test_a_forgotten_submit_without_an_answer_is_in_doubt(gateway: GuardHarness) -> None:
    guard = await gateway.started()
    before = gateway.snapshot()
    await gateway.claim(await gateway.admit())
    await guard.allows_submit()
    gateway.go_back_to(before)
    await guard.run_once(gateway.reconciler)
    assert await gateway.state_of() == (S.IN_DOUBT, None)


async def test_a_cancelled_job_that_runcomfy_has_is_watched(gateway: GuardHarness) -> None:
    guard = await gateway.started()
    queued = await gateway.admit()
    before = gateway.snapshot()
    await gateway.accepted(await gateway.claim(queued))
    await guard.allows_submit()
    gateway.go_back_to(before)
    await gateway.stores.jobs.store(cancel_unsubmitted(queued, gateway.clock.now()))
    await guard.run_once(gateway.reconciler)
    assert await gateway.state_of() == (S.CANCELLED, "up-1")
    assert gateway.differences == ["second_acceptance"]
    gateway.events.clear()
    await gateway.guard().run_once(gateway.reconciler)
    assert gateway.differences == [], "it is noted once"


async def test_as_many_claims_as_were_forgotten_do_not_hide_it(gateway: GuardHarness) -> None:
    guard = await gateway.started()
    before = gateway.snapshot()
    await gateway.accepted(await gateway.claim(await gateway.admit()))
    await guard.allows_submit()
    gateway.go_back_to(before)
    await gateway.claim(await gateway.admit("req_2"))
    assert not await guard.allows_submit()
    await guard.run_once(gateway.reconciler)
    assert await gateway.state_of() == (S.RUNNING, "up-1")


async def test_a_worker_that_claims_first_hides_nothing_from_the_comparison(
    gateway: GuardHarness,
) -> None:
    """Its claim is new; the forgotten ones are ten minutes older."""
    guard = await gateway.started()
    before = gateway.snapshot()
    await gateway.accepted(await gateway.claim(await gateway.admit()))
    await guard.allows_submit()
    await gateway.clock.advance(600 * SECOND)
    gateway.go_back_to(before)
    await gateway.claim(await gateway.admit("req_2"))
    await guard.run_once(gateway.reconciler)
    assert await gateway.state_of() == (S.RUNNING, "up-1")


async def test_one_worker_stops_all(gateway: GuardHarness) -> None:
    first, second = await gateway.started(), await gateway.started()
    before = gateway.snapshot()
    await gateway.accepted(await gateway.claim(await gateway.admit()))
    await first.allows_submit()
    gateway.go_back_to(before)
    assert not await first.allows_submit()
    assert not await second.allows_submit()
    await second.run_once(gateway.reconciler)
    assert await second.allows_submit()
    await first.run_once(gateway.reconciler)
    assert await first.allows_submit()


async def test_a_worker_without_a_memory_knows_it_from_the_journal(gateway: GuardHarness) -> None:
    guard = await gateway.started()
    before = gateway.snapshot()
    await gateway.accepted(await gateway.claim(await gateway.admit()))
    await guard.run_once(gateway.reconciler)
    gateway.go_back_to(before)
    fresh = await gateway.started()
    assert gateway.stops == ["went_back"]
    assert await gateway.state_of() == (S.RUNNING, "up-1")
    assert await fresh.allows_submit()


async def test_an_empty_store_is_not_used(gateway: GuardHarness) -> None:
    empty = gateway.snapshot()
    guard = await gateway.started()
    await gateway.accepted(await gateway.claim(await gateway.admit()))
    await guard.run_once(gateway.reconciler)
    gateway.go_back_to(empty)
    await guard.run_once(gateway.reconciler)
    assert (guard.is_open, gateway.stops) == (False, ["unknown"])
    fresh = gateway.guard()
    await fresh.run_once(gateway.reconciler)
    assert not fresh.is_open


async def test_an_operator_may_replace_a_lost_store(gateway: GuardHarness) -> None:
    empty = gateway.snapshot()
    guard = await gateway.started()
    await gateway.accepted(await gateway.claim(await gateway.admit()))
    await guard.run_once(gateway.reconciler)
    gateway.go_back_to(empty)
    with pytest.raises(Conflict, match="--replace"):
        await gateway.commands().init(replace=False)
    await gateway.commands().init(replace=True)
    await guard.run_once(gateway.reconciler)
    assert await gateway.state_of() == (S.RUNNING, "up-1")
    assert await guard.allows_submit()


async def test_a_store_of_another_journal_is_not_used(gateway: GuardHarness) -> None:
    await gateway.started()
    other = GuardHarness()
    other.journal, other.objects = gateway.journal, gateway.objects
    await other.stores.identity.create(StorePosition("another"))
    guard = other.guard()
    await guard.run_once(gateway.reconciler)
    assert (guard.is_open, other.stops) == (False, ["other"])
    with pytest.raises(Conflict):
        await other.commands().init(replace=True)
    with pytest.raises(Conflict):
        await other.commands().reconcile(None, dry_run=True)


async def test_a_new_store_belongs_to_the_account_of_the_first_worker(
    gateway: GuardHarness,
) -> None:
    guard = gateway.guard(account=MINE)
    await guard.run_once(gateway.reconciler)
    assert await guard.allows_submit()
    here, known = await gateway.commands().positions()
    assert here is not None
    assert known is not None
    assert (here.account, known.account) == (MINE, MINE)


@pytest.mark.parametrize("account", ["real 2222222222222222", "simulated"])
async def test_nothing_leaves_to_another_account_than_the_store_s(
    gateway: GuardHarness, account: str
) -> None:
    await gateway.guard(account=MINE).run_once(gateway.reconciler)
    guard = gateway.guard(account=account)
    await guard.run_once(gateway.reconciler)
    await guard.run_once(gateway.reconciler)
    assert not await guard.allows_submit()
    assert gateway.stops == ["other_account"]
    assert await gateway.stores.identity.load_account() == MINE
    # The worker drops its connection, so that it does not poll either.
    assert gateway.stores.memory.disconnects == 3


async def test_a_store_that_changes_hands_under_a_running_worker_stops_it(
    gateway: GuardHarness,
) -> None:
    guard = gateway.guard(account=MINE)
    await guard.run_once(gateway.reconciler)
    assert await guard.allows_submit()
    gateway.stores.memory.account = "simulated"
    assert not await guard.allows_submit()
    assert not guard.is_open
    assert gateway.stops == ["other_account"]


async def test_an_adopted_token_and_the_one_that_it_replaces_work_side_by_side(
    gateway: GuardHarness,
) -> None:
    old, new = gateway.guard(account=MINE), gateway.guard(account="real 2222222222222222")
    await old.run_once(gateway.reconciler)
    await new.run_once(gateway.reconciler)
    adopted = await gateway.commands().adopt("2222222222222222")
    assert adopted.position.account == "real 2222222222222222 1111111111111111"
    assert adopted.is_changed
    again = await gateway.commands().adopt("2222222222222222")
    assert again == replace(adopted, is_changed=False)
    for guard in (old, new):
        await guard.run_once(gateway.reconciler)
        assert await guard.allows_submit()


async def test_a_simulated_store_adopts_no_token(gateway: GuardHarness) -> None:
    await gateway.guard(account="simulated").run_once(gateway.reconciler)
    with pytest.raises(InvalidInput, match="simulated"):
        await gateway.commands().adopt("2222222222222222")


async def test_only_a_store_adopts_a_token(gateway: GuardHarness) -> None:
    with pytest.raises(Conflict, match="no gateway's store"):
        await gateway.commands().adopt("2222222222222222")
    assert not await gateway.stores.identity.load_account()


async def test_a_store_that_replaces_a_lost_one_has_its_account(gateway: GuardHarness) -> None:
    await gateway.guard(account=MINE).run_once(gateway.reconciler)
    gateway.stores.memory.position, gateway.stores.memory.account = None, ""
    fresh = await gateway.commands().init(replace=True)
    assert fresh.position.account == MINE
    assert await gateway.stores.identity.load_account() == MINE


# --- the commands


async def test_init_is_done_once(gateway: GuardHarness) -> None:
    first = await gateway.commands().init(replace=False)
    assert first.is_changed
    again = await gateway.commands().init(replace=False)
    assert again == replace(first, is_changed=False)
    guard = await gateway.started()
    assert await guard.allows_submit()


async def test_a_dry_run_changes_nothing(gateway: GuardHarness) -> None:
    guard = await gateway.started()
    before = gateway.snapshot()
    await gateway.accepted(await gateway.claim(await gateway.admit()))
    await guard.run_once(gateway.reconciler)
    gateway.go_back_to(before)
    found = (await gateway.commands().reconcile(None, dry_run=True)).found
    assert [(each.job_id, each.difference, each.detail) for each in found] == [
        ("req_1", "restore", "running")
    ]
    assert await gateway.stores.jobs.load("req_1") is None
    await gateway.commands().reconcile(None, dry_run=False)
    assert await gateway.state_of() == (S.RUNNING, "up-1")
    compared = await gateway.commands().reconcile(None, dry_run=True)
    assert (compared.found, compared.is_changed) == ([], False)


async def test_without_a_journal_nothing_can_be_compared(gateway: GuardHarness) -> None:
    commands = replace(gateway.commands(), journal=None, reconciler=None)
    with pytest.raises(Conflict, match="no journal"):
        await commands.reconcile(None, dry_run=True)


async def test_an_entry_that_cannot_be_read_is_reported(gateway: GuardHarness) -> None:
    guard = await gateway.started()
    before = gateway.snapshot()
    claimed = await gateway.claim(await gateway.admit())
    await guard.allows_submit()
    gateway.objects.put(entry_name(attempts_prefix(claimed), 1), b'{"form')
    gateway.go_back_to(before)
    await guard.run_once(gateway.reconciler)
    assert gateway.differences == ["restore"]
    assert await gateway.stores.jobs.load("req_1") is None
    assert await guard.allows_submit()


async def test_a_forgotten_submit_without_an_answer_is_in_doubt_before_it_is_claimed() -> None:
    harness = GuardHarness()
    guard = await harness.started()
    queued = await harness.admit()
    before = harness.snapshot()
    await harness.claim(queued)
    assert await guard.allows_submit()
    harness.go_back_to(before)
    await guard.run_once(harness.reconciler)
    assert await harness.state_of() == (S.IN_DOUBT, None)
    assert guard.is_open


async def test_a_forgotten_submit_of_a_job_that_was_cancelled_since_may_have_been_billed() -> None:
    harness = GuardHarness()
    guard = await harness.started()
    queued = await harness.admit()
    before = harness.snapshot()
    await harness.claim(queued)
    assert await guard.allows_submit()
    harness.go_back_to(before)
    await harness.stores.jobs.store(cancel_unsubmitted(queued, harness.clock.now()))
    await guard.run_once(harness.reconciler)
    record = await harness.stores.jobs.load("req_1")
    assert record is not None
    assert (record.job.state, record.job.billed) == (S.CANCELLED, BillingStatus.UNKNOWN)
    assert [each.difference for each in await harness.reconciler.run(queued.created_at)] == []


async def test_the_journals_identity_counts_not_one_that_a_store_forgot_at_once() -> None:
    harness = GuardHarness()
    guard = await harness.started()
    other = StorePosition("b" * 32)
    harness.stores.memory.position = other
    await harness.journal.save_position(other)
    await guard.run_once(harness.reconciler)
    assert guard.is_open


async def test_without_a_journal_what_a_copy_has_queued_is_put_in_doubt() -> None:
    harness = GuardHarness()
    await harness.started()
    await harness.admit("req_old")
    await harness.clock.advance(SECOND)
    copied_at = harness.clock.now()
    await harness.clock.advance(SECOND)
    await harness.admit("req_new")
    commands = replace(harness.commands(), journal=None, reconciler=None)
    assert [job.id for job in await commands.restored(copied_at, dry_run=True)] == ["req_old"]
    assert await harness.state_of("req_old") == (S.QUEUED, None)
    await commands.restored(copied_at, dry_run=False)
    assert await harness.state_of("req_old") == (S.IN_DOUBT, None)
    assert await harness.state_of("req_new") == (S.QUEUED, None)
    assert await commands.restored(copied_at, dry_run=False) == []


async def test_a_copy_without_a_journal_counts_as_a_store_that_went_back() -> None:
    """Objects from before may have lost their records: the sweeper deleted them after two days."""
    harness = GuardHarness()
    await harness.started()
    commands = replace(harness.commands(), journal=None, reconciler=None)
    (before, _), now = await commands.positions(), harness.clock.now()
    await commands.restored(now, dry_run=True)
    assert await commands.positions() == (before, None)
    await commands.restored(now, dry_run=False)
    after, _ = await commands.positions()
    assert before is not None
    assert after is not None
    assert (after.epoch, after.complete_since) == (before.epoch + 1, now)


async def test_only_a_store_and_its_own_journal_can_have_been_restored() -> None:
    harness = GuardHarness()
    with pytest.raises(Conflict, match="no gateway's store"):
        await harness.commands().restored(harness.clock.now(), dry_run=True)
    await harness.started()
    await harness.journal.save_position(StorePosition("another"))
    with pytest.raises(Conflict, match="store another"):
        await harness.commands().restored(harness.clock.now(), dry_run=True)


# --- store and journal, restored from one backup


@dataclass
class Backup:
    """A copy of store and journal, made when a job was queued that was paid for afterwards."""

    gateway: GuardHarness
    made_at: datetime = field(init=False)
    store: Snapshot = b""
    journal: dict[str, bytes] = field(default_factory=dict)

    async def make(self) -> Job:
        queued = await self.gateway.admit()
        self.store, self.journal = self.gateway.snapshot(), self.gateway.copy_journal()
        self.made_at = self.gateway.clock.now()
        return queued

    def restore(self) -> None:
        self.gateway.go_back_to(self.store)
        self.gateway.swap_journal(self.journal)


@pytest.mark.parametrize("has_checked", [False, True])
async def test_a_running_worker_notices_that_store_and_journal_went_back_together(
    gateway: GuardHarness, *, has_checked: bool
) -> None:
    """It remembers the entry, whether it saw it in a check or has just had it noted."""
    guard, backup = await gateway.started(), Backup(gateway)
    claimed = await gateway.claim(await backup.make())
    assert await guard.allows_submit()
    assert await guard.note_entry(claimed, 1)
    if has_checked:
        await guard.run_once(gateway.reconciler)
    backup.restore()
    assert not await guard.allows_submit()
    await guard.run_once(gateway.reconciler)
    assert (guard.is_open, gateway.stops[-1]) == (False, "journal_went_back")
    fresh = gateway.guard()
    await fresh.run_once(gateway.reconciler)
    assert not fresh.is_open, "it has been told by the store"

    await gateway.commands().restored(backup.made_at, dry_run=False)
    assert await gateway.state_of() == (S.IN_DOUBT, None)
    for each in (guard, fresh):
        await each.run_once(gateway.reconciler)
        assert await each.allows_submit()


async def test_a_claim_whose_entry_the_copy_of_the_journal_lacks_is_in_doubt(
    gateway: GuardHarness,
) -> None:
    backup = Backup(gateway)
    await gateway.started()
    await backup.make()
    claimed = await gateway.claim_without_entry(await gateway.admit("req_2"))
    backup.store = gateway.snapshot()
    backup.restore()
    guard = gateway.guard()
    await guard.run_once(gateway.reconciler)
    assert guard.is_open, "nothing is left that knows"
    await gateway.commands().restored(gateway.clock.now(), dry_run=False)
    assert isinstance(await gateway.paid(guard).find_answer(claimed), Indeterminate)


async def test_a_job_that_only_the_copy_of_the_journal_has_is_in_doubt(
    gateway: GuardHarness,
) -> None:
    """Its first submit was not sent; a second one, after the copy, was accepted."""
    backup = Backup(gateway)
    guard = await gateway.started()
    await backup.make()
    claimed = await gateway.claim(await gateway.admit("req_2"))
    not_sent = JournalAnswer(Outcome.NOT_SENT, gateway.clock.now())
    await gateway.journal.answer(claimed, 1, not_sent)
    await guard.run_once(gateway.reconciler)
    backup.journal = gateway.copy_journal()
    backup.restore()
    await gateway.commands().restored(backup.made_at - SECOND, dry_run=False)
    assert await gateway.state_of("req_2") == (S.IN_DOUBT, None)


async def test_what_a_newer_journal_knows_is_no_doubt(gateway: GuardHarness) -> None:
    backup = Backup(gateway)
    await gateway.started()
    claimed = await gateway.claim(await backup.make())
    await gateway.accepted(claimed)
    gateway.go_back_to(backup.store)
    assert [job.id for job in await gateway.commands().restored(backup.made_at, dry_run=True)] == [
        "req_1"
    ]
    assert await gateway.commands().restored(backup.made_at, dry_run=False) == []
    assert await gateway.state_of() == (S.RUNNING, "up-1")


# --- a store that went back to before its journal had every claim


async def restored_and_running(gateway: GuardHarness) -> tuple[StoreGuard, Backup]:
    """A backup was restored of a job that was paid for; a worker has started since."""
    backup = Backup(gateway)
    await gateway.started()
    await gateway.claim(await backup.make())
    backup.restore()
    await gateway.commands().restored(backup.made_at, dry_run=False)
    assert await gateway.state_of() == (S.IN_DOUBT, None)
    await gateway.clock.advance(SECOND)
    return await gateway.started(), backup


async def test_a_backup_that_is_restored_again_under_a_worker_leaves_its_jobs_in_doubt(
    gateway: GuardHarness,
) -> None:
    """Regression: the doubts of the first `store restored` were gone; the job was sent again."""
    guard, backup = await restored_and_running(gateway)
    backup.restore()
    await guard.run_once(gateway.reconciler)
    assert await gateway.state_of() == (S.IN_DOUBT, None)
    assert await guard.allows_submit()


async def test_a_store_that_forgets_that_it_was_restored_leaves_its_jobs_in_doubt(
    gateway: GuardHarness,
) -> None:
    """Regression: its journal, which was restored as well then, lacks the entry for ever."""
    _, backup = await restored_and_running(gateway)
    gateway.go_back_to(backup.store)
    fresh = gateway.guard()
    await fresh.run_once(gateway.reconciler)
    assert await gateway.state_of() == (S.IN_DOUBT, None)
    assert fresh.is_open


async def test_a_command_finds_the_doubts_that_were_forgotten(gateway: GuardHarness) -> None:
    _, backup = await restored_and_running(gateway)
    gateway.go_back_to(backup.store)
    found = (await gateway.commands().reconcile(None, dry_run=True)).found
    assert [(each.job_id, each.difference) for each in found] == [("req_1", "doubt")]
    assert await gateway.state_of() == (S.QUEUED, None)
    compared = await gateway.commands().reconcile(None, dry_run=False)
    assert (compared.found, compared.is_changed) == (found, True)
    assert await gateway.state_of() == (S.IN_DOUBT, None)


async def test_a_claim_before_the_journal_is_in_doubt_although_the_store_forgot_when_it_began(
    gateway: GuardHarness,
) -> None:
    guard, backup = await restored_and_running(gateway)
    gateway.go_back_to(backup.store)
    claimed = await gateway.claim_without_entry(await gateway.admit("req_2"))
    assert isinstance(await gateway.paid(guard).find_answer(claimed), Indeterminate)


async def test_a_store_from_before_its_journal_was_replaced_leaves_its_jobs_in_doubt(
    gateway: GuardHarness,
) -> None:
    """Regression: the former journal had the entry of the submit, which was sent again."""
    backup = Backup(gateway)
    await gateway.started()
    await gateway.claim(await backup.make())
    gateway.lose_journal()
    await gateway.started_after_replacement()
    gateway.go_back_to(backup.store)
    guard = gateway.guard()
    await guard.run_once(gateway.reconciler)
    assert gateway.stops[-1] == "other_journal"
    with pytest.raises(Conflict, match="went back as well"):
        await gateway.commands().replace_journal(dry_run=False)
    await gateway.commands().restored(backup.made_at, dry_run=False)
    assert await gateway.state_of() == (S.IN_DOUBT, None)
    await guard.run_once(gateway.reconciler)
    assert guard.is_open


async def test_a_store_from_before_it_had_a_journal_leaves_its_jobs_in_doubt(
    gateway: GuardHarness,
) -> None:
    """Regression: jobs that were sent without a journal were sent again."""
    without = gateway.guard(timedelta(0), "", None)
    await without.run_once(None)
    await gateway.claim_without_entry(await gateway.admit("req_0"))
    queued = await gateway.admit()
    before = gateway.snapshot()
    await gateway.claim_without_entry(queued)
    await gateway.started()
    gateway.go_back_to(before)
    fresh = gateway.guard()
    await fresh.run_once(gateway.reconciler)
    assert await gateway.state_of() == (S.IN_DOUBT, None)


async def test_a_store_that_still_knows_its_journal_puts_no_queued_job_in_doubt(
    gateway: GuardHarness,
) -> None:
    guard, _ = await restored_and_running(gateway)
    queued, other = await gateway.admit("req_2"), await gateway.admit("req_3")
    before = gateway.snapshot()
    await gateway.claim(queued)
    assert await guard.allows_submit()
    gateway.go_back_to(before)
    await guard.run_once(gateway.reconciler)
    assert await gateway.state_of(queued.id) == (S.IN_DOUBT, None)
    assert await gateway.state_of(other.id) == (S.QUEUED, None)


async def test_a_forgotten_doubt_that_was_resolved_by_a_resend_is_not_raised_again(
    gateway: GuardHarness,
) -> None:
    guard, backup = await restored_and_running(gateway)
    await gateway.clock.advance(timedelta(minutes=5))
    backup.restore()
    await guard.run_once(gateway.reconciler)
    until = gateway.clock.now() - timedelta(minutes=1)
    record = await gateway.stores.jobs.load("req_1")
    assert record is not None
    resent = resolve(record.job, "resend", "an operator", gateway.clock.now())
    await gateway.stores.jobs.store(Change(record.job, resent.after, resent.entry, resent.trigger))
    assert await gateway.reconciler.run(gateway.clock.now(), until) == []
    assert await gateway.state_of() == (S.QUEUED, None)


async def test_a_dead_workers_submit_is_found_before_its_repetition_leaves(
    gateway: GuardHarness,
) -> None:
    """Regression: who had not seen the forgotten claim let the repetition leave, paid twice."""
    guard = await gateway.started()
    await gateway.accepted(await gateway.claim(await gateway.admit("req_0")))
    assert await guard.allows_submit()
    before = gateway.snapshot()
    await gateway.accepted(await gateway.claim(await gateway.admit()))
    gateway.go_back_to(before)
    gateway.reconnect()
    await gateway.claim(await gateway.admit("req_again"))
    assert not await guard.allows_submit()
    await guard.run_once(gateway.reconciler)
    assert not await guard.allows_submit(), "the store is only marked: all workers compare it"
    await guard.run_once(gateway.reconciler)
    assert await guard.allows_submit()
    assert gateway.stops == ["uncompared", "went_back"]
    assert await gateway.state_of() == (S.RUNNING, "up-1")


async def test_a_reconnect_to_a_store_that_forgot_nothing_stops_submits_until_the_next_check(
    gateway: GuardHarness,
) -> None:
    guard = await gateway.started()
    await gateway.accepted(await gateway.claim(await gateway.admit()))
    gateway.reconnect()
    assert not await guard.allows_submit()
    await guard.run_once(gateway.reconciler)
    assert await guard.allows_submit()
    assert gateway.differences == []
    position = await gateway.stores.identity.load()
    assert position is not None
    assert position.epoch == 1


async def test_a_promotion_that_was_forgotten_is_noticed_after_a_reconnect(
    gateway: GuardHarness,
) -> None:
    await gateway.started()
    queued = await gateway.admit()
    await gateway.accepted(await gateway.claim(queued))
    gateway.stores.memory.claim_log.clear()
    following = replace(queued, state=S.FOLLOWING, leader="req_0")
    row = gateway.stores.memory.job("req_1")
    assert row is not None
    row.doc = JOB_CODEC.encode(following)
    since = START - CLOCK_MARGIN
    assert await gateway.reconciler.has_forgotten(since)
    gateway.stores.memory.claim_log.append("req_1 1")
    assert not await gateway.reconciler.has_forgotten(since)


async def test_while_the_journal_is_away_nothing_leaves_after_a_reconnect(
    gateway: GuardHarness,
) -> None:
    guard = await gateway.started()
    gateway.reconnect()
    gateway.objects.failures = 100
    await guard.run_once(gateway.reconciler)
    assert not guard.is_open
    gateway.objects.failures = 0
    await guard.run_once(gateway.reconciler)
    assert guard.is_open


async def test_without_a_journal_a_reconnect_waits_for_the_other_workers_checks(
    gateway: GuardHarness,
) -> None:
    guard = gateway.guard(timedelta(0), "", None)
    await guard.run_once(None)
    assert await guard.allows_submit()
    gateway.reconnect()
    await guard.run_once(None)
    assert not await guard.allows_submit()
    await gateway.clock.advance(REPORT_DELAY)
    await guard.run_once(None)
    assert await guard.allows_submit()


async def test_a_connection_that_is_lost_during_the_comparison_is_compared_again(
    gateway: GuardHarness,
) -> None:
    guard = await gateway.started()
    gateway.reconnect()
    find = gateway.reconciler.has_forgotten

    async def reconnecting(since: datetime) -> bool:
        gateway.reconnect()
        return await find(since)

    gateway.reconciler.has_forgotten = reconnecting  # type: ignore[method-assign]
    await guard.run_once(gateway.reconciler)
    assert not guard.is_open
    gateway.reconciler.has_forgotten = find  # type: ignore[method-assign]
    await guard.run_once(gateway.reconciler)
    assert guard.is_open


async def test_a_store_that_refuses_the_last_check_of_a_comparison_is_checked_again(
    gateway: GuardHarness,
) -> None:
    guard = await gateway.started()
    gateway.reconnect()
    load, answers = gateway.stores.identity.load, [True, False]

    async def failing(known: StorePosition | None = None) -> StorePosition | None:
        if answers and not answers.pop(0):
            raise StoreUnavailable
        return await load(known)

    gateway.stores.identity.load = failing  # type: ignore[method-assign]
    with pytest.raises(StoreUnavailable):
        await guard.run_once(gateway.reconciler)
    assert not guard.is_open
    await guard.run_once(gateway.reconciler)
    assert guard.is_open


async def test_a_job_that_its_worker_misses_has_all_compared_although_it_reconnects(
    gateway: GuardHarness,
) -> None:
    guard = await gateway.started()
    before = gateway.snapshot()
    await gateway.accepted(await gateway.claim(await gateway.admit()))
    await guard.report_missing(gateway.clock.now())
    gateway.go_back_to(before)  # the mark is forgotten too
    gateway.reconnect()
    await guard.run_once(gateway.reconciler)
    assert not guard.is_open, "it is only marked again"
    await guard.run_once(gateway.reconciler)
    assert await gateway.state_of() == (S.RUNNING, "up-1")
