"""What a change is asked to carry, and how long its end is kept."""

from __future__ import annotations

from datetime import timedelta

import pytest

from core.errors import IllegalTransition
from core.jobs.job import TRANSITIONS, Fact, JobState
from core.retention import RETENTION
from core.transactions.job_update import Change, Outcome
from tests.builders import NOW, SECOND, job
from worker.webhooks.retry_schedule import SchedulePolicy

LATER = NOW + SECOND


def test_a_result_outlives_the_last_callback_by_a_day() -> None:
    assert timedelta(days=7) == RETENTION
    assert SchedulePolicy().longest + timedelta(days=1) < RETENTION


def test_a_bare_change_carries_nothing_and_wakes_nobody() -> None:
    before = job()
    change = Change(before=before, after=before.noted(LATER))
    assert (change.entries, change.output, change.deliveries, change.ring) == ((), None, (), False)


def test_the_outcomes_are_the_words_that_the_store_answers() -> None:
    words = "stored stale no_slot unknown wanted heir_stale led over_budget setup_changed"
    assert set(Outcome) == set(words.split())


@pytest.mark.parametrize("state", JobState)
@pytest.mark.parametrize("fact", Fact)
def test_each_fact_moves_one_version_on_or_is_refused(state: JobState, fact: Fact) -> None:
    before = job(state)
    if before.allows(fact):
        after = before.after(fact, LATER)
        assert after.state is TRANSITIONS[state, fact]
        assert (after.version, after.updated_at) == (before.version + 1, LATER)
    else:
        with pytest.raises(IllegalTransition):
            before.after(fact, LATER)
