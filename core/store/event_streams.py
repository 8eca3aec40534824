"""Events written to Redis streams, for teams that do not want to be called. Decides nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from redis.exceptions import ResponseError

from core.errors import StoreUnavailable
from core.store import keys
from core.store.client import RedisClient
from core.webhooks.endpoint import RedisStream

EVENT_FIELD: Final = "event"
"""The one field of a stream's entries: the CloudEvent as JSON."""


@dataclass(frozen=True, slots=True)
class EventStreamPolicy:
    """`keep` is about how many entries a stream holds; older ones are trimmed."""

    max_entries: int = 10_000


class EventStreams:
    """The gateway's own Redis, and those that the operator named."""

    def __init__(
        self, default: RedisClient, external: Mapping[str, RedisClient], policy: EventStreamPolicy
    ) -> None:
        """`named` are the wires to other Redis servers, by the names that tenants use."""
        self._default = default
        self._external = external
        self._policy = policy

    async def append(self, tenant: str, stream: RedisStream, event: bytes) -> None:
        """Add one event. Raises `StoreUnavailable`, also for a sink that is no longer named."""
        wire = self._default if stream.sink is None else self._external.get(stream.sink)
        if wire is None:
            raise StoreUnavailable("The operator names no such sink.")
        key = keys.event_stream(tenant, stream.name)
        try:
            await wire.execute(
                "XADD", key, "MAXLEN", "~", self._policy.max_entries, "*", EVENT_FIELD, event
            )
        except ResponseError as error:
            raise StoreUnavailable("The sink refuses the event.") from error
