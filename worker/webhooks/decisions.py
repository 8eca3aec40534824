"""What is to be done for a due delivery, and what an attempt makes of it and its channel. Pure."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from core.jobs.job import JobRecord
from core.representations.webhooks import callback_document, cloud_event, event_data
from core.transactions.notifications import ENDPOINT_DISABLED
from core.webhooks.circuit_breaker import Channel, ChannelPolicy
from core.webhooks.config import WebhookSetup
from core.webhooks.delivery import Delivery, DeliveryState
from core.webhooks.endpoint import Disabled, Endpoint, EndpointKind, Payload, Stream, read_stream
from worker.webhooks.outcomes import Delivered, Kind, Outcome
from worker.webhooks.retry_schedule import SchedulePolicy
from worker.webhooks.sender import Attempt

ORPHANED: Final = "orphaned"
ENDPOINT_DELETED: Final = "endpoint_deleted"
OVERDUE: Final = "overdue"


@dataclass(frozen=True, slots=True)
class Append:
    """An event for a Redis stream."""

    tenant: str
    stream: Stream
    event: bytes


@dataclass(frozen=True, slots=True)
class NoSend:
    """Nothing is sent: the delivery ends, or waits for its endpoint, as `why` says."""

    state: DeliveryState
    why: str


Errand = Attempt | Append | NoSend


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a delivery when it is due; None for what is gone."""

    delivery: Delivery
    record: JobRecord | None
    setup: WebhookSetup | None

    @property
    def endpoint(self) -> Endpoint | None:
        """Its endpoint's record; None for a submit's own URL, or where it was deleted."""
        name = self.delivery.endpoint
        return None if name is None or self.setup is None else self.setup.find(name)


def errand_of(known: Known, now: datetime, schedule: SchedulePolicy) -> Errand:
    """What to do for a delivery that is due."""
    delivery, setup, endpoint = known.delivery, known.setup, known.endpoint
    if setup is None or (known.record is None and delivery.data is None):
        return NoSend(DeliveryState.FAILED, ORPHANED)
    if endpoint is None and delivery.endpoint is not None:
        return NoSend(DeliveryState.FAILED, ENDPOINT_DELETED)
    if endpoint is not None and endpoint.disabled is not None:
        return NoSend(DeliveryState.HELD, ENDPOINT_DISABLED)
    if now - delivery.opened_at > schedule.window:
        return NoSend(DeliveryState.FAILED, OVERDUE)
    return _to_send(known, setup, now)


def _to_send(known: Known, setup: WebhookSetup, now: datetime) -> Errand:
    delivery = known.delivery
    endpoint = known.endpoint or Endpoint("", delivery.url, delivery.created_at)
    data = _data(known, endpoint.payload)
    if endpoint.kind is EndpointKind.STREAM:
        stream = read_stream(endpoint.url) or Stream(endpoint.id)
        return Append(delivery.tenant, stream, cloud_event(delivery, data))
    if not (setup.live_secrets(now) or setup.live_keys(now)):
        return NoSend(DeliveryState.FAILED, ORPHANED)  # nothing could prove that it is ours
    return Attempt(
        webhook_id=delivery.id,
        url=endpoint.url,
        body=callback_document(delivery.event, delivery.created_at, data),
        secrets=setup.live_secrets(now),
        number=delivery.attempts + 1,
        keys=setup.live_keys(now),
        headers=endpoint.headers,
        timeout=endpoint.timeout,
    )


def _data(known: Known, payload: Payload) -> bytes:
    if known.delivery.data is not None or known.record is None:
        return (known.delivery.data or "null").encode()
    return event_data(known.record, known.delivery.event, payload)


# What says nothing of the receiver: our own doing.
_OURS: Final = frozenset({Kind.BUSY, Kind.UNSENDABLE})
# What says that nobody is there, whatever the path: all that counts against the origin of URLs that
# came with submits. One job's bad path must not hold up another's good one.
_UNREACHED: Final = frozenset(
    {Kind.TIMEOUT, Kind.CONNECT_ERROR, Kind.TLS_ERROR, Kind.DNS_ERROR, Kind.RESET}
)


def learnt(
    channel: Channel, outcome: Outcome, known: Known, now: datetime, policy: ChannelPolicy
) -> Channel:
    """The breaker after an attempt."""
    if isinstance(outcome, Delivered):
        return channel.succeeded(now, policy, outcome.took)
    if outcome.kind is Kind.SLOW_DOWN:
        return channel.slowed(outcome.retry_after, now, policy)
    if outcome.kind in _OURS or (known.endpoint is None and outcome.kind not in _UNREACHED):
        return channel
    return channel.failed(now, policy)


def disabling(
    channel: Channel, outcome: Outcome, known: Known, now: datetime, policy: ChannelPolicy
) -> Disabled | None:
    """Whether an outcome disables the endpoint, and why. `channel` is the one after it."""
    if known.endpoint is None or known.endpoint.disabled is not None:
        return None
    if isinstance(outcome, Delivered):
        return None
    if outcome.kind is Kind.GONE:
        return Disabled.GONE
    return Disabled.FAILING if channel.given_up(now, policy) else None


def settled(
    delivery: Delivery, outcome: Outcome, due_at: datetime | None, now: datetime
) -> Delivery:
    """The record after an attempt; without a next one it has ended, well or not."""
    if isinstance(outcome, Delivered):
        state = DeliveryState.DELIVERED
    else:
        state = DeliveryState.PENDING if due_at is not None else DeliveryState.FAILED
    return replace(
        delivery,
        version=delivery.version + 1,
        attempts=delivery.attempts + 1,
        state=state,
        due_at=due_at,
        last_outcome=outcome.word,
        finished_at=None if due_at is not None else now,
    )


def took_ms(outcome: Outcome) -> int:
    """An attempt's duration."""
    return round(outcome.took / timedelta(milliseconds=1))
