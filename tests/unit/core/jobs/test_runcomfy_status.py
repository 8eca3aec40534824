"""The words on RunComfy's two calls: its own where they fit the job's end, else the documented."""

from itertools import product
from typing import Final

import pytest

from core.jobs.job import FINAL_STATES, PUBLIC_STATUS, JobState, PublicStatus
from core.jobs.runcomfy_status import (
    FINAL_PHASES,
    FINAL_RESULT_WORDS,
    FINAL_STATUS_WORDS,
    PHASES_BY_STATUS,
    Phase,
    result_word,
    status_word,
)
from tests.support.records import job

S: Final = JobState
ENDED: Final = {PUBLIC_STATUS[state] for state in FINAL_STATES}
# RunComfy's documentation: the words of each call, and no other.
DOCUMENTED_STATUS: Final = {"in_queue", "in_progress", "completed", "cancelled"}
DOCUMENTED_RESULT: Final = {"in_queue", "in_progress", "succeeded", "failed", "cancelled"}


def test_the_tables_cover_every_end() -> None:
    assert set(FINAL_STATUS_WORDS) == set(FINAL_RESULT_WORDS) == ENDED
    for words in (FINAL_STATUS_WORDS, FINAL_RESULT_WORDS):
        for final in words.values():
            assert final.phases <= FINAL_PHASES
            assert PHASES_BY_STATUS[final.documented] in final.phases


@pytest.mark.parametrize("state", JobState)
def test_without_a_word_of_runcomfys_both_calls_use_the_documented_ones(state: JobState) -> None:
    record = job(state)
    assert status_word(record) in DOCUMENTED_STATUS
    assert result_word(record) in DOCUMENTED_RESULT
    if record.status not in ENDED:
        assert status_word(record) == result_word(record) == record.status


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (S.SUCCEEDED, ("completed", "succeeded")),
        (S.FAILED, ("completed", "failed")),
        (S.EXPIRED, ("completed", "failed")),
        (S.CANCELLED, ("cancelled", "cancelled")),
    ],
)
def test_where_the_gateway_ends_a_job_its_words_are_the_documented_ones(
    state: JobState, words: tuple[str, str]
) -> None:
    record = job(state, upstream_status="in_progress")
    assert (status_word(record), result_word(record)) == words


@pytest.mark.parametrize(
    ("state", "used"),
    [
        (S.SUCCEEDED, ("succeeded", "completed")),
        (S.SUCCEEDED, ("completed", "succeeded")),
        (S.FAILED, ("failed", "error")),
        (S.FAILED, ("succeeded", "failed")),
        (S.CANCELLED, ("canceled", "canceled")),
    ],
)
def test_the_words_that_runcomfy_used_are_repeated(state: JobState, used: tuple[str, str]) -> None:
    record = job(state, upstream_status=used[0], upstream_result_status=used[1])
    assert (status_word(record), result_word(record)) == used


@pytest.mark.parametrize(
    ("state", "word"), list(product(sorted(FINAL_STATES), sorted(PHASES_BY_STATUS)))
)
def test_no_word_contradicts_the_end(state: JobState, word: str) -> None:
    record = job(state, upstream_status=word, upstream_result_status=word)
    result_phase = PHASES_BY_STATUS[result_word(record)]
    status_phase = PHASES_BY_STATUS[status_word(record)]
    expected = Phase(record.status.value)
    assert result_phase is expected
    # Only the status call may report a failed run as completed.
    may_differ = record.status is PublicStatus.FAILED and status_phase is Phase.COMPLETED
    assert status_phase is expected or may_differ


@pytest.mark.parametrize("word", ["", "warming_up", "COMPLETED"])
def test_a_word_without_a_meaning_is_not_repeated(word: str) -> None:
    record = job(S.SUCCEEDED, upstream_status=word, upstream_result_status=word)
    assert (status_word(record), result_word(record)) == ("completed", "succeeded")
