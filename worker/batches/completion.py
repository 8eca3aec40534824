"""Completes batches after their last job has ended: one webhook event for each."""

from datetime import timedelta
from typing import Final

from core.batches import Batch, BatchSnapshot
from core.clock import Clock
from core.observability.events import BatchCompleted, Emit, OperationalWarning
from core.store.stores import Stores
from core.transactions.webhook_deliveries import batch_deliveries
from worker.scheduling.step_failures import StepFailures, is_own_fault

LEASE: Final = timedelta(seconds=30)
CLAIM_LIMIT: Final = 20


class BatchCompleter:
    """Completes batches on any worker; if that dies, another one does when the lease ends."""

    def __init__(self, stores: Stores, clock: Clock, emit: Emit) -> None:
        """Nothing runs before `run_once`."""
        self._batches = stores.batches
        self._webhook_configs = stores.webhook_configs
        self._clock = clock
        self._emit = emit
        self._failures = StepFailures()

    async def run_once(self) -> None:
        """Complete every batch that has no open job left; write those that were left half-written.

        A batch is accepted first and its jobs are written then: the service may die between.
        """
        while claimed := await self._batches.claim_completed(LEASE, CLAIM_LIMIT):
            for batch in claimed:
                await self._complete_safely(batch)
        for batch_id in await self._batches.claim_unwritten(CLAIM_LIMIT):
            await self._write_safely(batch_id)

    async def _write_safely(self, batch_id: str) -> None:
        """Write the rest of one batch. If that raises it is claimed again after a while."""
        try:
            await self._batches.write_rest(batch_id)
        except Exception as error:
            if not is_own_fault(error):
                raise
            detail = f"{batch_id}: {type(error).__name__}: {error}; it is tried again"
            self._emit(OperationalWarning("batch_write_failed", detail, error=error))

    async def _complete_safely(self, batch: Batch) -> None:
        """Complete one batch. If that raises it is claimed again when its lease ends.

        After several times it is completed without its event: others must not wait for it.
        """
        try:
            await self._complete(batch)
        except Exception as error:
            if not is_own_fault(error):
                raise
            # A fault in one batch must not stop the others.
            await self._record_failure(batch, error)
        else:
            self._failures.forget(batch.id)

    async def _record_failure(self, batch: Batch, error: Exception) -> None:
        given_up = self._failures.record(batch.id)
        ending = "it is completed without its event" if given_up else "it is tried again"
        detail = f"{batch.id}: {type(error).__name__}: {error}; {ending}"
        self._emit(OperationalWarning("batch_completion_failed", detail, error=error))
        if given_up:
            await self._batches.complete(batch, ())

    async def _complete(self, batch: Batch) -> None:
        snapshot = await self._batches.load(batch.id)
        if snapshot is None:
            return
        config = (await self._webhook_configs.load_versioned(batch.tenant)).config
        deliveries = batch_deliveries(snapshot, config, self._clock.now())
        if await self._batches.complete(batch, deliveries):
            self._emit(_batch_completed_event(snapshot, len(deliveries)))


def _batch_completed_event(snapshot: BatchSnapshot, delivery_count: int) -> BatchCompleted:
    batch, counts = snapshot.batch, snapshot.counts
    return BatchCompleted(
        batch_id=batch.id,
        tenant=batch.tenant,
        completed=counts.completed,
        failed=counts.failed,
        cancelled=counts.cancelled,
        age=(snapshot.finished_at or batch.created_at) - batch.created_at,
        deliveries=delivery_count,
        trace=batch.trace,
    )
