"""Makes the next attempt of a due delivery: decide, send, record.

A delivery never changes a job's state. An attempt is recorded after it was made: if the worker dies
in between, the event is sent again under the same id (at-least-once).
"""

import asyncio
from dataclasses import replace
from datetime import datetime
from typing import Final

from core.clock import Clock
from core.ids import IdSource
from core.observability.events import Emit, EndpointDisabled, OperationalWarning
from core.store.stores import Stores
from core.transactions.job_update import WriteResult
from core.webhooks.delivery import CircuitUpdate, ClaimedDelivery
from core.webhooks.endpoint import DisabledReason
from worker.scheduling.step_failures import is_own_fault
from worker.webhooks.decisions import (
    STEP_FAILED,
    DeliveryContext,
    DeliveryRules,
    SkipDelivery,
    attempt_update,
    attempted_event,
    circuit_after,
    decide_action,
    disable_endpoint,
    disable_reason,
    hold_for_endpoint,
    is_ahead_of_its_job,
    skip_update,
)
from worker.webhooks.outcomes import AttemptResult
from worker.webhooks.transport import DeliveryTransport

_MAX_TRIES: Final = 5


class DeliveryWorker:
    """Makes one attempt for each delivery that it is given."""

    def __init__(
        self,
        stores: Stores,
        transport: DeliveryTransport,
        rules: DeliveryRules,
        clock: Clock,
        ids: IdSource,
        emit: Emit,
    ) -> None:
        """Attempts and pauses follow `rules`."""
        self._deliveries = stores.deliveries
        self._jobs = stores.jobs
        self._webhook_configs = stores.webhook_configs
        self._transport = transport
        self._rules = rules
        self._clock = clock
        self._ids = ids
        self._emit = emit

    async def deliver(self, claimed: ClaimedDelivery) -> None:
        """Make the next attempt, or end or hold a delivery that cannot be sent.

        One that raises is a failed attempt: after the last one the delivery has failed, as with a
        receiver that never answers. Raises `Unavailable` if the fault is not this delivery's: then
        it is claimed again when its lease ends.
        """
        try:
            await self._attempt(claimed)
        except Exception as error:
            if not is_own_fault(error):
                raise
            detail, delivery_id = f"{type(error).__name__}: {error}", claimed.delivery.id
            self._emit(OperationalWarning("delivery_step_failed", detail, delivery_id, error))
            await self._record_step_failure(claimed)

    async def _record_step_failure(self, claimed: ClaimedDelivery) -> None:
        """Record an attempt that raised. If an attempt was recorded before it did, that one counts.

        Without the job's record and the endpoint's, which may be what raised.
        """
        context = DeliveryContext(claimed.delivery, claimed.circuit, None, None)
        now, circuit = self._clock.now(), claimed.circuit
        update = attempt_update(context, STEP_FAILED, circuit, now, self._rules)
        written = await self._deliveries.complete_attempt(update)
        if written.result is WriteResult.STORED:
            self._emit(attempted_event(update.after, STEP_FAILED))

    async def _attempt(self, claimed: ClaimedDelivery) -> None:
        context = await self._load_context(claimed)
        if is_ahead_of_its_job(context):
            return
        now = self._clock.now()
        links = self._rules.output_links(now)
        action = decide_action(context, now, self._rules.schedule, links)
        if isinstance(action, SkipDelivery):
            skipped = skip_update(context, action, self._clock.now())
            await self._deliveries.complete_attempt(skipped)
        else:
            result = await self._transport.send(action)
            await self._record(context, result, self._clock.now())

    async def _load_context(self, claimed: ClaimedDelivery) -> DeliveryContext:
        delivery, circuit = claimed.delivery, claimed.circuit
        if delivery.job_id is None:
            config = await self._webhook_configs.load(delivery.tenant)
            return DeliveryContext(delivery, circuit, None, config)
        # Sent together, the two reads cost one round trip.
        record, config = await asyncio.gather(
            self._jobs.load(delivery.job_id), self._webhook_configs.load(delivery.tenant)
        )
        return DeliveryContext(delivery, circuit, record, config)

    async def _record(self, context: DeliveryContext, result: AttemptResult, now: datetime) -> None:
        circuit = circuit_after(context, result, now, self._rules.circuits)
        update = attempt_update(context, result, circuit, now, self._rules)
        endpoint = context.endpoint
        if endpoint is not None:
            reason = disable_reason(endpoint, result, circuit, now, self._rules.circuits)
            if reason is not None:
                # First the endpoint, then the delivery: if the worker dies in between, the next
                # attempt finds the endpoint disabled.
                await self._disable(context.delivery.tenant, endpoint.id, reason)
                update = hold_for_endpoint(update, now)
        written = await self._deliveries.complete_attempt(update)
        self._emit(attempted_event(update.after, result))
        if not written.circuit_stored:
            await self._update_circuit(context, result, now)

    async def _update_circuit(
        self, context: DeliveryContext, result: AttemptResult, now: datetime
    ) -> None:
        """Add the result to a circuit that another worker changed meanwhile."""
        queue = context.delivery.queue
        for _ in range(_MAX_TRIES):
            before = await self._deliveries.load_circuit(queue)
            current = replace(context, circuit=before)
            after = circuit_after(current, result, now, self._rules.circuits)
            if after == before or await self._deliveries.update_circuit(
                CircuitUpdate(queue, before, after)
            ):
                return

    async def _disable(self, tenant: str, endpoint_id: str, reason: DisabledReason) -> None:
        """Disable an endpoint, unless it was disabled or deleted meanwhile."""
        now = self._clock.now()
        for _ in range(_MAX_TRIES):
            config = await self._webhook_configs.load(tenant)
            endpoint = config.find_endpoint(endpoint_id) if config is not None else None
            if config is None or endpoint is None or endpoint.disabled_reason is not None:
                return
            update = disable_endpoint(config, endpoint_id, reason, self._ids, now)
            if await self._webhook_configs.update(update):
                self._emit(EndpointDisabled(tenant, endpoint_id, reason))
                return
