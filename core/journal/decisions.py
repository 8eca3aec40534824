"""Decides from the journal whether a claimed submit may leave. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from core.journal.records import Attempt, Outcome


@dataclass(frozen=True, slots=True)
class Send:
    """No submit beyond those approved can have been paid: create entry `number`, then send."""

    number: int


@dataclass(frozen=True, slots=True)
class Replay:
    """RunComfy has answered entry `number` already: that answer is this submit's."""

    number: int
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class InDoubt:
    """Entry `number` has no answer: it may have been sent, and paid for."""

    number: int


SubmitStep = Send | Replay | InDoubt


def next_submit_step(attempts: Sequence[Attempt], resends_approved: int) -> SubmitStep:
    """Decide for a job with these entries, of which it is approved to send some more.

    A paid submit counts whenever it was made. One without an answer stops the job, unless a
    further submit was approved for it. One that started no work counts for nothing.
    """
    last = max((attempt.number for attempt in attempts), default=0)
    for attempt in reversed(attempts):
        if attempt.outcome is Outcome.ACCEPTED:
            return Replay(attempt.number, Outcome.ACCEPTED)
    if attempts and attempts[-1].outcome is Outcome.REJECTED:
        return Replay(last, Outcome.REJECTED)
    unanswered = [attempt.number for attempt in attempts if attempt.outcome is None]
    if len(unanswered) > resends_approved:
        return InDoubt(unanswered[-1])
    return Send(last + 1)
