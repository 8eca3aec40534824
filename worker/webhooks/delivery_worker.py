"""Takes due callbacks to their endpoints: look, decide, send, decide, store, tell.

Delivery never changes a job's state. What an attempt came to is stored after the fact: a death in
between sends the event again, under the same id.
"""

import asyncio
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from random import Random
from typing import Protocol

from core.clock import Clock
from core.errors import StoreUnavailable
from core.ids import IdSource
from core.jobs.timeline import TimelineEntry, TimelineKind
from core.observability.events import DeliveryAttempted, Emit, EndpointDisabled
from core.observability.outcomes import FailureKind
from core.store.deliveries import AttemptWriteResult
from core.store.webhook_endpoints import WebhookConfigUpdate
from core.transactions.notifications import endpoint_disabled_deliveries
from core.webhooks.circuit_breaker import EndpointCircuit, EndpointCircuitPolicy
from core.webhooks.config import WebhookConfig
from core.webhooks.delivery import (
    CircuitUpdate,
    ClaimedDelivery,
    Delivery,
    DeliveryAttempt,
    DeliveryState,
    DeliveryUpdate,
)
from core.webhooks.endpoint import DisabledReason, Endpoint, RedisStream
from worker.ports import JobReader, WebhookConfigReader
from worker.webhooks.decisions import (
    DeliveryContext,
    SkipDelivery,
    StreamAppend,
    circuit_after,
    decide_action,
    delivery_after,
    disable_reason,
    duration_ms,
)
from worker.webhooks.outcomes import AttemptFailed, AttemptResult, Delivered
from worker.webhooks.retry_schedule import SchedulePolicy, next_attempt_at
from worker.webhooks.sender import AttemptRequest

_MAX_TRIES = 5


class Outbox(Protocol):
    """What the courier asks of the delivery store."""

    async def complete_attempt(self, completion: DeliveryUpdate) -> AttemptWriteResult:
        """Store what became of a claimed delivery."""
        ...

    async def load_circuit(self, name: str) -> EndpointCircuit:
        """The breaker over a channel."""
        ...

    async def update_circuit(self, update: CircuitUpdate) -> bool:
        """Store a channel's breaker, unless somebody was first."""
        ...


class WebhookConfigRepository(WebhookConfigReader, Protocol):
    """What the courier asks of the store of endpoints."""

    async def update(self, update: WebhookConfigUpdate) -> bool:
        """Store a tenant's next setup, unless somebody was first."""
        ...


class AttemptSender(Protocol):
    """What makes one attempt by HTTP."""

    async def send(self, attempt: AttemptRequest) -> AttemptResult:
        """Make it, and say what it came to."""
        ...


class EventStreamWriter(Protocol):
    """What writes to Redis streams."""

    async def append(self, tenant: str, stream: RedisStream, event: bytes) -> None:
        """Add one event. Raises `StoreUnavailable`."""
        ...


@dataclass(frozen=True, slots=True)
class DeliveryDependencies:
    """What the courier works with."""

    outbox: Outbox
    jobs: JobReader
    webhook_configs: WebhookConfigRepository
    sender: AttemptSender
    event_streams: EventStreamWriter
    clock: Clock
    rng: Random
    ids: IdSource
    emit: Emit


@dataclass(frozen=True, slots=True)
class DeliveryPolicy:
    """The numbers of a delivery's life."""

    schedule: SchedulePolicy = field(default_factory=SchedulePolicy)
    circuits: EndpointCircuitPolicy = field(default_factory=EndpointCircuitPolicy)


@dataclass(frozen=True, slots=True)
class _FinishedAttempt:
    """An attempt that was made: what was known before it, what it came to, and when it ended."""

    context: DeliveryContext
    circuit: EndpointCircuit
    outcome: AttemptResult
    finished_at: datetime


class DeliveryWorker:
    """Makes one attempt at a time for each delivery that it is handed."""

    def __init__(self, deps: DeliveryDependencies, policy: DeliveryPolicy) -> None:
        """Attempts and pauses follow `policy`."""
        self._deps = deps
        self._policy = policy

    async def deliver(self, claimed: ClaimedDelivery) -> None:
        """Make the next attempt; one that nobody can take is ended or held without a call."""
        known = await self._load_context(claimed.delivery)
        errand = decide_action(known, self._deps.clock.now(), self._policy.schedule)
        if isinstance(errand, SkipDelivery):
            await self._complete_unsent(claimed, errand)
            return
        outcome = await self._send(errand)
        made = _FinishedAttempt(known, claimed.circuit, outcome, self._deps.clock.now())
        await self._record_attempt(made)

    async def _load_context(self, delivery: Delivery) -> DeliveryContext:
        setups, jobs = self._deps.webhook_configs, self._deps.jobs
        if delivery.job_id is None:
            return DeliveryContext(delivery, None, await setups.load(delivery.tenant))
        record, setup = await asyncio.gather(
            jobs.load(delivery.job_id), setups.load(delivery.tenant)
        )
        return DeliveryContext(delivery, record, setup)

    async def _send(self, action: AttemptRequest | StreamAppend) -> AttemptResult:
        if isinstance(action, AttemptRequest):
            return await self._deps.sender.send(action)
        began = self._deps.clock.monotonic()
        try:
            await self._deps.event_streams.append(action.tenant, action.stream, action.event)
        except StoreUnavailable as error:
            return AttemptFailed(
                FailureKind.CONNECT_ERROR, self._elapsed_since(began), excerpt=error.detail
            )
        return Delivered(0, self._elapsed_since(began))

    def _elapsed_since(self, started_at: timedelta) -> timedelta:
        return self._deps.clock.monotonic() - started_at

    async def _record_attempt(self, attempt: _FinishedAttempt) -> None:
        channel = circuit_after(
            attempt.circuit,
            attempt.outcome,
            attempt.context,
            attempt.finished_at,
            self._policy.circuits,
        )
        why = disable_reason(
            channel, attempt.outcome, attempt.context, attempt.finished_at, self._policy.circuits
        )
        if why is not None and attempt.context.endpoint is not None:
            await self._disable(attempt.context.delivery.tenant, attempt.context.endpoint.id, why)
            channel = attempt.circuit.reset()
        after = self._delivery_after(attempt, why)
        stored = await self._complete_attempt(attempt, channel, after)
        self._emit_attempt(attempt, after)
        if not stored.circuit_stored:
            await self._update_circuit(attempt)

    def _delivery_after(
        self, attempt: _FinishedAttempt, disabled_reason: DisabledReason | None
    ) -> Delivery:
        delivery = attempt.context.delivery
        number = delivery.attempts - delivery.attempts_before_resend + 1
        due_at = next_attempt_at(
            number, attempt.outcome, attempt.finished_at, self._deps.rng, self._policy.schedule
        )
        after = delivery_after(delivery, attempt.outcome, due_at, attempt.finished_at)
        if disabled_reason is None:
            return after
        # It is owed to the endpoint as soon as that is enabled again.
        return replace(
            after, state=DeliveryState.HELD, next_attempt_at=None, finished_at=attempt.finished_at
        )

    async def _complete_attempt(
        self, attempt: _FinishedAttempt, circuit: EndpointCircuit, after: Delivery
    ) -> AttemptWriteResult:
        before = attempt.context.delivery
        return await self._deps.outbox.complete_attempt(
            DeliveryUpdate(
                before=before,
                after=after,
                circuit=CircuitUpdate(before.queue, attempt.circuit, circuit),
                attempt=_attempt_record(after, attempt.outcome, attempt.finished_at),
                entry=_timeline_entry(after, attempt),
            )
        )

    async def _update_circuit(self, attempt: _FinishedAttempt) -> None:
        """Another courier changed the channel's record meanwhile: note the outcome upon theirs."""
        name = attempt.context.delivery.queue
        for _ in range(_MAX_TRIES):
            held = await self._deps.outbox.load_circuit(name)
            after = circuit_after(
                held, attempt.outcome, attempt.context, attempt.finished_at, self._policy.circuits
            )
            if after == held or await self._deps.outbox.update_circuit(
                CircuitUpdate(name, held, after)
            ):
                return

    async def _disable(self, tenant: str, endpoint_id: str, reason: DisabledReason) -> None:
        """Disable an endpoint, and tell the tenant's others in the same step."""
        hands, now = self._deps, self._deps.clock.now()
        for _ in range(_MAX_TRIES):
            setup = await hands.webhook_configs.load(tenant)
            end = setup.find_endpoint(endpoint_id) if setup is not None else None
            if setup is None or end is None or end.disabled_reason is not None:
                return
            change = _build_disable_change(setup, end, reason, hands.ids, now)
            if await hands.webhook_configs.update(change):
                hands.emit(EndpointDisabled(tenant, endpoint_id, reason))
                return

    async def _complete_unsent(self, claimed: ClaimedDelivery, action: SkipDelivery) -> None:
        before, now = claimed.delivery, self._deps.clock.now()
        after = before.finish(action.state, action.reason, now)
        unmoved = CircuitUpdate(before.queue, claimed.circuit, claimed.circuit)
        await self._deps.outbox.complete_attempt(DeliveryUpdate(before, after, unmoved))

    def _emit_attempt(self, attempt: _FinishedAttempt, after: Delivery) -> None:
        outcome = attempt.outcome
        self._deps.emit(
            DeliveryAttempted(
                delivery_id=after.id,
                job_id=after.job_id,
                tenant=after.tenant,
                attempt=after.attempts,
                outcome=outcome.label,
                http_status=outcome.status or None,
                duration=outcome.duration,
                state=after.state,
                lag=_lag(after),
            )
        )


def _build_disable_change(
    config: WebhookConfig, endpoint: Endpoint, reason: DisabledReason, ids: IdSource, now: datetime
) -> WebhookConfigUpdate:
    after = config.with_disabled_endpoint(endpoint.id, reason, now)
    lost = after.get_endpoint(endpoint.id)
    return WebhookConfigUpdate(config, after, endpoint_disabled_deliveries(after, lost, ids, now))


def _attempt_record(after: Delivery, outcome: AttemptResult, now: datetime) -> DeliveryAttempt:
    return DeliveryAttempt(
        at=now,
        number=after.attempts,
        outcome=outcome.label,
        duration_ms=duration_ms(outcome),
        http_status=outcome.status or None,
        response_excerpt=outcome.excerpt or None,
    )


def _lag(delivery: Delivery) -> timedelta | None:
    """How long the event took to arrive; None while it has not."""
    if delivery.state is not DeliveryState.DELIVERED or delivery.finished_at is None:
        return None
    return delivery.finished_at - delivery.round_started_at


def _timeline_entry(after: Delivery, attempt: _FinishedAttempt) -> TimelineEntry | None:
    if attempt.context.job_record is None:
        return None
    return TimelineEntry(
        at=attempt.finished_at,
        kind=TimelineKind.DELIVERY,
        code=attempt.outcome.label,
        state=attempt.context.job_record.job.state,
        detail=after.id,
        http_status=attempt.outcome.status or None,
        count=after.attempts,
    )
