"""Decides what to do for a due delivery, and what an attempt changes. Pure."""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from random import Random
from typing import Final

from core.ids import IdSource
from core.jobs.job import FINAL_STATES, PUBLIC_STATUS, JobRecord
from core.jobs.timeline import TimelineEntry, TimelineKind
from core.observability.events import DeliveryAttempted
from core.observability.outcomes import FailureKind
from core.representations.jobs import OutputLinks
from core.representations.webhooks import cloud_event, webhook_body, webhook_data
from core.transactions.webhook_config_update import WebhookConfigUpdate
from core.transactions.webhook_deliveries import ENDPOINT_DISABLED, endpoint_disabled_deliveries
from core.webhooks.circuit_breaker import EndpointCircuit, EndpointCircuitPolicy
from core.webhooks.config import WebhookConfig
from core.webhooks.delivery import (
    STATUS_OF_EVENT,
    CircuitUpdate,
    Delivery,
    DeliveryAttempt,
    DeliveryState,
    DeliveryUpdate,
)
from core.webhooks.endpoint import (
    DisabledReason,
    Endpoint,
    EndpointKind,
    PayloadStyle,
    RedisStream,
    parse_stream_url,
)
from worker.webhooks.outcomes import AttemptFailed, AttemptResult, Delivered, kind_of_status
from worker.webhooks.retry_schedule import SchedulePolicy, next_attempt_at
from worker.webhooks.sender import AttemptRequest
from worker.webhooks.transport import StreamAppend

STEP_FAILED: Final = AttemptFailed(
    FailureKind.STEP_FAILED,
    timedelta(),
    excerpt="The gateway failed to make this attempt; its log has the reason.",
)
ORPHANED: Final = "orphaned"
ENDPOINT_DELETED: Final = "endpoint_deleted"
OVERDUE: Final = "overdue"

# The gateway's own failures: they are no evidence about the receiver.
_LOCAL_FAILURES: Final = frozenset(
    {FailureKind.BUSY, FailureKind.SEND_ERROR, FailureKind.PROXY_ERROR, FailureKind.STEP_FAILED}
)
# Failures to reach the server, whatever the path. Of the URLs that came with submits only these
# count against their origin: one job's wrong path must not delay another job's delivery.
_CONNECTION_FAILURES: Final = frozenset(
    {
        FailureKind.TIMEOUT,
        FailureKind.CONNECT_ERROR,
        FailureKind.TLS_ERROR,
        FailureKind.DNS_ERROR,
        FailureKind.RESET,
    }
)


_END_STATUSES: Final = frozenset(PUBLIC_STATUS[state] for state in FINAL_STATES)


@dataclass(frozen=True, slots=True)
class DeliveryRules:
    """The retry schedule, the circuit breaker's bounds, and the jitter's source."""

    rng: Random
    schedule: SchedulePolicy = field(default_factory=SchedulePolicy)
    circuits: EndpointCircuitPolicy = field(default_factory=EndpointCircuitPolicy)
    public_base: str | None = None
    """The base of the gateway's own URLs; None: events link to no kept output."""

    def output_links(self, now: datetime) -> OutputLinks | None:
        """Return what builds the links of an event that is sent now."""
        return None if self.public_base is None else OutputLinks(self.public_base, now)


@dataclass(frozen=True, slots=True)
class SkipDelivery:
    """Nothing is sent: the delivery ends, or waits for its endpoint, because of `reason`."""

    state: DeliveryState
    reason: str


DeliveryAction = AttemptRequest | StreamAppend | SkipDelivery


@dataclass(frozen=True, slots=True)
class DeliveryContext:
    """A due delivery, the circuit of its endpoint, and the records that it needs (None: deleted).

    `job_record` is None also for an event about no job.
    """

    delivery: Delivery
    circuit: EndpointCircuit
    job_record: JobRecord | None
    config: WebhookConfig | None

    @property
    def endpoint(self) -> Endpoint | None:
        """The endpoint's record; None for a URL that came with a submit, or once deleted."""
        endpoint_id = self.delivery.endpoint_id
        if endpoint_id is None or self.config is None:
            return None
        return self.config.find_endpoint(endpoint_id)


def is_ahead_of_its_job(context: DeliveryContext) -> bool:
    """Return whether the delivery is of an end that the job's record does not have.

    That is so after Redis went back: job and delivery are forgotten together.
    """
    record = context.job_record
    is_end = STATUS_OF_EVENT.get(context.delivery.event) in _END_STATUSES
    return is_end and record is not None and not record.job.is_final


def decide_action(
    context: DeliveryContext,
    now: datetime,
    schedule: SchedulePolicy,
    outputs: OutputLinks | None = None,
) -> DeliveryAction:
    """Return what to do for a delivery that is due."""
    delivery, config, endpoint = context.delivery, context.config, context.endpoint
    if config is None or (context.job_record is None and delivery.data is None):
        return SkipDelivery(DeliveryState.FAILED, ORPHANED)
    if endpoint is None:
        if delivery.endpoint_id is not None:
            return SkipDelivery(DeliveryState.FAILED, ENDPOINT_DELETED)
        endpoint = Endpoint("", delivery.url, delivery.created_at)
    elif endpoint.disabled_reason is not None:
        return SkipDelivery(DeliveryState.HELD, ENDPOINT_DISABLED)
    if now - delivery.round_started_at > schedule.max_age:
        return SkipDelivery(DeliveryState.FAILED, OVERDUE)
    data = _event_data(context, endpoint.payload, outputs)
    if endpoint.kind is EndpointKind.STREAM:
        stream = parse_stream_url(endpoint.url) or RedisStream(endpoint.id)
        return StreamAppend(delivery.tenant, stream, cloud_event(delivery, data))
    return _build_request(delivery, endpoint, config, data, now)


def _build_request(
    delivery: Delivery, endpoint: Endpoint, config: WebhookConfig, data: bytes, now: datetime
) -> AttemptRequest | SkipDelivery:
    secrets, keys = config.live_secrets(now), config.live_signing_keys(now)
    if not (secrets or keys):
        return SkipDelivery(DeliveryState.FAILED, ORPHANED)  # it could not be signed
    return AttemptRequest(
        webhook_id=delivery.id,
        url=endpoint.url,
        body=webhook_body(delivery.event, delivery.created_at, data),
        secrets=secrets,
        number=delivery.attempts + 1,
        keys=keys,
        headers=endpoint.headers,
        timeout=endpoint.timeout,
        queue=delivery.queue,
    )


def _event_data(
    context: DeliveryContext, payload: PayloadStyle, outputs: OutputLinks | None
) -> bytes:
    if context.delivery.data is not None or context.job_record is None:
        return (context.delivery.data or "null").encode()
    return webhook_data(context.job_record, context.delivery.event, payload, outputs)


def circuit_after(
    context: DeliveryContext, result: AttemptResult, now: datetime, policy: EndpointCircuitPolicy
) -> EndpointCircuit:
    """Return the endpoint's circuit after an attempt."""
    circuit = context.circuit
    if isinstance(result, Delivered):
        return circuit.record_success(now, policy, result.duration)
    if result.kind is FailureKind.THROTTLED:
        after = circuit.record_throttle(result.retry_after, now, policy)
    elif result.kind in _LOCAL_FAILURES or (
        context.endpoint is None and result.kind not in _CONNECTION_FAILURES
    ):
        return circuit
    else:
        after = circuit.record_failure(now, policy)
    return circuit if after is circuit else replace(after, last_failure=result.kind)


def disable_reason(
    endpoint: Endpoint,
    result: AttemptResult,
    circuit: EndpointCircuit,
    now: datetime,
    policy: EndpointCircuitPolicy,
) -> DisabledReason | None:
    """Return why an attempt disables the endpoint; None if it does not.

    `circuit` is the one after the attempt.
    """
    if isinstance(result, Delivered) or endpoint.disabled_reason is not None:
        return None
    if result.kind is FailureKind.GONE:
        return DisabledReason.GONE
    return DisabledReason.FAILING if circuit.is_exhausted(now, policy) else None


def disable_endpoint(
    config: WebhookConfig, endpoint_id: str, reason: DisabledReason, ids: IdSource, now: datetime
) -> WebhookConfigUpdate:
    """Return the update that disables an endpoint and notifies the tenant's other endpoints."""
    after = config.with_disabled_endpoint(endpoint_id, reason, now)
    disabled = after.get_endpoint(endpoint_id)
    deliveries = endpoint_disabled_deliveries(after, disabled, ids, now)
    return WebhookConfigUpdate(config, after, deliveries)


def attempt_update(
    context: DeliveryContext,
    result: AttemptResult,
    circuit: EndpointCircuit,
    now: datetime,
    rules: DeliveryRules,
) -> DeliveryUpdate:
    """Return what an attempt that ended `now` changes; `circuit` is the one after it."""
    before = context.delivery
    number = before.attempts - before.uncounted_attempts + 1
    due_at = next_attempt_at(number, result, now, rules.rng, rules.schedule)
    after = delivery_after(before, result, due_at, now)
    attempt = DeliveryAttempt(
        at=now,
        number=after.attempts,
        outcome=result.label,
        duration_ms=round(result.duration / timedelta(milliseconds=1)),
        http_status=result.status or None,
        response_excerpt=result.excerpt or None,
    )
    return DeliveryUpdate(
        before=before,
        after=after,
        circuit=CircuitUpdate(before.queue, context.circuit, circuit),
        attempt=attempt,
        entry=_timeline_entry(attempt, before.id, context.job_record),
    )


def hold_for_endpoint(update: DeliveryUpdate, now: datetime) -> DeliveryUpdate:
    """Return the update for an attempt that disabled the endpoint.

    The delivery is sent again when the endpoint is enabled; its circuit starts again from nothing.
    """
    after = replace(update.after, state=DeliveryState.HELD, next_attempt_at=None, finished_at=now)
    circuit = replace(update.circuit, after=update.circuit.before.reset())
    return replace(update, after=after, circuit=circuit)


def delivery_after(
    delivery: Delivery, result: AttemptResult, next_attempt_at: datetime | None, now: datetime
) -> Delivery:
    """Return the delivery after an attempt. Without a next one it has ended, delivered or not."""
    if isinstance(result, Delivered):
        state = DeliveryState.DELIVERED
    else:
        state = DeliveryState.PENDING if next_attempt_at is not None else DeliveryState.FAILED
    # What the gateway itself could not do uses up none of the receiver's twelve attempts.
    is_ours = not isinstance(result, Delivered) and result.kind is FailureKind.BUSY
    return replace(
        delivery,
        version=delivery.version + 1,
        attempts=delivery.attempts + 1,
        uncounted_attempts=delivery.uncounted_attempts + is_ours,
        state=state,
        next_attempt_at=next_attempt_at,
        last_outcome=result.label,
        finished_at=None if next_attempt_at is not None else now,
    )


def skip_update(context: DeliveryContext, action: SkipDelivery, now: datetime) -> DeliveryUpdate:
    """Return the update that ends or holds a delivery without an attempt."""
    before = context.delivery
    after = before.finish(action.state, action.reason, now)
    return DeliveryUpdate(
        before, after, CircuitUpdate(before.queue, context.circuit, context.circuit)
    )


def attempted_event(after: Delivery, result: AttemptResult) -> DeliveryAttempted:
    """Return the event of an attempt; `lag` is how long a delivered event took to arrive."""
    arrived_at = after.finished_at if after.state is DeliveryState.DELIVERED else None
    return DeliveryAttempted(
        delivery_id=after.id,
        job_id=after.job_id,
        tenant=after.tenant,
        attempt=after.attempts,
        outcome=result.label,
        http_status=result.status or None,
        duration=result.duration,
        state=after.state,
        lag=None if arrived_at is None else arrived_at - after.round_started_at,
        detail=_gateways_own_words(result),
    )


def _gateways_own_words(result: AttemptResult) -> str | None:
    """Return the excerpt if it is not the receiver's answer, which a log need not repeat."""
    answered = (
        result.status is not None and kind_of_status(result.status) is not FailureKind.REDIRECT
    )
    return None if answered else result.excerpt or None


def _timeline_entry(
    attempt: DeliveryAttempt, delivery_id: str, job_record: JobRecord | None
) -> TimelineEntry | None:
    if job_record is None:
        return None
    return TimelineEntry(
        at=attempt.at,
        kind=TimelineKind.DELIVERY,
        code=attempt.outcome,
        state=job_record.job.state,
        detail=delivery_id,
        http_status=attempt.http_status,
        count=attempt.number,
    )
