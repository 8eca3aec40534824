"""What each state of the job that pays means for one that follows it, as a table."""

from __future__ import annotations

from itertools import product
from typing import Any, Final

import pytest

from core.deduplication.coalescing import FOLLOW_CHECK, cancelled_for_heir, handover
from core.jobs.job import FINAL_STATES, Billed, Errand, Fact, Job, JobError, JobRecord, JobState
from core.money import MicroUsd
from core.tenants.cache_policy import ReusePolicy
from core.webhooks.delivery import EventType
from tests.builders import HOUR, NOW, SECOND, at, job, tenant
from tests.unit.worker.rig import Rig
from worker.jobs.decisions.follow_leader import followed, over_budget
from worker.jobs.decisions.transition import Move, Wait

S: Final = JobState
BROKEN: Final = JobError("upstream_failed", "It broke.")
COST: Final = MicroUsd(420_000)

UNSENT: Final = frozenset({S.QUEUED, S.FOLLOWING})


def follower(**changes: Any) -> Job:  # noqa: ANN401 - fields of the record
    """A job that follows `req_lead`."""
    plain: dict[str, Any] = {
        "id": "req_1",
        "leader": "req_lead",
        "due_at": NOW,
        "start_by": at(600),
        "finish_by": at(3600),
        "attempts": 0,
        "upstream_id": None,
        "running_since": None,
        "billed": Billed.NO,
    }
    return job(S.FOLLOWING, **plain | changes)


def leader(state: JobState, **changes: Any) -> JobRecord:  # noqa: ANN401 - fields of the record
    """The job that pays."""
    errors = {"error": BROKEN} if state in {S.FAILED, S.EXPIRED} else {}
    billed = {"billed": Billed.NO} if state in FINAL_STATES else {}
    plain = errors | billed | {"id": "req_lead"} | changes
    return JobRecord(job(state, **plain), output=b"{}" if state is S.SUCCEEDED else None)


def expected(state: JobState, *, unknown: bool, promote: bool, late: str) -> JobState | None:
    """The table. None: it waits. `late`: which of the follower's times has come."""
    if state is S.SUCCEEDED:
        return S.SUCCEEDED
    if state in {S.CANCELLED, S.EXPIRED} and not unknown:
        return S.EXPIRED if late else S.QUEUED
    if state is S.FAILED and promote and not unknown:
        return S.EXPIRED if late else S.QUEUED
    if state in FINAL_STATES:
        return S.FAILED
    if late == "finish" or (late == "start" and state in UNSENT):
        return S.EXPIRED
    return None


ROWS: Final = tuple(product(S, (False, True), (False, True), ("", "start", "finish")))


@pytest.mark.parametrize(("state", "unknown", "promote", "late"), ROWS)
def test_what_a_follower_learns(
    state: JobState, *, unknown: bool, promote: bool, late: str
) -> None:
    billed = {"billed": Billed.UNKNOWN} if unknown else {}
    times = {"start": {"start_by": NOW}, "finish": {"finish_by": NOW}}.get(late, {})
    decided = followed(follower(**times), leader(state, **billed), NOW, promote=promote)
    found = decided.after.state if isinstance(decided, Move) else None
    assert found is expected(state, unknown=unknown, promote=promote, late=late)
    if isinstance(decided, Move) and decided.after.final:
        assert (decided.after.due_at, decided.after.finished_at) == (None, NOW)
        assert decided.after.billed is Billed.NO


def test_nobody_is_promoted_where_money_may_be_gone() -> None:
    for state, promote in product(S, (False, True)):
        decided = followed(follower(), leader(state, billed=Billed.UNKNOWN), NOW, promote=promote)
        assert not (isinstance(decided, Move) and decided.fact is Fact.PROMOTED)


def test_a_success_is_shared_at_no_cost() -> None:
    paid = leader(S.SUCCEEDED, cost=COST, billed=Billed.YES, upstream_finished_at=at(-5))
    move = followed(follower(leader="req_before"), paid, NOW, promote=False)
    assert isinstance(move, Move)
    assert move.output == b"{}"
    after = move.after
    assert (after.cost, after.cost_source, after.saved) == (0, "shared", COST)
    assert (after.leader, after.upstream_finished_at) == ("req_lead", at(-5))
    assert after.upstream_id is None


def test_a_cost_that_is_not_told_yet_saves_the_estimate() -> None:
    paid = leader(S.SUCCEEDED, cost=None, estimate=COST, errand=Errand.READ_COST)
    move = followed(follower(), paid, NOW, promote=False)
    assert isinstance(move, Move)
    assert move.after.saved == COST


def test_a_failure_is_told_in_its_own_words() -> None:
    move = followed(follower(), leader(S.FAILED), NOW, promote=False)
    assert isinstance(move, Move)
    assert move.after.error == BROKEN


@pytest.mark.parametrize("lost", [None, leader(S.CANCELLED, billed=Billed.UNKNOWN)])
def test_a_leader_without_words_is_told_as_gone(lost: JobRecord | None) -> None:
    move = followed(follower(), lost, NOW, promote=True)
    assert isinstance(move, Move)
    assert move.after.error is not None
    assert (move.after.state, move.after.error.code) == (S.FAILED, "leader_lost")


def test_a_promoted_job_names_whose_place_it_takes_and_starts_afresh() -> None:
    held = follower(upstream_word="in_progress", upstream_running=True)
    move = followed(held, leader(S.CANCELLED), NOW, promote=False)
    assert isinstance(move, Move)
    assert move.instead_of == "req_lead"
    after = move.after
    assert (after.leader, after.due_at, after.upstream_word) == (None, None, None)
    assert after.status == "in_queue"


def test_its_leaders_words_are_its_own() -> None:
    running = leader(S.RUNNING, upstream_word="in_progress", upstream_running=True)
    move = followed(follower(), running, NOW, promote=False)
    assert isinstance(move, Move)
    assert (move.after.state, move.after.status) == (S.FOLLOWING, "in_progress")
    assert move.entry is not None
    again = followed(move.after, running, NOW, promote=False)
    assert again == Wait(NOW + FOLLOW_CHECK)


def test_another_place_in_the_queue_is_no_line_in_the_timeline() -> None:
    move = followed(follower(), leader(S.RUNNING, queue_position=3), NOW, promote=False)
    assert isinstance(move, Move)
    assert (move.entry, move.after.queue_position) == (None, 3)


def test_the_next_look_is_no_later_than_a_deadline() -> None:
    assert followed(follower(start_by=at(3)), leader(S.QUEUED), NOW, promote=False) == Wait(at(3))


def test_who_cannot_pay_fails_free() -> None:
    after = over_budget(follower(), NOW).after
    assert after.error is not None
    assert (after.state, after.billed, after.error.code) == (S.FAILED, Billed.NO, "budget_reached")


# --- the steps


async def test_a_look_that_finds_nothing_new_changes_nothing() -> None:
    rig = Rig()
    rig.shelf.put(leader(S.QUEUED).job)
    held = follower()
    assert await rig.advance(held) == held
    assert rig.shelf.due[held.id] == NOW + FOLLOW_CHECK


async def test_news_that_comes_during_a_look_is_not_put_off() -> None:
    """Found: the look's end moved the follower's next one past the wake-up."""
    rig = Rig()
    rig.shelf.put(leader(S.QUEUED).job)
    held, woken = follower(), at(0.5)
    read = rig.shelf.leader

    async def read_and_be_woken(job: Job) -> JobRecord | None:
        found = await read(job)
        rig.shelf.due[held.id] = woken
        return found

    rig.shelf.leader = read_and_be_woken  # type: ignore[method-assign]  # a store that is quicker
    await rig.advance(held)
    assert rig.shelf.due[held.id] == woken


@pytest.mark.parametrize(("promote", "state"), [(True, S.QUEUED), (False, S.FAILED)])
async def test_the_tenants_word_decides_on_another_try(*, promote: bool, state: JobState) -> None:
    rig = Rig()
    rig.roll.tenant = tenant(reuse=ReusePolicy(promote=promote))
    rig.shelf.put(leader(S.FAILED).job)
    after = await rig.advance(follower())
    assert after is not None
    assert after.state is state


async def test_running_work_is_handed_on_and_only_its_own_caller_is_told() -> None:
    rig = Rig()
    held = job(S.RUNNING, id="req_lead", finish_by=NOW, webhook="https://a.test/")
    heir = follower(finish_by=NOW + HOUR)
    rig.shelf.heirs["req_lead"] = heir
    rig.shelf.put(heir)
    await rig.advance(held)
    (change,) = rig.shelf.changes
    assert change.heir is not None
    assert (change.after.state, change.after.billed) == (S.EXPIRED, Billed.NO)
    assert [each.event for each in change.deliveries] == [EventType.FAILED]
    assert rig.script.calls == []  # RunComfy is asked nothing: the work goes on
    assert rig.facts == [Fact.HANDED_ON, Fact.INHERITED]


def test_an_heir_goes_on_at_once_with_the_same_request_and_its_own_words() -> None:
    held = job(S.RUNNING, id="req_lead", upstream_running=True, upstream_word="in_progress")
    heir = follower()
    change = handover(held, cancelled_for_heir(held, at(1)), heir, at(1))
    assert change.heir is not None
    taken = change.heir.after
    assert (taken.upstream_id, taken.due_at, taken.leader) == (held.upstream_id, at(1), None)
    assert taken.status == heir.status
    assert [entry.detail for entry in (*change.entries, change.heir.entry)] == [
        "req_1",
        "req_lead",
    ]
    assert taken.running_since == held.running_since
    assert taken.updated_at == NOW + SECOND
