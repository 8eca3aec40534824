"""What a store has forgotten, beside what was deleted: by its log of claims."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import count

import pytest

from core.errors import StoreUnavailable
from core.jobs.job import Job
from core.journal.reconciliation import remembered
from core.journal.records import Attempt, JournalAnswer, Outcome
from core.retention import MAX_JOB_AGE
from core.store.identity import KEPT_CLAIMS, StorePosition
from core.transactions.restoration import Restoration, RestorationResult
from tests.support.guard_harness import GuardHarness, S
from tests.support.memory_store.snapshots import Snapshot
from tests.support.records import SECOND
from worker.jobs.reconciliation import COMPARED_TOGETHER, Finding
from worker.jobs.store_guard import StoreGuard

CHECKS = 4
"""So often the guard checks until a store that went back is compared and settled."""


@pytest.fixture
def gateway() -> GuardHarness:
    return GuardHarness()


async def paid(gateway: GuardHarness, name: str) -> Job:
    """A job that RunComfy accepted."""
    return await gateway.accepted(await gateway.claim(await gateway.admit(name)), f"up-{name}")


async def with_one_paid_job(gateway: GuardHarness) -> tuple[StoreGuard, Snapshot]:
    """A guard whose store has a job that was paid a minute ago, and a copy of that store."""
    guard = await gateway.started()
    await paid(gateway, "req_0")
    await gateway.clock.advance(60 * SECOND)
    await guard.run_once(gateway.reconciler)
    return guard, gateway.snapshot()


async def checked(gateway: GuardHarness, guard: StoreGuard) -> None:
    """Let the guard check until submits leave."""
    for _ in range(CHECKS):
        await guard.run_once(gateway.reconciler)
    assert guard.is_open


async def assert_paid_once(gateway: GuardHarness, *names: str) -> None:
    """Assert that the store has all these jobs as RunComfy has them."""
    found = [await gateway.state_of(name) for name in names]
    assert found == [(S.RUNNING, f"up-{name}") for name in names]


def test_what_a_log_has_not_forgotten() -> None:
    claims = [f"req_{number} {number + 5}" for number in range(KEPT_CLAIMS)]
    full, part = remembered(claims), remembered(claims[1:])
    assert full.until is not None
    assert part.until is None
    before = full.until - timedelta(microseconds=1)
    table = (
        (full, "req_7", None, True),
        (full, "req_x", None, False),
        (full, "req_x", full.until, False),
        (full, "req_x", before, True),
        (part, "req_x", before, False),
        (part, "req_0", before, False),
    )
    assert [held.includes(name, at) for held, name, at, _ in table] == [row[3] for row in table]


async def test_a_deleted_job_is_not_stored_again_when_a_worker_restarts(
    gateway: GuardHarness,
) -> None:
    """Its entry was taken for a job that Redis had forgotten: it was charged and called back."""
    await gateway.started()
    await gateway.accepted(await gateway.claim(await gateway.admit()))
    del gateway.stores.memory.jobs["req_1"]
    guard = await gateway.started()
    await gateway.clock.advance(60 * SECOND)
    gateway.fill_log()
    await gateway.claim(await gateway.admit("req_2"))
    await guard.run_once(gateway.reconciler)
    await gateway.started()
    assert gateway.differences == [], "its claim is older than those that can be forgotten"
    assert "req_1" not in gateway.stores.memory.jobs


async def test_a_job_that_was_restored_and_then_deleted_stays_deleted(
    gateway: GuardHarness,
) -> None:
    guard = await gateway.gone_back()
    await guard.run_once(gateway.reconciler)
    assert gateway.differences == ["restore"]
    del gateway.stores.memory.jobs["req_1"]
    await gateway.started()
    assert gateway.differences == ["restore"]


async def test_a_store_that_goes_back_while_a_worker_starts_lacks_nothing_then(
    gateway: GuardHarness,
) -> None:
    """The claim of the last job, which was restored first, hid that earlier ones were missing."""
    await gateway.started()
    before = gateway.snapshot()
    for name in ("req_1", "req_2"):
        await gateway.accepted(await gateway.claim(await gateway.admit(name)))
        await gateway.clock.advance(timedelta(minutes=5))
    await gateway.started()
    guard, listing = gateway.guard(), gateway.journal.list_jobs_since

    async def going_back(
        since: datetime, max_age: timedelta = MAX_JOB_AGE
    ) -> Mapping[str, tuple[Attempt, ...]]:
        gateway.journal.list_jobs_since = listing  # type: ignore[method-assign]
        gateway.go_back_to(before)
        return await listing(since, max_age)

    gateway.journal.list_jobs_since = going_back  # type: ignore[method-assign]
    for _ in range(3):
        await guard.run_once(gateway.reconciler)
    assert guard.is_open
    assert [await gateway.state_of(name) for name in ("req_1", "req_2")] == [
        (S.RUNNING, "up-1"),
        (S.RUNNING, "up-1"),
    ]


async def test_what_is_claimed_last_is_not_lost_with_the_end_of_a_comparison(
    gateway: GuardHarness,
) -> None:
    """The worker that starts does not know it, and read the claims before the store went back."""
    await gateway.started()
    before = gateway.snapshot()
    await gateway.accepted(await gateway.claim(await gateway.admit()))
    guard, listing = gateway.guard(), gateway.stores.identity.list_claims
    reads = count()

    async def going_back() -> Sequence[str]:
        claims = await listing()
        if next(reads) == 1:
            gateway.go_back_to(before)
        return claims

    gateway.stores.identity.list_claims = going_back  # type: ignore[method-assign]
    for _ in range(3):
        await guard.run_once(gateway.reconciler)
    assert guard.is_open
    assert await gateway.state_of() == (S.RUNNING, "up-1")


async def test_many_jobs_are_compared_at_a_time(gateway: GuardHarness) -> None:
    """From a bucket each answer takes tens of milliseconds, and thousands are read."""
    await gateway.started()
    for number in range(2 * COMPARED_TOGETHER):
        await gateway.accepted(await gateway.claim(await gateway.admit(f"req_{number}")))
    read, reading, most = gateway.journal.read_answer, set[str](), 0

    async def reading_slowly(prefix: str, number: int, outcome: Outcome) -> JournalAnswer | None:
        nonlocal most
        reading.add(prefix)
        most = max(most, len(reading))
        await asyncio.sleep(0)
        reading.remove(prefix)
        return await read(prefix, number, outcome)

    gateway.journal.read_answer = reading_slowly  # type: ignore[method-assign]
    assert (await gateway.started()).is_open
    assert most == COMPARED_TOGETHER


async def test_a_job_that_was_deleted_does_not_look_forgotten_after_a_reconnect(
    gateway: GuardHarness,
) -> None:
    guard = await gateway.started()
    await gateway.accepted(await gateway.claim(await gateway.admit()))
    assert await guard.allows_submit()
    del gateway.stores.memory.jobs["req_1"]
    gateway.reconnect()
    await guard.run_once(gateway.reconciler)
    assert guard.is_open
    await gateway.clock.advance(60 * SECOND)
    gateway.fill_log()
    await gateway.claim(await gateway.admit("req_2"))
    await guard.run_once(gateway.reconciler)
    gateway.reconnect()
    await guard.run_once(gateway.reconciler)
    assert guard.is_open, "its claim is older than those that can be forgotten"


async def test_a_deleted_job_stays_deleted_after_a_thousand_claims(gateway: GuardHarness) -> None:
    """A worker that was cut off meanwhile marked the store since a month ago."""
    guard = await gateway.started()
    await paid(gateway, "req_old")
    await gateway.clock.advance(60 * SECOND)
    await paid(gateway, "req_0")
    await guard.run_once(gateway.reconciler)
    del gateway.stores.memory.jobs["req_old"]
    await gateway.clock.advance(100 * SECOND)
    gateway.fill_log()
    gateway.reconnect()
    await checked(gateway, guard)
    await gateway.started()
    assert gateway.differences == []
    assert "req_old" not in gateway.stores.memory.jobs


async def test_a_claim_by_a_slow_clock_hides_no_forgotten_one(gateway: GuardHarness) -> None:
    """It was taken for one that the store had before it went back."""
    guard, before = await with_one_paid_job(gateway)
    await paid(gateway, "req_1")
    await gateway.clock.advance(30 * SECOND)
    await paid(gateway, "req_2")
    assert await guard.allows_submit()
    gateway.go_back_to(before)
    other = await gateway.admit("req_3")
    gateway.clock.shift(-2.5 * SECOND)
    await gateway.claim_without_entry(other)
    await gateway.clock.advance(2 * SECOND)
    await checked(gateway, guard)
    await assert_paid_once(gateway, "req_1", "req_2")


async def test_what_was_forgotten_under_another_worker_is_found_at_a_restart(
    gateway: GuardHarness,
) -> None:
    """A store that kept its connections: the other worker knew less, and went on."""
    other, before = await with_one_paid_job(gateway)
    await paid(gateway, "req_1")
    gateway.go_back_to(before)
    await other.run_once(gateway.reconciler)
    await gateway.clock.advance(15 * SECOND)
    await paid(gateway, "req_2")
    await other.run_once(gateway.reconciler)
    await checked(gateway, gateway.guard())
    await assert_paid_once(gateway, "req_1", "req_2")


async def test_a_store_that_goes_back_before_a_worker_opens_lacks_nothing_then(
    gateway: GuardHarness,
) -> None:
    """The journal's position was older than what the worker had just compared."""
    await gateway.started()
    await paid(gateway, "req_0")
    await gateway.clock.advance(60 * SECOND)
    snapshot = gateway.snapshot()
    await paid(gateway, "req_1")
    fresh = gateway.guard()
    is_behind = fresh._is_behind

    async def then_back(before: StorePosition | None) -> bool:
        fresh._is_behind = is_behind  # type: ignore[method-assign]
        found = await is_behind(before)
        gateway.go_back_to(snapshot)
        return found

    fresh._is_behind = then_back  # type: ignore[method-assign]
    await checked(gateway, fresh)
    await assert_paid_once(gateway, "req_1")


async def test_an_interrupted_restoration_of_a_full_log_goes_on(gateway: GuardHarness) -> None:
    """The claims of what was restored pushed out the others, and hid what was not restored yet."""
    guard, before = await with_one_paid_job(gateway)
    names = [f"req_{number}" for number in range(KEPT_CLAIMS + 5)]
    for name in names:
        await paid(gateway, name)
    await guard.run_once(gateway.reconciler)
    gateway.go_back_to(before)
    restore, left = gateway.stores.jobs.restore, iter(range(KEPT_CLAIMS + 2))

    async def restoring(restoration: Restoration) -> RestorationResult:
        if next(left, None) is None:
            gateway.stores.jobs.restore = restore  # type: ignore[method-assign]
            raise StoreUnavailable
        return await restore(restoration)

    gateway.stores.jobs.restore = restoring  # type: ignore[method-assign]
    with pytest.raises(StoreUnavailable):
        await guard.run_once(gateway.reconciler)
    await checked(gateway, guard)
    await assert_paid_once(gateway, *names)


@pytest.mark.parametrize("is_marked", [False, True])
async def test_a_claim_that_is_forgotten_after_it_was_read_is_missing(
    gateway: GuardHarness, *, is_marked: bool
) -> None:
    """Its worker died; the log that had it was read before the store went back."""
    await gateway.started()
    await paid(gateway, "req_0")
    await gateway.clock.advance(60 * SECOND)
    await gateway.started()
    if is_marked:
        await gateway.stores.identity.mark_went_back(gateway.clock.now() - 300 * SECOND)
    snapshot, fresh = gateway.snapshot(), gateway.guard()
    listed, claims = gateway.journal.list_jobs_since, gateway.stores.identity.list_claims

    async def then_back() -> Sequence[str]:
        gateway.stores.identity.list_claims = claims  # type: ignore[method-assign]
        found = await claims()
        gateway.go_back_to(snapshot)
        return found

    async def listing(
        since: datetime, max_age: timedelta = MAX_JOB_AGE
    ) -> Mapping[str, tuple[Attempt, ...]]:
        gateway.journal.list_jobs_since = listed  # type: ignore[method-assign]
        await paid(gateway, "req_1")
        gateway.stores.identity.list_claims = then_back  # type: ignore[method-assign]
        return await listed(since, max_age)

    gateway.journal.list_jobs_since = listing  # type: ignore[method-assign]
    await checked(gateway, fresh)
    await assert_paid_once(gateway, "req_1")


async def test_another_store_is_not_known_after_a_comparison(gateway: GuardHarness) -> None:
    """The address led to it between the comparison and the next check: it was adopted."""
    await gateway.started()
    fresh = gateway.guard()
    identity, is_behind = gateway.stores.identity, fresh._is_behind
    load = identity.load

    async def other(known: StorePosition | None = None) -> StorePosition | None:
        identity.load = load  # type: ignore[method-assign]
        return None if known is None else replace(known, store_id="other", epoch=5, claims=50)

    async def with_other(before: StorePosition | None) -> bool:
        identity.load = other  # type: ignore[method-assign]
        return await is_behind(before)

    fresh._is_behind = with_other  # type: ignore[method-assign]
    await fresh.run_once(gateway.reconciler)
    saved = await gateway.journal.load_position()
    assert saved is not None
    assert saved.store_id != "other"


# ------------------------------------------------------------------------------ operators' commands


async def test_a_command_after_a_report_finds_all_that_is_missing(gateway: GuardHarness) -> None:
    """The report of one claim marked the store since two minutes before that one only."""
    guard, before = await with_one_paid_job(gateway)
    await paid(gateway, "req_1")
    await gateway.clock.advance(300 * SECOND)
    claimed = await gateway.claim(await gateway.admit("req_2"))
    await guard.run_once(gateway.reconciler)
    gateway.go_back_to(before)
    assert claimed.sent_at is not None
    await guard.report_missing(claimed.sent_at)
    await gateway.commands().reconcile(None, dry_run=False)
    await checked(gateway, gateway.guard())
    await assert_paid_once(gateway, "req_1")


async def test_a_command_compares_what_is_forgotten_at_its_mark(gateway: GuardHarness) -> None:
    guard, before = await with_one_paid_job(gateway)
    await paid(gateway, "req_1")
    await gateway.clock.advance(600 * SECOND)
    await paid(gateway, "req_2")
    await guard.run_once(gateway.reconciler)
    middle = gateway.snapshot()
    await paid(gateway, "req_3")
    gateway.go_back_to(middle)
    identity = gateway.stores.identity
    mark = identity.mark_went_back

    async def marking(compare_since: datetime, doubt_until: datetime | None = None) -> None:
        identity.mark_went_back = mark  # type: ignore[method-assign]
        gateway.go_back_to(before)
        await mark(compare_since, doubt_until)

    identity.mark_went_back = marking  # type: ignore[method-assign]
    await gateway.commands().reconcile(None, dry_run=False)
    await checked(gateway, guard)
    await assert_paid_once(gateway, "req_1", "req_2", "req_3")


async def test_a_command_does_not_settle_what_goes_back_after_its_comparison(
    gateway: GuardHarness,
) -> None:
    guard = await gateway.started()
    await paid(gateway, "req_0")
    await guard.run_once(gateway.reconciler)
    middle = gateway.snapshot()
    await paid(gateway, "req_1")
    gateway.go_back_to(middle)
    await gateway.clock.advance(30 * SECOND)
    await paid(gateway, "req_2")
    await guard.run_once(gateway.reconciler)
    keep = gateway.snapshot()
    await paid(gateway, "req_3")
    await guard.run_once(gateway.reconciler)
    run = gateway.reconciler.run

    async def running(
        since: datetime,
        doubt_until: datetime | None = None,
        *,
        dry_run: bool = False,
        is_copy: bool = False,
    ) -> Sequence[Finding]:
        found = await run(since, doubt_until, dry_run=dry_run, is_copy=is_copy)
        if not found:
            gateway.reconciler.run = run  # type: ignore[method-assign]
            gateway.go_back_to(keep)
        return found

    gateway.reconciler.run = running  # type: ignore[method-assign]
    await gateway.commands().reconcile(gateway.clock.now() - 600 * SECOND, dry_run=False)
    await checked(gateway, guard)
    await assert_paid_once(gateway, "req_3")


@pytest.mark.parametrize("command", ["restored", "reconcile"])
async def test_a_worker_may_settle_the_store_during_a_command(
    gateway: GuardHarness, command: str
) -> None:
    guard, before = await with_one_paid_job(gateway)
    await paid(gateway, "req_1")
    await guard.run_once(gateway.reconciler)
    gateway.go_back_to(before)
    restore = gateway.stores.jobs.restore

    async def restoring(restoration: Restoration) -> RestorationResult:
        gateway.stores.jobs.restore = restore  # type: ignore[method-assign]
        await checked(gateway, guard)
        return await restore(restoration)

    gateway.stores.jobs.restore = restoring  # type: ignore[method-assign]
    commands = gateway.commands()
    if command == "restored":
        await commands.restored(gateway.clock.now(), dry_run=False)
    else:
        await commands.reconcile(None, dry_run=False)
    await assert_paid_once(gateway, "req_1")


@pytest.mark.parametrize("where", ["comparison", "doubt"])
async def test_a_command_that_is_repeated_doubts_what_the_first_one_restored(
    gateway: GuardHarness, where: str
) -> None:
    """The copy of the journal may lack its last submit. Only the first one knew that."""
    guard, made_at = await gateway.started(), gateway.clock.now()
    before = gateway.snapshot()
    claimed = await gateway.claim(await gateway.admit("req_2"))
    answer = JournalAnswer(Outcome.NOT_SENT, gateway.clock.now())
    await gateway.journal.answer(claimed, 1, answer)
    await guard.run_once(gateway.reconciler)
    gateway.go_back_to(before)
    list_unsubmitted, restore = gateway.stores.jobs.list_unsubmitted, gateway.stores.jobs.restore

    async def failing() -> Sequence[Job]:
        gateway.stores.jobs.list_unsubmitted = list_unsubmitted  # type: ignore[method-assign]
        raise StoreUnavailable

    async def losing_its_answer(restoration: Restoration) -> RestorationResult:
        gateway.stores.jobs.restore = restore  # type: ignore[method-assign]
        await restore(restoration)
        raise StoreUnavailable

    if where == "doubt":
        gateway.stores.jobs.list_unsubmitted = failing  # type: ignore[method-assign]
    else:
        gateway.stores.jobs.restore = losing_its_answer  # type: ignore[method-assign]
    with pytest.raises(StoreUnavailable):
        await gateway.commands().restored(made_at - SECOND, dry_run=False)
    await gateway.commands().restored(made_at - SECOND, dry_run=False)
    assert await gateway.state_of("req_2") == (S.IN_DOUBT, None)
