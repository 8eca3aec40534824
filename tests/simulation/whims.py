"""How RunComfy and the receivers behave in a run, drawn from its plan."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import orjson

from core.money import MicroUsd
from tests.fakes.upstream import Course, Ending, Submission, SubmitFate
from tests.simulation.plan import Fault
from worker.ports import Unreachable, UpstreamFault
from worker.webhooks.outcomes import Delivered, Kind, Refused

if TYPE_CHECKING:
    from random import Random

    from core.clock import Clock
    from tests.simulation.plan import Chance
    from worker.webhooks.outcomes import Outcome
    from worker.webhooks.sender import Attempt

SECOND: Final = timedelta(seconds=1)
QUICK: Final = (0.1, 1.0, 12.0)
"""Submits within a lease, at most, in seconds."""
PRICE: Final = MicroUsd(420_000)

SUBMIT_FAULTS: Final = (
    (Fault.LOST_BEFORE, SubmitFate.LOST_BEFORE),
    (Fault.LOST_AFTER, SubmitFate.LOST_AFTER),
    (Fault.NOT_SENT, SubmitFate.NOT_SENT),
    (Fault.THROTTLED, SubmitFate.THROTTLED),
    (Fault.REJECTED, SubmitFate.REJECTED),
    (Fault.REFUSED, SubmitFate.REFUSED),
)


class DrawnWhim:
    """A `tests.fakes.upstream.Whim` by chance."""

    def __init__(self, chance: Chance, clock: Clock, active: timedelta) -> None:
        """Reads are away in a window of the active time, if the plan says so."""
        self._chance = chance
        self._clock = clock
        self._submits = chance.stream("submits")
        self._courses = chance.stream("courses")
        self._reads = chance.stream("reads")
        start = active * self._reads.random()
        self._blinked: set[str] = set()
        self._failed = self._failed_before = False
        self._away = (start, start + self._reads.choice((5, 30, 90)) * SECOND)

    def submission(self) -> Submission:
        """See `Whim`."""
        rng = self._submits
        fate = next(
            (fate for fault, fate in SUBMIT_FAULTS if self._chance.strikes(fault, rng)),
            SubmitFate.ACCEPTED,
        )
        slow = self._chance.strikes(Fault.SLOW_SUBMITS, rng, factor=2)
        takes = (16 + 50 * rng.random() if slow else rng.choice(QUICK) * rng.random()) * SECOND
        late = rng.choice((0.5, 0.9, 1.5)) if fate is SubmitFate.LOST_AFTER else rng.random()
        return Submission(fate, takes * late, takes, rng.choice((None, SECOND, 10 * SECOND)))

    def course(self) -> Course:
        """See `Whim`."""
        rng = self._courses
        starts = rng.choice((0, 2, 15)) * rng.random() * SECOND
        long = self._chance.strikes(Fault.LONG_RUNS, rng, factor=2)
        ends = starts + (rng.uniform(60, 7200) if long else rng.uniform(1, 40)) * SECOND
        return Course(
            visible=self._drawn(Fault.NOT_YET_VISIBLE, (3.0, 30.0, 100.0)) or timedelta(),
            starts=starts,
            ends=ends,
            result=ends + (self._drawn(Fault.DISAGREE, (3.0, 60.0, 1000.0)) or timedelta()),
            cost=self._cost(ends),
            forgotten=self._drawn(Fault.FORGOTTEN, (5.0, 30.0)),
            ending=self._ending(),
            price=PRICE,
        )

    def read_fault(self) -> Unreachable | None:
        """See `Whim`."""
        rng, now = self._reads, self._clock.monotonic()
        self._failed_before = self._failed
        away = self._away[0] <= now < self._away[1]
        self._failed = self._chance.strikes(Fault.READS_FAIL, rng) or (
            away and self._chance.strikes(Fault.READS_AWAY, rng, factor=1000)
        )
        if not self._failed:
            return None
        kind = rng.choice(("http_5xx", "read_timeout", "http_429"))
        fault = UpstreamFault(kind, f"made up: {kind}")
        return Unreachable(fault, rng.choice((None, SECOND, 20 * SECOND)))

    def blink(self, upstream_id: str) -> bool:
        """See `Whim`."""
        could = self._failed_before and upstream_id not in self._blinked
        if not could or not self._chance.strikes(Fault.BLINKS, self._reads, factor=5):
            return False
        self._blinked.add(upstream_id)
        return True

    def latency(self) -> timedelta:
        """See `Whim`."""
        return self._reads.choice((0.0, 0.05, 1.0, 8.0)) * self._reads.random() * SECOND

    def odd_word(self) -> str | None:
        """See `Whim`."""
        return "dreaming" if self._chance.strikes(Fault.UNKNOWN_WORDS, self._reads) else None

    def cancel_answer_lost(self) -> bool:
        """See `Whim`."""
        return self._chance.strikes(Fault.LOST_CANCELS, self._reads, factor=3)

    def _cost(self, ends: timedelta) -> timedelta | None:
        if self._chance.strikes(Fault.NO_COST, self._courses):
            return None
        return ends + (self._drawn(Fault.LATE_COST, (10.0, 300.0, 4000.0)) or timedelta())

    def _ending(self) -> Ending:
        if self._chance.strikes(Fault.NO_OUTPUT, self._courses):
            return Ending.NO_OUTPUT
        if self._chance.strikes(Fault.BREAKS, self._courses):
            return self._courses.choice((Ending.FAILED_FREE, Ending.FAILED_CHARGED))
        return Ending.COMPLETED

    def _drawn(self, fault: Fault, spans: tuple[float, ...]) -> timedelta | None:
        rng = self._courses
        return (
            rng.choice(spans) * rng.random() * SECOND if self._chance.strikes(fault, rng) else None
        )


@dataclass(frozen=True, slots=True)
class Received:
    """A callback that reached its receiver."""

    webhook_id: str
    url: str
    event: str
    job_id: str
    status: str


@dataclass(slots=True)
class Receivers:
    """All receivers: what they took, by webhook id."""

    chance: Chance
    clock: Clock
    rng: Random
    taken: list[Received] = field(default_factory=list)

    async def send(self, attempt: Attempt) -> Outcome:
        """Take a callback, or fail; sometimes both, when the answer is lost."""
        await self.clock.sleep(self.rng.choice((0.01, 1.0, 15.0)) * self.rng.random() * SECOND)
        failed = self.chance.strikes(Fault.RECEIVER, self.rng, factor=2)
        if not failed or self.rng.random() < 1 / 2:
            self._take(attempt)
        took = timedelta(milliseconds=5)
        return Refused(Kind.SERVER_ERROR, took, 500) if failed else Delivered(200, took)

    def _take(self, attempt: Attempt) -> None:
        body = orjson.loads(attempt.body)
        data = body["data"]
        self.taken.append(
            Received(
                attempt.webhook_id, attempt.url, body["type"], data["request_id"], data["status"]
            )
        )
