"""Sends old deliveries again, a few at a time, so that a receiver is not overloaded."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from core.clock import Clock
from core.errors import RecordUnreadable
from core.observability.events import Emit, OperationalWarning
from core.store.interfaces import DeliveryRepository, ReplayRepository
from core.webhooks.delivery import DeliveryRange
from core.webhooks.replay import Replay, ReplayRange
from worker.scheduling.step_failures import StepFailures, is_own_fault

_MAX_TRIES: Final = 5


@dataclass(frozen=True, slots=True)
class ReplayPolicy:
    """The pace of a tenant's replay: `batch_size` deliveries are examined in each step."""

    events_per_second: int = 20
    batch_size: int = 20
    lease: timedelta = timedelta(seconds=30)
    max_claims: int = 10


class ReplayWorker:
    """Runs replays on any worker; each tenant's replay is on one worker at a time."""

    def __init__(
        self,
        replays: ReplayRepository,
        deliveries: DeliveryRepository,
        clock: Clock,
        policy: ReplayPolicy,
        emit: Emit,
    ) -> None:
        """Replays run at the pace of `policy`."""
        self._replays = replays
        self._deliveries = deliveries
        self._clock = clock
        self._policy = policy
        self._emit = emit
        self._failures = StepFailures()

    async def run_once(self) -> None:
        """Advance every replay that is due by one step."""
        for replay in await self._replays.claim_due(self._policy.lease, self._policy.max_claims):
            await self._step_safely(replay)

    async def _step_safely(self, replay: Replay) -> None:
        """Advance one replay. If that raises it is claimed again when its lease ends.

        After several times its first range is given up: what it holds stays listed.
        """
        try:
            await self._step(replay)
        except Exception as error:
            if not is_own_fault(error):
                raise
            # A fault in one tenant's data must not stop the others.
            await self._record_failure(replay, error)
        else:
            self._failures.forget(replay.tenant)

    async def _record_failure(self, replay: Replay, error: Exception) -> None:
        given_up = self._failures.record(replay.tenant)
        ending = "its first range is given up" if given_up else "it is tried again"
        detail = f"{replay.tenant}: {type(error).__name__}: {error}; {ending}"
        self._emit(OperationalWarning("replay_failed", detail, error=error))
        if given_up and replay.ranges:
            after = replay.advance((), limit=self._policy.batch_size)
            await self._replays.update(replay, after, self._clock.now())

    async def _step(self, replay: Replay) -> None:
        """Send one batch again. A step that a dead worker left half done is repeated.

        What it had already sent again is pending by then, and is skipped.
        """
        if not replay.ranges:
            await self._replays.update(replay, replay, self._clock.now())
            return
        current, limit = replay.ranges[0], self._policy.batch_size
        remaining = DeliveryRange(current.since, current.until, current.last_delivery_id)
        ids = await self._deliveries.list_oldest_first(replay.tenant, remaining, limit)
        sent = [await self._resend(delivery_id, current) for delivery_id in ids].count(True)
        due_at = self._clock.now() + timedelta(seconds=sent / self._policy.events_per_second)
        before = replay
        for _ in range(_MAX_TRIES):
            if before.ranges[:1] != (current,):
                return
            if await self._replays.update(before, before.advance(ids, limit=limit), due_at):
                return
            before = await self._replays.load(replay.tenant)

    async def _resend(self, delivery_id: str, replay_range: ReplayRange) -> bool:
        try:
            delivery = await self._deliveries.load(delivery_id)
        except RecordUnreadable:  # by this release; the others of the range are sent all the same
            return False
        if delivery is None or not replay_range.matches(delivery):
            return False
        return await self._deliveries.enqueue(delivery, delivery.resend(self._clock.now()))
