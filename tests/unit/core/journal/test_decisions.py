"""Whether a claimed submit may leave, by what the journal has of its job."""

import pytest

from core.journal.decisions import InDoubt, Replay, Send, SubmitStep, next_submit_step
from core.journal.records import Attempt, Outcome

ACCEPTED, REJECTED, NOT_SENT = Outcome.ACCEPTED, Outcome.REJECTED, Outcome.NOT_SENT

CASES: dict[str, tuple[tuple[Outcome | None, ...], int, SubmitStep]] = {
    "nothing was ever sent": ((), 0, Send(1)),
    "somebody may have paid": ((None,), 0, InDoubt(1)),
    "a resend is approved": ((None,), 1, Send(2)),
    "the approved resend has left already": ((None, None), 1, InDoubt(2)),
    "a second resend is approved": ((None, None), 2, Send(3)),
    "RunComfy has it": ((ACCEPTED,), 0, Replay(1, ACCEPTED)),
    "RunComfy has it, and a resend is approved": ((ACCEPTED,), 1, Replay(1, ACCEPTED)),
    "the resend was accepted": ((None, ACCEPTED), 0, Replay(2, ACCEPTED)),
    "the first submit was accepted late": ((ACCEPTED, None), 1, Replay(1, ACCEPTED)),
    "accepted late, after a resend that was not sent": (
        (ACCEPTED, NOT_SENT),
        1,
        Replay(1, ACCEPTED),
    ),
    "both were accepted": ((ACCEPTED, ACCEPTED), 1, Replay(2, ACCEPTED)),
    "the last one was not sent": ((NOT_SENT,), 0, Send(2)),
    "some were not sent": ((NOT_SENT, NOT_SENT, NOT_SENT), 0, Send(4)),
    "not sent, then somebody may have paid": ((NOT_SENT, None), 0, InDoubt(2)),
    "not sent, and a resend is approved": ((None, NOT_SENT), 1, Send(3)),
    "not sent, the resend is forgotten": ((None, NOT_SENT), 0, InDoubt(1)),
    "RunComfy refused it": ((REJECTED,), 0, Replay(1, REJECTED)),
    "RunComfy refused the resend": ((None, REJECTED), 1, Replay(2, REJECTED)),
}


@pytest.mark.parametrize("case", CASES)
def test_the_journal_decides_whether_a_submit_may_leave(case: str) -> None:
    outcomes, approved, expected = CASES[case]
    attempts = [Attempt(number, outcome) for number, outcome in enumerate(outcomes, 1)]
    assert next_submit_step(attempts, approved) == expected
