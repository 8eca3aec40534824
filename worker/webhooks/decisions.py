"""What is to be done for a due delivery, and what an attempt makes of it and its channel. Pure."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from core.jobs.job import JobRecord
from core.observability.outcomes import FailureKind
from core.representations.webhooks import cloud_event, webhook_body, webhook_data
from core.transactions.notifications import ENDPOINT_DISABLED
from core.webhooks.circuit_breaker import EndpointCircuit, EndpointCircuitPolicy
from core.webhooks.config import WebhookConfig
from core.webhooks.delivery import Delivery, DeliveryState
from core.webhooks.endpoint import (
    DisabledReason,
    Endpoint,
    EndpointKind,
    PayloadStyle,
    RedisStream,
    parse_stream_url,
)
from worker.webhooks.outcomes import AttemptResult, Delivered
from worker.webhooks.retry_schedule import SchedulePolicy
from worker.webhooks.sender import AttemptRequest

ORPHANED: Final = "orphaned"
ENDPOINT_DELETED: Final = "endpoint_deleted"
OVERDUE: Final = "overdue"


@dataclass(frozen=True, slots=True)
class StreamAppend:
    """An event for a Redis stream."""

    tenant: str
    stream: RedisStream
    event: bytes


@dataclass(frozen=True, slots=True)
class SkipDelivery:
    """Nothing is sent: the delivery ends, or waits for its endpoint, as `why` says."""

    state: DeliveryState
    reason: str


DeliveryAction = AttemptRequest | StreamAppend | SkipDelivery


@dataclass(frozen=True, slots=True)
class DeliveryContext:
    """What is known of a delivery when it is due; None for what is gone."""

    delivery: Delivery
    job_record: JobRecord | None
    config: WebhookConfig | None

    @property
    def endpoint(self) -> Endpoint | None:
        """Its endpoint's record; None for a submit's own URL, or where it was deleted."""
        name = self.delivery.endpoint_id
        return None if name is None or self.config is None else self.config.find_endpoint(name)


def decide_action(
    context: DeliveryContext, now: datetime, schedule: SchedulePolicy
) -> DeliveryAction:
    """What to do for a delivery that is due."""
    delivery, setup, endpoint = context.delivery, context.config, context.endpoint
    if setup is None or (context.job_record is None and delivery.data is None):
        return SkipDelivery(DeliveryState.FAILED, ORPHANED)
    if endpoint is None and delivery.endpoint_id is not None:
        return SkipDelivery(DeliveryState.FAILED, ENDPOINT_DELETED)
    if endpoint is not None and endpoint.disabled_reason is not None:
        return SkipDelivery(DeliveryState.HELD, ENDPOINT_DISABLED)
    if now - delivery.round_started_at > schedule.max_age:
        return SkipDelivery(DeliveryState.FAILED, OVERDUE)
    return _decide_send(context, setup, now)


def _decide_send(context: DeliveryContext, config: WebhookConfig, now: datetime) -> DeliveryAction:
    delivery = context.delivery
    endpoint = context.endpoint or Endpoint("", delivery.url, delivery.created_at)
    data = _event_data(context, endpoint.payload)
    if endpoint.kind is EndpointKind.STREAM:
        stream = parse_stream_url(endpoint.url) or RedisStream(endpoint.id)
        return StreamAppend(delivery.tenant, stream, cloud_event(delivery, data))
    if not (config.live_secrets(now) or config.live_signing_keys(now)):
        return SkipDelivery(DeliveryState.FAILED, ORPHANED)  # nothing could prove that it is ours
    return AttemptRequest(
        webhook_id=delivery.id,
        url=endpoint.url,
        body=webhook_body(delivery.event, delivery.created_at, data),
        secrets=config.live_secrets(now),
        number=delivery.attempts + 1,
        keys=config.live_signing_keys(now),
        headers=endpoint.headers,
        timeout=endpoint.timeout,
    )


def _event_data(context: DeliveryContext, payload: PayloadStyle) -> bytes:
    if context.delivery.data is not None or context.job_record is None:
        return (context.delivery.data or "null").encode()
    return webhook_data(context.job_record, context.delivery.event, payload)


# What says nothing of the receiver: our own doing.
_LOCAL_FAILURES: Final = frozenset({FailureKind.BUSY, FailureKind.SEND_ERROR})
# What says that nobody is there, whatever the path: all that counts against the origin of URLs that
# came with submits. One job's bad path must not hold up another's good one.
_CONNECTION_FAILURES: Final = frozenset(
    {
        FailureKind.TIMEOUT,
        FailureKind.CONNECT_ERROR,
        FailureKind.TLS_ERROR,
        FailureKind.DNS_ERROR,
        FailureKind.RESET,
    }
)


def circuit_after(
    circuit: EndpointCircuit,
    outcome: AttemptResult,
    context: DeliveryContext,
    now: datetime,
    policy: EndpointCircuitPolicy,
) -> EndpointCircuit:
    """The breaker after an attempt."""
    if isinstance(outcome, Delivered):
        return circuit.record_success(now, policy, outcome.duration)
    if outcome.kind is FailureKind.THROTTLED:
        return circuit.record_throttle(outcome.retry_after, now, policy)
    if outcome.kind in _LOCAL_FAILURES or (
        context.endpoint is None and outcome.kind not in _CONNECTION_FAILURES
    ):
        return circuit
    return circuit.record_failure(now, policy)


def disable_reason(
    circuit: EndpointCircuit,
    outcome: AttemptResult,
    context: DeliveryContext,
    now: datetime,
    policy: EndpointCircuitPolicy,
) -> DisabledReason | None:
    """Whether an outcome disables the endpoint, and why. `channel` is the one after it."""
    if context.endpoint is None or context.endpoint.disabled_reason is not None:
        return None
    if isinstance(outcome, Delivered):
        return None
    if outcome.kind is FailureKind.GONE:
        return DisabledReason.GONE
    return DisabledReason.FAILING if circuit.is_exhausted(now, policy) else None


def delivery_after(
    delivery: Delivery, outcome: AttemptResult, next_attempt_at: datetime | None, now: datetime
) -> Delivery:
    """The record after an attempt; without a next one it has ended, well or not."""
    if isinstance(outcome, Delivered):
        state = DeliveryState.DELIVERED
    else:
        state = DeliveryState.PENDING if next_attempt_at is not None else DeliveryState.FAILED
    return replace(
        delivery,
        version=delivery.version + 1,
        attempts=delivery.attempts + 1,
        state=state,
        next_attempt_at=next_attempt_at,
        last_outcome=outcome.label,
        finished_at=None if next_attempt_at is not None else now,
    )


def duration_ms(outcome: AttemptResult) -> int:
    """An attempt's duration."""
    return round(outcome.duration / timedelta(milliseconds=1))
