"""How RunComfy and the receivers behave in a run, drawn from its plan."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import orjson

from core.money import MicroUsd
from core.observability.outcomes import FailureKind
from tests.simulation.plan import Fault
from tests.support.upstream import RequestOutcome, RequestPlan, SubmitOutcome, SubmitPlan
from worker.ports import Unreachable, UpstreamFault
from worker.webhooks.outcomes import AttemptFailed, Delivered

if TYPE_CHECKING:
    from random import Random

    from core.clock import Clock
    from tests.simulation.plan import SeededRandomness
    from worker.webhooks.outcomes import AttemptResult
    from worker.webhooks.sender import AttemptRequest

SECOND: Final = timedelta(seconds=1)
QUICK: Final = (0.1, 1.0, 12.0)
"""Submits within a lease, at most, in seconds."""
PRICE: Final = MicroUsd(420_000)

SUBMIT_FAULTS: Final = (
    (Fault.LOST_BEFORE, SubmitOutcome.LOST_BEFORE),
    (Fault.LOST_AFTER, SubmitOutcome.LOST_AFTER),
    (Fault.NOT_SENT, SubmitOutcome.NOT_SENT),
    (Fault.THROTTLED, SubmitOutcome.THROTTLED),
    (Fault.REJECTED, SubmitOutcome.REJECTED),
    (Fault.REFUSED, SubmitOutcome.REFUSED),
)


class RandomUpstreamBehavior:
    """A `tests.support.upstream.UpstreamBehavior` by chance."""

    def __init__(self, chance: SeededRandomness, clock: Clock, active: timedelta) -> None:
        """Reads are away in a window of the active time, if the plan says so."""
        self._chance = chance
        self._clock = clock
        self._submits = chance.stream("submits")
        self._plans = chance.stream("courses")
        self._reads = chance.stream("reads")
        start = active * self._reads.random()
        self._blinked: set[str] = set()
        self._failed = self._failed_before = False
        self._away = (start, start + self._reads.choice((5, 30, 90)) * SECOND)

    def plan_submit(self) -> SubmitPlan:
        """See `UpstreamBehavior`."""
        rng = self._submits
        fate = next(
            (fate for fault, fate in SUBMIT_FAULTS if self._chance.occurs(fault, rng)),
            SubmitOutcome.ACCEPTED,
        )
        slow = self._chance.occurs(Fault.SLOW_SUBMITS, rng, factor=2)
        takes = (16 + 50 * rng.random() if slow else rng.choice(QUICK) * rng.random()) * SECOND
        late = rng.choice((0.5, 0.9, 1.5)) if fate is SubmitOutcome.LOST_AFTER else rng.random()
        return SubmitPlan(fate, takes * late, takes, rng.choice((None, SECOND, 10 * SECOND)))

    def plan_request(self) -> RequestPlan:
        """See `UpstreamBehavior`."""
        rng = self._plans
        starts = rng.choice((0, 2, 15)) * rng.random() * SECOND
        long = self._chance.occurs(Fault.LONG_RUNS, rng, factor=2)
        ends = starts + (rng.uniform(60, 7200) if long else rng.uniform(1, 40)) * SECOND
        return RequestPlan(
            visible_after=self._drawn(Fault.NOT_YET_VISIBLE, (3.0, 30.0, 100.0)) or timedelta(),
            starts_after=starts,
            ends_after=ends,
            result_after=ends
            + (self._drawn(Fault.RESULT_AFTER_STATUS, (3.0, 60.0, 1000.0)) or timedelta()),
            cost_after=self._cost(ends),
            forgotten_after=self._drawn(Fault.FORGOTTEN, (5.0, 30.0)),
            outcome=self._outcome(),
            price=PRICE,
        )

    def read_fault(self) -> Unreachable | None:
        """See `UpstreamBehavior`."""
        rng, now = self._reads, self._clock.monotonic()
        self._failed_before = self._failed
        away = self._away[0] <= now < self._away[1]
        self._failed = self._chance.occurs(Fault.READS_FAIL, rng) or (
            away and self._chance.occurs(Fault.READS_UNAVAILABLE, rng, factor=1000)
        )
        if not self._failed:
            return None
        kind = rng.choice(("http_5xx", "read_timeout", "http_429"))
        fault = UpstreamFault(kind, f"made up: {kind}")
        return Unreachable(fault, rng.choice((None, SECOND, 20 * SECOND)))

    def is_temporarily_missing(self, upstream_id: str) -> bool:
        """See `UpstreamBehavior`."""
        could = self._failed_before and upstream_id not in self._blinked
        if not could or not self._chance.occurs(Fault.TEMPORARILY_MISSING, self._reads, factor=5):
            return False
        self._blinked.add(upstream_id)
        return True

    def latency(self) -> timedelta:
        """See `UpstreamBehavior`."""
        return self._reads.choice((0.0, 0.05, 1.0, 8.0)) * self._reads.random() * SECOND

    def unknown_status(self) -> str | None:
        """See `UpstreamBehavior`."""
        return "dreaming" if self._chance.occurs(Fault.UNKNOWN_STATUS, self._reads) else None

    def cancel_answer_lost(self) -> bool:
        """See `UpstreamBehavior`."""
        return self._chance.occurs(Fault.LOST_CANCELS, self._reads, factor=3)

    def _cost(self, ends: timedelta) -> timedelta | None:
        if self._chance.occurs(Fault.NO_COST, self._plans):
            return None
        return ends + (self._drawn(Fault.LATE_COST, (10.0, 300.0, 4000.0)) or timedelta())

    def _outcome(self) -> RequestOutcome:
        if self._chance.occurs(Fault.NO_OUTPUT, self._plans):
            return RequestOutcome.NO_OUTPUT
        if self._chance.occurs(Fault.UPSTREAM_FAILURES, self._plans):
            return self._plans.choice((RequestOutcome.FAILED_FREE, RequestOutcome.FAILED_CHARGED))
        return RequestOutcome.COMPLETED

    def _drawn(self, fault: Fault, spans: tuple[float, ...]) -> timedelta | None:
        rng = self._plans
        return (
            rng.choice(spans) * rng.random() * SECOND if self._chance.occurs(fault, rng) else None
        )


@dataclass(frozen=True, slots=True)
class DeliveredWebhook:
    """A callback that reached its receiver."""

    webhook_id: str
    url: str
    event: str
    job_id: str
    status: str


@dataclass(slots=True)
class SimulatedReceivers:
    """All receivers: what they took, by webhook id."""

    randomness: SeededRandomness
    clock: Clock
    rng: Random
    received: list[DeliveredWebhook] = field(default_factory=list)

    async def send(self, attempt: AttemptRequest) -> AttemptResult:
        """Take a callback, or fail; sometimes both, when the answer is lost."""
        await self.clock.sleep(self.rng.choice((0.01, 1.0, 15.0)) * self.rng.random() * SECOND)
        failed = self.randomness.occurs(Fault.RECEIVER, self.rng, factor=2)
        if not failed or self.rng.random() < 1 / 2:
            self._take(attempt)
        took = timedelta(milliseconds=5)
        return (
            AttemptFailed(FailureKind.SERVER_ERROR, took, 500) if failed else Delivered(200, took)
        )

    def _take(self, attempt: AttemptRequest) -> None:
        body = orjson.loads(attempt.body)
        data = body["data"]
        self.received.append(
            DeliveredWebhook(
                attempt.webhook_id, attempt.url, body["type"], data["request_id"], data["status"]
            )
        )
