"""The effect of each state of the leader on its follower, as a table."""

from collections import deque
from itertools import product
from typing import Any, Final

import pytest

from core.deduplication.coalescing import FOLLOWER_POLL_INTERVAL, cancel_for_successor, handover
from core.jobs.job import (
    FINAL_STATES,
    BillingStatus,
    FollowUp,
    Job,
    JobError,
    JobRecord,
    JobState,
    Trigger,
)
from core.money import MicroUsd
from core.tenants.cache_policy import TenantCachePolicy
from core.transactions.job_update import Change
from core.webhooks.delivery import WebhookEventType
from tests.support.records import HOUR, NOW, SECOND, at, job, tenant
from tests.support.worker import WorkerHarness
from worker.jobs.decisions.follow_leader import decide_follow, fail_over_budget
from worker.jobs.decisions.transition import Reschedule
from worker.ports import InProgress

S: Final = JobState
BROKEN: Final = JobError("upstream_failed", "It broke.")
COST: Final = MicroUsd(420_000)

UNSUBMITTED: Final = frozenset({S.QUEUED, S.FOLLOWING})


def follower(**changes: Any) -> Job:  # noqa: ANN401 - fields of the record
    """A follower of `req_lead`."""
    plain: dict[str, Any] = {
        "id": "req_1",
        "leader": "req_lead",
        "next_run_at": NOW,
        "start_deadline": at(600),
        "deadline": at(3600),
        "attempts": 0,
        "upstream_id": None,
        "running_since": None,
        "billed": BillingStatus.NO,
    }
    return job(S.FOLLOWING, **plain | changes)


def leader(state: JobState, **changes: Any) -> JobRecord:  # noqa: ANN401 - fields of the record
    """The leader."""
    errors = {"error": BROKEN} if state in {S.FAILED, S.EXPIRED} else {}
    billed = {"billed": BillingStatus.NO} if state in FINAL_STATES else {}
    plain = errors | billed | {"id": "req_lead"} | changes
    return JobRecord(job(state, **plain), output=b"{}" if state is S.SUCCEEDED else None)


def expected(state: JobState, *, unknown: bool, promote: bool, late: str) -> JobState | None:
    """The table. None: it waits. `late`: which deadline of the follower has passed."""
    if state is S.SUCCEEDED:
        return S.SUCCEEDED
    if state in {S.CANCELLED, S.EXPIRED} and not unknown:
        return S.EXPIRED if late else S.QUEUED
    if state is S.FAILED and promote and not unknown:
        return S.EXPIRED if late else S.QUEUED
    if state in FINAL_STATES:
        return S.FAILED
    if late == "finish" or (late == "start" and state in UNSUBMITTED):
        return S.EXPIRED
    return None


ROWS: Final = tuple(product(S, (False, True), (False, True), ("", "start", "finish")))


@pytest.mark.parametrize(("state", "unknown", "promote", "late"), ROWS)
def test_what_a_follower_learns(
    state: JobState, *, unknown: bool, promote: bool, late: str
) -> None:
    billed = {"billed": BillingStatus.UNKNOWN} if unknown else {}
    times = {"start": {"start_deadline": NOW}, "finish": {"deadline": NOW}}.get(late, {})
    decided = decide_follow(follower(**times), leader(state, **billed), NOW, promote=promote)
    found = decided.after.state if isinstance(decided, Change) else None
    assert found is expected(state, unknown=unknown, promote=promote, late=late)
    if isinstance(decided, Change) and decided.after.is_final:
        assert (decided.after.next_run_at, decided.after.finished_at) == (None, NOW)
        assert decided.after.billed is BillingStatus.NO


def test_nobody_is_promoted_where_money_may_be_gone() -> None:
    for state, promote in product(S, (False, True)):
        decided = decide_follow(
            follower(), leader(state, billed=BillingStatus.UNKNOWN), NOW, promote=promote
        )
        assert not (isinstance(decided, Change) and decided.trigger is Trigger.PROMOTED)


@pytest.mark.parametrize("state", [S.SUCCEEDED, S.FAILED])
def test_a_follower_has_the_words_that_runcomfy_used_for_its_leaders_end(state: JobState) -> None:
    words = {"upstream_status": "succeeded", "upstream_result_status": "completed"}
    ended = leader(state, billed=BillingStatus.UNKNOWN, **words)
    decided = decide_follow(follower(), ended, NOW, promote=False)
    assert isinstance(decided, Change)
    after = decided.after
    assert (after.upstream_status, after.upstream_result_status) == ("succeeded", "completed")


def test_a_success_is_shared_at_no_cost() -> None:
    paid = leader(S.SUCCEEDED, cost=COST, billed=BillingStatus.YES, upstream_finished_at=at(-5))
    move = decide_follow(follower(leader="req_before"), paid, NOW, promote=False)
    assert isinstance(move, Change)
    assert move.output == b"{}"
    after = move.after
    assert (after.cost, after.cost_source, after.cost_saved) == (0, "shared", COST)
    assert (after.leader, after.upstream_finished_at) == ("req_lead", at(-5))
    assert after.upstream_id is None


def test_a_cost_that_is_not_told_yet_saves_the_estimate() -> None:
    paid = leader(S.SUCCEEDED, cost=None, estimate=COST, follow_up=FollowUp.READ_COST)
    move = decide_follow(follower(), paid, NOW, promote=False)
    assert isinstance(move, Change)
    assert move.after.cost_saved == COST


def test_a_failure_is_told_in_its_own_words() -> None:
    move = decide_follow(follower(), leader(S.FAILED), NOW, promote=False)
    assert isinstance(move, Change)
    assert move.after.error == BROKEN


@pytest.mark.parametrize("lost", [None, leader(S.CANCELLED, billed=BillingStatus.UNKNOWN)])
def test_a_leader_without_words_is_told_as_gone(lost: JobRecord | None) -> None:
    move = decide_follow(follower(), lost, NOW, promote=True)
    assert isinstance(move, Change)
    assert move.after.error is not None
    assert (move.after.state, move.after.error.code) == (S.FAILED, "leader_lost")


def test_a_promoted_job_names_whose_place_it_takes_and_starts_afresh() -> None:
    held = follower(upstream_status="in_progress", upstream_running=True)
    move = decide_follow(held, leader(S.CANCELLED), NOW, promote=False)
    assert isinstance(move, Change)
    assert move.expected_leader == "req_lead"
    after = move.after
    assert (after.leader, after.next_run_at, after.upstream_status) == (None, None, None)
    assert after.status == "in_queue"


def test_a_follower_that_must_wait_holds_no_other_back() -> None:
    """It was promoted, and those that need not wait followed it until its time."""
    ended = leader(S.CANCELLED)
    held = follower(not_before=at(30))
    assert decide_follow(held, ended, NOW, promote=False) == Reschedule(held, at(30))
    assert isinstance(decide_follow(held, ended, at(30), promote=False), Change)


def test_its_leaders_words_are_its_own() -> None:
    running = leader(S.RUNNING, upstream_status="in_progress", upstream_running=True)
    move = decide_follow(follower(), running, NOW, promote=False)
    assert isinstance(move, Change)
    assert (move.after.state, move.after.status) == (S.FOLLOWING, "in_progress")
    assert move.entry is not None
    again = decide_follow(move.after, running, NOW, promote=False)
    assert again == Reschedule(move.after, NOW + FOLLOWER_POLL_INTERVAL)


def test_another_place_in_the_queue_is_no_line_in_the_timeline() -> None:
    move = decide_follow(follower(), leader(S.RUNNING, queue_position=3), NOW, promote=False)
    assert isinstance(move, Change)
    assert (move.entry, move.after.queue_position) == (None, 3)


def test_the_next_look_is_no_later_than_a_deadline() -> None:
    job = follower(start_deadline=at(3))
    assert decide_follow(job, leader(S.QUEUED), NOW, promote=False) == Reschedule(job, at(3))


def test_who_cannot_pay_fails_free() -> None:
    after = fail_over_budget(follower(), NOW).after
    assert after.error is not None
    assert (after.state, after.billed, after.error.code) == (
        S.FAILED,
        BillingStatus.NO,
        "budget_reached",
    )


# --- the steps


async def test_a_look_that_finds_nothing_new_changes_nothing() -> None:
    rig = WorkerHarness()
    rig.jobs.add(leader(S.QUEUED).job)
    held = follower()
    assert await rig.advance(held) == held
    assert rig.jobs.due[held.id] == NOW + FOLLOWER_POLL_INTERVAL


async def test_news_that_comes_during_a_look_is_not_put_off() -> None:
    """Regression: the end of a check moved the follower's next one past the wake-up."""
    rig = WorkerHarness()
    rig.jobs.add(leader(S.QUEUED).job)
    held, woken = follower(), at(0.5)
    read = rig.jobs.load_leader

    async def read_and_be_woken(job: Job) -> JobRecord | None:
        found = await read(job)
        rig.jobs.due[held.id] = woken
        return found

    rig.jobs.load_leader = read_and_be_woken  # type: ignore[method-assign]  # a store that is quicker
    await rig.advance(held)
    assert rig.jobs.due[held.id] == woken


@pytest.mark.parametrize(("promote", "state"), [(True, S.QUEUED), (False, S.FAILED)])
async def test_the_tenants_word_decides_on_another_try(*, promote: bool, state: JobState) -> None:
    rig = WorkerHarness()
    rig.tenants.tenant = tenant(cache_policy=TenantCachePolicy(promote=promote))
    rig.jobs.add(leader(S.FAILED).job)
    after = await rig.advance(follower())
    assert after is not None
    assert after.state is state


async def test_running_work_is_handed_on_and_only_its_own_caller_is_told() -> None:
    rig = WorkerHarness()
    held = job(S.RUNNING, id="req_lead", deadline=NOW, webhook="https://a.test/")
    heir = follower(deadline=NOW + HOUR)
    rig.jobs.successors["req_lead"] = heir
    rig.jobs.add(heir)
    rig.upstream.statuses = deque([InProgress(is_running=True, status_word="in_progress")])
    await rig.advance(held)
    (change,) = rig.jobs.changes
    assert change.successor is not None
    assert (change.after.state, change.after.billed) == (S.EXPIRED, BillingStatus.NO)
    assert [each.event for each in change.deliveries] == [WebhookEventType.FAILED]
    assert [name for name, _ in rig.upstream.calls] == ["status"]  # the work goes on
    assert rig.triggers == [Trigger.HANDED_OVER, Trigger.TAKEN_OVER]


def test_an_heir_goes_on_at_once_with_the_same_request_and_its_own_words() -> None:
    held = job(S.RUNNING, id="req_lead", upstream_running=True, upstream_status="in_progress")
    heir = follower()
    change = handover(held, cancel_for_successor(held, at(1)), heir, at(1))
    assert change.successor is not None
    taken = change.successor.after
    assert (taken.upstream_id, taken.next_run_at, taken.leader) == (held.upstream_id, at(1), None)
    assert taken.status == heir.status
    assert change.entry is not None
    assert [entry.detail for entry in (change.entry, change.successor.entry)] == [
        "req_1",
        "req_lead",
    ]
    assert taken.running_since == held.running_since
    assert taken.updated_at == NOW + SECOND
