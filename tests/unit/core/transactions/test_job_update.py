"""Which data each kind of change may hold."""

import pytest

from core.errors import IllegalTransition
from core.jobs.job import TRANSITIONS, JobState, Trigger
from core.transactions.job_update import Change, WriteResult
from tests.support.records import NOW, SECOND, job

LATER = NOW + SECOND


def test_a_bare_change_carries_nothing_and_wakes_nobody() -> None:
    before = job()
    change = Change(before=before, after=before.evolve(LATER))
    assert (change.entry, change.output, change.deliveries, change.wake_worker) == (
        None,
        None,
        (),
        False,
    )


def test_the_outcomes_are_the_words_that_the_store_answers() -> None:
    words = (
        "stored conflict no_slot not_found has_followers successor_conflict other_leader "
        "over_budget webhook_config_changed upstream_id_taken"
    )
    assert set(WriteResult) == set(words.split())


@pytest.mark.parametrize("state", JobState)
@pytest.mark.parametrize("fact", Trigger)
def test_each_fact_moves_one_version_on_or_is_refused(state: JobState, fact: Trigger) -> None:
    before = job(state)
    if before.can(fact):
        after = before.transition(fact, LATER)
        assert after.state is TRANSITIONS[state, fact]
        assert (after.version, after.updated_at) == (before.version + 1, LATER)
    else:
        with pytest.raises(IllegalTransition):
            before.transition(fact, LATER)
