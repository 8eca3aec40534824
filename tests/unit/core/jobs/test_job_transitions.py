"""The transition table: no dead ends, and no second submit without an approval."""

from itertools import product
from random import Random
from typing import Any, Final, cast
from unittest.mock import Mock

import pytest

from core.errors import IllegalTransition
from core.jobs.job import (
    FINAL_STATES,
    PUBLIC_STATUS,
    TRANSITIONS,
    CancelOutcome,
    JobState,
    PublicStatus,
    Trigger,
)
from tests.support.records import NOW, SECOND, job
from worker.jobs.decisions.submit import SUBMIT_TRIGGERS
from worker.jobs.decisions.transition import DecisionContext
from worker.jobs.job_processor import JobProcessor
from worker.jobs.policies import LifecyclePolicy
from worker.ports import Accepted, Indeterminate, NotSent, Rejected

_S, _F = JobState, Trigger
LIVE: Final = frozenset(JobState) - FINAL_STATES
OWN: Final = frozenset(
    {
        _F.DEADLINE_EXCEEDED,
        _F.MARKED_LOST,
        _F.COLLECT_FAILED,
        _F.CLAIMED,
        _F.NO_ANSWER,
        _F.CANCEL_REQUESTED,
    }
)
"""Facts that the gateway finds by itself: a clock, a lease or a caller says so, never RunComfy."""

PAIRS: Final = tuple(product(JobState, Trigger))
UNWRITTEN: Final = tuple(pair for pair in PAIRS if pair not in TRANSITIONS)
WORDS: Final = {
    _S.QUEUED: PublicStatus.IN_QUEUE,
    _S.SUBMITTING: PublicStatus.IN_QUEUE,
    _S.IN_DOUBT: PublicStatus.IN_QUEUE,
    _S.RUNNING: PublicStatus.IN_PROGRESS,
    _S.CANCELLING: PublicStatus.IN_PROGRESS,
    _S.COLLECTING: PublicStatus.IN_PROGRESS,
    _S.ARCHIVING: PublicStatus.IN_PROGRESS,
    _S.FOLLOWING: PublicStatus.IN_PROGRESS,
    _S.SUCCEEDED: PublicStatus.COMPLETED,
    _S.FAILED: PublicStatus.FAILED,
    _S.CANCELLED: PublicStatus.CANCELLED,
    _S.EXPIRED: PublicStatus.FAILED,
}


def reachable(
    start: JobState, *, by: frozenset[Trigger] = frozenset(Trigger)
) -> frozenset[JobState]:
    """All states that these triggers can lead to."""
    seen, ahead = {start}, [start]
    while ahead:
        here = ahead.pop()
        for (state, fact), after in TRANSITIONS.items():
            if state is here and fact in by and after not in seen:
                seen.add(after)
                ahead.append(after)
    return frozenset(seen)


def expected_transition(state: JobState, fact: Trigger) -> JobState:
    before = job(state)
    after = before.transition(fact, NOW + SECOND, reference="kept")
    assert (after.version, after.updated_at) == (before.version + 1, NOW + SECOND)
    assert (after.reference, after.id) == ("kept", before.id)
    return after.state


@pytest.mark.parametrize(("state", "fact"), TRANSITIONS)
def test_each_written_pair_leads_where_the_table_says(state: JobState, fact: Trigger) -> None:
    assert job(state).can(fact)
    assert expected_transition(state, fact) is TRANSITIONS[state, fact]


@pytest.mark.parametrize(("state", "fact"), UNWRITTEN)
def test_each_unwritten_pair_is_refused(state: JobState, fact: Trigger) -> None:
    assert not job(state).can(fact)
    with pytest.raises(IllegalTransition, match=f"{state} has no {fact}"):
        job(state).transition(fact, NOW)


def test_the_ends_are_the_four_that_callers_know() -> None:
    assert frozenset({_S.SUCCEEDED, _S.FAILED, _S.CANCELLED, _S.EXPIRED}) == FINAL_STATES


def test_every_state_is_reached_from_the_beginning() -> None:
    assert reachable(_S.QUEUED) | reachable(_S.FOLLOWING) == frozenset(JobState)


def test_no_paid_job_becomes_a_follower() -> None:
    assert _S.FOLLOWING not in reachable(_S.QUEUED)


def test_every_fact_means_something_somewhere() -> None:
    assert {fact for _, fact in TRANSITIONS} == set(Trigger)


@pytest.mark.parametrize("state", sorted(LIVE))
def test_every_live_state_can_still_succeed_and_can_still_end_badly(state: JobState) -> None:
    ends = reachable(state) & FINAL_STATES
    assert _S.SUCCEEDED in ends
    # The output of an archiving job is stored: it has one end.
    assert (len(ends) == 1) is (state is _S.ARCHIVING)


@pytest.mark.parametrize("state", sorted(LIVE))
def test_every_live_state_ends_without_a_word_of_runcomfy(state: JobState) -> None:
    assert reachable(state, by=OWN) & FINAL_STATES


@pytest.mark.parametrize("state", sorted(LIVE - {_S.SUBMITTING}))
def test_time_alone_ends_every_live_state_in_one_step(state: JobState) -> None:
    """Except for a submit in progress: the end of its lease puts the job in doubt."""
    clocks = (_F.DEADLINE_EXCEEDED, _F.MARKED_LOST, _F.COLLECT_FAILED)
    assert any(TRANSITIONS.get((state, fact)) in FINAL_STATES for fact in clocks)


def test_a_lost_submit_goes_into_doubt_and_nowhere_else() -> None:
    assert TRANSITIONS[_S.SUBMITTING, _F.NO_ANSWER] is _S.IN_DOUBT
    own = {fact for state, fact in TRANSITIONS if state is _S.SUBMITTING} & OWN
    assert own == {_F.NO_ANSWER}


def test_only_what_was_not_sent_or_approved_is_queued_again() -> None:
    back = {pair for pair, after in TRANSITIONS.items() if after is _S.QUEUED}
    assert back == {
        (_S.SUBMITTING, _F.NOT_SENT),
        (_S.IN_DOUBT, _F.NOT_SENT),
        (_S.IN_DOUBT, _F.RESEND_APPROVED),
        (_S.FOLLOWING, _F.PROMOTED),
    }


def test_a_submit_begins_in_one_place_alone() -> None:
    begins = {pair for pair, after in TRANSITIONS.items() if after is _S.SUBMITTING}
    assert begins == {(_S.QUEUED, _F.CLAIMED)}


def test_what_runcomfy_has_never_comes_back_before_a_submit() -> None:
    """Except that an operator attached an id that RunComfy does not know, and undoes it."""
    before = {_S.QUEUED, _S.SUBMITTING, _S.IN_DOUBT}
    assert not reachable(_S.RUNNING, by=frozenset(Trigger) - {_F.DETACHED}) & before
    undone = {pair: after for pair, after in TRANSITIONS.items() if pair[1] is _F.DETACHED}
    assert undone == {(_S.RUNNING, _F.DETACHED): _S.IN_DOUBT}


@pytest.mark.parametrize("answer", [Accepted, NotSent, Rejected, Indeterminate])
def test_each_answer_to_a_submit_has_a_row(
    answer: type[Accepted | NotSent | Rejected | Indeterminate],
) -> None:
    assert (_S.SUBMITTING, SUBMIT_TRIGGERS[answer]) in TRANSITIONS


def test_each_state_has_its_word_for_callers() -> None:
    assert dict(PUBLIC_STATUS) == WORDS


@pytest.mark.parametrize("state", JobState)
def test_what_runcomfy_still_has_queued_reads_in_queue(state: JobState) -> None:
    upstream = state in {_S.RUNNING, _S.CANCELLING, _S.FOLLOWING}
    assert job(state, upstream_running=True).status is WORDS[state]
    expected = PublicStatus.IN_QUEUE if upstream else WORDS[state]
    assert job(state, upstream_running=False).status is expected


@pytest.mark.parametrize("state", JobState)
def test_final_is_what_the_table_leads_out_of_no_more(state: JobState) -> None:
    assert job(state).is_final is (state in FINAL_STATES)
    assert job(state).is_final is not any(job(state).can(fact) for fact in Trigger)


def test_each_state_has_a_step_and_nothing_else_has() -> None:
    rules = DecisionContext("worker", LifecyclePolicy(), Random(0))
    unused = cast("Any", Mock())
    steps = JobProcessor(unused, unused, unused, unused, rules).states
    assert sorted(steps) == sorted(JobState)


ENDS: Final = tuple(pair for pair, after in TRANSITIONS.items() if after in FINAL_STATES)


@pytest.mark.parametrize(("state", "fact"), ENDS)
def test_no_job_ends_with_its_cancel_still_open(state: JobState, fact: Trigger) -> None:
    ended = job(state, cancel_outcome=CancelOutcome.REQUESTED).transition(fact, NOW)
    cancelled = ended.state is _S.CANCELLED
    known = CancelOutcome.CANCELLED if cancelled else CancelOutcome.NOT_CANCELLABLE
    assert ended.cancel_outcome is known
