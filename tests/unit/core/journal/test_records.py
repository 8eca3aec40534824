"""The journal's names and documents."""

from datetime import timedelta

import pytest

from core.jobs.submission import IdempotencyRecord, Submission
from core.journal.records import (
    Attempt,
    JournalAnswer,
    JournalEntry,
    Outcome,
    answer_name,
    attempts_prefix,
    decode_answer,
    decode_entry,
    encode_answer,
    encode_entry,
    entry_name,
    job_id_of,
    parse_attempts,
    prefix_of,
)
from core.money import MicroUsd
from tests.support.records import NOW, job

SUBMISSION = Submission(b'{"p": "\xff"}', MicroUsd(5), idempotency=IdempotencyRecord("d", "f"))


def test_an_entry_comes_back_as_written() -> None:
    entry = JournalEntry(job(lease_holder="worker-a", sent_at=NOW), 3, SUBMISSION, "t")
    assert decode_entry(encode_entry(entry)) == entry


def test_an_entry_without_idempotency_key_comes_back_as_written() -> None:
    entry = JournalEntry(job(), 1, Submission(b"{}", MicroUsd(0)), "t")
    assert decode_entry(encode_entry(entry)) == entry


def test_an_input_that_nobody_may_keep_is_not_written() -> None:
    submission = Submission(b"secret", MicroUsd(5), keeps_input=False)
    written = encode_entry(JournalEntry(job(), 1, submission, "t"))
    assert b"secret" not in written
    assert b"c2VjcmV0" not in written
    found = decode_entry(written)
    assert found is not None
    assert found.submission == Submission(b"", MicroUsd(5), keeps_input=False)


@pytest.mark.parametrize("length", [0, 1, 40, -1])
def test_an_incomplete_document_is_none(length: int) -> None:
    entry = encode_entry(JournalEntry(job(), 1, SUBMISSION, "t"))
    answer = encode_answer(JournalAnswer(Outcome.ACCEPTED, NOW, "up-1"))
    assert decode_entry(entry[:length]) is None
    assert decode_answer(answer[: min(length, 20)]) is None


def test_an_answer_comes_back_as_written() -> None:
    for answer in (
        JournalAnswer(Outcome.ACCEPTED, NOW, "up-1"),
        JournalAnswer(
            Outcome.REJECTED,
            NOW,
            scope="model",
            kind="invalid_input",
            message="no",
            http_status=422,
            code="7",
        ),
    ):
        assert decode_answer(encode_answer(answer)) == answer


def test_names_tell_of_each_submit_and_its_answer() -> None:
    names = [
        entry_name(attempts_prefix(job()), 10),
        answer_name(attempts_prefix(job()), 2, Outcome.ACCEPTED),
        entry_name(attempts_prefix(job()), 1),
        entry_name(attempts_prefix(job()), 2),
        answer_name(attempts_prefix(job()), 1, Outcome.NOT_SENT),
    ]
    assert parse_attempts(names) == (
        Attempt(1, Outcome.NOT_SENT),
        Attempt(2, Outcome.ACCEPTED),
        Attempt(10),
    )
    assert {job_id_of(prefix_of(name)) for name in names} == {job().id}
    assert all(name.startswith(attempts_prefix(job())) for name in names)


def test_a_jobs_names_do_not_change_with_the_job() -> None:
    later = job(updated_at=NOW + timedelta(days=3), version=9, lease_holder="worker-b")
    assert entry_name(attempts_prefix(job()), 1) == entry_name(attempts_prefix(later), 1)
