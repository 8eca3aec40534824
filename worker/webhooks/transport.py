"""Makes one attempt at a delivery: an HTTP request, or an entry in a Redis stream."""

from dataclasses import dataclass
from typing import Protocol

from core.clock import Clock
from core.errors import StoreUnavailable
from core.observability.outcomes import FailureKind
from core.store.interfaces import EventStreamWriter
from core.webhooks.endpoint import RedisStream
from worker.webhooks.outcomes import AttemptFailed, AttemptResult, Delivered
from worker.webhooks.sender import AttemptRequest


@dataclass(frozen=True, slots=True)
class StreamAppend:
    """An event for a tenant's Redis stream."""

    tenant: str
    stream: RedisStream
    event: bytes


class AttemptSender(Protocol):
    """Sends by HTTP. See `worker.webhooks.sender.Sender`."""

    async def send(self, attempt: AttemptRequest) -> AttemptResult: ...


class DeliveryTransport:
    """Sends to whatever kind of endpoint the delivery is for."""

    def __init__(self, sender: AttemptSender, streams: EventStreamWriter, clock: Clock) -> None:
        """Durations of stream writes are measured by `clock`."""
        self._sender = sender
        self._streams = streams
        self._clock = clock

    async def send(self, attempt: AttemptRequest | StreamAppend) -> AttemptResult:
        """Make one attempt. Raises nothing for what the receiver, or the stream's Redis, does."""
        if isinstance(attempt, AttemptRequest):
            return await self._sender.send(attempt)
        started_at = self._clock.monotonic()
        try:
            await self._streams.append(attempt.tenant, attempt.stream, attempt.event)
        except StoreUnavailable as error:
            duration = self._clock.monotonic() - started_at
            return AttemptFailed(FailureKind.CONNECT_ERROR, duration, excerpt=error.detail)
        return Delivered(0, self._clock.monotonic() - started_at)
